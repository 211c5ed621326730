"""``require``: conditions over choices, and limits on measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import Note, did_you_mean
from nasdsl.language import syntax
from nasdsl.language.place import Place
from nasdsl.language.stop import fail
from nasdsl.language.values import Measure, Names, is_rational
from nasdsl.space.space import Limit

if TYPE_CHECKING:
    from nasdsl.diagnostics import Span
    from nasdsl.language.elaborate import Elaborator

MEASURES = ("params", "flops", "memory", "training_memory")
_MIRRORED = {"<=": ">=", ">=": "<=", "<": ">", ">": "<", "==": "==", "!=": "!="}


@dataclass(frozen=True, slots=True)
class _Pending:
    """A condition that counts labels: it is read when every choice has been made."""

    condition: syntax.Expression
    names: Names
    place: Place


class Requirements:
    """Reads conditions where they stand, so that shapes are proved under them; those that count labels at the end."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.limits: list[Limit] = []
        self.reading = False
        self._pending: list[_Pending] = []
        self._spans: list[Span] = []
        self._counting = False

    def add(self, statement: syntax.Require, names: Names, place: Place) -> None:
        for condition in _conjuncts(statement.condition):
            if _counts_labels(condition):
                self._pending.append(_Pending(condition, names.snapshot(), place))
            else:
                self._read(condition, names, place)

    def finish(self) -> None:
        """All choices are made: counts their labels."""
        self._counting = True
        for pending in self._pending:
            self.elaborator.wrongs.attempt(
                lambda p=pending: self._read(p.condition, p.names, p.place),  # type: ignore[misc]
                pending.place.body,
            )

    def _read(self, e: syntax.Expression, names: Names, place: Place) -> None:
        self.reading = True
        try:
            if isinstance(e, syntax.Compare) and e.operator in _MIRRORED:
                if self._measure(e, e.left, e.right, e.operator, names, place):
                    return
                if self._measure(e, e.right, e.left, _MIRRORED[e.operator], names, place):
                    return
            holds = self.elaborator.truth(e, names, place)
        finally:
            self.reading = False
        table = self.elaborator.table
        condition = table.either(table.negate(place.guard), table.lift(holds))
        if condition is table.true:
            return
        if not self.elaborator.proof.possible(condition):
            fail(
                "N501",
                "no architecture can meet this",
                e.span,
                label="false for every genotype",
                notes=tuple(Note(span, "together with this") for span in self._spans[-1:])
                if holds is not False
                else (),
            )
        self._spans.append(e.span)
        self.elaborator.proof.require(condition)

    def _measure(
        self,
        e: syntax.Compare,
        side: syntax.Expression,
        other: syntax.Expression,
        operator: str,
        names: Names,
        place: Place,
    ) -> bool:
        """``params <= 5M``, if that is what it is."""
        if not isinstance(side, syntax.Name) or side.name not in MEASURES:
            return False
        measure = self.elaborator.find(side, names)
        if not isinstance(measure, Measure):
            return False
        bound: Any = self.elaborator.evaluate(other, names, place)
        if not is_rational(bound):
            fail(
                "N503",
                f"`{side.name}` is compared with a number that is known, and this is {self.elaborator.describe(bound)}",
                other.span,
                help=f"write `require {side.name} <= 5M`",
            )
        self.limits.append(Limit(side.name, operator, bound, place.guard, e.span))
        return True

    def count(self, e: syntax.Expression, names: Names, place: Place) -> Any:
        """``count("label")``: how many of a genotype's choices took it."""
        if not self._counting:
            fail(
                "N503", "`count` stands in `require` alone", e.span, help='write `require count("none") <= 3`'
            )
        word = self.elaborator.evaluate(e, names, place)
        if not isinstance(word, str):
            fail(
                "N503",
                f"`count` takes a label in quotes, and this is {self.elaborator.describe(word)}",
                e.span,
                help='write `require count("none") <= 3`',
            )
        builder = self.elaborator.builder
        known = sorted({label for record in builder.choices.values() for label in record.labels})
        if word not in known:
            fail(
                "N107",
                f"no choice has a candidate `{word}`",
                e.span,
                help=did_you_mean(word, known)
                or (f"the labels are {', '.join(known[:8])}" if known else None),
            )
        total: Any = 0
        for record in builder.choices.values():
            if word in record.labels:
                takes = builder.takes(record, record.labels.index(word))
                here = builder.table.both(record.guard, takes)
                total = builder.compute("+", total, builder.where(here, 1, 0))
        return total

    def say_unsatisfiable(self) -> None:
        """Every condition can be met, but not all of them at once."""
        *others, last = dict.fromkeys(self._spans)
        self.elaborator.findings.error(
            "N501",
            "no architecture meets every `require`",
            last,
            notes=tuple(Note(span, "together with this") for span in others[-3:]),
            help="loosen one of them",
        )


def _conjuncts(e: syntax.Expression) -> Iterator[syntax.Expression]:
    if isinstance(e, syntax.Logical) and e.operator == "and":
        yield from _conjuncts(e.left)
        yield from _conjuncts(e.right)
    else:
        yield e


def _counts_labels(e: syntax.Expression) -> bool:
    """Whether ``count`` is called in it."""
    match e:
        case syntax.Call(function=syntax.Name(name="count")):
            return True
        case syntax.Call():
            return any(_counts_labels(a.value) for a in e.arguments)
        case syntax.Binary() | syntax.Compare() | syntax.Logical():
            return _counts_labels(e.left) or _counts_labels(e.right)
        case syntax.Negate() | syntax.Not():
            return _counts_labels(e.operand)
        case syntax.IfExpression():
            return any(map(_counts_labels, (e.condition, e.then, e.otherwise)))
        case syntax.List() | syntax.Tuple():
            return any(map(_counts_labels, e.items))
    return False
