"""Searches without a supernet: strategies with evaluators, budgets, resuming, and what doesn't go together."""

from __future__ import annotations

import json
import math
from pathlib import Path as FilePath
from typing import Any

import pytest
from typer.testing import CliRunner

from nasdsl.cli.app import app
from nasdsl.diagnostics import Diagnostic, NasError
from nasdsl.searching import EVALUATORS, Interrupted, SearchResult, bayesian, evaluated, search, settings_for
from nasdsl.searching.budget import within
from nasdsl.searching.contract import compiled, small_space, small_task
from nasdsl.searching.degenerate import degenerate
from nasdsl.searching.history import History, Trial
from nasdsl.searching.successive_halving import SuccessiveHalving, SuccessiveHalvingOptions
from nasdsl.space.choice import Genotype
from tests.searching import fixture


def run(
    strategy: str, evaluator: str, *assignments: str, space: str = "candidates", seed: int = 0, **given: Any
) -> SearchResult:
    few = ["training.batch=6", "training.lr=0.05", *assignments]
    settings = settings_for(strategy, evaluator=evaluator, assignments=few, seed=seed, device="cpu")
    return search(small_space(space), settings, task=small_task(), **given)


@pytest.mark.parametrize("evaluator", sorted(EVALUATORS))
def test_every_evaluator_serves_a_search(evaluator: str) -> None:
    kind = EVALUATORS.find(evaluator)
    assert kind.__doc__ and "20" in kind.__doc__
    assert all(field.description for field in kind.Options.model_fields.values())
    found = run("random_search", evaluator, "evaluations=4")
    assert len(found.history) == 4 and found.supernet is None
    assert found.best.metric == max(t.metric for t in found.history if t.metric == t.metric)
    assert [t.metric for t in found.history] == pytest.approx(
        [t.metric for t in run("random_search", evaluator, "evaluations=4").history], nan_ok=True
    )


@pytest.mark.parametrize(
    "strategy", ["regularized_evolution", "local_search", "reinforce", "nsga2", "bayesian", "random_search"]
)
def test_strategies_climb_by_a_score(strategy: str) -> None:
    found = run(strategy, "params", "evaluations=40")
    scores = [t.metric for t in found.history]
    assert found.best.metric == max(scores) > sum(scores[:10]) / 10
    assert not found.history.spent


# --- budgets ------------------------------------------------------------------------------------------


def test_rounds_keep_the_best_and_count_every_epoch() -> None:
    told: list[dict[str, Any]] = []
    found = run("successive_halving", "train", "options.candidates=9", on_event=told.append)
    trials = [e for e in told if e["event"] == "trial"]
    assert [e["budget"] for e in trials] == [1] * 9 + [3] * 3 + [9]
    assert [e["spent"] for e in trials] == [*range(1, 10), 12, 15, 18, 27]
    assert told[-1]["spent"] == found.history.spent == 27
    first, second = History(found.history[:9]), History(found.history[9:12])
    assert [t.genotype for t in second] == [t.genotype for t in first.ranked()[:3]]
    assert found.history[12].genotype == second.best().genotype
    # The winner is the one that the most was spent on, not one that did well by chance with little.
    assert found.genotype == found.history[12].genotype and found.best.budget == 9


def test_it_finds_the_best_where_more_training_tells_more() -> None:
    """Scores are true up to noise that falls with the budget; it gets as far as full training of all, for a third."""
    space = small_space("candidates")
    value = {"none": 0.0, "skip": 0.3, "conv": 1.0}
    regrets = []
    for seed in range(10):
        made, history = SuccessiveHalving(space, SuccessiveHalvingOptions(candidates=27), seed), History()
        while (genotype := made.propose(history)) is not None:
            budget = made.budget(history)
            noise = math.sin(1000 * (hash_of(genotype) + budget + seed)) / budget
            history.add(Trial(genotype, sum(value[str(v)] for v in genotype.values()) + noise, 0.0, budget))
        assert history.spent == 27 + 9 * 3 + 3 * 9 + 27 < 27 * 27 / 3
        regrets.append(3.0 - sum(value[str(v)] for v in history.best().genotype.values()))
    assert sum(regrets) / len(regrets) < 0.5  # a random genotype lacks 1.7


