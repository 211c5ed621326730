"""Random search with weight sharing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from nasdsl.searching.history import History
from nasdsl.searching.strategy import STRATEGIES, Path, State
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.batchnorm import Policy
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import derive


class RandomOptions(Config):
    candidates: int = Field(
        default=100, ge=1, description="random genotypes that are ranked with the shared weights"
    )


@STRATEGIES.add("random")
class Random:
    """Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019: with weight sharing.

    Each minibatch trains one random genotype's sub-network, drawn choice by choice, one cell for all its uses. Then ``candidates`` random
    genotypes are ranked by their accuracy on the part that the weights were not trained on, batch norms taking the
    statistics of the batch. Recipe and number of candidates are those of NAS-Bench-201.

    Deviates: candidates are ranked on the whole of that part, where the NAS-Bench-201 code looks at one minibatch of
    512 a candidate; the same genotype is not ranked twice.

    The preset ``demo`` trains for 100 epochs at a learning rate of 0.1 and ranks 50 candidates.
    """

    Options: ClassVar[type[Config]] = RandomOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": ("search.epochs=100", "search.lr=0.1", "options.candidates=50"),
    }
    recipe: ClassVar[Recipe] = Recipe(epochs=250, lr=0.025, lr_end=0.001)
    affine: ClassVar[bool] = False
    batch_norm: ClassVar[Policy] = "batch"
    learns: ClassVar[bool] = False

    def __init__(self, space: Space, options: RandomOptions, seed: int) -> None:
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
        raise NotImplementedError("random search learns nothing but the weights")

    def probabilities(self) -> dict[str, list[float]]:
        return {}

    def propose(self, history: History) -> Genotype | None:
        """A genotype that was not ranked yet; after a hundred repeats in a row the space is taken as exhausted."""
        if len(history) >= self.options.candidates:
            return None
        for attempt in range(100):
            genotype = self.space.sample(derive(self.seed, "candidate", len(history), attempt))
            if not history.has(genotype):
                return genotype
        return None

    def state(self) -> State:
        return {}, {"drawn": self.drawn}

    def restore(self, state: State) -> None:
        self.drawn = state[1]["drawn"]
