"""Where entries go when a tensor is reshaped and transposed: followed exactly, by moving whole numbers instead of data."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from nasdsl.lifting.trace import call, operator, shape

RESHAPES = frozenset(
    {
        "view",
        "_unsafe_view",
        "reshape",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "view_as",
        "reshape_as",
    }
)
"""Operators that keep the order of the entries."""

COPIES = frozenset({"contiguous", "clone", "alias", "detach", "lift_fresh_copy", "_to_copy", "to", "detach_"})
"""Operators that change no entry."""

MOVES = (
    RESHAPES
    | COPIES
    | {"transpose", "permute", "select", "slice", "chunk", "split", "t", "getitem", "unbind"}
)
"""Operators whose every output entry is one of their first input's."""


def moves(node: fx.Node) -> bool:
    return node.op == "call_function" and operator(node) in MOVES


def source(node: fx.Node) -> fx.Node:
    """What a node moves the entries of."""
    return node.all_input_nodes[0]


def origin(node: fx.Node) -> fx.Node:
    """The first node upstream that does more than move entries."""
    while moves(node):
        node = source(node)
    return node


def chain(node: fx.Node, start: fx.Node) -> list[fx.Node]:
    """The moves from ``start`` to ``node``, the first one first."""
    found: list[fx.Node] = []
    while node is not start:
        found.append(node)
        node = source(node)
    return found[::-1]


def moved(node: fx.Node, start: fx.Node, entries: Tensor) -> Tensor:
    """Where ``entries``, shaped as what ``start`` gives, are when ``node`` is reached."""
    values: dict[fx.Node, object] = {start: entries}
    for step in chain(node, start):
        if operator(step) in ("view", "_unsafe_view"):
            # The numbers may lie otherwise in memory than the data did.
            before = values[source(step)]
            assert isinstance(before, Tensor)
            values[step] = before.reshape(shape(step))
        else:
            values[step] = call(step, _with_constants(step, values))
    found = values[node]
    assert isinstance(found, Tensor)
    return found


def _with_constants(step: fx.Node, values: Mapping[fx.Node, object]) -> Mapping[fx.Node, object]:
    # `view_as` reads the shape of a second tensor.
    others = [n for n in step.all_input_nodes if n not in values]
    return {**values, **{n: torch.zeros(shape(n)) for n in others}} if others else values


def numbered(sizes: tuple[int, ...]) -> Tensor:
    """A tensor [*sizes] of the positions 0, 1, …"""
    count = 1
    for size in sizes:
        count *= size
    return torch.arange(count).reshape(sizes)
