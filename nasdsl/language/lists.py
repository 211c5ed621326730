"""Lists: comprehensions and the turns of loops, ranges, what stands at an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nasdsl.diagnostics import Note, Span
from nasdsl.language import syntax
from nasdsl.language.place import Place
from nasdsl.language.stop import count, fail
from nasdsl.language.values import (
    ListValue,
    Names,
    Template,
    Tensor,
    Tuple,
    Value,
    is_rational,
)
from nasdsl.space.diagram import Diagram

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator


class Lists:
    """Makes and reads lists while one space is elaborated; ``turns_taken`` counts the turns of all loops so far."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.table = elaborator.builder.table
        self.turns_taken = 0

    def comprehension(self, e: syntax.Comprehension, names: Names, place: Place) -> ListValue:
        """``[f(t) for t in list]``; from a list that was chosen comes one that is chosen alike."""
        items: list[Value] = []
        guards: list[Diagram] = []
        for i, (inner, guard, _) in enumerate(self.turns(e.clauses, names, place)):
            here = place.under(self.table, guard).turn("turn", e.span.start, i)
            if self.elaborator.kinds.of(e.element, inner) == "operation":
                items.append(Template(e.element, inner.snapshot()))
            else:
                items.append(self.elaborator.evaluate(e.element, inner, here))
            guards.append(guard)
        static = all(guard is self.table.true for guard in guards)
        return ListValue(tuple(items), None if static else tuple(guards))

    def turns(
        self, clauses: Sequence[syntax.Clause], names: Names, place: Place
    ) -> Iterator[tuple[Names, Diagram, tuple[Value, ...]]]:
        """The turns of a comprehension: names (take a snapshot to keep them), where its element is in the list, and
        the values of its variables."""
        yield from self._turns_of(clauses, names.copy(), place.bare(), self.table.true, ())

    def _turns_of(
        self,
        clauses: Sequence[syntax.Clause],
        inner: Names,
        place: Place,
        guard: Diagram,
        bound: tuple[Value, ...],
    ) -> Iterator[tuple[Names, Diagram, tuple[Value, ...]]]:
        if not clauses:
            yield inner, guard, bound
            return
        clause, *rest = clauses
        value = self.elaborator.evaluate(clause.iterable, inner, place)
        if not isinstance(value, ListValue):
            fail(
                "N201",
                f"a comprehension goes over a list, and this is {self.elaborator.describe(value)}",
                clause.iterable.span,
                help="`a..b` is the list of whole numbers from a to b" if is_rational(value) else None,
            )
        for position, item in enumerate(value.items):
            values = self.bind_targets(clause.targets, item, position, inner, clause.iterable)
            if clause.condition is not None and not self._filter(clause.condition, inner, place):
                continue
            own = guard if value.guards is None else self.table.both(guard, value.guards[position])
            yield from self._turns_of(rest, inner, place, own, (*bound, *values))

    def _filter(self, condition: syntax.Expression, names: Names, place: Place) -> bool:
        value = self.elaborator.truth(condition, names, place)
        if isinstance(value, Diagram):
            fail(
                "N208",
                "the filter of a comprehension can't rest on a choice",
                condition.span,
                label="depends on the architecture",
                help="`choose any of {…}` chooses elements; `if c then f(x) else zero(x)` takes one away",
            )
        return value

    def bind_targets(
        self,
        targets: Sequence[syntax.Target],
        item: Value,
        position: int,
        names: Names,
        iterable: syntax.Expression,
    ) -> Sequence[Value]:
        """Gives loop variables their values of one turn."""
        self._count_turn(iterable.span)
        if len(targets) == 1:
            items: Sequence[Value] = (item,)
        elif isinstance(item, (Tuple, ListValue)) and len(item.items) == len(targets):
            items = item.items
        else:
            fail(
                "N201",
                f"{count(len(targets), 'loop variable')} can't take {self.elaborator.describe(item)}",
                iterable.span,
                notes=(Note(targets[0].span.to(targets[-1].span), f"{len(targets)} names"),),
            )
        for target, value in zip(targets, items, strict=True):
            if target.index is not None:
                fail("N201", "a loop variable is a plain name", target.span)
            names[target.name] = value
        self.elaborator.observer.turn_begins(iterable, position, items, names)
        return items

    def _count_turn(self, span: Span) -> None:
        """Loops in loops are bounded together."""
        self.turns_taken += 1
        if self.turns_taken > self.elaborator.limits.length:
            fail(
                "N604",
                f"the loops of this space make more than {self.elaborator.limits.length} turns",
                span,
                help=f"make them shorter, or raise the bound: `--limit length={2 * self.elaborator.limits.length}`",
                for_good=True,
            )

    def range_of(self, e: syntax.Range, names: Names, place: Place) -> ListValue:
        """``a..b``, its ends included."""
        low = self.static_whole(e.low, names, place, "an end of a range")
        high = self.static_whole(e.high, names, place, "an end of a range")
        if high - low + 1 > self.elaborator.limits.length:
            fail(
                "N604",
                f"a list of {high - low + 1} numbers is longer than {self.elaborator.limits.length}",
                e.span,
                help=f"raise the bound if you mean it: `--limit length={high - low + 1}`",
            )
        return ListValue(tuple(range(low, high + 1)))

    def indexed(self, e: syntax.Index | syntax.Rest, names: Names, place: Place) -> Value:
        """An element, ``list[i]``, or a part of a list: ``list[a..b]``, ``list[a..]``."""
        value = self.elaborator.evaluate(e.value, names, place)
        if not isinstance(value, ListValue):
            fail(
                "N201",
                f"only a list is indexed, and this is {self.elaborator.describe(value)}",
                e.value.span,
                help="its sizes are named by the pattern of an input: `op f(x: [C, H, W])`"
                if isinstance(value, Tensor)
                else None,
            )
        if value.guards is not None:
            fail(
                "N405",
                "a list that was chosen can't be indexed: what stands where depends on the architecture",
                e.span,
                help="reduce it with `sum` or `mean`, or `choose` one tensor",
            )
        size = len(value.items)
        if isinstance(e, syntax.Rest):
            low, high = self.index(e.start, names, place), size - 1
        elif isinstance(e.index, syntax.Range):
            low, high = self.index(e.index.low, names, place), self.index(e.index.high, names, place)
        else:
            index = self.index(e.index, names, place)
            if not 0 <= index < size:
                fail(
                    "N207",
                    f"index {index} is out of range: the list has {count(size, 'element')}",
                    e.index.span,
                    help=f"the last one is [{size - 1}]" if size else None,
                )
            return value.items[index]
        if low < 0 or high >= size or low > size:
            fail(
                "N207",
                f"the slice {low}..{high} is out of range: the list has {count(size, 'element')}",
                e.span,
                help=f"the last one is [{size - 1}]; `[{max(low, 0)}..]` takes the rest"
                if size > low
                else None,
            )
        return ListValue(value.items[low : high + 1])

    def index(self, e: syntax.Expression, names: Names, place: Place) -> int:
        return self.static_whole(e, names, place, "an index")

    def static_whole(self, e: syntax.Expression, names: Names, place: Place, what: str) -> int:
        """A whole number that is the same in every architecture; ``what`` it is, for messages."""
        value = self.elaborator.evaluate(e, names, place.bare())
        if isinstance(value, Diagram):
            fail(
                "N208",
                f"{what} can't rest on a choice",
                e.span,
                label="depends on the architecture",
                help="`repeat(f, 1 | 2)` chooses a depth, `choose` chooses tensors",
            )
        return self.whole(value, e.span, what)

    def whole(self, value: Value, span: Span, what: str, least: int | None = None) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            fail("N205", f"{what} is a whole number, and this is {self.elaborator.describe(value)}", span)
        if least is not None and value < least:
            fail("N205", f"{what} is at least {least}, and this is {value}", span)
        return value
