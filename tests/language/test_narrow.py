"""Spaces with choices fixed: the text compiles, is the original under these decisions, and reads like it."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from textwrap import dedent, indent

import pytest
from typer.testing import CliRunner

from nasdsl import pipeline, resources
from nasdsl.cli import files
from nasdsl.cli.app import app
from nasdsl.diagnostics import NasError
from nasdsl.language.builder import Limits
from nasdsl.language.format import format_file
from nasdsl.language.modules import pick_space
from nasdsl.language.narrowing import Kept, Narrowed, Prepared, Setup, flat, narrow, prepare
from nasdsl.language.narrowing.decisions import Decisions, Wish
from nasdsl.language.parser import parse_text
from nasdsl.operations import catalogue
from nasdsl.space.choice import Choice, Genotype, Taken
from nasdsl.space.equivalence import isomorphic, reduced
from nasdsl.space.size import Rational
from nasdsl.space.space import Space

SPACES = sorted(path.stem for path in resources.spaces().glob("*.nas"))
REDUCED = {
    "darts": {"layers": 3},
    "darts_none": {"layers": 3},
    "darts_rnn": {"nodes": 5},
    "enas_macro": {"layers": 6},
    "enas_micro": {"cells": 1, "nodes": 3},
    "enas_rnn": {"nodes": 6},
    "nasbench201": {"cells": 2},
    "one_shot": {"cells": 3},
}


def prepared_file(path: Path, **parameters: Rational) -> Prepared:
    module = pipeline.read(path)
    return prepare(module, pick_space(module), Setup(catalogue(), Limits(), parameters))


@cache
def shipped(name: str) -> Prepared:
    return prepared_file(resources.spaces() / f"{name}.nas", **REDUCED.get(name, {}))


def narrowed(name: str, fixed: Mapping[str, Wish]) -> Narrowed:
    return narrow(shipped(name), fixed, resources.spaces() / f"{name}.nas")


def reads_back(found: Narrowed) -> None:
    """The text is in its one layout, and its tree is that of the space that was handed back."""
    tree = parse_text(found.text)
    assert format_file(tree, tree.span.source) == found.text


def same(a: Space, one: Mapping[str, Taken], b: Space, other: Mapping[str, Taken]) -> bool:
    """Whether two architectures are one, up to weights that are shared with what is not in them."""
    forms = []
    for space, genotype in ((a, one), (b, other)):
        form = reduced(space.architecture(genotype))
        forms.append(
            {id: replace(part, label=part.label.replace("shared ", "")) for id, part in form.items()}
        )
    return isomorphic(*forms)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", SPACES)
def test_a_whole_genotype_is_one_architecture(name: str, seed: int) -> None:
    space = shipped(name).space
    genotype = space.sample(seed)
    found = narrowed(name, dict(genotype))
    assert found.space.count() == 1
    assert not found.space.choices
    assert not found.flat, "the original text can say it"
    assert found.space.measure(Genotype({})) == space.measure(genotype)
    assert same(found.space, {}, space, genotype)
    assert "choose" not in re.sub("#.*", "", found.text)
    reads_back(found)


def or_open_depth(name: str, fixed: Mapping[str, Wish]) -> Narrowed | None:
    """None where copies are decided differently and their number is open, which is the one thing that can't be said."""
    try:
        return narrowed(name, fixed)
    except NasError as error:
        if {d.code for d in error.diagnostics} != {"N621"}:
            raise
        return None


@pytest.mark.parametrize("share", [0.2, 0.7])
@pytest.mark.parametrize("name", SPACES)
def test_some_choices_fixed(name: str, share: float) -> None:
    """Every architecture of the smaller space is one of the original's; which is proved before it is handed back."""
    space = shipped(name).space
    genotype = space.sample(5)
    draw = random.Random(name)
    fixed = {choice: taken for choice, taken in genotype.items() if draw.random() < share}
    fixed = fixed or dict(list(genotype.items())[:1])
    found = or_open_depth(name, fixed)
    if found is None:
        return
    assert found.space.count() == Decisions(space, fixed).count() < space.count()
    low, high = found.space.ranges().params, space.ranges().params
    assert high.min <= low.min <= low.max <= high.max
    reads_back(found)


