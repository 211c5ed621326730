"""Free dimensions: how long an input has to be at least."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nasdsl.space.diagram import Diagram
from nasdsl.space.size import Size

if TYPE_CHECKING:
    from nasdsl.space.space import Space


def least_sizes(space: Space) -> dict[str, int]:
    """For each free dimension the least that keeps every size at 1 or more, in every architecture.

    Sizes grow with the free dimensions that they rest on, so what is enough for one is enough beyond it. Where a size
    rests on several, they are raised together.
    """
    least: dict[str, int] = {}
    for size in dict.fromkeys(_sizes(space)):
        for name in sorted(size.names()):
            least.setdefault(name, 1)
        while size.at(least) < 1:
            for name in size.names():
                least[name] += 1
    return least


def _sizes(space: Space) -> Iterator[Size]:
    """The sizes with something free in them, where their tensors exist."""
    for node in space.graph.all_nodes():
        for dim in node.type.dims:
            if isinstance(dim, Diagram):
                dim = space.table.given(dim, node.guard)
                yield from (leaf for leaf in dim.leaves() if isinstance(leaf, Size))
            elif isinstance(dim, Size):
                yield dim
