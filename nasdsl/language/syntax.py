"""The syntax tree: frozen data, named after the grammar, each node with its place in the text.

Brackets that only group are not kept: the formatter puts them back where precedence asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from nasdsl.diagnostics import Span


@dataclass(frozen=True, slots=True)
class Node:
    # Two trees are equal if they say the same, wherever they stand.
    span: Span = field(compare=False, repr=False)


# --- expressions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expression(Node):
    pass


@dataclass(frozen=True, slots=True)
class Number(Expression):
    """``16``, ``0.1``, ``5M``; ``text`` is as written."""

    value: Fraction
    text: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class String(Expression):
    value: str


@dataclass(frozen=True, slots=True)
class Boolean(Expression):
    value: bool


@dataclass(frozen=True, slots=True)
class Name(Expression):
    name: str


@dataclass(frozen=True, slots=True)
class Tuple(Expression):
    """``(a, b)``: two or more."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Clause(Node):
    """``for a, b in iterable if condition``."""

    targets: tuple[Target, ...]
    iterable: Expression
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Comprehension(Expression):
    """``element for … in …``, inside brackets, braces or a call."""

    element: Expression
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class List(Expression):
    """``[a, b]``, or ``[f(t) for t in n]`` where the only item is a comprehension."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Argument(Node):
    """A positional argument (``name`` is None) or ``name = value``."""

    name: str | None
    value: Expression
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """``function(arguments)``; an argument may be a comprehension."""

    function: Expression
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Index(Expression):
    """``n[i]``, or ``n[2..5]`` where ``index`` is a :class:`Range`."""

    value: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class Rest(Expression):
    """``n[2..]``."""

    value: Expression
    start: Expression


@dataclass(frozen=True, slots=True)
class Negate(Expression):
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    """``operator`` is one of ``+ - * / // %``."""

    operator: str
    left: Expression
    right: Expression
    operator_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Range(Expression):
    """``a..b``, both ends included."""

    low: Expression
    high: Expression


@dataclass(frozen=True, slots=True)
class Compare(Expression):
    """``operator`` is one of ``== != <= >= < > in``."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Not(Expression):
    operand: Expression


@dataclass(frozen=True, slots=True)
class Logical(Expression):
    """``operator`` is ``and`` or ``or``."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Pipe(Expression):
    """``a -> b -> c``, flattened: two or more stages."""

    stages: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class IfExpression(Expression):
    condition: Expression
    then: Expression
    otherwise: Expression


@dataclass(frozen=True, slots=True)
class Alternative(Node):
    """One candidate, with its label where one is written."""

    label: str | None
    value: Expression


@dataclass(frozen=True, slots=True)
class Alternatives(Expression):
    """``a | b | c``."""

    items: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Quantity(Node):
    """``any`` (``low`` is None), ``2`` (``high`` is None) or ``1..2``, before ``of``."""

    low: Expression | None
    high: Expression | None


@dataclass(frozen=True, slots=True)
class Choose(Expression):
    """``choose {…}`` (``quantity`` is None) or ``choose … of {…}``.

    With ``clauses`` it is a comprehension over its single alternative.
    """

    quantity: Quantity | None
    items: tuple[Alternative, ...]
    clauses: tuple[Clause, ...]


# --- statements -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Statement(Node):
    pass


@dataclass(frozen=True, slots=True)
class Target(Node):
    """``n`` or ``n[i]``."""

    name: str
    index: Expression | None


@dataclass(frozen=True, slots=True)
class Assign(Statement):
    """``a, b = x, y``."""

    targets: tuple[Target, ...]
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Shared(Statement):
    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class For(Statement):
    targets: tuple[Target, ...]
    iterable: Expression
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class If(Statement):
    """``otherwise`` holds a single :class:`If` for ``else if``."""

    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Return(Statement):
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Require(Statement):
    condition: Expression


# --- declarations -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Type(Node):
    """``int``, ``op``, ``[C, H, W]``, ``int[T]``: a name, dimensions, or both."""

    name: str | None
    dimensions: tuple[Expression, ...] | None


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    name: str
    type: Type | None
    default: Expression | None


@dataclass(frozen=True, slots=True)
class Input(Statement):
    """``input image: [3, 32, 32]``, inside a space."""

    name: str
    type: Type
    doc: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Define(Statement):
    """``op`` or ``cell``; ``body`` is an expression (after ``=``) or the statements of a block."""

    kind: str
    name: str
    parameters: tuple[Parameter, ...]
    body: Expression | tuple[Statement, ...]
    name_span: Span = field(compare=False, repr=False)
    doc: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Space(Node):
    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    name_span: Span = field(compare=False, repr=False)
    doc: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Imported(Node):
    name: str
    alias: str | None


@dataclass(frozen=True, slots=True)
class Import(Node):
    """``from "lib/cifar.nas" import sep_conv, dil_conv as dilated``."""

    path: str
    names: tuple[Imported, ...]
    path_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class File(Node):
    """A whole ``.nas`` file: imports first, then spaces and definitions in their order."""

    imports: tuple[Import, ...]
    items: tuple[Space | Define, ...]