@pytest.mark.parametrize("name", SPACES)
def test_the_first_choice_alone(name: str) -> None:
    space = shipped(name).space
    choice = space.choices[0]
    label: Taken = choice.labels[:1] if choice.is_sublist else choice.labels[0]
    found = or_open_depth(name, {choice.name: label})
    assert found is None or len(found.space.choices) < len(space.choices)


@pytest.mark.parametrize("name", SPACES)
def test_any_architecture_can_be_written_tensor_by_tensor(name: str) -> None:
    prepared = shipped(name)
    space = prepared.space
    genotype = space.sample(2)
    text = flat.write(space, dict(enumerate(space.assignment(genotype))), prepared.declaration)
    found = pipeline.loads(text)
    assert found.count() == 1
    assert found.measure(Genotype({})) == space.measure(genotype)
    assert same(found, {}, space, genotype)


# --- how it reads ---------------------------------------------------------------------------------


def text_of(tmp_path: Path, text: str, fixed: dict[str, Taken], **parameters: Rational) -> str:
    path = tmp_path / "mine.nas"
    path.write_text(dedent(text))
    return narrow(prepared_file(path, **parameters), fixed, path).text


def body(text: str) -> str:
    """The statements of the space, without what stands before it."""
    return "\n".join(
        line for line in text.splitlines() if line.strip() and not line.startswith(("#", "from"))
    )


def test_a_cell_reads_as_a_person_would_write_it() -> None:
    path = resources.spaces() / "nasbench201.nas"
    edges = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "none", "avg_pool_3x3", "nor_conv_3x3")
    prepared = prepared_file(path)
    fixed = {choice.name: label for choice, label in zip(prepared.space.choices, edges, strict=True)}
    text = narrow(prepared, fixed, path).text
    expected = """\
      cell normal(x0) {
        x1 = identity(x0)
        x2 = reconv(1)(x0) + reconv(3)(x1)
        x3 = zero(x0) + avgpool(3)(x1) + reconv(3)(x2)
        return x3
      }
    """
    assert indent(dedent(expected), "  ") in text
    assert "op edge" not in text
    assert text.startswith(path.read_text()[:40]), "its comments stay"


def test_loops_are_written_out_where_their_turns_differ() -> None:
    path = resources.spaces() / "darts.nas"
    space = shipped("darts").space
    fixed = {name: taken for name, taken in space.sample(3).items() if name.startswith("normal")}
    text = narrow(prepared_file(path), fixed, path).text
    assert "n[2] = sum([n[0] -> avgpool(3) -> batchnorm, sep_conv(3)(n[1])])" in text
    # The other cell is as it was.
    assert "n[i] = sum(choose 2 of { edge(n[j], stride = if j < 2 then 2 else 1) for j in 0..i-1 })" in text


def test_a_number_is_edited_in_place_and_comments_stay(tmp_path: Path) -> None:
    text = """\
        space s {
          input x: [4]
          # how wide
          width = 2 | 3  # of two
          return x -> linear(width) -> (relu | gelu)
        }
        """
    assert text_of(tmp_path, text, {"width": "3"}) == dedent(text).replace("2 | 3", "3")


def test_a_definition_is_written_once_for_each_way_in_which_it_is_decided(tmp_path: Path) -> None:
    text = """\
        space s {
          input x: [4]
          op f(w: int) = linear(w) -> (relu | gelu)
          return x -> f(3) -> f(4) -> f(5)
        }
        """
    found = text_of(tmp_path, text, {"f#1.choice": "relu", "f#3.choice": "relu"})
    assert body(found).splitlines()[2:] == [
        "  op f(w: int) = linear(w) -> (relu | gelu)",
        "  op f_relu(w: int) = linear(w) -> relu",
        "  return x -> f_relu(3) -> f(4) -> f_relu(5)",
        "}",
    ]


