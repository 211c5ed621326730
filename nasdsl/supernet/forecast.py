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
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

from nasdsl.diagnostics import NasError
from nasdsl.operations.rules import entries
from nasdsl.space.architecture import GATE, MIX, Architecture, Step
from nasdsl.space.memory import held_by, step_memory
from nasdsl.space.operation import FLOAT, Catalogue, Held
from nasdsl.space.space import Space
from nasdsl.space.survey import at_one
from nasdsl.supernet.fuse import CONVOLUTIONS, NORM, PART, Fused, kernel_of
from nasdsl.supernet.inplace import RELU_IN_PLACE
from nasdsl.supernet.kernels import is_fast_pool
from nasdsl.supernet.lowering import lowered
from nasdsl.supernet.node import Node
from nasdsl.supernet.optimise import Optimisations
from nasdsl.supernet.partial import FIRST, REJOIN

LOADED = 15 * 2**20
"""Bytes that the first step loads."""
GAPS = 0.4
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

    def as_json(self) -> dict[str, int]:
        return {"total": self.total} | {name: getattr(self, name) for name in self.__slots__}


def forecast_step(
    space: Space,
    path: Architecture,
    *,
    batch: int,
    states: int = 1,
    free: Mapping[str, int] | None = None,
    learns: bool = False,
    optimise: Optimisations = Optimisations(),  # noqa: B008
) -> Forecast:
    """What training one path of a supernet takes: an architecture, gated or not, or the mixture of the space.

    ``states`` are the numbers that the optimiser keeps for each weight (1 for a momentum, 2 for Adam); ``free`` are the
    sizes of free dimensions. With ``learns`` steps of gates or mixture weights alternate with those of the weights, and
    the larger one counts.
    """
    stored = {step.owner for step in _with_weights(path.steps, space.catalogue) if step.owner is not None}
    gathered = FLOAT * sum(_gathered(space, step) for step in _with_weights(path.steps, space.catalogue))
    weights = FLOAT * space.ranges().supernet_params
    # The gradient of a slice is one of the whole stored weight.
    used = FLOAT * sum(_params(space, owner) for owner in stored)
    # What a compiler keeps of a chain is its own affair, and no more than its operations keep one by one.
    shown = optimise if optimise.compile is None else replace(optimise, compile=None, in_place=False)
    steps = lowered(path, space.catalogue, shown, partial(_rides, space))
    of_weights = step_memory(steps, partial(_holds, space.catalogue, optimise, True), batch=batch, free=free)
    of_path = 0
    if learns:
        of_path = step_memory(
            steps, partial(_holds, space.catalogue, optimise, False), batch=batch, free=free
        )
    activations = max(of_weights, of_path) + gathered
    return Forecast(weights, states * weights, used, activations, LOADED + int(GAPS * activations))


def forecast_paths(
    space: Space,
    *,
    batch: int,
    free: Mapping[str, int] | None = None,
    draws: int = 16,
    optimise: Optimisations = Optimisations(),  # noqa: B008
) -> Forecast:
    """The largest of some paths drawn at random."""
    drawn = {genotype.text: genotype for genotype in space.sample(0, draws)}
    found = [
        forecast_step(space, space.architecture(g), batch=batch, free=free, optimise=optimise)
        for g in drawn.values()
    ]
    return max(found, key=lambda forecast: forecast.total)


def forecast_mixture(
    space: Space,
    *,
    batch: int,
    free: Mapping[str, int] | None = None,
    optimise: Optimisations = Optimisations(),  # noqa: B008
) -> Forecast | None:
    """All candidates blended; None where the space has no mixture."""
    try:
        blended = space.mixture()
    except NasError:
        return None
    return forecast_step(space, blended, batch=batch, free=free, learns=True, optimise=optimise)


def _params(space: Space, owner: int) -> int:
    return space.catalogue[space.graph.node(owner).operation].cost(space.largest(owner)).params


def _rides(space: Space, step: Step) -> bool:
    """As the supernet decides it of its modules."""
    if step.operation != "batchnorm":
        return False
    operation = space.catalogue[step.operation]
    owner = step.id if step.owner is None else step.owner
    return operation.torch(step.instance) == operation.torch(space.largest(owner))


def _holds(catalogue: Catalogue, optimise: Optimisations, of_weights: bool, step: Step) -> tuple[Held, bool]:
    """What a lowered step holds, in a step of the weights or in one of gates and mixture weights."""
    if isinstance(step, Node):
        return _held_by_node(step, of_weights)
    if isinstance(step, Fused):
        return _held_by_fused(step, of_weights)
    if step.operation == PART:
        return Held(view=True), False
    if step.operation == RELU_IN_PLACE:
        return Held(view=True, output=True), False
    if step.operation in (GATE, MIX):
        return Held(inputs=tuple(range(len(step.inputs)))), not of_weights
    if step.operation in (FIRST, REJOIN):
        return Held(view=step.operation == FIRST), False
    held, learns = held_by(catalogue)(step)
    if optimise.fast_pools and is_fast_pool(catalogue[step.operation].torch(step.instance)):
        held = Held()  # a linear map
    return held, learns and of_weights


def _held_by_node(step: Node, of_weights: bool) -> tuple[Held, bool]:
    """Inputs of batch norms, and what gates or mixture weights multiply where their gradient is wanted."""
    there = [term for term in step.terms if term.source is not None]
    weighed = not of_weights and any(term.is_weighed for term in there)
    kept = tuple(i for i, term in enumerate(there) if term.norm is not None or (weighed and term.is_weighed))
    norms = sum(term.norm is not None for term in there)
    channels = norms * at_one(step.shape.dims[0])
    learns = of_weights and bool(norms)
    passes = tuple(i for i, term in enumerate(there) if term.norm is None and term.weight is None)
    alone = len(there) == 1 and there[0].norm is None and not weighed
    return Held(view=alone, inputs=kept, fixed=2 * FLOAT * channels, passes=passes), learns or weighed


def _held_by_fused(step: Fused, of_weights: bool) -> tuple[Held, bool]:
    """What lies between its stages and is kept, and the weights, which are joined anew in each pass."""
    members, fixed = sum(step.ends), 0
    kept: Any = 0  # a formula where a dimension is free
    names = [stage[0].operation for stage in step.stages]
    for stage, name, after in zip(step.stages, names, [*names[1:], ""], strict=True):
        channels = at_one(stage[0].shape.dims[0])
        numbers = members * entries(stage[0].shape.dims)
        # A convolution's input is kept for its weights' gradient; a ReLU keeps what it has overwritten.
        if after in CONVOLUTIONS:
            kept += numbers if of_weights or name == "relu" else 0
        elif after not in ("relu", ""):
            kept += numbers
        if name in CONVOLUTIONS:
            fan_in = stage[0].instance.inputs[0].dims[0] if name == "conv" else 1
            kernel = [max(kernels) for kernels in zip(*map(kernel_of, stage), strict=True)]
            fixed += members * channels * at_one(fan_in) * prod(kernel)
        if name == NORM:
            fixed += 3 * members * channels
    held = Held(inputs=(0,) if of_weights else (), extra=FLOAT * kept, fixed=FLOAT * fixed)
    return held, of_weights or bool(step.weights)


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
