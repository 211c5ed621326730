"""Pictures: of every shipped space, and of an architecture within it, whole, legible and without overlaps."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from nasdsl import pipeline, resources
from nasdsl.cli.app import app
from nasdsl.report.drawing import Item, Key, Panel, Picture, plain
from nasdsl.report.drawing_graph import dot, mermaid
from nasdsl.report.drawing_layout import PAD_X, STACK, WIDTH, Box, Page, Placed, lay_out, place_parts
from nasdsl.report.drawing_lines import line_width
from nasdsl.report.drawing_panels import picture_of
from nasdsl.report.drawing_svg import html, svg

SPACES = sorted(path.stem for path in resources.spaces().glob("*.nas"))
REDUCED = {
    "enas_micro": {"cells": 1},
    "darts": {"layers": 4},
    "darts_none": {"layers": 4},
    "one_shot": {"cells": 4},
}
KINDS = ("space", "architecture")


@cache
def space_of(name: str) -> pipeline.SearchSpace:
    return pipeline.load(resources.spaces() / f"{name}.nas", **REDUCED.get(name, {}))


@cache
def picture(name: str, kind: str = "space") -> Picture:
    space = space_of(name)
    return picture_of(space, space.sample(3) if kind == "architecture" else None)


def texts(drawn: Picture) -> str:
    """Every word of a picture."""
    found: list[str] = [drawn.title, *drawn.notes]
    for panel in drawn.panels():
        for item in panel.items:
            found += [item.name, plain(item.times), *map(plain, item.lines)]
            found += [f"{plain(row.label)} {plain(row.text)}" for row in item.rows]
    for part in drawn.parts:
        if isinstance(part, Key):
            found += [f"{plain(row.label)} {plain(row.text)}" for row in part.rows]
    return "\n".join(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SPACES)
def test_every_space_has_a_picture(name: str, kind: str) -> None:
    text = svg(picture(name, kind))
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert float(root.attrib["width"]) <= WIDTH + 1
    assert len(text) < 200_000
    assert "prefers-color-scheme:dark" in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SPACES)
def test_nothing_overlaps_and_text_fits_its_box(name: str, kind: str) -> None:
    page: Page = lay_out(picture(name, kind))
    for a, b in combinations(page.parts, 2):
        apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
        assert apart, (a.part.title, b.part.title)
    for part in page.parts:
        for one, other in combinations(part.boxes, 2):
            assert not overlap(one, other), (part.part.title, one.item.id, other.item.id)
        for box in part.boxes:
            assert box.left >= -0.5 and box.right <= part.width + 0.5 and box.bottom <= part.height + 0.5
            for line in box.lines:
                assert line_width(line) + PAD_X <= box.width + 0.5, plain(line)


def overlap(a: Box, b: Box) -> bool:
    wide = a.left < b.right + STACK * b.shadows and b.left < a.right + STACK * a.shadows
    return wide and a.top < b.bottom and b.top < a.bottom


@pytest.mark.parametrize("name", SPACES)
def test_an_arrow_begins_and_ends_at_its_boxes(name: str) -> None:
    for part in lay_out(picture(name)).parts:
        boxes = {box.item.id: box for box in part.boxes}
        for arrow in part.arrows:
            for (x, y), id in ((arrow.points[0], arrow.link.source), (arrow.points[-1], arrow.link.target)):
                box = boxes[id]
                assert box.left - 1 <= x <= box.right + STACK * box.shadows + 1
                assert box.top - 1 <= y <= box.bottom + 1


def test_parts_stand_under_each_other_beside_a_tall_one() -> None:
    """The third is too wide for the gap under the first; in a column with it the page is lower."""
    parts = [Placed(Key(name, "", []), width, height) for name, width, height in (
        ("a", 150, 300), ("b", 300, 1000), ("c", 250, 400), ("d", 140, 100),
    )]  # fmt: skip
    place_parts(parts)
    a, b, c, d = parts
    assert a.x == c.x == d.x and a.y < c.y < d.y
    assert b.x > c.x + c.width and b.y == a.y
    assert max(part.y + part.height for part in parts) == b.y + b.height


@pytest.mark.parametrize("name", SPACES)
def test_every_candidate_is_seen(name: str) -> None:
    """But for the places of list elements, which arrows show, and numbers that are shown as what they come to."""
    drawn = texts(picture(name))
    for choice in space_of(name).choices:
        if choice.kind == "tensor":
            for label in choice.labels:
                assert label.isdigit() or label in drawn, (choice.name, label)


@pytest.mark.parametrize("name", SPACES)
def test_what_an_architecture_took_is_seen(name: str) -> None:
    space = space_of(name)
    genotype = space.sample(3)
    drawn = picture(name, "architecture")
    assert drawn.is_architecture
    words = texts(drawn)
    for name_, taken in genotype.items():
        for label in (taken,) if isinstance(taken, str) else taken:
            assert label.isdigit() or label in words, (name_, label)


def panel(drawn: Picture, title: str) -> Panel:
    return next(p for p in drawn.panels() if p.title == title)


def item(found: Panel, words: str) -> Item:
    return next(i for i in found.items if words in "\n".join(map(plain, i.lines)))


def test_nasbench201_is_drawn_as_its_author_thinks_of_it() -> None:
    drawn = picture("nasbench201")
    overview = [" / ".join(map(plain, i.lines)) + plain(i.times) for i in drawn.overview.items]
    assert overview == [
        "image", "conv 3×3, 16 → batchnorm", "normal5", "reduce", "normal5", "reduce", "normal5",
        "batchnorm → relu → global_avgpool → linear 10", "output",
    ]  # fmt: skip
    cell = panel(drawn, "normal")
    choices = [i for i in cell.items if i.kind == "choice"]
    assert len(choices) == 6
    assert [plain(row.label) for row in choices[0].rows] == [
        "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3",
    ]  # fmt: skip
    (key,) = (part for part in drawn.parts if isinstance(part, Key))
    assert plain(key.rows[3].text) == "relu → conv 3×3 → batchnorm"


def test_an_architecture_stands_out_in_its_cell() -> None:
    space = space_of("nasbench201")
    genotype = space.genotype({c.name: "nor_conv_3x3" for c in space.choices} | {"normal.x2#1": "none"})
    cell = panel(picture_of(space, genotype), "normal")
    taken = [
        [plain(r.label) for r in i.rows if r.state == "chosen"] for i in cell.items if i.kind == "choice"
    ]
    assert sorted(taken) == [["none"], *[["nor_conv_3x3"]] * 5]


def test_a_choice_of_inputs_is_dashed_arrows() -> None:
    cell = panel(picture("darts"), "normal, reduction")
    third = item(cell, "2 of 3")
    incoming = [link for link in cell.links if link.target == third.id]
    assert len(incoming) == 3 and all(link.open for link in incoming)


def test_chosen_numbers_and_depths() -> None:
    drawn = picture("quickstart")
    assert "conv 3×3, 16|24|32 → batchnorm" in texts(drawn)
    assert plain(item(drawn.overview, "normal").times) == "1|2|3"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SPACES)
def test_dot_and_mermaid_name_only_what_they_have(name: str, kind: str) -> None:
    drawn = picture(name, kind)
    for panel_number, found in enumerate(drawn.panels()):
        ids = {i.id for i in found.items}
        assert all(link.source in ids and link.target in ids for link in found.links)
        for text in (dot(drawn), mermaid(drawn)):
            assert all(f"p{panel_number}_{id}" in text for id in ids)
    assert dot(drawn).count("{") == dot(drawn).count("}")
    assert mermaid(drawn).splitlines()[3] == "flowchart TB"


def test_the_page_is_as_large_as_the_picture() -> None:
    page = lay_out(picture("nasbench201"))
    text = html(picture("nasbench201"))
    assert f"width: {round(page.width)}px; height: {round(page.height)}px" in text
    assert text.count("<svg") == 1


def test_a_picture_is_the_same_in_every_process() -> None:
    program = (
        "import sys; from nasdsl import pipeline, resources; from nasdsl.report.drawing_panels import picture_of; "
        "from nasdsl.report.drawing_svg import svg; "
        "space = pipeline.load(resources.spaces() / 'nasbench201.nas'); "
        "sys.stdout.write(svg(picture_of(space))); assert 'torch' not in sys.modules"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


# --- the command ----------------------------------------------------------------------------------


def nasdsl(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="nasdsl")
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("name", "begins"), [("a.svg", "<svg"), ("a.html", "<!doctype"), ("a.dot", "digraph"), ("a.mmd", "---")]
)
def test_the_name_of_the_file_says_what_is_written(tmp_path: Path, name: str, begins: str) -> None:
    code, out, err = nasdsl("show", "quickstart", "-o", tmp_path / name)
    assert (code, err) == (0, "")
    assert out == f"wrote {tmp_path / name}\n"
    assert (tmp_path / name).read_text().startswith(begins)


def test_a_genotype_from_a_file_or_as_it_stands(tmp_path: Path) -> None:
    text = space_of("quickstart").sample(0).text
    (tmp_path / "g.json").write_text(text)
    code, out, _ = nasdsl("show", "quickstart", "-g", tmp_path / "g.json")
    assert code == 0
    assert nasdsl("show", "quickstart", "--genotype", text) == (0, out, "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-o", "a.png"], "N631"),
        (["-g", "{}"], "N802"),
        (["-g", "{"], "N988"),
        (["-g", '{"wdth": "16"}'], "N801"),
        (["-g", "[]"], "N601"),
        (["--set", "width=3"], "N108"),
    ],
)
def test_bad_input(arguments: list[str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exit_code, out, err = nasdsl("show", "quickstart", *arguments)
    assert exit_code == 1 and out == ""
    assert f"error[{code}]" in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_the_space_itself_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.nas"
    path.write_text("space s { input x: [4]\n return x -> linear(2 | 3) }")
    code, _, err = nasdsl("show", path, "--format", "svg", "-o", path)
    assert code == 1 and "N986" in err
    assert path.read_text().startswith("space")


def test_pictures_in_the_docs_are_what_the_command_draws() -> None:
    folder = Path(__file__).parents[2] / "docs" / "pictures"
    for path in sorted(folder.glob("*.svg")):
        name = path.stem
        assert path.stat().st_size < 200_000
        if name in SPACES:
            drawn = svg(picture_of(pipeline.load(resources.spaces() / f"{name}.nas")))
            assert path.read_text(encoding="utf-8") == drawn, f"nasdsl show {name} -o {path.name}"