def hash_of(genotype: Genotype) -> int:
    return sum(ord(c) * i for i, c in enumerate(genotype.text))


def test_a_budget_ends_a_search_and_repeats_cost_nothing() -> None:
    found = run("random_search", "train", "evaluation.epochs=2", "epoch_budget=7")
    assert [t.budget for t in found.history] == [2, 2, 2]
    again = run(
        "regularized_evolution", "train", "evaluation.epochs=1", "options.population=2", "evaluations=12"
    )
    texts = {t.genotype.text for t in again.history}
    assert len(texts) < 12 and again.history.spent == len(texts)


def test_most_caps_the_rounds() -> None:
    def rounds(**options: int) -> list[tuple[int, int]]:
        return SuccessiveHalving(small_space("candidates"), SuccessiveHalvingOptions(**options), 0).rounds()

    assert rounds(candidates=27, most=4) == [(27, 1), (9, 3)]
    assert rounds(candidates=8, eta=2, least=2) == [(8, 2), (4, 4), (2, 8), (1, 16)]
    assert rounds(candidates=2, least=5, most=3) == [(2, 5)]


# --- a folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "evaluator"), [("successive_halving", "train"), ("local_search", "snip")]
)
def test_a_search_that_was_stopped_goes_on(
    strategy: str, evaluator: str, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("options.candidates=6",) if strategy == "successive_halving" else ("evaluations=12",)
    whole = run(strategy, evaluator, *few)
    calls = 0
    step = evaluated.Evaluated.trial

    def interrupted(self: evaluated.Evaluated, genotype: Genotype) -> None:
        nonlocal calls
        calls += 1
        self.stop = lambda: calls == 4
        step(self, genotype)

    monkeypatch.setattr(evaluated.Evaluated, "trial", interrupted)
    with pytest.raises(Interrupted):
        run(strategy, evaluator, *few, folder=tmp_path / "run")
    told: list[dict[str, Any]] = []
    found = run(strategy, evaluator, *few, folder=tmp_path / "run", on_event=told.append)
    assert [t.genotype for t in found.history] == [t.genotype for t in whole.history]
    assert [e["event"] for e in told] == ["resume", *["trial"] * (len(whole.history) - 4), "end"]
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events] == ["start", *["trial"] * len(whole.history), "end"]
    again = run(strategy, evaluator, *few, folder=tmp_path / "run", on_event=told.clear)  # type: ignore[arg-type]
    assert again.genotype == whole.genotype


