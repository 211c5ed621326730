"""A strategy: between the best so far and one of its neighbours a coin decides."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from nasdsl.searching import History
from nasdsl.searching.kinds import ALL
from nasdsl.searching.strategy import State
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.training.config import Config
from nasdsl.training.seeds import derive


class CoinOptions(Config):
    heads: float = Field(
        default=0.5, ge=0, le=1, description="the chance that the best is changed, not a new one drawn"
    )


class Coin:
    """Tossed before each proposal: heads is a mutation of the best so far, tails a random genotype.

    Ours; a population of one, in the manner of Real et al., "Regularized Evolution for Image Classifier Architecture
    Search", AAAI 2019.
    """

    Options: ClassVar[type[Config]] = CoinOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {"published": ()}
    handles: ClassVar[frozenset[str]] = ALL

    def __init__(self, space: Space, options: CoinOptions, seed: int) -> None:
        self.space = space
        self.options = options
        self.seed = seed

    def propose(self, history: History) -> Genotype | None:
        seed = derive(self.seed, "proposal", len(history))
        if history and random.Random(seed).random() < self.options.heads:
            return self.space.mutate(history.best().genotype, random.Random(seed))
        return self.space.sample(seed)

    def state(self) -> State:
        return {}, {}

    def restore(self, state: State) -> None:
        pass
