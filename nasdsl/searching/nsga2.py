"""NSGA-II: evolution of a front, by accuracy and costs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from nasdsl.searching.history import History, Trial
from nasdsl.searching.objectives import dominates
from nasdsl.searching.replay import Replaying, fitness
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.space.choice import Genotype, Taken
from nasdsl.space.neighbours import completed
from nasdsl.training.config import Config
from nasdsl.training.seeds import derive

Point = tuple[float, ...]
"""What a genotype came to in each objective; smaller is better."""


Cost = Literal["params", "flops", "activations", "memory", "training_memory", "latency"]


class Nsga2Options(Config):
    population: int = Field(default=20, ge=2, description="survivors, and children of each generation")
    costs: tuple[Cost, ...] = Field(
        default=("params",),
        min_length=1,
        description="the measures that are kept small beside a large metric; a search takes those of --objective",
    )
    crossover: float = Field(default=0.9, ge=0, le=1, description="share of children with two parents")
    mutation: float = Field(
        default=1.0, ge=0, le=1, description="share of children that change in one choice besides"
    )


@STRATEGIES.add("nsga2")
class Nsga2(Replaying):
    """Deb, Pratap, Agarwal & Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", 2002; for
    architectures as in Lu et al., "NSGA-Net", GECCO 2019.

    The objectives are the metric, and measures of the genotype that need no training. After each generation survivors and
    children are sorted into fronts that don't dominate one another; the first fronts survive, and of the last that
    partly fits those with the most room around them (crowding distance). Parents win binary tournaments by front, then
    by room. A child takes each choice from one of two parents, and one choice is mutated.

    :meth:`front` has the genotypes that nothing in a history dominates. The rates are those usual for few choices.
    """

    Options: ClassVar[type[Config]] = Nsga2Options

    def reset(self) -> None:
        self.costs: dict[str, tuple[float, ...]] = {}
        self.survivors: list[Trial] = []
        self.children: list[Trial] = []

    def point(self, trial: Trial) -> Point:
        text = trial.genotype.text
        if text not in self.costs:
            measures = self.space.measure(trial.genotype)
            self.costs[text] = tuple(float(getattr(measures, cost)) for cost in self.options.costs)
        return (-fitness(trial), *self.costs[text])

    def front(self, history: History) -> list[Trial]:
        """The trials that no other dominates, one for each genotype."""
        trials = list({trial.genotype.text: trial for trial in history}.values())
        return [trials[i] for i in fronts([self.point(t) for t in trials])[0]] if trials else []

    def tell(self, trial: Trial, number: int) -> None:
        self.children.append(trial)
        if len(self.children) == self.options.population:
            # The same genotype twice would take two places.
            pool = list({t.genotype.text: t for t in [*self.survivors, *self.children]}.values())
            self.survivors = [
                pool[i] for i in survivors([self.point(t) for t in pool], self.options.population)
            ]
            self.children = []

    def next(self, history: History) -> Genotype | None:
        generator = random.Random(derive(self.seed, "nsga2", len(history)))
        if not self.survivors:
            return self.space.sample(generator.getrandbits(63))
        order = ranking([self.point(t) for t in self.survivors])
        child = self._parent(order, generator)
        if generator.random() < self.options.crossover:
            child = self._cross(child, self._parent(order, generator), generator)
        if generator.random() < self.options.mutation:
            child = self.space.mutate(child, generator)
        return child

    def _parent(self, order: Sequence[tuple[int, float]], generator: random.Random) -> Genotype:
        pair = [generator.randrange(len(order)) for _ in range(2)]
        return self.survivors[min(pair, key=order.__getitem__)].genotype

    def _cross(self, a: Genotype, b: Genotype, generator: random.Random) -> Genotype:
        """Each choice from one of them; what breaks a ``require`` is not born."""
        taken: dict[str, Taken] = {}
        for name in dict.fromkeys([*a, *b]):
            found = [parent[name] for parent in (a, b) if name in parent]
            taken[name] = generator.choice(found)
        child = completed(self.space, taken, generator)
        return child if self.space.permits(child) else a


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """Indices by front: the first is dominated by nothing, the next by the first alone, …

    >>> fronts([(1, 3), (2, 2), (3, 3), (3, 1), (4, 4)])
    [[0, 1, 3], [2], [4]]
    """
    below = [[j for j, q in enumerate(points) if dominates(p, q)] for p in points]
    above = [sum(dominates(q, p) for q in points) for p in points]
    found: list[list[int]] = []
    current = [i for i, count in enumerate(above) if count == 0]
    while current:
        found.append(sorted(current))
        following = []
        for i in current:
            for j in below[i]:
                above[j] -= 1
                if above[j] == 0:
                    following.append(j)
        current = following
    return found


def crowding(points: Sequence[Point]) -> list[float]:
    """For each point of one front the sum over objectives of the gap between its neighbours, as a share of the extent;
    infinite at the ends.

    >>> crowding([(0, 4), (1, 2), (4, 0)])
    [inf, 2.0, inf]
    """
    room = [0.0] * len(points)
    for axis in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda i: points[i][axis])
        low, high = points[order[0]][axis], points[order[-1]][axis]
        room[order[0]] = room[order[-1]] = math.inf
        if not 0 < high - low < math.inf:
            continue
        for before, i, after in zip(order, order[1:], order[2:], strict=False):
            room[i] += (points[after][axis] - points[before][axis]) / (high - low)
    return room


def ranking(points: Sequence[Point]) -> list[tuple[int, float]]:
    """(front, minus room) of each: smaller is better."""
    found: list[tuple[int, float]] = [(0, 0.0)] * len(points)
    for rank, front in enumerate(fronts(points)):
        for i, room in zip(front, crowding([points[i] for i in front]), strict=True):
            found[i] = (rank, -room)
    return found


def survivors(points: Sequence[Point], count: int) -> list[int]:
    """The best ``count`` by front, then by room.

    >>> survivors([(0, 4), (1, 2), (1.2, 1.9), (4, 0), (5, 5)], 3)
    [0, 3, 2]
    """
    order = ranking(points)
    return sorted(range(len(points)), key=lambda i: order[i])[:count]
