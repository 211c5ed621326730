"""ENAS's controller against enumeration, its two phases, and short runs on the spaces of the paper."""

from __future__ import annotations

import math
import os
import signal
from functools import cache
from itertools import combinations
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl.pipeline import loads
from nasdsl.searching import STRATEGIES, Interrupted, Path, search, settings_for
from nasdsl.searching.enas import Enas, EnasOptions, OneOf, Subset, input_choices, skip_divergence
from nasdsl.searching.history import History, Trial
from nasdsl.searching.objectives import SampleCost
from nasdsl.searching.scoring import Scorer
from nasdsl.searching.steps import Steps
from nasdsl.searching.strategy import Ranking, RewardDriven
from nasdsl.space.space import Space
from nasdsl.space.tensor import Shape
from nasdsl.training.objectives import NextToken
from nasdsl.training.split import Split
from nasdsl.training.tasks import Task, classification
from nasdsl.training.train import Evaluation
from tests.searching import fixture
from tests.searching.small import shipped


@cache
def noise(count: int = 48) -> Task:
    """Images without meaning, for spaces of 32 x 32."""
    random = torch.Generator().manual_seed(0)
    return classification(
        "noise", "noise", torch.randn(count, 3, 32, 32, generator=random), torch.arange(count) % 4
    )


def strategy(space: Space | None = None, seed: int = 0, spread: float = 1.0, **options: Any) -> Enas:
    settings = {"hidden": 6, "entropy_weight": 0, "skip_weight": 0} | options
    made = Enas(space or fixture.space(), EnasOptions(**settings), seed)
    with torch.no_grad():
        for parameter in made.controller.parameters():
            parameter *= 10 * spread  # decisions that differ, and rest on each other
    return made


def gradient(made: Enas, value: Tensor) -> Tensor:
    found = torch.autograd.grad(value, list(made.controller.parameters()), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten()
            for p, g in zip(made.controller.parameters(), found, strict=True)
        ]
    )


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("layers", [1, 2])
def test_reinforce_is_exact_on_average_but_for_the_factor_of_the_moving_baseline(
    decay: float, layers: int
) -> None:
    made = strategy(baseline_decay=decay, layers=layers)
    rewards = -fixture.losses("squared")
    traces = {z: made.controller.follow(fixture.genotype(z)) for z in fixture.architectures()}
    p = {z: trace.log_probability.exp() for z, trace in traces.items()}
    assert float(sum(p.values()).detach()) == pytest.approx(1, abs=1e-12)  # type: ignore[arg-type]
    exact = gradient(made, -sum(p[z] * rewards[z] for z in p))  # type: ignore[arg-type]
    assert float(exact.norm()) > 1e-2
    for baseline in (0.0, -5.0, 40.0):
        mean = torch.zeros_like(exact)
        for z in fixture.architectures():
            made.baseline = baseline
            trace = made.controller.follow(fixture.genotype(z))
            mean += float(p[z].detach()) * gradient(made, made.loss(trace, float(rewards[z])))
            assert float(rewards[z]) - made.baseline == pytest.approx(decay * (float(rewards[z]) - baseline))
        torch.testing.assert_close(mean, decay * exact, rtol=0, atol=1e-10)


