"""Strategies side by side on a task, and tables of architectures that were trained one by one."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from nasdsl import pipeline, resources
from nasdsl.cli.app import app
from nasdsl.diagnostics import NasError
from nasdsl.searching import bench_supernet
from nasdsl.searching.bench_supernet import bench_supernets, ceiling
from nasdsl.searching.contract import small_space, small_task
from nasdsl.searching.evaluators import train
from nasdsl.searching.ranking import agreement
from nasdsl.searching.settings import SearchSettings, settings_for
from nasdsl.searching.table import read_columns, read_table
from nasdsl.searching.tabulate import draw, tabulate
from nasdsl.training.recipe import Recipe

SHORT = ("search.epochs=2", "search.batch=9", "training.epochs=2", "training.batch=9")


def test_a_supernet_bench_tells_winners_and_ranking_and_processes_change_nothing(tmp_path: Path) -> None:
    space, task = small_space("candidates"), small_task()
    table = tmp_path / "table.csv"
    assert tabulate(space, task, Recipe(epochs=2, batch=9), table, count=5, seeds=2) == 5
    truth = read_columns(table, space, "test")
    settings = [settings_for(name, assignments=SHORT) for name in ("random", "gdas")]
    one, two = (
        bench_supernets(space, task, settings, seeds=2, truth=truth, workers=workers) for workers in (1, 2)
    )
    timeless = [[repr(replace(o, seconds=0.0)) for o in found.outcomes] for found in (one, two)]
    assert timeless[0] == timeless[1]
    assert [(o.strategy, o.seed) for o in one.outcomes] == [
        ("random", 0), ("random", 1), ("gdas", 0), ("gdas", 1)
    ]  # fmt: skip
    assert len({o.genotype for o in one.of("random")}) == 2
    for outcome in one.outcomes:
        assert 0 <= outcome.test <= 1 and outcome.ranking is not None
        assert space.genotype(json.loads(outcome.genotype))
        size = space.measure(space.genotype(json.loads(outcome.genotype)))
        assert (outcome.params, outcome.flops) == (size.params, size.flops)
    assert repr(one.ceiling) == repr(ceiling(truth))


def test_strategies_without_a_supernet_train_as_long_as_one_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained: list[int] = []
    fit = train.fit

    def counted(*given: Any, **named: Any) -> Any:
        trained.append(given[2].epochs)
        return fit(*given, **named)

    monkeypatch.setattr(train, "fit", counted)
    command = ["bench", "quickstart", "--task", "digits", "--workers", "1", "--seeds", "1"]
    compared = [*command, "--strategies", "random,random_search,reinforce", "--epochs", "3", "--json"]
    short = ["-c", "training.epochs=1", "-c", "evaluation.epochs=2"]
    result = CliRunner().invoke(app, [*compared, *short, "--evaluator", "train"], prog_name="nasdsl")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    # Of two strategies each an architecture for two epochs, as two would take four.
    assert trained == [2, 2]
    assert found["without_supernet"] == "train, at most 100 architectures and 3 epochs of training together"
    one, *others = found["searches"]
    assert one["shared"] is not None and [search["shared"] for search in others] == [None, None]
    assert all(search["test"] is not None for search in found["searches"])

    def refused(*more: str) -> str:
        result = CliRunner().invoke(app, [*command, *more], prog_name="nasdsl")
        assert result.exit_code == 1
        return result.stderr

    assert "all of these do" in refused("--strategies", "random,gdas", "--evaluator", "train")
    assert "`-c evaluation.epochs=2` is about" in refused("--strategies", "gdas", "-c", "evaluation.epochs=2")
    assert "has to score what it proposes" in refused("--strategies", "gdas,nsga2", "--epochs", "1")
    assert "`--evaluations` is about" in refused("--strategies", "gdas", "--evaluations", "3")


def test_all_supernets_have_as_many_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[SearchSettings] = []

    def stopped(space: Any, task: Any, settings: list[SearchSettings], **named: Any) -> Any:
        seen[:] = settings
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_supernet, "bench_supernets", stopped)

    def epochs(*more: str) -> list[int]:
        CliRunner().invoke(app, ["bench", "quickstart", "--task", "digits", *more], prog_name="nasdsl")
        return [one.epoch_budget or one.search.epochs for one in seen]

    # Published with 50 and 250; what is named twice competes once.
    assert settings_for("darts").search.epochs < settings_for("gdas").search.epochs == 250
    assert epochs("--strategies", "darts,gdas,darts") == [250, 250]
    assert epochs("--strategies", "darts,gdas", "-c", "search.epochs=7") == [7, 7]
    trained = ("--strategies", "random_search,darts,gdas", "--evaluator", "train")
    assert epochs(*trained) == [250, 250, 250]
    assert epochs(*trained[:1], "random_search", *trained[2:], "-c", "search.epochs=9") == [9]


def test_with_a_table_the_winners_are_looked_up_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space = pipeline.load(resources.spaces() / "quickstart.nas")
    names = [choice.name for choice in space.choices]
    values: dict[str, float] = {}
    rows = [",".join([*names, "valid", "test"])]
    for labels in itertools.product(*(choice.labels for choice in space.choices)):
        genotype = space.genotype(dict(zip(names, labels, strict=True)))
        values[genotype.text] = float(len(values))
        rows.append(",".join([*labels, "0", str(values[genotype.text])]))
    Path("all.csv").write_text("\n".join(rows))
    command = ["bench", "quickstart", "--task", "digits", "--table", "all.csv", "--strategies", "random,gdas"]
    short = ["--epochs", "1", "--seeds", "2", "--workers", "1"]
    result = CliRunner().invoke(app, [*command, *short, "-o", "kept"], prog_name="nasdsl")
    assert result.exit_code == 0, result.output
    found = json.loads(Path("kept/bench.json").read_text())
    assert found["listing"] == {"table": "all.csv", "column": "test", "optimum": 1124.0}
    assert len(found["searches"]) == 4
    for search in found["searches"]:
        assert search["listed"] == values[search["genotype"]]
        assert search["test"] is None, "what a table has is not trained"
    assert "listed" in result.stdout and "winner: trained" not in result.stdout


def test_without_retraining_the_shared_weights_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["bench", "quickstart", "--task", "digits", "--strategies", "random", "--epochs", "1"]
    more = ["--seeds", "1", "--workers", "1", "--no-retrain", "-o", "kept"]
    result = CliRunner().invoke(app, [*command, *more], prog_name="nasdsl")
    assert result.exit_code == 0, result.output
    (search,) = json.loads(Path("kept/bench.json").read_text())["searches"]
    row = next(line for line in result.stdout.splitlines() if line.startswith("random"))
    assert row.split()[1] == f"{search['shared']:.4f}"


def test_the_ceiling_is_the_agreement_of_two_trainings() -> None:
    truth = {str(i): (float(i), float(-i if i > 1 else i)) for i in range(4)}
    found = ceiling(truth)
    assert found is not None
    # Of the six pairs (0,1) alone is in one order in both; the better half by the mean are two of them.
    assert found.all == pytest.approx((1 - 5) / 6)
    assert ceiling({"a": (1.0,), "b": (2.0,)}) is None


def test_agreement_counts_ties_apart() -> None:
    assert agreement([1, 1, 2], [1, 2, 3]).all == pytest.approx(2 / math.sqrt(2 * 3))
    assert math.isnan(agreement([1, 1, 1], [1, 2, 3]).all)


def test_a_table_grows_and_goes_on(tmp_path: Path) -> None:
    space, task, recipe = small_space("candidates"), small_task(), Recipe(epochs=1, batch=9)
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    tabulate(space, task, recipe, whole, count=4)
    seen: list[int] = []
    tabulate(space, task, recipe, parts, count=2, on_row=lambda done, row: seen.append(done))
    tabulate(space, task, recipe, parts, count=4, on_row=lambda done, row: seen.append(done))
    assert parts.read_text() == whole.read_text()
    assert seen == [1, 2, 3, 4]
    table = read_table(whole, space)
    assert (table.search_column, table.report_column, len(table)) == ("valid_1", "test_1", 4)
    with pytest.raises(NasError, match="other columns"):
        tabulate(space, task, recipe, whole, count=4, seeds=3)


def test_all_architectures_are_drawn_where_there_are_no_more() -> None:
    space = small_space("candidates")
    assert {g.text for g in draw(space, 10**6, 0)} == {g.text for g in draw(space, space.count(), 1)}


def test_the_next_command_is_about_the_same_space_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), np.uint8)
    np.savez("some.npz", x=images, y=np.arange(24) % 2)
    arguments = ["--set", "classes=2", "--data", "some.npz"]
    command = [
        "tabulate",
        "quickstart",
        *arguments,
        "-n",
        "1",
        "--epochs",
        "1",
        "--workers",
        "1",
        "-o",
        "t.csv",
    ]
    result = CliRunner().invoke(app, command, prog_name="nasdsl")
    assert result.exit_code == 0, result.output
    assert f"next: nasdsl bench quickstart {' '.join(arguments)} --truth t.csv" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["bench", "quickstart"], "N971"),
        (["bench", "quickstart", "--task", "digits", "--table", "x.csv"], "N945"),
        (["bench", "quickstart", "--task", "digits", "--evaluations", "9"], "N971"),
        (["bench", "quickstart", "--table", "x.csv", "--epochs", "3"], "N971"),
        (["bench", "quickstart", "--table", "x.csv", "--no-retrain"], "N971"),
        (["bench", "quickstart", "--table", "x.csv", "--target", "y"], "N971"),
        (["bench", "quickstart", "--task", "digits", "--report-column", "test"], "N971"),
        (["bench", "quickstart", "--task", "digits", "--device", "cuda:99"], "N900"),
        (["bench", "quickstart", "--task", "digits", "--strategies", "darts"], "N942"),
        (["bench", "quickstart", "--task", "digits", "--truth", "nowhere.csv"], "N945"),
        (["bench", "quickstart", "--task", "digits", "-c", "gdas.nope=1"], "N920"),
        (["bench", "quickstart", "--task", "digits", "-c", "nope=1"], "N922"),
        (["tabulate", "quickstart", "--task", "digit", "-o", "t.csv"], "N910"),
    ],
)
def test_bad_input_is_one_message(
    arguments: list[str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments, prog_name="nasdsl")
    assert result.exit_code == 1
    assert result.output.count("error[") == 1 and f"error[{code}]" in result.output
