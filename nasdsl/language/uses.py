"""Uses: an operation applied to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasdsl.diagnostics import Diagnostic, Note, Span
from nasdsl.language import syntax
from nasdsl.language.builder import Wrong, type_text
from nasdsl.language.kinds import is_input
from nasdsl.language.naming import CellName, Step
from nasdsl.language.place import Body, Place, SharedUse, Slot
from nasdsl.language.stop import Stop, brief, fail, listed, with_article
from nasdsl.language.values import (
    OPERATIONS,
    Builtin,
    Definition,
    Names,
    Poison,
    Primitive,
    SharedOperation,
    Template,
    Tensor,
    Tuple,
    Value,
    flat,
    kind_of,
)
from nasdsl.space.graph import Scope

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator


class Uses:
    """Applies operations while one space is elaborated; ``made`` counts the uses so far."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.kinds = elaborator.kinds
        self.made = 0
        # How often weights were shared.
        self.shared = 0

    # --- expressions that use operations ---------------------------------------------------------

    def call(self, e: syntax.Call, names: Names, place: Place) -> Value:
        """``f(x)``: a use where it gives tensors, else an operation with its settings."""
        callee = self.elaborator.callee(e.function, names)
        if isinstance(callee, Poison):
            raise Stop(None)
        if self.kinds.of(e, names) == "operation":
            return Template(e, names.snapshot())
        return self.apply(e, names, [], place)

    def pipe(self, e: syntax.Pipe, names: Names, place: Place) -> Value:
        """``x -> f -> g``; with no tensor in front it is itself an operation."""
        kind = self.kinds.of(e, names)
        if kind == "poison":
            raise Stop(None)
        if kind == "operation":
            return Template(e, names.snapshot())
        # A label can stand for the one use of `x -> f`.
        single = place.slot == "use" and len(e.stages) == 2
        value = self.elaborator.evaluate(e.stages[0], names, place.plain())
        for stage in e.stages[1:]:
            value = self._piped(value, stage, names, place if single else place.plain())
        return value

    def _piped(self, value: Value, stage: syntax.Expression, names: Names, place: Place) -> Value:
        kind = self.kinds.of(stage, names)
        if kind == "poison":
            raise Stop(None)
        if kind != "operation" and not isinstance(stage, (syntax.Call, syntax.Name)):
            fail(
                "N201",
                f"`->` hands a tensor to an operation, and this is {with_article(kind)}",
                stage.span,
                label=with_article(kind),
                help="write an operation after `->`, such as `relu` or `conv(32, kernel = 3)`",
            )
        return self.apply(stage, names, flat(value), place)

    def apply(self, e: syntax.Expression, names: Names, inputs: list[Value], place: Place) -> Value:
        """A use of the operation that an expression stands for, on given inputs (and those that a call gives)."""
        try:
            value = self._apply(e, names, inputs, place)
        except Wrong as wrong:
            raise self.elaborator.wrongs.stop(wrong, e.span, place) from None
        if self.builder.doubts:
            self.elaborator.wrongs.doubt(e.span, place.body)
        return value

    def _apply(self, e: syntax.Expression, names: Names, inputs: list[Value], place: Place) -> Value:
        elaborator = self.elaborator
        match e:
            case syntax.Name():
                value = elaborator.find(e, names, calling=True)
                return self._use(value, e, e, (), names, inputs, place)
            case syntax.Call():
                callee = elaborator.callee(e.function, names)
                return self._use(callee, e.function, e, e.arguments, names, inputs, place)
            case syntax.Pipe():
                if self.kinds.of(e.stages[0], names) != "operation":
                    fail("N201", "this already has its tensor and is no operation", e.span)
                value = self.apply(e.stages[0], names, inputs, place.plain())
                for stage in e.stages[1:]:
                    value = self._piped(value, stage, names, place.plain())
                return value
            case syntax.IfExpression():
                condition = elaborator.truth(e.condition, names, place.bare())
                if isinstance(condition, bool):
                    return self.apply(e.then if condition else e.otherwise, names, inputs, place)
                return elaborator.both_sides(
                    e, condition, place, lambda side, at: self.apply(side, names, list(inputs), at)
                )
            case syntax.Alternatives() | syntax.Choose(quantity=None):
                return elaborator.choices.among(
                    e, names, place, lambda c, at: self.apply(c.value, c.names, list(inputs), at)
                )
        value = elaborator.evaluate(e, names, place)
        if isinstance(value, Template):
            return self.apply(value.expression, value.names, inputs, place)
        fail("N201", f"an operation is needed here, and this is {elaborator.describe(value)}", e.span)

    def _use(
        self,
        callee: Value,
        function: syntax.Expression,
        e: syntax.Expression,
        arguments: Sequence[syntax.Argument],
        names: Names,
        inputs: list[Value],
        place: Place,
    ) -> Value:
        span = e.span
        if isinstance(callee, Poison) or any(isinstance(value, Poison) for value in inputs):
            raise Stop(None)
        if isinstance(callee, Builtin):
            return self.elaborator.forms.use(callee.name, e, arguments, names, place, inputs)
        if not isinstance(callee, OPERATIONS):
            fail(
                "N201",
                f"an operation is needed here, and this is {self.elaborator.describe(callee)}",
                span,
                help="write an operation after `->`, such as `relu` or `conv(32, kernel = 3)`"
                if inputs
                else None,
            )
        self.made += 1
        limit = self.elaborator.limits.uses
        if self.made > limit:
            fail(
                "N604",
                f"the space has more than {limit} uses of operations",
                span,
                help=f"make it smaller, or raise the bound: `--limit uses={2 * limit}`",
                for_good=True,
            )
        if isinstance(callee, Primitive):
            return self.elaborator.primitives.use(callee.operation, arguments, names, inputs, place, span)
        here = place.turn(span.start, span.end)
        if isinstance(callee, Definition):
            return self._definition(callee, arguments, names, inputs, here, span)
        # A parameter, a shared operation or an expression in brackets: it only takes its inputs here.
        given = self._tensors_alone(function, arguments, names, inputs, here)
        if isinstance(callee, SharedOperation):
            return self._shared(callee, given, here, span)
        if isinstance(function, syntax.Name):
            step = self.step(function.name, here)
            slot = self._template_slot(callee)
            here = here.but(step=step, target=None, slot=slot)
        return self.apply(callee.expression, callee.names, given, here)

    def _tensors_alone(
        self,
        function: syntax.Expression,
        arguments: Sequence[syntax.Argument],
        names: Names,
        inputs: list[Value],
        place: Place,
    ) -> list[Value]:
        given = list(inputs)
        for argument in arguments:
            if argument.name is not None or not self.kinds.holds_tensors(argument.value, names):
                if self.kinds.of(argument.value, names) == "poison":
                    raise Stop(None)
                name = f"`{function.name}`" if isinstance(function, syntax.Name) else "this operation"
                fail(
                    "N203",
                    f"{name} has its settings already and takes tensors alone",
                    argument.span,
                    help="hand it on with its settings, or let the definition take them as well",
                )
            given += flat(self.elaborator.evaluate(argument.value, names, place.plain()))
        return given

    def _template_slot(self, template: Template) -> Slot:
        if self.elaborator.choices.is_single_use(template.expression, template.names):
            return "use"
        return body_slot(template.expression)

    @staticmethod
    def step(name: str, place: Place) -> Step:
        """The step of names that a use takes."""
        return place.step if place.slot == "use" else Step(place.step, place.target or name)

    # --- definitions -----------------------------------------------------------------------------

    def _definition(
        self,
        callee: Definition,
        arguments: Sequence[syntax.Argument],
        names: Names,
        inputs: list[Value],
        place: Place,
        span: Span,
    ) -> Value:
        """A use of an ``op`` or ``cell``: arguments are bound, then its body is walked in a place of its own."""
        define = callee.syntax
        self._check_recursion(define, place, span)
        step = self.step(define.name, place)
        inner_step = step
        if define.kind == "cell":
            inner_step = Step.cell(CellName(define.name, callee.file, define.name_span.start))
        scope = Scope(
            len(self.builder.scopes),
            define.kind,
            define.name,
            self.scope_label(place, define.name),
            place.body.scope,
            span,
            doc=define.doc,
        )
        self.builder.scopes.append(scope)
        elaborator = self.elaborator
        elaborator.observer.use_begins(callee, arguments, names, place, scope, span)
        bound, extra = elaborator.binding.bind(
            callee, arguments, names, inputs, place, step, inner_step, span
        )
        elaborator.observer.use_bound(scope)
        for parameter in define.parameters:
            if is_input(parameter):
                values = flat(bound.own[parameter.name], lists=True)
                scope.inputs[parameter.name] = tuple(v.node for v in values if isinstance(v, Tensor))
        statements = define.body if isinstance(define.body, tuple) else ()
        body = Body(
            scope,
            first=len(self.builder.nodes),
            unique=elaborator.statements.assigned(statements).once,
            outer=place.body,
            definition=define,
            use=span,
            nesting=place.body.nesting + 1,
            open=place.body.open | {id(define)},
            under_if=place.under_if,
        )
        here = place.but(body=body, step=inner_step, target=None, slot="", loops=(), under_if=False)
        again = elaborator.again
        begun = again.begin(callee, bound, extra, place, scope)
        found = again.repeat(begun) if begun is not None else None
        if found is not None:
            return found
        try:
            value = self._body(define, bound, extra, here)
            if begun is not None:
                again.end(begun, define, value)
            return value
        except Stop as stop:
            stop.body = stop.body or body
            raise

    def _body(self, define: syntax.Define, bound: Names, extra: list[Value], place: Place) -> Value:
        elaborator = self.elaborator
        inputs = [p for p in define.parameters if is_input(p)]
        result: Value | None
        if isinstance(define.body, tuple):
            result = elaborator.statements.run_body(define.body, bound, place, define.span)
            if result is None:
                raise Stop(None)
        else:
            at = place.but(slot=body_slot(define.body))
            if not inputs:
                return self.apply(define.body, bound, extra, at)
            result = elaborator.evaluate(define.body, bound, at)
        if isinstance(result, Template):
            if inputs:
                where = define.body[-1].span if isinstance(define.body, tuple) else define.body.span
                fail(
                    "N201",
                    f"`{define.name}` names its inputs, so it gives tensors; this is an operation",
                    where,
                    label="an operation",
                    help=f"apply it: `{inputs[0].name} -> {brief(where)}`",
                )
            return self.apply(result.expression, result.names, extra, place)
        if not isinstance(result, (Tensor, Tuple)) or kind_of(result) != "tensor":
            where = define.body[-1].span if isinstance(define.body, tuple) else define.body.span
            fail("N206", f"`{define.name}` gives tensors, and this is {elaborator.describe(result)}", where)
        return result

    def _check_recursion(self, define: syntax.Define, place: Place, span: Span) -> None:
        limit = self.elaborator.limits.nesting
        if place.body.nesting >= limit:
            fail(
                "N605",
                f"uses are nested more than {limit} deep",
                span,
                help=f"let a setting of `{define.name}` count down to an end: `if depth == 0 then … else …`"
                if id(define) in place.body.open
                else f"raise the bound if you mean it: `--limit nesting={2 * limit}`",
            )
        if id(define) not in place.body.open:
            return
        under_if = place.under_if
        body: Body | None = place.body
        while body is not None and body.definition is not define:
            under_if = under_if or body.under_if
            body = body.outer
        notes = (Note(define.name_span, "defined here"),)
        if define.kind == "cell":
            fail(
                "N605",
                f"the cell `{define.name}` is used inside itself",
                span,
                notes=notes,
                help="a cell's choices are made once for all its uses; make it an `op`, whose uses choose for themselves",
            )
        if under_if:
            fail(
                "N605",
                f"`{define.name}` is used inside itself under a chosen condition",
                span,
                label="a recursive use",
                notes=notes,
                help="both sides of a chosen `if` are in the space, so it never ends: "
                "let a setting that is known count down, and choose between operations",
            )

    def scope_label(self, place: Place, name: str) -> str:
        """What a use is called in the one around it."""
        return place.step.name if place.slot == "use" else place.target or name

    # --- shared weights --------------------------------------------------------------------------

    def _shared(self, callee: SharedOperation, inputs: list[Value], place: Place, span: Span) -> Value:
        """A use of shared weights: the first makes them, and the choices that go with them."""
        self.shared += 1
        types = [
            self.builder.type_of(v.node)
            for value in inputs
            for v in flat(value, lists=True)
            if isinstance(v, Tensor)
        ]
        known = callee.made.setdefault("inputs", types)
        if known != types:
            assert isinstance(known, list)
            raise Stop(
                Diagnostic(
                    "N306",
                    f"the weights `{callee.name}` are used on {listed(map(type_text, types))}, "
                    f"and were on {listed(map(type_text, known))} before",
                    span,
                    notes=(Note(callee.syntax.span, "shared here"),),
                    help="all uses of shared weights take inputs of the same shape",
                )
            )
        at = callee.place
        here = place.but(
            step=at.step,
            target=at.target,
            slot="",
            loops=(),
            decided=at.decided,
            trail=(),
            shared=SharedUse(callee.made),
        )
        return self.apply(callee.template.expression, callee.template.names, inputs, here)


def body_slot(e: syntax.Expression) -> Slot:
    """An op whose body is a choice adds nothing below its use."""
    if isinstance(e, syntax.IfExpression):
        return body_slot(e.then) or body_slot(e.otherwise)
    return "choice" if isinstance(e, (syntax.Alternatives, syntax.Choose)) else ""
