"""Statements: what a body assigns, loops over, requires and returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasdsl.diagnostics import Diagnostic, Note, Span
from nasdsl.language import syntax
from nasdsl.language.assigned import Assigned
from nasdsl.language.place import Place
from nasdsl.language.stop import Stop, brief, count, fail, with_article
from nasdsl.language.values import (
    ListValue,
    Names,
    Poison,
    SharedOperation,
    Template,
    Tensor,
    Tuple,
    Value,
    is_rational,
    loop_label,
)
from nasdsl.space.diagram import Diagram

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator


class Statements:
    """Runs bodies while one space is elaborated: the space's own, and those of its definitions."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self._assigned: dict[int, Assigned] = {}

    def assigned(self, statements: Sequence[syntax.Statement]) -> Assigned:
        """What a body assigns, looked up once however often it is walked."""
        found = self._assigned.get(id(statements))
        if found is None:
            found = self._assigned[id(statements)] = Assigned(statements)
        return found

    def run_body(
        self, statements: Sequence[syntax.Statement], names: Names, place: Place, span: Span
    ) -> Value | None:
        """Runs a body; its value is what its last statement returns, None where that failed."""
        names.later = self.assigned(statements).names
        if not statements or not isinstance(statements[-1], syntax.Return):
            self.elaborator.wrongs.report(_no_return(statements, span), place.body)
            self._statements(statements, names, place)
            return None
        last = statements[-1]
        self._statements(statements[:-1], names, place)
        result: list[Value] = []

        def finish() -> None:
            values = [self.elaborator.evaluate(value, names, place) for value in last.values]
            if len(values) > 1:
                for value, e in zip(values, last.values, strict=True):
                    if isinstance(value, Tuple):
                        fail(
                            "N206",
                            f"`return` lists tensors, and this is {self.elaborator.describe(value)}",
                            e.span,
                        )
            result.append(values[0] if len(values) == 1 else Tuple(tuple(values)))

        self.elaborator.wrongs.attempt(finish, place.body)
        return result[0] if result else None

    def _statements(self, statements: Sequence[syntax.Statement], names: Names, place: Place) -> None:
        for statement in statements:
            try:
                self._statement(statement, names, place)
            except Stop as stop:
                if stop.for_good:
                    raise
                self.elaborator.wrongs.report(stop, place.body)
                for target in Assigned([statement]).names:
                    names[target] = Poison()

    def _statement(self, statement: syntax.Statement, names: Names, place: Place) -> None:
        match statement:
            case syntax.Assign():
                self._assign(statement, names, place)
            case syntax.Shared():
                self._share(statement, names, place)
            case syntax.For():
                self._for(statement, names, place)
            case syntax.If():
                taken = self._static_condition(statement.condition, names, place)
                self._statements(statement.then if taken else statement.otherwise, names, place)
            case syntax.Require():
                self.elaborator.requirements.add(statement, names, place)
            case syntax.Return():
                fail(
                    "N206",
                    "`return` is the last statement of a body",
                    statement.span,
                    help="use an `if` expression: `return if c then a else b`",
                )
            case _:
                fail("N206", "this can't stand inside a body", statement.span)

    def _for(self, statement: syntax.For, names: Names, place: Place) -> None:
        before = {target.name: names.own.get(target.name) for target in statement.targets}
        value = self.elaborator.evaluate(statement.iterable, names, place.bare())
        try:
            for position, item in enumerate(self._elements(value, statement.iterable)):
                values = self.elaborator.lists.bind_targets(
                    statement.targets, item, position, names, statement.iterable
                )
                labels = tuple(loop_label(v, position) for v in values)
                turn = place.but(loops=(*place.loops, *labels)).turn("turn", statement.span.start, position)
                self._statements(statement.body, names, turn)
        finally:
            for name, old in before.items():
                names.drop(name, old)

    def _elements(self, value: Value, e: syntax.Expression) -> Sequence[Value]:
        """What a loop goes over."""
        if isinstance(value, Poison):
            raise Stop(None)
        if not isinstance(value, ListValue):
            fail(
                "N201",
                f"a loop goes over a list, and this is {self.elaborator.describe(value)}",
                e.span,
                help="`a..b` is the list of whole numbers from a to b" if is_rational(value) else None,
            )
        if value.guards is not None:
            fail(
                "N405",
                "a list that was chosen can't be looped over: how long it is depends on the architecture",
                e.span,
                label="chosen",
                help="map it with a comprehension, `[f(t) for t in list]`, or reduce it with `sum` or `mean`",
            )
        return value.items

    def _static_condition(self, condition: syntax.Expression, names: Names, place: Place) -> bool:
        value = self.elaborator.truth(condition, names, place.bare())
        if isinstance(value, Diagram):
            fail(
                "N208",
                "the condition of an `if` statement can't rest on a choice",
                condition.span,
                label="depends on the architecture",
                help="use the expression, `y = if c then a else b`: then both sides are in the space",
            )
        return value

    def _share(self, statement: syntax.Shared, names: Names, place: Place) -> None:
        kind = self.elaborator.kinds.of(statement.value, names)
        if kind == "poison":
            raise Stop(None)
        if kind != "operation":
            fail(
                "N201",
                f"`shared {statement.name}` names an operation whose weights are shared",
                statement.value.span,
                label=with_article(kind),
                help=f"write `shared {statement.name} = linear(…)`, without a tensor in front",
            )
        at = place.but(target=self._target_name(statement.name, False, None, place), slot="")
        shared = SharedOperation(statement.name, Template(statement.value, names.snapshot()), at, statement)
        if place.shared is not None:
            # Shared weights within shared weights: the second use of the outer ones finds the inner ones made.
            key = place.shared.key("shared", place.trail, statement.span.start)
            earlier = place.shared.made.setdefault(key, shared)
            assert isinstance(earlier, SharedOperation)
            shared.made = earlier.made
        names[statement.name] = shared

    def _assign(self, statement: syntax.Assign, names: Names, place: Place) -> None:
        targets, expressions = statement.targets, statement.values
        # A tuple unpacked into several names keeps the names of its uses.
        alone = len(expressions) == len(targets)
        if not alone and len(expressions) != 1:
            fail(
                "N201",
                f"{count(len(targets), 'name')}, but {count(len(expressions), 'value')}",
                statement.span,
                notes=(Note(expressions[0].span.to(expressions[-1].span), count(len(expressions), "value")),),
            )
        values: list[Value] = []
        indices = [
            None if t.index is None else self.elaborator.lists.index(t.index, names, place) for t in targets
        ]
        for i, e in enumerate(expressions):
            target = targets[i]
            kind = self.elaborator.kinds.of(e, names)
            if kind == "poison":
                raise Stop(None)
            if kind == "operation":
                fail(
                    "N201",
                    "`=` names tensors, numbers and lists, not operations",
                    e.span,
                    label="an operation",
                    help=f"`op {target.name} = {brief(e.span)}` outside the body makes its own choices and weights at every "
                    f"use,\n`shared {target.name} = {brief(e.span)}` has one set of weights for all its uses",
                )
            name = (
                self._target_name(target.name, target.index is not None, indices[i], place) if alone else None
            )
            values.append(self.elaborator.evaluate(e, names, place.but(target=name, slot="")))
        if not alone:
            (value,) = values
            if not isinstance(value, (Tuple, ListValue)) or _unpacked_length(value) != len(targets):
                fail(
                    "N201",
                    f"{count(len(targets), 'name')} can't take {self.elaborator.describe(value)}",
                    expressions[0].span,
                    notes=(Note(targets[0].span.to(targets[-1].span), f"{len(targets)} names"),),
                )
            values = list(value.items)
        for target, index, value in zip(targets, indices, values, strict=True):
            if isinstance(value, Tuple):
                fail(
                    "N201",
                    f"`{target.name}` can't stand for {self.elaborator.describe(value)}",
                    statement.span,
                    help=f"unpack them, `a, b = …`, or make a list: `{target.name} = [a, b]`",
                )
            if index is None:
                names[target.name] = value
                self._name_node(value, target.name)
            else:
                self._assign_item(target, index, value, names)

    def _assign_item(self, target: syntax.Target, index: int, value: Value, names: Names) -> None:
        current = names.own.get(target.name)
        if isinstance(current, Poison):
            raise Stop(None)
        if not isinstance(current, ListValue):
            what = "has no value yet" if current is None else f"is {self.elaborator.describe(current)}"
            fail(
                "N201",
                f"`{target.name}` {what}, and `{target.name}[{index}] = …` needs a list",
                target.span,
                help=f"start with a list before: `{target.name} = []`",
            )
        if current.guards is not None:
            fail(
                "N405",
                "a list that was chosen can't be indexed: what stands where depends on the architecture",
                target.span,
            )
        n = len(current.items)
        if not 0 <= index <= n:
            fail(
                "N207",
                f"`{target.name}` has {count(n, 'element')}, so `{target.name}[{index}]` can't be assigned",
                target.span,
                help=f"the next free index is {n}" if index > n else "indices count from 0",
            )
        names[target.name] = ListValue((*current.items[:index], value, *current.items[index + 1 :]))
        self._name_node(value, f"{target.name}{index}")

    def _name_node(self, value: Value, name: str) -> None:
        if isinstance(value, Tensor) and self.builder.nodes[value.node].name is None:
            self.builder.nodes[value.node].name = name

    @staticmethod
    def _target_name(name: str, indexed: bool, index: int | None, place: Place) -> str | None:
        """What an assignment calls the uses in it; None where several statements assign its target."""
        if (name, indexed) not in place.body.unique:
            return None
        if index is not None:
            return f"{name}[{index}]"
        return name + "".join(f"[{value}]" for value in place.loops)


def _unpacked_length(value: Tuple | ListValue) -> int:
    # A list that was chosen has no length to unpack by.
    return -1 if isinstance(value, ListValue) and value.guards is not None else len(value.items)


def _no_return(statements: Sequence[syntax.Statement], span: Span) -> Stop:
    where = statements[-1].span if statements else span
    return Stop(
        Diagnostic("N206", "a body ends with `return`", where, help="add `return …` as the last statement")
    )
