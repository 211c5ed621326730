"""Text's meaning: a syntax tree becomes a space graph.

The elaborator walks the tree with a :class:`~nasdsl.language.place.Place` in hand: under which guard it is, which use it
stands in, what the next choice would be called. An operation expression is not evaluated but kept as a template and
walked at each use, which is why every use of an ``op`` makes its own choices.

This file has the order, the names and the expressions. ``interface.py`` holds the parameters, inputs and outputs of
a space, ``statements.py`` what stands in bodies; ``lists.py`` and ``arithmetic.py`` compute, ``choices.py`` makes
choices, ``uses.py`` applies operations (``binding.py`` their arguments, ``primitives.py`` those of the catalogue),
``forms.py`` holds ``repeat``, ``sum`` and the like, ``requirements.py`` what stands after ``require``. What goes wrong
is kept by ``wrongs.py`` to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NoReturn

from nasdsl.diagnostics import Diagnostic, Findings, Span, did_you_mean
from nasdsl.language import lints, syntax
from nasdsl.language.again import Again
from nasdsl.language.arithmetic import Arithmetic
from nasdsl.language.binding import Binding
from nasdsl.language.builder import GraphBuilder, Limits, Wrong, type_text
from nasdsl.language.choices import Choices
from nasdsl.language.forms import BUILTINS, Forms
from nasdsl.language.interface import Interface
from nasdsl.language.kinds import Kinds
from nasdsl.language.lists import Lists
from nasdsl.language.modules import Module
from nasdsl.language.naming import Step
from nasdsl.language.observer import Observer
from nasdsl.language.place import Body, Place
from nasdsl.language.primitives import Primitives
from nasdsl.language.proof import Proof
from nasdsl.language.requirements import MEASURES, Requirements
from nasdsl.language.resolve import resolve
from nasdsl.language.statements import Statements
from nasdsl.language.stop import Stop, count, fail, number_text, with_article
from nasdsl.language.uses import Uses
from nasdsl.language.values import (
    OPERATIONS,
    Builtin,
    Definition,
    ListValue,
    Measure,
    Names,
    Poison,
    Primitive,
    Template,
    Tensor,
    Tuple,
    Value,
    kind_of,
)
from nasdsl.language.wrongs import Wrongs
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import Scope, SpaceGraph
from nasdsl.space.operation import Catalogue
from nasdsl.space.size import Rational, Size
from nasdsl.space.space import Space


class Elaborator:
    """Elaborates one space. What goes wrong is collected, and raised at the end."""

    def __init__(self, catalogue: Catalogue, limits: Limits) -> None:
        self.catalogue = catalogue
        self.limits = limits
        self.findings = Findings()
        self.builder = GraphBuilder(catalogue, limits)
        self.table = self.builder.table
        self.proof = Proof(self.builder)
        self.kinds = Kinds(self)
        self.wrongs = Wrongs(self)
        self.interface = Interface(self)
        self.statements = Statements(self)
        self.lists = Lists(self)
        self.arithmetic = Arithmetic(self)
        self.choices = Choices(self)
        self.primitives = Primitives(self)
        self.binding = Binding(self)
        self.uses = Uses(self)
        self.forms = Forms(self)
        self.requirements = Requirements(self)
        self.shipped: dict[str, Value] = {
            name: Primitive(operation) for name, operation in catalogue.items() if not operation.internal
        }
        self.shipped.update({name: Builtin(name) for name in BUILTINS})
        self.observer = Observer()
        self.again = Again(self)

    # --- the space -------------------------------------------------------------------------------

    def space(self, module: Module, declaration: syntax.Space, settings: Mapping[str, Rational]) -> Space:
        """The space of a declaration, with its parameters set. Raises NasError with all that was found."""
        self.resolution = resolve(module, self.catalogue, self.findings)
        root = Scope(
            0, "space", declaration.name, declaration.name, None, declaration.span, doc=declaration.doc
        )
        self.builder.scopes.append(root)
        statements = [s for s in declaration.body if not isinstance(s, (syntax.Define, syntax.Input))]
        self.root = Body(root, unique=self.statements.assigned(statements).once)
        self.nowhere = Place(self.table.true, Step.space(), self.root)
        place = Place(self.table.true, Step.space(), self.root)
        names = Names(outer=module.names)
        parameters = self.interface.parameters(declaration, settings, names, place)
        for statement in declaration.body:
            if isinstance(statement, syntax.Define):
                names[statement.name] = Definition(statement, names, module.source.path)
        inputs: list[int] = []
        outputs: list[tuple[str, int]] = []
        try:
            inputs += self.interface.inputs(declaration, names, place)
            names.rebound = self.statements.assigned(statements).rebound(names.own)
            result = self.statements.run_body(statements, names, place, declaration.span)
            if result is not None:
                self.wrongs.attempt(
                    lambda: outputs.extend(self.interface.outputs(result, statements)), self.root
                )
            self.requirements.finish()
        except Stop as stop:
            self.wrongs.report(stop, self.root)
        self.wrongs.judge()
        self.findings.raise_if_any()
        return self._finished(module, declaration, parameters, inputs, outputs)

    def _finished(
        self,
        module: Module,
        declaration: syntax.Space,
        parameters: dict[str, Rational],
        inputs: list[int],
        outputs: list[tuple[str, int]],
    ) -> Space:
        graph = SpaceGraph()
        for node, reads in zip(self.builder.nodes, self.builder.reads, strict=True):
            graph.add(node, reads)
        for warning in self._lint(module, inputs, outputs):
            self.findings.add(warning)
        return Space(
            name=declaration.name,
            parameters=parameters,
            graph=graph,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            choices=self.builder.finished_choices(),
            table=self.table,
            arities=tuple(self.builder.arities),
            constraints=tuple(self.proof.constraints),
            limits=tuple(self.requirements.limits),
            catalogue=self.catalogue,
            sources=module.sources(),
            warnings=tuple(self.findings.diagnostics),
        )

    def _lint(
        self,
        module: Module,
        inputs: Sequence[int],
        outputs: Sequence[tuple[str, int]],
    ) -> Iterator[Diagnostic]:
        """Warnings that cost nothing; :func:`nasdsl.language.lints.examine` has the others."""
        read = {output for _, output in outputs}
        unread = [self.builder.nodes[id] for id in inputs if not self.builder.readers[id] and id not in read]
        yield from lints.unused_inputs((node.name or "", node.span) for node in unread)
        yield from lints.unused_names(module, self.resolution)
        yield from lints.shadowing_names(module, self.resolution, self.shipped)
        yield from lints.candidates(module, self.shipped.keys() - BUILTINS.keys())

    def effects(self) -> tuple[int, ...]:
        """How much was found or done that a use doesn't make again: faults, constraints, uses of shared weights."""
        return (
            *self.wrongs.counts(),
            len(self.findings.diagnostics),
            len(self.proof.constraints),
            len(self.requirements.limits),
            self.uses.shared,
        )

    # --- names -----------------------------------------------------------------------------------

    def find(self, e: syntax.Name, names: Names, *, calling: bool = False) -> Value:
        """What a name stands for; :class:`Poison` where its assignment failed. Raises Stop for a name that is unknown."""
        name = e.name
        scope: Names | None = names
        while scope is not None:
            value = scope.own.get(name)
            if value is not None:
                if scope is not names and not isinstance(value, Definition):
                    self._check_reading(e, value, scope)
                return value
            scope = scope.outer
        shipped = self.shipped.get(name)
        if shipped is not None:
            return shipped
        if name in MEASURES and self.requirements.reading:
            return Measure(name)
        self.unknown(e, names, calling=calling)

    def _check_reading(self, e: syntax.Name, value: Value, scope: Names) -> None:
        """Definitions read numbers and lists around them that are assigned once, but no tensors (rule 9)."""
        if isinstance(value, Poison):
            return
        if _holds_tensor(value):
            fail(
                "N103",
                f"a definition can't read the tensor `{e.name}` from around it",
                e.span,
                label="a tensor of the body around",
                help=f"hand it in: make `{e.name}` one of the definition's inputs",
            )
        if e.name in scope.rebound:
            fail(
                "N103",
                f"a definition can't read `{e.name}` from around it: it is assigned more than once there",
                e.span,
                label="which of its values?",
                help=f"hand it in: add `{e.name}` to the definition's parameters",
            )

    def unknown(self, e: syntax.Name, names: Names, *, calling: bool = False) -> NoReturn:
        """Says that a name means nothing here (N101, N105), or has no value yet (N102)."""
        scope: Names | None = names
        while scope is not None:
            if e.name in scope.later:
                fail(
                    "N102",
                    f"`{e.name}` has no value here",
                    e.span,
                    label="assigned later, or only on a way that was not taken",
                    help=f"assign `{e.name}` before this",
                )
            scope = scope.outer
        what = "operation" if calling else "name"
        visible = [*names.all(), *self.shipped]
        fail(
            "N105" if calling else "N101",
            f"unknown {what} `{e.name}`",
            e.span,
            label="not defined here, nor imported" if calling else "not defined here",
            help=did_you_mean(e.name, visible),
        )

    def callee(self, e: syntax.Expression, names: Names) -> Value:
        """What a call calls."""
        if not isinstance(e, syntax.Name):
            kind = self.kinds.of(e, names)
            if kind not in ("operation", "poison"):
                fail("N201", f"only an operation can be called, and this is {with_article(kind)}", e.span)
            return Template(e, names)
        value = self.find(e, names, calling=True)
        if not isinstance(value, (*OPERATIONS, Builtin, Poison)):
            fail(
                "N201",
                f"`{e.name}` is {self.describe(value)} and can't be called",
                e.span,
                label="not an operation",
                help=f"`{e.name} -> f` hands it to an operation" if isinstance(value, Tensor) else None,
            )
        return value

    # --- expressions -----------------------------------------------------------------------------

    def evaluate(self, e: syntax.Expression, names: Names, place: Place) -> Value:
        """The value of an expression; an operation stays a template. Raises Stop where it fails."""
        try:
            value = self._evaluate(e, names, place)
        except Wrong as wrong:
            raise self.wrongs.stop(wrong, e.span, place) from None
        if self.builder.doubts:
            self.wrongs.doubt(e.span, place.body)
        return value

    def _evaluate(self, e: syntax.Expression, names: Names, place: Place) -> Value:
        match e:
            case syntax.Name():
                value = self.find(e, names)
                if isinstance(value, Poison):
                    raise Stop(None)
                if isinstance(value, (*OPERATIONS, Builtin)):
                    return Template(e, Names({e.name: value}))
                return value
            case syntax.Number():
                number = e.value
                return number.numerator if number.denominator == 1 else number
            case syntax.String() | syntax.Boolean():
                return e.value
            case syntax.Call():
                return self.uses.call(e, names, place)
            case syntax.Pipe():
                return self.uses.pipe(e, names, place)
            case syntax.Alternatives() | syntax.Choose():
                return self.choices.choose(e, names, place)
            case syntax.IfExpression():
                return self._if_expression(e, names, place)
            case syntax.Binary():
                return self.arithmetic.binary(e, names, place.plain())
            case syntax.Negate():
                return self.arithmetic.negate(e, names, place.plain())
            case syntax.Compare():
                return self.arithmetic.compare(e, names, place.plain())
            case syntax.Not():
                return self.arithmetic.settled("not", place, self.truth(e.operand, names, place))
            case syntax.Logical():
                return self.arithmetic.logical(e, names, place)
            case syntax.Index() | syntax.Rest():
                return self.lists.indexed(e, names, place.bare())
            case syntax.List():
                if len(e.items) == 1 and isinstance(e.items[0], syntax.Comprehension):
                    return self.lists.comprehension(e.items[0], names, place.plain())
                return ListValue(tuple(self.evaluate(item, names, place.plain()) for item in e.items))
            case syntax.Tuple():
                return Tuple(tuple(self.evaluate(item, names, place.plain()) for item in e.items))
            case syntax.Comprehension():
                return self.lists.comprehension(e, names, place.plain())
            case syntax.Range():
                return self.lists.range_of(e, names, place)
        raise AssertionError(e)

    # --- conditions ------------------------------------------------------------------------------

    def truth(self, e: syntax.Expression, names: Names, place: Place) -> bool | Diagram:
        """The value of a condition; a diagram of truth values where it rests on choices."""
        value = self.evaluate(e, names, place.plain())
        if isinstance(value, bool):
            self.observer.condition_settled(e, names, place, value)
            return value
        if isinstance(value, Diagram) and kind_of(value) == "boolean":
            return value
        fail(
            "N201",
            f"a condition is true or false, and this is {self.describe(value)}",
            e.span,
            help="compare it: `… == 1`" if kind_of(value) == "number" else None,
        )

    def _if_expression(self, e: syntax.IfExpression, names: Names, place: Place) -> Value:
        condition = self.truth(e.condition, names, place.bare())
        if isinstance(condition, bool):
            return self.evaluate(e.then if condition else e.otherwise, names, place)
        if self.kinds.of(e, names) == "operation":
            return Template(e, names.snapshot())
        return self.both_sides(e, condition, place, lambda side, at: self.evaluate(side, names, at))

    def both_sides(
        self,
        e: syntax.IfExpression,
        condition: Diagram,
        place: Place,
        walk: Callable[[syntax.Expression, Place], Value],
    ) -> Value:
        """A chosen ``if``: both sides are in the space, each under the condition that it is taken."""
        sides: list[tuple[Value, Diagram, Span]] = []
        for side, holds in ((e.then, condition), (e.otherwise, self.table.negate(condition))):
            # It names nothing: a use on either side is one of two.
            here = place.under(self.table, holds).but(slot="", under_if=True).turn("side", side.span.start)
            if self.proof.possible(here.guard):
                sides.append((walk(side, here), holds, side.span))
        if not sides:
            return walk(e.then, place)
        return self.choices.merge(sides, e.span, place)

    # --- words -----------------------------------------------------------------------------------

    def describe(self, value: Value) -> str:
        """A value in words: ``a list of 3 elements``, ``the number 2.5``, ``a tensor [16, 8, 8]``."""
        if isinstance(value, Tensor) and value.node >= 0:
            return f"a tensor {type_text(self.builder.type_of(value.node))}"
        if isinstance(value, Tuple):
            kinds = {kind_of(item) for item in value.items}
            return f"{len(value.items)} tensors" if kinds == {"tensor"} else f"a tuple of {len(value.items)}"
        if isinstance(value, ListValue):
            return (
                "a list that was chosen"
                if value.guards is not None
                else f"a list of {count(len(value.items), 'element')}"
            )
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, Fraction)):
            return f"the number {number_text(value)}"
        if isinstance(value, Size):
            return f"the free size {value}"
        if isinstance(value, str):
            return f'the text "{value}"'
        if isinstance(value, Measure):
            return f"the measure `{value.name}`"
        if isinstance(value, Diagram):
            return "true or false by choice" if kind_of(value) == "boolean" else "a chosen number"
        return with_article(kind_of(value))


def _holds_tensor(value: Value) -> bool:
    if isinstance(value, (ListValue, Tuple)):
        return any(map(_holds_tensor, value.items))
    return isinstance(value, Tensor)
