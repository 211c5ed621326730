"""Random genotypes that a search has not tried yet."""

from __future__ import annotations

from nasdsl.searching.history import History
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.training.seeds import derive

REPEATS = 100
"""So many draws in a row that were all tried before mean that the space is exhausted."""


def untried(
    space: Space, history: History, seed: int, name: str, *, uniform: bool = False
) -> Genotype | None:
    """A random genotype that is not in the history; None where there seems to be none left.

    ``name`` keeps its draws apart from others of the same seed; with ``uniform`` every architecture is equally likely.
    """
    for attempt in range(REPEATS):
        (genotype,) = space.sample(derive(seed, name, len(history), attempt), 1, uniform=uniform)
        if not history.has(genotype):
            return genotype
    return None
