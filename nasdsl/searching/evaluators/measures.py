"""Measures as scores: what can be said of an architecture without running it."""

from __future__ import annotations

from typing import Any, ClassVar

from nasdsl.searching.evaluators.evaluator import EVALUATORS, Given
from nasdsl.space.choice import Genotype
from nasdsl.training.config import Config
from nasdsl.training.train import Evaluation


class Measured:
    """A measure, the larger the better."""

    Options: ClassVar[type[Config]] = Config
    score_name: ClassVar[str]

    def __init__(self, given: Given, options: Any) -> None:
        self.space = given.space

    def score(self, genotype: Genotype, budget: int = 0) -> Evaluation:
        value = float(getattr(self.space.measure(genotype), self.score_name))
        return Evaluation(-value, value, 0)


@EVALUATORS.add("params")
class Params(Measured):
    """The number of parameters. A baseline that a proxy has to beat (White et al., "A Deeper Look at Zero-Cost Proxies",
    2022)."""

    score_name: ClassVar[str] = "params"


@EVALUATORS.add("flops")
class Flops(Measured):
    """The number of multiply-adds. A baseline that a proxy has to beat (White et al., "A Deeper Look at Zero-Cost
    Proxies", 2022)."""

    score_name: ClassVar[str] = "flops"