def test_an_operation_that_is_decided_alike_everywhere_is_edited_where_it_stands(tmp_path: Path) -> None:
    text = """\
        ## which activation
        cell act = relu | gelu
        space s {
          input x: [4]
          return x -> act -> linear(3) -> act
        }
        """
    found = text_of(tmp_path, text, {"act": "gelu"})
    assert "cell act = gelu" in found and "## which activation" in found


def test_copies_of_a_repeat(tmp_path: Path) -> None:
    text = """\
        space s {
          input x: [4]
          op f = linear(4) -> (relu | gelu)
          return x -> repeat(f, 1 | 2 | 3)
        }
        """
    same = text_of(tmp_path, text, {"repeat.depth": "2"})
    assert "repeat(f, 2)" in same
    found = text_of(tmp_path, text, {"repeat.depth": "2", "repeat.f#1.choice": "gelu"})
    assert "return x -> f_gelu -> f" in found
    with pytest.raises(NasError, match="N621"):
        text_of(tmp_path, text, {"repeat.f#1.choice": "gelu"})


def test_a_sub_list(tmp_path: Path) -> None:
    text = """\
        space s {
          input x: [4]
          n = [relu(x), gelu(x), tanh(x)]
          y = sum(choose any of { t for t in n })
          return x + y -> linear(2)
        }
        """
    assert "y = sum([n[0], n[2]])" in text_of(tmp_path, text, {"y": ("0", "2")})
    # A sum of nothing is absent.
    assert "y = sum([zero(n[0])])" in text_of(tmp_path, text, {"y": ()})


def test_what_count_counts_is_added(tmp_path: Path) -> None:
    text = """\
        space s {
          input x: [4]
          op e = none: zero | some: linear(4)
          a = e(x)
          b = e(x)
          c = e(x)
          require count("none") <= 2
          return a + b + c -> linear(2)
        }
        """
    assert 'require count("none") + 1 <= 2' in text_of(tmp_path, text, {"a": "none"})
    with pytest.raises(NasError, match="N620"):
        text_of(tmp_path, text, {"a": "none", "b": "none", "c": "none"})


def test_a_choice_in_an_imported_file_is_put_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "lib.nas").write_text("op act = relu | gelu\nop wide = linear(3 | 4) -> relu\n")
    text = 'from "lib.nas" import act, wide\nspace s {\n  input x: [4]\n  return x -> act -> wide -> act\n}\n'
    assert "x -> relu -> wide -> act" in text_of(tmp_path, text, {"act#1": "relu"})
    path = tmp_path / "mine.nas"
    with pytest.raises(NasError, match="N622"):
        narrow(prepared_file(path), {"wide.linear.features": "4"}, path)
    found = narrow(prepared_file(path), {"act#1": "relu", "act#2": "gelu", "wide.linear.features": "4"}, path)
    assert found.flat and found.space.count() == 1


def test_one_place_with_two_decisions_is_refused_or_written_flat(tmp_path: Path) -> None:
    path = tmp_path / "mine.nas"
    path.write_text(
        "op twice(x, f: op) = x -> f -> f\n"
        "space s {\n  input x: [4]\n  return x -> twice(a: relu | b: gelu) -> linear(2)\n}\n"
    )
    prepared = prepared_file(path)
    with pytest.raises(NasError, match="N622"):
        narrow(prepared, {"twice.f#1": "a"}, path)
    found = narrow(prepared, {"twice.f#1": "a", "twice.f#2": "b"}, path)
    assert found.flat and "x -> relu -> gelu -> linear(features = 2)" in found.text


