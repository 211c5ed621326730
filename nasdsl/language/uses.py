"""Uses: an operation applied to tensors. What a call gives is bound here, before the body is walked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import Diagnostic, Note, Span, did_you_mean
from nasdsl.language import syntax
from nasdsl.language.builder import Wrong, type_text
from nasdsl.language.format import format_expression
from nasdsl.language.kinds import is_input, is_operation_parameter
from nasdsl.language.naming import CellName, Step
from nasdsl.language.place import Body, Place, SharedUse, Slot
from nasdsl.language.stop import Stop, count, fail, listed, with_article
from nasdsl.language.values import (
    OPERATIONS,
    Builtin,
    Definition,
    ListValue,
    Names,
    Poison,
    Primitive,
    SharedOperation,
    Template,
    Tensor,
    Tuple,
    Value,
    is_rational,
    is_whole,
    kind_of,
    leaves,
)
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import Scope
from nasdsl.space.operation import Operation, Setting
from nasdsl.space.size import Size

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator
    from nasdsl.space.tensor import TensorType

_TYPES = {
    "op": "an operation",
    "cell": "an operation",
    "int": "a whole number",
    "float": "a number",
    "number": "a number",
    "bool": "true or false",
    "string": "a text",
}


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
        return self.apply(stage, names, _flat(value), place)

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
            return self._primitive(callee.operation, arguments, names, inputs, place, span)
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
            given += _flat(self.elaborator.evaluate(argument.value, names, place.plain()))
        return given

    def _template_slot(self, template: Template) -> Slot:
        if self.elaborator.choices.is_single_use(template.expression, template.names):
            return "use"
        return body_slot(template.expression)

    @staticmethod
    def step(name: str, place: Place) -> Step:
        """The step of names that a use takes."""
        return place.step if place.slot == "use" else Step(place.step, place.target or name)

    # --- primitives ------------------------------------------------------------------------------

    def _primitive(
        self,
        operation: Operation,
        arguments: Sequence[syntax.Argument],
        names: Names,
        inputs: list[Value],
        place: Place,
        span: Span,
    ) -> Tensor:
        """A use of an operation of the catalogue."""
        evaluate = self.elaborator.evaluate
        step = self.step(operation.name, place)
        plain = place.plain()
        tensors = list(inputs)
        settings: dict[str, Any] = {}
        declared = {setting.name: setting for setting in operation.settings}
        for argument in arguments:
            if argument.name is None and self.kinds.holds_tensors(argument.value, names):
                tensors.append(evaluate(argument.value, names, plain))
                continue
            if argument.name in operation.inputs:
                tensors.append(evaluate(argument.value, names, plain))
                continue
            name = argument.name
            if name is None:
                name = next((n for n in declared if n not in settings), None)
                if name is None:
                    fail(
                        "N203",
                        f"`{operation.name}` takes "
                        + (f"only {listed(f'`{d}`' for d in declared)}" if declared else "no settings"),
                        argument.span,
                    )
            elif name not in declared:
                fail(
                    "N106",
                    f"`{operation.name}` has no setting `{name}`",
                    argument.name_span or argument.span,
                    label="not one of its settings",
                    help=did_you_mean(name, declared)
                    or (
                        f"its settings are {listed(f'`{d}`' for d in declared)}"
                        if declared
                        else "it has none"
                    ),
                )
            if name in settings:
                fail("N203", f"`{name}` of `{operation.name}` is given twice", argument.span)
            here = place.but(step=step, target=name, slot="")
            settings[name] = self._primitive_setting(operation, declared[name], argument.value, names, here)
        nodes = []
        for value in tensors:
            for item in _flat(value, lists=True):
                if not isinstance(item, Tensor):
                    fail(
                        "N201",
                        f"`{operation.name}` takes a tensor, and this is {self.elaborator.describe(item)}",
                        span,
                    )
                nodes.append(item.node)
        if len(nodes) != len(operation.inputs) and not (operation.variadic and nodes):
            fail(
                "N202" if len(nodes) < len(operation.inputs) else "N203",
                f"`{operation.name}` takes {count(len(operation.inputs), 'tensor')}, and {len(nodes)} are given",
                span,
                notes=self.elaborator.wrongs.origins(nodes, span),
                help="reduce them first, with `sum`, `mean` or `concat`" if len(nodes) > 1 else None,
            )
        return self.primitive(operation.name, nodes, settings, place, span)

    def _primitive_setting(
        self, operation: Operation, setting: Setting, e: syntax.Expression, names: Names, place: Place
    ) -> Any:
        name = f"`{setting.name}` of `{operation.name}`"
        kind = self.kinds.of(e, names)
        if kind in ("tensor", "operation", "string"):
            wanted = {"bool": "true or false", "dims": "a list of sizes"}.get(setting.kind, "a number")
            fail("N205", f"{name} is {wanted}, and this is {with_article(kind)}", e.span)
        value = self.elaborator.evaluate(e, names, place)
        if isinstance(value, ListValue):
            return self._list_setting(operation, setting, value, e)
        if setting.kind == "dims":
            fail("N205", f"{name} is a list of sizes, and this is {self.elaborator.describe(value)}", e.span,
                 help="write them in brackets: `reshape(x, [16, 1, 1])`")  # fmt: skip
        if isinstance(value, Diagram) and not setting.elastic:
            self._not_elastic(operation, setting, e, value)
        if (setting.kind == "bool") != (kind_of(value) == "boolean"):
            wanted = "true or false" if setting.kind == "bool" else "a number"
            fail("N205", f"{name} is {wanted}, and this is {self.elaborator.describe(value)}", e.span)
        self._check_whole(operation, setting, value, e)
        if setting.name == "kernel" and isinstance(value, Diagram):
            sizes = [leaf for leaf in leaves(value) if isinstance(leaf, int)]
            if len({size % 2 for size in sizes}) > 1:
                fail(
                    "N209",
                    "a chosen kernel takes the centre of its largest, so its sizes are all odd or all even, "
                    f"not {listed(sorted(sizes))}",
                    e.span,
                    help="choose between operations instead, each with its own weights: "
                    f"`{operation.name}(kernel = {sizes[0]}) | {operation.name}(kernel = {sizes[1]})`",
                )
        return value

    def _list_setting(
        self, operation: Operation, setting: Setting, value: ListValue, e: syntax.Expression
    ) -> Any:
        name = f"`{setting.name}` of `{operation.name}`"
        if setting.kind not in ("ints", "dims") or value.guards is not None:
            fail("N205", f"{name} is one number, and this is {self.elaborator.describe(value)}", e.span)
        for item in value.items:
            if isinstance(item, Diagram) and not (setting.kind == "dims" and setting.elastic):
                self._not_elastic(operation, setting, e, item, "a list for ")
            self._check_whole(operation, setting, item, e)
        return tuple(value.items)

    def _not_elastic(
        self, operation: Operation, setting: Setting, e: syntax.Expression, value: Diagram, what: str = ""
    ) -> None:
        values = [str(leaf) for leaf in leaves(value) if is_rational(leaf)][:2]
        given = e.span.text if isinstance(e, syntax.List) else None
        example = " | ".join(f"{operation.name}(…, {setting.name} = {v})" for v in values)
        fail(
            "N209",
            f"{what}`{setting.name}` of `{operation.name}` can't rest on a choice",
            e.span,
            label="depends on the architecture",
            help="choose between operations instead, each with its own weights"
            + (f": `{example}`" if given is None and len(values) == 2 else ""),
        )

    def _check_whole(
        self, operation: Operation, setting: Setting, value: Value, e: syntax.Expression
    ) -> None:
        if setting.kind not in ("int", "ints", "dims"):
            return
        for leaf in leaves(value):
            if isinstance(leaf, bool) or not isinstance(leaf, (int, Size)) or not is_whole(leaf):
                fail(
                    "N205",
                    f"`{setting.name}` of `{operation.name}` is a whole number, and this is "
                    f"{self.elaborator.describe(leaf)}",
                    e.span,
                    help="round it, `round(…)`, or divide with `//`"
                    if is_rational(leaf)
                    else "divide with `//`"
                    if isinstance(leaf, Size)
                    else None,
                )

    def primitive(
        self, name: str, nodes: Sequence[int], given: dict[str, Any], place: Place, span: Span
    ) -> Tensor:
        """A node that runs an operation of the catalogue on tensors."""
        operation = self.elaborator.catalogue[name]
        types = [self.builder.nodes[node].type for node in nodes]
        try:
            settings = self.builder.settings_for(operation, given, types)
            type = self.builder.infer(operation, types, settings, place.guard)
        except Wrong as wrong:
            raise self.elaborator.wrongs.stop(wrong, span, place, nodes) from None
        if self.builder.doubts:
            self.elaborator.wrongs.doubt(span, place.body, nodes)
        return Tensor(self.node(name, [(node, place.guard) for node in nodes], type, settings, place, span))

    def node(
        self,
        name: str,
        reads: Sequence[tuple[int, Diagram]],
        type: TensorType,
        settings: dict[str, Any],
        place: Place,
        span: Span,
    ) -> int:
        """Adds a node; where weights are shared, it takes those that the first use made in the same spot."""
        owner = None
        if place.shared is not None:
            key = place.shared.key("node", place.trail, span.start, span.end, name)
            known = place.shared.made.setdefault(key, len(self.builder.nodes))
            assert isinstance(known, int)
            owner = known
        return self.builder.add(
            name,
            reads,
            type,
            place.guard,
            place.body.scope,
            span,
            settings=settings,
            owner=owner,
            region=place.region,
        )

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
        bound, extra = self._bind(callee, arguments, names, inputs, place, step, inner_step, span)
        elaborator.observer.use_bound(scope)
        for parameter in define.parameters:
            if is_input(parameter):
                values = _flat(bound.own[parameter.name], lists=True)
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
                    help=f"apply it: `{inputs[0].name} -> {_brief(where)}`",
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

    # --- arguments -------------------------------------------------------------------------------

    def _bind(
        self,
        callee: Definition,
        arguments: Sequence[syntax.Argument],
        names: Names,
        inputs: list[Value],
        place: Place,
        step: Step,
        inner_step: Step,
        span: Span,
    ) -> tuple[Names, list[Value]]:
        """The names of a body: inputs, dimension names, settings, defaults, in this order. Besides what a definition
        without named inputs is applied to."""
        define = callee.syntax
        bound = Names(outer=callee.names)
        parameters = {p.name: p for p in define.parameters}
        inputs_declared = [p for p in define.parameters if is_input(p)]
        settings_declared = [p for p in define.parameters if not is_input(p)]
        given_inputs: dict[str, Value] = {}
        given: dict[str, syntax.Argument] = {}
        positional: list[Value] = []
        for value in inputs:
            positional += _flat(value)
        later: list[syntax.Argument] = []
        outside = place.plain()
        for argument in arguments:
            if argument.name is None:
                if self.kinds.holds_tensors(argument.value, names):
                    positional += _flat(self.elaborator.evaluate(argument.value, names, outside))
                else:
                    later.append(argument)
                continue
            parameter = parameters.get(argument.name)
            if parameter is None:
                fail(
                    "N106",
                    f"`{define.name}` has no setting `{argument.name}`",
                    argument.name_span or argument.span,
                    label="not one of its parameters",
                    notes=(Note(define.name_span, "defined here"),),
                    help=did_you_mean(argument.name, parameters)
                    or (
                        f"it takes {listed(f'`{n}`' for n in parameters)}" if parameters else "it takes none"
                    ),
                )
            if argument.name in given or argument.name in given_inputs:
                fail("N203", f"`{argument.name}` of `{define.name}` is given twice", argument.span)
            if is_input(parameter):
                given_inputs[argument.name] = self.elaborator.evaluate(argument.value, names, outside)
            else:
                given[argument.name] = argument
        if inputs_declared:
            open_inputs = [p for p in inputs_declared if p.name not in given_inputs]
            if len(positional) != len(open_inputs):
                left = [p for p in open_inputs[len(positional) :] if p.type is None] if later else []
                self._wrong_inputs(define, inputs_declared, len(positional) + len(given_inputs), span, left)
            for parameter, value in zip(open_inputs, positional, strict=True):
                given_inputs[parameter.name] = value
            for parameter in inputs_declared:
                self._bind_input(parameter, given_inputs[parameter.name], bound, define, place, span)
        open_settings = [p for p in settings_declared if p.name not in given]
        if len(later) > len(open_settings):
            extra = later[len(open_settings)]
            fail(
                "N203",
                f"`{define.name}` takes {count(len(settings_declared), 'setting') if settings_declared else 'no settings'}"
                + (", and more are given" if settings_declared else ""),
                extra.span,
                notes=(Note(define.name_span, "defined here"),),
                help=f"`{inputs_declared[-1].name}` is an input, having neither type nor default; "
                f"write `{inputs_declared[-1].name}: int` to make it a setting"
                if inputs_declared and inputs_declared[-1].type is None and not settings_declared
                else None,
            )
        for parameter, argument in zip(open_settings, later, strict=False):
            given[parameter.name] = argument
        for parameter in settings_declared:
            found = given.get(parameter.name)
            if found is not None:
                here = place.but(step=step, target=parameter.name, slot="")
                bound[parameter.name] = self._setting(parameter, found.value, names, here, define)
            elif parameter.default is not None:
                # A default stands in the definition: a cell makes its choices once, like the others.
                here = place.but(step=inner_step, target=parameter.name, slot="")
                bound[parameter.name] = self._setting(parameter, parameter.default, bound, here, define)
            else:
                fail(
                    "N202",
                    f"`{define.name}` needs `{parameter.name}`",
                    span,
                    notes=(Note(parameter.span, "declared here, without a default"),),
                    help=f"write `{define.name}({parameter.name} = …)`",
                )
        return bound, positional

    def _wrong_inputs(
        self,
        define: syntax.Define,
        declared: Sequence[syntax.Parameter],
        given: int,
        span: Span,
        settings: Sequence[syntax.Parameter],
    ) -> None:
        """``settings`` are inputs that were given something else than a tensor."""
        names = ", ".join(f"`{p.name}`" for p in declared)
        were = "1 is" if given == 1 else f"{given} are"
        fail(
            "N202" if given < len(declared) else "N203",
            f"`{define.name}` takes {count(len(declared), 'tensor')} ({names}), and {were} given",
            span,
            notes=(Note(define.name_span, "defined here"),),
            help=f"`{settings[0].name}` is an input, having neither type nor default; "
            f"write `{settings[0].name}: int` to make it a setting"
            if settings
            else f"`({', '.join(p.name for p in declared)}) -> {define.name}` hands over all of them"
            if given < len(declared) and len(declared) > 1
            else None,
        )

    def _setting(
        self,
        parameter: syntax.Parameter,
        e: syntax.Expression,
        names: Names,
        place: Place,
        define: syntax.Define,
    ) -> Value:
        kind = self.kinds.of(e, names)
        if kind == "poison":
            raise Stop(None)
        name = f"`{parameter.name}` of `{define.name}`"
        wanted = parameter.type.name if parameter.type is not None else None
        declared = (Note(parameter.span, "declared here"),)
        if is_operation_parameter(parameter):
            if kind != "operation":
                fail(
                    "N205",
                    f"{name} is an operation, and this is {with_article(kind)}",
                    e.span,
                    notes=declared,
                )
            return self._template(e, names)
        if kind == "operation":
            if wanted is not None:
                fail(
                    "N205",
                    f"{name} is {_TYPES.get(wanted, wanted)}, and this is an operation",
                    e.span,
                    notes=declared,
                )
            fail(
                "N205",
                f"{name} is not declared as an operation",
                e.span,
                label="an operation",
                notes=(Note(parameter.span, "declared here"),),
                help=f"declare it so: `{parameter.name}: op"
                + (f" = {_brief(parameter.default.span)}`" if parameter.default is not None else "`"),
            )
        value = self.elaborator.evaluate(e, names, place)
        if isinstance(value, (Tensor, Tuple)) or (isinstance(value, ListValue) and _has_tensors(value)):
            fail(
                "N205",
                f"{name} is a setting and takes no tensors",
                e.span,
                label=self.elaborator.describe(value),
                notes=declared,
                help="a parameter without type and default is an input",
            )
        self._check_type(name, wanted, value, e, declared)
        return value

    def _check_type(
        self, name: str, wanted: str | None, value: Value, e: syntax.Expression, notes: tuple[Note, ...]
    ) -> None:
        for leaf in leaves(value):
            kind = kind_of(leaf)
            right = True
            if wanted == "int":
                items = leaf.items if isinstance(leaf, ListValue) else (leaf,)
                for item in items:
                    for number in leaves(item):
                        right = right and isinstance(number, (int, Size)) and not isinstance(number, bool)
            elif wanted in ("float", "number"):
                right = kind == "number"
            elif wanted == "bool":
                right = kind == "boolean"
            elif wanted == "string":
                right = kind == "string"
            if not right:
                fail(
                    "N205",
                    f"{name} is {_TYPES.get(wanted or '', wanted)}, and this is {self.elaborator.describe(leaf)}",
                    e.span,
                    notes=notes,
                    help="round it, `round(…)`, or divide with `//`"
                    if wanted == "int" and is_rational(leaf)
                    else None,
                )

    def _template(self, e: syntax.Expression, names: Names) -> Template:
        """An operation that is handed over: its choices are made at each use of it."""
        if isinstance(e, syntax.Name):
            return Template(e, Names({e.name: self.elaborator.find(e, names)}))
        return Template(e, names.snapshot())

    def _bind_input(
        self,
        parameter: syntax.Parameter,
        value: Value,
        bound: Names,
        define: syntax.Define,
        place: Place,
        span: Span,
    ) -> None:
        name = f"`{parameter.name}` of `{define.name}`"
        declared = (Note(parameter.span, "declared here"),)
        if not isinstance(value, (Tensor, ListValue)) or (
            isinstance(value, ListValue) and _has_others(value)
        ):
            fail(
                "N201",
                f"{name} is an input and takes a tensor or a list of them, and this is {self.elaborator.describe(value)}",
                span,
                notes=declared,
                help=f"write `{parameter.name}: int` to make it a setting"
                if kind_of(value) == "number"
                else None,
            )
        bound[parameter.name] = value
        if parameter.type is None or parameter.type.dimensions is None:
            return
        if not isinstance(value, Tensor):
            fail(
                "N305",
                f"{name} is one tensor, and this is {self.elaborator.describe(value)}",
                span,
                notes=declared,
            )
        type = self.builder.type_of(value.node)
        dtype = parameter.type.name
        if dtype in ("int", "float") and dtype != type.dtype:
            kinds = {"int": "whole numbers", "float": "real numbers"}
            fail(
                "N305",
                f"{name} holds {kinds[dtype]}, and the tensor given is {type_text(type)}, of {kinds[type.dtype]}",
                span,
                notes=declared,
            )
        pattern = parameter.type.dimensions
        if len(pattern) != type.rank:
            fail(
                "N305",
                f"{name} has {count(len(pattern), 'dimension')}, and the tensor given is {type_text(type)}",
                span,
                notes=(*self.elaborator.wrongs.origins([value.node], span), *declared),
            )
        for e, dim in zip(pattern, type.dims, strict=True):
            if isinstance(e, syntax.Name) and e.name not in bound.own:
                bound[e.name] = dim
            else:
                self._check_dimension(e, dim, bound, name, type, place, span)

    def _check_dimension(
        self,
        e: syntax.Expression,
        dim: Any,
        bound: Names,
        name: str,
        type: TensorType,
        place: Place,
        span: Span,
    ) -> None:
        """A dimension that a signature names twice, or computes, is what the tensor has there, in every architecture."""
        wanted = self.elaborator.evaluate(e, bound, self.elaborator.nowhere)
        if wanted is dim or (wanted == dim and not isinstance(dim, Diagram)):
            return
        same: Any = False
        if isinstance(wanted, Diagram) or isinstance(dim, Diagram):
            differ = self.builder.table.map(
                _differ, self.builder.table.lift(wanted), self.builder.table.lift(dim)
            )
            path = self.elaborator.proof.smallest(
                self.builder.table.both(place.guard, differ), lambda leaf: leaf is True
            )
            same = path is None
        else:
            path = None
        if not same:
            raise Stop(
                Diagnostic(
                    "N305",
                    f"{name} has {self._size(wanted)} where the signature says `{format_expression(e)}`, "
                    f"and the tensor given is {type_text(type)}",
                    span,
                    notes=(Note(e.span, f"{self._size(wanted)} here, {self._size(dim)} in the tensor"),),
                ),
                path,
            )

    @staticmethod
    def _size(value: Any) -> str:
        return "|".join(str(leaf) for leaf in leaves(value))

    # --- shared weights --------------------------------------------------------------------------

    def _shared(self, callee: SharedOperation, inputs: list[Value], place: Place, span: Span) -> Value:
        """A use of shared weights: the first makes them, and the choices that go with them."""
        self.shared += 1
        types = [
            self.builder.type_of(v.node)
            for value in inputs
            for v in _flat(value, lists=True)
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


def _flat(value: Value, lists: bool = False) -> list[Value]:
    """A tuple feeds its items one by one; with ``lists``, a list does too."""
    if isinstance(value, Tuple) or (lists and isinstance(value, ListValue)):
        return [inner for item in value.items for inner in _flat(item, lists)]
    return [value]


def _has_tensors(value: ListValue) -> bool:
    return value.guards is not None or any(isinstance(item, Tensor) for item in _flat(value, lists=True))


def _has_others(value: ListValue) -> bool:
    return any(not isinstance(item, Tensor) for item in _flat(value, lists=True))


def _differ(a: Any, b: Any) -> bool:
    return bool(a != b)


def _brief(span: Span) -> str:
    text = " ".join(span.text.removeprefix("return ").split())
    return text if len(text) <= 40 else "…"
