"""The author's structure, found again in an architecture: which steps belong to which use of an ``op`` or ``cell``.

Pruning leaves holes: a use whose body came down to a single step is that step, an ``op`` that only picks another one
is the one it picked. What remains is a tree of uses, each with the tensors that go in and come out.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Union

from nasdsl.diagnostics import failure
from nasdsl.exporting.zeros import local_zeros
from nasdsl.space.architecture import GATE, MIX, ZEROS, Architecture, Step
from nasdsl.space.graph import Scope
from nasdsl.space.operation import Catalogue, TorchCall
from nasdsl.space.tensor import Shape

OUTSIDE = -sys.maxsize
"""Who reads what the network returns."""

_NAME = re.compile(r"\w{1,40}(\[\w+\])*(,\w+)*", re.ASCII)

# Whose weights a module holds: the node that owns them, or the step where it has none (dropout).
Key = tuple[str, int]


@dataclass(eq=False)
class Call:
    """One step of a body. ``call`` is None where the step makes zeros.

    ``label`` is the name of the use that came down to it, ``assigned`` whether that is the author's name for a tensor
    rather than a definition's; likewise below.
    """

    step: Step
    call: TorchCall | None
    borrows: str | None = None
    label: str | None = None
    assigned: bool = False

    @property
    def reads(self) -> tuple[int, ...]:
        return self.step.inputs

    @property
    def makes(self) -> tuple[int, ...]:
        return (self.step.id,)

    @property
    def steps(self) -> frozenset[int]:
        return frozenset((self.step.id,))

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        if self.call is None or self.call.kind != "module":
            return ()
        return (("step", self.step.id) if self.step.owner is None else ("owner", self.step.owner),)


@dataclass(eq=False)
class Scan:
    """A loop over a sequence. ``outer`` are the tensors besides the sequence that its body reads from outside."""

    step: Step
    items: list[Item]
    outer: tuple[int, ...]
    label: str | None = None
    assigned: bool = False

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.step.inputs[0], *self.outer)

    @property
    def makes(self) -> tuple[int, ...]:
        return (self.step.id,)

    @cached_property
    def steps(self) -> frozenset[int]:
        body = self.step.body
        assert body is not None
        return frozenset(
            {self.step.id, body.element, *body.states}.union(*(item.steps for item in self.items))
        )

    @property
    def keys(self) -> tuple[Key, ...]:
        return tuple(key for item in self.items for key in item.keys)


@dataclass(eq=False)
class Use:
    """A use of an ``op`` or ``cell``: its body, the tensors that it reads (in the order of its arguments) and makes."""

    scope: Scope
    kind: str
    definition: str
    label: str | None
    items: list[Item]
    reads: tuple[int, ...] = ()
    makes: tuple[int, ...] = ()
    assigned: bool = False

    @cached_property
    def steps(self) -> frozenset[int]:
        return frozenset().union(*(item.steps for item in self.items))

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        return tuple(key for item in self.items for key in item.keys)


@dataclass(eq=False)
class Loop:
    """Uses one after the other, in each of which every argument is an argument or a result of the one before.

    ``turn`` says which: ("out", 0) is the first result, ("arg", 1) the second argument of the last turn. With
    ``open_ended`` other uses of the same class may take another number of turns.
    """

    uses: list[Use]
    turn: tuple[tuple[str, int], ...]
    label: str | None
    open_ended: bool = False
    reads: tuple[int, ...] = ()
    makes: tuple[int, ...] = ()
    assigned: bool = False

    @cached_property
    def steps(self) -> frozenset[int]:
        return frozenset().union(*(use.steps for use in self.uses))

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        return tuple(key for use in self.uses for key in use.keys)

    @property
    def is_chain(self) -> bool:
        """Whether it is one use after the other: one tensor in, one tensor out."""
        return self.turn == (("out", 0),)

    def after(self) -> tuple[int, ...]:
        """The tensors that its variables hold after the last turn."""
        last = self.uses[-1]
        return tuple(last.makes[i] if source == "out" else last.reads[i] for source, i in self.turn)


Item = Union[Call, Scan, Use, Loop]


@dataclass
class Structure:
    """The tree of uses of one architecture. ``steps`` are its steps, with zeros made where they are read."""

    architecture: Architecture
    steps: tuple[Step, ...]
    root: Use
    readers: dict[int, set[int]] = field(repr=False)
    shapes: dict[int, Shape] = field(repr=False)
    names: dict[int, str] = field(repr=False)

    def uses(self) -> Iterator[Use]:
        """Every use, those inside before those around them."""
        yield from _uses_of(self.root)

    def read_outside(self, id: int, inside: frozenset[int]) -> bool:
        return bool(self.readers.get(id, set()) - inside)


def _uses_of(item: Item) -> Iterator[Use]:
    for inner in item.uses if isinstance(item, Loop) else () if isinstance(item, Call) else item.items:
        yield from _uses_of(inner)
    if isinstance(item, Use):
        yield item


def _flattened(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps, those of scans' bodies among them."""
    for step in steps:
        yield step
        if step.body is not None:
            yield from _flattened(step.body.steps)


