"""The space graph: the superposition of all networks of a space, as a networkx DAG with guards on its edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import networkx as nx

from nasdsl.diagnostics import Span
from nasdsl.space.diagram import Diagram
from nasdsl.space.tensor import TensorType

SELECT = "select"
"""The reduction that a choice of tensors becomes: edges with exclusive guards, of which it passes on the one that holds."""


@dataclass(eq=False, slots=True)
class Scope:
    """One use of an ``op`` or ``cell``, the space itself, or a ``repeat``: the author's structure, kept for pictures and code.

    ``kind`` is ``space``, ``op``, ``cell``, ``repeat`` or ``scan``. ``definition`` names what is used, ``label`` the
    name that the use has in its parent (an assignment's target, a candidate's label, else the definition's name).
    ``inputs`` are the nodes bound to the definition's inputs, by name.
    """

    id: int
    kind: str
    definition: str
    label: str
    parent: Scope | None
    span: Span | None
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    doc: str | None = None

    def path(self) -> list[Scope]:
        """From the space down to this use."""
        scope: Scope | None = self
        found = []
        while scope is not None:
            found.append(scope)
            scope = scope.parent
        return found[::-1]


class Edge(NamedTuple):
    """A read of node ``source``, at ``position`` among the reader's inputs, where ``guard`` holds."""

    source: int
    guard: Diagram
    position: int


@dataclass(eq=False, slots=True)
class Node:
    """An input, a primitive operation or a reduction of the space graph.

    ``settings`` are plain values, or diagrams where they rest on choices. ``guard`` is where the node exists; it is
    checked nowhere else. ``owner`` is the node that holds its weights. ``region`` is the scan that it runs inside.
    ``choice`` is, for a ``select``, the index of its choice.
    """

    id: int
    operation: str
    settings: dict[str, Any]
    type: TensorType
    guard: Diagram
    scope: Scope
    span: Span | None
    name: str | None = None
    owner: int | None = None
    region: int | None = None
    choice: int | None = None


class SpaceGraph(nx.MultiDiGraph):
    """Nodes are numbers in an order in which they can run, each with its :class:`Node` under ``node``; each edge has a
    ``guard`` and, as its key, the position among the reader's inputs."""

    def add(self, node: Node, reads: list[tuple[int, Diagram]]) -> None:
        self.add_node(node.id, node=node)
        for position, (source, guard) in enumerate(reads):
            self.add_edge(source, node.id, key=position, guard=guard)

    def node(self, id: int) -> Node:
        node: Node = self.nodes[id]["node"]
        return node

    def reads(self, id: int) -> list[Edge]:
        """The edges into a node, in the order of its inputs."""
        edges = [
            Edge(source, data["guard"], position)
            for source, keyed in self.pred[id].items()
            for position, data in keyed.items()
        ]
        edges.sort(key=lambda edge: edge.position)
        return edges

    def all_nodes(self) -> Iterator[Node]:
        """Every node, in an order in which they can run."""
        for _, node in self.nodes(data="node"):
            yield node
