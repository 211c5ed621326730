"""What an expression can stand for while a space is elaborated, and what names mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Union

from nasdsl.language import syntax
from nasdsl.language.stop import number_text
from nasdsl.space.diagram import Diagram
from nasdsl.space.operation import Operation
from nasdsl.space.size import Size

if TYPE_CHECKING:
    from nasdsl.language.place import Place
    from nasdsl.space.tensor import TensorType

Kind = Literal["tensor", "number", "boolean", "string", "list", "operation", "poison"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A node of the space graph."""

    node: int


@dataclass(frozen=True, slots=True)
class Tuple:
    """Several values that only feed and unpack."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class ListValue:
    """A list. ``guards`` is None, or says for each item where it is in the list: a sub-list that was chosen."""

    items: tuple[Value, ...]
    guards: tuple[Diagram, ...] | None = None


@dataclass(frozen=True, slots=True)
class Primitive:
    """An operation of the catalogue."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class Builtin:
    """A form that the language knows itself: ``repeat``, ``sum``, ``len``, …"""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """An ``op`` or ``cell`` with the names that it sees."""

    syntax: syntax.Define
    names: Names
    file: str

    @property
    def name(self) -> str:
        return self.syntax.name


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """An operation expression that has not been used: its choices are made at each use of it."""

    expression: syntax.Expression
    names: Names


@dataclass(slots=True, eq=False)
class SharedOperation:
    """``shared w = …``: one set of weights and choices. ``place`` is where the statement stands, and ``made`` what its
    uses have made so far: the first one makes it, later ones find it there."""

    name: str
    template: Template
    place: Place
    syntax: syntax.Shared
    made: dict[object, object] = field(default_factory=dict)
    input_types: list[TensorType] | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """``params`` or ``flops`` inside ``require``."""

    name: str


@dataclass(frozen=True, slots=True)
class Poison:
    """The value of a name whose assignment failed: what reads it fails without a second message."""


OPERATIONS = (Primitive, Definition, Template, SharedOperation)
Value = Union[
    Tensor,
    Tuple,
    ListValue,
    Primitive,
    Builtin,
    Definition,
    Template,
    SharedOperation,
    Measure,
    Poison,
    int,
    Fraction,
    Size,
    bool,
    str,
    Diagram,
]


class Names:
    """What names mean in a body: its own, then those around it.

    ``outer`` is the file or the space that a definition stands in. ``rebound`` are the names that are assigned more
    than once in this body: a definition inside may not read them. ``later`` are those that some statement of this body
    assigns, to tell a name that has no value yet from one that nobody knows.
    """

    __slots__ = ("_kept", "later", "outer", "own", "rebound")

    def __init__(self, own: dict[str, Value] | None = None, outer: Names | None = None) -> None:
        self.own: dict[str, Value] = {} if own is None else own
        self.outer = outer
        self.rebound: frozenset[str] = frozenset()
        self.later: frozenset[str] = frozenset()
        self._kept: Names | None = None

    def __setitem__(self, name: str, value: Value) -> None:
        self.own[name] = value
        self._kept = None

    def drop(self, name: str, before: Value | None) -> None:
        """Takes a loop variable away again; ``before`` is what the name stood for outside the loop."""
        if before is None:
            self.own.pop(name, None)
        else:
            self.own[name] = before
        self._kept = None

    def snapshot(self) -> Names:
        """The names as they are now, for an expression that is used later."""
        if self._kept is None:
            kept = Names(dict(self.own), self.outer)
            kept.rebound, kept.later = self.rebound, self.later
            self._kept = kept
        return self._kept

    def copy(self) -> Names:
        """The names as they are now, for a comprehension that adds its own."""
        inner = Names(dict(self.own), self.outer)
        inner.rebound, inner.later = self.rebound, self.later
        return inner

    def all(self) -> list[str]:
        found: list[str] = []
        names: Names | None = self
        while names is not None:
            found += names.own
            names = names.outer
        return found


def is_rational(value: object) -> bool:
    return isinstance(value, (int, Fraction)) and not isinstance(value, bool)


def is_whole(value: int | Size) -> bool:
    """Whether a size is whole, whatever its free dimensions are: `T // 2` is, `T / 2` may not be."""
    if not isinstance(value, Size):
        return True
    for monomial, coefficient in value.terms.items():
        if not isinstance(coefficient, int):
            return False
        for atom in monomial:
            if not isinstance(atom, str) and (
                atom[0] == "/" or not is_whole(atom[1]) or not is_whole(atom[2])
            ):
                return False
    return True


def kind_of(value: Value | None) -> Kind:
    """A value's kind, as the language's manual counts them."""
    if isinstance(value, (Tensor, Tuple)):
        return "tensor"
    if isinstance(value, ListValue):
        return "list"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (*OPERATIONS, Builtin)):
        return "operation"
    if isinstance(value, Diagram):
        return "boolean" if any(isinstance(leaf, bool) for leaf in value.leaves()) else "number"
    if isinstance(value, Poison):
        return "poison"
    return "number"


def loop_label(value: Value, position: int) -> str:
    label = label_of(value)
    return label if label is not None else str(position)


def label_of(value: Value) -> str | None:
    """A loop variable's value as a label, where it is a number or a name."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, Fraction)) and not isinstance(value, bool):
        return number_text(value)
    if isinstance(value, Template) and isinstance(value.expression, syntax.Name):
        return value.expression.name
    return None


def leaves(value: Any) -> Sequence[Any]:
    """The values that a number takes, one where it doesn't rest on choices."""
    return value.leaves() if isinstance(value, Diagram) else (value,)


def flat(value: Value, lists: bool = False) -> list[Value]:
    """A tuple feeds its items one by one; with ``lists``, a list does too."""
    if isinstance(value, Tuple) or (lists and isinstance(value, ListValue)):
        return [inner for item in value.items for inner in flat(item, lists)]
    return [value]
