"""Random search: every genotype is scored on its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from nasdsl.searching.history import History
from nasdsl.searching.replay import Replaying
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.space.choice import Genotype
from nasdsl.training.config import Config


class RandomSearchOptions(Config):
    uniform: bool = Field(
        default=False,
        description="draw every architecture with the same probability, instead of choice by choice",
    )


@STRATEGIES.add("random_search")
class RandomSearch(Replaying):
    """Random search without weight sharing (Bergstra & Bengio, JMLR 2012; the baseline of NAS-Bench-201, 2020).

    No genotype is tried twice. Where all N architectures are equally likely, the best of n draws has rank
    (N + 1) / (n + 1) on average.
    """

    Options: ClassVar[type[Config]] = RandomSearchOptions

    def next(self, history: History) -> Genotype | None:
        return self.untried(history, "random search", uniform=self.options.uniform)
