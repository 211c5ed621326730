"""Which places of a text became which choices: the elaborator watched at work.

One place in a text may be walked many times: in each use of its ``op``, each turn of a loop, each copy of a
``repeat``. To write a space with some choices fixed, one has to know which of them each walk made. A :class:`Trace` is
the observer that notes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nasdsl.diagnostics import Span
from nasdsl.language import syntax
from nasdsl.language.builder import ChoiceRecord, Limits
from nasdsl.language.choices import Candidate
from nasdsl.language.elaborate import Elaborator
from nasdsl.language.kinds import Kinds, is_input
from nasdsl.language.modules import Module
from nasdsl.language.narrowing.faults import Untraceable
from nasdsl.language.narrowing.tree import children, repeated
from nasdsl.language.observer import Observer
from nasdsl.language.place import Place
from nasdsl.language.values import Definition, Names, Value
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import Scope
from nasdsl.space.operation import Catalogue
from nasdsl.space.size import Rational
from nasdsl.space.space import Space

# A place in a text: its file, where it begins and where it ends.
Key = tuple[str, int, int]
# For loops around a place, which turn it was.
Turns = Mapping[Key, int]


@dataclass(eq=False)
class Use:
    """One walk through a body: the space's, or that of a definition where it was used.

    ``given`` are the settings as the call writes them, ``tensors`` the tensors; ``names`` what names meant there.
    """

    definition: Definition | None
    scope: Scope
    given: dict[str, syntax.Expression] = field(default_factory=dict)
    tensors: list[syntax.Expression] = field(default_factory=list)
    names: Names | None = None


@dataclass(eq=False)
class Event:
    """Something happened at a place, in a use and in certain turns of the loops around it in that body, under a guard."""

    key: Key
    use: Use
    turns: dict[Key, int]
    guard: Diagram


@dataclass(eq=False)
class Site(Event):
    """A choice was made; ``record`` is None where there was but one way. ``turns_of`` are each candidate's own turns."""

    record: ChoiceRecord | None
    labels: tuple[str, ...]
    turns_of: tuple[dict[Key, int], ...]


@dataclass(eq=False)
class Called(Event):
    """A definition was used; ``target`` is the walk through its body."""

    target: Use


@dataclass(eq=False)
class Decided(Event):
    """A condition that rests on no choice."""

    value: bool


@dataclass(eq=False)
class Copied(Event):
    """A ``repeat`` made the copy of that number, counted from 1."""

    number: int


@dataclass(eq=False)
class Turned:
    """One turn of a loop; ``turns`` are those of the loops around it."""

    key: Key
    turns: dict[Key, int]
    position: int
    values: Sequence[Value]


@dataclass(frozen=True)
class Around:
    """What stands around a place: its definition (None: the space), whether it is one of its defaults, and loops."""

    definition: syntax.Define | None
    in_parameters: bool
    loops: tuple[Key, ...]


def key_of(span: Span) -> Key:
    return span.source.path, span.start, span.end


