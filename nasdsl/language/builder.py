"""Builds the space graph node by node: types are inferred for the whole space as nodes are made.

Knows nothing of syntax. What is wrong is raised as :class:`Wrong`, with words and without a place: the elaborator knows
where in the text it happened.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import Any, Literal, cast

from nasdsl.diagnostics import Span
from nasdsl.language.naming import Key, Step, readable
from nasdsl.language.parser import NESTING
from nasdsl.language.stop import listed
from nasdsl.space.choice import Choice
from nasdsl.space.conditions import condition_text
from nasdsl.space.diagram import Diagram, Diagrams
from nasdsl.space.graph import SELECT, Node, Scope
from nasdsl.space.operation import REQUIRED, Catalogue, Operation, ShapeError
from nasdsl.space.size import Size
from nasdsl.space.tensor import Dim, Part, Parts, Shape, SpaceDim, TensorType

# How many rows a table over choices may get while a size is proved, and how many entries all its columns together.
# Equal rows are one, so that this is mostly far more than as many combinations.
ROWS = 1_000_000
ENTRIES = 2_000_000
# Numbers are exact; a longer one is a mistake, and would take for ever.
DIGITS = 1_000


class Wrong(Exception):
    """Something about the graph can't be. The elaborator adds the place.

    ``nodes`` are those that take part in it; ``for_good`` says that a bound was reached, so that nothing can be added.
    """

    def __init__(
        self,
        code: str,
        message: str,
        help: str | None = None,
        nodes: Sequence[int] = (),
        for_good: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help
        self.nodes = tuple(nodes)
        self.for_good = for_good


@dataclass(frozen=True, slots=True)
class Failure:
    """A leaf of a diagram where arithmetic or a shape rule said no."""

    message: str
    help: str | None = None
    code: str = "N301"


class TooManyRows(Exception):
    """A table over choices outgrew its bound."""


class BoundedDiagrams(Diagrams):
    """Diagrams whose making can be bounded: see :meth:`GraphBuilder.table_of`."""

    def __init__(self) -> None:
        self.left = sys.maxsize
        super().__init__()

    @contextmanager
    def bounded(self, bound: int) -> Iterator[None]:
        """Raises TooManyRows once more than so many leaves and nodes were made."""
        before, self.left = self.left, bound
        try:
            yield
        finally:
            self.left = before

    def leaf(self, value: Any) -> Diagram:
        self.left -= 1
        if self.left < 0:
            raise TooManyRows
        return super().leaf(value)

    def node(self, variable: int, cases: Sequence[Diagram]) -> Diagram:
        self.left -= 1
        if self.left < 0:
            raise TooManyRows
        return super().node(variable, cases)


@dataclass(slots=True, eq=False)
class ChoiceRecord:
    """A choice in the making: its name is known, and its guard complete, when the whole space has been walked.

    ``use`` is the use of the definition that it stands in, for messages about cells that are used twice.
    """

    key: Key
    index: int
    labels: tuple[str, ...]
    kind: Literal["tensor", "number", "depth"]
    low: int | None
    high: int | None
    variables: tuple[int, ...]
    guard: Diagram
    span: Span
    use: Span | None
    values: tuple[object, ...] | None = None

    @property
    def pick(self) -> str:
        return "one" if self.low is None else f"{self.low}..{self.high}"


@dataclass(slots=True)
class Limits:
    """Bounds on what a space may grow to, checked before anything is made."""

    nodes: int = 1_000_000
    uses: int = 1_000_000
    nesting: int = NESTING
    length: int = 1_000_000


def total(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with an answer for everything: what can't be computed becomes a failure."""

    def answer(*operands: Any) -> Any:
        try:
            return function(*operands)
        except ZeroDivisionError:
            return Failure(
                "a division by zero", "divide only where it isn't: `if n == 0 then 1 else a / n`", code="N205"
            )

    return answer


