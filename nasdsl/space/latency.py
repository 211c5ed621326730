"""How long a network takes, as a sum over its operations: a table that was measured once, and what it says of a space.

A row is one operation with all that its time rests on: its settings and the shapes of its inputs, at batch size 1 and
with free dimensions of the table's ``length``. A network takes what its rows add up to, a step of a scan as often as it
runs, and ``overhead``, which a run takes without any operation. Times are whole nanoseconds, so that sums are exact.

A sum of n tensors counts as n - 1 sums of two, a mean besides as a division. What an inference runtime merges with the
operation that it follows (a batch norm after a convolution) takes no time of its own. Selections, identities and tensors
of zeros take none either, nor does the loop of a scan.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nasdsl.diagnostics import NasError, failure
from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.diagram import UNDEFINED, Diagram
from nasdsl.space.graph import Node
from nasdsl.space.operation import Catalogue, Instance, Operation
from nasdsl.space.size import Size
from nasdsl.space.survey import Survey
from nasdsl.space.tensor import Shape

if TYPE_CHECKING:
    from nasdsl.space.space import Space

SomeSpace = TypeVar("SomeSpace", bound="Space")

FORMAT = 1
REDUCTIONS = ("sum", "mean")
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Of time, in nanoseconds."""


@dataclass(frozen=True)
class Row:
    """One operation as it is measured; ``settings`` by name, in their order."""

    operation: str
    settings: tuple[tuple[str, Any], ...]
    inputs: tuple[Shape, ...]
    output: Shape

    @cached_property
    def text(self) -> str:
        """What it is called in a file: ``conv(channels=16, kernel=3) [16, 32, 32] -> [16, 32, 32]``."""
        settings = ", ".join(f"{name}={_written(value)}" for name, value in self.settings)
        inputs = ", ".join(map(str, self.inputs))
        return f"{self.operation}({settings}) {inputs} -> {self.output}"

    @property
    def instance(self) -> Instance:
        return Instance(self.inputs, dict(self.settings), self.output)


def readable(nanoseconds: float) -> str:
    """
    >>> readable(1_500_000), readable(820), readable(0)
    ('1.5 ms', '820 ns', '0 ns')
    """
    unit = next((name for name, size in UNITS.items() if nanoseconds >= size), "ns")
    return f"{nanoseconds / UNITS[unit]:.4g} {unit}"


def _call(name: str, parameters: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key} = {value}' for key, value in parameters.items())})"


def _written(value: Any) -> str:
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, (list, tuple)) else str(value)