class Trace(Observer):
    """What happened while a space was elaborated, by place."""

    walks_every_use = True

    def __init__(self, module: Module, declaration: syntax.Space, kinds: Kinds) -> None:
        self._kinds = kinds
        self.sites: dict[Key, list[Site]] = {}
        self.calls: dict[Key, list[Called]] = {}
        self.conditions: dict[Key, list[Decided]] = {}
        self.copies: dict[Key, list[Copied]] = {}
        self.turned: dict[Key, list[Turned]] = {}
        self.around: dict[Key, Around] = {}
        self._loops: dict[Key, Around] = {}
        for found in _modules(module):
            for item in found.tree.items:
                if not isinstance(item, syntax.Space) or item is declaration:
                    self._survey(item, Around(None, False, ()))
        self.root: Use | None = None
        self._by_scope: dict[int, Use] = {}
        # The uses whose arguments are being bound, innermost last.
        self._binding: list[Use] = []
        self.uses: list[Use] = []

    # --- the text

    def _survey(self, node: syntax.Node, around: Around) -> None:
        """Notes what stands around every place of a tree."""
        if isinstance(node, syntax.Define):
            inner = Around(node, True, ())
            for parameter in node.parameters:
                self._survey(parameter, inner)
            body: Sequence[syntax.Node] = node.body if isinstance(node.body, tuple) else (node.body,)
            for statement in body:
                self._survey(statement, Around(node, False, ()))
            return
        if isinstance(node, syntax.Expression):
            self.around.setdefault(key_of(node.span), around)
        if isinstance(node, syntax.For):
            self._survey(node.iterable, around)
            loop = key_of(node.iterable.span)
            self._loops[loop] = around
            for statement in node.body:
                self._survey(statement, self._within(around, loop))
            return
        clauses = getattr(node, "clauses", ())
        if clauses:
            keys = [key_of(clause.iterable.span) for clause in clauses]
            for key, clause in zip(keys, clauses, strict=True):
                self._survey(clause.iterable, around)
                self._loops[key] = around
                around = self._within(around, key)
                if clause.condition is not None:
                    self._survey(clause.condition, around)
            for child in children(node):
                if not isinstance(child, syntax.Clause):
                    self._survey(child, around)
            return
        operation = repeated(node)
        for child in children(node):
            inside = operation is not None and child.span.start <= operation.span.start < child.span.end
            self._survey(
                child, self._within(around, key_of(operation.span)) if inside and operation else around
            )

    @staticmethod
    def _within(around: Around, loop: Key) -> Around:
        return Around(around.definition, around.in_parameters, (*around.loops, loop))

    # --- listening

    def choice_made(
        self,
        e: syntax.Expression,
        candidates: Sequence[Candidate],
        names: Names,
        place: Place,
        record: ChoiceRecord | None,
    ) -> None:
        key = key_of(e.span)
        own = [key_of(clause.iterable.span) for clause in getattr(e, "clauses", ())]
        turns_of = tuple(
            {loop: position for loop in own if (position := _turn(candidate.names, loop)) is not None}
            for candidate in candidates
        )
        labels = tuple(candidate.label for candidate in candidates)
        use, turns = self._use_at(e.span, place), self._turns_at(key, names)
        event = Site(key, use, turns, place.guard, record, labels, turns_of)
        self.sites.setdefault(key, []).append(event)

    def use_begins(
        self,
        callee: Definition,
        arguments: Sequence[syntax.Argument],
        names: Names,
        place: Place,
        scope: Scope,
        span: Span,
    ) -> None:
        use = Use(callee, scope, names=names)
        settings = [p for p in callee.syntax.parameters if not is_input(p)]
        inputs = [p.name for p in callee.syntax.parameters if is_input(p)]
        later: list[syntax.Expression] = []
        for argument in arguments:
            if argument.name is None:
                tensors = self._kinds.holds_tensors(argument.value, names)
                (use.tensors if tensors else later).append(argument.value)
            elif argument.name in inputs:
                use.tensors.append(argument.value)
            else:
                use.given[argument.name] = argument.value
        for parameter, value in zip([p for p in settings if p.name not in use.given], later, strict=False):
            use.given[parameter.name] = value
        self._by_scope[scope.id] = use
        self.uses.append(use)
        key = key_of(span)
        if key in self.around:
            event = Called(key, self._use_at(span, place), self._turns_at(key, names), place.guard, use)
            self.calls.setdefault(key, []).append(event)
        self._binding.append(use)

    def use_bound(self, scope: Scope) -> None:
        # What failed while its arguments were bound lies above it.
        while self._binding.pop().scope is not scope:
            pass

    def copy_begins(self, operation: syntax.Expression, names: Names, place: Place, number: int) -> None:
        key = key_of(operation.span)
        names[_marker(key)] = number
        if key in self.around:
            turns = {k: v for k, v in self._turns_at(key, names).items() if k != key}
            event = Copied(key, self._use_at(operation.span, place), turns, place.guard, number)
            self.copies.setdefault(key, []).append(event)

    def turn_begins(
        self, iterable: syntax.Expression, position: int, values: Sequence[Value], names: Names
    ) -> None:
        key = key_of(iterable.span)
        names[_marker(key)] = position
        loops = self._loops[key].loops if key in self._loops else ()
        turns = {loop: at for loop in loops if (at := _turn(names, loop)) is not None}
        self.turned.setdefault(key, []).append(Turned(key, turns, position, tuple(values)))

    def condition_settled(self, e: syntax.Expression, names: Names, place: Place, holds: bool) -> None:
        key = key_of(e.span)
        if key in self.around:
            event = Decided(key, self._use_at(e.span, place), self._turns_at(key, names), place.guard, holds)
            self.conditions.setdefault(key, []).append(event)

    # --- whose body it is

    def _use_at(self, span: Span, place: Place) -> Use:
        around = self.around.get(key_of(span))
        if around is None or around.definition is None:
            if self.root is None:
                self.root = Use(None, place.body.scope.path()[0])
            return self.root
        if around.in_parameters and self._binding:
            binding = self._binding[-1]
            if binding.definition is not None and binding.definition.syntax is around.definition:
                return binding
        scope: Scope | None = place.body.scope
        while scope is not None:
            use = self._by_scope.get(scope.id)
            if use is not None and use.definition is not None and use.definition.syntax is around.definition:
                return use
            scope = scope.parent
        raise Untraceable("this is used outside the body that it stands in", span)

    def _turns_at(self, key: Key, names: Names) -> dict[Key, int]:
        around = self.around.get(key)
        loops = around.loops if around is not None else ()
        return {loop: position for loop in loops if (position := _turn(names, loop)) is not None}


def trace(
    module: Module,
    declaration: syntax.Space,
    catalogue: Catalogue,
    limits: Limits,
    parameters: Mapping[str, Rational],
) -> tuple[Space, Trace]:
    """A space, elaborated as always, and what happened on the way."""
    elaborator = Elaborator(catalogue, limits)
    elaborator.observer = found = Trace(module, declaration, elaborator.kinds)
    space = elaborator.space(module, declaration, parameters)
    if found.root is None:
        found.root = Use(None, elaborator.builder.scopes[0])
    return space, found


def _modules(module: Module) -> Iterator[Module]:
    yield module
    for imported in module.imported:
        yield from _modules(imported)


def _marker(key: Key) -> str:
    return f"<{key[0]}:{key[1]}:{key[2]}>"


def _turn(names: Names, key: Key) -> int | None:
    value = names.own.get(_marker(key))
    return value if isinstance(value, int) else None
