"""The extents of activation memory over all architectures of a space.

What :mod:`nasdsl.space.memory` finds for one architecture step by step is said here of the whole space, with diagrams:
where a tensor wants a gradient, where somebody keeps it, where somebody still reads it.

``training_memory`` is a sum with a term for each node of the graph, so its extremes are exact as those of params are.
``memory`` is a peak: at each node, the sum of what is there when it runs. The largest of all such sums is exact, found by
looking at the nodes in the order of what they could reach at most. The smallest peak is at least the largest of the
sums' smallest values; where an architecture is found that needs no more, that is exact too. Else it is a bound, and so
is what a scan over several elements needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nasdsl.space.diagram import UNDEFINED, Diagram
from nasdsl.space.graph import SELECT, Edge, Node
from nasdsl.space.operation import FLOAT, INT
from nasdsl.space.solve import OverBudget, Solver
from nasdsl.space.survey import Survey, at_one
from nasdsl.space.tensor import TensorType

if TYPE_CHECKING:
    from nasdsl.space.measures import Extent
    from nasdsl.space.space import Space

WORK = 30_000
"""How many variables of sums are decided while peaks are solved for; beyond, what is left is a bound."""
MINIMA = 10
"""For how many of the nodes with the largest least sums, and of those with the largest sums, the least is found."""


class _Flow:
    """For each node, which reads pass a tensor on under another name, what it holds, and where it wants a gradient."""

    def __init__(self, survey: Survey, *, training: bool, states_learn: bool = False) -> None:
        self.training = training
        self.survey, self.table, self.space = survey, survey.table, survey.space
        self.nodes = survey.nodes
        self.held = [self._held(node) for node in self.nodes]
        self.passes = [self._passes(node) for node in self.nodes]
        self.wants = self._wants(states_learn)

    def _held(self, node: Node) -> Diagram | None:
        operation = self.space.catalogue.get(node.operation)
        if operation is None or self.survey.alive[node.id] is self.table.false:
            return None
        return self.survey.rule(node, operation.held)

    def there(self, node: Node, edge: Edge) -> Diagram:
        """Where a read is of a tensor that is there."""
        return self.table.both(edge.guard, self.table.negate(self.survey.absent[edge.source]))

    def _passes(self, node: Node) -> list[Diagram]:
        """For each read, where the node's value is the very tensor that is read."""
        table, reads = self.table, self.survey.reads[node.id]
        if node.operation in (SELECT, "identity", "element"):
            return [table.true] * len(reads)
        if node.operation in ("sum", "mean"):
            present = [self.there(node, edge) for edge in reads]
            # A mean divides by all that are chosen, so it passes on what it reads alone.
            others = present if node.operation == "sum" else [edge.guard for edge in reads]
            found = []
            for i, edge in enumerate(reads):
                alone = present[i]
                for j, other in enumerate(others):
                    if j != i:
                        alone = table.both(alone, table.negate(other))
                same = self.nodes[edge.source].type.dims == node.type.dims
                found.append(alone if same else table.false)
            return found
        held = self.held[node.id]
        if held is None:
            return [table.false] * len(reads)
        view = table.map(_is_view if self.training else _is_view_or_idle, held)
        return [view if i == 0 else table.false for i in range(len(reads))]

    def renames(self, node: Node) -> bool:
        """Whether the node is no step: it gives what it reads another name."""
        return node.operation in (SELECT, "identity")

    def owns(self, node: Node) -> Diagram:
        """Where a node's value is a tensor of its own."""
        table = self.table
        found = self.survey.alive[node.id]
        for edge, passes in zip(self.survey.reads[node.id], self.passes[node.id], strict=True):
            if node.operation in (SELECT, "identity", "element"):
                return table.false
            found = table.both(found, table.negate(table.both(self.there(node, edge), passes)))
        return found

    def _wants(self, states_learn: bool) -> list[Diagram]:
        table, catalogue = self.table, self.space.catalogue
        wants: list[Diagram] = []
        for node in self.nodes:
            if node.operation == "input" or node.type.dtype != "float":
                wants.append(table.false)
                continue
            if node.operation == "state":
                wants.append(table.leaf(states_learn))
                continue
            operation = catalogue.get(node.operation)
            learns = False
            if operation is not None and self.survey.alive[node.id] is not table.false:
                cost = self.survey.rule(node, operation.cost)
                learns = operation.borrows is not None or any(
                    leaf is not UNDEFINED and leaf.params for leaf in cost.leaves()
                )
            found = table.leaf(learns)
            for edge in self.survey.reads[node.id]:
                if not learns:
                    found = table.either(found, table.both(self.there(node, edge), wants[edge.source]))
            wants.append(found)
        return wants

    def bytes(self, type: TensorType) -> Diagram:
        unit = self.table.leaf(INT if type.dtype == "int" else FLOAT)
        return self.table.map(_product, unit, *map(self.table.lift, type.dims))