@dataclass(frozen=True)
class LatencyTable:
    """Times of rows in nanoseconds, by their text. ``space`` and ``parameters`` are those that it was measured for;
    ``machine`` says on what, ``threads`` with how many threads, ``versions`` with which versions. ``scale`` is what the
    rows were multiplied by after they were measured, so that their sums come to what ``whole`` architectures took."""

    rows: Mapping[str, int]
    overhead: int
    space: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    length: int = 16
    threads: int = 1
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    scale: float = 1.0
    whole: int = 0

    def scaled(self, scale: float, whole: int) -> LatencyTable:
        """The same with every row times ``scale``, that was found on ``whole`` architectures."""
        rows = {name: round(scale * value) for name, value in self.rows.items()}
        return replace(self, rows=rows, scale=self.scale * scale, whole=whole)

    def check(self, space: Space) -> None:
        """Raises NasError N514 where the table lacks some of the rows that occur in the space."""
        wanted = rows_of_space(space, self.length)
        missing = [row.text for row in wanted if row.text not in self.rows]
        if missing:
            raise failure(
                "N514",
                f"the table of latencies was measured for `{_call(self.space, self.parameters)}`, and lacks "
                f"{len(missing)} of the {len(wanted)} operations of `{_call(space.name, space.parameters)}`: "
                f"`{missing[0]}`" + (" and others" if len(missing) > 1 else ""),
                "measure one for this space, with its parameters: `nasdsl latency "
                + " ".join(
                    [space.name, *(f"--set {name}={value}" for name, value in space.parameters.items())]
                )
                + " -o table.json`",
            )

    def as_text(self) -> str:
        """The table as a file."""
        known = {
            "kind": "nasdsl latencies",
            "format": FORMAT,
            "space": self.space,
            "parameters": dict(self.parameters),
            "machine": self.machine,
            "threads": self.threads,
            "length": self.length,
            "versions": dict(self.versions),
            "unit": "ns",
            "scale": self.scale,
            "whole": self.whole,
            "overhead": self.overhead,
            "rows": dict(sorted(self.rows.items())),
        }
        return json.dumps(known, indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def read(path: Path) -> LatencyTable:
        """Raises NasError N513 where there is no table of this format."""
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            if known["kind"] != "nasdsl latencies" or known["format"] != FORMAT:
                raise KeyError("kind")
            rows = {str(name): int(value) for name, value in known["rows"].items()}
            return LatencyTable(
                rows, int(known["overhead"]), known["space"], known["parameters"], int(known["length"]),
                int(known["threads"]), known["machine"], known["versions"], float(known["scale"]),
                int(known["whole"]),
            )  # fmt: skip
        except OSError as error:
            raise failure("N513", f"can't read the table of latencies `{path}`: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise failure(
                "N513",
                f"`{path}` is no table of latencies of format {FORMAT}",
                "`nasdsl latency SPACE -o table.json` measures one",
            ) from None


# --- rows ---------------------------------------------------------------------------------------------

Counted = tuple[tuple[Row, int], ...]
"""Rows, and how often each runs."""


def at_length(value: Any, length: int) -> Any:
    """A size with every free dimension at ``length``; lists of sizes likewise."""
    if isinstance(value, Size):
        return int(value.at(dict.fromkeys(value.names(), length)))
    if isinstance(value, (list, tuple)):
        return tuple(at_length(entry, length) for entry in value)
    return value


def counted(operation: Operation, instance: Instance, length: int) -> Counted:
    """The rows of one call."""
    output = _at_length(instance.output, length)
    if operation.name in REDUCTIONS:
        added = (Row("sum", (), (output, output), output), len(instance.inputs) - 1)
        if operation.name == "sum":
            return (added,)
        return (added, (Row("mean", (("divisor", 2),), (output,), output), 1))
    settings = tuple((name, at_length(value, length)) for name, value in instance.settings.items())
    # With the weights of another use or its own, it computes the same.
    name = operation.alone or operation.name
    return ((Row(name, settings, tuple(_at_length(s, length) for s in instance.inputs), output), 1),)


def _at_length(shape: Shape, length: int) -> Shape:
    return Shape(at_length(shape.dims, length), shape.dtype)


def merged_nodes(space: Space) -> frozenset[int]:
    """Nodes that an inference runtime merges with what they follow: they alone read its result, in the whole space."""
    graph = space.graph
    reads = [graph.reads(id) for id in range(graph.number_of_nodes())]
    readers = Counter(edge.source for edges in reads for edge in edges)
    readers.update(id for _, id in space.outputs)
    root: dict[int, str] = {}
    for id, edges in enumerate(reads):
        operation = space.catalogue.get(graph.node(id).operation)
        if operation is None or len(edges) != 1 or readers[edges[0].source] != 1:
            continue
        source = edges[0].source
        follows = root.get(source, graph.node(source).operation)
        if follows in operation.merges_with:
            root[id] = follows
    return frozenset(root)


# --- of one architecture ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clock:
    """Adds up the rows of a table; ``merged`` are nodes of the space that take no time of their own."""

    table: LatencyTable
    merged: frozenset[int]

    def time(self, architecture: Architecture, catalogue: Catalogue) -> int:
        found = self._sum(architecture.steps, catalogue, 1)
        return self.table.overhead + found

    def _sum(self, steps: Iterable[Step], catalogue: Catalogue, turns: int) -> int:
        total = 0
        for step in steps:
            if step.body is not None:
                more = turns * at_length(step.shape.dims[0], self.table.length)
                total += self._sum(step.body.steps, catalogue, more)
            elif step.operation in catalogue and step.id not in self.merged:
                rows = counted(catalogue[step.operation], step.instance, self.table.length)
                total += turns * self.of(rows)
        return total

    def of(self, rows: Counted) -> int:
        return sum(times * self.table.rows[row.text] for row, times in rows)


def timed(space: SomeSpace, table: LatencyTable) -> SomeSpace:
    """The space with ``latency`` among its measures. Raises NasError N514 where the table lacks a row."""
    table.check(space)
    return replace(space, clock=Clock(table, merged_nodes(space)))


# --- of a space ---------------------------------------------------------------------------------------


def rows_of_space(space: Space, length: int = 16) -> list[Row]:
    """Every row that occurs in an architecture of the space, each once, in the order of the graph."""
    survey = Survey(space)
    merged = merged_nodes(space)
    found: dict[Row, None] = {}
    for node in survey.nodes:
        if node.id not in merged:
            for leaf in _rows_where(survey, node, length).leaves():
                if leaf is not UNDEFINED:
                    found.update(dict.fromkeys(row for row, _ in leaf))
    return list(found)


def latency_terms(space: Space) -> list[Diagram]:
    """Nanoseconds that add up to an architecture's latency, each resting on choices. Raises NasError N515 where the
    space has no table of latencies."""
    clock = space.clock
    if clock is None:
        raise no_table()
    survey, table = Survey(space), space.table
    terms = [table.leaf(clock.table.overhead)]
    for node in survey.nodes:
        rows = _rows_where(survey, node, clock.table.length)
        if node.id in clock.merged or rows.leaves() == [()]:
            continue
        turns = table.map(partial(at_length, length=clock.table.length), survey.turns(node), remember=False)
        terms.append(table.map(_times, turns, table.map(partial(_time, clock), rows, remember=False)))
    return terms


def no_table() -> NasError:
    """N515: latencies of a whole space want a table."""
    return failure(
        "N515",
        "how long networks take isn't known without a table of latencies",
        "measure one, `nasdsl latency SPACE -o table.json`, and give it with `--latency table.json`",
    )


def _time(clock: Clock, rows: Any) -> Any:
    return UNDEFINED if rows is UNDEFINED else clock.of(rows)


def _times(turns: Any, value: Any) -> Any:
    if value == 0:
        return 0
    return UNDEFINED if turns is UNDEFINED or value is UNDEFINED else turns * value


def _rows_where(survey: Survey, node: Node, length: int) -> Diagram:
    """The rows of a node where it is alive, none elsewhere."""
    table = survey.table
    nothing = table.leaf(())
    operation = survey.space.catalogue.get(node.operation)
    alive = survey.alive[node.id]
    if operation is None or alive is table.false or node.operation in ("identity", "zero"):
        return nothing
    reads = survey.reads[node.id]
    there = [
        table.both(edge.guard, table.negate(survey.absent[edge.source]))
        if node.operation in REDUCTIONS
        else edge.guard
        for edge in reads
    ]
    types = [survey.nodes[edge.source].type for edge in reads]
    names = list(node.settings)

    def at(exists: bool, *values: Any) -> Any:
        if not exists:
            return ()
        given = iter(values)
        shapes = []
        for type in types:
            here, dims = next(given), tuple(next(given) for _ in type.dims)
            if here:
                shapes.append(Shape(dims, type.dtype))
        output = Shape(tuple(next(given) for _ in node.type.dims), node.type.dtype)
        settings = dict(zip(names, given, strict=True))
        if node.operation in REDUCTIONS:
            settings = {}
        sizes: list[Any] = [dim for shape in (output, *shapes) for dim in shape.dims]
        if any(value is UNDEFINED for value in (*sizes, *settings.values())):
            return UNDEFINED
        return counted(operation, Instance(tuple(shapes), settings, output), length)

    operands = [alive]
    for guard, type in zip(there, types, strict=True):
        operands += [guard, *map(table.lift, type.dims)]
    operands += [*map(table.lift, node.type.dims), *map(table.lift, node.settings.values())]
    return table.map(at, *operands, remember=False)
