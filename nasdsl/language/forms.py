"""Forms that the language knows itself: ``repeat``, ``chain``, ``scan``, reductions, ``unused``, ``len`` and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import Diagnostic, Note, Span
from nasdsl.language import syntax
from nasdsl.language.builder import ChoiceRecord, Wrong, type_text
from nasdsl.language.place import Place
from nasdsl.language.stop import Stop, count, fail, with_article
from nasdsl.language.values import (
    ListValue,
    Names,
    Poison,
    SharedOperation,
    Template,
    Tensor,
    Tuple,
    Value,
    kind_of,
    leaves,
)
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import Scope
from nasdsl.space.tensor import TensorType

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator

# Each with a call that shows how it is written.
BUILTINS: Mapping[str, str] = {
    "repeat": "repeat(f, 3)",
    "chain": "chain(f(w) for w in [16, 32])",
    "scan": "scan(rnn, state = [hidden])",
    "unembed": "unembed(words)",
    "sum": "sum(list)",
    "mean": "mean(list)",
    "max": "max(list)",
    "concat": "concat(list, axis = 0)",
    "unused": "unused(list)",
    "len": "len(list)",
    "min": "min(a, b)",
    "round": "round(a)",
    "count": 'count("label")',
}
REDUCTIONS = ("sum", "mean", "max", "concat")
# Which argument of a form is an operation, and which a setting.
_PARAMETERS = {"repeat": ("f", "depth"), "scan": ("f", "state")}


class Forms:
    """Uses of the language's own forms while one space is elaborated."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.table = elaborator.builder.table
        self.kinds = elaborator.kinds

    def use(
        self,
        name: str,
        e: syntax.Expression,
        arguments: Sequence[syntax.Argument],
        names: Names,
        place: Place,
        inputs: list[Value],
    ) -> Value:
        """A call of a form, on what was piped into it."""
        arguments, inputs = self._take_tensors(name, arguments, names, place, inputs)
        place = place.turn(e.span.start, e.span.end)
        match name:
            case "repeat":
                return self._repeat(e, arguments, names, place, inputs)
            case "chain":
                return self._chain(e, arguments, names, place, inputs)
            case "scan":
                return self._scan(e, arguments, names, place, inputs)
            case "unembed":
                return self._unembed(e, arguments, names, place, inputs)
            case "count":
                if len(arguments) != 1 or inputs:
                    fail("N503", "`count` takes one label", e.span, help='write `require count("none") <= 3`')
                result: Value = self.elaborator.requirements.count(arguments[0].value, names, place)
                return result
        if name in REDUCTIONS and (name != "max" or self._holds_tensors(arguments, names, inputs)):
            return self._reduction(name, e, arguments, names, place, inputs)
        for argument in arguments:
            if argument.name is not None:
                fail(
                    "N106",
                    f"`{name}` has no setting `{argument.name}`",
                    argument.name_span or argument.span,
                    help=f"write `{BUILTINS[name]}`",
                )
        given = [*inputs, *(self.elaborator.evaluate(a.value, names, place.bare()) for a in arguments)]
        if name == "unused":
            return self._unused(given, e, place)
        if name == "len":
            return self._len(given, e)
        return self._numbers(name, given, e, place)

    def _take_tensors(
        self,
        name: str,
        arguments: Sequence[syntax.Argument],
        names: Names,
        place: Place,
        inputs: list[Value],
    ) -> tuple[Sequence[syntax.Argument], list[Value]]:
        """``repeat(x, f, 3)`` is ``x -> repeat(f, 3)``: tensors among the arguments of a form that takes operations."""
        if name not in ("repeat", "chain", "scan", "unembed"):
            return arguments, inputs
        rest: list[syntax.Argument] = []
        taken = list(inputs)
        for argument in arguments:
            if argument.name is None and self.kinds.holds_tensors(argument.value, names):
                if not (isinstance(argument.value, syntax.List) and not argument.value.items):
                    taken.append(self.elaborator.evaluate(argument.value, names, place.plain()))
                    continue
            rest.append(argument)
        return rest, [
            inner for value in taken for inner in (value.items if isinstance(value, Tuple) else (value,))
        ]

    def _holds_tensors(
        self, arguments: Sequence[syntax.Argument], names: Names, inputs: Sequence[Value]
    ) -> bool:
        if inputs:
            return any(kind_of(value) in ("tensor", "list") for value in inputs)
        return any(a.name is None and self.kinds.holds_tensors(a.value, names) for a in arguments)

    # --- numbers and lists -----------------------------------------------------------------------

    def _len(self, given: Sequence[Value], e: syntax.Expression) -> Value:
        value = self._one_list(given, "`len` takes one list", e)
        if value.guards is None:
            return len(value.items)
        total: Any = 0
        for guard in value.guards:
            total = self.builder.compute("+", total, self.builder.where(guard, 1, 0))
        result: Value = total
        return result

    def _one_list(self, given: Sequence[Value], wanted: str, e: syntax.Expression) -> ListValue:
        if len(given) == 1 and isinstance(given[0], ListValue):
            return given[0]
        what = self.elaborator.describe(given[0]) if len(given) == 1 else f"{len(given)} values"
        fail("N201", f"{wanted}, and this is {what}", e.span)

    def _numbers(self, name: str, given: Sequence[Value], e: syntax.Expression, place: Place) -> Value:
        """``min``, ``max`` and ``round``."""
        if len(given) == 1 and isinstance(given[0], ListValue):
            if given[0].guards is not None:
                fail("N405", f"`{name}` can't take a list that was chosen", e.span)
            given = given[0].items
        if not given or (name == "round" and len(given) != 1):
            fail(
                "N202",
                f"`{name}` takes {'one number' if name == 'round' else 'numbers'}, and {len(given)} are given",
                e.span,
                help=f"write `{BUILTINS[name]}`",
            )
        result: Value = self.elaborator.arithmetic.compute(name, e.span, place, *given)
        return result

    # --- reductions ------------------------------------------------------------------------------

    def _reduction(
        self,
        name: str,
        e: syntax.Expression,
        arguments: Sequence[syntax.Argument],
        names: Names,
        place: Place,
        inputs: list[Value],
    ) -> Value:
        """``sum``, ``mean``, ``max`` and ``concat`` of a list, of several tensors, or of what is piped in."""
        values: list[Value] = list(inputs)
        settings: dict[str, Any] = {}
        for argument in arguments:
            if argument.name is not None and (argument.name != "axis" or name != "concat"):
                fail(
                    "N106",
                    f"`{name}` has no setting `{argument.name}`",
                    argument.name_span or argument.span,
                    label="not one of its settings",
                    help="its setting is `axis`" if name == "concat" else "it takes tensors alone",
                )
            axis = argument.name == "axis"
            if name == "concat" and not axis and values:
                axis = not self.kinds.holds_tensors(argument.value, names)
            if not axis:
                values.append(self.elaborator.evaluate(argument.value, names, place.plain()))
                continue
            if "axis" in settings:
                fail("N203", "`axis` of `concat` is given twice", argument.span)
            settings["axis"] = self.elaborator.lists.static_whole(argument.value, names, place, "an axis")
        items: list[Value] = []
        guards: list[Diagram] = []
        for value in values:
            inner = value.items if isinstance(value, (ListValue, Tuple)) else (value,)
            items += inner
            chosen = value.guards if isinstance(value, ListValue) else None
            guards += chosen or (self.table.true,) * len(inner)
        return self.reduce(name, ListValue(tuple(items), tuple(guards)), settings, place, e.span)

    def reduce(
        self, name: str, value: ListValue, settings: dict[str, Any], place: Place, span: Span
    ) -> Tensor:
        """A node that makes one tensor of a list; an edge has the guard under which its element is in the list."""
        guards = value.guards or (self.table.true,) * len(value.items)
        nodes = []
        for item in value.items:
            if isinstance(item, Poison):
                raise Stop(None)
            if not isinstance(item, Tensor):
                fail("N201", f"`{name}` takes tensors, and this is {self.elaborator.describe(item)}", span)
            nodes.append(item.node)
        if not nodes:
            fail(
                "N404",
                f"`{name}` of an empty list",
                span,
                help="there is no tensor whose shape it could have",
            )
        chosen = any(guard is not self.table.true for guard in guards)
        if chosen and name in ("concat", "max"):
            self._check_not_empty(name, guards, place, span)
        operation = self.elaborator.catalogue[name]
        types = [self.builder.type_of(node) for node in nodes]
        try:
            full = self.builder.settings_for(operation, settings, types)
            type = self.builder.infer(operation, types, full, place.guard, list(guards) if chosen else None)
        except Wrong as wrong:
            raise self.elaborator.wrongs.stop(wrong, span, place, nodes) from None
        if self.builder.doubts:
            self.elaborator.wrongs.doubt(span, place.body, nodes)
        reads = [
            (node, self.table.both(place.guard, guard)) for node, guard in zip(nodes, guards, strict=True)
        ]
        return Tensor(self.elaborator.primitives.node(name, reads, type, full, place, span))

    def _check_not_empty(self, name: str, guards: Sequence[Diagram], place: Place, span: Span) -> None:
        """A ``sum`` of nothing is absent; these have nothing to be."""
        some = self.table.false
        for guard in guards:
            some = self.table.either(some, guard)
        missing = self.table.both(place.guard, self.table.negate(some))
        if not self.elaborator.proof.possible(missing):
            return
        raise Stop(
            Diagnostic(
                "N404",
                f"a `{name}` that may be empty has no {'size' if name == 'concat' else 'value'}",
                span,
                help="choose at least one, `choose 1..n of {…}`, or use `sum`, which is then absent",
            ),
            self.elaborator.proof.smallest(missing, lambda leaf: leaf is True),
        )

    def _unused(self, given: Sequence[Value], e: syntax.Expression, place: Place) -> ListValue:
        """The loose ends: elements that no node made earlier in this body reads, where a read is an edge whose guard
        holds (rule 12)."""
        value = self._one_list(given, "`unused` takes one list of tensors", e)
        items, guards = [], []
        for position, item in enumerate(value.items):
            if not isinstance(item, Tensor):
                fail("N201", f"`unused` takes tensors, and this is {self.elaborator.describe(item)}", e.span)
            read = self.table.false
            for reader, guard in self.builder.readers[item.node]:
                if reader >= place.body.first:
                    read = self.table.either(read, guard)
            loose = self.table.negate(read)
            if value.guards is not None:
                loose = self.table.both(loose, value.guards[position])
            if self.table.both(place.guard, loose) is not self.table.false:
                items.append(item)
                guards.append(self.table.given(loose, place.guard))
        return ListValue(tuple(items), tuple(guards))

    # --- repeat and chain ------------------------------------------------------------------------

    def _repeat(
        self,
        e: syntax.Expression,
        arguments: Sequence[syntax.Argument],
        names: Names,
        place: Place,
        inputs: list[Value],
    ) -> Value:
        f, depth_argument = self._two(e, "repeat", arguments)
        self._want_operation(f, names, "repeat")
        step = self.elaborator.uses.step("repeat", place)
        made_before = len(self.builder.choices)
        depth = self.elaborator.evaluate(depth_argument, names, place.but(step=step, target="depth", slot=""))
        depths = self._depths(depth, depth_argument, place)
        scope = Scope(
            len(self.builder.scopes),
            "repeat",
            "repeat",
            self.elaborator.uses.scope_label(place, "repeat"),
            place.body.scope,
            e.span,
        )
        self.builder.scopes.append(scope)
        inside = self._in_scope(place, scope).but(step=step, target=None, slot="")
        current = list(inputs)
        prefixes: dict[int, Value] = {}
        if 0 in depths:
            prefixes[0] = current[0] if len(current) == 1 else Tuple(tuple(current))
        for copy in range(1, depths[-1] + 1):
            deep_enough = self.table.lift(self.builder.compute(">=", depth, copy))
            here = inside.under(self.table, deep_enough).turn("copy", copy)
            self.elaborator.observer.copy_begins(f, names, here, copy)
            value = self.elaborator.uses.apply(f, names, list(current), here)
            current = list(value.items) if isinstance(value, Tuple) else [value]
            if copy in depths:
                prefixes[copy] = value
        if depths == [0]:
            # As in a chosen depth, what comes out is no other name for what goes in.
            same = [self._identity(value, e.span, inside) for value in inputs]
            return same[0] if len(same) == 1 else Tuple(tuple(same))
        if len(depths) == 1:
            return prefixes[depths[0]]
        record = self._depth_choice(depth, depth_argument, made_before)
        holds = [self.table.lift(self.builder.compute("==", depth, d)) for d in depths]
        return self.elaborator.choices.select([prefixes[d] for d in depths], holds, record, e.span, place)

    def _identity(self, value: Value, span: Span, place: Place) -> Value:
        if not isinstance(value, Tensor):
            fail("N201", f"`repeat` takes a tensor, and this is {self.elaborator.describe(value)}", span)
        return self.elaborator.primitives.apply("identity", [value.node], {}, place, span)

    def _depths(self, depth: Value, e: syntax.Expression, place: Place) -> list[int]:
        """The depths that are possible here, in order."""
        if kind_of(depth) != "number":
            numbers = (
                [str(item) for item in depth.items if isinstance(item, int)]
                if isinstance(depth, ListValue)
                else []
            )
            fail(
                "N205",
                f"a depth is a whole number, and this is {self.elaborator.describe(depth)}",
                e.span,
                help=f"a choice of depths is written `{'|'.join(numbers)}`" if numbers else None,
            )
        found: list[int] = []
        for leaf in leaves(depth):
            if isinstance(depth, Diagram) and isinstance(leaf, int):
                here = self.table.both(place.guard, self.table.lift(self.builder.compute("==", depth, leaf)))
                if not self.elaborator.proof.possible(here):
                    continue
            found.append(self.elaborator.lists.whole(leaf, e.span, "a depth", least=0))
        limit = self.elaborator.limits.uses
        if found and max(found) > limit:
            fail(
                "N604",
                f"{max(found)} copies are more than {limit}",
                e.span,
                help=f"make it smaller, or raise the bound: `--limit uses={max(found)}`",
            )
        return sorted(found) or [0]

    def _depth_choice(self, depth: Value, e: syntax.Expression, made_before: int) -> ChoiceRecord | None:
        """The choice that the depth is, candidate by candidate, if it is one."""
        if not isinstance(depth, Diagram) or not all(case.is_leaf for case in depth.cases):
            return None
        (record,) = (c for c in self.builder.choices.values() if depth.variable in c.variables)
        if record.low is not None or len(set(depth.cases)) != len(record.labels):
            return None
        if isinstance(e, (syntax.Alternatives, syntax.Choose)) and record.index >= made_before:
            record.kind = "depth"
        return record

    @staticmethod
    def _in_scope(place: Place, scope: Scope) -> Place:
        return place.but(body=replace(place.body, scope=scope))

    def _chain(
        self,
        e: syntax.Expression,
        arguments: Sequence[syntax.Argument],
        names: Names,
        place: Place,
        inputs: list[Value],
    ) -> Value:
        if len(arguments) != 1 or arguments[0].name is not None:
            fail("N202", "`chain` takes one list of operations", e.span, help=f"write `{BUILTINS['chain']}`")
        argument = arguments[0].value
        value = self.elaborator.evaluate(argument, names, place.bare())
        if not isinstance(value, ListValue) or value.guards is not None:
            fail(
                "N201",
                f"`chain` takes a list of operations, and this is {self.elaborator.describe(value)}",
                argument.span,
            )
        current = list(inputs)
        for i, item in enumerate(value.items):
            if not isinstance(item, Template):
                fail(
                    "N201",
                    f"`chain` takes operations, and this is {self.elaborator.describe(item)}",
                    argument.span,
                )
            here = place.plain().turn("link", i)
            result = self.elaborator.uses.apply(item.expression, item.names, current, here)
            current = list(result.items) if isinstance(result, Tuple) else [result]
        return current[0] if len(current) == 1 else Tuple(tuple(current))

    # --- scan ------------------------------------------------------------------------------------

    def _scan(
        self,
        e: syntax.Expression,
        arguments: Sequence[syntax.Argument],
        names: Names,
        place: Place,
        inputs: list[Value],
    ) -> Value:
        f, state_argument = self._two(e, "scan", arguments)
        self._want_operation(f, names, "scan")
        if place.region is not None:
            fail("N405", "a `scan` can't stand inside the cell of another", e.span)
        sequence = self._one(inputs, e.span, "scan")
        if not isinstance(sequence, Tensor):
            fail(
                "N201", f"`scan` runs over a tensor, and this is {self.elaborator.describe(sequence)}", e.span
            )
        type = self.builder.type_of(sequence.node)
        if type.rank < 1:
            fail(
                "N301",
                f"`scan` runs over the first axis of a tensor such as [T, D], and this is {type_text(type)}",
                e.span,
            )
        shapes = self._state_shapes(state_argument, names, place)
        scope = place.body.scope
        region = len(self.builder.nodes)
        element = self.builder.add(
            "element",
            [(sequence.node, place.guard)],
            TensorType(type.dims[1:], type.dtype, _parts(type.parts[1:] if type.parts else ())),
            place.guard,
            scope,
            e.span,
            region=region,
        )
        states = [
            self.builder.add(
                "state", [], TensorType(dims), place.guard, scope, state_argument.span, region=region
            )
            for dims in shapes
        ]
        here = place.plain().but(region=region)
        value = self.elaborator.uses.apply(f, names, [Tensor(element), *map(Tensor, states)], here)
        results = list(value.items) if isinstance(value, Tuple) else [value]
        if len(results) == len(states) + 1:
            output, new = results[0], results[1:]
        elif len(results) == len(states) == 1:
            output, new = results[0], results
        else:
            wanted = " or ".join(
                count(n, "tensor") for n in ((1, 2) if len(states) == 1 else (len(states) + 1,))
            )
            fail(
                "N206",
                f"a cell that is scanned with {count(len(states), 'state')} gives {wanted}, and this gives {len(results)}",
                f.span,
                help="it gives what is stacked and then each state: `return y, h`; a single h is both",
            )
        nodes = []
        for result, node in zip([output, *new], [None, *states], strict=True):
            if not isinstance(result, Tensor):
                fail(
                    "N206",
                    f"a cell that is scanned gives tensors, and this gives {self.elaborator.describe(result)}",
                    f.span,
                )
            if node is not None:
                self._check_state(node, result.node, e.span, state_argument.span, place)
            nodes.append(result.node)
        out = self.builder.type_of(nodes[0])
        parts = _parts(((type.parts[0] if type.parts else None), *(out.parts or (None,) * out.rank)))
        result_type = TensorType((type.dims[0], *out.dims), out.dtype, parts)
        reads = [(node, place.guard) for node in (sequence.node, *nodes)]
        settings = {"element": element, "states": tuple(states)}
        return Tensor(
            self.builder.add("scan", reads, result_type, place.guard, scope, e.span, settings=settings)
        )

    def _state_shapes(self, e: syntax.Expression, names: Names, place: Place) -> list[tuple[int, ...]]:
        state = self.elaborator.evaluate(e, names, place.bare())
        if not isinstance(state, ListValue) or not state.items or state.guards is not None:
            fail(
                "N205",
                f"`state` is the shape of the state, such as [hidden], and this is {self.elaborator.describe(state)}",
                e.span,
                help="several states are a list of shapes: `state = [[hidden], [hidden]]`",
            )
        shapes: list[Sequence[Value]] = [s.items for s in state.items if isinstance(s, ListValue)]
        if len(shapes) not in (0, len(state.items)):
            fail("N205", "`state` is one shape, or a list of shapes", e.span)
        found = []
        for shape in shapes or [state.items]:
            for dim in shape:
                if isinstance(dim, Diagram):
                    fail(
                        "N208",
                        "the shape of a state can't rest on a choice",
                        e.span,
                        label="depends on the architecture",
                        help="scan with a state of one size, and choose inside the cell",
                    )
            found.append(
                tuple(
                    self.elaborator.lists.whole(dim, e.span, "a size of the state", least=1) for dim in shape
                )
            )
        return found

    def _check_state(self, state: int, new: int, span: Span, given: Span, place: Place) -> None:
        before, after = self.builder.type_of(state), self.builder.type_of(new)
        if before.rank == after.rank and before.dtype == after.dtype:
            differ = self.table.false
            for a, b in zip(before.dims, after.dims, strict=True):
                differ = self.table.either(
                    differ, self.table.map(_differ, self.table.lift(a), self.table.lift(b))
                )
            if not self.elaborator.proof.possible(self.table.both(place.guard, differ)):
                return
        fail(
            "N303",
            f"the state goes in as {type_text(before)} and comes out as {type_text(after)}",
            span,
            notes=(
                Note(given, f"goes in as {type_text(before)}"),
                *self.elaborator.wrongs.origins([new], span),
            ),
            help="a state keeps its shape: set `state = […]` to what the cell gives",
        )

    def _unembed(
        self,
        e: syntax.Expression,
        arguments: Sequence[syntax.Argument],
        names: Names,
        place: Place,
        inputs: list[Value],
    ) -> Value:
        shared: Value | None = None
        if len(arguments) == 1:
            shared = self._shared_behind(arguments[0].value, names)
        if not isinstance(shared, SharedOperation):
            fail(
                "N202",
                "`unembed` takes an embedding that is shared",
                e.span,
                help="`shared words = embedding(vocab, width)`, and then `… -> unembed(words)`",
            )
        note = (Note(shared.syntax.span, "shared here"),)
        owners = [node for node in shared.made.values() if isinstance(node, int)]
        if not owners:
            fail(
                "N202",
                f"`{shared.name}` has no weights yet",
                e.span,
                notes=note,
                help=f"use it before `unembed`: `tokens -> {shared.name} -> …`",
            )
        owner = next((node for node in owners if self.builder.nodes[node].operation == "embedding"), None)
        if owner is None:
            fail("N202", f"`{shared.name}` is no embedding", e.span, notes=note)
        tensor = self._one(inputs, e.span, "unembed")
        if not isinstance(tensor, Tensor):
            fail("N201", f"`unembed` takes a tensor, and this is {self.elaborator.describe(tensor)}", e.span)
        embedding = self.builder.nodes[owner].settings
        operation = self.elaborator.catalogue["unembed"]
        settings = {s.name: embedding[s.name] for s in operation.settings if s.name in embedding}
        try:
            type = self.builder.infer(operation, [self.builder.type_of(tensor.node)], settings, place.guard)
        except Wrong as wrong:
            raise self.elaborator.wrongs.stop(wrong, e.span, place, [tensor.node, owner]) from None
        return Tensor(
            self.builder.add(
                "unembed",
                [(tensor.node, place.guard)],
                type,
                place.guard,
                place.body.scope,
                e.span,
                settings=settings,
                owner=owner,
                region=place.region,
            )
        )

    def _shared_behind(self, e: syntax.Expression, names: Names) -> Value | None:
        """The shared operation that a name stands for, by way of parameters too."""
        while isinstance(e, syntax.Name):
            value = self.elaborator.find(e, names)
            if isinstance(value, Poison):
                raise Stop(None)
            if not isinstance(value, Template):
                return value
            e, names = value.expression, value.names
        return None

    # --- arguments -------------------------------------------------------------------------------

    def _two(
        self, e: syntax.Expression, name: str, arguments: Sequence[syntax.Argument]
    ) -> tuple[syntax.Expression, syntax.Expression]:
        parameters = _PARAMETERS[name]
        found: dict[str, syntax.Expression] = {}
        for argument in arguments:
            key = argument.name
            if key is None:
                key = next((p for p in parameters if p not in found), None)
            if key not in parameters:
                fail(
                    "N203" if argument.name is None else "N106",
                    f"`{name}` takes `{parameters[0]}` and `{parameters[1]}`",
                    argument.name_span or argument.span,
                    help=f"write `{BUILTINS[name]}`",
                )
            if key in found:
                fail("N203", f"`{key}` of `{name}` is given twice", argument.span)
            found[key] = argument.value
        for parameter in parameters:
            if parameter not in found:
                fail("N202", f"`{name}` needs `{parameter}`", e.span, help=f"write `{BUILTINS[name]}`")
        return found[parameters[0]], found[parameters[1]]

    def _want_operation(self, e: syntax.Expression, names: Names, what: str) -> None:
        kind = self.kinds.of(e, names)
        if kind == "poison":
            raise Stop(None)
        if kind != "operation":
            fail(
                "N201",
                f"`{what}` takes an operation, and this is {with_article(kind)}",
                e.span,
                label=with_article(kind),
            )

    def _one(self, inputs: Sequence[Value], span: Span, what: str) -> Value:
        if len(inputs) != 1:
            fail("N202", f"`{what}` takes one tensor, and {len(inputs)} are given", span)
        return inputs[0]


def _parts(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    return parts if any(p is not None for p in parts) else ()


def _differ(a: Any, b: Any) -> bool:
    return bool(a != b)
