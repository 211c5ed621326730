"""``nasdsl bench``: tables, budgets, processes, and NAS-Bench-201 itself where it is at hand."""

from __future__ import annotations

import csv
import json
import math
import xml.etree.ElementTree as ET
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean as mean

import pytest
from scipy.stats import ttest_ind
from typer.testing import CliRunner

from nasdsl.cli.app import app
from nasdsl.diagnostics import NasError
from nasdsl.pipeline import load, loads
from nasdsl.report.benchmarks import as_svg, as_text
from nasdsl.resources import spaces
from nasdsl.searching.bench import bench
from nasdsl.searching.differences import Behind, behind_the_best
from nasdsl.searching.objectives import constrained
from nasdsl.searching.strategy import without_supernet
from nasdsl.searching.table import Table, read_table
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space

FEW = """
space few() {
  input x: [2]
  a = x | relu(x) | tanh(x)
  b = choose { a, relu(a), tanh(a) }
  return choose { b, sum(choose 0..2 of { a, relu(b) }) }
}
"""


SIZED = """
space sized() {
  input x: [2, 4, 4]
  op edge = skip: identity | conv1x1: conv(2, kernel = 1) | conv3x3: conv(2, kernel = 3)
  return x -> edge -> edge -> edge
}
"""


@cache
def few() -> Space:
    return loads(FEW)


@cache
def nasbench201() -> Space:
    return load(spaces() / "nasbench201.nas")


def plain(folder: Path, space: Space | None = None) -> Path:
    """A table of a small space with a column for each choice."""
    space = space or few()
    names = [choice.name for choice in space.choices]
    found = {space.sample(seed).text: space.sample(seed) for seed in range(600)}
    assert len(found) == space.count()
    path = folder / "few.csv"
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["note", *names, "valid_1", "test_1", "test_9"])
        for number, (_, genotype) in enumerate(sorted(found.items())):
            entries = [genotype.get(name, "") for name in names]
            cells = [" ".join(entry) if isinstance(entry, tuple) else entry for entry in entries]
            rows.writerow(["x", *cells, number, 0, number * 10])
    return path


