"""The common fixture of the estimators: a DAG of three edges whose 27 architectures are enumerated.

    n0 --n1--> n1 --n2#2--> n2      y = (c[n2#1] + c[n2#2] · c[n1]) x,   c = (0, A, B) for the candidates zero, a, b
    n0 -------n2#1--------> n2

A scalar x goes in, so that loss and gradient have a closed form: with independent p_e = softmax(logits_e),

    E[L] = Σ_z p(z) L(z)   and   ∇E[L] = Σ_z p(z) L(z) (z - p).

``losses(kind)`` is the table [3, 3, 3] of L over the candidates of ``CHOICES``; ``expected_gradient`` gives ∇E[L] by
enumeration, and ``moments`` mean and variance of any estimator that is a function of an architecture. ``run`` is the
real thing: the architecture's sub-network in the supernet, gates and all, with gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import product

import torch
from torch import Tensor

from nasdsl.pipeline import loads
from nasdsl.searching.strategy import Path
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet

A, B = 1.5, -0.7
SOURCE = """
space fixture() {
  input x: [1]
  op edge(x: [D]) = zero: zero(x) | a: 1.5 * x | b: -0.7 * x
  n1 = edge(x)
  n2 = edge(x) + edge(n1)
  return n2
}
"""
CHOICES = ("n1", "n2#1", "n2#2")
LABELS = ("zero", "a", "b")
X = torch.tensor([[0.8]], dtype=torch.float64)
TARGET = 1.5

# Of the output [N, 1]. With the linear one the loss is affine in what each edge gives.
LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda y: 1.3 * y.mean() + 0.2,
    "squared": lambda y: ((y - TARGET) ** 2).mean(),
    "tanh": lambda y: torch.tanh(y - TARGET).mean(),
}


@cache
def space() -> Space:
    found = loads(SOURCE)
    assert tuple(choice.name for choice in found.choices) == CHOICES
    assert all(choice.labels == LABELS for choice in found.choices)
    return found


@cache
def supernet() -> Supernet:
    return Supernet(space(), dtype=torch.float64)


def architectures() -> Iterator[tuple[int, int, int]]:
    """The 27, as positions of the candidates of ``CHOICES``."""
    yield from product(range(3), repeat=3)


def genotype(positions: tuple[int, ...]) -> Genotype:
    return Genotype({name: LABELS[k] for name, k in zip(CHOICES, positions, strict=True)})


def positions(genotype: Mapping[str, object]) -> tuple[int, int, int]:
    a, b, c = (LABELS.index(str(genotype[name])) for name in CHOICES)
    return a, b, c


def run(path: Path, kind: str = "squared") -> Tensor:
    """The loss of a path, through the supernet. Like the callable that an architecture step is given."""
    y = supernet()(X, genotype=path.genotype, gates=path.gates, gating=path.gating)
    assert isinstance(y, Tensor)
    return LOSSES[kind](y)


@cache
def losses(kind: str) -> Tensor:
    """L [3, 3, 3] in closed form."""
    c = torch.tensor([0.0, A, B], dtype=torch.float64)
    table = torch.empty(3, 3, 3, dtype=torch.float64)
    for z in architectures():
        table[z] = LOSSES[kind]((c[z[1]] + c[z[2]] * c[z[0]]) * X)
    return table


def logits(seed: int = 0) -> Tensor:
    """Some logits [3, 3]."""
    return torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def joint(logits: Tensor) -> Tensor:
    """p(z) [3, 3, 3]."""
    p = torch.softmax(logits, 1)
    return p[0][:, None, None] * p[1][None, :, None] * p[2][None, None, :]


def one_hot(z: tuple[int, ...]) -> Tensor:
    """[3, 3]"""
    return torch.nn.functional.one_hot(torch.tensor(z), 3).to(torch.float64)


def expected_gradient(logits: Tensor, table: Tensor) -> Tensor:
    """∇ Σ_z p(z) L(z) [3, 3], by automatic differentiation of the enumerated sum."""
    leaf = logits.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad((joint(leaf) * table).sum(), leaf)
    return gradient


def moments(logits: Tensor, estimator: Callable[[tuple[int, int, int]], Tensor]) -> tuple[Tensor, float]:
    """Mean [3, 3] and summed variance of an estimator of the gradient, exactly."""
    p = joint(logits.detach())
    mean = torch.zeros(3, 3, dtype=torch.float64)
    square = 0.0
    for z in architectures():
        g = estimator(z)
        mean += p[z] * g
        square += float(p[z] * (g**2).sum())
    return mean, square - float((mean**2).sum())


def reinforce(
    logits: Tensor, table: Tensor, baseline: float = 0.0
) -> Callable[[tuple[int, int, int]], Tensor]:
    """(L(z) - b)(z - p): what other estimators are compared with."""
    p = torch.softmax(logits.detach(), 1)
    return lambda z: (table[z] - baseline) * (one_hot(z) - p)


def shuffled(table: Tensor, seed: int) -> Tensor:
    """The same losses, given to other architectures: what the negative control searches."""
    order = torch.randperm(table.numel(), generator=torch.Generator().manual_seed(seed))
    return table.flatten()[order].reshape(table.shape)


def rank(table: Tensor, z: tuple[int, ...]) -> int:
    """How many of the 27 are better; a uniformly drawn one has 13 on average where all losses differ."""
    return int((table < table[z] - 1e-12).sum())