def training_memory_extent(space: Space) -> Extent:
    """Of what autograd keeps for one example."""
    from nasdsl.space.measures import Extent, extent

    survey = Survey(space)
    if not _loops(survey):
        return extent(space, _kept_terms(_Flow(survey, training=True), once=True))
    low = extent(space, _kept_terms(_Flow(survey, training=True), once=True))
    high = extent(space, _kept_terms(_Flow(survey, training=True, states_learn=True), once=False))
    return Extent(low.min, high.max, exact=False)


def training_memory_terms(space: Space) -> list[Diagram]:
    """The numbers that add up to it; a scan is taken to go over one element."""
    return _kept_terms(_Flow(Survey(space), training=True), once=True)


def _loops(survey: Survey) -> bool:
    """Whether a scan goes over more than one element."""
    return any(
        leaf is not UNDEFINED and at_one(leaf) > 1
        for node in survey.nodes
        if node.operation == "element"
        for leaf in survey.turns_of(node.id).leaves()
    )


def _kept_terms(flow: _Flow, once: bool) -> list[Diagram]:
    """The bytes of each tensor where somebody keeps it, and what calls keep besides."""
    table, survey, zero = flow.table, flow.survey, flow.table.leaf(0)
    kept = [table.false] * len(flow.nodes)
    zeros: dict[Any, tuple[Diagram, Diagram]] = {}
    terms: list[Diagram] = []
    for node in reversed(flow.nodes):
        here, held = survey.alive[node.id], flow.held[node.id]
        if here is table.false:
            continue
        learning = table.both(here, flow.wants[node.id])
        reads = survey.reads[node.id]
        for position, (edge, passes) in enumerate(zip(reads, flow.passes[node.id], strict=True)):
            where = table.both(passes, kept[node.id])
            if held is not None:
                keeps = table.both(learning, table.map(_keeps, held, table.leaf(position)))
                if table.map(_is_crosswise, held) is not table.false:
                    others = table.false
                    for other in reads:
                        if other is not edge:
                            others = table.either(others, flow.wants[other.source])
                    keeps = table.both(keeps, others)
                where = table.either(where, table.both(keeps, table.negate(passes)))
            where = table.both(table.both(here, edge.guard), where)
            there = table.negate(survey.absent[edge.source])
            kept[edge.source] = table.either(kept[edge.source], table.both(where, there))
            gone = table.both(where, survey.absent[edge.source])
            if gone is not table.false and node.operation not in (SELECT, "identity", "sum"):
                type = flow.nodes[edge.source].type
                key = (type.dims, type.dtype, node.region)
                before = zeros.get(key)
                zeros[key] = (gone if before is None else table.either(before[0], gone), flow.bytes(type))
        turns = table.leaf(1) if once else survey.turns(node)
        if held is not None:
            more = table.map(_times, turns, table.map(_more, held))
            terms.append(table.choose(learning, more, zero))
            if table.map(_keeps_output, held) is not table.false:
                kept[node.id] = table.either(
                    kept[node.id], table.both(learning, table.map(_keeps_output, held))
                )
        own = table.both(flow.owns(node), kept[node.id])
        if own is not table.false:
            terms.append(table.choose(own, table.map(_times, turns, flow.bytes(node.type)), zero))
    terms += [table.choose(where, size, zero) for where, size in zeros.values()]
    return [term for term in terms if term is not zero]


# --- the peak -----------------------------------------------------------------------------------------


def memory_extent(space: Space) -> Extent:
    """Of the most that is there at once when one example is evaluated."""
    from nasdsl.space.measures import Extent

    survey = Survey(space)
    flow = _Flow(survey, training=False)
    positions = _positions(flow)
    loops = _loops(survey)
    most = {key: sum(_largest(term) for term in terms) for key, terms in positions.items()}
    least = {key: sum(_smallest(term) for term in terms) for key, terms in positions.items()}
    order = sorted(positions, key=most.__getitem__, reverse=True)
    solver = _Extremes(space)
    high, exact = 0, not loops
    for key in order:
        if most[key] <= high:
            break
        found = solver.of(positions[key], 1)
        if found is None:
            high, exact = most[key], False
            break
        high = max(high, found[0])
    low = max(least.values())
    smallest = high
    for key in sorted(positions, key=least.__getitem__, reverse=True)[:MINIMA] + order[:MINIMA]:
        found = solver.of(positions[key], -1)
        if found is None:
            break
        low = max(low, found[0])
        smallest = min(smallest, space.measure(space.genotype_of(found[1])).memory)
    if loops:  # outputs of all turns, and the states of two
        high += sum(max(_numbers(table_bytes)) for table_bytes in _loop_bytes(flow))
    return Extent(low, high, exact and smallest == low)


