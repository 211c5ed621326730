"""Calls gathered into the modules that they stand in, as far as these can be operations of the language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nasdsl.lifting.call import INPUT, Call, Place

CONTAINERS = frozenset({"Sequential", "ModuleList", "ModuleDict", "TransformerEncoder"})
"""Modules that only hold others: what is in them reads better where they are used."""


@dataclass(eq=False)
class Scope:
    """A use of a module: what it reads from outside, what it runs, and the one tensor that others read of it.

    ``place`` is None for the whole network, which may have several ``outputs``.
    """

    place: Place | None
    items: list[Call | Scope]
    inputs: tuple[Call, ...] = ()
    outputs: tuple[Call, ...] = ()

    def calls(self) -> Iterator[Call]:
        """All calls in it, those of scopes within it among them."""
        for item in self.items:
            if isinstance(item, Scope):
                yield from item.calls()
            else:
                yield item


def gather(outputs: Sequence[Call]) -> Scope:
    """The tree of modules of a network, with those left out that can't be an operation or needn't be one:
    containers, modules of a single call, and those that give several tensors."""
    order = in_order(outputs)
    root = Scope(None, [])
    _fill(root, [call for call in order if call.operation != INPUT], 0)
    root.inputs = tuple(call for call in order if call.operation == INPUT)
    root.outputs = tuple(outputs)
    readers: dict[Call, list[Call]] = {}
    for call in order:
        for given in call.inputs:
            readers.setdefault(given, []).append(call)
    _settle(root, readers, frozenset(outputs))
    return root


def in_order(outputs: Sequence[Call]) -> list[Call]:
    """Every call that the outputs rest on, each after what it reads."""
    found: dict[Call, None] = {}
    stack = [(call, False) for call in reversed(outputs)]
    while stack:
        call, ready = stack.pop()
        if ready:
            found.setdefault(call)
        elif call not in found:
            stack.append((call, True))
            stack += [(given, False) for given in reversed(call.inputs)]
    return list(found)


def _fill(scope: Scope, calls: Sequence[Call], depth: int) -> None:
    groups: dict[Place, list[Call]] = {}
    order: list[Call | Place] = []
    for call in calls:
        if len(call.path) <= depth:
            order.append(call)
            continue
        place = call.path[depth]
        if place not in groups:
            groups[place] = []
            order.append(place)
        groups[place].append(call)
    for entry in order:
        if isinstance(entry, Call):
            scope.items.append(entry)
        else:
            inner = Scope(entry, [])
            _fill(inner, groups[entry], depth + 1)
            scope.items.append(inner)


def _settle(scope: Scope, readers: dict[Call, list[Call]], results: frozenset[Call]) -> None:
    items: list[Call | Scope] = []
    for item in scope.items:
        if isinstance(item, Scope):
            _settle(item, readers, results)
            if not _bounded(item, readers, results):
                items += item.items
                continue
        items.append(item)
    scope.items = _sorted(items)


def _bounded(scope: Scope, readers: dict[Call, list[Call]], results: frozenset[Call]) -> bool:
    """Whether a module stays; then what it reads and gives is known."""
    assert scope.place is not None
    own = set(scope.calls())
    given = [x for call in scope.calls() for x in call.inputs if x not in own]
    out = [c for c in scope.calls() if c in results or any(r not in own for r in readers.get(c, []))]
    scope.inputs = tuple(dict.fromkeys(given))
    scope.outputs = tuple(out)
    return scope.place.kind not in CONTAINERS and len(scope.items) > 1 and len(out) == 1


def _sorted(items: list[Call | Scope]) -> list[Call | Scope]:
    """Each item after those that it reads; as they were, otherwise."""
    owner: dict[Call, int] = {}
    for i, item in enumerate(items):
        for call in item.calls() if isinstance(item, Scope) else (item,):
            owner[call] = i
    placed: dict[int, None] = {}

    def put(i: int) -> None:
        if i in placed:
            return
        item = items[i]
        given = item.inputs
        for x in given:
            if x in owner and owner[x] != i:
                put(owner[x])
        placed.setdefault(i)

    for i in range(len(items)):
        put(i)
    return [items[i] for i in placed]
