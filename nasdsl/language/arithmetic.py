"""Arithmetic, comparisons and logic, on tensors, lists and numbers that may rest on choices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import Span
from nasdsl.language import syntax
from nasdsl.language.place import Place
from nasdsl.language.stop import fail
from nasdsl.language.values import (
    OPERATIONS,
    ListValue,
    Measure,
    Names,
    Template,
    Tensor,
    Tuple,
    Value,
    kind_of,
)
from nasdsl.space.diagram import Diagram
from nasdsl.space.size import Size

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator


class Arithmetic:
    """Operators. What an operator can't take raises Stop with its place."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.table = elaborator.builder.table

    def logical(self, e: syntax.Logical, names: Names, place: Place) -> Value:
        """``and`` and ``or``: what comes after the term that settles it is not looked at."""
        # A long `and` leans to the left: walked in a loop.
        terms = [e.right]
        left: syntax.Expression = e.left
        while isinstance(left, syntax.Logical) and left.operator == e.operator:
            terms.append(left.right)
            left = left.left
        value: Any = self.elaborator.truth(left, names, place)
        combine = self.table.either if e.operator == "or" else self.table.both
        for term in reversed(terms):
            if isinstance(value, bool) and value is (e.operator == "or"):
                return value
            right = self.elaborator.truth(term, names, place)
            value = self.builder.simplify(combine(self.table.lift(value), self.table.lift(right)))
        result: Value = value
        return result

    def compare(self, e: syntax.Compare, names: Names, place: Place) -> Value:
        """``==``, ``<``, ``in`` and so on, of numbers; ``==`` and ``in`` of lists and texts as well."""
        left = self.elaborator.evaluate(e.left, names, place)
        right = self.elaborator.evaluate(e.right, names, place)
        for value, side in ((left, e.left), (right, e.right)):
            if isinstance(value, Measure):
                fail(
                    "N503",
                    f"`{value.name}` is compared with a number that is known, and stands alone on its side",
                    e.span,
                    help=f"write `require {value.name} <= 5M`; several conditions are joined by `and`",
                )
            if isinstance(value, (Tensor, Tuple, *OPERATIONS)):
                fail("N201", f"{self.elaborator.describe(value)} can't be compared", side.span)
            if isinstance(value, ListValue) and value.guards is not None:
                fail(
                    "N405",
                    "a list that was chosen can't be compared",
                    side.span,
                    help="`len(list)` is a number",
                )
        if e.operator == "in":
            if not isinstance(right, ListValue):
                fail(
                    "N201",
                    f"`in` looks into a list, and this is {self.elaborator.describe(right)}",
                    e.right.span,
                )
            found: Value = False
            for item in right.items:
                equal = self._equal(left, item, place)
                found = self.builder.simplify(
                    self.table.either(self.table.lift(found), self.table.lift(equal))
                )
                if found is True:
                    break
            return found
        if e.operator in ("==", "!="):
            kinds = {"list" if isinstance(v, ListValue) else kind_of(v) for v in (left, right)}
            if len(kinds) > 1:
                fail(
                    "N201",
                    f"{self.elaborator.describe(left)} and {self.elaborator.describe(right)} are never equal",
                    e.span,
                )
            same = self._equal(left, right, place)
            return same if e.operator == "==" else self.settled("not", place, same)
        for value, side in ((left, e.left), (right, e.right)):
            if kind_of(value) != "number":
                fail(
                    "N201",
                    f"`{e.operator}` compares numbers, and this is {self.elaborator.describe(value)}",
                    side.span,
                )
        return self.settled(e.operator, place, left, right)

    def _equal(self, left: Value, right: Value, place: Place) -> Any:
        if isinstance(left, ListValue) and isinstance(right, ListValue):
            if len(left.items) != len(right.items):
                return False
            result: Any = True
            for a, b in zip(left.items, right.items, strict=True):
                same = self.table.lift(self._equal(a, b, place))
                result = self.builder.simplify(self.table.both(self.table.lift(result), same))
            return result
        if kind_of(left) == kind_of(right) == "number":
            return self.settled("==", place, left, right)
        if isinstance(left, Diagram) or isinstance(right, Diagram):
            return kind_of(left) == kind_of(right) and self.settled("==", place, left, right)
        return type(left) is type(right) and left == right

    def settled(self, name: str, place: Place, *operands: Any) -> Any:
        """Computes on numbers that may rest on choices; what is the same in every architecture is no longer chosen."""
        return self.builder.settled(self.builder.compute(name, *operands), place.guard)

    def compute(self, name: str, span: Span, place: Place, *operands: Value) -> Any:
        """Arithmetic on numbers that may rest on choices, failures where they are met."""
        for operand in operands:
            self._check_number(operand, span, name)
        return self.settled(name, place, *operands)

    def binary(self, e: syntax.Binary, names: Names, place: Place) -> Value:
        """``+``, ``-``, ``*`` and so on, of numbers, tensors and lists."""
        # Operators of one strength lean to the left: a sum of tensors is one node, however many terms it has.
        terms: list[tuple[str, syntax.Expression, Span]] = []
        left: syntax.Expression = e
        while isinstance(left, syntax.Binary):
            terms.append((left.operator, left.right, left.span))
            left = left.left
        terms.reverse()
        value = self.elaborator.evaluate(left, names, place)
        self._check_operand(value, left, terms[0][0])
        pending: list[Value] = []
        for i, (operator, term, span) in enumerate(terms):
            right = self.elaborator.evaluate(term, names, place)
            self._check_operand(right, term, operator)
            if operator == "+" and isinstance(value, Tensor) and isinstance(right, Tensor):
                pending = pending or [value]
                pending.append(right)
                if i + 1 < len(terms) and terms[i + 1][0] == "+":
                    continue
                value = self.elaborator.forms.reduce("sum", ListValue(tuple(pending)), {}, place, span)
            elif pending:
                # A sum of tensors, and then a number.
                value = self.elaborator.forms.reduce(
                    "sum", ListValue(tuple(pending)), {}, place, terms[i - 1][2]
                )
                value = self._combine(operator, value, right, span, place)
            else:
                value = self._combine(operator, value, right, span, place)
            pending = []
        return value

    def negate(self, e: syntax.Negate, names: Names, place: Place) -> Value:
        """``-a``."""
        value = self.elaborator.evaluate(e.operand, names, place)
        self._check_operand(value, e.operand, "-")
        if isinstance(value, Tensor):
            return self.elaborator.primitives.apply("scale", [value.node], {"number": -1}, place, e.span)
        result: Value = self.compute("negate", e.span, place, value)
        return result

    def _combine(self, operator: str, a: Value, b: Value, span: Span, place: Place) -> Value:
        if isinstance(a, ListValue) or isinstance(b, ListValue):
            return self._join(operator, a, b, span)
        tensors = [value for value in (a, b) if isinstance(value, Tensor)]
        if tensors and operator not in ("+", "-", "*", "/"):
            fail("N210", f"`{operator}` doesn't work on tensors; `+`, `-`, `*` and `/` do", span)
        if len(tensors) == 2:
            if operator == "+":
                return self.elaborator.forms.reduce("sum", ListValue((a, b)), {}, place, span)
            name = {"-": "subtract", "*": "multiply", "/": "divide"}[operator]
            return self.elaborator.primitives.apply(name, [t.node for t in tensors], {}, place, span)
        if len(tensors) == 1:
            (tensor,) = tensors
            number = b if tensor is a else a
            self._check_number(number, span, operator)
            if isinstance(number, Size):
                fail(
                    "N208",
                    f"the free size `{number}` isn't known before the network runs, so a tensor can't be combined with it",
                    span,
                    help="give the input a fixed size",
                )
            if operator == "*" or (operator == "/" and tensor is a):
                factor = number if operator == "*" else self.compute("/", span, place, 1, number)
                return self.elaborator.primitives.apply(
                    "scale", [tensor.node], {"number": factor}, place, span
                )
            settings = {"operator": operator, "number": number, "side": "right" if tensor is a else "left"}
            return self.elaborator.primitives.apply("with_number", [tensor.node], settings, place, span)
        result: Value = self.compute(operator, span, place, a, b)
        return result

    def _join(self, operator: str, a: Value, b: Value, span: Span) -> ListValue:
        if operator != "+" or not isinstance(a, ListValue) or not isinstance(b, ListValue):
            other = b if isinstance(a, ListValue) else a
            if isinstance(other, ListValue):
                fail("N201", f"`{operator}` doesn't work on lists; `+` joins them", span)
            fail(
                "N201",
                f"`{operator}` can't combine a list with {self.elaborator.describe(other)}",
                span,
                help="put it into a list, `list + [x]`" if operator == "+" else None,
            )
        if len(a.items) + len(b.items) > self.elaborator.limits.length:
            fail(
                "N604",
                f"a list of {len(a.items) + len(b.items)} elements is longer than {self.elaborator.limits.length}",
                span,
            )
        guards = None
        if a.guards is not None or b.guards is not None:
            true = self.table.true
            guards = (a.guards or (true,) * len(a.items)) + (b.guards or (true,) * len(b.items))
        return ListValue(a.items + b.items, guards)

    def _check_operand(self, value: Value, e: syntax.Expression, operator: str) -> None:
        if isinstance(value, (Template, Tuple, bool, str, Measure)) or kind_of(value) == "boolean":
            fail(
                "N210",
                f"`{operator}` takes tensors and numbers, and this is {self.elaborator.describe(value)}",
                e.span,
                label=self.elaborator.describe(value),
                help=f"apply it to a tensor first: `f(x) {operator} g(x)`"
                if isinstance(value, Template)
                else None,
            )

    def _check_number(self, value: Value, span: Span, what: str) -> None:
        if kind_of(value) != "number" or isinstance(value, Measure):
            fail("N201", f"`{what}` takes numbers, and this is {self.elaborator.describe(value)}", span)
