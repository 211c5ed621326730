"""How many epochs fit into a time: measured on the first steps, so that a budget becomes a number that can be repeated."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from nasdsl.training.recipe import Recipe
from nasdsl.training.tasks import Task
from nasdsl.training.train import fit

STEPS = 8
"""So many steps are timed, after as many that warm up."""


def epochs_within(seconds: float, seconds_per_epoch: float) -> int:
    """The whole epochs that fit, at least one.

    >>> epochs_within(600, 42), epochs_within(1, 42)
    (14, 1)
    """
    return max(1, int(seconds / seconds_per_epoch))


def seconds_per_epoch(
    network: nn.Module, task: Task, recipe: Recipe, *, precision: str = "float32", channels_last: bool = True
) -> float:
    """How long an epoch of training takes here and now. The network stays as it is: a copy is trained a little."""
    size = min(recipe.batch, len(task.train))
    count = min(STEPS, len(task.train) // size)
    some = task.train.take(torch.arange(count * size, device=task.train.device))
    epochs = fit(
        copy.deepcopy(network),
        replace(task, train=some),
        recipe.lasting(2),
        seed=0,
        precision=precision,
        channels_last=channels_last,
    )
    return epochs[-1].seconds / count * max(1, len(task.train) // size)