def test_what_was_set_becomes_the_default(tmp_path: Path) -> None:
    text = """\
        space s(k = 2, classes = 10) {
          input x: [4]
          return x -> linear(k) -> (relu | gelu) -> linear(classes)
        }
        """
    assert "space s(k = 5, classes = 10)" in text_of(tmp_path, text, {"choice": "relu"}, k=5)


# --- the command ----------------------------------------------------------------------------------


def nasdsl(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="nasdsl")
    return result.exit_code, result.stdout, result.stderr


def test_the_command_writes_a_file_that_compiles(tmp_path: Path) -> None:
    out = tmp_path / "small.nas"
    code, said, err = nasdsl("narrow", "quickstart", "width=24", "normal.b=skip", "-o", out)
    assert (code, err) == (0, "")
    assert said == f"wrote {out}: 75 architectures\n"
    assert pipeline.load(out).count() == 75


def test_a_genotype_and_more(tmp_path: Path) -> None:
    genotype = shipped("quickstart").space.sample(4)
    code, out, err = nasdsl("narrow", "quickstart", "-g", genotype.text)
    assert (code, err) == (0, "")
    path = tmp_path / "best.nas"
    path.write_text(out)
    assert pipeline.load(path).count() == 1


@pytest.mark.parametrize("name", ["quickstart", "nasbench201", "mobilenet_small"])
def test_with_nothing_fixed_it_copies_a_space_that_ships(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = nasdsl("narrow", name, "-o", "mine.nas")
    assert (code, err) == (0, "") and out.startswith("wrote mine.nas: ")
    assert Path("mine.nas").read_bytes() == files.find_space(name).read_bytes()
    # Also where the copy stands what it imports is found.
    assert pipeline.load("mine.nas").count() == pipeline.load(files.find_space(name)).count()
    code, out, err = nasdsl("narrow", name, "--set", "classes=3")
    assert (code, err) == (0, "") and pipeline.loads(out).parameters["classes"] == 3


def test_a_message_about_a_file_that_ships_says_how_to_copy_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ask = ("search", "quickstart", "--task", "digits", "--set", "size=9", "-o", "run")
    code, _, err = nasdsl(*ask)
    assert code == 1 and "error[N912]" in err and "say `--set size=8`" in err
    note = (
        "= note: this file ships with nasdsl: `nasdsl narrow quickstart -o mine.nas` writes a copy to change"
    )
    assert err.rstrip().endswith(note)
    code, _, err = nasdsl("compile", "quickstart.nas", "--set", "channels=0")
    assert code == 1 and note in err
    # What is theirs, a copy or a checkout that they work in, has no such note.
    nasdsl("narrow", "quickstart", "-o", "mine.nas")
    code, _, err = nasdsl("search", "mine.nas", *ask[2:])
    assert code == 1 and "mine.nas:3:" in err and "note" not in err
    monkeypatch.chdir(resources.spaces().parent)
    code, _, err = nasdsl(
        "search", "spaces/quickstart.nas", *ask[2:4], "--set", "size=9", "-o", tmp_path / "run"
    )
    assert code == 1 and "spaces/quickstart.nas:3:" in err and "note" not in err
    # Of an installation all files are, wherever it lies.
    monkeypatch.setattr(resources, "installed", lambda: True)
    code, _, err = nasdsl("compile", "spaces/quickstart.nas", "--set", "channels=0")
    assert code == 1 and note in err


def test_sub_lists_on_the_command_line() -> None:
    for given in ("skips[4]=0,2", 'skips[4]=["0", "2"]'):
        code, out, err = nasdsl("narrow", "enas_macro", given, "--set", "layers=5")
        assert (code, err) == (0, "")
        assert "skips = [h[0], h[2]]" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["width"], "N623", "is not of the form CHOICE=LABEL"),
        (["wdth=16"], "N801", "did you mean `width`?"),
        (["width=17"], "N804", "its candidates are 16, 24, 32"),
        (["width=16", "width=24"], "N623", "fixed twice"),
        (["-g", "{}"], "N802", "is missing"),
        (["-g", '{"a": "x", "b": "y", "width": "16"}'], "N801", "2 of its 3 choices are unknown"),
        (["-g", "nowhere.json"], "N601", "there is no file"),
        (["width=16", "-o", "nowhere/a.nas"], "N986", "nowhere"),
    ],
)
def test_bad_input(
    arguments: list[str], code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exit_code, out, err = nasdsl("narrow", "quickstart", *arguments)
    assert exit_code == 1 and out == ""
    assert f"[{code}]" in err and words in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_imports_must_be_found_from_where_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "lib.nas").write_text("op act = relu\n")
    path = tmp_path / "mine.nas"
    path.write_text(
        'from "lib.nas" import act\nspace s {\n  input x: [4]\n  return x -> linear(2 | 3) -> act\n}\n'
    )
    (tmp_path / "deep").mkdir()
    code, _, err = nasdsl("narrow", path, "linear.features=2", "-o", tmp_path / "deep" / "a.nas")
    assert code == 0 or "is not found from" in err
    assert (code == 0) == (tmp_path / "deep" / "a.nas").exists()


