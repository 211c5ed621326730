"""Which places of a text became which choices: the elaborator watched at work.

One place in a text may be walked many times: in each use of its ``op``, each turn of a loop, each copy of a
``repeat``. To write a space with some choices fixed, one has to know which of them each walk made. A :class:`Trace`
listens where the elaborator makes choices, uses definitions, takes turns and decides conditions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasdsl.diagnostics import Span
from nasdsl.language import syntax
from nasdsl.language.builder import ChoiceRecord, Limits
from nasdsl.language.elaborate import Elaborator
from nasdsl.language.modules import Module
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


class Untraceable(Exception):
    """A choice whose place in the text can't be told apart from another's. ``span`` is where."""

    def __init__(self, reason: str, span: Span | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.span = span


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
    target: Use


@dataclass(eq=False)
class Decided(Event):
    """A condition that rests on no choice."""

    value: bool


@dataclass(eq=False)
class Copied(Event):
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


class Trace:
    """What happened while a space was elaborated, by place."""

    def __init__(self, module: Module, declaration: syntax.Space) -> None:
        self.sites: dict[Key, list[Site]] = {}
        self.calls: dict[Key, list[Called]] = {}
        self.conditions: dict[Key, list[Decided]] = {}
        self.copies: dict[Key, list[Copied]] = {}
        self.turned: dict[Key, list[Turned]] = {}
        self.around: dict[Key, Around] = {}
        # A comprehension's later clauses begin anew with each turn of an earlier one.
        self._later: dict[Key, tuple[Key, ...]] = {}
        self._loops: dict[Key, Around] = {}
        for found in _modules(module):
            for item in found.tree.items:
                if not isinstance(item, syntax.Space) or item is declaration:
                    self._survey(item, Around(None, False, ()))
        self.root: Use | None = None
        self._by_scope: dict[int, Use] = {}
        self._binding: list[Use] = []
        self._candidates: dict[Key, Sequence[Any]] = {}
        self._fresh: set[Key] = set()
        self._repeating: list[int] = []
        self._copies_made: dict[int, int] = {}
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
            for position, clause in enumerate(clauses):
                self._later[keys[position]] = tuple(keys[position + 1 :])
                self._survey(clause.iterable, around)
                self._loops[keys[position]] = around
                around = self._within(around, keys[position])
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

    def attach(self, elaborator: Elaborator) -> None:
        """Listens to an elaborator before it begins."""
        made, bound, applied = elaborator.choices._make, elaborator.uses._bind, elaborator.uses.apply
        gathered, chose = elaborator.choices._candidates, elaborator.choices._choose_some
        took, elements, truth = elaborator.bind_targets, elaborator.elements, elaborator.truth

        def make(e: Any, candidates: Any, kind: Any, place: Any, bounds: Any = None) -> Any:
            result = made(e, candidates, kind, place, bounds)
            self._on_choice(e, candidates, place, result.record, candidates[0].names)
            return result

        def candidates_of(e: Any, names: Any, place: Any) -> Any:
            result = gathered(e, names, place)
            self._candidates[key_of(e.span)] = result
            return result

        def choose_some(e: Any, quantity: Any, names: Any, place: Any) -> Any:
            before = len(self.sites.get(key_of(e.span), ()))
            result = chose(e, quantity, names, place)
            if len(self.sites.get(key_of(e.span), ())) == before:
                # All of them have to be taken, or none.
                found = self._candidates[key_of(e.span)]
                self._on_choice(e, found if len(result.items) else [], place, None, names)
            return result

        def bind(callee: Any, arguments: Any, names: Any, inputs: Any, place: Any, *rest: Any) -> Any:
            scope = elaborator.builder.scopes[-1]
            use = self._on_use(elaborator, callee, arguments, names, place, scope, rest[-1])
            self._binding.append(use)
            try:
                return bound(callee, arguments, names, inputs, place, *rest)
            finally:
                self._binding.pop()

        def apply(e: Any, names: Any, inputs: Any, place: Any) -> Any:
            scope = place.body.scope
            if scope.kind != "repeat" or scope.id in self._repeating:
                return applied(e, names, inputs, place)
            self._on_copy(e, names, place, scope)
            self._repeating.append(scope.id)
            try:
                return applied(e, names, inputs, place)
            finally:
                self._repeating.pop()

        def bind_targets(targets: Any, item: Any, names: Any, span: Any) -> Any:
            values = took(targets, item, names, span)
            self._on_turn(names, span, values)
            return values

        def loop_elements(value: Any, e: Any) -> Any:
            found = elements(value, e)
            if len(found):
                self._fresh.add(key_of(e.span))
            return found

        def condition(e: Any, names: Any, place: Any) -> Any:
            value = truth(e, names, place)
            if isinstance(value, bool) and key_of(e.span) in self.around:
                self._on_condition(e, names, place, value)
            return value

        elaborator.observer = self
        replaced: Any = elaborator
        replaced.choices._make, replaced.uses._bind, replaced.uses.apply = make, bind, apply
        replaced.choices._candidates, replaced.choices._choose_some = candidates_of, choose_some
        replaced.bind_targets, replaced.elements, replaced.truth = bind_targets, loop_elements, condition

    def _on_choice(
        self, e: syntax.Expression, candidates: Sequence[Any], place: Any, record: Any, names: Names
    ) -> None:
        key = key_of(e.span)
        use = self._use_at(e.span, place)
        turns = self._turns_at(key, names)
        own = [key_of(clause.iterable.span) for clause in getattr(e, "clauses", ())]
        turns_of = tuple(
            {loop: position for loop in own if (position := _turn(candidate.names, loop)) is not None}
            for candidate in candidates
        )
        labels = tuple(candidate.label for candidate in candidates)
        event = Site(key, use, turns, place.guard, record, labels, turns_of)
        self.sites.setdefault(key, []).append(event)

    def _on_use(
        self,
        elaborator: Elaborator,
        callee: Definition,
        arguments: Sequence[syntax.Argument],
        names: Names,
        place: Any,
        scope: Scope,
        span: Span,
    ) -> Use:
        use = Use(callee, scope, names=names)
        settings = [p for p in callee.syntax.parameters if not _is_input(p)]
        inputs = [p.name for p in callee.syntax.parameters if _is_input(p)]
        later: list[syntax.Expression] = []
        for argument in arguments:
            if argument.name is None:
                tensors = elaborator.kinds.holds_tensors(argument.value, names)
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
        return use

    def _on_copy(self, e: syntax.Expression, names: Names, place: Any, scope: Scope) -> None:
        number = self._copies_made[scope.id] = self._copies_made.get(scope.id, 0) + 1
        key = key_of(e.span)
        names[_marker(key)] = number
        if key in self.around:
            turns = {k: v for k, v in self._turns_at(key, names).items() if k != key}
            event = Copied(key, self._use_at(e.span, place), turns, place.guard, number)
            self.copies.setdefault(key, []).append(event)

    def _on_turn(self, names: Names, span: Span, values: Sequence[Value]) -> None:
        key = key_of(span)
        before = _turn(names, key)
        if key in self._fresh:
            self._fresh.discard(key)
            before = None
        position = 0 if before is None else before + 1
        names[_marker(key)] = position
        for later in self._later.get(key, ()):
            names.own.pop(_marker(later), None)
        loops = self._loops[key].loops if key in self._loops else ()
        turns = {loop: at for loop in loops if (at := _turn(names, loop)) is not None}
        self.turned.setdefault(key, []).append(Turned(key, turns, position, tuple(values)))

    def _on_condition(self, e: syntax.Expression, names: Names, place: Any, value: bool) -> None:
        key = key_of(e.span)
        event = Decided(key, self._use_at(e.span, place), self._turns_at(key, names), place.guard, value)
        self.conditions.setdefault(key, []).append(event)

    # --- whose body it is

    def _use_at(self, span: Span, place: Any) -> Use:
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
    found = Trace(module, declaration)
    found.attach(elaborator)
    space = elaborator.space(module, declaration, parameters)
    if found.root is None:
        found.root = Use(None, elaborator.builder.scopes[0])
    return space, found


def children(node: syntax.Node) -> Iterator[syntax.Node]:
    """The nodes directly below a node, in the order of the text."""
    found: list[syntax.Node] = []
    for spec in dataclasses.fields(node):
        value = getattr(node, spec.name)
        found += [
            item
            for item in (value if isinstance(value, tuple) else (value,))
            if isinstance(item, syntax.Node)
        ]
    return iter(sorted(found, key=lambda child: (child.span.start, child.span.end)))


def repeated(node: syntax.Node) -> syntax.Expression | None:
    """The operation that a call of ``repeat`` repeats."""
    if not isinstance(node, syntax.Call) or not isinstance(node.function, syntax.Name):
        return None
    if node.function.name != "repeat":
        return None
    named = {argument.name: argument.value for argument in node.arguments if argument.name is not None}
    positional = [argument.value for argument in node.arguments if argument.name is None]
    if "f" in named:
        return named["f"]
    wanted = 1 if "depth" in named else 2
    return positional[-wanted] if len(positional) >= wanted else None


def _modules(module: Module) -> Iterator[Module]:
    yield module
    for imported in module.imported:
        yield from _modules(imported)


def _is_input(parameter: syntax.Parameter) -> bool:
    if parameter.type is None:
        return parameter.default is None
    return parameter.type.dimensions is not None


def _marker(key: Key) -> str:
    return f"<{key[0]}:{key[1]}:{key[2]}>"


def _turn(names: Names, key: Key) -> int | None:
    value = names.own.get(_marker(key))
    return value if isinstance(value, int) else None
