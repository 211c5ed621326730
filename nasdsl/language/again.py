"""A use that is like an earlier one is not walked again: what the earlier one made is made once more.

Two uses are alike where they are of one definition, with equal settings, on inputs of equal types, some of them the
same tensor in both. If nothing inside rests on a choice, that is enough: what differs is the guard alone. If something
does, only the uses of a cell can be alike, which make the same choices, and their guards have to be the same.

Everything else that a body can do (add a constraint, share weights, find something wrong) keeps its use from being
taken as an example.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nasdsl.language import syntax
from nasdsl.language.place import Place
from nasdsl.language.values import (
    Builtin,
    Definition,
    ListValue,
    Names,
    Primitive,
    Template,
    Tensor,
    Tuple,
    Value,
    is_rational,
)
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import Node, Scope
from nasdsl.space.size import Size

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator


@dataclass(frozen=True)
class Begun:
    """Where a use begins: ``scope`` is its own, ``place`` where it stands; the numbers say what there was before."""

    key: Hashable
    scope: Scope
    inputs: tuple[int, ...]
    named: tuple[str | None, ...]
    place: Place
    nodes: int
    scopes: int
    uses: int
    turns: int
    asked: int
    effects: tuple[int, ...]


@dataclass(frozen=True)
class Example:
    """What a use made: nodes with their reads, scopes, and its value.

    ``names`` are those that the nodes had at its end, since whoever uses it may name the last; ``called`` are names
    that it gave to its inputs.
    """

    begun: Begun
    nodes: tuple[Node, ...]
    names: tuple[str | None, ...]
    reads: tuple[tuple[tuple[int, Diagram], ...], ...]
    scopes: tuple[Scope, ...]
    value: Value
    called: Mapping[int, str]
    uses: int
    turns: int


class Unlike(Exception):
    """A value that can't be compared."""