def test_a_table_with_a_column_for_each_choice(tmp_path: Path) -> None:
    table = read_table(plain(tmp_path), few())
    assert len(table) == few().count()
    assert (table.search_column, table.report_column) == ("valid_1", "test_9")
    for seed in range(30):
        text = few().sample(seed).text
        assert table.report[text] == 10 * table.search[text]
    assert table.optimum == 10 * (few().count() - 1)
    other = read_table(plain(tmp_path), few(), search="test_9", report="valid_1")
    assert other.optimum == few().count() - 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no rows"),
        ("a,valid,test\nb,1,2\n", "has no column `"),
        ("arch,valid,test\n|none~0|,1,2\n", "does not describe an architecture"),
        ("arch,test\n|none~0|,1\n", "which column to search by"),
        ("arch,valid\n|none~0|,1\n", "which column to report of winners"),
        ("arch,valid,test\nnonsense,1,2\n", "line 2: `nonsense`"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(NasError) as error:
        read_table(path, few())
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == "N945"
    assert says in diagnostic.message


def test_a_label_a_number_or_a_column_that_is_none_is_named(tmp_path: Path) -> None:
    path = plain(tmp_path)
    lines = path.read_text().splitlines()
    wrong = path.with_name("wrong.csv")
    cells = lines[1].split(",")
    wrong.write_text("\n".join([lines[0], ",".join([cells[0], "rleu", *cells[2:]])]))
    with pytest.raises(NasError) as error:
        read_table(wrong, few())
    assert "line 2: `rleu` is no candidate" in error.value.diagnostics[0].message
    wrong.write_text("\n".join([lines[0], ",".join([*cells[:-1], "high"])]))
    with pytest.raises(NasError) as error:
        read_table(wrong, few())
    assert "must be numbers" in error.value.diagnostics[0].message
    with pytest.raises(NasError) as error:
        read_table(path, few(), search="valid_2")
    assert error.value.diagnostics[0].help == "did you mean `valid_1`?"
    with pytest.raises(NasError) as error:
        read_table(tmp_path / "nothing.csv", few())
    assert error.value.diagnostics[0].code == "N945"


def test_the_report_column_is_that_of_the_best_by_the_other_and_processes_change_nothing(
    tmp_path: Path,
) -> None:
    table = read_table(plain(tmp_path), few())
    names = ["random_search", "regularized_evolution", "random_search"]
    one = bench(few(), table, names, evaluations=12, seeds=4, workers=1)
    two = bench(few(), table, names, evaluations=12, seeds=4, workers=2)
    assert one.outcomes == two.outcomes and one.summaries == two.summaries
    assert [s.strategy for s in one.summaries] == ["random_search", "regularized_evolution"]
    for outcome in one.outcomes:
        assert len(outcome.incumbents) == 12
        assert list(outcome.incumbents) == sorted(outcome.incumbents)  # here report is ten times search
        assert outcome.report == 10 * outcome.search == table.report[outcome.genotype]
    summary = one.summaries[0]
    assert summary.regret == pytest.approx(table.optimum - summary.mean)
    assert summary.mean_curve[-1] == pytest.approx(summary.mean)
    text = as_text(one)
    assert f"{summary.mean:.2f} ± {summary.deviation:.2f}" in text
    drawn = " ".join(ET.fromstring(as_svg(one)).itertext())
    for summary in one.summaries:
        assert f"{summary.strategy}: {summary.mean:.2f} ± {summary.deviation:.2f}" in drawn
    assert f"optimum: {table.optimum:.2f}" in drawn


def test_how_far_a_mean_is_behind_the_best_has_welchs_interval() -> None:
    values = {
        "worse": [0.71, 0.64, 0.69, 0.7],
        "best": [0.9, 0.8, 0.95],
        "close": [0.87, 0.8, 0.93, 0.85, 0.9],
        "one seed": [0.3],
        "none": [],
    }
    found = behind_the_best(values)
    assert found.keys() == {"worse", "close"}
    for name, one in found.items():
        welch = ttest_ind(values["best"], values[name], equal_var=False)
        assert (one.low, one.high) == pytest.approx(tuple(welch.confidence_interval(0.95)), abs=1e-12)
        assert one.difference == pytest.approx(mean(values["best"]) - mean(values[name]))
        assert one.is_shown == (welch.pvalue < 0.05)
    assert found["worse"].is_shown and not found["close"].is_shown
    assert behind_the_best({"a": [1.0, 1.0], "b": [0.5, 0.5]})["b"] == Behind(0.5, 0.5, 0.5)
    # Nor of a training that diverged; and no spread is too small to divide by.
    assert behind_the_best({"a": [1.0, 0.9], "b": [0.5, -math.inf]}) == {}
    small = behind_the_best({"a": [3e-90, 4e-90], "b": [1e-90, 2e-90]})["b"]
    large = behind_the_best({"a": [3.0, 4.0], "b": [1.0, 2.0]})["b"]
    assert small.low / 1e-90 == pytest.approx(large.low)


def test_a_table_tells_how_far_strategies_are_behind(tmp_path: Path) -> None:
    found = bench(
        few(), read_table(plain(tmp_path), few()), ["random_search", "local_search"], evaluations=6, seeds=5
    )
    best, other = sorted(found.summaries, key=lambda s: -s.mean)
    one = found.behind[other.strategy]
    assert f"{one.difference:.2f} ({one.low:.2f} to {one.high:.2f})" in as_text(found)
    told = found.as_json()["strategies"]
    assert told[best.strategy]["behind"] is None and told[other.strategy]["behind"]["low"] == one.low
    alone = bench(
        few(), read_table(plain(tmp_path), few()), ["random_search", "local_search"], evaluations=6, seeds=1
    )
    assert alone.behind == {} and "behind" not in as_text(alone)


def test_rows_that_a_constraint_leaves_out_are_passed_over(tmp_path: Path) -> None:
    sized = loads(SIZED)
    path = plain(tmp_path, sized)
    whole = read_table(path, sized)
    flops = {text: sized.measure(Genotype(json.loads(text))).flops for text in whole.search}
    bound = sorted(flops.values())[len(flops) // 2]
    kept = {text for text, value in flops.items() if value <= bound}
    table = read_table(path, constrained(sized, [f"flops <= {bound}"]))
    assert set(table.search) == kept and 0 < len(kept) < len(whole)
    assert all(table.report[text] == whole.report[text] for text in kept)
    (tmp_path / "sized.nas").write_text(SIZED)
    arguments = ["bench", str(tmp_path / "sized.nas"), "--table", str(path), "--workers", "1", "--seeds", "1"]
    result = CliRunner().invoke(app, [*arguments, "--constraint", f"flops <= {bound}", "--json"])
    data = json.loads(result.stdout)
    assert data["architectures"] == len(kept)
    winners = [w["genotype"] for s in data["strategies"].values() for w in s["winners"]]
    assert winners and set(winners) <= kept
    lines = path.read_text().splitlines()
    dear = max(flops, key=flops.__getitem__)
    path.write_text("\n".join([lines[0], lines[1 + int(whole.search[dear])]]))
    with pytest.raises(NasError, match="no row that every `require`"):
        read_table(path, constrained(sized, [f"flops <= {bound}"]))


def test_a_strategy_that_ends_early_keeps_its_winner(tmp_path: Path) -> None:
    table = read_table(plain(tmp_path), few())
    found = bench(few(), table, ["random_search"], evaluations=300, seeds=2, workers=1)
    # After a hundred draws in a row that were all tried, random search takes the space as exhausted.
    assert 0.8 * few().count() <= found.summaries[0].evaluations <= few().count()
    assert found.summaries[0].mean == found.outcomes[0].report == table.optimum
    assert len(found.summaries[0].mean_curve) == 300


def test_random_search_finds_the_expected_rank(tmp_path: Path) -> None:
    """The harness itself: ranks are those of n draws without replacement from N."""
    table = read_table(plain(tmp_path), few())
    options = {"random_search": ["uniform=true"]}
    found = bench(few(), table, ["random_search"], evaluations=6, seeds=300, options=options, workers=1)
    size = few().count()
    ranks = [size - outcome.search for outcome in found.outcomes]
    deviation = ((size + 1) * (size - 6) * 6 / (7**2 * 8)) ** 0.5
    assert sum(ranks) / 300 == pytest.approx((size + 1) / 7, abs=3.3 * deviation / 300**0.5)


def test_what_a_table_cannot_serve_is_refused(tmp_path: Path) -> None:
    table = read_table(plain(tmp_path), few())
    with pytest.raises(NasError) as error:
        bench(few(), table, ["random_search", "gdas"], seeds=1, workers=1)
    assert error.value.diagnostics[0].code == "N947"
    assert "random_search" in str(error.value.diagnostics[0].help)
    with pytest.raises(NasError, match=r"N947.*`successive_halving` says how long") as error:
        bench(few(), table, ["successive_halving"], seeds=1, workers=1)
    assert "halving" not in str(error.value.diagnostics[0].help)
    partial = Table("part.csv", "valid", "test", {}, {})
    with pytest.raises(NasError) as error:
        bench(few(), partial, ["random_search"], seeds=1, workers=1)
    assert error.value.diagnostics[0].code == "N946"
    assert {"random_search", "regularized_evolution", "local_search", "reinforce"} <= set(without_supernet())
    assert not {"gdas", "random", "darts"} & set(without_supernet())


def test_the_command_prints_keeps_and_takes_options(tmp_path: Path) -> None:
    path = plain(tmp_path)
    (tmp_path / "few.nas").write_text(FEW)
    arguments = ["bench", str(tmp_path / "few.nas"), "--table", str(path), "--workers", "1", "--seeds", "2"]
    strategies = ["--strategies", "random_search,regularized_evolution", "--evaluations", "5"]
    result = CliRunner().invoke(app, [*arguments, *strategies, "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "searched by valid_1, reported test_9" in result.stdout
    data = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert set(data["strategies"]) == {"random_search", "regularized_evolution"}
    assert (tmp_path / "out" / "bench.txt").read_text() in result.stdout
    ET.parse(tmp_path / "out" / "bench.svg")
    result = CliRunner().invoke(
        app, [*arguments, *strategies, "--json", "-c", "regularized_evolution.population=2"]
    )
    assert json.loads(result.stdout)["evaluations"] == 5
    for wrong, code in (
        (["-c", "population=2"], "N922"),
        (["-c", "random_search.population=2"], "N920"),
        (["--strategies", "random_serch"], "N940"),
        (["--strategies", ","], "N940"),
        (["--truth", str(path)], "N971"),
        (["--constraint", "flosp <= 2"], "N511"),
    ):
        result = CliRunner().invoke(app, [*arguments, *wrong])
        assert result.exit_code == 1 and code in result.stderr


# --- NAS-Bench-201 ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(nasbench201_table: Path) -> Table:
    return read_table(nasbench201_table, nasbench201())


def test_the_facts_about_the_table(real: Table) -> None:
    assert len(real) == 15_625
    assert real.optimum == pytest.approx(94.3733, abs=5e-5)
    best = max(real.report, key=real.report.__getitem__)
    # Row 6111: |nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|
    assert list(json.loads(best).values()) == [
        "nor_conv_3x3", "nor_conv_3x3", "nor_conv_3x3", "skip_connect", "nor_conv_3x3", "nor_conv_1x1",
    ]  # fmt: skip
    chance = sum(value == 10 for value in real.report.values())
    assert chance == 341


def test_cells_without_a_path_are_those_at_chance(real: Table) -> None:
    """That strings and choices are mapped edge by edge."""
    names = [choice.name for choice in nasbench201().choices]
    edges = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    for open in product((True, False), repeat=6):
        genotype = {n: "skip_connect" if o else "none" for n, o in zip(names, open, strict=True)}
        reached = {0}
        for (source, target), is_open in zip(edges, open, strict=True):
            if is_open and source in reached:
                reached.add(target)
        assert (real.report[json.dumps(genotype)] == 10) == (3 not in reached)


def test_a_quick_comparison_is_in_the_published_range(real: Table) -> None:
    names = ["random_search", "regularized_evolution", "local_search"]
    found = bench(nasbench201(), real, names, evaluations=100, seeds=12, workers=1)
    means = {s.strategy: s.mean for s in found.summaries}
    assert 93.3 < means["random_search"] < 94.1
    assert 93.3 < means["regularized_evolution"] < 94.3
    assert means["local_search"] > means["random_search"]
