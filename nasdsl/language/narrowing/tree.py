"""Ways through a syntax tree that keep to the order of its text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from nasdsl.language import syntax


def children(node: syntax.Node) -> Iterator[syntax.Node]:
    """The nodes directly below a node, in the order of the text."""
    found: list[syntax.Node] = []
    for spec in dataclasses.fields(node):
        value = getattr(node, spec.name)
        found += [
            item
            for item in (value if isinstance(value, tuple) else (value,))
            if isinstance(item, syntax.Node)
        ]
    return iter(sorted(found, key=lambda child: (child.span.start, child.span.end)))


def walk(node: syntax.Node) -> Iterator[syntax.Node]:
    """A node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def names_in(node: syntax.Node) -> set[str]:
    """The names that are read somewhere in a node."""
    return {found.name for found in walk(node) if isinstance(found, syntax.Name)}


def repeated(node: syntax.Node) -> syntax.Expression | None:
    """The operation that a call of ``repeat`` repeats."""
    if not isinstance(node, syntax.Call) or not isinstance(node.function, syntax.Name):
        return None
    if node.function.name != "repeat":
        return None
    named = {argument.name: argument.value for argument in node.arguments if argument.name is not None}
    positional = [argument.value for argument in node.arguments if argument.name is None]
    if "f" in named:
        return named["f"]
    wanted = 1 if "depth" in named else 2
    return positional[-wanted] if len(positional) >= wanted else None


def counts_in(node: syntax.Node) -> list[syntax.Call]:
    """The ``count("label")`` in a condition, in the order of the text."""
    return [
        found
        for found in walk(node)
        if isinstance(found, syntax.Call)
        and isinstance(found.function, syntax.Name)
        and found.function.name == "count"
        and len(found.arguments) == 1
        and isinstance(found.arguments[0].value, syntax.String)
    ]


def holds_choice(node: syntax.Node) -> bool:
    return any(isinstance(inner, syntax.Alternatives | syntax.Choose) for inner in walk(node))
