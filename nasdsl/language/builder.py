"""Builds the space graph node by node: types are inferred for the whole space as nodes are made.

Knows nothing of syntax. What is wrong is raised as :class:`Wrong`, with words and without a place: the elaborator knows
where in the text it happened.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, cast

from nasdsl.diagnostics import Span
from nasdsl.language.naming import Key, Step, readable
from nasdsl.space.choice import Choice
from nasdsl.space.conditions import condition_text
from nasdsl.space.diagram import UNDEFINED, Diagram, Diagrams, shortest_path
from nasdsl.space.graph import SELECT, Node, Scope
from nasdsl.space.operation import REQUIRED, Catalogue, Operation, ShapeError
from nasdsl.space.size import Size
from nasdsl.space.tensor import Dim, Part, Parts, Shape, SpaceDim, TensorType


class Wrong(Exception):
    """Something about the graph can't be. The elaborator adds the place."""

    def __init__(self, code: str, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help


@dataclass(frozen=True, slots=True)
class Failure:
    """A leaf of a size diagram where a shape rule said no."""

    message: str
    help: str | None


@dataclass(slots=True, eq=False)
class ChoiceRecord:
    """A choice in the making: named, and given its guard, when the whole space is known."""

    key: Key
    index: int
    labels: tuple[str, ...]
    kind: Literal["tensor", "number", "depth"]
    low: int | None
    high: int | None
    variables: tuple[int, ...]
    guard: Diagram
    span: Span
    values: tuple[object, ...]


@dataclass(slots=True)
class Limits:
    """Bounds on what a space may grow to, checked before anything is made."""

    nodes: int = 1_000_000
    uses: int = 1_000_000
    nesting: int = 200
    length: int = 1_000_000


def defined(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, undefined where one of its operands is."""

    def total(*operands: Any) -> Any:
        for operand in operands:
            if operand is UNDEFINED:
                return UNDEFINED
        return function(*operands)

    return total


def _divide(a: Any, b: Any) -> Any:
    if isinstance(a, Size) or isinstance(b, Size):
        return a / b
    return Fraction(a) / Fraction(b)


def _round(a: Any) -> Any:
    # Half away from zero, as people expect of sizes; Python rounds half to even.
    return int(a + Fraction(1, 2)) if a >= 0 else -int(-a + Fraction(1, 2))


ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    name: defined(function)
    for name, function in {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": _divide,
        "//": operator.floordiv,
        "%": operator.mod,
        "negate": operator.neg,
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "not": operator.not_,
        "min": min,
        "max": max,
        "round": _round,
    }.items()
}


@dataclass(eq=False)
class GraphBuilder:
    catalogue: Catalogue
    limits: Limits = field(default_factory=Limits)
    table: Diagrams = field(default_factory=Diagrams)
    nodes: list[Node] = field(default_factory=list)
    reads: list[list[tuple[int, Diagram]]] = field(default_factory=list)
    # For each node, who reads it and where the edge's guard holds.
    readers: list[list[tuple[int, Diagram]]] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    arities: list[int] = field(default_factory=list)
    choices: dict[Key, ChoiceRecord] = field(default_factory=dict)
    _types: dict[Any, TensorType] = field(default_factory=dict)

    # --- numbers -------------------------------------------------------------------------------

    def compute(self, name: str, *operands: Any) -> Any:
        """Arithmetic, comparison or logic on numbers that may rest on choices."""
        function = ARITHMETIC[name]
        if any(isinstance(operand, Diagram) for operand in operands):
            return self.simplify(self.table.map(function, *map(self.table.lift, operands)))
        value = function(*operands)
        return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else value

    @staticmethod
    def simplify(value: Any) -> Any:
        """A leaf as its plain value."""
        return value.value if isinstance(value, Diagram) and value.is_leaf else value

    def where(self, condition: Any, then: Any, otherwise: Any) -> Any:
        if not isinstance(condition, Diagram):
            return then if condition else otherwise
        return self.simplify(self.table.choose(condition, self.table.lift(then), self.table.lift(otherwise)))

    # --- choices -------------------------------------------------------------------------------

    def choice(
        self,
        step: Step,
        labels: Sequence[str],
        kind: Literal["tensor", "number", "depth"],
        guard: Diagram,
        span: Span,
        bounds: tuple[int, int] | None = None,
    ) -> ChoiceRecord:
        """The choice at ``step``: a new one, or, where a cell or shared weights are used again, the one made before."""
        duplicates = sorted({label for label in labels if labels.count(label) > 1})
        if duplicates:
            raise Wrong(
                "N402",
                f"two candidates of one choice are labelled `{duplicates[0]}`",
                f"write a label before one of them: `other: {duplicates[0]}`",
            )
        key = step.key()
        low, high = bounds if bounds is not None else (None, None)
        found = self.choices.get(key)
        if found is not None:
            if found.labels != tuple(labels) or (found.low, found.high) != (low, high):
                raise Wrong(
                    "N403",
                    f"the choice `{self.names()[key]}` has the candidates {listed(labels)} here, "
                    f"but {listed(found.labels)} at an earlier use ({found.span})",
                    "uses of a cell make the same choices; make it an `op` where they should differ",
                )
            found.guard = self.table.either(found.guard, guard)
            return found
        arities = [len(labels)] if bounds is None else [2] * len(labels)
        first = len(self.arities)
        self.arities += arities
        variables = tuple(range(first, first + len(arities)))
        record = ChoiceRecord(
            key, len(self.choices), tuple(labels), kind, low, high, variables, guard, span, ()
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
        names = self.names()
        return tuple(
            Choice(
                c.index, names[c.key], c.labels, c.guard, c.variables, c.kind, c.span, c.low, c.high, c.values
            )
            for c in self.choices.values()
        )

    def where_text(self, path: Mapping[int, int]) -> str:
        """A partial genotype in the language's own syntax, for messages: ``width == "24" and …``."""
        return condition_text(self.finished_choices(), path)

    # --- types ---------------------------------------------------------------------------------

    def type_of(self, node: int) -> TensorType:
        return self.nodes[node].type

    def proved(self, value: Any, guard: Diagram) -> Any:
        """A diagram whose failures all lie outside the guard, freed of them; raises Wrong for one inside.

        The smallest genotype that reaches the failure goes into the message.
        """
        if not isinstance(value, Diagram):
            if isinstance(value, Failure):
                raise Wrong("N301", value.message, value.help)
            return value
        if not any(isinstance(leaf, Failure) for leaf in value.leaves()):
            return self.simplify(value)
        inside = self.table.within(value, guard)
        path = shortest_path(inside, lambda leaf: isinstance(leaf, Failure))
        if path is not None:
            leaf = inside
            while not leaf.is_leaf:
                leaf = leaf.cases[path[leaf.variable]]
            text = self.where_text(path)
            where = f", where {text}" if text else ""
            raise Wrong("N301", leaf.value.message + where, leaf.value.help)
        return self.simplify(inside)

    def infer(
        self,
        operation: Operation,
        types: Sequence[TensorType],
        settings: Mapping[str, Any],
        guard: Diagram,
        present: Sequence[Diagram] | None = None,
    ) -> TensorType:
        """The output's type in every architecture, from the shape rule for one.

        ``present`` says for each input of a reduction where it is there. Raises Wrong with the smallest genotype that
        breaks the rule.
        """
        elastic = any(isinstance(value, Diagram) for value in settings.values())
        if not elastic and all(t.is_static for t in types):
            shapes = [Shape(cast(tuple[Dim, ...], t.dims), t.dtype) for t in types]
            if present is None or operation.name != "concat" or all(p is self.table.true for p in present):
                key = (
                    operation.name,
                    tuple((t.dims, t.dtype) for t in types),
                    tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in settings.items()),
                )
                found = self._types.get(key)
                if found is None:
                    try:
                        shape = operation.shape(shapes, **settings)
                    except ShapeError as error:
                        if present is None or all(p is self.table.true for p in present):
                            raise Wrong("N301", error.message, error.help) from None
                    else:
                        found = self._types[key] = TensorType(shape.dims, shape.dtype)
                if found is not None:
                    if any(t.parts for t in types):
                        parts = self._output_parts(operation, types, settings, found.dims, present)
                        return TensorType(found.dims, found.dtype, parts)
                    return found
        names = list(settings)
        ranks = [t.rank for t in types]
        dtypes = [t.dtype for t in types]
        checked = present is not None

        def rule(*values: Any) -> Any:
            if any(value is UNDEFINED for value in values):
                return UNDEFINED
            failed = next((value for value in values if isinstance(value, Failure)), None)
            if failed is not None:
                return failed
            offset = 0
            shapes = []
            for rank, dtype in zip(ranks, dtypes, strict=True):
                here = not checked or values[offset]
                offset += checked
                if here:
                    shapes.append(Shape(tuple(values[offset : offset + rank]), dtype))
                elif operation.name != "concat" and not shapes:
                    spare.append(Shape(tuple(values[offset : offset + rank]), dtype))
                offset += rank
            given = dict(zip(names, values[offset:], strict=True))
            if not shapes:
                # Nothing is there: the sum is absent, and keeps a shape that any of them would have had.
                if not spare:
                    return Failure("a `concat` of nothing has no size", "choose at least one of its elements")
                shapes = spare[:1]
            try:
                shape = operation.shape(shapes, **given)
            except ShapeError as error:
                return Failure(error.message, error.help)
            finally:
                spare.clear()
            return (shape.dtype, *shape.dims)

        spare: list[Shape] = []
        operands: list[Diagram] = []
        for i, t in enumerate(types):
            if present is not None:
                operands.append(present[i])
            operands += [self.table.lift(dim) for dim in t.dims]
        operands += [self.table.lift(value) for value in settings.values()]
        whole = self.proved(self.table.map(rule, *operands, remember=False), guard)
        if not isinstance(whole, Diagram):
            return self._with_parts(operation, types, settings, whole[1:], whole[0], present)
        ranks_out = {len(leaf) for leaf in whole.leaves() if leaf is not UNDEFINED}
        if len(ranks_out) > 1:
            raise Wrong("N302", f"`{operation.name}` would give tensors of {listed(map(str, sorted(ranks_out)))} axes")
        dtype = next(leaf[0] for leaf in whole.leaves() if leaf is not UNDEFINED)
        dims = tuple(
            self.simplify(self.table.map(_item(axis + 1), whole)) for axis in range(ranks_out.pop() - 1)
        )
        return self._with_parts(operation, types, settings, dims, dtype, present)

    def _with_parts(
        self,
        operation: Operation,
        types: Sequence[TensorType],
        settings: Mapping[str, Any],
        dims: tuple[SpaceDim, ...],
        dtype: str,
        present: Sequence[Diagram] | None,
    ) -> TensorType:
        return TensorType(dims, dtype, self._output_parts(operation, types, settings, dims, present))

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
                # An element that may be missing is an axis part that may be empty.
                parts = tuple(
                    tuple(Part(p.limit, self.where(present[i], p.size, 0)) for p in self._as_parts(own, dim))
                    for own, dim in zip(parts, t.dims, strict=True)
                )
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
            if parts is None and isinstance(dim, Diagram):
                parts = (Part(self.largest(dim), dim),)
            tidy.append(parts)
        return tuple(tidy) if any(parts is not None for parts in tidy) else ()

    def _as_parts(self, parts: Parts, dim: SpaceDim) -> tuple[Part, ...]:
        if parts is not None:
            return parts
        return (Part(self.largest(dim), dim),)

    def largest(self, dim: SpaceDim) -> int:
        """The largest that a size gets in the space (a free size counts as 0: it sizes no weight)."""
        if isinstance(dim, Diagram):
            return max((leaf for leaf in dim.leaves() if isinstance(leaf, int)), default=0)
        return dim if isinstance(dim, int) else 0

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
        if id >= self.limits.nodes:
            raise Wrong(
                "N604",
                f"the space has more than {self.limits.nodes} nodes",
                "make it smaller, or raise the bound with `--limit nodes=…`",
            )
        self.nodes.append(
            Node(
                id, operation, settings or {}, type, guard, scope, span, name,
                id if owner is None else owner, region, choice,
            )
        )  # fmt: skip
        self.reads.append(list(reads))
        self.readers.append([])
        for source, edge_guard in reads:
            self.readers[source].append((id, edge_guard))
        return id

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
        types = [self.nodes[node].type for node, _ in candidates]
        guards = [self.table.both(guard, g) for _, g in candidates]
        live = [t for t, g in zip(types, guards, strict=True) if g is not self.table.false]
        first = live[0]
        for other in live[1:]:
            if other.rank != first.rank or other.dtype != first.dtype:
                raise Wrong(
                    "N302",
                    f"candidates of one choice differ in rank or kind: {type_text(first)} and {type_text(other)}",
                    "candidates give tensors of the same rank; `reshape` or `global_avgpool` one of them",
                )
        if all(t is first or t == first for t in live):
            type = first
        else:
            dims: list[SpaceDim] = []
            for axis in range(first.rank):
                dim = self.table.lift(live[-1].dims[axis])
                for t, g in reversed(list(zip(types, guards, strict=True))):
                    if g is not self.table.false:
                        dim = self.table.choose(g, self.table.lift(t.dims[axis]), dim)
                dims.append(self.simplify(dim))
            parts: list[Parts] = []
            for axis, dim_ in enumerate(dims):
                kept = {t.parts[axis] if t.parts else None for t in live}
                parts.append(kept.pop() if len(kept) == 1 and live[0].dims[axis] == dim_ else None)
            type = TensorType(tuple(dims), first.dtype, self.tidy_parts(parts, dims))
        reads = [(node, g) for (node, _), g in zip(candidates, guards, strict=True)]
        return self.add(
            SELECT, reads, type, guard, scope, span, name=name, region=region, choice=choice
        )


def _item(index: int) -> Callable[[Any], Any]:
    found = _ITEMS.get(index)
    if found is None:

        def found(leaf: Any) -> Any:
            return UNDEFINED if leaf is UNDEFINED else leaf[index]

        _ITEMS[index] = found
    return found


_ITEMS: dict[int, Callable[[Any], Any]] = {}


def type_text(type: TensorType) -> str:
    """``[16, 32, 32]``; a size that rests on choices is shown as its values."""

    def size(dim: SpaceDim) -> str:
        if isinstance(dim, Diagram):
            return "|".join(str(leaf) for leaf in dim.leaves() if not isinstance(leaf, (Failure, type_undefined)))
        return str(dim)

    return ("int" if type.dtype == "int" else "") + "[" + ", ".join(map(size, type.dims)) + "]"


type_undefined = UNDEFINED.__class__


def listed(words: Any) -> str:
    """``a, b and c``."""
    words = [str(word) for word in words]
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]
