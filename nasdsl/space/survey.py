"""Where in a space each node of the graph is absent, where it is alive, and what the rules of operations say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nasdsl.space.diagram import UNDEFINED, Diagram
from nasdsl.space.graph import SELECT, Edge, Node
from nasdsl.space.operation import Instance
from nasdsl.space.size import Size
from nasdsl.space.tensor import Parts, Shape

if TYPE_CHECKING:
    from nasdsl.space.space import Space


def at_one(value: int | Size) -> int:
    """A cost with every free dimension at 1."""
    if isinstance(value, Size):
        return int(value.at(dict.fromkeys(value.names(), 1)))
    return value


class Survey:
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
        return self.turns_of(node.region)

    def turns_of(self, element: int) -> Diagram:
        """How many elements a scan goes over, told by the node of one."""
        (sequence,) = (edge.source for edge in self.reads[element])
        return self.table.lift(self.nodes[sequence].type.dims[0])

    def rule(self, node: Node, says: Callable[[Instance], Any]) -> Diagram:
        """What a rule of an operation says of a node, a diagram over the choices that its sizes rest on."""
        types = [self.nodes[edge.source].type for edge in self.reads[node.id]]
        if all(t.is_static for t in (*types, node.type)) and not any(
            isinstance(v, Diagram) for v in node.settings.values()
        ):
            instance = Instance(
                tuple(Shape(t.dims, t.dtype) for t in types),  # type: ignore[arg-type]
                node.settings,
                Shape(node.type.dims, node.type.dtype),  # type: ignore[arg-type]
            )
            return self.table.leaf(says(instance))
        names = list(node.settings)
        layout = [(len(t.dims), t.dtype) for t in (*types, node.type)]

        def at(*values: Any) -> Any:
            if any(value is UNDEFINED for value in values):
                return UNDEFINED
            shapes = []
            offset = 0
            for rank, dtype in layout:
                shapes.append(Shape(tuple(values[offset : offset + rank]), dtype))
                offset += rank
            settings = dict(zip(names, values[offset:], strict=True))
            parts: tuple[tuple[Parts, ...], ...] = ()
            return says(Instance(tuple(shapes[:-1]), settings, shapes[-1], parts))

        operands = [self.table.lift(d) for t in (*types, node.type) for d in t.dims]
        operands += [self.table.lift(v) for v in node.settings.values()]
        return self.table.map(at, *operands, remember=False)