def test_architectures_are_drawn_as_often_as_the_controller_says() -> None:
    made = strategy()
    draws = 1500
    counts = torch.zeros(3, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(draws):
            counts[fixture.positions(made.draw(made.random).genotype)] += 1
        expected = torch.zeros_like(counts)
        for z in fixture.architectures():
            expected[z] = draws * float(made.controller.follow(fixture.genotype(z)).log_probability.exp())
    many = expected >= 5
    chi_squared = float(((counts - expected) ** 2 / expected)[many].sum())
    assert chi_squared < 2 * int(many.sum()) + 20


@pytest.mark.parametrize(("low", "high"), [(0, 4), (2, 2), (1, 2), (1, 4), (0, 1), (4, 4)])
def test_subsets_have_the_odds_of_their_members(low: int, high: int) -> None:
    odds = torch.tensor([0.3, -1.2, 2.0, 0.1], dtype=torch.float64)
    law = Subset(odds, low, high)
    subsets = [s for n in range(low, high + 1) for s in combinations(range(4), n)]
    weights = torch.stack([odds[list(s)].sum().exp() for s in subsets])
    expected = weights / weights.sum()
    found = torch.stack([law.log_probability(s).exp() for s in subsets])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    inside = [sum(float(p) for s, p in zip(subsets, expected, strict=True) if i in s) for i in range(4)]
    assert law.probabilities() == pytest.approx(inside, abs=1e-12)
    assert law.entropy() == pytest.approx(-float((expected * expected.log()).sum()), abs=1e-12)
    assert law.likeliest() == subsets[int(expected.argmax())]
    random = torch.Generator().manual_seed(0)
    counts = dict.fromkeys(subsets, 0)
    for _ in range(2000):
        counts[law.sample(random)] += 1
    chi_squared = sum(
        (counts[s] - 2000 * float(p)) ** 2 / (2000 * float(p)) for s, p in zip(subsets, expected, strict=True)
    )
    assert chi_squared < 2 * len(subsets) + 12
    leaf = odds.clone().requires_grad_()
    (slope,) = torch.autograd.grad(Subset(leaf, low, high).log_probability(subsets[0]), leaf)
    member = torch.tensor([float(i in subsets[0]) for i in range(4)], dtype=torch.float64)
    torch.testing.assert_close(slope, member - torch.tensor(inside, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_entropy_of_the_action_is_not_the_entropy() -> None:
    law = OneOf(torch.tensor([0.0, math.log(2.0)], dtype=torch.float64))
    assert law.entropy() == pytest.approx(math.log(3) - 2 / 3 * math.log(2))
    assert law.action_entropy((0,)) == pytest.approx(math.log(3) / 3)
    made = {kind: strategy(entropy=kind, entropy_weight=1.0) for kind in ("exact", "action")}
    totals = {}
    for kind, one in made.items():
        trace = one.controller.follow(fixture.genotype((0, 1, 2)))
        one.loss(trace, 0.0)
        totals[kind] = one.baseline / (1 - one.options.baseline_decay)
        assert totals[kind] == pytest.approx(trace.entropy if kind == "exact" else trace.action_entropy)
    assert totals["exact"] != pytest.approx(totals["action"])
    assert STRATEGIES.find("enas").Options().entropy == "exact"  # type: ignore[attr-defined]


def test_the_skip_prior_has_its_minimum_at_the_prior_and_the_released_form_elsewhere() -> None:
    def minimiser(form: str) -> float:
        u = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        for _ in range(3000):
            (slope,) = torch.autograd.grad(skip_divergence(u, 0.4, form), u)
            with torch.no_grad():
                u -= slope
        assert float(skip_divergence(u.detach(), 0.4, form)) == pytest.approx(0, abs=1e-12)
        return float(u.detach())

    corrected, released = minimiser("corrected"), minimiser("released")
    assert corrected == pytest.approx(0.5 * math.log(0.4 / 0.6), abs=1e-9)
    assert released == pytest.approx(-0.405465, abs=1e-6)
    assert 1 / (1 + math.exp(-2 * corrected)) == pytest.approx(0.4)
    assert 1 / (1 + math.exp(-2 * released)) == pytest.approx(0.3077, abs=1e-4)


def test_the_skip_prior_alone_brings_skip_connections_to_the_prior() -> None:
    space = shipped("enas_macro", layers=4, width=4)
    made = strategy(space, spread=0.2, skip_weight=0.8, lr=0.05, tanh=0, temperature=1)
    for _ in range(60):
        trace = made.draw(made.random)
        (0.8 * trace.divergence).backward()
        made.optimizer.step()
        made.optimizer.zero_grad(set_to_none=True)
    for name, ps in made.probabilities().items():
        if name.startswith("skips"):
            assert ps == pytest.approx([0.4] * len(ps), abs=0.08)
    # Sub-lists of operations, or with bounds, and choices of one have no such prior.
    for other in ("one_shot", "quickstart"):
        assert float(strategy(shipped(other)).draw(torch.Generator()).divergence.detach()) == 0


def test_logits_go_through_temperature_and_tanh() -> None:
    made = strategy(spread=100.0)
    law = made.controller.run(lambda choice, law: law.likeliest()).probabilities
    # No probability can leave the band of logits ±2.5.
    ps = [p for row in law.values() for p in row]
    assert max(ps) / min(ps) <= math.exp(5) + 1e-6
    u = torch.tensor([0.0, 5.0, -1e9], dtype=torch.float64)
    assert made.controller.squash(u).tolist() == pytest.approx([0, 2.5 * math.tanh(1), -2.5])
    assert strategy(tanh=0).controller.squash(u).tolist()[:2] == [0, 1]
    micro = settings_for("enas", preset="micro_code").options
    assert isinstance(micro, EnasOptions)
    # The released micro code favours its separable convolutions from the start.
    made = Enas(shipped("enas_micro", width=4), micro, 0)
    first = next(ps for name, ps in made.probabilities().items() if name.startswith("normal.motif.left[2]."))
    assert first == pytest.approx([0.2543] * 2 + [0.1638] * 3, abs=0.01)


def test_inputs_are_told_from_operations_and_anchored_at_what_made_them() -> None:
    def anchors(name: str, choice: str, **parameters: int) -> list[str | None]:
        space = shipped(name, **parameters)
        names = {c.index: c.name for c in space.choices}
        sources = input_choices(space)[choice]
        return [names[s.choices[0]] if s.own is None else None for s in sources]

    macro = shipped("enas_macro", layers=4, width=4)
    assert set(input_choices(macro)) == {"skips[2]", "skips[3]", "skips[4]"}
    # Reading the stem, the first layer (no skip connections of its own), the second.
    assert anchors("enas_macro", "skips[4]", layers=4, width=4) == [None, "y[1]", "skips[2]"]
    micro = shipped("enas_micro", width=4)
    assert set(input_choices(micro)) == {c.name for c in micro.choices if c.name.endswith("]")}
    sources = input_choices(micro)["normal.motif.left[2]"]
    assert None not in {s.own for s in sources} and len({s.own for s in sources}) == 2
    assert anchors("enas_micro", "normal.motif.right[3]", width=4)[2:] == ["normal.motif.right[2].1"]
    assert anchors("enas_rnn", "rnn.n[3]") == ["rnn.n", "rnn.n[1].0.activation", "rnn.n[2].1.activation"]
    assert input_choices(shipped("nasbench201")) == input_choices(shipped("autoformer_tiny")) == {}
    # A cell that is given one tensor twice still tells its inputs apart.
    own = [s.own for s in input_choices(shipped("one_shot", cells=3))["motif.n[3]#1"][:2]]
    assert own[0] != own[1]


def test_an_attended_input_is_fed_back_and_locality_prefers_the_nearest() -> None:
    space = shipped("darts_rnn", hidden=8, embed=8, vocab=10)
    plain, local = strategy(space, spread=0.01), strategy(space, spread=0.01, locality=True)
    last = "rnn.n[8]"
    assert plain.probabilities()[last] == pytest.approx([1 / 8] * 8, abs=1e-3)
    expected = torch.softmax(-(torch.arange(8, 0, -1, dtype=torch.float64) ** 2) / 6, 0).tolist()
    assert local.probabilities()[last] == pytest.approx(expected, abs=1e-3)


def test_rewards() -> None:
    assert strategy().reward(Evaluation(2.0, 0.7, 10)) == 0.7
    assert strategy().reward(Evaluation(float("nan"), float("nan"), 10)) == 0
    assert strategy(reward="perplexity").reward(Evaluation(math.log(60), 0.1, 10)) == pytest.approx(80 / 60)
    assert strategy(reward="perplexity").reward(Evaluation(math.inf, 0.1, 10)) == 0


def test_what_is_required_is_kept_to() -> None:
    space = loads(fixture.SOURCE.replace("  n1 =", '  require count("zero") <= 1\n  n1 ='))
    made = strategy(space)
    for _ in range(40):
        assert sum(v == "zero" for v in made.draw(made.random).genotype.values()) <= 1
    hard = strategy(space, tries=1)
    for _ in range(40):
        trace = hard.draw(hard.random)
        assert sum(v == "zero" for v in trace.genotype.values()) <= 1
        assert trace.log_probability.requires_grad


def test_the_published_settings_are_the_published_ones() -> None:
    settings = settings_for("enas")
    options = settings.options.model_dump()
    expected = {
        "hidden": 100, "lr": 3.5e-4, "updates": 2000, "samples": 1, "temperature": 5.0, "tanh": 2.5,
        "entropy_weight": 1e-4, "skip_prior": 0.4, "skip_weight": 0.8,
    }  # fmt: skip
    assert {name: options[name] for name in expected} == expected
    macro = settings_for("enas", preset="macro_code").options.model_dump()
    assert (macro["tanh"], macro["lr"], macro["updates"], macro["samples"]) == (1.5, 1e-3, 50, 20)
    made = strategy()
    assert isinstance(made, RewardDriven) and isinstance(made, Ranking) and not made.learns


def settings(*assignments: str) -> Any:
    few = ["search.epochs=2", "search.batch=64", "options.updates=3", "options.samples=2", "options.hidden=8"]
    return settings_for("enas", preset="demo", assignments=[*few, *assignments], task="digits")


def test_weight_steps_and_controller_steps_alternate_and_leave_each_other_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[str] = []
    examples: list[int] = []
    weight_step, reward_step, evaluate = Steps.weight_step, Steps.reward_step, Scorer.evaluate

    def controller(self: Steps) -> list[Tensor]:
        assert isinstance(self.strategy, Enas)
        return [p.detach().clone() for p in self.strategy.controller.parameters()]

    def same(a: list[Tensor], b: list[Tensor]) -> bool:
        return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

    def watched_weight(self: Steps, *args: Any) -> None:
        before = controller(self)
        weight_step(self, *args)
        assert same(before, controller(self))
        steps.append("w")

    def watched_reward(self: Steps, *args: Any) -> float:
        weights, before = [p.detach().clone() for p in self.weights.parameters], controller(self)
        reward = reward_step(self, *args)
        assert same(weights, [p.detach() for p in self.weights.parameters])
        assert self.supernet.training
        steps.append("c" if same(before, controller(self)) else "C")
        return reward

    def watched_evaluate(self: Scorer, path: Path, split: Any) -> Evaluation:
        examples.append(len(split))
        return evaluate(self, path, split)

    monkeypatch.setattr(Steps, "weight_step", watched_weight)
    monkeypatch.setattr(Steps, "reward_step", watched_reward)
    monkeypatch.setattr(Scorer, "evaluate", watched_evaluate)
    seen: list[dict[str, Any]] = []
    result = search(shipped("quickstart"), settings(), on_event=seen.append)
    per_epoch = len(steps) // 2 - 6
    # An update after every second sample; one minibatch a sample, and one for each that is ranked.
    assert "".join(steps) == 2 * ("w" * per_epoch + "cC" * 3)
    assert set(examples) == {64} and len(examples) == 12 + 10 == 12 + len(result.history)
    epochs = [e for e in seen if e["event"] == "epoch"]
    assert all(0 <= e["reward"] <= 1 and e["baseline"] >= 0 for e in epochs)
    assert result.best.metric == max(t.metric for t in result.history)


@pytest.mark.parametrize(("method", "calls"), [("reward_step", 3), ("reward_step", 12), ("weight_step", 13)])
def test_a_run_that_is_stopped_in_either_phase_goes_on(
    method: str, calls: int, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = search(shipped("quickstart"), settings(), folder=tmp_path / "whole")
    original, seen = getattr(Steps, method), {"calls": 0}

    def stopping(self: Steps, *args: Any) -> Any:
        seen["calls"] += 1
        if seen["calls"] == calls:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Steps, method, stopping)
        with pytest.raises(Interrupted):
            search(shipped("quickstart"), settings(), folder=tmp_path / "parts")
    found = search(shipped("quickstart"), settings(), folder=tmp_path / "parts")
    assert found.genotype == expected.genotype and found.probabilities == expected.probabilities
    assert [t.as_json() for t in found.history] == [t.as_json() for t in expected.history]
    ours, theirs = found.supernet.state_dict(), expected.supernet.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_it_remembers_inside_an_update_is_all_that_it_needs() -> None:
    def score(path: Path) -> Evaluation:
        return Evaluation(1.0, sum(map(len, map(str, path.genotype.values()))) / 20, 1)

    whole, first = strategy(samples=3, entropy_weight=1e-2), strategy(samples=3, entropy_weight=1e-2)
    expected = [whole.reward_step(score) for _ in range(9)]
    assert [first.reward_step(score) for _ in range(4)] == expected[:4]
    tensors, rest = first.state()
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    first.reward_step(score)
    second = strategy(seed=0, samples=3, entropy_weight=1e-2)
    second.restore((kept, rest))
    assert [second.reward_step(score) for _ in range(5)] == expected[4:]
    assert second.probabilities() == whole.probabilities()


def test_derivation_draws_different_ones_until_there_are_enough() -> None:
    made = strategy(candidates=10)
    history = History()
    while (genotype := made.propose(history)) is not None:
        assert not history.has(genotype)
        history.add(Trial(genotype, 0.5, 1.0))
    assert len(history) == 10
    made = strategy(candidates=100)  # there are 27
    history = History()
    while (genotype := made.propose(history)) is not None:
        history.add(Trial(genotype, 0.5, 1.0))
    assert len(history) <= 27


def test_the_controller_finds_good_ones_and_with_shuffled_rewards_does_as_well_as_random() -> None:
    # Without local optima, all different: a uniform draw has rank 13 ± 7.8.
    s = torch.tensor([[0.0, 0.5, 1.1], [0.9, 0.0, 0.4], [0.3, 1.0, 0.0]], dtype=torch.float64)
    table = s[0][:, None, None] + s[1][None, :, None] + s[2][None, None, :]
    table += 1e-6 * torch.arange(27, dtype=torch.float64).reshape(3, 3, 3)

    def rank(shown: Tensor, seed: int) -> int:
        made = Enas(
            fixture.space(), EnasOptions(hidden=8, lr=0.03, baseline_decay=0.9, temperature=1, tanh=0), seed
        )
        for _ in range(80):
            made.reward_step(lambda path: Evaluation(0.0, -float(shown[fixture.positions(path.genotype)]), 1))
        found = made.controller.run(lambda choice, law: law.likeliest()).genotype
        return fixture.rank(table, fixture.positions(found))

    good = [rank(table, seed) for seed in range(5)]
    control = [rank(fixture.shuffled(table, seed), seed) for seed in range(16)]
    assert sum(good) / len(good) < 4
    assert abs(sum(control) / len(control) - 13) < 3 * 7.8 / math.sqrt(len(control))


@pytest.mark.parametrize(
    "objectives", [["accuracy"], ["accuracy", "params"], ["accuracy", "memory", "flops"]]
)
def test_a_reward_has_the_cost_of_its_sample_taken_off(
    objectives: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, told = shipped("quickstart"), []
    learn = Enas.reward_step

    def watched(self: Enas, score: Any) -> float:
        def heard(path: Path) -> Evaluation:
            told.append((space.measure(path.genotype), score(path)))
            return told[-1][1]

        return learn(self, heard)

    monkeypatch.setattr(Enas, "reward_step", watched)
    monkeypatch.setattr(Scorer, "evaluate", lambda self, path, split: Evaluation(2.0, 0.75, len(split)))
    search(shipped("quickstart"), settings("search.epochs=1", f"objectives={objectives}", "cost_weight=0.3"))
    assert len(told) == 6
    for measures, heard in told:
        cost = sum(0.3 * getattr(measures, o) / getattr(space.ranges(), o).max for o in objectives[1:])
        assert heard.metric == pytest.approx(0.75 - cost, abs=1e-12)
        assert heard.loss == pytest.approx(2.0 + cost, abs=1e-12)


def test_the_controller_draws_smaller_ones_the_more_the_cost_weighs() -> None:
    """Where the metric is a tenth of the share of the largest, a weight of a tenth evens it out."""
    space = shipped("quickstart")
    share = SampleCost(space, ["params"], 1.0)

    def mean_share(weight: float) -> float:
        made = Enas(
            space, EnasOptions(hidden=8, lr=0.03, baseline_decay=0.9, temperature=1, tanh=0, updates=1), 0
        )
        price = SampleCost(space, ["params"], weight)
        for _ in range(150):
            made.reward_step(
                lambda path: price.off(Evaluation(1.0, 0.1 * share(path.genotype), 1), path.genotype)
            )
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            drawn = [share(made.draw(random).genotype) for _ in range(100)]
        return sum(drawn) / len(drawn)

    large, even, small = mean_share(0.0), mean_share(0.1), mean_share(0.3)
    assert large > 3 * even and even > 3 * small, (large, even, small)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("enas_macro", {"layers": 3, "width": 4, "classes": 4}),
        ("enas_micro", {"width": 4, "cells": 1, "nodes": 2, "classes": 4}),
    ],
)
def test_a_few_steps_on_the_spaces_of_the_paper(name: str, parameters: dict[str, int]) -> None:
    space = shipped(name, **parameters)
    few = ["search.epochs=1", "search.batch=8", "options.updates=2", "options.candidates=2"]
    result = search(space, settings_for("enas", preset="demo", assignments=few), task=noise())
    assert len(result.history) == 2
    assert space.genotype(result.genotype) == result.genotype


@pytest.mark.parametrize("preset", ["ptb_code", "lm_code"])
def test_the_recurrent_cell_is_rewarded_by_80_over_the_perplexity(preset: str) -> None:
    space = shipped("enas_rnn", hidden=6, embed=6, nodes=3, vocab=7)
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(7, (32, 9), generator=random)
    split = Split((tokens[:, :-1].contiguous(),), tokens[:, 1:].contiguous())
    shape = Shape((8,), "int")
    task = Task("noise", "noise", split, split, (shape,), Shape((8, 7)), NextToken())
    few = [
        "search.epochs=1",
        "search.batch=8",
        "options.updates=1",
        "options.samples=2",
        "options.candidates=2",
    ]
    told: list[dict[str, Any]] = []
    settings = settings_for("enas", preset=preset, assignments=few, device="cpu")
    assert settings.options.locality and settings.options.reward == "perplexity"  # type: ignore[attr-defined]
    found = search(space, settings, task=task, on_event=told.append)
    assert space.permits(found.genotype) and len(found.history) == 2
    (reward,) = (event["reward"] for event in told if event["event"] == "epoch")
    # Tokens without meaning have a perplexity of about 7, as many as there are.
    assert 80 / 12 < reward < 80 / 6
