"""The supernet of a run that has ended, and the weights that one architecture inherits from it."""

from __future__ import annotations

from pathlib import Path

import torch

from nasdsl.diagnostics import failure
from nasdsl.searching.belonging import belonging, check_belonging
from nasdsl.searching.search import make_strategy
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.strategy import WeightSharing
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet, recalibrate
from nasdsl.training.checkpoint import read_checkpoint, restore_weights, under
from nasdsl.training.seeds import generator, seeded
from nasdsl.training.tasks import Task

CALIBRATION_BATCHES = 100
"""So many minibatches at most the statistics of batch norm are the mean of."""


def inherited(run: Path, space: Space, settings: SearchSettings, genotype: Genotype, task: Task) -> Supernet:
    """The supernet of a run with the statistics of one genotype's batch norms re-estimated on the task's training part.

    Raises NasError N937 where the run has kept no weights, N939 where its checkpoint is another run's.
    """
    strategy = make_strategy(space, settings)
    if not isinstance(strategy, WeightSharing):
        raise failure(
            "N937",
            f"the run in `{run}` trained no supernet: `{settings.evaluator}` scored its genotypes",
            "train the winner instead",
        )
    checkpoints = sorted((run / "checkpoint").glob("*.safetensors"))
    if not checkpoints:
        raise failure(
            "N937",
            f"the run in `{run}` has no supernet's weights: its checkpoint is gone",
            "train the winner instead",
        )
    tensors, state = read_checkpoint(checkpoints[-1])
    check_belonging(checkpoints[-1], state, belonging(settings, space))
    supernet = Supernet(space, affine=strategy.affine, batch_norm=strategy.batch_norm)
    restore_weights(supernet, under("weights", tensors), f"checkpoint `{checkpoints[-1]}`")
    train = task.to(torch.device("cpu")).train
    order = train.order(settings.search.batch, generator(settings.seed, "calibration", 0))
    with seeded(settings.seed, "calibration"):
        recalibrate(supernet, genotype, (train.take(taken).inputs for taken in order[:CALIBRATION_BATCHES]))
    return supernet
