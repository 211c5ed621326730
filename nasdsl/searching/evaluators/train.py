"""Training from scratch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from nasdsl.searching.evaluators.evaluator import EVALUATORS, Given
from nasdsl.space.choice import Genotype
from nasdsl.supernet.alone import Alone
from nasdsl.training.config import Config
from nasdsl.training.seeds import derive
from nasdsl.training.train import Evaluation, evaluate, fit
from nasdsl.training.watch import Diverged


class TrainOptions(Config):
    epochs: int = Field(
        default=5,
        ge=1,
        description="passes over the weights' half; a strategy with budgets says how many itself",
    )


@EVALUATORS.add("train")
class Train:
    """Trains each genotype from scratch for a few epochs on one half of the training part, and scores it on the other.
    The measure that weight sharing and proxies stand in for (Zoph & Le, "Neural Architecture Search with Reinforcement
    Learning", ICLR 2017).

    The recipe is that of ``training``, its schedule over so many epochs. All genotypes have the same seed. One whose
    training diverges has no score.
    """

    Options: ClassVar[type[Config]] = TrainOptions
    score_name: ClassVar[str] = ""

    def __init__(self, given: Given, options: TrainOptions) -> None:
        self.given = given
        self.options = options
        self.task = replace(given.task, train=given.weights)

    @property
    def budget(self) -> int:
        return self.options.epochs

    def score(self, genotype: Genotype, budget: int) -> Evaluation:
        given = self.given
        network = Alone(given.space, genotype, seed=derive(given.seed, "weights"))
        network.to(given.weights.device)
        try:
            fit(
                network,
                self.task,
                given.recipe.lasting(budget),
                seed=given.seed,
                precision=given.precision,
                channels_last=given.channels_last,
            )
        except Diverged:
            return Evaluation(math.nan, math.nan, len(given.held_out))
        return evaluate(network, given.held_out, given.task.objective, precision=given.precision)