# --- candidates that are left ---------------------------------------------------------------------


def every(space: Space) -> list[Genotype]:
    """All genotypes of a small space."""
    found = {genotype.text: genotype for genotype in space.sample(0, 12 * space.count(), uniform=True)}
    assert len(found) == space.count()
    return list(found.values())


@pytest.mark.parametrize(
    "left",
    [
        {"width": ("16", "32"), "normal.b": ("none", "conv3x3")},
        {"repeat.depth": ("2", "3"), "normal.c#1": ("skip", "pool3x3"), "normal.c#2": ("pool3x3", "none")},
        {"width": ("32", "24"), "normal.b": ("pool3x3",)},
        {"normal.b": ("none", "skip", "conv1x1", "conv3x3", "pool3x3"), "repeat.depth": ("1", "3")},
    ],
)
def test_what_is_left_are_the_architectures_with_these_candidates(left: dict[str, tuple[str, ...]]) -> None:
    """Against all 1125: the same genotypes, once choices of one candidate are left out, and the same networks."""
    space = shipped("quickstart").space
    found = narrowed("quickstart", {name: Kept(labels) for name, labels in left.items()})
    expected = {}
    for genotype in every(space):
        if all(genotype[name] in labels for name, labels in left.items()):
            short = {n: taken for n, taken in genotype.items() if len(left.get(n, "ab")) > 1}
            expected[Genotype(short).text] = genotype
    smaller = every(found.space)
    assert {genotype.text for genotype in smaller} == set(expected)
    assert found.space.count() == len(expected)
    for genotype in smaller[:40]:
        original = expected[genotype.text]
        assert found.space.measure(genotype) == space.measure(original)
        assert same(found.space, genotype, space, original)
    reads_back(found)


@pytest.mark.parametrize("name", SPACES)
def test_some_candidates_left(name: str) -> None:
    """In any space that ships: proved before it is handed back. Candidates that are the tensors of a loop, which have
    no names but their numbers, stay all of them."""
    space = shipped(name).space
    draw = random.Random(name)
    open_ = [c for c in space.choices if not c.is_sublist and len(c.labels) > 2 and not _are_numbers(c)]
    left = {
        c.name: Kept(tuple(draw.sample(c.labels, len(c.labels) - 1))) for c in open_ if draw.random() < 0.4
    }
    found = or_open_depth(name, left)
    if found is None:
        return
    assert found.space.count() == Decisions(space, left).count()
    assert bool(left) == (found.space.count() < space.count())
    for old, new in zip(Decisions(space, left).open_choices(), found.space.choices, strict=True):
        if old.name in left:
            assert new.labels == tuple(label for label in old.labels if label in left[old.name].labels)
    reads_back(found)


def _are_numbers(choice: Choice) -> bool:
    return choice.kind == "tensor" and choice.labels == tuple(map(str, range(len(choice.labels))))


