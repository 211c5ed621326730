"""Which of the tensors that a network adds up come from a candidate: the paths that drop-path may drop.

In DARTS' evaluation these are the outputs of a cell's edges, all but the identities. Here a tensor of a sum (or a mean)
is such a path if it exists only because a choice took it, while the sum exists in any case. A skip connection hands on
a tensor that is there without it, so it is none; the whole term of a residual block without choices is none either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasdsl.space.architecture import Architecture
    from nasdsl.space.space import Space


def candidate_paths(space: Space, architecture: Architecture) -> dict[int, tuple[int, ...]]:
    """For each step that adds up candidates, which of its inputs are such. What happens inside a scan is left out:
    there the dropouts of recurrent networks act, which keep one mask for a whole sequence."""
    found: dict[int, tuple[int, ...]] = {}
    for step in architecture.steps:
        if step.operation not in ("sum", "mean"):
            continue
        paths = tuple(i for i, source in enumerate(step.inputs) if _is_candidate(space, source, step.id))
        if paths:
            found[step.id] = paths
    return found


def _is_candidate(space: Space, source: int, reader: int) -> bool:
    if source < 0:  # zeros that the sum needs for its size
        return False
    made, added = space.graph.node(source).guard, space.graph.node(reader).guard
    # Where the sum exists, does the tensor always exist too?
    return space.table.both(added, made) is not added
