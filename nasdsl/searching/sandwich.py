"""The sandwich rule: the largest, the smallest and some others, the largest being the others' teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from nasdsl.searching.assign import follow, positions
from nasdsl.searching.spos import Spos, SposOptions
from nasdsl.searching.strategy import STRATEGIES, Path
from nasdsl.space.choice import Choice, Genotype
from nasdsl.space.space import Space
from nasdsl.training.config import Config
from nasdsl.training.seeds import derive


class SandwichOptions(SposOptions):
    middle: int = Field(
        default=2, ge=0, description="random sub-networks a step, besides the largest and the smallest"
    )
    distil: bool = Field(
        default=True,
        description="the others learn what the largest says of the minibatch; else its targets, like the largest",
    )
    accumulate: Literal["sum", "mean"] = Field(
        default="sum", description="what an update makes of the gradients of its paths; sum as published"
    )


@STRATEGIES.add("sandwich")
class Sandwich(Spos):
    """Yu & Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019; for architectures Yu et
    al., "BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models", ECCV 2020.

    For elastic spaces, of widths, kernels and depths. Each weight step runs the largest sub-network on the minibatch's
    targets, then the smallest and ``middle`` random ones on what the largest says of the same minibatch (in-place
    distillation: its probabilities, without a gradient), adds the gradients, and makes one update. The winner is found
    as in ``spos``, with batch-norm statistics re-estimated for each genotype.

    The largest takes the largest number of every choice of a number or a depth, the smallest the smallest; choices of
    operations, which have no order, are drawn. A largest one that breaks a ``require`` is trained all the same, and
    never proposed. Deviates: the recipe is that of NAS-Bench-201; BigNAS trains on ImageNet, with regularisation of the
    largest alone.

    The preset ``demo`` trains for 40 epochs at a learning rate of 0.03; five generations of ten, half of each kind.
    """

    Options: ClassVar[type[Config]] = SandwichOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": (*Spos.presets["demo"], "search.epochs=40", "search.lr=0.03"),
    }

    def __init__(self, space: Space, options: SandwichOptions, seed: int) -> None:
        super().__init__(space, options, seed)
        self.middle = options.middle
        self.distil = options.distil
        self.weight = 1.0 if options.accumulate == "sum" else 1 / (2 + options.middle)

    def paths(self) -> Sequence[Path]:
        self.drawn += 1
        middle = [self.space.sample(derive(self.seed, "path", self.drawn, i)) for i in range(self.middle)]
        others = [self.extreme(min), *middle]
        teacher = 0 if self.distil else None
        return [
            Path(self.extreme(max), weight=self.weight),
            *(Path(genotype, weight=self.weight, teacher=teacher) for genotype in others),
        ]

    def extreme(self, best: Callable[..., int]) -> Genotype:
        """The sub-network with the ``max`` or ``min`` of every chosen number and depth."""
        drawn = self.space.sample(derive(self.seed, "extreme", self.drawn, best.__name__))

        def decide(choice: Choice) -> tuple[int, ...]:
            sizes = [value for value in choice.values if isinstance(value, int)]
            if choice.kind in ("number", "depth") and len(sizes) == len(choice.labels):
                return (best(range(len(sizes)), key=sizes.__getitem__),)
            if choice.name in drawn:
                return positions(choice, drawn[choice.name])
            return tuple(range(choice.low)) if choice.low is not None else (0,)

        genotype, _ = follow(self.space, decide)
        return genotype
