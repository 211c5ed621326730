"""What a genotype is worth with the shared weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nasdsl.operations.recurrent import States
from nasdsl.searching.minibatches import Minibatches
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.strategy import Path, Ranking, WeightSharing
from nasdsl.space.choice import Genotype
from nasdsl.supernet import Supernet, recalibrate
from nasdsl.supernet.batchnorm import Policy
from nasdsl.supernet.supernet import Relaxed
from nasdsl.training.device import autocast
from nasdsl.training.ranks import ALONE, Ranks
from nasdsl.training.seeds import seeded
from nasdsl.training.split import Split, joined
from nasdsl.training.tasks import Objective
from nasdsl.training.train import Evaluation, evaluate


@dataclass(frozen=True, eq=False)
class OfGenotype:
    """The sub-network of a genotype in a supernet, as something to call."""

    supernet: Supernet
    genotype: Relaxed

    @property
    def has_scans(self) -> bool:
        return self.supernet.has_scans

    def __call__(self, *inputs: Tensor, states: States | None = None) -> Any:
        return self.supernet(*inputs, genotype=self.genotype, states=states)


CALIBRATION = 20
"""On how many minibatches statistics are re-estimated where the strategy doesn't say."""


def batch_norm_policy(settings: SearchSettings, strategy: WeightSharing) -> tuple[Policy, int]:
    """Whose statistics the supernet's batch norms use, and on how many minibatches running ones are re-estimated for a
    genotype before it is scored (0: not at all)."""
    published = strategy.calibration_batches if isinstance(strategy, Ranking) else 0
    if settings.batch_norm == "published":
        return strategy.batch_norm, published
    if settings.batch_norm == "recalibrate":
        return "running", published or CALIBRATION
    return settings.batch_norm, 0


class Scorer:
    """Scores genotypes on the half that the weights were not trained on, or as the strategy asks."""

    def __init__(
        self,
        strategy: WeightSharing,
        supernet: Supernet,
        batches: Minibatches,
        objective: Objective,
        settings: SearchSettings,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        self.supernet = supernet
        self.batches = batches
        self.objective = objective
        self.settings = settings
        self.device = device
        self.ranks = ranks
        _, self.calibration_batches = batch_norm_policy(settings, strategy)
        self.ranking_batches = strategy.ranking_batches if isinstance(strategy, Ranking) else 0

    def score(self, genotype: Genotype, number: int) -> Evaluation:
        """A genotype, the ``number``-th (from 0) that is scored."""
        self.calibrate(genotype)
        self.supernet.eval()
        result = self.evaluate(Path(genotype), self._examples(number))
        self.supernet.train()
        return result

    def calibrate(self, genotype: Genotype) -> None:
        """Re-estimates the running statistics of a genotype's batch norms on the weights' half, where the strategy wants
        it; on the same minibatches for every genotype."""
        if not self.calibration_batches:
            return
        half = self.batches.weights
        order = self.batches.order("calibration", half, 0)[: self.calibration_batches]
        with autocast(self.device, self.settings.precision), seeded(self.settings.seed, "calibration"):
            recalibrate(self.supernet, genotype, (half.take(taken).inputs for taken in order))

    def evaluate(self, path: Path, split: Split) -> Evaluation:
        """A path as the supernet is: in training or in evaluation mode."""
        return evaluate(
            OfGenotype(self.supernet, path.genotype),
            split,
            self.objective,
            batch=self.settings.ranking_batch,
            precision=self.settings.precision,
            ranks=self.ranks,
        )

    def _examples(self, number: int) -> Split:
        """Fresh minibatches for each genotype where the strategy wants some, else the whole half."""
        half, count = self.batches.held_out, self.ranking_batches
        if not count:
            return half
        taken = [self.batches.cycled("ranking", half, 0, number * count + i) for i in range(count)]
        return joined(taken)