@pytest.mark.parametrize(
    "strategy", ["random_search", "regularized_evolution", "local_search", "reinforce", "nsga2", "bayesian"]
)
def test_a_search_that_is_given_more_comes_to_what_it_would_have_from_the_start(
    strategy: str, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def events(folder: FilePath) -> list[dict[str, Any]]:
        lines = (folder / "events.jsonl").read_text().splitlines()
        return [json.loads(line) | {"seconds": 0, "evaluations": 0} for line in lines]

    run(strategy, "params", "evaluations=24", folder=tmp_path / "whole")
    grown = tmp_path / "grown"
    run(strategy, "params", "evaluations=7", folder=grown)
    told: list[dict[str, Any]] = []
    run(strategy, "params", "evaluations=16", folder=grown, on_event=told.append)
    assert (told[0]["event"], told[0]["trials"], told[0]["evaluations"]) == ("resume", 7, 16)
    # It is stopped beyond its first end, and goes on from there.
    step = evaluated.Evaluated.trial

    def interrupted(self: evaluated.Evaluated, genotype: Genotype) -> None:
        self.stop = lambda: True
        step(self, genotype)

    monkeypatch.setattr(evaluated.Evaluated, "trial", interrupted)
    with pytest.raises(Interrupted):
        run(strategy, "params", "evaluations=24", folder=grown)
    monkeypatch.undo()
    assert [e["event"] for e in events(grown)] == ["start", *["trial"] * 17]
    run(strategy, "params", "evaluations=24", folder=grown)
    assert events(grown) == events(tmp_path / "whole")
    for name in ("genotype.json", "finalists.json", "report.md", "config.toml"):
        assert (grown / name).read_text() == (tmp_path / "whole" / name).read_text()
    with pytest.raises(NasError) as error:
        run(strategy, "params", "evaluations=23", folder=grown)
    assert error.value.diagnostics[0].code == "N930" and "may be more" in str(error.value)
    assert events(grown) == events(tmp_path / "whole")


def test_a_budget_of_training_may_grow_too(tmp_path: FilePath) -> None:
    few = ("evaluations=6", "evaluation.epochs=2")
    whole = run("random_search", "train", *few, folder=tmp_path / "whole")
    part = run("random_search", "train", *few, "epoch_budget=5", folder=tmp_path / "grown")
    assert part.history.spent == 4
    grown = run("random_search", "train", *few, folder=tmp_path / "grown")  # 0, which is any number
    assert grown.history.spent == 12
    assert [t.as_json() for t in grown.history] == [t.as_json() for t in whole.history]


def test_finalists_are_the_best_few_each_once(tmp_path: FilePath) -> None:
    found = run("random_search", "params", "evaluations=20", "finalists=3", folder=tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "finalists.json").read_text())
    scores = sorted((t.metric for t in found.history), reverse=True)
    assert [entry["metric"] for entry in kept] == scores[:3]
    assert kept[0]["genotype"] == json.loads((tmp_path / "run" / "genotype.json").read_text())
    assert "Scored by `params` the winner has params" in (tmp_path / "run" / "report.md").read_text()
    twice = History([Trial(found.genotype, 0.5, 1.0), Trial(found.genotype, 0.4, 1.0)])
    twice.add(Trial(found.history[1].genotype, math.nan, math.nan))
    assert len(twice.finalists(5)) == 1


def test_the_command_and_what_reads_its_folder(tmp_path: FilePath) -> None:
    folder = str(tmp_path / "run")
    given = ["search", "quickstart", "--strategy", "local_search", "--evaluator", "flops"]
    result = CliRunner().invoke(app, [*given, "--evaluations", "15", "-o", folder])
    assert result.exit_code == 0, result.output
    assert "local_search on digits, at most 15 scored by flops" in result.stdout
    assert "flops" in result.stdout.splitlines()[1]
    assert CliRunner().invoke(app, ["train", folder, "--epochs", "1"]).exit_code == 0


# --- what doesn't go together -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "evaluator", "code", "says"),
    [
        ("local_search", "", "N943", "something has to score what it proposes"),
        ("gdas", "synflow", "N966", "scores with the supernet that it trains"),
        ("successive_halving", "synflow", "N966", "evaluator `synflow` trains none"),
        ("local_search", "synflwo", "N963", "unknown evaluator `synflwo`"),
    ],
)
def test_what_does_not_go_together_is_said_before_there_is_a_folder(
    strategy: str, evaluator: str, code: str, says: str, tmp_path: FilePath
) -> None:
    with pytest.raises(NasError) as error:
        run(strategy, evaluator, folder=tmp_path / "run")
    (told,) = error.value.diagnostics
    assert told.code == code and says in told.message and told.help
    assert not (tmp_path / "run").exists()
    if code == "N943":
        assert all(name in told.help for name in EVALUATORS)


def test_a_budget_of_time_is_one_of_a_supernet() -> None:
    settings = settings_for("local_search", evaluator="params", device="cpu")
    with pytest.raises(NasError, match="N966"):
        within(small_space("candidates"), settings, small_task(), 60.0)


