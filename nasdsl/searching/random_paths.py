"""What strategies share that learn nothing but the weights: random paths, and the ranking of random genotypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor

from nasdsl.searching.history import History
from nasdsl.searching.strategy import Path, State
from nasdsl.searching.untried import untried
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.training.seeds import derive


class RandomPaths:
    """Each minibatch trains one random genotype's sub-network, drawn choice by choice. Then as many random genotypes as
    ``options.candidates`` says are scored, none of them twice."""

    learns: ClassVar[bool] = False

    def __init__(self, space: Space, options: Any, seed: int) -> None:
        self.space = space
        self.options = options
        self.seed = seed
        self.drawn = 0

    def start_epoch(self, epoch: int, epochs: int) -> dict[str, float]:
        return {}

    def paths(self) -> Sequence[Path]:
        self.drawn += 1
        return [Path(self.space.sample(derive(self.seed, "path", self.drawn)))]

    def architecture_step(self, supernet: Supernet, loss: Callable[[Path], Tensor]) -> float:
        raise NotImplementedError("nothing is learned but the weights")

    def probabilities(self) -> dict[str, list[float]]:
        return {}

    @property
    def proposals(self) -> int:
        found: int = self.options.candidates
        return found

    def propose(self, history: History) -> Genotype | None:
        if len(history) >= self.options.candidates:
            return None
        return untried(self.space, history, self.seed, "candidate")

    def state(self) -> State:
        return {}, {"drawn": self.drawn}

    def restore(self, state: State) -> None:
        self.drawn = state[1]["drawn"]
