"""How much memory a step of supernet training will take, before anything is made.

A step holds the weights of the whole supernet, the optimiser's state for each of them, a gradient for each weight that
its path uses, a copy of those that elastic operations gather, and the activations of a forward and a backward pass
through that path (:func:`nasdsl.space.memory.step_memory`, which agrees with torch's own tensors).

A process takes more than its tensors: code that is loaded when it is first used, workspace of kernels, and gaps between
what was given back. That part is no theory but was measured on the CPU (``benchmarks/memory.py``): :data:`LOADED` and
:data:`GAPS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.memory import step_memory
from nasdsl.space.operation import FLOAT, Catalogue
from nasdsl.space.space import Space

LOADED = 15 * 2**20
"""Bytes that the first step loads."""
GAPS = 0.25
"""What kernels and gaps take, as a share of the activations."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes that are held at once, by what holds them."""

    weights: int
    optimizer: int
    gradients: int
    activations: int
    workspace: int

    @property
    def total(self) -> int:
        return self.weights + self.optimizer + self.gradients + self.activations + self.workspace

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size(getattr(self, name))}" for name in self.__slots__)
        return f"{size(self.total)}: {parts}"


def size(bytes: int) -> str:
    """Bytes as people say them.

    >>> size(3_250_585), size(512)
    ('3.1 MiB', '0.0 MiB')
    """
    return f"{bytes / 2**20:.1f} MiB" if bytes < 2**30 else f"{bytes / 2**30:.2f} GiB"


def forecast_step(
    space: Space,
    path: Architecture,
    *,
    batch: int,
    states: int = 1,
    free: Mapping[str, int] | None = None,
) -> Forecast:
    """What training one path of a supernet takes: an architecture, gated or not, or the mixture of the space.

    ``states`` are the numbers that the optimiser keeps for each weight (1 for a momentum, 2 for Adam); ``free`` are the
    sizes of free dimensions.
    """
    weights = FLOAT * space.ranges().supernet_params
    stored: set[int] = set()
    gathered = 0
    for step in _with_weights(path.steps, space.catalogue):
        assert step.owner is not None
        stored.add(step.owner)
        gathered += _gathered(space, step)
    # The gradient of a slice is one of the whole stored weight.
    used = sum(space.catalogue[space.graph.node(o).operation].cost(space.largest(o)).params for o in stored)
    activations = step_memory(path, space.catalogue, batch=batch, free=free) + FLOAT * gathered
    workspace = LOADED + int(GAPS * activations)
    return Forecast(weights, states * weights, FLOAT * used, activations, workspace)


def _with_weights(steps: tuple[Step, ...], catalogue: Catalogue) -> Iterator[Step]:
    for step in steps:
        found = catalogue.get(step.operation)
        if step.owner is not None and found is not None and found.borrows is None:
            yield step
        if step.body is not None:
            yield from _with_weights(step.body.steps, catalogue)


def _gathered(space: Space, step: Step) -> int:
    """Numbers of the weights that are copied entry by entry for one architecture, not viewed as a slice."""
    assert step.owner is not None
    largest = space.largest(step.owner)
    operation = space.catalogue[step.operation]
    if operation.torch(largest) == operation.torch(step.instance) or not operation.cost(largest).params:
        return 0
    slices = operation.slices(largest, step.instance).values()
    return sum(
        prod(len(i) if isinstance(i, tuple) else i.stop - (i.start or 0) for i in indices)
        for indices in slices
        if any(isinstance(i, tuple) for i in indices)
    )