# --- degenerate winners -------------------------------------------------------------------------------


def test_winners_that_ignore_their_input_or_learn_nothing_are_warned_about() -> None:
    space = small_space("candidates")
    a, b, c = (choice.name for choice in space.choices)
    cut = degenerate(space, Genotype({a: "conv", b: "none", c: "none"}))
    assert cut is not None and cut.code == "N964" and "doesn't depend on its input" in cut.message
    skips = degenerate(space, Genotype({a: "skip", b: "skip", c: "none"}))
    assert (
        skips is not None
        and skips.code == "N964"
        and skips.message
        == (
            f"the winner has none of the operations with weights that could be chosen: `{a}` is skip, `{b}` is skip, `{c}` is none"
        )
    )
    assert "differentiable" not in str(skips.help)
    learned = degenerate(space, Genotype({a: "skip", b: "skip", c: "none"}), by_gradient=True)
    assert learned is not None and "differentiable" in str(learned.help)
    assert degenerate(space, Genotype({a: "conv", b: "skip", c: "none"})) is not None  # the conv isn't used
    assert degenerate(space, Genotype({a: "conv", b: "skip", c: "skip"})) is None
    numbers = small_space("numbers")  # nothing to leave out
    assert all(degenerate(numbers, g) is None for g in numbers.sample(0, 6))
    assert degenerate(fixture.space(), fixture.genotype((1, 1, 1))) is None


def test_weights_that_are_chosen_otherwise_are_no_degenerate_winner() -> None:
    text = (
        "space s() {\n  input x: [4, 5, 5]\n  width = 4 | 8\n  y = x -> conv(width, kernel = %s)\n"
        "  layer = skip: y + y | conv: y -> conv(kernel = 3)\n  return layer -> relu -> global_avgpool -> linear(3)\n}\n"
    )
    fixed, elastic = compiled(text % "3"), compiled(text % "3|5")
    taken = {"width": "8", "layer": "skip"}
    warning = degenerate(fixed, fixed.genotype(taken))
    # The width of what is always there is chosen, and the message says nothing else of it.
    assert warning is not None and warning.message.endswith("that could be chosen: `layer` is skip")
    kernel = next(choice.name for choice in elastic.choices if choice.name not in taken)
    assert all(degenerate(elastic, elastic.genotype({**taken, kernel: k})) is None for k in ("3", "5"))
    assert degenerate(fixed, fixed.genotype({**taken, "layer": "conv"})) is None


def test_a_search_warns_at_its_end() -> None:
    told: list[Diagnostic] = []
    space = compiled(
        "space s() {\n  input x: [4, 5, 5]\n  return x -> (skip: identity | pool: avgpool(3) | conv: conv(kernel = 3))"
        " -> relu -> global_avgpool -> linear(3)\n}\n"
    )
    settings = settings_for("random_search", evaluator="params", device="cpu")
    search(space, settings, task=small_task(), warn=told.append)
    assert told == []  # it takes the convolution
    one = settings.model_copy(update={"evaluations": 1, "seed": 1})
    found = search(space, one, task=small_task(), warn=told.append)
    assert ("conv" in found.genotype.text) == (not told)
    assert all(d.code == "N964" and str(d.severity) == "warning" for d in told)


def test_bayesian_without_optuna_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: FilePath
) -> None:
    monkeypatch.setattr(bayesian, "find_spec", lambda name: None)
    with pytest.raises(NasError) as error:
        run("bayesian", "params", folder=tmp_path / "run")
    (diagnostic,) = error.value.diagnostics
    assert (diagnostic.code, diagnostic.help) == ("N972", "pip install 'nasdsl[bayesian]'")
    assert diagnostic.message == "strategy `bayesian` needs optuna, which isn't here"
    assert not (tmp_path / "run").exists()
