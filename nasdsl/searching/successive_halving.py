"""Successive halving: little is spent on many, much on few."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from nasdsl.searching.history import History
from nasdsl.searching.replay import Replaying
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.space.choice import Genotype
from nasdsl.training.config import Config
from nasdsl.training.seeds import derive


class SuccessiveHalvingOptions(Config):
    candidates: int = Field(default=27, ge=1, description="random genotypes in the first round")
    eta: int = Field(
        default=3, ge=2, description="one in so many goes on, and so many times as much is spent on it"
    )
    least: int = Field(default=1, ge=1, description="epochs of training in the first round")
    most: int = Field(
        default=0, ge=0, description="no round with more epochs than this; 0 goes on until one is left"
    )


@STRATEGIES.add("successive_halving")
class SuccessiveHalving(Replaying):
    """Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016; for
    architectures Li & Talwalkar, UAI 2019 (ASHA).

    Round r trains each of its n_r genotypes for least · eta^r epochs, and the best n_r / eta go on to round r + 1, until
    one is left. It wants an evaluator that trains (``--evaluator train``).

    Deviates: a genotype that goes on is trained from the start, and all of its epochs are counted, for the schedule of a
    recipe spans its epochs and has brought the learning rate down at their end. The authors go on with the weights that
    there are.
    """

    Options: ClassVar[type[Config]] = SuccessiveHalvingOptions

    def rounds(self) -> list[tuple[int, int]]:
        """How many genotypes each round has, and how many epochs it trains them.

        >>> from nasdsl.searching.contract import small_space
        >>> made = SuccessiveHalving(small_space("candidates"), SuccessiveHalvingOptions(candidates=10), 0)
        >>> made.rounds()
        [(10, 1), (3, 3), (1, 9)]
        """
        options = self.options
        found: list[tuple[int, int]] = []
        count, epochs = options.candidates, options.least
        while count and not (found and options.most and epochs > options.most):
            found.append((count, epochs))
            count, epochs = count // options.eta, epochs * options.eta
        return found

    def at(self, history: History) -> tuple[int, int, int] | None:
        """The round of the next trial, the number of trials before that round, and the place in it; None at the end."""
        before = 0
        for number, (count, _) in enumerate(self.rounds()):
            if len(history) < before + count:
                return number, before, len(history) - before
            before += count
        return None

    def budget(self, history: History) -> int:
        found = self.at(history)
        return self.rounds()[found[0] if found is not None else -1][1]

    def next(self, history: History) -> Genotype | None:
        found = self.at(history)
        if found is None:
            return None
        number, before, place = found
        if number == 0:
            return self.untried(history, "candidate") or self.space.sample(
                derive(self.seed, "again", len(history))
            )
        last = History(history[before - self.rounds()[number - 1][0] : before])
        # Those that failed go on only where too few others are left.
        genotype: Genotype = last.ranked()[place].genotype
        return genotype
