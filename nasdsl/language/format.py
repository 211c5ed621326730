"""Placeholder until the formatter lands (its author overwrites this file)."""

from nasdsl.language import syntax


def format_expression(expression: syntax.Expression) -> str:
    return " ".join(expression.span.text.split())
