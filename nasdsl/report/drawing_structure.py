"""The graph of a space taken apart at the level on which its author wrote.

A space has thousands of primitive nodes; a picture shows a few boxes. What becomes a box: a use of an ``op`` or
``cell``, the copies of a ``repeat``, a choice with its candidates, a primitive operation. They are found from the uses
that nodes remember (their scopes) and from the guards on their edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from nasdsl.report.drawing import Line, Run, plain
from nasdsl.report.drawing_words import Words, alternatives
from nasdsl.space.choice import Choice
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import SELECT, Node, Scope
from nasdsl.space.tensor import TensorType

if TYPE_CHECKING:
    from nasdsl.space.space import Space

REDUCTIONS = ("sum", "mean", "max", "concat")
SIGNS = {"sum": "Σ", "multiply": "×", "subtract": "−", "divide": "/"}


@dataclass(eq=False)
class Candidate:
    """``nodes`` exist only for it; ``source`` is the node that is read where it is chosen."""

    label: str
    guard: Diagram
    source: int
    nodes: frozenset[int]
    inputs: tuple[int, ...] = ()


@dataclass(eq=False)
class Atom:
    """What becomes one box. ``out`` is the node whose value it gives, ``inputs`` the nodes outside that it reads; of
    those in ``open`` a choice says whether they are read."""

    kind: Literal["fixed", "use", "repeat", "scan", "choice", "join"]
    nodes: frozenset[int]
    out: int
    inputs: tuple[int, ...] = ()
    open: frozenset[int] = frozenset()
    line: Line = ()
    scope: Scope | None = None
    # Of a choice:
    choice: Choice | None = None
    definition: str | None = None
    pick: str = ""
    candidates: list[Candidate] = field(default_factory=list)
    # Of a repeat:
    copies: list[frozenset[int]] = field(default_factory=list)
    times: Line = ()
    # What is done to the result of a join or a choice, and what a join does for its own:
    after: Line = ()
    absorbed: list[Atom] = field(default_factory=list)
    count: int = 1

    @property
    def is_same_everywhere(self) -> bool:
        """Whether all candidates read the same tensors."""
        return len({candidate.inputs for candidate in self.candidates}) <= 1


class Reader:
    """The graph of a space, taken apart into atoms."""

    def __init__(self, space: Space, words: Words) -> None:
        self.space = space
        self.words = words
        self.table = space.table
        graph = space.graph
        self.nodes: list[Node] = [graph.node(id) for id in range(graph.number_of_nodes())]
        self.reads = [graph.reads(node.id) for node in self.nodes]
        self.readers: list[list[int]] = [[] for _ in self.nodes]
        for id, reads in enumerate(self.reads):
            for edge in reads:
                self.readers[edge.source].append(id)
        self.outputs = {node for _, node in space.outputs}
        self.owner = {v: choice for choice in space.choices for v in choice.variables}
        self.members: dict[int, set[int]] = {}
        self.scopes: dict[int, Scope] = {}
        for node in self.nodes:
            for scope in node.scope.path():
                self.scopes[scope.id] = scope
                self.members.setdefault(scope.id, set()).add(node.id)
        self._pure: dict[int, bool] = {}
        # Whether channels are said as numbers: where what is drawn stands for one use.
        self.sizes = False

    @cached_property
    def root(self) -> Scope:
        return self.nodes[0].scope.path()[0]

    # --- uses

    def outs(self, nodes: Iterable[int]) -> list[int]:
        """Of some nodes, those that are read outside."""
        inside = nodes if isinstance(nodes, set | frozenset) else set(nodes)
        return sorted(
            id
            for id in inside
            if id in self.outputs or any(reader not in inside for reader in self.readers[id])
        )

    def inputs(self, nodes: Iterable[int]) -> tuple[int, ...]:
        """The nodes outside that some nodes read, in the order in which they do."""
        inside = nodes if isinstance(nodes, set | frozenset) else set(nodes)
        found = dict.fromkeys(
            edge.source for id in sorted(inside) for edge in self.reads[id] if edge.source not in inside
        )
        return tuple(found)

    def choices_in(self, nodes: Iterable[int]) -> list[Choice]:
        """The choices that are made within some nodes: not those that their inputs' sizes already rest on."""
        inside = set(nodes)
        support: set[int] = set()
        around: set[int] = set()
        for source in self.inputs(inside):
            for dim in self.nodes[source].type.dims:
                if isinstance(dim, Diagram):
                    around |= dim.support()
        for out in self.outs(inside):
            around |= self.nodes[out].guard.support()
        for id in inside:
            node = self.nodes[id]
            if node.choice is not None:
                support |= set(self.space.choices[node.choice].variables)
            for value in node.settings.values():
                if isinstance(value, Diagram):
                    support |= value.support()
            for edge in self.reads[id]:
                if edge.guard is not node.guard:
                    support |= edge.guard.support()
        found = {self.owner[v].index for v in support - around}
        return [self.space.choices[index] for index in sorted(found)]

    def is_pure(self, scope: Scope) -> bool:
        """Whether a use is nothing but a choice: it is drawn as that choice, by the name of its definition."""
        known = self._pure.get(scope.id)
        if known is None:
            known = self._pure[scope.id] = self._find_pure(scope)
        return known

    def _find_pure(self, scope: Scope) -> bool:
        if scope.kind not in ("op", "cell"):
            return False
        nodes = self.members[scope.id]
        outs = self.outs(nodes)
        if len(outs) != 1 or self.nodes[outs[0]].scope is not scope:
            return False
        groups, rest = self._choice_groups(outs[0], nodes)
        if len(groups) != 1 or rest or groups[0][0] is None:
            return False
        inside = set().union(*(candidate.nodes for candidate in groups[0][1]), {outs[0]})
        return inside == nodes

    def child(self, base: Scope, scope: Scope) -> Scope | None:
        """The outermost use in ``base`` that ``scope`` is or lies in, past those that are but a choice."""
        path = scope.path()
        below = path[path.index(base) + 1 :] if base in path else path
        return next((s for s in below if not self.is_pure(s)), None)

    # --- choices

    def _choice_groups(
        self, id: int, within: set[int] | frozenset[int]
    ) -> tuple[list[tuple[Choice | None, list[Candidate]]], list[int]]:
        """What a node picks from, a group a choice (None: reads that rest on something else), and what it always reads."""
        node = self.nodes[id]
        rest: list[int] = []
        groups: dict[int | None, list[Candidate]] = {}
        if node.operation != SELECT and node.operation not in REDUCTIONS:
            return [], [edge.source for edge in self.reads[id]]
        for edge in self.reads[id]:
            if edge.guard is node.guard:
                rest.append(edge.source)
                continue
            choice, label = self._taken_by(edge.guard, node.guard)
            index = None if choice is None else choice.index
            nodes = self._exclusive(edge.source, edge.guard, node.guard, within)
            candidate = Candidate(label, edge.guard, edge.source, nodes)
            candidate.inputs = self.inputs(nodes) if nodes else (edge.source,)
            groups.setdefault(index, []).append(candidate)
        found = [
            (None if index is None else self.space.choices[index], candidates)
            for index, candidates in groups.items()
        ]
        return found, rest

    def _taken_by(self, guard: Diagram, base: Diagram) -> tuple[Choice | None, str]:
        """The choice that decides about an edge, and which of its candidates the edge is."""
        owners = {self.owner[v].index for v in guard.support() - base.support()}
        if len(owners) != 1:
            return None, ""
        choice = self.space.choices[owners.pop()]
        for position, label in enumerate(choice.labels):
            if choice.is_sublist:
                takes = self.table.equals(choice.variables[position], 1, 2)
            else:
                takes = self.table.equals(choice.variables[0], position, len(choice.labels))
            if self.table.both(base, takes) is guard:
                return choice, label
        return None, ""

    def _exclusive(
        self, source: int, guard: Diagram, base: Diagram, within: set[int] | frozenset[int]
    ) -> frozenset[int]:
        """The nodes behind an edge that exist only where its guard holds."""
        found: set[int] = set()
        stack = [source]
        while stack:
            id = stack.pop()
            if id in found or id not in within:
                continue
            own = self.nodes[id].guard
            if own is base or self.table.both(own, guard) is not own:
                continue
            found.add(id)
            stack += [edge.source for edge in self.reads[id]]
        return frozenset(found)

    # --- atoms

    def atoms(self, base: Scope, nodes: Iterable[int], region: int | None = None) -> list[Atom]:
        """A body taken apart, in an order in which it can run. ``region`` is the scan that it is the body of."""
        within = {id for id in nodes if self.nodes[id].operation not in ("input", "element", "state")}
        if region is None:
            regions = {self.nodes[id].region for id in within}
            region = regions.pop() if len(regions) == 1 else None
        units = self._units(base, within, region)
        found: list[Atom] = []
        done: set[int] = set()
        for key, members in units.items():
            if key[0] == "scope" and self.scopes[key[1]].kind == "repeat":
                atom = self._repeat(self.scopes[key[1]], members, within)
                found.append(atom)
                done |= atom.nodes
        # A choice that stands around others comes after them.
        for id in sorted(within, reverse=True):
            if id not in done and ("node", id) in units:
                found += self._choices(id, within - done, done)
        for key, members in units.items():
            rest = frozenset(members - done)
            if rest:
                found.append(self._atom(base, key, rest, done))
                done |= rest
        for atom in found:
            self._connect(atom)
        return ordered(found)

    def _units(self, base: Scope, within: set[int], region: int | None) -> dict[tuple[str, int], set[int]]:
        units: dict[tuple[str, int], set[int]] = {}
        for id in sorted(within):
            node = self.nodes[id]
            if node.region is not None and node.region != region:
                key = ("scan", node.region)
            elif node.operation == "scan":
                key = ("scan", node.settings["element"])
            else:
                child = self.child(base, node.scope)
                key = ("node", id) if child is None else ("scope", child.id)
            units.setdefault(key, set()).add(id)
        return units

    def _choices(self, id: int, within: set[int], done: set[int]) -> list[Atom]:
        """The atoms of a node that picks: a choice, or a join that reads choices, or nothing of the kind."""
        groups, rest = self._choice_groups(id, within)
        if not groups:
            return []
        node = self.nodes[id]
        found: list[Atom] = []
        alone = len(groups) == 1 and not rest
        opened: list[int] = []
        for choice, candidates in groups:
            inside = frozenset().union(*(candidate.nodes for candidate in candidates))
            if not alone and not inside:
                # Nothing is done to what is picked: arrows into the join say it.
                opened += [candidate.source for candidate in candidates]
                continue
            if not alone and choice is None:
                opened += [candidate.source for candidate in candidates]
                continue
            atom = Atom("choice", inside | {id} if alone else inside, id)
            atom.choice, atom.candidates, atom.pick = choice, candidates, self._pick(node, choice, candidates)
            if not alone:
                atom.out = max(inside)
            atom.definition = self._definition(node.scope)
            if alone and node.operation != SELECT:
                atom.line = (Run(SIGNS.get(node.operation, node.operation)),)
            found.append(atom)
            done |= atom.nodes
        if not alone:
            join = Atom("join", frozenset({id}), id, line=(Run(SIGNS.get(node.operation, node.operation)),))
            join.pick = next(
                (self._pick(node, choice, candidates) for choice, candidates in groups if opened), ""
            )
            join.open = frozenset(opened)
            join.candidates = [c for _, candidates in groups for c in candidates if c.source in join.open]
            join.choice = next(
                (choice for choice, candidates in groups if candidates[0].source in join.open), None
            )
            found.append(join)
            done.add(id)
        return found

    def _definition(self, scope: Scope) -> str | None:
        return scope.definition if self.is_pure(scope) else None

    def _pick(self, node: Node, choice: Choice | None, candidates: Sequence[Candidate]) -> str:
        n = len(candidates)
        if choice is None:
            span = node.span.text if node.span is not None else ""
            return "those not read" if "unused(" in span else "on condition"
        if choice.low is None:
            return f"one of {n}"
        pick = choice.pick.replace("..", "–")
        return f"{pick} of {n}"

    def _repeat(self, scope: Scope, members: set[int], within: set[int]) -> Atom:
        nodes = set(members)
        ends = [
            id
            for id in within
            if self.nodes[id].operation == SELECT and id not in nodes and self._ends(id, nodes)
        ]
        nodes |= set(ends)
        atom = Atom("repeat", frozenset(nodes), max(self.outs(nodes), default=max(nodes)), scope=scope)
        atom.copies = self._copies(scope, members)
        choice = next((self.nodes[id].choice for id in ends if self.nodes[id].choice is not None), None)
        if choice is not None:
            atom.choice = self.space.choices[choice]
            atom.times = self._depths(atom.choice)
        elif ends:
            numbers = sorted(
                {self._copy_of(edge.source, atom.copies) for id in ends for edge in self.reads[id]}
            )
            atom.times = alternatives([str(n) for n in numbers], None)
        else:
            atom.times = (Run(str(len(atom.copies))),)
        return atom

    def _depths(self, choice: Choice) -> Line:
        taken = None
        if self.words.assignment is not None and choice.guard.at(self.words.assignment):
            taken = self.words.assignment[choice.variables[0]]
        return alternatives(choice.labels, taken)

    def _ends(self, id: int, members: set[int]) -> bool:
        """Whether a selection only says how many copies there are."""
        sources = {edge.source for edge in self.reads[id]}
        inner = sources & members
        return bool(inner) and sources - members <= set(self.inputs(members))

    def _copy_of(self, node: int, copies: Sequence[frozenset[int]]) -> int:
        return next((n for n, copy in enumerate(copies, 1) if node in copy), 0)

    def _copies(self, scope: Scope, members: set[int]) -> list[frozenset[int]]:
        """The copies of a repeated operation: the shortest period in what stands in its scope."""
        units = list(self._units(scope, members, self.nodes[min(members)].region).items())
        # Selections inside a copy belong to it, whatever uses they are made of.
        marks = [self._mark(key, nodes) for key, nodes in units]
        for period in range(1, len(marks) + 1):
            if len(marks) % period == 0 and marks == marks[:period] * (len(marks) // period):
                return [
                    frozenset().union(*(nodes for _, nodes in units[start : start + period]))
                    for start in range(0, len(units), period)
                ]
        return [frozenset(members)]

    def _mark(self, key: tuple[str, int], nodes: set[int]) -> tuple[str, str]:
        if key[0] == "scope":
            return key[0], self.scopes[key[1]].definition
        node = self.nodes[key[1]]
        return node.operation, plain(self.words.operation(node, self._types(node.id)))

    def _atom(self, base: Scope, key: tuple[str, int], nodes: frozenset[int], done: set[int]) -> Atom:
        out = max(self.outs(nodes), default=max(nodes))
        if key[0] == "scan":
            return Atom("scan", nodes, out)
        if key[0] == "scope":
            scope = self.scopes[key[1]]
            return Atom("use" if self.choices_in(nodes) else "fixed", nodes, out, scope=scope)
        node = self.nodes[key[1]]
        several = len({edge.source for edge in self.reads[node.id]}) > 1 or len(self.reads[node.id]) > 1
        if several and node.operation in (*REDUCTIONS, *SIGNS, SELECT):
            sign = SIGNS.get(node.operation, "" if node.operation == SELECT else node.operation)
            return Atom("join", nodes, out, line=(Run(sign),))
        if node.operation in ("sum", "mean", "max"):
            return Atom("fixed", nodes, out)
        return Atom("fixed", nodes, out, line=self.words.operation(node, self._types(node.id), self.sizes))

    def _types(self, id: int) -> list[TensorType]:
        return [self.nodes[edge.source].type for edge in self.reads[id]]

    def _connect(self, atom: Atom) -> None:
        atom.inputs = self.inputs(atom.nodes)
        if atom.kind == "choice" and not atom.is_same_everywhere:
            always = {
                edge.source
                for id in atom.nodes
                for edge in self.reads[id]
                if edge.guard is self.nodes[atom.out].guard and edge.source not in atom.nodes
            }
            atom.open = frozenset(atom.inputs) - always
        if atom.kind == "scan":
            atom.inputs = tuple(i for i in atom.inputs if self.nodes[i].operation not in ("element", "state"))

    def base_guard(self, atom: Atom) -> Diagram:
        return self.nodes[atom.out].guard


def ordered(atoms: Sequence[Atom]) -> list[Atom]:
    """Atoms in an order in which they can run, else as the author wrote them."""
    maker = {id: atom for atom in atoms for id in atom.nodes}
    left = sorted(atoms, key=lambda atom: atom.out)
    done: set[int] = set()
    found: list[Atom] = []
    while left:
        ready = next(
            (
                a
                for a in left
                if all(i not in maker or maker[i] is a or id(maker[i]) in done for i in a.inputs)
            ),
            left[0],
        )
        left.remove(ready)
        done.add(id(ready))
        found.append(ready)
    return found