def test_candidates_without_names_of_their_own_are_not_cut() -> None:
    name = next(c.name for c in shipped("darts_rnn").space.choices if _are_numbers(c) and len(c.labels) == 3)
    with pytest.raises(NasError, match=r"N622.*would have other names"):
        narrowed("darts_rnn", {name: Kept(("0", "2"))})


def test_a_depth_of_none_or_one_stays_open() -> None:
    """One copy that is left isn't there in every architecture."""
    found = narrowed("mobilenet_small", {"stage#2.repeat.depth": Kept(("0", "1"))})
    assert "repeat(block(out), 0|1)" in found.text
    assert found.space.count() == shipped("mobilenet_small").space.count() * 5 // 21


def test_candidates_are_cut_where_they_stand_and_comments_stay_with_theirs(tmp_path: Path) -> None:
    text = """\
        space s {
          input x: [4]
          op act =
            | none: identity  # nothing
            | soft: gelu      # smooth
            | hard: relu      # not
            | last: tanh
          y = x -> act -> linear(2 | 3 | 4)
          return y -> choose { relu, gelu, tanh } -> choose { linear(k) for k in [3, 5, 7] }
        }
        """
    path = tmp_path / "mine.nas"
    path.write_text(dedent(text))
    prepared = prepared_file(path)
    act, *others = prepared.space.choices
    left = {act.name: Kept(("none", "hard", "last"))} | {c.name: Kept(c.labels[:0:-1]) for c in others}
    found = narrow(prepared, left, path)
    lines = [line.strip() for line in found.text.splitlines()]
    assert lines[3:6] == ["| none: identity  # nothing", "| hard: relu  # not", "| last: tanh"]
    assert lines[6] == "y = x -> act -> linear(3|4)"
    assert "choose { gelu, tanh }" in lines[7] and "choose { linear(k) for k in [5, 7] }" in lines[7]
    assert found.space.count() == 3 * 2 * 2 * 2


def test_a_choice_that_another_one_rests_on_and_a_count(tmp_path: Path) -> None:
    text = """\
        space s {
          input x: [4]
          op e = none: zero | wide: linear(2 | 3 | 4) -> linear(4) | skip: identity
          a = e(x)
          b = e(x)
          require count("none") + count("skip") <= 1
          return x + a + b -> linear(2)
        }
        """
    path = tmp_path / "mine.nas"
    path.write_text(dedent(text))
    prepared = prepared_file(path)
    first = prepared.space.choice("a")
    found = narrow(prepared, {first.name: Kept(("wide", "skip"))}, path)
    brute = [g for g in every(prepared.space) if g[first.name] in ("wide", "skip")]
    assert found.space.count() == len(brute) > 0
    inner = next(c for c in prepared.space.choices if c.labels == ("2", "3", "4"))
    found = narrow(prepared, {inner.name: Kept(("2", "4"))}, path)
    brute = [g for g in every(prepared.space) if g.get(inner.name) != "3"]
    assert found.space.count() == len(brute)


def test_candidates_are_left_on_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "small.nas"
    code, said, err = nasdsl("narrow", "quickstart", "width=16 | 24", "normal.b=skip|conv3x3", "-o", out)
    assert (code, err) == (0, "") and said == f"wrote {out}: 300 architectures\n"
    assert pipeline.load(out).count() == 2 * 3 * 2 * 5 * 5
    for given, code_, words in (
        (["normal.b=skip|conv3"], "N804", "did you mean `conv3x3`?"),
        (["width=16|24", "width=24|32"], "N623", "fixed twice: to `16|24` and to `24|32`"),
    ):
        code, _, err = nasdsl("narrow", "quickstart", *given)
        assert code == 1 and f"[{code_}]" in err and words in err
    code, _, err = nasdsl("narrow", "enas_macro", "skips[4]=0|2")
    assert code == 1 and "[N805]" in err and "skips[4]=0,2" in err
