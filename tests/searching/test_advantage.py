"""AdvantageNAS against enumeration on the fixture, and on real cells."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl.pipeline import loads
from nasdsl.searching import Path, search, settings_for
from nasdsl.searching.absent import zero_candidates
from nasdsl.searching.advantage import Advantage, AdvantageOptions
from nasdsl.searching.gdas import Sample
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from tests.searching import fixture
from tests.searching.small import shipped


def strategy(space: Space | None = None, seed: int = 0, **options: Any) -> Advantage:
    settings = {"weight_decay": 0, "clip": 0, "warmup": 0} | options
    made = Advantage(space or fixture.space(), AdvantageOptions(**settings), seed)
    with torch.no_grad():
        noise = torch.randn(
            made.logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        made.logits += noise * made.valid
    return made


def sampled(z: tuple[int, int, int]) -> Sample:
    taken = {name: (k,) for name, k in zip(fixture.CHOICES, z, strict=True)}
    return Sample(fixture.genotype(z), fixture.one_hot(z), fixture.one_hot(z), taken)


def moments(made: Advantage, kind: str) -> tuple[Tensor, float]:
    p = torch.softmax(made.logits.detach(), 1)

    def estimator(z: tuple[int, int, int]) -> Tensor:
        credit, value = made.credits(sampled(z), lambda path: fixture.run(path, kind))
        assert value == pytest.approx(float(fixture.losses(kind)[z]))
        return credit[:, None] * (fixture.one_hot(z) - p)

    return fixture.moments(made.logits, estimator)


def bias(made: Advantage, kind: str) -> float:
    mean, _ = moments(made, kind)
    return float((mean - fixture.expected_gradient(made.logits, fixture.losses(kind))).norm())


@pytest.mark.parametrize("seed", range(3))
def test_the_first_order_credit_is_unbiased_where_the_loss_is_affine_and_biased_elsewhere(seed: int) -> None:
    made = strategy(seed=seed)
    assert bias(made, "linear") < 1e-10
    assert bias(made, "squared") > 1e-2
    assert bias(made, "tanh") > 1e-3


@pytest.mark.parametrize("kind", sorted(fixture.LOSSES))
@pytest.mark.parametrize("seed", range(3))
def test_the_exact_credit_is_unbiased_everywhere(kind: str, seed: int) -> None:
    assert bias(strategy(seed=seed, credit="exact"), kind) < 1e-10


@pytest.mark.parametrize("kind", sorted(fixture.LOSSES))
@pytest.mark.parametrize("seed", range(3))
def test_credit_for_each_choice_lowers_the_variance(kind: str, seed: int) -> None:
    """Where the loss is mostly its level, as it is in training. (With the target at 0.4 it is mostly curvature, and the
    first-order credit varies more than the loss itself.)"""
    made = strategy(seed=seed)
    table = fixture.losses(kind)
    level = float((fixture.joint(made.logits.detach()) * table).sum())
    _, plain = fixture.moments(made.logits, fixture.reinforce(made.logits, table))
    _, centred = fixture.moments(made.logits, fixture.reinforce(made.logits, table, level))
    _, first = moments(made, kind)
    _, exact = moments(strategy(seed=seed, credit="exact"), kind)
    assert first < plain
    assert exact < min(plain, centred) or kind == "linear"
    if kind == "linear":
        assert exact == pytest.approx(first, rel=1e-9) and exact < centred
    if kind == "squared":
        assert first < centred


def test_the_credit_is_what_goes_through_each_use_and_sums_to_zero_over_candidates() -> None:
    made = strategy()
    p = torch.softmax(made.logits.detach(), 1)
    for z in fixture.architectures():
        credit, _ = made.credits(sampled(z), fixture.run)
        # In closed form: dL/dy · (what the edge carries to y).
        c = [0.0, fixture.A, fixture.B]
        x = float(fixture.X)
        slope = 2 * ((c[z[1]] + c[z[2]] * c[z[0]]) * x - fixture.TARGET)
        carried = [c[z[2]] * c[z[0]] * x, c[z[1]] * x, c[z[2]] * c[z[0]] * x]
        torch.testing.assert_close(
            credit, slope * torch.tensor(carried, dtype=torch.float64), rtol=0, atol=1e-12
        )
        gradient = credit[:, None] * (fixture.one_hot(z) - p)
        assert float(gradient.sum(1).abs().max()) < 1e-14
        # Nothing is learned of a choice whose zero operation was drawn.
        assert all(float(gradient[e].abs().max()) == 0 for e in range(3) if z[e] == 0)


def test_a_step_goes_forward_once_and_backward_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = strategy()
    calls = {"forward": 0, "backward": 0}
    original = torch.autograd.grad

    def forward(path: Path) -> Tensor:
        calls["forward"] += 1
        assert path.gating == "selected_only"
        return fixture.run(path)

    def backward(*args: Any, **kwargs: Any) -> Any:
        calls["backward"] += 1
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", backward)
    with torch.no_grad():
        made.logits[:, 0] -= 50  # a zero operation everywhere would need no backward pass
    made.architecture_step(None, forward)  # type: ignore[arg-type]
    assert calls == {"forward": 1, "backward": 1}


def test_uses_of_one_cell_add_their_credits() -> None:
    space = shipped("nasbench201", width=2, cells=2)
    supernet = Supernet(space, dtype=torch.float64, affine=False, batch_norm="batch")
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    made = strategy(space, seed=3)
    sample = made.sample()
    while any(space.choice(n).labels[k] == "none" for n, (k,) in sample.taken.items()):
        sample = made.sample()
    credit, _ = made.credits(
        sample,
        lambda path: (
            supernet(  # type: ignore[arg-type, return-value]
                images, genotype=path.genotype, gates=path.gates, gating=path.gating
            )
            .square()
            .mean()
        ),
    )
    # By hand: each use of a choice has a gate of its own, in a plan of which every gate step asks for the next one.
    plan = supernet.plan(sample.genotype, tuple(c.name for c in space.choices))
    leaves: list[tuple[str, Tensor]] = []

    def gating(x: Tensor, gate: Tensor, k: int) -> Tensor:
        leaf = torch.ones((), dtype=torch.float64, requires_grad=True)
        leaves.append((names[int(gate[0])], leaf))
        return x * leaf

    from nasdsl.supernet.plan import Context

    names = [c.name for c in space.choices]
    (outputs,) = plan(
        (images,), Context({n: torch.tensor([i]) for i, n in enumerate(names)}, gating, torch.float64)
    )
    outputs.square().mean().backward()
    assert len(leaves) == 6 * 2 * 3  # choices, cells a stage, stages
    for row, name in enumerate(names):
        expected = sum(float(leaf.grad) for n, leaf in leaves if n == name)  # type: ignore[arg-type]
        assert float(credit[row]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_zero_operations_are_found_and_get_the_worst_average() -> None:
    found = zero_candidates(fixture.space())
    assert found.tolist() == [[True, False, False]] * 3
    darts = shipped("darts_none", width=2, layers=3)
    for row, choice in zip(zero_candidates(darts), darts.choices, strict=True):
        assert [choice.labels[k] for k in row.nonzero().flatten()] == ["none"]

    made = strategy(zero_pos=True)
    first = made.advantages(sampled((1, 2, 1)), torch.tensor([0.5, -0.2, 0.3], dtype=torch.float64))
    assert first.tolist() == [0.5, -0.2, 0.3]
    second = made.advantages(sampled((2, 1, 0)), torch.tensor([0.9, 0.4, 0.0], dtype=torch.float64))
    # The average of the released code starts at its first values; 0 stands where nothing was seen.
    assert second.tolist() == pytest.approx([0.9, 0.4, 0.3])
    assert made.averages is not None
    torch.testing.assert_close(
        made.averages,
        torch.tensor([[0, 0.5, 0.045], [0, 0.02, -0.2], [0, 0.3, 0]], dtype=torch.float64),
    )
    third = made.advantages(sampled((0, 0, 0)), torch.zeros(3, dtype=torch.float64))
    assert third.tolist() == pytest.approx([0.5, 0.02, 0.3])


def test_an_average_is_taken_off_where_that_is_asked_for() -> None:
    made = strategy(centred=True)
    seen = [
        made.advantages(sampled((1, 1, 1)), torch.full((3,), a, dtype=torch.float64))[0]
        for a in (1.0, 3.0, 3.0)
    ]
    assert [float(a) for a in seen] == pytest.approx([1.0, 2.0, 3.0 - 1.1])


def test_parameters_start_at_one_stand_still_and_end_with_a_rate_that_fades() -> None:
    made = Advantage(fixture.space(), AdvantageOptions(warmup=0.5), 0)
    assert made.logits[:, 1:].eq(1).all() and made.logits[0, 0] == 1 + 1e-6
    seen = []
    for epoch in range(4):
        reported = made.start_epoch(epoch, 4)
        seen.append((made.learns, reported["architecture_lr"]))
    half = 3e-4 / 2
    assert [learns for learns, _ in seen] == [False, False, True, True]
    assert [rate for _, rate in seen] == pytest.approx([0, 0, half, half * (1 - math.cos(math.pi / 4))])
    assert made.optimizer.param_groups[0]["betas"] == (0.5, 0.999)
    settings = settings_for("advantage")
    assert (settings.search.lr, settings.search.clip, settings.search.batch) == (0.1, 1.0, 64)


def test_numbers_learn_by_the_score_function() -> None:
    made = strategy(loads("space s() { input x: [2]\n n = 1 | 2 | 5\n return x * n }"))
    before = made.logits.detach().clone()
    for value in (1.0, 2.0):
        made.architecture_step(None, lambda path, value=value: torch.tensor(value))  # type: ignore[arg-type, misc]
    assert not torch.equal(before, made.logits.detach())


def losing(table: Tensor) -> Any:
    """A loss with the values of a table, and the slopes that its finite differences have: y_e = 0 is the candidate 0."""

    def loss(path: Path) -> Tensor:
        z = list(fixture.positions(path.genotype))
        for i, name in enumerate(fixture.CHOICES):
            if name in path.gates and float(path.gates[name].sum()) == 0:
                z[i] = 0
        return table[tuple(z)]

    return loss


def test_it_finds_good_ones_and_with_shuffled_losses_does_as_well_as_random() -> None:
    def ranks(table: Tensor, shown: Tensor, seeds: range) -> float:
        total = 0
        for seed in seeds:
            made = Advantage(
                fixture.space(), AdvantageOptions(lr=0.1, warmup=0, weight_decay=0, credit="exact"), seed
            )
            for _ in range(60):
                made.architecture_step(None, losing(shown))  # type: ignore[arg-type]
            found = made.derive()
            assert found is not None
            total += fixture.rank(table, fixture.positions(found))
        return total / len(seeds)

    # Losses that all differ, so that a uniform draw has rank 13 ± 7.8.
    table = fixture.losses("squared") + 1e-6 * torch.arange(27, dtype=torch.float64).reshape(3, 3, 3)
    good = ranks(table, table, range(10))
    control = (
        sum(ranks(table, fixture.shuffled(table, seed), range(seed, seed + 1)) for seed in range(24)) / 24
    )
    assert good < 13 - 2.5 * 7.8 / math.sqrt(10)
    assert abs(control - 13) < 3 * 7.8 / math.sqrt(24)


def test_a_short_search() -> None:
    settings = settings_for(
        "advantage", preset="demo", assignments=["search.epochs=4", "options.warmup=0.5"], task="digits"
    )
    seen: list[dict[str, Any]] = []
    result = search(shipped("quickstart"), settings, on_event=seen.append)
    epochs = [e for e in seen if e["event"] == "epoch"]
    assert [e["architecture_lr"] > 0 for e in epochs] == [False, False, True, True]
    assert result.best.metric > 0.1 and epochs[-1]["loss"] < epochs[0]["loss"]
    assert len(set(map(str, (e["probabilities"] for e in epochs)))) == 3  # it moved where it should


def test_a_step_on_nasbench201() -> None:
    space = shipped("nasbench201", width=4, cells=1)
    supernet = Supernet(space, affine=False, batch_norm="batch", channels_last=True)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    made = strategy(space, zero_pos=True)
    before = made.logits.detach().clone()

    def loss(path: Path) -> Tensor:
        outputs = supernet(images, genotype=path.genotype, gates=path.gates, gating=path.gating)
        assert isinstance(outputs, Tensor)
        return torch.nn.functional.cross_entropy(outputs, labels)

    with supernet.frozen():
        for _ in range(3):
            assert math.isfinite(made.architecture_step(supernet, loss))
    assert not torch.equal(before, made.logits.detach())
    assert all(p.grad is None for p in supernet.parameters())
