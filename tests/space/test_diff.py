"""What two spaces have in common: against enumeration, and as the command tells it."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nasdsl import pipeline, resources
from nasdsl.cli.app import app
from nasdsl.space.choice import Genotype
from nasdsl.space.diff import Joint, compare, only_in
from nasdsl.space.equivalence import genotypes
from nasdsl.space.space import Space

SPACES = sorted(path.stem for path in resources.spaces().glob("*.nas"))


def space(body: str) -> Space:
    return pipeline.loads(f"space s {{\n  input x: [4]\n{body}\n}}")


# Small spaces with choices of the same names: candidates, conditions, sub-lists and constraints differ.
SMALL = {
    "edge": "  op e = a: relu | b: gelu | c: zero\n  y = e(x)\n  z = e(y)\n  return y + z -> linear(2)",
    "fewer": "  op e = a: relu | b: gelu\n  y = e(x)\n  z = e(y)\n  return y + z -> linear(2)",
    "other order": "  op e = c: zero | d: tanh | a: relu\n  y = e(x)\n  z = e(y)\n  return y + z -> linear(2)",
    "one less": "  op e = a: relu | b: gelu | c: zero\n  y = e(x)\n  z = relu(y)\n  return y + z -> linear(2)",
    "required": '  op e = a: relu | b: gelu | c: zero\n  y = e(x)\n  z = e(y)\n  require count("c") <= 1\n  return y + z -> linear(2)',
    "nested": "  op e = a: relu | b: gelu\n  op f = a: relu | b: e -> linear(4)\n  y = f(x)\n  return y -> linear(2)",
    "nested more": "  op e = a: relu | b: gelu | c: zero\n  op f = a: relu | b: e -> linear(4) | c: e\n  y = f(x)\n  return y -> linear(2)",
    "list": "  n = [relu(x), gelu(x), tanh(x)]\n  y = sum(choose 1..2 of { t for t in n })\n  return y -> linear(2)",
    "list of two": "  n = [relu(x), gelu(x), tanh(x)]\n  y = sum(choose 2 of { t for t in n })\n  return y -> linear(2)",
    "short list": "  n = [relu(x), gelu(x)]\n  y = sum(choose any of { t for t in n })\n  return x + y -> linear(2)",
    "picked": "  n = [relu(x), gelu(x)]\n  y = choose { t for t in n }\n  return y -> linear(2)",
    "width": "  y = 2 | 3 | 4\n  return x -> linear(y)",
    "depth": "  y = x -> repeat(linear(4) -> (relu | gelu), 1 | 2)\n  return y -> linear(2)",
    "no choice": "  return x -> linear(2)",
}  # fmt: skip


@pytest.mark.parametrize(("one", "other"), list(permutations(SMALL, 2)))
def test_counts_are_those_of_enumeration(one: str, other: str) -> None:
    a, b = space(SMALL[one]), space(SMALL[other])
    first, second = set(genotypes(a)), set(genotypes(b))
    found = compare(a, b)
    assert (found.before, found.after, found.both) == (len(first), len(second), len(first & second))
    assert {c.name for c in found.lost} == {c.name for c in a.choices} - {c.name for c in b.choices}
    example = only_in(a, b)
    assert (example is None) == (first <= second)
    assert example is None or example in first - second


@pytest.mark.parametrize("name", SMALL)
def test_a_space_is_the_same_as_itself(name: str) -> None:
    found = compare(space(SMALL[name]), space(SMALL[name]))
    assert found.is_empty and found.networks is True


@pytest.mark.parametrize("name", SPACES)
def test_shipped_spaces_are_the_same_as_themselves(name: str) -> None:
    path = resources.spaces() / f"{name}.nas"
    found = compare(pipeline.load(path), pipeline.load(path))
    assert found.is_empty
    assert found.both == found.before


def test_the_same_genotypes_for_other_networks() -> None:
    path = resources.spaces() / "nasbench201.nas"
    found = compare(pipeline.load(path), pipeline.load(path, width=32))
    assert found.both == found.before == found.after == 15_625
    assert found.networks is False and not found.is_empty


def test_changes_of_a_choice() -> None:
    (change,) = compare(space(SMALL["list"]), space(SMALL["short list"])).changed
    assert (change.name, change.gained, change.lost) == ("y", (), ("2",))
    assert change.pick == ("1..2 of", "any of")
    changes = {c.name: c for c in compare(space(SMALL["nested"]), space(SMALL["nested more"])).changed}
    assert changes["y.b.e"].gained == ("c",)


def test_sub_lists_without_an_element_are_told_from_none() -> None:
    a = space(
        "  n = [relu(x), gelu(x)]\n  y = sum(choose any of { t for t in n })\n  return x + y -> linear(2)"
    )
    b = space("  return x -> linear(2)")
    assert Genotype({"y": ()}) in set(genotypes(a))
    assert compare(a, b).both == 0


def test_joint_constraints_need_no_listing() -> None:
    path = resources.spaces() / "enas_macro.nas"
    found = compare(pipeline.load(path), pipeline.load(path, layers=11))
    assert found.before == 6**12 * 2**66 and found.after == 6**11 * 2**55
    assert found.both == 0
    assert Joint(pipeline.load(path), pipeline.load(path)).rules


# --- the command ----------------------------------------------------------------------------------


def nasdsl(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="nasdsl")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = (tmp_path / "old.nas", tmp_path / "new.nas")
    for path, name in zip(paths, ("edge", "other order"), strict=True):
        path.write_text(f"space s {{\n  input x: [4]\n{SMALL[name]}\n}}\n")
    return paths


def test_the_same_ends_with_0() -> None:
    assert nasdsl("diff", "quickstart", "quickstart") == (0, "the same: 1 125 architectures\n", "")


def test_a_difference_ends_with_1_and_says_which(files: tuple[Path, Path]) -> None:
    code, out, err = nasdsl("diff", *files)
    assert (code, err) == (1, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[:2] == ["~ choice y: - b; + d", "~ choice z: - b; + d"]
    assert lines[3:8] == [
        f"{files[0]} 9",
        f"{files[1]} 9",
        "= in both 4",
        "- only in the first 5",
        "+ only in the second 5",
    ]
    assert any(line.startswith('- for example {"y":') for line in lines)


def test_json(files: tuple[Path, Path]) -> None:
    code, out, _ = nasdsl("diff", *files, "--json")
    assert code == 1
    found = json.loads(out)
    assert found["architectures"] == {"before": "9", "after": "9", "both": "4", "lost": "5", "gained": "5"}
    assert [c["name"] for c in found["choices"]["changed"]] == ["y", "z"]
    assert not found["equal"] and found["networks"] is None
    code, out, _ = nasdsl("diff", files[0], files[0], "--json")
    assert code == 0 and json.loads(out)["equal"] and json.loads(out)["networks"] == "equal"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["quickstart", "nowhere"], "N980"), (["quickstart", "darts", "--set", "wdth=3"], "N108")],
)
def test_trouble_ends_with_2(arguments: list[str], code: str) -> None:
    exit_code, out, err = nasdsl("diff", *arguments)
    assert exit_code == 2 and out == ""
    assert f"error[{code}]" in err


@pytest.mark.parametrize("fixed", [{"width": "16"}, {"width": "32", "repeat.depth": "2"}])
def test_a_narrowed_space_is_a_part_of_what_it_was(fixed: dict[str, str], tmp_path: Path) -> None:
    whole = resources.spaces() / "quickstart.nas"
    path = tmp_path / "part.nas"
    path.write_text(nasdsl("narrow", whole, *(f"{name}={label}" for name, label in fixed.items()))[1])
    a, b = pipeline.load(whole), pipeline.load(path)
    for found, of_first in ((compare(a, b), True), (compare(b, a), False)):
        assert found.part is not None
        assert (found.part.fixed, found.part.of_first, found.part.count) == (fixed, of_first, b.count())
    code, out, _ = nasdsl("diff", whole, path)
    assert code == 1 and "the same networks" in out and "for example" not in out
    # Another operation in it, and it is no part any more.
    path.write_text(path.read_text().replace("conv(kernel = 1)", "conv(kernel = 5)"))
    assert compare(a, pipeline.load(path)).part is None
    assert "whether they share networks is not known" in nasdsl("diff", whole, path)[1]
