"""FairNAS: every candidate is trained as often as any other."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from nasdsl.searching.assign import follow, permitted, positions
from nasdsl.searching.spos import Spos, SposOptions
from nasdsl.searching.strategy import STRATEGIES, Path, State
from nasdsl.space.choice import Choice
from nasdsl.space.space import Space
from nasdsl.training.config import Config
from nasdsl.training.seeds import derive


class FairOptions(SposOptions):
    accumulate: Literal["sum", "mean"] = Field(
        default="sum", description="what an update makes of the gradients of its paths; sum as published"
    )
    tries: int = Field(default=100, ge=1, description="deals until every path of a step meets each `require`")


@STRATEGIES.add("fair")
class Fair(Spos):
    """Chu, Zhang & Xu, "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural Architecture Search", ICCV 2021.

    Strict fairness: for each weight step the m candidates of every choice are shuffled, m sub-networks are run on the
    same minibatch, the j-th with the j-th candidate of every choice, their gradients are added, and one update is made.
    So each candidate is updated exactly once a step. The winner is found as in ``spos``.

    Deviates:

    - With choices of different sizes m is the largest; a choice with fewer candidates is shuffled anew whenever it has
      run out, so that its candidates are used equally often up to one. A choice under a guard goes on where it was when
      it last existed. Of a sub-list as many as a uniform draw has are taken, the least used ones first.
    - Paths that break a ``require`` over choices are dealt again, and where that doesn't help drawn from the space; then
      fairness is regained over the next steps.
    - The paper searches with NSGA-II for accuracy, multiply-adds and parameters at once; here ``max_flops`` and
      ``max_params`` bound the latter. The recipe is that of NAS-Bench-201, where the paper trains on ImageNet.

    The preset ``demo`` trains for 40 epochs at a learning rate of 0.05; five generations of ten, half of each kind.
    """

    Options: ClassVar[type[Config]] = FairOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": (*Spos.presets["demo"], "search.epochs=40", "search.lr=0.05"),
    }

    def __init__(self, space: Space, options: FairOptions, seed: int) -> None:
        super().__init__(space, options, seed)
        self.accumulate = options.accumulate
        self.tries = options.tries
        self.uses = {choice.name: [0] * len(choice.labels) for choice in space.choices}
        self.count = max((len(choice.labels) for choice in space.choices), default=1)

    def paths(self) -> Sequence[Path]:
        self.drawn += 1
        chance = random.Random(derive(self.seed, "deal", self.drawn))
        weight = 1.0 if self.accumulate == "sum" else 1 / self.count
        return [Path(taken, weight=weight) for taken in self.deal(chance)]

    def deal(self, chance: random.Random) -> list[Mapping[str, str | tuple[str, ...]]]:
        """The step's genotypes; counts what they use."""
        start = {name: list(counts) for name, counts in self.uses.items()}
        for _ in range(self.tries):
            dealt = [
                follow(self.space, lambda choice: self.least_used(choice, chance)) for _ in range(self.count)
            ]
            if all(permitted(self.space, assignment) for _, assignment in dealt):
                return [genotype for genotype, _ in dealt]
            self.uses = {name: list(counts) for name, counts in start.items()}
        drawn = [self.space.sample(chance.getrandbits(62)) for _ in range(self.count)]
        for genotype in drawn:
            for name, value in genotype.items():
                for i in positions(self.space.choice(name), value):
                    self.uses[name][i] += 1
        return list(drawn)

    def least_used(self, choice: Choice, chance: random.Random) -> tuple[int, ...]:
        """The candidate that was used least, ties by chance: K in a row are a permutation."""
        counts = self.uses[choice.name]
        wanted = len(self.space.draw(choice, chance)) if choice.is_sublist else 1
        order = sorted(range(len(counts)), key=lambda i: (counts[i], chance.random()))
        taken = tuple(sorted(order[:wanted]))
        for i in taken:
            counts[i] += 1
        return taken

    def state(self) -> State:
        tensors, rest = super().state()
        return tensors, rest | {"uses": {name: list(counts) for name, counts in self.uses.items()}}

    def restore(self, state: State) -> None:
        super().restore(state)
        self.uses = {name: list(counts) for name, counts in state[1]["uses"].items()}