def _dividing(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def divide(a: Any, b: Any) -> Any:
        if isinstance(b, Size) and not isinstance(a, Size):
            return Failure(
                f"the free size `{b}` isn't known before the network runs, so nothing is divided by it",
                "give the input a fixed size",
                code="N208",
            )
        return function(a, b)

    return divide


def _quotient(a: Any, b: Any) -> Any:
    return a / b if isinstance(a, Size) else Fraction(a) / Fraction(b)


def _multiply(a: Any, b: Any) -> Any:
    product = a * b
    if isinstance(product, int) and product.bit_length() > 4 * DIGITS:
        return Failure(f"a number of more than {DIGITS} digits", code="N604")
    return product


def _round(a: Any) -> Any:
    # Half away from zero, as people expect of sizes; Python rounds half to even.
    return int(a + Fraction(1, 2)) if a >= 0 else -int(-a + Fraction(1, 2))


def _known(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` on numbers that are known: a free size isn't before the network runs."""

    def known(*operands: Any) -> Any:
        for operand in operands:
            if isinstance(operand, Size):
                return Failure(
                    f"the free size `{operand}` isn't known before the network runs",
                    "give the input a fixed size",
                    code="N208",
                )
        return function(*operands)

    return known


def _equal(a: Any, b: Any) -> Any:
    if isinstance(a, Size) and isinstance(b, Size) and a == b:
        return True
    return _known(operator.eq)(a, b)


def _least(*operands: Any) -> Any:
    return min(operands)


def _most(*operands: Any) -> Any:
    return max(operands)


def _not(a: Any) -> Any:
    return not a


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": _multiply,
    "/": _dividing(_quotient),
    "//": _dividing(operator.floordiv),
    "%": _dividing(operator.mod),
    "negate": operator.neg,
    "==": _equal,
    "<": _known(operator.lt),
    "<=": _known(operator.le),
    ">": _known(operator.gt),
    ">=": _known(operator.ge),
    "not": _not,
    "min": _known(_least),
    "max": _known(_most),
    "round": _known(_round),
}
ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    name: total(function) for name, function in _FUNCTIONS.items()
}


@dataclass(eq=False)
class GraphBuilder:
    """The space graph so far: ``nodes`` and what each ``reads``, the ``scopes`` that they stand in, the ``choices``."""

    catalogue: Catalogue
    limits: Limits = field(default_factory=Limits)
    table: BoundedDiagrams = field(default_factory=BoundedDiagrams)
    nodes: list[Node] = field(default_factory=list)
    reads: list[list[tuple[int, Diagram]]] = field(default_factory=list)
    # For each node, who reads it and where the edge's guard holds.
    readers: list[list[tuple[int, Diagram]]] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    arities: list[int] = field(default_factory=list)
    choices: dict[Key, ChoiceRecord] = field(default_factory=dict)
    # Diagrams with failures that were found where a value was needed: see `settled`.
    doubts: list[Diagram] = field(default_factory=list)
    # How often something was asked whose answer rests on choices, or on where it is asked.
    asked: int = 0
    _types: dict[Any, TensorType] = field(default_factory=dict)

    # --- numbers -------------------------------------------------------------------------------

    def compute(self, name: str, *operands: Any) -> Any:
        """Arithmetic, comparison or logic on numbers that may rest on choices. May give a :class:`Failure`, or a
        diagram with some: see :meth:`settled`."""
        function = ARITHMETIC[name]
        for operand in operands:
            if isinstance(operand, Diagram):
                return self.simplify(self.tabulate(function, *map(self.table.lift, operands)))
        value = function(*operands)
        return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else value

    def tabulate(self, function: Callable[..., Any], *operands: Diagram, remember: bool = True) -> Diagram:
        """``function`` for every combination of choices that the operands rest on. Raises Wrong beyond :data:`ROWS`."""
        bound = min(ROWS, ENTRIES // max(1, len(operands)))
        try:
            if self._rows(operands) > bound:
                raise TooManyRows
            with self.table.bounded(bound):
                return self.table.map(function, *operands, remember=remember)
        except TooManyRows:
            choices = {v for operand in operands for v in operand.support()}
            raise Wrong(
                "N307",
                f"this rests on {len(choices)} choices at once, in more combinations than can be tabulated",
                "tie some of them: choose a number once, `width = 16 | 24`, and use it in several places",
            ) from None

    def _rows(self, operands: Sequence[Diagram]) -> int:
        """How many rows a table over the operands has at least, known before it is made.

        The values of operands that share no choices come in every combination.
        """
        choices = {v for operand in operands for v in operand.support()}
        if prod(self.arities[v] for v in choices) <= ROWS:
            return 0
        groups: list[tuple[frozenset[int], int]] = []
        for operand in operands:
            support, values = operand.support(), len(operand.leaves())
            for other in [group for group in groups if not support.isdisjoint(group[0])]:
                groups.remove(other)
                support, values = support | other[0], max(values, other[1])
            groups.append((support, values))
        return prod(values for _, values in groups)

    @staticmethod
    def simplify(value: Any) -> Any:
        """A leaf as its plain value."""
        return value.value if isinstance(value, Diagram) and value.is_leaf else value

    def where(self, condition: Any, then: Any, otherwise: Any) -> Any:
        if not isinstance(condition, Diagram):
            return then if condition else otherwise
        return self.simplify(self.table.choose(condition, self.table.lift(then), self.table.lift(otherwise)))

    def settled(self, value: Any, guard: Diagram) -> Any:
        """A value without failures: those outside the guard are never met.

        What fails for some choices only goes to ``doubts``, and on as if it didn't: which choices are permitted is known
        when the whole space has been walked. Raises Wrong where it fails for all.
        """
        if isinstance(value, Failure):
            raise Wrong(value.code, value.message, value.help)
        if not isinstance(value, Diagram):
            return value
        self.asked += 1
        if not any(isinstance(leaf, Failure) for leaf in value.leaves()):
            return value
        value = self.table.given(value, guard)
        failures = [leaf for leaf in value.leaves() if isinstance(leaf, Failure)]
        if not failures:
            return self.simplify(value)
        if len(failures) == len(value.leaves()):
            raise Wrong(failures[0].code, failures[0].message, failures[0].help)
        self.doubts.append(self.table.within(value, guard))
        return self.simplify(self.table.given(value, self.table.map(_succeeds, value)))

    # --- choices -------------------------------------------------------------------------------

    def choice(
        self,
        step: Step,
        labels: Sequence[str],
        kind: Literal["tensor", "number", "depth"],
        guard: Diagram,
        span: Span,
        use: Span | None,
        bounds: tuple[int, int] | None = None,
    ) -> ChoiceRecord:
        """The choice at ``step``: a new one or, where a cell is used again, the one made before.

        The caller has seen to it that labels differ, and compares those of a choice that was made before.
        """
        key = step.key()
        low, high = bounds if bounds is not None else (None, None)
        found = self.choices.get(key)
        if found is not None:
            return found
        arities = [len(labels)] if bounds is None else [2] * len(labels)
        first = len(self.arities)
        self.arities += arities
        variables = tuple(range(first, first + len(arities)))
        record = ChoiceRecord(
            key, len(self.choices), tuple(labels), kind, low, high, variables, guard, span, use
        )
        self.choices[key] = record
        return record

    def takes(self, choice: ChoiceRecord, candidate: int) -> Diagram:
        """Where the choice took the candidate (for a sub-list: has it among those taken)."""
        if choice.low is None:
            return self.table.equals(choice.variables[0], candidate, len(choice.labels))
        return self.table.equals(choice.variables[candidate], 1, 2)

    def names(self) -> dict[Key, str]:
        return readable(self.choices)

    def finished_choices(self) -> tuple[Choice, ...]:
        """The choices under the names that people read, in the order in which they were made."""
        names = self.names()
        return tuple(
            Choice(
                c.index,
                names[c.key],
                c.labels,
                c.guard,
                c.variables,
                c.kind,
                c.span,
                c.low,
                c.high,
                c.values or (),
            )
            for c in self.choices.values()
        )

    def where_text(self, path: Mapping[int, int]) -> str:
        """A partial genotype in the language's own syntax, for messages: ``width == "24" and …``."""
        return condition_text(self.finished_choices(), path)

    # --- types ---------------------------------------------------------------------------------

    def type_of(self, node: int) -> TensorType:
        return self.nodes[node].type

    def infer(
        self,
        operation: Operation,
        types: Sequence[TensorType],
        settings: Mapping[str, Any],
        guard: Diagram,
        present: Sequence[Diagram] | None = None,
    ) -> TensorType:
        """The output's type in every architecture, from the shape rule for one.

        ``present`` says for each input of a reduction where it is there. Raises Wrong where the rule is broken in all.
        """
        key = (
            operation.name,
            tuple(types),
            tuple(settings.items()),
            None if present is None else tuple(present),
        )
        found = self._types.get(key)
        if found is not None:
            return found
        fixed = not any(map(rests_on_choices, settings.values())) and all(t.is_static for t in types)
        general = True
        if fixed and (present is None or self._alike(operation, types, present)):
            shapes = [Shape(cast(tuple[Dim, ...], t.dims), t.dtype) for t in types]
            try:
                shape = operation.shape(shapes, **settings)
            except ShapeError as error:
                raise Wrong("N301", error.message, error.help) from None
            dims: tuple[SpaceDim, ...] = shape.dims
            dtype = shape.dtype
        else:
            whole = self._shapes(operation, types, settings, present)
            # Where the rule is broken for some choices, the answer holds under this guard alone.
            general = not isinstance(whole, Diagram) or not any(
                isinstance(leaf, Failure) for leaf in whole.leaves()
            )
            dims, dtype = self._axes(operation, self.settled(whole, guard))
        parts: tuple[Parts, ...] = ()
        if not fixed or any(t.parts for t in types) or not all(isinstance(d, (int, Size)) for d in dims):
            parts = self._output_parts(operation, types, settings, dims, present)
        result = TensorType(dims, dtype, parts)
        if general:
            self._types[key] = result
        return result

    def _alike(self, operation: Operation, types: Sequence[TensorType], present: Sequence[Diagram]) -> bool:
        """Whether the shape is the same, whichever of the inputs are there."""
        if all(p is self.table.true for p in present):
            return True
        return operation.name != "concat" and all(t.dims == types[0].dims for t in types)

    def _shapes(
        self,
        operation: Operation,
        types: Sequence[TensorType],
        settings: Mapping[str, Any],
        present: Sequence[Diagram] | None,
    ) -> Any:
        """(kind, *sizes) for every combination of choices that the operands rest on: what the shape rule answers."""
        names = list(settings)
        # For each input whether it is there, then its sizes; at the end the settings.
        operands: list[Any] = []
        for i, t in enumerate(types):
            operands.append(True if present is None else present[i])
            operands += t.dims
        operands += map(self.joined, settings.values())
        # What doesn't rest on choices, or is there already, needs no column of its own in the table.
        columns = list(dict.fromkeys(o for o in operands if isinstance(o, Diagram)))
        column = {id(diagram): i for i, diagram in enumerate(columns)}

        def rule(*row: Any) -> Any:
            values = [row[column[id(o)]] if isinstance(o, Diagram) else o for o in operands]
            shapes: list[Shape] = []
            spare: Shape | None = None
            offset = 0
            for t in types:
                here, dims = values[offset], tuple(values[offset + 1 : offset + 1 + t.rank])
                offset += 1 + t.rank
                if here:
                    shapes.append(Shape(dims, t.dtype))
                elif spare is None:
                    spare = Shape(dims, t.dtype)
            if not shapes:
                if operation.name == "concat" or spare is None:
                    return Failure(
                        f"a `{operation.name}` of nothing has no size", "choose at least one of its elements"
                    )
                # Nothing is there: the sum is absent, and keeps a shape that one of them would have had.
                shapes = [spare]
            try:
                shape = operation.shape(shapes, **dict(zip(names, values[offset:], strict=True)))
            except ShapeError as error:
                return Failure(error.message, error.help)
            return (shape.dtype, *shape.dims)

        return self.simplify(self.tabulate(rule, *columns, remember=False))

    def _axes(self, operation: Operation, whole: Any) -> tuple[tuple[SpaceDim, ...], str]:
        """Each size as an expression over choices of its own."""
        if not isinstance(whole, Diagram):
            return whole[1:], whole[0]
        leaves = whole.leaves()
        ranks = {len(leaf) - 1 for leaf in leaves}
        if len(ranks) > 1:
            raise Wrong("N302", f"`{operation.name}` would give tensors of {listed(sorted(ranks))} axes")
        return tuple(
            self.simplify(self.table.map(_item(axis + 1), whole)) for axis in range(ranks.pop())
        ), leaves[0][0]

    def joined(self, value: Any) -> Any:
        """A list of sizes as one value: a diagram of lists where one of them rests on choices."""
        if isinstance(value, tuple) and rests_on_choices(value):
            return self.tabulate(_together, *map(self.table.lift, value))
        return value

    def _output_parts(
        self,
        operation: Operation,
        types: Sequence[TensorType],
        settings: Mapping[str, Any],
        dims: tuple[SpaceDim, ...],
        present: Sequence[Diagram] | None,
    ) -> tuple[Parts, ...]:
        inputs = []
        for i, t in enumerate(types):
            parts = t.parts or (None,) * t.rank
            if present is not None and operation.name == "concat" and present[i] is not self.table.true:
                # An element that may be missing is a part that may be empty.
                axis, dim = settings["axis"], t.dims[settings["axis"]]
                own = parts[axis] or ((Part(dim, dim),) if isinstance(dim, int) else _one_part(dim)) or ()
                missing = tuple(Part(p.limit, self.where(present[i], p.size, 0)) for p in own)
                parts = (*parts[:axis], missing or None, *parts[axis + 1 :])
            inputs.append(parts)
        given = operation.parts(inputs, [t.dims for t in types], **settings)
        if given is None:
            fresh = {axis % len(dims) for axis in operation.new_axes} if dims else set()
            first = types[0] if types else None
            given = tuple(
                inputs[0][axis]
                if first and axis not in fresh and axis < first.rank and first.dims[axis] == dim
                else None
                for axis, dim in enumerate(dims)
            )
        return self.tidy_parts(given, dims)

    def tidy_parts(self, given: Sequence[Parts], dims: Sequence[SpaceDim]) -> tuple[Parts, ...]:
        """Parts only where an axis really is sliced."""
        tidy: list[Parts] = []
        for parts, dim in zip(given, dims, strict=True):
            if parts is not None and all(p.size == p.limit for p in parts):
                parts = None
            tidy.append(_one_part(dim) if parts is None else parts)
        return tuple(tidy) if any(parts is not None for parts in tidy) else ()

    # --- nodes ---------------------------------------------------------------------------------

    def add(
        self,
        operation: str,
        reads: Sequence[tuple[int, Diagram]],
        type: TensorType,
        guard: Diagram,
        scope: Scope,
        span: Span | None,
        *,
        settings: dict[str, Any] | None = None,
        name: str | None = None,
        owner: int | None = None,
        region: int | None = None,
        choice: int | None = None,
    ) -> int:
        id = len(self.nodes)
        settings = {k: self.joined(v) for k, v in (settings or {}).items()}
        if any(map(rests_on_choices, settings.values())):
            self.asked += 1
        self.append(
            Node(
                id, operation, settings, type, guard, scope, span, name, id if owner is None else owner, region, choice
            ),
            reads,
        )  # fmt: skip
        return id

    def append(self, node: Node, reads: Sequence[tuple[int, Diagram]]) -> None:
        """Adds a node that is whole; its number is the next."""
        if node.id >= self.limits.nodes:
            raise Wrong(
                "N604",
                f"the space has more than {self.limits.nodes} nodes",
                f"make it smaller, or raise the bound: `--limit nodes={2 * self.limits.nodes}`",
                for_good=True,
            )
        self.nodes.append(node)
        self.reads.append(list(reads))
        self.readers.append([])
        for source, guard in reads:
            self.readers[source].append((node.id, guard))

    def settings_for(
        self, operation: Operation, given: dict[str, Any], types: Sequence[TensorType]
    ) -> dict[str, Any]:
        """Fills defaults in, in the declared order. Raises Wrong for a missing setting."""
        filled: dict[str, Any] = {}
        for setting in operation.settings:
            if setting.name in given:
                filled[setting.name] = given[setting.name]
            elif setting.default is REQUIRED:
                raise Wrong(
                    "N202",
                    f"`{operation.name}` needs `{setting.name}`",
                    f"write `{operation.name}({setting.name} = …)`",
                )
            elif setting.default == "C":
                if not types or not types[0].dims:
                    raise Wrong("N301", f"`{operation.name}` needs a tensor with channels")
                filled[setting.name] = types[0].dims[0]
            else:
                filled[setting.name] = setting.default
        return filled

    def select(
        self,
        candidates: Sequence[tuple[int, Diagram]],
        guard: Diagram,
        scope: Scope,
        span: Span | None,
        *,
        name: str | None = None,
        region: int | None = None,
        choice: int | None = None,
    ) -> int:
        """The reduction of a choice of tensors: one of the candidates' guards holds wherever ``guard`` does."""
        guards = [self.table.both(guard, g) for _, g in candidates]
        types = [self.nodes[node].type for node, _ in candidates]
        first = types[0]
        for (node, _), other in zip(candidates, types, strict=True):
            if other.rank != first.rank or other.dtype != first.dtype:
                raise Wrong(
                    "N302",
                    f"the candidates of a choice have equally many axes and one kind of number, "
                    f"not {type_text(first)} and {type_text(other)}",
                    "bring one of them to the other's axes, with `reshape` or `global_avgpool`",
                    (candidates[0][0], node),
                )
        if all(t is first or t == first for t in types):
            type = first
        else:
            dims: list[SpaceDim] = []
            for axis in range(first.rank):
                dim = self.table.lift(types[-1].dims[axis])
                for t, g in zip(reversed(types[:-1]), reversed(guards[:-1]), strict=True):
                    dim = self.table.choose(g, self.table.lift(t.dims[axis]), dim)
                dims.append(self.simplify(dim))
            parts: list[Parts] = []
            for axis, dim_ in enumerate(dims):
                kept = {t.parts[axis] if t.parts else None for t in types}
                parts.append(kept.pop() if len(kept) == 1 and first.dims[axis] == dim_ else None)
            type = TensorType(tuple(dims), first.dtype, self.tidy_parts(parts, dims))
        reads = [(node, g) for (node, _), g in zip(candidates, guards, strict=True)]
        return self.add(SELECT, reads, type, guard, scope, span, name=name, region=region, choice=choice)


def _item(index: int) -> Callable[[Any], Any]:
    found = _ITEMS.get(index)
    if found is None:

        def found(leaf: Any) -> Any:
            return leaf[index]

        _ITEMS[index] = found
    return found


_ITEMS: dict[int, Callable[[Any], Any]] = {}


def rests_on_choices(value: Any) -> bool:
    return isinstance(value, Diagram) or (isinstance(value, tuple) and any(map(rests_on_choices, value)))


def _one_part(dim: SpaceDim) -> Parts:
    """A size that rests on choices as one part of its axis; None where it doesn't, or rests on a free size as well."""
    if not isinstance(dim, Diagram):
        return None
    sizes = dim.leaves()
    return (Part(max(sizes), dim),) if all(isinstance(size, int) for size in sizes) else None


def _succeeds(leaf: Any) -> bool:
    return not isinstance(leaf, Failure)


def _together(*items: Any) -> Any:
    return items


def type_text(type: TensorType) -> str:
    """``[16, 32, 32]``; a size that rests on choices is shown as its values."""

    def size(dim: SpaceDim) -> str:
        if isinstance(dim, Diagram):
            return "|".join(map(str, dim.leaves()))
        return str(dim)

    return ("int" if type.dtype == "int" else "") + "[" + ", ".join(map(size, type.dims)) + "]"
