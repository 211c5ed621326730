"""Path dropout, ghost batches, the penalty of active paths, superpositions, and the choice of finalists."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasdsl.pipeline import loads
from nasdsl.searching import Path, sample_connected, search, settings_for
from nasdsl.searching.history import History, Trial
from nasdsl.searching.one_shot import OneShot, OneShotOptions
from nasdsl.searching.steps import Steps
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.superposition import (
    Join,
    follow_superposed,
    is_superposed,
    superposable,
    superposition,
)
from nasdsl.training.step import Pass, part_of
from nasdsl.training.tasks import Split, classification
from tests.searching import fixture
from tests.searching.small import shipped


def strategy(space: Space | None = None, seed: int = 0, **options: Any) -> OneShot:
    return OneShot(space or fixture.space(), OneShotOptions(**options), seed)


def everything(space: Space) -> Genotype:
    """All candidates on, as far as they can be."""
    several, first = superposable(space), space.sample(0)

    def decide(choice: Any) -> tuple[int, ...]:
        if choice.name in several:
            return tuple(range(len(choice.labels)))
        return (choice.labels.index(first[choice.name]) if choice.name in first else 0,)

    return follow_superposed(space, decide)


# --- superpositions ---------------------------------------------------------------------------------


def test_with_all_paths_on_the_output_is_the_sum() -> None:
    taken = everything(fixture.space())
    assert is_superposed(fixture.space(), taken)
    y = fixture.supernet()(fixture.X, genotype=taken)
    both = fixture.A + fixture.B
    assert float(y) == pytest.approx(both * (1 + both) * float(fixture.X), abs=1e-14)  # type: ignore[arg-type]
    # Any subsets, in closed form.
    weights = {"zero": 0.0, "a": fixture.A, "b": fixture.B}
    made = strategy(rate=0.4)
    made.share = 1.0
    for seed in range(30):
        mask = made.mask(seed)
        c = [sum(weights[v] for v in ([t] if isinstance(t, str) else t)) for t in mask.values()]
        y = fixture.supernet()(fixture.X, genotype=mask)
        assert float(y) == pytest.approx((c[1] + c[2] * c[0]) * float(fixture.X), abs=1e-14)  # type: ignore[arg-type]


def test_an_operation_on_everything_is_the_sum_of_its_candidates_or_their_mean() -> None:
    space = loads("""
        space s() {
          input image: [2, 6, 6]
          op edge = skip: identity | conv: conv(kernel = 3) | pool: avgpool(3) | none: zero
          return image -> edge
        }""")
    (choice,) = space.choices
    supernet = Supernet(space, dtype=torch.float64)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone = {label: supernet(x, genotype={choice.name: label}) for label in choice.labels}
    for labels in (("skip", "conv", "pool", "none"), ("skip", "pool"), ("conv", "none")):
        found = supernet(x, genotype={choice.name: labels})
        torch.testing.assert_close(found, sum(alone[label] for label in labels), rtol=0, atol=1e-12)
        mean = supernet(x, genotype={choice.name: labels}, join="mean")
        there = [alone[label] for label in labels if label != "none"]  # what is absent doesn't count
        torch.testing.assert_close(mean, sum(there) / len(there), rtol=0, atol=1e-12)
    nothing = supernet(x, genotype={choice.name: ()})
    assert isinstance(nothing, Tensor) and float(nothing.abs().max()) == 0


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("quickstart", {}), ("darts", {"layers": 3}), ("one_shot", {"cells": 3}), ("enas_micro", {"cells": 1}),
        ("enas_macro", {"layers": 4}), ("enas_rnn", {}), ("hierarchical", {}), ("mobilenet_small", {}),
    ],
)  # fmt: skip
def test_a_superposition_of_one_candidate_each_is_the_architecture(
    name: str, parameters: dict[str, int]
) -> None:
    space = shipped(name, **parameters)
    for seed in range(3):
        genotype = space.sample(seed)
        plain, found = space.architecture(genotype), superposition(space, genotype)
        assert [(s.id, s.operation, s.inputs, s.instance) for s in found.steps] == [
            (s.id, s.operation, s.inputs, s.instance) for s in plain.steps
        ]
        assert found.outputs == plain.outputs


def test_choices_that_sizes_rest_on_hold_one_candidate() -> None:
    space = shipped("quickstart")
    assert superposable(space) == {c.name for c in space.choices} - {"width"}
    assert superposable(shipped("nasbench201")) == {c.name for c in shipped("nasbench201").choices}
    made = strategy(space)
    assert len({made.mask(seed)["width"] for seed in range(20)}) == 3
    assert all(isinstance(made.mask(seed)["width"], str) for seed in range(20))


# --- path dropout -----------------------------------------------------------------------------------


def test_dropout_rises_in_a_straight_line_to_the_kth_root_of_r() -> None:
    space = shipped("enas_macro", layers=4, width=4)
    made = strategy(space, rate=0.05)
    seen = []
    for epoch in range(5):
        assert made.start_epoch(epoch, 5) == {"path_dropout": epoch / 4}
        seen.append([made.dropout(choice) for choice in space.choices])
    assert seen[0] == [0.0] * len(space.choices)
    assert seen[-1] == pytest.approx([0.05 ** (1 / len(c.labels)) for c in space.choices])
    for row in zip(*seen, strict=True):
        assert list(row) == pytest.approx([row[-1] * i / 4 for i in range(5)])


def test_candidates_are_dropped_with_that_probability_and_all_of_them_with_r() -> None:
    made = strategy(rate=0.2)
    made.share = 1.0
    draws, off, none = 3000, dict.fromkeys(fixture.LABELS, 0), 0
    for seed in range(draws):
        taken = made.mask(seed)["n1"]
        kept = (taken,) if isinstance(taken, str) else taken
        none += not kept
        for label in fixture.LABELS:
            off[label] += label not in kept
    p = 0.2 ** (1 / 3)
    for count in (*off.values(),):
        assert abs(count - draws * p) < 3.5 * math.sqrt(draws * p * (1 - p))
    assert abs(none - draws * 0.2) < 3.5 * math.sqrt(draws * 0.2 * 0.8)
    made.share = 0.0
    assert all(made.mask(seed) == everything(fixture.space()) for seed in range(5))


# --- ghost batches ----------------------------------------------------------------------------------


def batch(count: int) -> Split:
    random = torch.Generator().manual_seed(1)
    return Split((torch.randn(count, 1, 8, 8, generator=random),), torch.arange(count) % 10)


def test_a_minibatch_falls_into_parts() -> None:
    whole = batch(50)
    parts = [part_of(whole, i, 4) for i in range(4)]
    assert [len(part) for part in parts] == [12, 13, 12, 13]
    assert torch.equal(torch.cat([part.inputs[0] for part in parts]), whole.inputs[0])
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    assert part_of(whole, 0, 1) is whole


def test_ghost_batches_have_masks_and_statistics_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    space = shipped("quickstart")
    masks: list[str] = []
    seen: list[Split] = []
    means: list[Tensor] = []
    passes = Steps._pass

    def watched(self: Steps, path: Path, batch: Split, share: float) -> Pass:
        made = passes(self, path, batch, share)
        masks.append(Genotype(path.genotype).text)
        seen.append(made.batch)
        first = next(m for m in self.supernet.modules() if isinstance(m, nn.BatchNorm2d))

        def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            assert module.training and not module.track_running_stats
            means.append((output.mean((0, 2, 3)) - module.bias).detach())

        def model(*inputs: Tensor) -> Tensor:
            handle = first.register_forward_hook(hook)
            found = made.model(*inputs)
            handle.remove()
            return found

        return replace(made, model=model)

    monkeypatch.setattr(Steps, "_pass", watched)
    few = [
        "search.epochs=2",
        "search.batch=64",
        "options.ghosts=4",
        "options.candidates=1",
        "options.rate=0.5",
    ]
    search(space, settings_for("one_shot", preset="demo", assignments=few, task="digits"))
    assert {len(part) for part in seen} == {16}
    steps = len(masks) // 8 * 4
    assert len(set(masks[:steps])) <= 3  # nothing is dropped yet, and there are three widths
    late = [masks[i : i + 4] for i in range(steps, len(masks), 4)]
    assert sum(len(set(step)) == 4 for step in late) > len(late) / 2
    # A batch norm has normalised the part by itself: the mean of what it gives is its offset.
    assert means and max(float(mean.abs().max()) for mean in means) < 1e-5


def test_gradients_are_the_mean_over_the_ghost_batches_with_the_penalty_of_each() -> None:
    space = shipped("quickstart")
    supernet = Supernet(space, batch_norm="batch", dtype=torch.float64)
    made = strategy(space, rate=0.5, ghosts=3, l2=0.1)
    made.share = 1.0
    inputs, paths = batch(24).inputs[0].double(), made.paths()
    assert [path.part for path in paths] == [(0, 3), (1, 3), (2, 3)]
    active = []
    for path in paths:
        supernet.zero_grad()
        (path.l2 * supernet.half_squared_norm(path.genotype)).backward()
        used = {id(p) for module in supernet.active(path.genotype) for p in module.parameters()}
        for parameter in supernet.parameters():
            if id(parameter) not in used:
                assert parameter.grad is None
            else:
                # λw where the weight is active; elsewhere in an elastic one nothing.
                assert parameter.grad is not None
                inside = parameter.grad != 0
                torch.testing.assert_close(parameter.grad[inside], 0.1 * parameter.detach()[inside])
        active.append(used)
        # What gets a gradient from the data is what is penalised, or less.
        outputs = supernet(
            part_of(Split((inputs,), batch(24).targets), *path.part).inputs[0], genotype=path.genotype
        )
        assert isinstance(outputs, Tensor)
        given = torch.autograd.grad(outputs.sum(), list(supernet.parameters()), allow_unused=True)
        reached = {id(p) for p, g in zip(supernet.parameters(), given, strict=True) if g is not None}
        assert reached <= used
    assert any(used != active[0] for used in active)


# --- choosing ---------------------------------------------------------------------------------------


def test_the_best_few_are_handed_on_and_the_optimum_is_among_them() -> None:
    made = strategy(candidates=200)
    value = {"zero": 0.0, "a": 0.3, "b": 0.1}
    history = History()
    while (genotype := made.propose(history)) is not None:
        assert not history.has(genotype)
        history.add(Trial(genotype, sum(value[str(v)] for v in genotype.values()), 1.0))
    assert len(history) == 27
    finalists = [trial.genotype for trial in history.finalists(4)]
    assert [sum(value[str(v)] for v in g.values()) for g in finalists] == pytest.approx([0.9, 0.7, 0.7, 0.7])
    assert finalists[0] == history.best().genotype == fixture.genotype((1, 1, 1))


def test_a_short_search() -> None:
    few = ["search.epochs=4", "options.candidates=6"]
    seen: list[dict[str, Any]] = []
    result = search(
        shipped("quickstart"),
        settings_for("one_shot", preset="demo", assignments=few, task="digits"),
        on_event=seen.append,
    )
    epochs = [e for e in seen if e["event"] == "epoch"]
    assert [e["path_dropout"] for e in epochs] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert len(result.history) == 6 and result.best.metric > 0.12


def test_a_few_steps_on_the_space_of_the_paper() -> None:
    space = shipped("one_shot", cells=3, width=4, classes=4)
    random = torch.Generator().manual_seed(0)
    images = classification(
        "noise", "noise", torch.randn(40, 3, 32, 32, generator=random), torch.arange(40) % 4
    )
    few = ["search.epochs=2", "search.batch=8", "options.candidates=2"]
    result = search(space, settings_for("one_shot", preset="demo", assignments=few), task=images)
    assert space.genotype(result.genotype) == result.genotype


def test_with_the_mean_one_candidate_alone_is_as_large_as_all_of_them() -> None:
    """What the weights behind a choice are trained on, and what they see when a genotype is scored: with the sum every
    cell makes the difference larger, with the mean none does."""
    space = shipped("quickstart")
    supernet = Supernet(space, seed=0, batch_norm="batch", dtype=torch.float64)
    x = torch.randn(16, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def size(taken: Mapping[str, Any], join: Join = "sum") -> float:
        found = supernet(x, genotype=taken, join=join)
        assert isinstance(found, Tensor)
        return float(found.detach().std())

    genotypes = sample_connected(space, 20, 0)
    alone = statistics.median(size(genotype) for genotype in genotypes)
    everything_on = dict(everything(space), width="24")
    assert size(everything_on) > 50 * alone
    assert size(everything_on, "mean") < 5 * alone


def test_the_default_is_the_mean_and_a_sub_list_is_added_as_its_space_says() -> None:
    assert {path.join for path in strategy(fixture.space()).paths()} == {"mean"}
    assert {path.join for path in strategy(fixture.space(), join="sum").paths()} == {"sum"}
    space = shipped("one_shot", cells=1, width=4)
    assert all(choice.is_sublist for choice in space.choices)
    supernet = Supernet(space, seed=0, batch_norm="batch")
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    taken = everything(space)
    assert torch.equal(supernet(x, genotype=taken), supernet(x, genotype=taken, join="mean"))
