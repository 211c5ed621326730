"""An evaluator: the shorter a genotype's text, the better."""

from __future__ import annotations

from typing import ClassVar

from nasdsl.searching.evaluators import Given
from nasdsl.space.choice import Genotype
from nasdsl.training.config import Config
from nasdsl.training.train import Evaluation


class BrevityOptions(Config):
    """None."""


class Brevity:
    """Minus the number of letters that say a genotype. From no paper."""

    Options: ClassVar[type[Config]] = BrevityOptions
    score_name: ClassVar[str] = "brevity"

    def __init__(self, given: Given, options: BrevityOptions) -> None:
        pass

    def score(self, genotype: Genotype, budget: int) -> Evaluation:
        return Evaluation(float(len(genotype.text)), -float(len(genotype.text)), 1)
