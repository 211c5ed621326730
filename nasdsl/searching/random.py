"""Random search with weight sharing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from nasdsl.searching.random_paths import RandomPaths
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.supernet.batchnorm import Policy
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe


class RandomOptions(Config):
    candidates: int = Field(
        default=100, ge=1, description="random genotypes that are ranked with the shared weights"
    )


@STRATEGIES.add("random")
class Random(RandomPaths):
    """Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019: with weight sharing.

    Each minibatch trains one random genotype's sub-network, drawn choice by choice, one cell for all its uses. Then
    ``candidates`` random genotypes are ranked by their accuracy on the part that the weights were not trained on, batch
    norms taking the statistics of the batch. Recipe and number of candidates are those of NAS-Bench-201.

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
