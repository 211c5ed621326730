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
from nasdsl.space.graph import SELECT, Edge, Node
from nasdsl.space.memory import memory, training_memory
from nasdsl.space.operation import Catalogue, Instance, Operation
from nasdsl.space.size import Size
from nasdsl.space.solve import OverBudget, Solver
from nasdsl.space.tensor import Parts, Shape

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

    @cached_property
    def memory(self) -> int:
        """The most bytes of activations that are there at once when one example is evaluated."""
        return memory(self.architecture, self.catalogue)

    @cached_property
    def training_memory(self) -> int:
        """The bytes of activations that are kept for the backward pass of one example."""
        return training_memory(self.architecture, self.catalogue)


@dataclass(frozen=True, slots=True)
class Extent:
    """From the smallest to the largest architecture. Where not ``exact``, no architecture lies outside."""

    min: int
    max: int
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Ranges:
    """Over all architectures of a space; ``supernet_params`` is what one supernet stores."""

    params: Extent
    flops: Extent
    supernet_params: int


def measure(architecture: Architecture, catalogue: Catalogue) -> Measures:
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
    return Measures(params, flops, activations, architecture, catalogue)


def _all_steps(steps: Iterable[Step], turns: int = 1) -> Iterable[tuple[Step, int]]:
    """Each step, and how often it runs: those of a scan's body for each element."""
    for step in steps:
        yield step, turns
        if step.body is not None:
            yield from _all_steps(step.body.steps, turns * at_one(step.shape.dims[0]))


def at_one(value: int | Size) -> int:
    """A cost with every free dimension at 1."""
    if isinstance(value, Size):
        return int(value.at(dict.fromkeys(value.names(), 1)))
    return value


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
    survey = _Survey(space)
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
        cost = survey.cost(node)
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
            held = cost if holder is operation else survey.cost(node, holder)
            params[owner] = (where, space.table.map(_params, held))
    param_terms = [space.table.choose(where, cost, survey.zero) for where, cost in params.values()]
    return Ranges(_extent(space, param_terms), _extent(space, flops), supernet)


def _extent(space: Space, terms: list[Diagram]) -> Extent:
    table = space.table
    # Cells that share their choices cost the same under the same guard: add them up before solving.
    grouped: dict[tuple[int, ...], Diagram] = {}
    for term in terms:
        key = tuple(sorted(term.support()))
        known = grouped.get(key)
        grouped[key] = term if known is None else table.map(_add, known, term)
    merged = list(grouped.values())
    solver = Solver(table, space.arities, space._rules, merged, budget=20_000)
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


class _Survey:
    """For every node of the graph, where it is absent and where it is alive."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.table = space.table
        self.zero = space.table.leaf(0)
        graph = space.graph
        self.nodes: list[Node] = [graph.node(id) for id in range(graph.number_of_nodes())]
        self.reads: list[list[Edge]] = [graph.reads(node.id) for node in self.nodes]
        self.absent = self._absences()
        self.alive = self._alive()
        self._costs: dict[Any, Diagram] = {}

    def _absences(self) -> list[Diagram]:
        table = self.table
        absent: list[Diagram] = []
        for node, reads in zip(self.nodes, self.reads, strict=True):
            if node.operation == "zero":
                absent.append(table.true)
            elif node.operation in (SELECT, "sum", "mean"):
                # There as soon as one that is read is there.
                present = table.false
                for edge in reads:
                    present = table.either(present, table.both(edge.guard, table.negate(absent[edge.source])))
                absent.append(table.negate(present))
            elif node.operation in ("input", "element", "state", "scan"):
                absent.append(table.false)
            elif self.space.catalogue[node.operation].passes_absence:
                missing = table.false
                for edge in reads:
                    missing = table.either(missing, absent[edge.source])
                absent.append(missing)
            else:
                absent.append(table.false)
        return absent

    def _alive(self) -> list[Diagram]:
        table = self.table
        alive = [table.false] * len(self.nodes)
        for _, output in self.space.outputs:
            alive[output] = table.true
        for node in reversed(self.nodes):
            here = alive[node.id] = table.both(
                table.both(alive[node.id], node.guard), table.negate(self.absent[node.id])
            )
            if here is table.false:
                continue
            for edge in self.reads[node.id]:
                alive[edge.source] = table.either(alive[edge.source], table.both(here, edge.guard))
        return alive

    def turns(self, node: Node) -> Diagram:
        """How often a node runs, where it runs: in a scan for each element of the sequence."""
        if node.region is None:
            return self.table.leaf(1)
        (sequence,) = (edge.source for edge in self.reads[node.region])
        return self.table.lift(self.nodes[sequence].type.dims[0])

    def cost(self, node: Node, operation: Operation | None = None) -> Diagram:
        """The cost of a node (or of what ``operation`` would cost there), a diagram over the choices that its sizes
        rest on."""
        operation = operation or self.space.catalogue[node.operation]
        types = [self.nodes[edge.source].type for edge in self.reads[node.id]]
        if all(t.is_static for t in (*types, node.type)) and not any(
            isinstance(v, Diagram) for v in node.settings.values()
        ):
            instance = Instance(
                tuple(Shape(t.dims, t.dtype) for t in types),  # type: ignore[arg-type]
                node.settings,
                Shape(node.type.dims, node.type.dtype),  # type: ignore[arg-type]
            )
            return self.table.leaf(operation.cost(instance))
        names = list(node.settings)
        layout = [(len(t.dims), t.dtype) for t in (*types, node.type)]

        def rule(*values: Any) -> Any:
            if any(value is UNDEFINED for value in values):
                return UNDEFINED
            shapes = []
            offset = 0
            for rank, dtype in layout:
                shapes.append(Shape(tuple(values[offset : offset + rank]), dtype))
                offset += rank
            settings = dict(zip(names, values[offset:], strict=True))
            parts: tuple[tuple[Parts, ...], ...] = ()
            return operation.cost(Instance(tuple(shapes[:-1]), settings, shapes[-1], parts))

        operands = [self.table.lift(d) for t in (*types, node.type) for d in t.dims]
        operands += [self.table.lift(v) for v in node.settings.values()]
        return self.table.map(rule, *operands, remember=False)
