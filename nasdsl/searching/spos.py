"""Single path one-shot: uniform single paths, then an evolution with the shared weights."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from nasdsl.searching.history import History
from nasdsl.searching.random_paths import RandomPaths
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.space.choice import Genotype, Taken
from nasdsl.space.neighbours import completed
from nasdsl.supernet.batchnorm import Policy
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import derive


class SposOptions(Config):
    population: int = Field(default=50, ge=1, description="genotypes a generation, as published")
    generations: int = Field(default=20, ge=1, description="how many, as published")
    parents: int = Field(
        default=10, ge=1, description="the best genotypes so far, of which the next come, as published"
    )
    crossovers: int = Field(default=25, ge=0, description="children of two parents, as published")
    mutations: int = Field(default=25, ge=0, description="children of one parent, as published")
    probability: float = Field(
        default=0.1, ge=0, le=1, description="that a mutation draws a choice anew, as published"
    )
    max_flops: float = Field(
        default=0.0, ge=0, description="largest number of multiply-adds of what is scored; 0 is any"
    )
    max_params: float = Field(
        default=0.0, ge=0, description="largest number of parameters of what is scored; 0 is any"
    )
    calibration: int = Field(
        default=20,
        ge=0,
        description="minibatches of training data that batch-norm statistics are re-estimated on before a genotype is scored (their number is ours); 0 keeps those of the training",
    )


@STRATEGIES.add("spos")
class Spos(RandomPaths):
    """Guo, Zhang, Mu, Heng, Liu, Wei & Sun, "Single Path One-Shot Neural Architecture Search with Uniform Sampling",
    ECCV 2020.

    Each minibatch trains one random genotype's sub-network, drawn choice by choice. Then an evolution: the first
    generation is random; of each later one 25 genotypes come by crossover, where every choice comes from one of two
    parents, and 25 by mutation, where each choice of one parent is drawn anew with the probability 0.1; the rest is
    random. Parents are the ten best so far. Nothing is scored twice, or that breaks a ``require``, ``max_flops`` or
    ``max_params``. Before a genotype is scored, the running statistics of its batch norms are reset and re-estimated on
    training data, the same for all: those of the training belong to no sub-network.

    Deviates: the recipe is that of NAS-Bench-201 (the paper trains on ImageNet). A choice that exists in one parent
    only goes with that one's; what a change brings into existence is drawn. Choices of channels are numbers like any
    other.

    The preset ``demo`` trains for 100 epochs at a learning rate of 0.1; five generations of ten, half of each kind.
    """

    Options: ClassVar[type[Config]] = SposOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": (
            "search.epochs=100", "search.lr=0.1", "options.population=10", "options.generations=5",
            "options.parents=5", "options.crossovers=5", "options.mutations=5",
        ),
    }  # fmt: skip
    recipe: ClassVar[Recipe] = Recipe(epochs=250, lr=0.025, lr_end=0.001)
    affine: ClassVar[bool] = True
    batch_norm: ClassVar[Policy] = "running"

    # --- evolution -------------------------------------------------------------------------------

    @property
    def ranking_batches(self) -> int:
        return 0

    @property
    def calibration_batches(self) -> int:
        return self.options.calibration

    @property
    def proposals(self) -> int:
        population: int = self.options.population
        return population * self.options.generations

    def propose(self, history: History) -> Genotype | None:
        """The next of its generation, or None after the last. It is decided by seed and history alone."""
        options = self.options
        generation, place = divmod(len(history), options.population)
        if generation >= options.generations:
            return None
        ranked = history.ranked(generation * options.population)
        parents = [trial.genotype for trial in ranked[: options.parents]]
        chance = random.Random(derive(self.seed, "evolution", len(history)))
        for _ in range(100):
            child = self.child(parents, place, chance)
            if self.allowed(child) and not history.has(child):
                return child
        for _ in range(1000):
            drawn = self.space.sample(chance.getrandbits(62))
            if self.allowed(drawn) and not history.has(drawn):
                return drawn
        return None

    def child(self, parents: Sequence[Genotype], place: int, chance: random.Random) -> Genotype:
        options = self.options
        if parents and place < options.crossovers:
            return self.crossover(chance.choice(parents), chance.choice(parents), chance)
        if parents and place < options.crossovers + options.mutations:
            return self.mutation(chance.choice(parents), chance)
        return self.space.sample(chance.getrandbits(62))

    def crossover(self, first: Genotype, second: Genotype, chance: random.Random) -> Genotype:
        entries: dict[str, Taken] = {}
        for choice in self.space.choices:
            holders = [parent for parent in (first, second) if choice.name in parent]
            if holders:
                entries[choice.name] = chance.choice(holders)[choice.name]
        return completed(self.space, entries, chance)

    def mutation(self, parent: Genotype, chance: random.Random) -> Genotype:
        kept = {name: taken for name, taken in parent.items() if chance.random() >= self.options.probability}
        return completed(self.space, kept, chance)

    def allowed(self, genotype: Genotype) -> bool:
        """Whether a genotype is in the space and within the bounds of the options."""
        options = self.options
        if not self.space.permits(genotype):
            return False
        if not options.max_flops and not options.max_params:
            return True
        found = self.space.measure(genotype)
        if options.max_params and found.params > options.max_params:
            return False
        return not options.max_flops or found.flops <= options.max_flops