def _positions(flow: _Flow) -> dict[tuple[int, ...], list[Diagram]]:
    """For each node that is a step, the terms of what is there when it has run; alike ones once."""
    table, survey, zero = flow.table, flow.survey, flow.table.leaf(0)
    nodes = flow.nodes
    always = [flow.bytes(nodes[id].type) for id in survey.space.inputs]
    needed: dict[int, Diagram] = {output: table.true for _, output in survey.space.outputs}
    roots = _roots(flow)
    found: dict[tuple[int, ...], list[Diagram]] = {}
    zeros: dict[Any, tuple[Diagram, Diagram]] = {}
    owned = {node.id: flow.owns(node) for node in nodes}
    sizes = {node.id: flow.bytes(node.type) for node in nodes if owned[node.id] is not table.false}
    for node in reversed(nodes):
        here = survey.alive[node.id]
        if here is table.false or node.operation == "input":
            continue
        later = needed.pop(node.id, table.false)
        for edge, passes in zip(survey.reads[node.id], flow.passes[node.id], strict=True):
            there = table.both(here, flow.there(node, edge))
            if flow.renames(node):
                there = table.both(there, later)
            elif node.operation in ("sum", "mean"):
                there = table.both(there, table.either(table.negate(passes), later))
            needed[edge.source] = table.either(needed.get(edge.source, table.false), there)
            gone = table.both(table.both(here, edge.guard), survey.absent[edge.source])
            if gone is not table.false and not flow.renames(node) and node.operation != "sum":
                type = nodes[edge.source].type
                key = (type.dims, type.dtype, node.region)
                before = zeros.get(key)
                zeros[key] = (gone if before is None else table.either(before[0], gone), flow.bytes(type))
        if node.operation == "scan":
            for state in (node.settings["element"], *node.settings["states"]):
                needed[state] = table.either(needed.get(state, table.false), here)
        own = owned[node.id]
        if own is table.false:
            continue
        # What is still read, by the storages that stand behind the names.
        live: dict[int, Diagram] = {}
        for name, where in needed.items():
            if name < node.id:
                for root, guard in roots[name]:
                    live[root] = table.either(live.get(root, table.false), table.both(where, guard))
        terms = [*always]
        for root, where in live.items():
            if nodes[root].operation != "input":
                where = table.both(table.both(where, owned[root]), own)
                terms.append(table.choose(where, sizes[root], zero) if root in sizes else zero)
        held = flow.held[node.id]
        size = sizes[node.id] if held is None else table.map(_with_scratch, held, sizes[node.id])
        terms.append(table.choose(own, size, zero))
        terms += [table.choose(where, size, zero) for where, size in zeros.values()]
        terms = [term for term in terms if term is not zero]
        found.setdefault(tuple(sorted(map(id, terms))), terms)
    return found


def _roots(flow: _Flow) -> list[list[tuple[int, Diagram]]]:
    """For each name the storages that may stand behind it, and where."""
    table = flow.table
    found: list[list[tuple[int, Diagram]]] = []
    for node in flow.nodes:
        mine: dict[int, Diagram] = {}
        own = flow.owns(node)
        if own is not table.false or node.operation in ("input", "state"):
            mine[node.id] = table.true if node.operation in ("input", "state") else own
        for edge, passes in zip(flow.survey.reads[node.id], flow.passes[node.id], strict=True):
            where = table.both(flow.there(node, edge), passes)
            if where is table.false:
                continue
            for root, guard in found[edge.source]:
                mine[root] = table.either(mine.get(root, table.false), table.both(where, guard))
        found.append(list(mine.items()))
    return found


def _loop_bytes(flow: _Flow) -> list[Diagram]:
    found = []
    for node in flow.nodes:
        if node.operation == "scan":
            found.append(flow.bytes(node.type))
            found += [flow.bytes(flow.nodes[state].type) for state in node.settings["states"]]
    return found


class _Extremes:
    """Extremes of sums, as long as the budget lasts."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.left = WORK

    def of(self, terms: Sequence[Diagram], sign: int) -> tuple[int, dict[int, int]] | None:
        """The extreme of a sum with an assignment that has it; None where that takes too long."""
        if self.left <= 0:
            return None
        space = self.space
        solver = Solver(space.table, space.arities, space.rules, terms, budget=2_000)
        try:
            found = solver.extreme(sign)
        except OverBudget:
            self.left = 0
            return None
        self.left -= solver.solved + len(terms)
        return None if found is None else (int(found[0]), found[1])


def _numbers(term: Diagram) -> list[int]:
    return [leaf for leaf in term.leaves() if leaf is not UNDEFINED]


def _largest(term: Diagram) -> int:
    return max(_numbers(term))


def _smallest(term: Diagram) -> int:
    return min(_numbers(term))


def _known(function: Callable[..., Any], default: Any) -> Callable[..., Any]:
    def applied(*values: Any) -> Any:
        return default if any(value is UNDEFINED for value in values) else function(*values)

    return applied


def _multiplied(*values: Any) -> int:
    total = 1
    for value in values:
        total *= at_one(value)
    return total


_product = _known(_multiplied, 0)
_times = _known(_multiplied, 0)
_is_view = _known(lambda held: held.view, False)
_is_view_or_idle = _known(lambda held: held.view or held.idle, False)
_is_crosswise = _known(lambda held: held.crosswise, False)
_keeps = _known(lambda held, position: position in held.inputs, False)
_keeps_output = _known(lambda held: held.output, False)
_more = _known(lambda held: at_one(held.extra) + at_one(held.fixed), 0)
_with_scratch = _known(lambda held, size: size + at_one(held.scratch) + at_one(held.scratch_fixed), 0)
