"""One-shot search with path dropout."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from nasdsl.searching.assign import positions
from nasdsl.searching.random_paths import RandomPaths
from nasdsl.searching.strategy import STRATEGIES, Path
from nasdsl.space.choice import Choice, Genotype
from nasdsl.space.space import Space
from nasdsl.supernet.batchnorm import Policy
from nasdsl.supernet.superposition import follow_superposed, superposable
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import derive


class OneShotOptions(Config):
    rate: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="r: the probability that all k paths into a node are dropped at the end; it has to be tuned",
    )
    ghosts: int = Field(
        default=32,
        ge=1,
        description="parts of a minibatch, each with paths and batch-norm statistics of its own; 32 of 32 examples as published",
    )
    join: Literal["mean", "sum"] = Field(
        default="mean",
        description="what becomes of the candidates of a choice of one that are on: their mean (ours), or their sum, as published",
    )
    l2: float = Field(
        default=5e-4,
        ge=0,
        description="penalty on the squares of the weights that are active (its size is ours)",
    )
    candidates: int = Field(
        default=100, ge=1, description="random genotypes that are scored with the shared weights (ours)"
    )


@STRATEGIES.add("one_shot")
class OneShot(RandomPaths):
    """Bender, Kindermans, Zoph, Vasudevan & Le, "Understanding and Simplifying One-Shot Architecture Search", ICML 2018.

    The supernet is trained with all candidates on, whose outputs are added, and path dropout. A choice with k candidates
    loses each of them with the probability

        p = t r^(1/k),     t from 0 in the first epoch to 1 in the last, in a straight line

    so that at the end it loses all with the probability r. Each minibatch falls into ghost batches, each with paths
    dropped by themselves and batch-norm statistics of its own, and the L2 penalty is on the weights of paths that are
    on, for each ghost batch by itself. Then random genotypes are scored with the shared weights, the other candidates
    off and the batch norms with the statistics of the batch. The authors train the best few from scratch: those of
    ``finalists.json`` (`nasdsl train RUN --top 10`).

    There is no released code; batch and ghost batch are from the paper, length and learning rate ours. Deviates: t moves
    by the epoch. The paper adds what is on everywhere, in blocks that end in a convolution and a batch norm, which take
    the scale out again. Where nothing does, all candidates together give more than one alone, and more with every cell:
    weights that were trained at one scale are scored at another, near chance (their order is right all the same). So
    where a choice is of one candidate, those that are on are averaged; ``join=sum`` adds them. Sub-lists are added where
    the space says so. Bounds of sub-lists and ``require`` hold for what is scored, and not for what is dropped. A choice
    that other sizes rest on (a width, a kernel) can't hold several candidates: it takes those of a random genotype.

    The preset ``demo`` trains for 100 epochs with minibatches of 64 in two ghost batches, and scores 50 genotypes.
    """

    Options: ClassVar[type[Config]] = OneShotOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": ("search.epochs=100", "search.batch=64", "options.ghosts=2", "options.candidates=50"),
    }
    recipe: ClassVar[Recipe] = Recipe(epochs=200, batch=1024, lr=0.1, nesterov=False, weight_decay=0.0)
    affine: ClassVar[bool] = True
    batch_norm: ClassVar[Policy] = "batch"

    def __init__(self, space: Space, options: OneShotOptions, seed: int) -> None:
        super().__init__(space, options, seed)
        self.several = superposable(space)
        self.share = 0.0

    # --- path dropout ----------------------------------------------------------------------------

    def start_epoch(self, epoch: int, epochs: int) -> dict[str, float]:
        self.share = epoch / (epochs - 1) if epochs > 1 else 1.0
        return {"path_dropout": self.share}

    def dropout(self, choice: Choice) -> float:
        """The probability that a candidate of a choice is off."""
        return self.share * self.options.rate ** (1 / len(choice.labels))

    def paths(self) -> Sequence[Path]:
        self.drawn += 1
        count = self.options.ghosts
        return [
            Path(
                self.mask(derive(self.seed, "ghost", self.drawn, i)),
                part=(i, count),
                l2=self.options.l2,
                join=self.options.join,
            )
            for i in range(count)
        ]

    def mask(self, seed: int) -> Genotype:
        """The candidates that stay on, of every choice that exists with them."""
        chance = random.Random(seed)
        whole = self.space.sample(seed) if len(self.several) < len(self.space.choices) else {}

        def decide(choice: Choice) -> tuple[int, ...]:
            if choice.name not in self.several:
                taken = whole[choice.name] if choice.name in whole else self.space.draw(choice, chance)
                return positions(choice, taken)
            off = self.dropout(choice)
            return tuple(i for i in range(len(choice.labels)) if chance.random() >= off)

        return follow_superposed(self.space, decide)
