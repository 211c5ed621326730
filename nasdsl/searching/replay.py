"""Strategies without a supernet: they see the space and the history, and nothing else.

Whatever such a strategy knows follows from its seed and the trials so far, so it has no state to keep: a search resumes
by being shown its history again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from nasdsl.searching.history import History, Trial
from nasdsl.searching.strategy import State
from nasdsl.searching.untried import untried
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.training.config import Config


class Replaying:
    """What such strategies share. A subclass says in :meth:`next` what to try, and may learn from trials in :meth:`tell`.

    Trials reach :meth:`tell` once each and in order; a history that does not go on from the last one is told anew,
    after :meth:`reset`.
    """

    Options: ClassVar[type[Config]] = Config
    presets: ClassVar[Mapping[str, Sequence[str]]] = {"published": ()}

    def __init__(self, space: Space, options: Any, seed: int) -> None:
        self.space = space
        self.options = options
        self.seed = seed
        self._told: Trial | None = None
        self._seen = 0
        self.reset()

    def reset(self) -> None:
        """Forgets every trial."""

    def tell(self, trial: Trial, number: int) -> None:
        """Learns from the trial of that number, counted from 0."""

    def next(self, history: History) -> Genotype | None:
        """What to try next, once it was told of the whole history; None ends the search."""
        raise NotImplementedError

    def propose(self, history: History) -> Genotype | None:
        if self._seen > len(history) or (self._seen and history[self._seen - 1] is not self._told):
            self._seen = 0
            self.reset()
        for number in range(self._seen, len(history)):
            self.tell(history[number], number)
        self._seen = len(history)
        self._told = history[-1] if history else None
        return self.next(history)

    def untried(self, history: History, name: str, *, uniform: bool = False) -> Genotype | None:
        """A random genotype that was not tried yet; None where there seems to be none left."""
        return untried(self.space, history, self.seed, name, uniform=uniform)

    def state(self) -> State:
        return {}, {}

    def restore(self, state: State) -> None:
        pass


def fitness(trial: Trial) -> float:
    """The metric; minus infinity where a trial failed, so that it never wins."""
    return trial.metric if trial.metric == trial.metric else float("-inf")
