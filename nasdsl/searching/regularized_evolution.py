"""Regularized evolution: tournaments among the young."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from nasdsl.searching.history import History, Trial
from nasdsl.searching.replay import Replaying, fitness
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.space.choice import Genotype
from nasdsl.training.config import Config
from nasdsl.training.seeds import derive


class EvolutionOptions(Config):
    population: int = Field(
        default=10, ge=1, description="trials that are alive: the youngest (10 in NAS-Bench-201)"
    )
    tournament: int = Field(
        default=3,
        ge=1,
        description="drawn with replacement, the best of which has a child (3 in NAS-Bench-201)",
    )


@STRATEGIES.add("regularized_evolution")
class RegularizedEvolution(Replaying):
    """Real, Aggarwal, Huang & Le, "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019.

    The first P trials are random. Then S of the population are drawn with replacement, the best of them is mutated in
    one choice, and the child takes the place of the oldest: the population is always the last P trials. The best of
    all trials wins. A child that was tried before is tried, and counted, again.

    P = 10 and S = 3 are those of NAS-Bench-201 (AutoDL-Projects, R_EA.py). The preset ``real2019`` has P = 100 and
    S = 25, as in the paper.
    """

    Options: ClassVar[type[Config]] = EvolutionOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "real2019": ("options.population=100", "options.tournament=25"),
    }

    def population(self, history: History) -> list[Trial]:
        """Those that are alive, the oldest first."""
        return list(history[-self.options.population :])

    def next(self, history: History) -> Genotype | None:
        generator = random.Random(derive(self.seed, "evolution", len(history)))
        if len(history) < self.options.population:
            return self.space.sample(generator.getrandbits(63))
        parent = max(generator.choices(self.population(history), k=self.options.tournament), key=fitness)
        return self.space.mutate(parent.genotype, generator)
