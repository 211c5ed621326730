"""The kinds of choices that a space may have, and which of them a strategy can handle.

A strategy class declares what it handles as a set of :data:`KINDS` (``handles``; without it, everything). A space is
held against that before a search begins, and the contract tests hold the declaration against what the strategy does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasdsl.diagnostics import Span, failure
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.space.diagram import Diagram
from nasdsl.space.space import Space

KINDS: Mapping[str, str] = {
    "candidates": "one of several operations or tensors",
    "lists": "several of several, `choose k of`",
    "depths": "a chosen number of repetitions",
    "numbers": "a chosen number: a width, a kernel",
    "sizes": "candidates of different sizes",
    "conditions": "choices that exist only where another took something",
    "requirements": "`require` over choices or measures",
}
"""What each is, in words that follow "can't handle"."""

ALL = frozenset(KINDS)


def handled(strategy: type[Any]) -> frozenset[str]:
    """What a strategy class says that it handles."""
    declared: frozenset[str] = getattr(strategy, "handles", ALL)
    return declared


def kinds_of(space: Space) -> dict[str, tuple[str, Span | None]]:
    """The kinds of choices that a space has, each with the name of the first that is one and its place."""
    found: dict[str, tuple[str, Span | None]] = {}
    picked: set[int] = set()  # variables of choices whose candidates are tensors or depths
    for choice in space.choices:
        if choice.is_sublist:
            kind = "lists"
        else:
            kind = {"tensor": "candidates", "depth": "depths", "number": "numbers"}[choice.kind]
        found.setdefault(kind, (choice.name, choice.span))
        if choice.guard is not space.table.true:
            found.setdefault("conditions", (choice.name, choice.span))
        if choice.kind != "number":
            picked.update(choice.variables)
    for node in space.graph.all_nodes():
        if any(isinstance(dim, Diagram) and dim.support() & picked for dim in node.type.dims):
            found.setdefault("sizes", (node.name or node.operation, node.span))
            break
    if space.constraints or space.limits:
        found.setdefault("requirements", ("require", None))
    return found


def able(space: Space) -> list[str]:
    """The strategies that handle every kind of choice that a space has."""
    wanted = set(kinds_of(space))
    return sorted(name for name, kind in STRATEGIES.items() if wanted <= handled(kind))


def check_kinds(space: Space, name: str) -> None:
    """Raises NasError N942 where a space has what the strategy of that name can't handle, with those that can."""
    declared = handled(STRATEGIES.find(name))
    for kind, (what, span) in kinds_of(space).items():
        if kind in declared:
            continue
        raise failure(
            "N942",
            f"strategy `{name}` can't handle {KINDS[kind]}, and space `{space.name}` has one: `{what}`",
            f"these search it: {', '.join(able(space))}; `nasdsl strategies` says what each can handle",
            span,
        )