class _Cycle(Exception):
    """Two uses that wait for each other: at least one of them can't be a call."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope


def find_structure(
    architecture: Architecture, catalogue: Catalogue, dissolved: Iterable[int] = ()
) -> Structure:
    """The tree of uses. Uses whose scope's id is in ``dissolved`` are written out where they stand."""
    apart = set(dissolved)
    while True:
        try:
            return _Finder(architecture, catalogue, apart).find()
        except _Cycle as cycle:
            apart.add(cycle.scope.id)


class _Finder:
    def __init__(self, architecture: Architecture, catalogue: Catalogue, dissolved: set[int]) -> None:
        self.architecture = architecture
        self.catalogue = catalogue
        self.dissolved = dissolved
        self.readers: dict[int, set[int]] = defaultdict(set)
        self.steps = local_zeros(architecture)
        self._note_readers(self.steps)
        for _, id in architecture.outputs:
            self.readers[id].add(OUTSIDE)

    def find(self) -> Structure:
        """The structure. Raises NasError N951 for an architecture without steps."""
        steps = [step for step in self.steps if step.operation != "input"]
        inputs = [self.architecture.step(id) for id in self.architecture.inputs]
        everything = [*inputs, *steps]
        if not everything:
            raise failure("N951", f"`{self.architecture.name}` has no steps: there is nothing to export")
        scope = everything[0].scope.path()[0]
        root = Use(scope, "space", self.architecture.name, None, self._items(steps, scope))
        root.reads = self.architecture.inputs
        root.makes = tuple(id for _, id in self.architecture.outputs)
        every = list(_flattened(self.steps))
        shapes = {step.id: step.shape for step in every}
        names = {step.id: step.name for step in every if step.name is not None}
        return Structure(self.architecture, tuple(self.steps), root, self.readers, shapes, names)

    def _note_readers(self, steps: Iterable[Step]) -> None:
        for step in steps:
            for id in step.inputs:
                self.readers[id].add(step.id)
            if step.body is not None:
                self._note_readers(step.body.steps)
                for id in (*step.body.new_states, step.body.output):
                    self.readers[id].add(step.id)

    def _items(self, steps: Sequence[Step], base: Scope) -> list[Item]:
        """What a body holds, in an order in which it can run: its own steps, and the uses in it with theirs."""
        groups: dict[int, list[Step]] = {}
        scopes: dict[int, Scope] = {}
        order: list[tuple[str, int]] = []
        own: dict[int, Step] = {}
        for step in steps:
            child = self._child(base, step.scope)
            if child is None:
                own[step.id] = step
                order.append(("step", step.id))
            else:
                if child.id not in groups:
                    groups[child.id] = []
                    scopes[child.id] = child
                    order.append(("use", child.id))
                groups[child.id].append(step)
        items: list[Item] = [
            self._leaf(own[id], base) if kind == "step" else self._use(groups[id], scopes[id])
            for kind, id in order
        ]
        return _spliced(_ordered(items))

    def _child(self, base: Scope, scope: Scope) -> Scope | None:
        """The outermost use in ``base`` that ``scope`` is, or lies in."""
        path = scope.path()
        if base not in path:
            return None
        below = path[path.index(base) + 1 :]
        return next((s for s in below if s.kind != "scan" and s.id not in self.dissolved), None)

    def _leaf(self, step: Step, base: Scope) -> Item:
        if step.operation in (GATE, MIX):
            raise failure(
                "N952", f"`{self.architecture.name}` is still being searched: decide it without gates first"
            )
        if step.operation == ZEROS:
            return Call(step, None)
        if step.body is not None:
            return self._scan(step, base)
        operation = self.catalogue[step.operation]
        return Call(step, operation.torch(step.instance), operation.borrows)

    def _scan(self, step: Step, base: Scope) -> Scan:
        body = step.body
        assert body is not None
        given = {body.element, *body.states}
        items = self._items([s for s in body.steps if s.id not in given], base)
        inside = given.union(*(item.steps for item in items))
        wanted = [id for item in items for id in item.reads] + [*body.new_states, body.output]
        outer = tuple(dict.fromkeys(id for id in wanted if id not in inside))
        return Scan(step, items, outer)

    def _use(self, steps: list[Step], scope: Scope) -> Item:
        items = self._items(steps, scope)
        if scope.kind == "repeat":
            items = self._copies(items, scope)
        # A candidate without a label is labelled by its text, which is no name.
        label = scope.label if _NAME.fullmatch(scope.label) else scope.definition
        use = Use(scope, scope.kind, scope.definition, label, items, assigned=label != scope.definition)
        self._connect(use)
        return self._collapsed(use)

    def _connect(self, use: Use) -> None:
        inside = use.steps
        reads = dict.fromkeys(id for item in use.items for id in item.reads if id not in inside)
        use.reads = tuple(reads)
        makes = dict.fromkeys(id for item in use.items for id in item.makes)
        use.makes = tuple(id for id in makes if self.readers[id] - inside)

    def _collapsed(self, use: Use) -> Item:
        """A use that does nothing but one thing is that thing, under the name that the use has."""
        if len(use.items) != 1:
            return use
        (item,) = use.items
        if isinstance(item, Call) and use.kind == "op":
            item.label, item.assigned = use.label, use.assigned
            return item
        if not isinstance(item, Use):
            return use
        if use.kind == "cell" and item.kind == "op":
            # `cell normal(…) = motif(…)` is a motif by the name of normal.
            use.items = item.items
            return use
        if use.kind == "op" and item.kind == "op" and self._delegates(use.scope, item.scope):
            # `op dil_conv(…) = sep_conv(…, dilation = 2)` likewise; where the body is a choice, its candidate's name says more.
            use.items = item.items
            return use
        if use.kind == "op":
            _rename(item, use)
            return item
        return use

    def _delegates(self, outer: Scope, inner: Scope) -> bool:
        """Whether every use of a definition is nothing but a use of one other, and no choice is seen to be behind it."""
        return self._inner_definitions[outer.definition] == {(inner.definition, inner.definition)}

    @cached_property
    def _inner_definitions(self) -> dict[str, set[tuple[str, str]]]:
        """For each definition, the definitions and labels of what is used in its bodies; a step of its own is ``""``."""
        found: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for step in self.steps:
            path = step.scope.path()
            for outer, inner in pairwise(path):
                found[outer.definition].add((inner.definition, inner.label))
            found[path[-1].definition].add(("", ""))
        return found

    def _wrapped(self, items: list[Item], scope: Scope) -> Use:
        """A copy of a pipeline in a repeat, which has no name of its own."""
        copy = Use(scope, "op", "layer", None, items)
        self._connect(copy)
        return copy

    def _copies(self, items: list[Item], scope: Scope) -> list[Item]:
        """The copies of a pipeline without a name, each as a use of its own; other bodies as they are."""
        items = [self._wrapped([item], scope) if _is_repeat(item) else item for item in items]
        if all(isinstance(item, Use) for item in items) and _is_chain(items):
            definitions = [item.definition for item in items if isinstance(item, Use)]
            if len(set(definitions)) == 1:
                return items
        outlines = [_outline(item) for item in items]
        for length in range(1, len(items) // 2 + 1):
            if len(items) % length or any(
                outlines[i] != outlines[i % length] for i in range(length, len(items))
            ):
                continue
            copies: list[Item] = []
            for start in range(0, len(items), length):
                copies.append(self._wrapped(items[start : start + length], scope))
            if length > 1 and _is_chain(copies):
                return copies
        return items


def _is_repeat(item: Item) -> bool:
    return isinstance(item, Use) and item.kind == "repeat"


def _outline(item: Item) -> object:
    if isinstance(item, Use):
        return item.definition
    return item.step.operation if not isinstance(item, Loop) else None


def _is_chain(items: Sequence[Item]) -> bool:
    """Whether each reads one tensor, which the one before it made."""
    return all(len(item.reads) == len(item.makes) == 1 for item in items) and all(
        after.reads == before.makes for before, after in pairwise(items)
    )


def _rename(inner: Use, outer: Use) -> None:
    """The name to keep when one use is nothing but another: an assigned one first, a candidate's label next."""
    if outer.assigned or inner.kind == "repeat" or not inner.assigned:
        inner.label, inner.assigned = outer.label, outer.assigned


def _spliced(items: list[Item]) -> list[Item]:
    """Repeats that are no chain of uses are written out."""
    found: list[Item] = []
    for item in items:
        if isinstance(item, Use) and _is_repeat(item):
            if all(isinstance(copy, Use) for copy in item.items) and _is_chain(item.items):
                found.append(item)
            else:
                found.extend(item.items)
        else:
            found.append(item)
    return found


def _ordered(items: list[Item]) -> list[Item]:
    """The same items, each after those whose results it reads, otherwise as they stand."""
    maker = {id: index for index, item in enumerate(items) for id in item.steps}
    waits = [{maker[id] for id in item.reads if id in maker} - {index} for index, item in enumerate(items)]
    done: set[int] = set()
    ordered: list[Item] = []
    while len(ordered) < len(items):
        ready = next((i for i in range(len(items)) if i not in done and waits[i] <= done), None)
        if ready is None:
            stuck = next(item for i, item in enumerate(items) if i not in done and isinstance(item, Use))
            raise _Cycle(stuck.scope)
        done.add(ready)
        ordered.append(items[ready])
    return ordered


def item_at(items: Sequence[Item], path: tuple[int, ...]) -> Any:
    """The item at a place of a body; further numbers lead into the body of a scan."""
    item = items[path[0]]
    if len(path) == 1:
        return item
    assert isinstance(item, Scan)
    return item_at(item.items, path[1:])
