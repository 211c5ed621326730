"""Arithmetic on numbers that are written in a text."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from nasdsl.language import syntax

_OPERATORS: dict[str, Any] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else None,
    "//": lambda a, b: Fraction(a // b) if b else None,
    "%": lambda a, b: a % b if b else None,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
}


def folded(node: syntax.Node, words: Mapping[str, str]) -> Any:
    """The value of an expression of numbers that are written there or in ``words``; None where there are others."""
    match node:
        case syntax.Number():
            return node.value
        case syntax.Boolean():
            return node.value
        case syntax.Name():
            word = words.get(node.name)
            try:
                return Fraction(word) if word is not None else None
            except ValueError:
                return None
        case syntax.Negate():
            value = folded(node.operand, words)
            return None if value is None else -value
        case syntax.Not():
            value = folded(node.operand, words)
            return None if value is None else not value
        case syntax.Binary() | syntax.Compare() | syntax.Logical():
            left, right = folded(node.left, words), folded(node.right, words)
            if left is None or right is None:
                return None
            return _OPERATORS[node.operator](left, right) if node.operator in _OPERATORS else None
        case syntax.IfExpression():
            taken = folded(node.condition, words)
            return None if taken is None else folded(node.then if taken else node.otherwise, words)
        case syntax.List():
            values = [folded(item, words) for item in node.items]
            return None if any(value is None for value in values) else values
    return None
