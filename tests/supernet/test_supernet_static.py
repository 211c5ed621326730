"""One static graph for all genotypes: the outputs and gradients of each genotype's own path."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl import resources
from nasdsl.pipeline import load, loads
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.graphs import Captured, Pool
from nasdsl.supernet.plan import Selected
from nasdsl.supernet.static import StaticSupernet, obstacle, one_hot, positions_taken

TINY: dict[str, dict[str, int]] = {
    "nasbench201": {"width": 3, "cells": 1, "size": 8},
    "darts": {"width": 2, "layers": 3, "size": 8},
}
NO_ZEROS = """
space small() {
  input image: [3, 8, 8]
  op edge = c3: relu -> conv(kernel = 3) -> batchnorm | c1: relu -> conv(kernel = 1) -> batchnorm | skip: identity
  cell mix(x) { y = edge(x)  return edge(x) + edge(y) }
  return image -> mix -> mix -> global_avgpool -> linear(10)
}
"""


@cache
def shipped(name: str) -> Space:
    return load(Path(resources.spaces()) / f"{name}.nas", **TINY[name])


def supernet(space: Space, **options: Any) -> Supernet:
    net = Supernet(space, **{"affine": False, "batch_norm": "batch", "dtype": torch.float64} | options)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():  # scales and offsets that aren't ones and zeros
            parameter.add_(
                0.1 * torch.randn(parameter.shape, dtype=torch.float64, generator=random).to(parameter)
            )
    return net


def image() -> Tensor:
    return torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def taken_of(space: Space, genotype: Any) -> Tensor:
    return one_hot(positions_taken(space, genotype), max(len(c.labels) for c in space.choices), torch.float64)


def gates_of(space: Space, taken: Tensor, genotype: Any) -> dict[str, Tensor]:
    """Of the choices that have gates."""
    return {
        choice.name: row[: len(choice.labels)].clone().requires_grad_()
        for choice, row in zip(space.choices, taken, strict=True)
        if choice.name in genotype and not choice.is_sublist
    }


def genotypes(space: Space) -> list[Any]:
    found: list[Any] = [space.sample(seed) for seed in range(4)]
    if space.name == "nasbench201":
        found.append(space.genotype(dict.fromkeys((c.name for c in space.choices), "none")))
    if any(choice.is_sublist for choice in space.choices):
        # As GDAS runs it: every candidate of the sub-lists is on.
        every = {c.name: tuple(c.labels) if c.is_sublist else c.labels[1] for c in space.choices}
        found.append(Genotype(every))
    return found


def test_an_edge_is_one_convolution() -> None:
    static = StaticSupernet(supernet(shipped("nasbench201")))
    selected = [step for step in static.architecture.steps if isinstance(step, Selected)]
    assert len(selected) == 3 * 6
    assert all(len(step.convs) == 2 for step in selected)


@pytest.mark.parametrize("gating", ["", "selected_only", "ones_for_others"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nasbench201", {}),
        ("nasbench201", {"channels_last": True}),
        ("darts", {}),
        ("no zeros", {"affine": True}),
    ],
    ids=["nasbench201", "channels last", "darts", "affine"],
)
def test_outputs_and_gradients_are_those_of_the_path(name: str, options: Any, gating: str) -> None:
    space = loads(NO_ZEROS) if name == "no zeros" else shipped(name)
    net, other = (supernet(space, **options) for _ in range(2))
    static = StaticSupernet(net)
    assert static.gatings == {"selected_only", "ones_for_others"}
    for genotype in genotypes(space):
        net.zero_grad()
        other.zero_grad()
        taken = taken_of(space, genotype)
        gates = gates_of(space, taken, genotype) if gating else {}
        taken.requires_grad_(bool(gating))
        found = static(image(), taken=taken, gating=gating)
        expected = other(image(), genotype=genotype, gates=gates, gating=gating or "multiply")
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        (found**2).mean().backward()
        (expected**2).mean().backward()
        for (name, p), q in zip(net.named_parameters(), other.parameters(), strict=True):
            gradient = torch.zeros_like(p) if q.grad is None else q.grad
            reached = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(reached, gradient, rtol=1e-12, atol=1e-12, msg=name)
        numbers = {choice.name: number for number, choice in enumerate(space.choices)}
        for name, gate in gates.items():
            assert taken.grad is not None
            own = taken.grad[numbers[name], : len(gate)]
            gradient = torch.zeros_like(gate) if gate.grad is None else gate.grad
            torch.testing.assert_close(own, gradient, rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.parametrize(
    ("source", "affine", "policy", "says"),
    [
        (NO_ZEROS, True, "running", "running statistics"),
        (NO_ZEROS.replace("linear(10)", "dropout(0.1) -> linear(10)"), True, "batch", "dropout"),
        (NO_ZEROS.replace("skip: identity", "skip: zero"), True, "batch", "scale and offset behind a candidate"),
        (NO_ZEROS.replace("skip: identity", "none: zero").replace("kernel = 1", "kernel = 1, bias = true"),
         False, "batch", "a bias behind a candidate"),
        (NO_ZEROS.replace("kernel = 3)", "kernel = 3|5)"), True, "batch", "chooses a number"),
    ],
)  # fmt: skip
def test_what_has_no_static_graph_is_said(source: str, affine: bool, policy: Any, says: str) -> None:
    space = loads(source)
    why = obstacle(space, affine, policy)
    assert why is not None and says in why
    with pytest.raises(ValueError, match="a static graph can't run"):
        StaticSupernet(Supernet(space, affine=affine, batch_norm=policy))
    assert obstacle(loads(NO_ZEROS), True, "batch") is None


def test_a_scan_has_none() -> None:
    space = load(Path(resources.spaces()) / "darts_rnn.nas")
    assert "a scan" in str(obstacle(space, True, "batch"))


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_recorded_pass_gives_what_the_eager_one_gives(channels_last: bool) -> None:
    space = shipped("nasbench201")
    net = supernet(space, device="cuda", channels_last=channels_last)
    static = StaticSupernet(net)
    weights = list(net.parameters())

    def step(x: Tensor, taken: Tensor) -> list[Tensor]:
        wanted = taken.detach().requires_grad_()
        loss = (static(x, taken=wanted, gating="ones_for_others") ** 2).sum()
        return [loss.detach(), *torch.autograd.grad(loss, [wanted, *weights])]

    x = image().cuda()
    captured = Captured(step, [x, taken_of(space, space.sample(0)).cuda()], Pool(torch.device("cuda")))
    for genotype in genotypes(space):
        taken = taken_of(space, genotype)
        found = [t.clone() for t in captured(x, taken.pin_memory())]
        for ours, theirs in zip(found, step(x, taken.cuda()), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
