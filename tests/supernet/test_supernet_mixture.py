"""Every candidate blended: at one-hot weights the single path, and in between the expectation over guards."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl import resources
from nasdsl.diagnostics import NasError
from nasdsl.pipeline import load, loads
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.mixture import Blend, weighted_sum

TINY: dict[str, dict[str, int]] = {
    "nasbench201": {"width": 2, "cells": 1},
    "darts": {"width": 2, "layers": 3},
    "enas_micro": {"width": 2, "cells": 1, "nodes": 3},
    "enas_macro": {"layers": 4},
    "one_shot": {"cells": 3},
}


@cache
def shipped(name: str) -> Space:
    return load(Path(resources.spaces()) / f"{name}.nas", **TINY.get(name, {}))


@cache
def supernet(name: str) -> Supernet:
    return Supernet(shipped(name), dtype=torch.float64, batch_norm="batch")


def image() -> Tensor:
    return torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def one_hot(space: Space, genotype: Genotype) -> dict[str, Tensor]:
    """1 at what is taken; a choice that doesn't exist takes anything."""
    found = {}
    for choice in space.choices:
        weights = torch.zeros(len(choice.labels), dtype=torch.float64)
        taken = genotype.get(choice.name, () if choice.is_sublist else choice.labels[-1])
        for label in taken if isinstance(taken, tuple) else (taken,):
            weights[choice.labels.index(label)] = 1
        found[choice.name] = weights
    return found


def soft(space: Space, seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    found = {}
    for choice in space.choices:
        drawn = torch.randn(len(choice.labels), generator=random, dtype=torch.float64)
        found[choice.name] = torch.sigmoid(drawn) if choice.is_sublist else torch.softmax(drawn, 0)
    return found


def run(net: Supernet, *inputs: Tensor, **options: Any) -> Tensor:
    outputs = net(*inputs, **options)
    assert isinstance(outputs, Tensor)
    return outputs


@pytest.mark.parametrize("name", TINY)
def test_one_hot_weights_give_the_sub_network(name: str) -> None:
    space, net = shipped(name), supernet(name)
    net.eval()
    with torch.no_grad():
        for seed in range(3):
            genotype = space.sample(seed)
            path = run(net, image(), genotype=genotype)
            blended = run(net, image(), mixture=one_hot(space, genotype))
            torch.testing.assert_close(blended, path, rtol=0, atol=1e-12)


NESTED = """
space nested() {
  input x: [2]
  op leaf(x: [D]) = a: tanh(x) | b: 2 * x | c: zero(x)
  op outer(x: [D]) = plain: leaf(x) | twice: leaf(leaf(x)) | none: -1 * x
  y = outer(x)
  return choose { mean(unused([y, 3 * x, leaf(y)])), sum(choose 1..2 of { y, x, leaf(x) }) }
}
"""


def nested() -> Space:
    return loads(NESTED)


def test_a_guard_weighs_as_likely_as_it_is() -> None:
    space = nested()
    table = space.table
    weights = soft(space)
    picked = [c for c in space.choices if not c.is_sublist]
    a, b = picked[0], picked[1]
    (v,), (w,) = a.variables, b.variables
    lists = next(c for c in space.choices if c.is_sublist)
    u = lists.variables[1]
    guards = [
        table.both(table.equals(v, 1, space.arities[v]), table.equals(w, 0, space.arities[w])),
        table.either(table.equals(v, 1, space.arities[v]), table.equals(u, 1, 2)),
        table.negate(table.equals(w, 2, space.arities[w])),
        table.true,
        table.false,
    ]
    found = Blend(space, weights).vector(guards, torch.device("cpu"))
    for guard, p in zip(guards, found.tolist(), strict=True):
        expected = 0.0
        for i, j, k in product(range(len(a.labels)), range(len(b.labels)), range(2)):
            assignment = [0] * len(space.arities)
            assignment[v], assignment[w], assignment[u] = i, j, k
            inside = float(weights[lists.name][1])
            chance = float(weights[a.name][i] * weights[b.name][j]) * (inside if k else 1 - inside)
            expected += chance * bool(guard.at(assignment))
        assert p == pytest.approx(expected, abs=1e-15)


def test_one_hot_weights_give_the_path_where_choices_are_nested() -> None:
    space = nested()
    net = Supernet(space, dtype=torch.float64)
    x = torch.randn(3, 2, dtype=torch.float64)
    for seed in range(40):
        genotype = space.sample(seed)
        torch.testing.assert_close(
            run(net, x, mixture=one_hot(space, genotype)), run(net, x, genotype=genotype), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("name", ["nested", "nasbench201"])
def test_the_gradient_of_the_weights_is_the_finite_difference(name: str) -> None:
    if name == "nested":
        space = nested()
        net, x = Supernet(space, dtype=torch.float64), torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    else:
        space, net, x = shipped(name), supernet(name), image()
    net.eval()
    weights = {n: w.requires_grad_() for n, w in soft(space).items()}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return (run(net, x, mixture=weights) ** 2).sum()

    found = torch.autograd.grad(loss(weights), list(weights.values()), allow_unused=True)
    step, largest = 1e-6, 0.0
    with torch.no_grad():
        for weight, gradient in zip(weights.values(), found, strict=True):
            for k in range(len(weight)):
                weight[k] += step
                above = float(loss(weights))
                weight[k] -= 2 * step
                below = float(loss(weights))
                weight[k] += step
                numeric = (above - below) / (2 * step)
                analytic = 0.0 if gradient is None else float(gradient[k])
                assert analytic == pytest.approx(numeric, rel=1e-5, abs=1e-7)
                largest = max(largest, abs(analytic))
    assert largest > 1e-3


def test_candidates_that_are_left_out_weigh_nothing_and_do_not_run() -> None:
    space, net = shipped("nasbench201"), supernet("nasbench201")
    net.eval()
    among = {choice.name: (3, 1) for choice in space.choices}
    weights = soft(space)
    kept = {name: w * torch.tensor([0, 1, 0, 1, 0]) for name, w in weights.items()}
    with torch.no_grad():
        torch.testing.assert_close(
            run(net, image(), mixture=weights, among=among),
            run(net, image(), mixture=kept),
            rtol=0,
            atol=1e-12,
        )
    operations = [step.operation for step in space.mixture(among).steps]
    assert "avgpool" in [s.operation for s in space.mixture().steps if "reduce" not in str(s.scope.label)]
    assert len(operations) < len(space.mixture().steps)
    lists = shipped("one_shot")
    assert len(lists.mixture({c.name: (0,) for c in lists.choices if c.is_sublist}).steps) < len(
        lists.mixture().steps
    )


def test_a_weighted_sum_keeps_only_its_inputs_and_has_the_right_gradient() -> None:
    random = torch.Generator().manual_seed(0)
    xs = [torch.randn(2, 3, generator=random, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weights = torch.rand(3, generator=random, dtype=torch.float64, requires_grad=True)
    for normalised in (False, True):
        assert torch.autograd.gradcheck(lambda w, *x, n=normalised: weighted_sum(w, x, n), (weights, *xs))
    plain = [x.detach().float() for x in xs]
    assert weighted_sum(weights, plain, False).dtype == torch.float32


@pytest.mark.parametrize("name", ["quickstart", "ofa_mobilenetv3"])
def test_numbers_cannot_be_blended(name: str) -> None:
    with pytest.raises(NasError) as error:
        shipped(name).mixture()
    assert error.value.diagnostics[0].code == "N506"
