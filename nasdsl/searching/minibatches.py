"""Which examples each step of a search sees: a matter of seed, epoch and step alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nasdsl.searching.settings import SearchSettings
from nasdsl.training.seeds import generator
from nasdsl.training.split import Split
from nasdsl.training.tasks import Task


class Minibatches:
    """The two halves of a task's training part, and the order in which steps go through them.

    ``weights`` is the half that weights are trained on, ``held_out`` the one for the architecture, rewards and scores.
    """

    def __init__(
        self, task: Task, settings: SearchSettings, device: torch.device, *, carried: bool = True
    ) -> None:
        """Where nothing is ``carried``, a text is shuffled like anything else."""
        self.size = settings.search.batch
        self.seed = settings.seed
        self.device = device
        self.weights, self.held_out = task.halves(settings.seed)
        if not carried:
            self.weights = replace(self.weights, carried=False)
            self.held_out = replace(self.held_out, carried=False)
        if settings.channels_last:
            self.weights, self.held_out = self.weights.channels_last(), self.held_out.channels_last()
        self._pass: tuple[tuple[str, int, int] | None, list[Tensor]] = (None, [])

    @property
    def steps(self) -> int:
        """Weight steps an epoch."""
        return max(1, len(self.weights) // self.size)

    def order(self, which: str, split: Split, *names: int) -> list[Tensor]:
        """The indices of the minibatches of one shuffled pass over a split, which goes by a name and numbers."""
        return split.order(self.size, generator(self.seed, which, *names))

    def cycled(self, which: str, split: Split, number: int, index: int) -> Split:
        """The minibatch of that index in an endless row of shuffled passes over a split."""
        steps = max(1, len(split) // self.size)
        key = (which, number, index // steps)
        if self._pass[0] != key:
            self._pass = (key, self.order(which, split, *key[1:]))
        return split.take(self._pass[1][index % steps])
