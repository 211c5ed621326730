"""What a use of a definition gives is bound to the names of its parameters, before its body is walked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import Diagnostic, Note, Span, did_you_mean
from nasdsl.language import syntax
from nasdsl.language.builder import type_text
from nasdsl.language.format import format_expression
from nasdsl.language.kinds import is_input, is_operation_parameter
from nasdsl.language.naming import Step
from nasdsl.language.place import Place
from nasdsl.language.stop import Stop, brief, count, fail, listed, with_article
from nasdsl.language.values import (
    Definition,
    ListValue,
    Names,
    Template,
    Tensor,
    Tuple,
    Value,
    flat,
    is_rational,
    kind_of,
    leaves,
)
from nasdsl.space.diagram import Diagram
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


class Binding:
    """Binds inputs, dimension names, settings and defaults while one space is elaborated."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.kinds = elaborator.kinds

    def bind(
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
            positional += flat(value)
        later: list[syntax.Argument] = []
        outside = place.plain()
        for argument in arguments:
            if argument.name is None:
                if self.kinds.holds_tensors(argument.value, names):
                    positional += flat(self.elaborator.evaluate(argument.value, names, outside))
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
                self._input(parameter, given_inputs[parameter.name], bound, define, place, span)
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
                + (f" = {brief(parameter.default.span)}`" if parameter.default is not None else "`"),
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

    def _input(
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


def _has_tensors(value: ListValue) -> bool:
    return value.guards is not None or any(isinstance(item, Tensor) for item in flat(value, lists=True))


def _has_others(value: ListValue) -> bool:
    return any(not isinstance(item, Tensor) for item in flat(value, lists=True))


def _differ(a: Any, b: Any) -> bool:
    return bool(a != b)
