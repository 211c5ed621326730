"""Strategies on the spaces that ship, and what a few of them have of their own. Their contract: test_contract.py."""

from __future__ import annotations

from functools import cache
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl import resources
from nasdsl.diagnostics import NasError
from nasdsl.pipeline import load
from nasdsl.searching import STRATEGIES, Path, Strategy, is_connected, sample_connected, settings_for
from nasdsl.searching.history import History, Trial
from nasdsl.searching.strategy import WeightSharing
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space

SHIPPED = sorted(path.stem for path in resources.spaces().glob("*.nas"))
NAMES = sorted(STRATEGIES)


@cache
def space_named(name: str) -> Space:
    return load(FilePath(resources.spaces()) / f"{name}.nas")


@cache
def refusal(name: str, space: str) -> set[str]:
    """The codes with which a strategy refuses a space."""
    try:
        make(name, space_named(space))
    except NasError as error:
        return {d.code for d in error.diagnostics}
    return set()


def home(name: str) -> Space:
    """A small space that a strategy can handle."""
    return space_named("nasbench201" if refusal(name, "quickstart") else "quickstart")


def make(name: str, space: Space, seed: int = 0) -> Strategy:
    kind = STRATEGIES.find(name)
    return kind(space, kind.Options(), seed)


def stub_loss(path: Path) -> Tensor:
    """Some function of what is run, without a supernet."""
    total = torch.tensor(float(sum(map(len, path.genotype))), dtype=torch.float64)
    for gate in path.gates.values():
        total = total + (gate * torch.arange(len(gate))).sum()
    for weights in (path.mixture or {}).values():
        total = total + (weights * torch.arange(len(weights))).sum()
    return total


def advance(strategy: Strategy, steps: int, *, epoch: int = 0) -> list[Any]:
    """What a strategy does over some steps."""
    seen: list[Any] = []
    if isinstance(strategy, WeightSharing):
        seen.append(strategy.start_epoch(epoch, 3))
        for _ in range(steps):
            seen.append([Genotype(path.genotype).text for path in strategy.paths()])
            if strategy.learns:
                seen.append(strategy.architecture_step(None, stub_loss))  # type: ignore[arg-type]
        seen.append(strategy.probabilities())
    return seen


def proposals(strategy: Strategy, limit: int = 5) -> list[Genotype]:
    history = History()
    while len(history) < limit:
        genotype = strategy.propose(history)
        if genotype is None:
            break
        history.add(Trial(genotype, 1.0 / (1 + len(history)), 1.0))
    return [trial.genotype for trial in history]


@pytest.mark.parametrize("space", SHIPPED)
@pytest.mark.parametrize("name", NAMES)
def test_what_it_proposes_lies_in_the_space(name: str, space: str) -> None:
    codes = refusal(name, space)
    if codes:  # what it can't handle it says at once
        assert codes <= {"N506", "N942"}
        return
    strategy = make(name, space_named(space))
    advance(strategy, 3)
    found = proposals(strategy, 2)
    assert found
    for genotype in found:
        assert space_named(space).genotype(genotype) == genotype


def test_unknown_strategies_and_presets_get_the_nearest_name() -> None:
    for call, code, help in (
        (lambda: settings_for("gads"), "N940", "did you mean `gdas`?"),
        (lambda: settings_for("gdas", preset="demos"), "N941", "did you mean `demo`?"),
        (lambda: settings_for("gdas", assignments=["options.lrr=1"]), "N920", "did you mean `options.lr`?"),
    ):
        with pytest.raises(NasError) as error:
            call()
        (diagnostic,) = error.value.diagnostics
        assert (diagnostic.code, diagnostic.help) == (code, help)


def test_published_settings_are_the_published_ones() -> None:
    settings = settings_for("gdas")
    weights, options = settings.search, settings.options.model_dump()
    assert (weights.epochs, weights.batch, weights.lr, weights.lr_end) == (250, 64, 0.025, 0.001)
    assert (weights.momentum, weights.nesterov, weights.weight_decay, weights.clip) == (0.9, True, 5e-4, 5.0)
    assert (options["lr"], options["beta1"], options["weight_decay"]) == (3e-4, 0.5, 1e-3)
    assert (options["tau_start"], options["tau_end"], options["estimator"]) == (10.0, 0.1, "selected_only")


def test_random_paths_are_uniform_and_candidates_are_not_repeated() -> None:
    space = space_named("quickstart")
    strategy = make("random", space)
    assert isinstance(strategy, WeightSharing)
    counts: dict[str, int] = {}
    for _ in range(3000):
        (path,) = strategy.paths()
        label = str(path.genotype["normal.b"])
        counts[label] = counts.get(label, 0) + 1
    assert len(counts) == 5
    assert (
        sum((n - 600) ** 2 / 600 for n in counts.values()) < 18.5
    )  # 4 degrees of freedom, one in a thousand
    texts = [genotype.text for genotype in proposals(strategy, 40)]
    assert len(set(texts)) == 40


def test_connected_samples_depend_on_the_input() -> None:
    space = space_named("quickstart")
    found = sample_connected(space, 20, seed=0)
    assert len({genotype.text for genotype in found}) == 20
    assert found[:3] == sample_connected(space, 3, seed=0)
    for genotype in found:
        if genotype["normal.c#1"] == "none":
            assert genotype["normal.c#2"] != "none" and genotype["normal.b"] != "none"
    cut = {"width": "16", "repeat.depth": "1", "normal.b": "skip", "normal.c#1": "none", "normal.c#2": "none"}
    assert not is_connected(space.architecture(space.genotype(cut)))


def test_the_best_trial_has_the_largest_metric_then_the_smallest_loss() -> None:
    space = space_named("quickstart")
    a, b, c, d = (space.sample(seed) for seed in range(4))
    history = History(
        [Trial(a, 0.5, 0.1), Trial(b, 0.9, 2.0), Trial(c, 0.9, 1.0), Trial(d, float("nan"), 0.0)]
    )
    assert history.best().genotype == c
    assert history.has(a) and len(history) == 4
    assert [Trial.from_json(t.as_json()).genotype for t in history] == [a, b, c, d]
