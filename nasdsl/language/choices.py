"""Choices: ``a | b``, ``choose {…}``, ``choose k of {…}``, and the one value that comes of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from nasdsl.diagnostics import Note
from nasdsl.language import syntax
from nasdsl.language.builder import ChoiceRecord, Wrong, type_text
from nasdsl.language.format import format_expression
from nasdsl.language.naming import Step
from nasdsl.language.place import Place
from nasdsl.language.stop import Stop, fail, listed, with_article
from nasdsl.language.values import ListValue, Names, Template, Tensor, Tuple, Value, kind_of, label_of
from nasdsl.space.diagram import Diagram

if TYPE_CHECKING:
    from nasdsl.diagnostics import Span
    from nasdsl.language.elaborate import Elaborator


class Candidate(NamedTuple):
    """One way of a choice: its label, and its expression with what names mean in it."""

    label: str
    value: syntax.Expression
    names: Names


class Made(NamedTuple):
    """A choice, where each candidate's guard holds, and the step below which candidates are named.

    ``record`` is None where there is nothing to choose.
    """

    record: ChoiceRecord | None
    holds: list[Diagram]
    step: Step


class Choices:
    """Makes choices while one space is elaborated."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.table = elaborator.builder.table
        self._texts: dict[int, str] = {}

    # --- one of ----------------------------------------------------------------------------------

    def choose(self, e: syntax.Alternatives | syntax.Choose, names: Names, place: Place) -> Value:
        """The value of a choice of tensors or numbers; one of operations stays a template."""
        if isinstance(e, syntax.Choose) and e.quantity is not None:
            return self._choose_some(e, e.quantity, names, place)
        kind = self.elaborator.kinds.of(e, names)
        if kind == "poison":
            raise Stop(None)
        if kind == "operation":
            return Template(e, names.snapshot())
        if kind == "number":
            return self._choose_number(e, names, place)
        return self.among(e, names, place, lambda c, at: self.elaborator.evaluate(c.value, c.names, at))

    def among(
        self,
        e: syntax.Alternatives | syntax.Choose,
        names: Names,
        place: Place,
        walk: Callable[[Candidate, Place], Value],
    ) -> Value:
        """A choice of what ``walk`` makes of each candidate: tensors."""
        candidates = self._candidates(e, names, place)
        made = self._make(e, candidates, "tensor", place)
        values: list[tuple[Value, Diagram, syntax.Expression]] = []
        for i, (candidate, holds) in enumerate(zip(candidates, made.holds, strict=True)):
            here = self._candidate_place(place, made.step, candidate, holds, i)
            if self.elaborator.proof.possible(here.guard):
                values.append((walk(candidate, here), holds, candidate.value))
        if not values:
            here = self._candidate_place(place, made.step, candidates[0], made.holds[0], 0)
            return walk(candidates[0], here)
        return self.select(
            [value for value, *_ in values],
            [holds for _, holds, _ in values],
            made.record,
            e.span,
            place,
            [candidate.span for *_, candidate in values],
        )

    def _choose_number(self, e: syntax.Alternatives | syntax.Choose, names: Names, place: Place) -> Value:
        candidates = self._candidates(e, names, place)
        made = self._make(e, candidates, "number", place)
        values: list[tuple[Value, Diagram]] = []
        for i, (candidate, holds) in enumerate(zip(candidates, made.holds, strict=True)):
            here = self._candidate_place(place, made.step, candidate, holds, i)
            if not self.elaborator.proof.possible(here.guard) and (values or i + 1 < len(candidates)):
                continue
            value = self.elaborator.evaluate(candidate.value, candidate.names, here)
            if kind_of(value) != "number":
                fail(
                    "N204",
                    "the candidates of a choice are all tensors, all operations or all numbers",
                    candidate.value.span,
                    label=self.elaborator.describe(value),
                    notes=(Note(candidates[0].value.span, "a number"),),
                )
            values.append((value, holds))
        result = values[-1][0]
        for value, holds in reversed(values[:-1]):
            result = self.builder.where(holds, value, result)
        if made.record is not None:
            # The uses of a cell may choose among numbers of their own.
            numbers = tuple(value for value, _ in values)
            same = made.record.values in (None, numbers) and len(numbers) == len(candidates)
            made.record.values = numbers if same else ()
        return result

    # --- candidates ------------------------------------------------------------------------------

    def _candidates(
        self, e: syntax.Alternatives | syntax.Choose, names: Names, place: Place
    ) -> list[Candidate]:
        clauses = e.clauses if isinstance(e, syntax.Choose) else ()
        if not clauses:
            return [
                Candidate(item.label if item.label is not None else self._text(item.value), item.value, names)
                for item in e.items
            ]
        (item,) = e.items
        if item.label is not None:
            fail(
                "N402",
                "a label inside a comprehension would name every candidate the same",
                item.span,
                help="leave it away: candidates are labelled by the loop variable's value, or their position",
            )
        found: list[Candidate] = []
        for inner, guard, bound in self.elaborator.lists.turns(clauses, names, place):
            if guard is not self.table.true:
                fail(
                    "N405",
                    "candidates can't come from a list that was chosen",
                    clauses[0].iterable.span,
                    label="chosen",
                    help="how many candidates there are would depend on the architecture; choose from the whole list",
                )
            labels = [label_of(value) for value in bound]
            words = [label for label in labels if label is not None]
            label = ",".join(words) if len(words) == len(labels) else str(len(found))
            found.append(Candidate(label, item.value, inner.snapshot()))
        return found

    def _text(self, e: syntax.Expression) -> str:
        found = self._texts.get(id(e))
        if found is None:
            found = self._texts[id(e)] = format_expression(e)
        return found

    def _candidate_place(
        self, place: Place, step: Step, candidate: Candidate, holds: Diagram, i: int
    ) -> Place:
        # The label stands for a single use; several uses keep their names below it.
        single = self.is_single_use(candidate.value, candidate.names)
        inner = place.under(self.table, holds).turn("candidate", i)
        return inner.but(step=Step(step, candidate.label), target=None, slot="use" if single else "")

    def is_single_use(self, e: syntax.Expression, names: Names) -> bool:
        """Whether an expression is one use, so that a label can stand for it."""
        kinds = self.elaborator.kinds
        match e:
            case syntax.Name():
                return True
            case syntax.Call():
                for argument in e.arguments:
                    if kinds.makes_nothing(argument.value, names):
                        continue
                    if kinds.holds_tensors(argument.value, names):
                        return False
                return self.is_single_use(e.function, names)
            case syntax.IfExpression():
                return self.is_single_use(e.then, names) and self.is_single_use(e.otherwise, names)
            case syntax.Pipe(stages=(first, second)):
                return (
                    kinds.makes_nothing(first, names)
                    and kinds.holds_tensors(first, names)
                    and self.is_single_use(second, names)
                )
        return False

    # --- the choice itself -----------------------------------------------------------------------

    def _make(
        self,
        e: syntax.Alternatives | syntax.Choose,
        candidates: Sequence[Candidate],
        kind: Literal["tensor", "number"],
        place: Place,
        bounds: tuple[int, int] | None = None,
    ) -> Made:
        self.builder.asked += 1
        step = place.step if place.slot == "choice" else Step(place.step, place.target or "choice")
        if not candidates:
            fail("N401", "a choice of nothing", e.span, help="give at least one candidate")
        if bounds is None and len(candidates) == 1:
            self.elaborator.observer.choice_made(e, candidates, candidates[0].names, place, None)
            return Made(None, [self.table.true], step)
        self._check_labels(candidates, e)
        labels = [candidate.label for candidate in candidates]
        if place.shared is not None:
            key = place.shared.key("choice", place.trail, e.span.start, e.span.end)
            known = place.shared.made.get(key)
            if known is None:
                known = self._record(e, step, labels, kind, place, bounds)
                place.shared.made[key] = known
            assert isinstance(known, ChoiceRecord)
            record = known
            record.guard = self.table.either(record.guard, place.decided)
        else:
            record = self._record(e, step, labels, kind, place, bounds)
        self.elaborator.observer.choice_made(e, candidates, candidates[0].names, place, record)
        return Made(record, [self.builder.takes(record, i) for i in range(len(labels))], step)

    def _record(
        self,
        e: syntax.Expression,
        step: Step,
        labels: Sequence[str],
        kind: Literal["tensor", "number"],
        place: Place,
        bounds: tuple[int, int] | None,
    ) -> ChoiceRecord:
        made_before = len(self.builder.choices)
        use = place.body.use
        record = self.builder.choice(step, labels, kind, place.decided, e.span, use, bounds)
        if record.index < made_before:
            low, high = bounds if bounds is not None else (None, None)
            numeric = record.kind != "tensor"
            if (
                record.labels != tuple(labels)
                or (record.low, record.high) != (low, high)
                or numeric != (kind == "number")
            ):
                self._clash(record, labels, bounds, e, place)
            record.guard = self.table.either(record.guard, place.decided)
        return record

    def _clash(
        self,
        record: ChoiceRecord,
        labels: Sequence[str],
        bounds: tuple[int, int] | None,
        e: syntax.Expression,
        place: Place,
    ) -> None:
        """Two uses of a cell that don't make the same choice."""
        name = self.builder.names()[record.key]
        notes = []
        if place.body.use is not None:
            notes.append(Note(place.body.use, f"in this use it has {_candidates_text(labels, bounds)}"))
        if record.use is not None and record.low is not None and record.high is not None:
            notes.append(
                Note(record.use, f"in this one {_candidates_text(record.labels, (record.low, record.high))}")
            )
        elif record.use is not None:
            notes.append(Note(record.use, f"in this one {_candidates_text(record.labels, None)}"))
        if record.span != e.span:
            notes.append(Note(record.span, "the choice that was made before"))
        fail(
            "N403",
            f"two uses of a cell make the choice `{name}` differently",
            e.span,
            label="this choice",
            notes=tuple(notes),
            help="the uses of a cell make the same choices; make it an `op` where they should differ",
        )

    def _check_labels(self, candidates: Sequence[Candidate], e: syntax.Expression) -> None:
        seen: dict[str, Candidate] = {}
        for candidate in candidates:
            first = seen.setdefault(candidate.label, candidate)
            if first is candidate:
                continue
            same_text = first.value is candidate.value
            fail(
                "N402",
                f"two candidates of one choice are labelled `{candidate.label}`",
                e.span if same_text else candidate.value.span,
                notes=() if same_text else (Note(first.value.span, "the first one"),),
                help="the list that they come from holds a value twice"
                if same_text
                else f"take one away, or tell them apart: `other: {candidate.label}`",
            )

    # --- some of ---------------------------------------------------------------------------------

    def _choose_some(
        self, e: syntax.Choose, quantity: syntax.Quantity, names: Names, place: Place
    ) -> ListValue:
        """``choose k of``: a sub-list, one choice whose value is a subset."""
        elaborator = self.elaborator
        candidates = self._candidates(e, names, place)
        for candidate in candidates:
            kind = elaborator.kinds.of(candidate.value, candidate.names)
            if kind == "poison":
                raise Stop(None)
            if kind != "tensor":
                fail(
                    "N405",
                    f"`choose … of` takes tensors, and this is {with_article(kind)}",
                    candidate.value.span,
                    label=with_article(kind),
                    help="apply the operation to a tensor: `choose 2 of { f(t) for t in n }`"
                    if kind == "operation"
                    else None,
                )
        low, high = self._bounds(quantity, len(candidates), names, place)
        if high == 0:
            elaborator.observer.choice_made(e, (), names, place, None)
            return ListValue(())
        # Nothing is chosen where all have to be taken.
        if low == len(candidates):
            elaborator.observer.choice_made(e, candidates, names, place, None)
            step = place.step if place.slot == "choice" else Step(place.step, place.target or "choice")
            made = Made(None, [self.table.true] * len(candidates), step)
        else:
            made = self._make(e, candidates, "tensor", place, (low, high))
        items: list[Value] = []
        for i, (candidate, holds) in enumerate(zip(candidates, made.holds, strict=True)):
            here = self._candidate_place(place, made.step, candidate, holds, i)
            item = elaborator.evaluate(candidate.value, candidate.names, here)
            if not isinstance(item, Tensor):
                fail(
                    "N405",
                    f"`choose … of` takes tensors, and this is {elaborator.describe(item)}",
                    candidate.value.span,
                )
            items.append(item)
        return ListValue(tuple(items), tuple(made.holds) if made.record is not None else None)

    def _bounds(self, quantity: syntax.Quantity, n: int, names: Names, place: Place) -> tuple[int, int]:
        """How many are taken at least and at most; the upper end is cut to what there is."""
        if quantity.low is None:
            return 0, n
        what = "how many are chosen"
        low = self.elaborator.lists.static_whole(quantity.low, names, place, what)
        high = low
        if quantity.high is not None:
            high = self.elaborator.lists.static_whole(quantity.high, names, place, what)
        if low < 0 or high < low:
            text = str(low) if quantity.high is None else f"{low}..{high}"
            fail("N401", f"can't choose {text} of {n} candidates", quantity.span)
        if low > n:
            fail(
                "N401",
                f"can't choose {low} of {n} candidates",
                quantity.span,
                help=f"there {'is' if n == 1 else 'are'} only {n}: write `choose {n} of`, or add candidates",
            )
        return low, min(high, n)

    # --- one value out of several ----------------------------------------------------------------

    def select(
        self,
        values: Sequence[Value],
        holds: Sequence[Diagram],
        record: ChoiceRecord | None,
        span: Span,
        place: Place,
        spans: Sequence[Span] = (),
    ) -> Value:
        """One tensor (or tuple of tensors) out of several, of which one holds. ``spans`` are the candidates'."""
        if len(values) == 1:
            return values[0]
        widths = [len(value.items) if isinstance(value, Tuple) else 1 for value in values]
        if len(set(widths)) > 1:
            odd = next(i for i, width in enumerate(widths) if width != widths[0])
            fail(
                "N204",
                "the ways of a choice give equally many tensors, "
                f"not {self._counted(values[0])} and {self._counted(values[odd])}",
                spans[odd] if spans else span,
                notes=(Note(spans[0], f"gives {self._counted(values[0])}"),) if spans else (),
            )
        if isinstance(values[0], Tuple):
            columns = []
            for i in range(widths[0]):
                column = [value.items[i] for value in values if isinstance(value, Tuple)]
                columns.append(self.select(column, holds, record, span, place, spans))
            return Tuple(tuple(columns))
        nodes = []
        for i, value in enumerate(values):
            if not isinstance(value, Tensor):
                fail(
                    "N204",
                    f"a candidate gives {self.elaborator.describe(value)}, not a tensor",
                    spans[i] if spans else span,
                )
            nodes.append(value.node)
        if record is None and all(node == nodes[0] for node in nodes):
            return values[0]
        try:
            node = self.builder.select(
                list(zip(nodes, holds, strict=True)),
                place.guard,
                place.body.scope,
                span,
                region=place.region,
                choice=record.index if record is not None else None,
            )
        except Wrong as wrong:
            if not spans or not wrong.nodes:
                raise self.elaborator.wrongs.stop(wrong, span, place) from None
            odd = nodes.index(wrong.nodes[-1])
            fail(
                wrong.code,
                wrong.message,
                spans[odd],
                label=f"gives {type_text(self.builder.type_of(nodes[odd]))}",
                notes=(Note(spans[0], f"gives {type_text(self.builder.type_of(nodes[0]))}"),),
                help=wrong.help,
            )
        return Tensor(node)

    def _counted(self, value: Value) -> str:
        return f"{len(value.items)}" if isinstance(value, Tuple) else "1"

    def merge(self, sides: Sequence[tuple[Value, Diagram, Span]], span: Span, place: Place) -> Value:
        """One value out of those of a chosen ``if``."""
        if len(sides) == 1:
            return sides[0][0]
        describe = self.elaborator.describe
        first, _, first_span = sides[0]
        for value, _, side in sides:
            if kind_of(value) != kind_of(first):
                fail(
                    "N204",
                    f"both sides of a chosen `if` are of one kind, not {describe(first)} and {describe(value)}",
                    side,
                    label=describe(value),
                    notes=(Note(first_span, describe(first)),),
                )
            if isinstance(value, (ListValue, str, Template)):
                fail(
                    "N208",
                    f"{describe(value)} can't rest on a choice",
                    side,
                    help="let the condition rest on parameters alone, or choose tensors or numbers",
                )
        holds = [guard for _, guard, _ in sides]
        if isinstance(first, (Tensor, Tuple)):
            return self.select([v for v, *_ in sides], holds, None, span, place, [s for *_, s in sides])
        result = sides[-1][0]
        for (value, *_), guard in reversed(list(zip(sides[:-1], holds[:-1], strict=True))):
            result = self.builder.where(guard, value, result)
        return result


def _candidates_text(labels: Sequence[str], bounds: tuple[int, int] | None) -> str:
    if len(labels) > 6:
        text = f"{len(labels)} candidates: {', '.join(labels[:5])}, …"
    else:
        text = f"the candidates {listed(labels)}"
    if bounds is None:
        return text
    low, high = bounds
    return f"{low} of {text}" if low == high else f"{low}..{high} of {text}"
