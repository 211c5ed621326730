"""Local search: from neighbour to better neighbour."""

from __future__ import annotations

import random
from typing import ClassVar

from pydantic import Field

from nasdsl.searching.history import History, Trial
from nasdsl.searching.replay import Replaying, fitness
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.space.choice import Genotype
from nasdsl.training.config import Config
from nasdsl.training.seeds import derive


class LocalSearchOptions(Config):
    starts: int = Field(
        default=10, ge=1, description="random genotypes before each descent, which begins at the best of them"
    )
    full_neighbourhood: bool = Field(
        default=False,
        description="try every neighbour and go to the best; else go to the first that is better",
    )


@STRATEGIES.add("local_search")
class LocalSearch(Replaying):
    """White, Nolen & Savani, "Exploring the Loss Landscape in Neural Architecture Search", UAI 2021 (local search).

    As in the released code (naszilla): the best of ``starts`` random genotypes is where a descent begins. Its
    neighbours, which differ in one choice, are tried in random order; the descent goes to the first that is better or,
    with ``full_neighbourhood``, to the best of all. Where none is better, it starts again. Nothing is tried twice.
    """

    Options: ClassVar[type[Config]] = LocalSearchOptions

    def reset(self) -> None:
        self.moves = 0
        self.starting: list[Trial] | None = []
        self.here: Trial | None = None
        self.better: Trial | None = None
        self.waiting: list[Genotype] = []

    def tell(self, trial: Trial, number: int) -> None:
        if self.starting is not None:
            self.starting.append(trial)
            if len(self.starting) == self.options.starts:
                self._go(max(self.starting, key=fitness), number)
            return
        assert self.here is not None
        if fitness(trial) > fitness(self.better or self.here):
            self.better = trial
            if not self.options.full_neighbourhood:
                self._move(number)

    def next(self, history: History) -> Genotype | None:
        while self.starting is None:
            while self.waiting:
                neighbour = self.waiting[-1]
                if not history.has(neighbour):
                    return neighbour
                self.waiting.pop()
            if self.better is not None:
                self._move(len(history))
            else:
                self.starting, self.here = [], None  # a local optimum
        start = self.untried(history, "start")
        if start is None and self.starting:
            # Hardly anything is left: descend from what there is.
            self._go(max(self.starting, key=fitness), len(history))
            return self.next(history)
        return start

    def _move(self, number: int) -> None:
        assert self.better is not None
        self.moves += 1
        self._go(self.better, number)

    def _go(self, trial: Trial, number: int) -> None:
        self.starting, self.here, self.better = None, trial, None
        self.waiting = self.space.neighbours(
            trial.genotype, derive(self.seed, "neighbours", number) & 0xFFFFFFFF
        )
        random.Random(derive(self.seed, "order", number)).shuffle(self.waiting)
