"""What an expression will be, told before anything is made.

An operation expression is not evaluated but kept as a template, and whether an argument fills an input or a setting
depends on whether it is a tensor. So kinds are read off the syntax and the values of names; nothing here makes a node
or a choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from nasdsl.diagnostics import Note
from nasdsl.language import syntax
from nasdsl.language.stop import Stop, fail, with_article
from nasdsl.language.values import (
    Builtin,
    Definition,
    Kind,
    ListValue,
    Names,
    Poison,
    Primitive,
    Tensor,
    Tuple,
    Value,
    kind_of,
)

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator

# Forms that give a number or a list, and those that are operations until they are given a tensor.
NUMERIC = ("len", "round", "min", "count")
STRUCTURAL = ("repeat", "chain", "scan", "unembed")
# Expressions in which no tensor can stand.
_NEVER_TENSORS = (
    syntax.Number,
    syntax.String,
    syntax.Boolean,
    syntax.Range,
    syntax.Compare,
    syntax.Not,
    syntax.Logical,
)


class Kinds:
    """Reads kinds off expressions. Raises Stop where an expression can't be of any."""

    def __init__(self, elaborator: Elaborator) -> None:
        self._elaborator = elaborator

    def of(self, e: syntax.Expression, names: Names) -> Kind:
        match e:
            case syntax.Number():
                return "number"
            case syntax.Name():
                return kind_of(self._elaborator.find(e, names))
            case syntax.Call():
                return self._of_call(e, names)
            case syntax.Pipe():
                return self._of_pipe(e, names)
            case syntax.Binary():
                return self._of_binary(e, names)
            case syntax.String():
                return "string"
            case syntax.Boolean() | syntax.Compare() | syntax.Not() | syntax.Logical():
                return "boolean"
            case syntax.List() | syntax.Range() | syntax.Comprehension():
                return "list"
            case syntax.Rest():
                return "poison" if self.of(e.value, names) == "poison" else "list"
            case syntax.Tuple():
                return "tensor"
            case syntax.Negate():
                return self._of_arithmetic("-", [e.operand], names)
            case syntax.IfExpression():
                return self._of_if(e, names)
            case syntax.Alternatives():
                return self._common(e.items, names)
            case syntax.Choose():
                return self._of_choose(e, names)
            case syntax.Index():
                return self._of_index(e, names)
        raise AssertionError(e)

    # --- forms of expressions ------------------------------------------------------------------

    def _of_call(self, e: syntax.Call, names: Names) -> Kind:
        callee = self._elaborator.callee(e.function, names)
        if isinstance(callee, Poison):
            return "poison"
        given = [self._given(a.value, names) for a in e.arguments if a.name is None]
        if "poison" in given:
            return "poison"
        if not isinstance(callee, Builtin):
            inputs = input_names(callee)
            uses = "tensor" in given or any(a.name in inputs for a in e.arguments)
            return "tensor" if uses else "operation"
        if callee.name in NUMERIC:
            return "number"
        if callee.name == "unused":
            return "list"
        if callee.name in STRUCTURAL:
            return "tensor" if "tensor" in given else "operation"
        if not given:
            return "operation"  # `(a, b) -> concat(axis = 0)`
        return "number" if callee.name == "max" and given[0] != "tensor" else "tensor"

    def _of_pipe(self, e: syntax.Pipe, names: Names) -> Kind:
        first = self.of(e.stages[0], names)
        if first in ("operation", "poison"):
            return first
        last = e.stages[-1]
        form = last.function if isinstance(last, syntax.Call) else last
        if isinstance(form, syntax.Name):
            value = self._elaborator.find(form, names, calling=True)
            if isinstance(value, Builtin) and value.name in NUMERIC:
                return "number"
            if isinstance(value, Builtin) and value.name == "unused":
                return "list"
        return "tensor"

    def _of_binary(self, e: syntax.Binary, names: Names) -> Kind:
        # A long sum leans to the left: walked in a loop.
        operands = [e.right]
        left: syntax.Expression = e.left
        while isinstance(left, syntax.Binary):
            operands.append(left.right)
            left = left.left
        operands.append(left)
        return self._of_arithmetic(e.operator, operands[::-1], names)

    def _of_arithmetic(self, operator: str, operands: Sequence[syntax.Expression], names: Names) -> Kind:
        kinds = [self.of(operand, names) for operand in operands]
        for kind, operand in zip(kinds, operands, strict=True):
            if kind == "operation":
                fail(
                    "N210",
                    f"`{operator}` takes tensors and numbers, not operations",
                    operand.span,
                    label="an operation",
                    help="apply it to a tensor first: "
                    + (f"`f(x) {operator} g(x)`" if len(operands) > 1 else f"`{operator}f(x)`"),
                )
        for kind in ("poison", "list", "tensor"):
            if kind in kinds:
                return kind
        return kinds[0]

    def _of_if(self, e: syntax.IfExpression, names: Names) -> Kind:
        condition = self.peek(e.condition, names)
        if isinstance(condition, bool):
            return self.of(e.then if condition else e.otherwise, names)
        kind = self.of(e.then, names)
        return self.of(e.otherwise, names) if kind == "poison" else kind

    def _of_choose(self, e: syntax.Choose, names: Names) -> Kind:
        if e.quantity is not None:
            return "list"
        if not e.clauses:
            return self._common(e.items, names)
        inner = self.first_turn(e.clauses, names)
        if inner is None:
            fail("N401", "a choice of nothing", e.span, help="the list that candidates come from is empty")
        return self._common(e.items, inner)

    def _of_index(self, e: syntax.Index, names: Names) -> Kind:
        if self.of(e.value, names) == "poison":
            return "poison"
        if isinstance(e.index, syntax.Range):
            return "list"
        value = self.peek(e, names)
        if value is None:
            value = self.peek(e.value, names)
            if isinstance(value, ListValue) and value.items:
                value = value.items[0]
        return (
            "tensor"
            if value is None or (isinstance(value, ListValue) and not value.items)
            else kind_of(value)
        )

    def _common(self, items: Sequence[syntax.Alternative], names: Names) -> Kind:
        """The one kind of a choice's candidates."""
        kinds = [self.of(item.value, names) for item in items]
        if "poison" in kinds:
            return "poison"
        for kind, item in zip(kinds, items, strict=True):
            if kind in ("list", "string", "boolean"):
                fail(
                    "N204",
                    f"{_plural(kind)} can't be chosen: tensors, operations and numbers can",
                    item.value.span,
                    label=with_article(kind),
                    help="choose between what is made of it" if kind == "list" else None,
                )
        for kind, item in zip(kinds, items, strict=True):
            if kind != kinds[0]:
                fail(
                    "N204",
                    "the candidates of a choice are all tensors, all operations or all numbers",
                    item.value.span,
                    label=with_article(kind),
                    notes=(Note(items[0].value.span, with_article(kinds[0])),),
                    help="`f(x) | x` chooses between tensors, `f | identity` between operations",
                )
        return kinds[0]

    # --- arguments -----------------------------------------------------------------------------

    def holds_tensors(self, e: syntax.Expression, names: Names) -> bool:
        """Whether an argument is a tensor or a list of tensors."""
        return self._given(e, names) == "tensor"

    def _given(self, e: syntax.Expression, names: Names) -> Literal["tensor", "other", "poison"]:
        """What a call is given by an argument."""
        if isinstance(e, _NEVER_TENSORS):
            return "other"
        if isinstance(e, syntax.Name):
            value = self._elaborator.find(e, names)
            if isinstance(value, Poison):
                return "poison"
            return "tensor" if holds_tensors(value) else "other"
        kind = self.of(e, names)
        if kind == "list":
            return "tensor" if self._lists_tensors(e, names) else "other"
        return kind if kind in ("tensor", "poison") else "other"

    def _lists_tensors(self, e: syntax.Expression, names: Names) -> bool:
        match e:
            case syntax.List(items=items):
                return not items or self.holds_tensors(items[0], names)
            case syntax.Comprehension():
                inner = self.first_turn(e.clauses, names)
                return inner is None or self.holds_tensors(e.element, inner)
            case syntax.Binary():
                return self.holds_tensors(e.left, names) or self.holds_tensors(e.right, names)
            case syntax.IfExpression():
                condition = self.peek(e.condition, names)
                return self.holds_tensors(e.otherwise if condition is False else e.then, names)
            case syntax.Choose() | syntax.Call() | syntax.Pipe():
                return True
        value = self.peek(e, names)
        return value is None or holds_tensors(value)

    def first_turn(self, clauses: Sequence[syntax.Clause], names: Names) -> Names | None:
        """Names as a comprehension's first turn binds them; None where it has no turns.

        Where the list is yet to be made, its elements are taken to be tensors.
        """
        inner = names.copy()
        clause, *rest = clauses
        value = self.peek(clause.iterable, inner)
        items: Sequence[Value] = value.items if isinstance(value, ListValue) else (Tensor(-1),)
        for item in items:
            parts = (
                item.items if isinstance(item, (Tuple, ListValue)) and len(clause.targets) > 1 else (item,)
            )
            for i, target in enumerate(clause.targets):
                inner[target.name] = parts[i] if i < len(parts) else 0
            if clause.condition is not None and self.peek(clause.condition, inner) is False:
                continue
            if not rest:
                return inner
            if (found := self.first_turn(rest, inner)) is not None:
                return found
        return None

    def peek(self, e: syntax.Expression, names: Names) -> Value | None:
        """The value of an expression that makes nothing (names, arithmetic on numbers, indices), else None."""
        if not self.makes_nothing(e, names):
            return None
        try:
            return self._elaborator.evaluate(e, names, self._elaborator.nowhere)
        except Stop:
            return None

    def makes_nothing(self, e: syntax.Expression, names: Names, numbers: bool = False) -> bool:
        """Whether evaluating it makes nothing: no node and no choice. With ``numbers``, whether no tensor is in it."""

        def pure(*parts: syntax.Expression, numbers: bool = numbers) -> bool:
            return all(self.makes_nothing(part, names, numbers) for part in parts)

        match e:
            case syntax.Name():
                return not numbers or not holds_tensors(self._elaborator.find(e, names))
            case syntax.Number() | syntax.String() | syntax.Boolean():
                return True
            case syntax.Index():
                return pure(e.value) and pure(e.index, numbers=True)
            case syntax.Rest():
                return pure(e.value) and pure(e.start, numbers=True)
            case syntax.Range():
                return pure(e.low, e.high)
            case syntax.Binary() | syntax.Compare() | syntax.Logical():
                return pure(e.left, e.right, numbers=True)  # Arithmetic on tensors makes nodes.
            case syntax.Negate() | syntax.Not():
                return pure(e.operand, numbers=True)
            case syntax.List() | syntax.Tuple():
                return pure(*e.items)
            case syntax.IfExpression():
                return pure(e.condition, numbers=True) and pure(e.then, e.otherwise)
            case syntax.Call(function=syntax.Name(name=name) as function) if (
                name in NUMERIC and name != "count"
            ):
                found = self._elaborator.find(function, names, calling=True)
                return isinstance(found, Builtin) and pure(
                    *(a.value for a in e.arguments), numbers=name != "len"
                )
        return False


def holds_tensors(value: Value) -> bool:
    """Whether a value is a tensor or a list of them. A list of nothing may be one."""
    if isinstance(value, ListValue):
        return value.guards is not None or not value.items or any(map(holds_tensors, value.items))
    return isinstance(value, (Tensor, Tuple))


def input_names(callee: Value) -> Sequence[str]:
    """What an operation calls its inputs; nothing where it names none."""
    if isinstance(callee, Primitive):
        return callee.operation.inputs
    if isinstance(callee, Definition):
        return [p.name for p in callee.syntax.parameters if is_input(p)]
    return ()


def is_input(parameter: syntax.Parameter) -> bool:
    """A parameter without type and default, or typed with dimensions (rule 4)."""
    if parameter.type is None:
        return parameter.default is None
    return parameter.type.dimensions is not None


def is_operation_parameter(parameter: syntax.Parameter) -> bool:
    return parameter.type is not None and parameter.type.name in ("op", "cell")


def _plural(kind: Kind) -> str:
    return {"boolean": "true and false", "string": "texts"}.get(kind, f"{kind}s")
