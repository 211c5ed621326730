"""What networks of a space cost: of one architecture exactly, and over all of them.

Params are counted as torch counts them (once, where weights are shared). FLOPs are multiply-adds of convolutions,
dense layers and attention at batch size 1, and with every free dimension at 1. Memory is that of activations
(:mod:`nasdsl.space.memory`). All are those of the pruned network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.diagram import UNDEFINED, Diagram
from nasdsl.space.latency import Clock, latency_terms, no_table
from nasdsl.space.memory import memory, training_memory
from nasdsl.space.memory_ranges import memory_extent, training_memory_extent, training_memory_terms
from nasdsl.space.operation import Catalogue
from nasdsl.space.solve import OverBudget, Solver
from nasdsl.space.survey import Survey, at_one
from nasdsl.space.tensor import Shape

if TYPE_CHECKING:
    from nasdsl.space.space import Space


@dataclass(frozen=True)
class Measures:
    """Of one architecture. ``activations`` are the numbers that a forward pass of one example makes, all steps together;
    ``memory`` and ``training_memory`` are bytes."""

    params: int
    flops: int
    activations: int
    architecture: Architecture = field(repr=False, compare=False)
    catalogue: Catalogue = field(repr=False, compare=False)
    clock: Clock | None = field(default=None, repr=False, compare=False)

    @cached_property
    def memory(self) -> int:
        """The most bytes of activations that are there at once when one example is evaluated."""
        return memory(self.architecture, self.catalogue)

    @cached_property
    def training_memory(self) -> int:
        """The bytes of activations that are kept for the backward pass of one example."""
        return training_memory(self.architecture, self.catalogue)

    @cached_property
    def latency(self) -> int:
        """Nanoseconds that one example takes. Raises NasError N515 where nothing of the space knows."""
        if self.clock is None:
            raise no_table()
        return self.clock.time(self.architecture, self.catalogue)


@dataclass(frozen=True, slots=True)
class Extent:
    """From the smallest to the largest architecture. Where not ``exact``, no architecture lies outside."""

    min: int
    max: int
    exact: bool = True


@dataclass(frozen=True)
class Ranges:
    """Over all architectures of a space; ``supernet_params`` is what one supernet stores."""

    params: Extent
    flops: Extent
    supernet_params: int
    space: Space = field(repr=False, compare=False)

    @cached_property
    def memory(self) -> Extent:
        """Bytes of activations at once when one example is evaluated."""
        return memory_extent(self.space)

    @cached_property
    def training_memory(self) -> Extent:
        """Bytes of activations kept for the backward pass of one example."""
        return training_memory_extent(self.space)

    @cached_property
    def latency(self) -> Extent:
        """Nanoseconds that one example takes. Raises NasError N515 where the space has no table of latencies."""
        return extent(self.space, latency_terms(self.space))


def measure(architecture: Architecture, catalogue: Catalogue, clock: Clock | None = None) -> Measures:
    """The measures of one architecture."""
    params = flops = activations = 0
    owners: set[int] = set()
    for step, turns in _all_steps(architecture.steps):
        operation = catalogue.get(step.operation)
        if operation is None:
            continue
        cost = operation.cost(step.instance)
        if step.owner is None or (step.owner not in owners and operation.borrows is None):
            params += cost.params
            if step.owner is not None:
                owners.add(step.owner)
        flops += turns * at_one(cost.flops)
        activations += turns * _numbers(step.shape)
    return Measures(params, flops, activations, architecture, catalogue, clock)


def _all_steps(steps: Iterable[Step], turns: int = 1) -> Iterable[tuple[Step, int]]:
    """Each step, and how often it runs: those of a scan's body for each element."""
    for step in steps:
        yield step, turns
        if step.body is not None:
            yield from _all_steps(step.body.steps, turns * at_one(step.shape.dims[0]))


def _numbers(shape: Shape) -> int:
    total: Any = 1
    for dim in shape.dims:
        total = total * dim
    return at_one(total)


def ranges(space: Space) -> Ranges:
    """Extents over the whole space: exact while the solver's budget lasts, then a bound that holds.

    Every node's cost stands under the guard that the node is alive: that it is not absent, and that somebody who is
    alive reads it.
    """
    params, flops, supernet = _terms(space)
    return Ranges(extent(space, params), extent(space, flops), supernet, space)


def cost_terms(space: Space, measure: str) -> list[Diagram]:
    """Numbers that rest on choices, whose sum is ``params``, ``flops``, ``training_memory`` or ``latency``."""
    if measure == "latency":
        return latency_terms(space)
    if measure == "training_memory":
        return training_memory_terms(space)
    params, flops, _ = _terms(space)
    return {"params": params, "flops": flops}[measure]


def _terms(space: Space) -> tuple[list[Diagram], list[Diagram], int]:
    """Those of params and of FLOPs, and what a supernet stores."""
    survey = Survey(space)
    params: dict[int, tuple[Diagram, Diagram]] = {}
    flops: list[Diagram] = []
    supernet = 0
    for node in survey.nodes:
        operation = space.catalogue.get(node.operation)
        if operation is None:
            continue
        alive = survey.alive[node.id]
        if operation.borrows is None:
            if node.owner == node.id:
                supernet += operation.cost(space.largest(node.id)).params
        if alive is space.table.false:
            continue
        cost = survey.rule(node, operation.cost)
        once = space.table.map(_flops, cost)
        flops.append(
            space.table.choose(alive, space.table.map(_times, survey.turns(node), once), survey.zero)
        )
        # What borrows weights keeps them itself where the use that lends them is left out.
        holder = operation if operation.borrows is None else space.catalogue.get(operation.alone or "")
        if holder is not None:
            owner = node.owner if node.owner is not None else node.id
            known = params.get(owner)
            where = alive if known is None else space.table.either(known[0], alive)
            held = cost if holder is operation else survey.rule(node, holder.cost)
            params[owner] = (where, space.table.map(_params, held))
    param_terms = [space.table.choose(where, cost, survey.zero) for where, cost in params.values()]
    return param_terms, flops, supernet


def extent(space: Space, terms: list[Diagram]) -> Extent:
    """From the smallest to the largest sum of the terms."""
    table = space.table
    # Cells that share their choices cost the same under the same guard: add them up before solving.
    grouped: dict[tuple[int, ...], Diagram] = {}
    for term in terms:
        key = tuple(sorted(term.support()))
        known = grouped.get(key)
        grouped[key] = term if known is None else table.map(_add, known, term)
    merged = list(grouped.values())
    solver = Solver(table, space.arities, space.rules, merged, budget=20_000)
    try:
        low, high = solver.extreme(-1), solver.extreme(1)
    except OverBudget:
        return Extent(
            sum(min(_numeric(term)) for term in merged),
            sum(max(_numeric(term)) for term in merged),
            exact=False,
        )
    if low is None or high is None:
        return Extent(0, 0)
    return Extent(int(low[0]), int(high[0]))


def _numeric(term: Diagram) -> list[Any]:
    return [leaf for leaf in term.leaves() if leaf is not UNDEFINED]


def _add(a: Any, b: Any) -> Any:
    return UNDEFINED if a is UNDEFINED or b is UNDEFINED else a + b


def _times(turns: Any, value: Any) -> Any:
    return UNDEFINED if turns is UNDEFINED else at_one(turns) * value


def _params(cost: Any) -> Any:
    return 0 if cost is UNDEFINED else cost.params


def _flops(cost: Any) -> Any:
    return 0 if cost is UNDEFINED else at_one(cost.flops)
