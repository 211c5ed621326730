"""Pieces of text in place of nodes, and how they are put together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nasdsl.language import syntax
from nasdsl.language.format import number_text

Kind = Literal["same", "atom", "pipe", "loose"]


@dataclass(frozen=True)
class Piece:
    """A piece of text in place of a node: ``kind`` says how tightly it binds, and ``same`` that nothing changed."""

    text: str
    kind: Kind


def kind_of(node: syntax.Node) -> Kind:
    """How tightly a node's own text binds."""
    match node:
        case syntax.Pipe():
            return "pipe"
        case (
            syntax.Name()
            | syntax.Number()
            | syntax.String()
            | syntax.Boolean()
            | syntax.Call()
            | syntax.List()
            | syntax.Index()
            | syntax.Rest()
            | syntax.Choose()
        ):
            return "atom"
    return "loose"


def fitted(parent: syntax.Node, child: syntax.Node, piece: Piece) -> str:
    """A piece of text inside a node, in brackets where it would be read otherwise; the formatter drops needless ones."""
    if not isinstance(child, syntax.Expression) or isinstance(child, syntax.Comprehension):
        return piece.text
    if not isinstance(parent, syntax.Expression | syntax.Alternative | syntax.Define | syntax.Argument):
        return piece.text
    free = isinstance(parent, syntax.Define | syntax.Argument | syntax.List)
    if (
        piece.kind == "atom"
        or free
        or (piece.kind == "pipe" and isinstance(parent, syntax.Pipe | syntax.Alternative))
    ):
        return piece.text
    return f"({piece.text})"


def stage(text: str) -> str:
    """A text as a stage of a pipe."""
    return text if re.fullmatch(r"[\w.]+(\[[^\[\]|]*\])?(\([^|]*\))?", text) else f"({text})"


def apart(texts: Sequence[str]) -> str:
    """Definitions with a line between them; after several, one before what follows."""
    return "\n\n".join(texts) + ("\n" if len(texts) > 1 else "")


def value_text(value: Any) -> str:
    """A folded number or truth value as the language writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value)
