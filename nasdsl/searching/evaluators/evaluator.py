"""The contract of an evaluator, and the registry that holds them.

An evaluator is a class in a file of its own, made with (:class:`Given`, options). It scores one genotype after another,
each by itself: the same genotype gets the same score, whenever it is asked for. Its score's ``metric`` is larger where
the genotype is better; a metric that is no number says that it can't be scored (it never wins).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.registry import Registry
from nasdsl.training.split import Split
from nasdsl.training.tasks import Task
from nasdsl.training.train import Evaluation


@dataclass(frozen=True, eq=False)
class Given:
    """What an evaluator works with. ``weights`` is the half of the task's training part that weights may be trained on,
    ``held_out`` the other; the test part is nobody's business here. ``recipe`` is how the winner will be trained."""

    space: Space
    task: Task
    weights: Split
    held_out: Split
    recipe: Recipe
    seed: int
    precision: str = "float32"
    channels_last: bool = False


class Evaluator(Protocol):
    """Scores genotypes of a space on a task."""

    Options: ClassVar[type[Config]]
    """Its options, each explained; ``evaluation.<name>`` in the configuration."""
    score_name: ClassVar[str]
    """What its metric is called; "" where it is the task's own."""

    def __init__(self, given: Given, options: Any) -> None:
        """Raises NasError N965 where it can't score the genotypes of the space, or on this task."""
        ...

    def score(self, genotype: Genotype, budget: int) -> Evaluation:
        """``budget`` is what may be spent on it (see :class:`Budgeted`); others pay no heed to it."""
        ...


@runtime_checkable
class Budgeted(Evaluator, Protocol):
    """Can spend more on a genotype, or less: epochs of training."""

    @property
    def budget(self) -> int:
        """What it spends where nobody says how much."""
        ...


EVALUATORS: Registry[type[Evaluator]] = Registry(
    "evaluator", "nasdsl.evaluators", "N963", ("Options", "score_name", "score")
)
"""Evaluators by name; other packages add theirs under the entry-point group ``nasdsl.evaluators``."""
