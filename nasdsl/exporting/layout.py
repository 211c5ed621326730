"""Python text, laid out as a formatter would: what doesn't fit on a line is broken at its outermost brackets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Union

WIDTH = 100
INDENT = 4


@dataclass(frozen=True, slots=True)
class Bracket:
    """``head`` and an open bracket, items between commas, a closed bracket: a call, a list or a tuple."""

    head: str
    items: tuple[Node, ...]
    ends: str = "()"
    tail: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """Operands with operators between them."""

    operands: tuple[Node, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parentheses:
    """An operand in brackets."""

    inner: Node


@dataclass(frozen=True, slots=True)
class Comprehension:
    """``[element for target in source]``."""

    head: str
    element: Node
    target: str
    source: Node


Node = Union[str, Bracket, Chain, Parentheses, Comprehension]


def call(head: str, *items: Node) -> Bracket:
    return Bracket(head, tuple(items))


def flat(node: Node) -> str:
    """The text on one line.

    >>> flat(call("f", "x", Bracket("", ("a", "b"), "[]"), "k=1"))
    'f(x, [a, b], k=1)'
    """
    if isinstance(node, str):
        return node
    if isinstance(node, Bracket):
        comma = "," if node.ends == "()" and not node.head and len(node.items) == 1 else ""
        return f"{node.head}{node.ends[0]}{', '.join(map(flat, node.items))}{comma}{node.ends[1]}{node.tail}"
    if isinstance(node, Parentheses):
        return f"({flat(node.inner)})"
    if isinstance(node, Comprehension):
        return f"{node.head}[{flat(node.element)} for {node.target} in {flat(node.source)}]"
    first, *others = node.operands
    return flat(first) + "".join(f" {o} {flat(n)}" for o, n in zip(node.operators, others, strict=True))


def statement(indent: int, prefix: str, node: Node, comment: str = "") -> list[str]:
    """The lines of ``prefix`` and an expression, with a comment behind them where there is room.

    >>> print("\\n".join(statement(90, "x = ", call("f", "y", "z"))))
                                                                                              x = f(
                                                                                                  y, z
                                                                                              )
    """
    lines = _broken(indent, prefix, node, "")
    if comment and len(lines[-1]) + 4 + len(comment) <= WIDTH:
        lines[-1] += f"  # {comment}"
    return lines


def _broken(indent: int, prefix: str, node: Node, suffix: str) -> list[str]:
    margin, deeper = " " * indent, indent + INDENT
    line = f"{margin}{prefix}{flat(node)}{suffix}"
    if len(line) <= WIDTH or isinstance(node, str):
        return [line]
    if isinstance(node, Bracket):
        inner = ", ".join(map(flat, node.items))
        # Arguments may stand on one line of their own, the entries of a list or tuple may not.
        if deeper + len(inner) <= WIDTH and (node.head or len(node.items) == 1):
            body = [f"{' ' * deeper}{inner}"]
        else:
            # A single argument takes no comma behind it.
            comma = "," if len(node.items) > 1 else ""
            body = [text for item in node.items for text in _broken(deeper, "", item, comma)]
        return [
            f"{margin}{prefix}{node.head}{node.ends[0]}",
            *body,
            f"{margin}{node.ends[1]}{node.tail}{suffix}",
        ]
    if isinstance(node, Parentheses):
        return [f"{margin}{prefix}(", *_broken(deeper, "", node.inner, ""), f"{margin}){suffix}"]
    if isinstance(node, Comprehension):
        return [
            f"{margin}{prefix}{node.head}[",
            *_broken(deeper, "", node.element, ""),
            *_broken(deeper, f"for {node.target} in ", node.source, ""),
            f"{margin}]{suffix}",
        ]
    whole = f"{' ' * deeper}{flat(node)}"
    if len(whole) <= WIDTH:
        body = [whole]
    else:
        first, *others = node.operands
        body = _broken(deeper, "", first, "")
        for operator, operand in zip(node.operators, others, strict=True):
            body += _broken(deeper, f"{operator} ", operand, "")
    return [f"{margin}{prefix}(", *body, f"{margin}){suffix}"]


def literal(value: Any) -> str:
    """A value as it stands in code; a rational as a decimal where that is exact, else as a quotient.

    >>> literal((3, Fraction(1, 10), True)), literal(Fraction(1, 3))
    ('(3, 0.1, True)', '1 / 3')
    """
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        decimal = repr(float(value))
        return decimal if Fraction(decimal) == value else f"{value.numerator} / {value.denominator}"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value)


def listing(values: Sequence[Any]) -> Bracket:
    """A list that may be broken between its entries."""
    return Bracket("", tuple(literal(value) for value in values), "[]")
