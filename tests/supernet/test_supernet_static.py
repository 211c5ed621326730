"""One static graph for all genotypes: the outputs, gradients and updates of each genotype's own path."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl import resources
from nasdsl.pipeline import load
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.graphs import Captured, MaskedSGD
from nasdsl.supernet.plan import Selected
from nasdsl.supernet.static import HardSample, StaticSupernet
from nasdsl.training.optimizers import clip_gradients, make_optimizer
from nasdsl.training.recipe import Recipe


@cache
def space() -> Space:
    return load(Path(resources.spaces()) / "nasbench201.nas", width=3, cells=1, size=8)


def supernet(**options: Any) -> Supernet:
    return Supernet(space(), affine=False, batch_norm="batch", dtype=torch.float64, **options)


def image() -> Tensor:
    return torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def one_hot(genotype: Any) -> dict[str, Tensor]:
    found = {}
    for choice in space().choices:
        gate = torch.zeros(len(choice.labels), dtype=torch.float64)
        gate[choice.labels.index(genotype[choice.name])] = 1
        found[choice.name] = gate.requires_grad_()
    return found


def test_an_edge_is_one_convolution() -> None:
    static = StaticSupernet(supernet())
    selected = [step for step in static.architecture.steps if isinstance(step, Selected)]
    assert len(selected) == 3 * 6
    assert all(len(step.convs) == 2 for step in selected)
    with pytest.raises(ValueError, match="affine"):
        StaticSupernet(Supernet(space()))


@pytest.mark.parametrize("channels_last", [False, True])
def test_outputs_and_gradients_are_those_of_the_path(channels_last: bool) -> None:
    net, other = (supernet(channels_last=channels_last) for _ in range(2))
    static = StaticSupernet(net)
    genotypes = [space().sample(seed) for seed in range(8)]
    genotypes.append(space().genotype(dict.fromkeys((c.name for c in space().choices), "none")))
    for genotype in genotypes:
        net.zero_grad()
        other.zero_grad()
        taken, gates = one_hot(genotype), one_hot(genotype)
        found = static(image(), taken=taken)
        expected = other(image(), genotype=genotype, gates=gates, gating="selected_only")
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        (found**2).sum().backward()
        (expected**2).sum().backward()
        for (name, p), q in zip(net.named_parameters(), other.parameters(), strict=True):
            gradient = torch.zeros_like(p) if q.grad is None else q.grad
            reached = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(reached, gradient, rtol=1e-12, atol=1e-12, msg=name)
        for name, gate in gates.items():
            gradient = torch.zeros_like(gate) if gate.grad is None else gate.grad
            own = taken[name].grad
            torch.testing.assert_close(
                torch.zeros_like(gate) if own is None else own, gradient, rtol=1e-12, atol=1e-12, msg=name
            )


def test_a_search_moves_the_weights_as_paths_do_and_leaves_unused_ones_alone() -> None:
    net, other = supernet(), supernet()
    static = StaticSupernet(net)
    recipe = Recipe(lr=0.1, clip=1.0, weight_decay=1e-2)
    masked = MaskedSGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2, clip=1.0)
    plain = make_optimizer(recipe, list(other.parameters()))
    start = [p.detach().clone() for p in other.parameters()]
    for seed in range(4):
        genotype = space().sample(seed)
        masked.zero_grad()
        (static(image(), taken=one_hot(genotype)) ** 2).sum().backward()
        masked.step()
        plain.zero_grad()
        (other(image(), genotype=genotype) ** 2).sum().backward()
        clip_gradients(list(other.parameters()), recipe.clip)
        plain.step()
        for (name, p), q in zip(net.named_parameters(), other.named_parameters(), strict=True):
            torch.testing.assert_close(p, q[1], rtol=1e-9, atol=1e-9, msg=name)
    still = [torch.equal(p, q) for p, q in zip(net.parameters(), start, strict=True)]
    assert any(still) and not all(still)


def test_samples_are_one_hot_and_as_likely_as_the_logits_say() -> None:
    """2 000 draws with seed 0: frequencies within five standard deviations."""
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.0, 5.0]], dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[True, True, True], [True, True, False]])
    counts = torch.zeros(2, 3, dtype=torch.float64)
    for _ in range(2000):
        counts += HardSample.draw(logits, valid, 0.7).hard.detach()
    p = torch.softmax(logits.detach().masked_fill(~valid, -torch.inf), 1)
    assert ((counts - 2000 * p).abs() <= 5 * (2000 * p * (1 - p)).sqrt() + 1e-9).all()
    sample = HardSample.draw(logits, valid, 0.7)
    sample.taken(["a", "b"], [3, 2])["b"].pow(2).sum().backward()
    assert logits.grad is not None and logits.grad[1, 0] != 0 and (logits.grad[0] == 0).all()


def test_a_step_off_the_gpu_is_simply_called() -> None:
    calls = []

    def step(x: Tensor) -> Tensor:
        calls.append(x)
        return 2 * x

    captured = Captured(step, [torch.ones(2)])
    assert torch.equal(captured(torch.full((2,), 3.0)), torch.full((2,), 6.0)) and len(calls) == 1


@pytest.mark.gpu
def test_a_recorded_step_gives_what_the_eager_one_gives() -> None:
    static = StaticSupernet(supernet(device="cuda"))
    taken = {name: gate.detach().cuda() for name, gate in one_hot(space().sample(0)).items()}
    names = list(taken)

    def step(x: Tensor, *gates: Tensor) -> Tensor:
        with torch.no_grad():
            return static(x, taken=dict(zip(names, gates, strict=True)))

    captured = Captured(step, [image().cuda(), *taken.values()])
    for seed in range(4):
        gates = [gate.detach().cuda() for gate in one_hot(space().sample(seed)).values()]
        torch.testing.assert_close(captured(image().cuda(), *gates), step(image().cuda(), *gates))
