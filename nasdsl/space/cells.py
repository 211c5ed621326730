"""Uses of a cell that are decided alike: their nodes correspond one to one, and what decides them is the same.

A cell makes its choices once for all its uses. So what a genotype leaves of one use it leaves of all others of its
kind, with other weights and other sizes, and need be worked out of one of them alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from nasdsl.space.architecture import Step
from nasdsl.space.decide import Absent, Assignment, Decider, Deciding, decided_shape
from nasdsl.space.graph import Node, Scope
from nasdsl.space.operation import Instance


@dataclass(frozen=True, eq=False)
class Kind:
    """What uses have in common: deciding them rests on the cases of ``variables``, and on which inputs are absent."""

    variables: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Use:
    """A use of a cell, the nodes from ``first`` to before ``end``: they read ``inputs`` from outside, and ``output`` alone
    of them is read there."""

    kind: Kind
    first: int
    end: int
    inputs: tuple[int, ...]
    output: int

    def place(self, id: int) -> int:
        """The place of a node in the use, or of an input of it, as a number below zero: the same in all of its kind."""
        return id - self.first if id >= self.first else -1 - self.inputs.index(id)


def find_uses(decider: Decider) -> tuple[Use, ...]:
    """The uses of cells in a space that can be decided by themselves, none inside another: a cell around others only
    where it is used more than once.

    Those can't where sizes or what a call reads rest on choices, where weights are shared with other nodes, and in
    what a scan repeats.
    """
    if decider.has_regions or decider.borrows:
        return ()
    found = _Finder(decider)
    kinds: dict[Any, Kind] = {}
    numbers: dict[Any, int] = {}
    told = {scope: found.use(scope) for scope in found.nodes}
    for use in told.values():
        if use is not None:
            numbers[use.pattern] = numbers.get(use.pattern, 0) + 1
    uses: list[Use] = []
    end = -1
    # Outer ones begin no later than what they hold, and are longer.
    for scope, nodes in sorted(found.nodes.items(), key=lambda item: (item[1][0], -len(item[1]))):
        use = told[scope]
        if use is None or nodes[0] <= end or (numbers[use.pattern] == 1 and scope in found.holds_others):
            continue
        kind = kinds.setdefault(use.pattern, Kind(use.variables))
        uses.append(Use(kind, nodes[0], nodes[-1] + 1, use.inputs, use.output))
        end = nodes[-1]
    return tuple(uses)


def variables_around(decider: Decider, uses: Sequence[Use]) -> tuple[int, ...]:
    """The variables that decide what stands outside of ``uses``."""
    inside = {id for use in uses for id in range(use.first, use.end)}
    asked: set[int] = set()
    for node in decider.nodes:
        if node.id in inside:
            continue
        asked.update(decider.rests_on[node.id])
        for _, guard in decider.reads[node.id]:
            asked |= guard.support()
    return tuple(sorted(asked))


@dataclass(frozen=True)
class _Found:
    pattern: Any
    variables: tuple[int, ...]
    inputs: tuple[int, ...]
    output: int


class _Finder:
    def __init__(self, decider: Decider) -> None:
        self.decider = decider
        self.table = decider.space.table
        enclosing: dict[Scope, tuple[Scope, ...]] = {}
        self.nodes: dict[Scope, list[int]] = {}
        self.holds_others: set[Scope] = set()
        for node in decider.nodes:
            cells = enclosing.get(node.scope)
            if cells is None:
                cells = tuple(scope for scope in node.scope.path() if scope.kind == "cell")
                enclosing[node.scope] = cells
                self.holds_others.update(cells[:-1])
            for cell in cells:
                self.nodes.setdefault(cell, []).append(node.id)
        self.readers: dict[int, list[int]] = {}
        for id, reads in enumerate(decider.reads):
            for source, _ in reads:
                self.readers.setdefault(source, []).append(id)
        self.shared = {node.owner for node in decider.nodes if node.owner not in (None, node.id)}

    def use(self, scope: Scope) -> _Found | None:
        """What a use of a cell is, None where it can't be decided by itself."""
        decider, table, ids = self.decider, self.table, self.nodes[scope]
        first, end = ids[0], ids[-1] + 1
        outputs = self._outputs(first, end)
        if len(ids) != end - first or len(outputs) != 1:
            return None
        guard = decider.nodes[outputs[0]].guard
        inputs: list[int] = []
        pattern: list[Any] = []
        asked: set[int] = set()
        alike: dict[str, int] = {}
        for id in ids:
            node = decider.nodes[id]
            if node.owner not in (None, id) or id in self.shared or not self._is_settled(id):
                return None
            places: dict[int, int] = {}
            reads: list[Any] = []
            for source, edge in decider.reads[id]:
                if source < first and source not in inputs:
                    inputs.append(source)
                places[source] = source - first if source >= first else -1 - inputs.index(source)
                held = table.true if decider.sources[id] is not None else table.given(edge, guard)
                asked |= held.support()
                reads.append((places[source], held))
            picked = decider.picks.get(id)
            if picked is not None:
                asked.add(picked[0])
                reads.append((picked[0], *(places[source] for (source,) in picked[1])))
            same = alike.setdefault(f"{node.operation} {node.settings}", id - first)
            pattern.append((node.operation, node.choice, same, tuple(reads)))
        if any(table.given(decider.nodes[source].guard, guard) is not table.true for source in inputs):
            return None
        return _Found(tuple(pattern), tuple(sorted(asked)), tuple(inputs), outputs[0])

    def _outputs(self, first: int, end: int) -> list[int]:
        returned = {id for _, id in self.decider.space.outputs}
        inside = range(first, end)
        return [
            id
            for id in inside
            if id in returned or any(reader not in inside for reader in self.readers.get(id, ()))
        ]

    def _is_settled(self, id: int) -> bool:
        """Whether the sizes of a node, and what it does with what it reads, rest on no choice."""
        decider = self.decider
        if decider.rests_on[id] or decider.nodes[id].operation == "mean":
            return False
        how = decider.decides[id]
        if how == "_plain":
            return id in decider.settled
        return decider.alike[id] if how == "_reduce" else how in ("_select", "_nothing", "_same")


class Zeros(Exception):
    """Zeros are to be made in a use of which no input is there, so that nothing says for how many examples."""


class Inside(Deciding):
    """Decides one use by itself, given which of its inputs are there. ``steps`` begin with those, as ``input``."""

    def __init__(
        self,
        decider: Decider,
        assignment: Assignment,
        use: Use,
        there: Sequence[bool],
        gated: Collection[str],
        keep_absent: bool,
    ) -> None:
        super().__init__(decider, assignment, gated, keep_absent)
        for source, present in zip(use.inputs, there, strict=True):
            type = self.nodes[source].type
            if not present:
                self.value[source] = self._absent(self.nodes[source])
                continue
            key = (source, "given")
            found = decider.steps.get(key)
            if found is None:
                instance = Instance((), {}, decided_shape(type, ()))
                found = decider.steps.keep(key, Step(source, "input", instance, (), self.nodes[source].scope))
            self.value[source], self.steps[source] = source, found
        self.inputs = tuple([source for source in use.inputs if source in self.steps])
        self.outputs = (("", use.output),)

    def _zeros(self, absent: Absent, reader: Node) -> int:
        if not self.inputs:
            raise Zeros
        return super()._zeros(absent, reader)

    def output(self) -> int | Absent:
        """What the use passes on: an input of it, a step of its own, or nothing."""
        self._values()
        return self.value[self.outputs[0][1]]

    def needed(self, output: int) -> list[Step]:
        """The steps that lead to ``output``, those of the inputs among them."""
        return self._needed([output])
