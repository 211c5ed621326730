"""What an expression can stand for while a space is elaborated."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Union

from nasdsl.diagnostics import Span
from nasdsl.language import syntax
from nasdsl.language.naming import Step
from nasdsl.space.diagram import Diagram
from nasdsl.space.operation import Operation
from nasdsl.space.size import Size


@dataclass(frozen=True, slots=True)
class Tensor:
    """A node of the space graph."""

    node: int


@dataclass(frozen=True, slots=True)
class Tuple:
    """Several tensors that only feed and unpack."""

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
    """A form that the elaborator knows itself: ``repeat``, ``sum``, ``len``, …"""

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
    """An operation expression that has not been used: its choices are made at each use.

    ``parameter`` is the name that it was handed over under; a use of it is called so.
    """

    expression: syntax.Expression
    names: Names


@dataclass(slots=True, eq=False)
class SharedOperation:
    """``shared w = …``: the first use makes the weights, later ones take them in the same order."""

    name: str
    template: Template
    step: Step
    span: Span
    owners: list[int] | None = None
    input_type: Any = None


@dataclass(frozen=True, slots=True)
class Measure:
    """``params`` or ``flops`` inside ``require``."""

    name: str


@dataclass(frozen=True, slots=True)
class Poison:
    """The value of a name whose assignment failed: what reads it fails without a second message."""


Number = Union[int, Fraction, Size]
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
OPERATIONS = (Primitive, Definition, Template, SharedOperation)


@dataclass(slots=True, eq=False)
class Names:
    """What names mean in a body: its own, then those around it.

    ``outer`` is the file or the space that a definition stands in. ``rebound`` are the names that more than one
    statement of this body assigns: a definition inside may not read them.
    """

    own: dict[str, Value] = field(default_factory=dict)
    outer: Names | None = None
    rebound: frozenset[str] = frozenset()

    def find(self, name: str) -> Value | None:
        names: Names | None = self
        while names is not None:
            if name in names.own:
                return names.own[name]
            names = names.outer
        return None

    def snapshot(self) -> Names:
        """The names as they are now, for an expression that is used later."""
        return Names(dict(self.own), self.outer, self.rebound)

    def all(self) -> list[str]:
        found: list[str] = []
        names: Names | None = self
        while names is not None:
            found += names.own
            names = names.outer
        return found
