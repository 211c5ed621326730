"""Strict fairness: counts, gradients, and spaces where choices differ in size or come and go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl.pipeline import loads
from nasdsl.searching import Path, search, settings_for
from nasdsl.searching.fair import Fair, FairOptions
from nasdsl.searching.steps import Steps
from nasdsl.space.space import Space
from nasdsl.training.step import Pass
from tests.searching import fixture
from tests.searching.small import shipped


def strategy(space: Space, seed: int = 0, **options: Any) -> Fair:
    return Fair(space, FairOptions(**options), seed)


def test_each_candidate_is_used_exactly_once_a_step() -> None:
    space = shipped("nasbench201", width=2, cells=1)
    made = strategy(space)
    orders = set()
    for step in range(1, 30):
        paths = made.paths()
        assert len(paths) == 5
        for choice in space.choices:
            used = [str(path.genotype[choice.name]) for path in paths]
            assert sorted(used) == sorted(choice.labels)
            orders.add(tuple(used))
        assert {n for counts in made.uses.values() for n in counts} == {step}
    assert len(orders) > 60  # of 120: the permutations are drawn each for itself


def test_permutations_are_uniform() -> None:
    made = strategy(fixture.space())
    counts: dict[tuple[str, ...], int] = {}
    draws = 1200
    for _ in range(draws):
        order = tuple(str(path.genotype["n1"]) for path in made.paths())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert (
        sum((n - draws / 6) ** 2 / (draws / 6) for n in counts.values()) < 20.5
    )  # 5 degrees, one in a thousand


def test_smaller_choices_and_sub_lists_stay_even_up_to_one() -> None:
    for name, parameters in (("quickstart", {}), ("enas_macro", {"layers": 5}), ("one_shot", {"cells": 3})):
        space = shipped(name, **parameters)
        made = strategy(space)
        for _ in range(25):
            for path in made.paths():
                assert space.genotype(path.genotype) == path.genotype
            for choice in space.choices:
                counts = made.uses[choice.name]
                assert max(counts) - min(counts) <= 1


def test_choices_that_come_and_go_stay_even() -> None:
    space = shipped("hierarchical")
    made = strategy(space)
    for _ in range(40):
        for path in made.paths():
            assert space.genotype(path.genotype) == path.genotype
    assert all(max(counts) - min(counts) <= 1 for counts in made.uses.values())
    assert len({sum(counts) for counts in made.uses.values()}) > 1


def test_what_is_required_is_kept_to() -> None:
    space = loads(fixture.SOURCE.replace("  n1 =", '  require count("zero") <= 1\n  n1 ='))
    made = strategy(space)
    for _ in range(30):
        assert all(space.permits(path.genotype) for path in made.paths())
    assert all(max(counts) == min(counts) == 30 for counts in made.uses.values())
    # Where fairness can't be had the space has the last word.
    space = loads(fixture.SOURCE.replace("  n1 =", '  require count("zero") == 0\n  n1 ='))
    made = strategy(space, tries=3)
    for _ in range(10):
        assert all(space.permits(path.genotype) for path in made.paths())


def test_the_gradient_of_a_step_is_the_sum_of_those_of_its_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients: list[dict[str, Tensor]] = []
    expected: list[dict[str, Tensor]] = []
    updates: list[int] = []
    passes = Steps._pass

    def watched(self: Steps, path: Path, batch: Any, share: float) -> Pass:
        made = passes(self, path, batch, share)

        def model(*inputs: Tensor) -> Tensor:
            found = made.model(*inputs)
            if path.weight is not None and len(gradients) == 0:
                loss = self.objective.loss(found, batch.targets, self.settings.search.smoothing)
                parameters = dict(self.supernet.named_parameters())
                given = torch.autograd.grad(
                    loss, list(parameters.values()), allow_unused=True, retain_graph=True
                )
                expected.append({n: g for n, g in zip(parameters, given, strict=True) if g is not None})
            return found

        return replace(made, model=model)

    original = Steps.weight_step

    def step(self: Steps, *args: Any) -> None:
        if not gradients:
            optimizer_step = self.weights.optimizer.step

            def capture(*a: Any, **k: Any) -> Any:
                gradients.append(
                    {n: p.grad.clone() for n, p in self.supernet.named_parameters() if p.grad is not None}
                )
                return optimizer_step(*a, **k)

            monkeypatch.setattr(self.weights.optimizer, "step", capture)
        original(self, *args)
        updates.append(len(gradients))

    monkeypatch.setattr(Steps, "_pass", watched)
    monkeypatch.setattr(Steps, "weight_step", step)
    few = [
        "search.epochs=1", "search.clip=0", "search.batch=300", "options.population=2", "options.generations=1",
        "options.calibration=1",
    ]  # fmt: skip
    search(shipped("quickstart"), settings_for("fair", preset="demo", assignments=few, task="digits"))
    assert len(expected) == 5
    assert updates == list(range(1, len(updates) + 1))  # one update a step
    total: dict[str, Tensor] = {}
    for one in expected:
        for name, gradient in one.items():
            total[name] = total[name] + gradient if name in total else gradient
    assert set(total) == set(gradients[0])
    for name, gradient in total.items():
        torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-4, atol=1e-6)
    assert [p.weight for p in strategy(shipped("quickstart"), accumulate="mean").paths()] == [0.2] * 5


def test_what_it_remembers_goes_on_evenly() -> None:
    space = shipped("quickstart")
    whole, first = strategy(space), strategy(space)
    for _ in range(3):
        whole.paths()
        first.paths()
    second = strategy(space)
    second.restore(first.state())
    first.paths()
    assert second.paths() == whole.paths()
    assert second.uses == whole.uses


def test_a_short_search() -> None:
    few = ["search.epochs=3", "options.population=4", "options.generations=2", "options.calibration=4"]
    result = search(
        shipped("quickstart"), settings_for("fair", preset="demo", assignments=few, task="digits")
    )
    assert len(result.history) == 8
    assert result.best.metric > 0.12
