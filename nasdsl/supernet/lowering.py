"""From the architecture of a path to the steps that are really run: the passes that are switched on, in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.operation import Catalogue
from nasdsl.space.remembered import Remembered
from nasdsl.supernet.common import share_common
from nasdsl.supernet.compiled import join_chains
from nasdsl.supernet.fuse import fuse_candidates
from nasdsl.supernet.inplace import relu_in_place
from nasdsl.supernet.node import join_nodes
from nasdsl.supernet.optimise import Optimisations
from nasdsl.supernet.recompute import recompute_segments


def lowered(
    architecture: Architecture,
    catalogue: Catalogue,
    optimise: Optimisations,
    rides: Callable[[Step], bool],
    compiles: Callable[[Step], bool] = lambda step: False,
    made: Remembered[Any, Any] | None = None,
) -> Architecture:
    """The same outputs from fewer or smaller steps. ``rides(step)`` says whether a step is a batch norm of its stored
    size, whose scale may carry a coefficient; ``compiles(step)`` whether it may be compiled. ``made``
    remembers what becomes of single steps, from one call with these arguments to the next."""
    if optimise.share:
        architecture = share_common(architecture, catalogue, made)
    if optimise.ride:
        architecture = join_nodes(architecture, rides, made)
    if optimise.ride and optimise.fuse != "off" and not optimise.recompute:
        architecture = fuse_candidates(architecture, optimise.fuse == "padded", made)
    if optimise.compile is not None:
        architecture = join_chains(architecture, compiles)
    if optimise.recompute:
        # What is computed again must still be there then, so no ReLU overwrites anything.
        return recompute_segments(architecture)
    if optimise.in_place:
        architecture = relu_in_place(architecture, made)
    return architecture
