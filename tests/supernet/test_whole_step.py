"""The parts of a whole search step on the device (``benchmarks/_whole.py``): samples, and updates of the used weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks._whole import HardSample, MaskedSGD
from nasdsl import resources
from nasdsl.pipeline import load
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.static import StaticSupernet, one_hot, positions_taken
from nasdsl.training.optimizers import clip_gradients, make_optimizer
from nasdsl.training.recipe import Recipe


@cache
def space() -> Space:
    return load(Path(resources.spaces()) / "nasbench201.nas", width=3, cells=1, size=8)


def supernet(**options: Any) -> Supernet:
    return Supernet(space(), affine=False, batch_norm="batch", dtype=torch.float64, **options)


def image() -> Tensor:
    return torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


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
        taken = one_hot(positions_taken(space(), genotype), 5, torch.float64)
        (static(image(), taken=taken) ** 2).sum().backward()
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
    sample.hard[1, :2].pow(2).sum().backward()
    assert logits.grad is not None and logits.grad[1, 0] != 0 and (logits.grad[0] == 0).all()