class Again:
    """The uses that can be taken as examples, while one space is elaborated."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self._examples: dict[Hashable, Example] = {}

    def begin(
        self, callee: Definition, bound: Names, extra: list[Value], place: Place, scope: Scope
    ) -> Begun | None:
        """What tells whether the use that begins here is like an earlier one; None where that can't be told."""
        if place.shared is not None or self.elaborator.observer.walks_every_use:
            return None
        seen: dict[int, int] = {}
        try:
            given = [(name, self._value(value, seen)) for name, value in bound.own.items()]
            more = [self._value(value, seen) for value in extra]
        except Unlike:
            return None
        around = (place.body.open, place.under_if or place.body.under_if_somewhere)
        key = (id(callee.syntax), id(callee.names), tuple(given), tuple(more), around)
        inputs = tuple(seen)
        elaborator, builder = self.elaborator, self.builder
        return Begun(
            key,
            scope,
            inputs,
            tuple(builder.nodes[id].name for id in inputs),
            place,
            len(builder.nodes),
            len(builder.scopes),
            elaborator.uses.made,
            elaborator.lists.turns_taken,
            builder.asked,
            elaborator.effects(),
        )

    def end(self, begun: Begun, define: syntax.Define, value: Value) -> None:
        """Keeps a use as an example, if it can be one."""
        elaborator, builder = self.elaborator, self.builder
        if elaborator.effects() != begun.effects:
            return
        nodes = tuple(builder.nodes[begun.nodes :])
        reads = tuple(map(tuple, builder.reads[begun.nodes :]))
        place = begun.place
        if builder.asked == begun.asked:
            key: Hashable = begun.key
        elif define.kind == "cell":
            key = self._guarded(begun.key, place)
        else:
            return
        called = {
            i: name
            for i, (id, before) in enumerate(zip(begun.inputs, begun.named, strict=True))
            if (name := builder.nodes[id].name) is not None and name != before
        }
        self._examples[key] = Example(
            begun,
            nodes,
            tuple([node.name for node in nodes]),
            reads,
            tuple(builder.scopes[begun.scopes :]),
            value,
            called,
            elaborator.uses.made - begun.uses,
            elaborator.lists.turns_taken - begun.turns,
        )

    def repeat(self, begun: Begun) -> Value | None:
        """The value of a use that is like an earlier one, with all that it makes; None where there is no such use."""
        found = self._examples.get(begun.key) or self._examples.get(self._guarded(begun.key, begun.place))
        if found is None or self._goes_too_far(found, begun):
            return None
        copy = _Copy(self.builder.nodes, found, begun)
        builder = self.builder
        for scope in found.scopes:
            builder.scopes.append(copy.scope(scope, len(builder.scopes)))
        for scope in builder.scopes[begun.scopes :]:
            scope.inputs.update({k: tuple(map(copy.node_id, ids)) for k, ids in scope.inputs.items()})
        for node, name, reads in zip(found.nodes, found.names, found.reads, strict=True):
            builder.append(
                copy.node(node, name), [(copy.node_id(id), copy.guard(guard)) for id, guard in reads]
            )
        for position, name in found.called.items():
            node = builder.nodes[begun.inputs[position]]
            node.name = node.name or name
        self.elaborator.uses.made += found.uses
        self.elaborator.lists.turns_taken += found.turns
        return copy.value(found.value)

    def _goes_too_far(self, found: Example, begun: Begun) -> bool:
        """Whether a bound may be reached inside: walking the body says where."""
        limits, elaborator = self.elaborator.limits, self.elaborator
        return (
            found.begun.place.body.nesting < begun.place.body.nesting
            or elaborator.uses.made + found.uses > limits.uses
            or elaborator.lists.turns_taken + found.turns > limits.length
            or len(self.builder.nodes) + len(found.nodes) > limits.nodes
        )

    def _guarded(self, key: Hashable, place: Place) -> Hashable:
        return (key, id(place.guard), id(place.decided), place.region, len(self.elaborator.proof.constraints))

    def _value(self, value: Value, seen: dict[int, int]) -> Hashable:
        """Equal for values that a body can't tell apart. Tensors are told by their type, and which are the same."""
        if isinstance(value, Tensor):
            return ("tensor", seen.setdefault(value.node, len(seen)), self.builder.type_of(value.node))
        if isinstance(value, (Tuple, ListValue)):
            guards = value.guards if isinstance(value, ListValue) else None
            items = tuple(self._value(item, seen) for item in value.items)
            return (type(value), items, guards)
        if isinstance(value, (bool, str, Size)) or is_rational(value):
            return (type(value), value)
        if isinstance(value, (Diagram, Primitive, Builtin, Definition)):
            return id(value) if not isinstance(value, (Primitive, Builtin)) else value
        if isinstance(value, Template) and isinstance(value.expression, syntax.Name):
            named = value.names.own.get(value.expression.name)
            if named is not None:
                # Messages and pictures show the place where it was handed over.
                return ("operation", id(value.expression), self._value(named, seen))
        raise Unlike


class _Copy:
    """What of an example stands for what in the use that repeats it."""

    def __init__(self, nodes: list[Node], example: Example, begun: Begun) -> None:
        before = example.begun
        self.first, self.last = before.nodes, before.nodes + len(example.nodes)
        self.offset = len(nodes) - self.first
        self.inputs = dict(zip(before.inputs, begun.inputs, strict=True))
        self.before, self.place = before.place, begun.place
        self.scopes = {before.scope.id: begun.scope}

    def node_id(self, id: int) -> int:
        return id + self.offset if self.first <= id < self.last else self.inputs.get(id, id)

    def guard(self, guard: Diagram) -> Diagram:
        return self.place.guard if guard is self.before.guard else guard

    def scope(self, scope: Scope, id: int) -> Scope:
        assert scope.parent is not None
        made = replace(scope, id=id, parent=self.scopes[scope.parent.id], inputs=dict(scope.inputs))
        self.scopes[scope.id] = made
        return made

    def node(self, node: Node, name: str | None) -> Node:
        settings = node.settings
        if node.operation == "scan":
            element, states = settings["element"], settings["states"]
            settings = {"element": self.node_id(element), "states": tuple(map(self.node_id, states))}
        region = node.region
        if region is self.before.region:
            region = self.place.region
        elif region is not None:
            region = self.node_id(region)
        return Node(
            self.node_id(node.id), node.operation, settings, node.type, self.guard(node.guard),
            self.scopes[node.scope.id], node.span, name, None if node.owner is None else self.node_id(node.owner),
            region, node.choice,
        )  # fmt: skip

    def value(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return Tensor(self.node_id(value.node))
        if isinstance(value, Tuple):
            return Tuple(tuple(map(self.value, value.items)))
        return value
