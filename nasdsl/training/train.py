"""Training a network from scratch, and evaluating one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from nasdsl.diagnostics import failure
from nasdsl.training.answered import answered
from nasdsl.training.augment import augmented
from nasdsl.training.average import TriggeredMean, make_average
from nasdsl.training.carried import has_scans
from nasdsl.training.checkpoint import prefixed, read_checkpoint, under, write_checkpoint
from nasdsl.training.device import autocast
from nasdsl.training.outputs import Outputs, answer
from nasdsl.training.ranks import ALONE, Ranks
from nasdsl.training.recipe import Recipe
from nasdsl.training.schedule import drop_path_chance, learning_rate
from nasdsl.training.seeds import generator
from nasdsl.training.split import Split
from nasdsl.training.step import Pass, Stepper
from nasdsl.training.tasks import Objective, Task

Model = Callable[..., Outputs]


@runtime_checkable
class DropsPaths(Protocol):
    """A network with paths to drop: those that a genotype's network adds up (:mod:`nasdsl.space.branches`)."""

    drop_path: float


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training part gave. ``metric`` is on the training batches, as they were seen; ``validation``
    is the loss on the validation part, where that was asked for."""

    epoch: int
    loss: float
    metric: float
    lr: float
    seconds: float
    validation: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and metric over ``examples`` examples."""

    loss: float
    metric: float
    examples: int


def fit(
    network: nn.Module,
    task: Task,
    recipe: Recipe,
    *,
    seed: int,
    precision: str = "float32",
    channels_last: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
    checkpoint: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Epoch]:
    """Trains ``network`` in place on the task's training part, which it must share the device with.

    ``seed`` decides the order of the data, augmentation and dropout; the weights are taken as they are (see
    :func:`~nasdsl.training.seeds.initialise`). ``channels_last`` trains in that memory format, which is faster for
    convolutions on most machines, and leaves the weights as they lay before. With ``checkpoint`` the state is kept there after each epoch and taken
    up again, bit for bit, by the same call. Where ``stop()`` is true after an epoch, training ends there. With
    ``recipe.ema`` or ``recipe.asgd`` the network ends with an average of its weights. A recurrent network goes through a
    text in streams (:mod:`nasdsl.training.carried`).

    Raises NasError N914 where the loss is no number any more, with its step; N1030 where ``recipe.asgd`` has no validation
    part to look at, N1031 where the recipe wants two averages.
    """
    examples = task.train if has_scans(network) else replace(task.train, carried=False)
    if recipe.asgd and task.validation is None:
        raise failure(
            "N1030",
            f"asgd starts when the validation loss gets no better, and task `{task.name}` has no validation part",
            "set asgd=0, or give the data one, such as mine.valid.txt beside mine.train.txt",
        )
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        examples = examples.channels_last()
    device = examples.device
    size = min(recipe.batch, len(examples))
    average = make_average(network, recipe)
    stepper = Stepper(
        network,
        recipe,
        task.objective,
        seed=seed,
        device=device,
        batch=size,
        precision=precision,
        after=(lambda: average.update(network)) if average is not None else (lambda: None),
        carried=examples.in_streams,
    )
    history: list[Epoch] = []
    if checkpoint is not None and checkpoint.exists():
        tensors, state = read_checkpoint(checkpoint)
        stepper.restore(tensors, f"checkpoint `{checkpoint}`")
        if average is not None:
            average.restore(under("average", tensors))
        history = [Epoch(**entry) for entry in state["history"]]
    for epoch in range(len(history), recipe.epochs):
        started = time.perf_counter()
        network.train()
        if isinstance(network, DropsPaths):
            network.drop_path = drop_path_chance(recipe, epoch)
        stepper.watch.start()
        stepper.carried.start_streams()
        order = examples.order(recipe.batch, generator(seed, "order", epoch))
        rate = recipe.lr
        for i, indices in enumerate(order):
            step = epoch * len(order) + i
            batch = augmented(examples.take(indices), recipe, generator(seed, "augment", step))
            rate = learning_rate(recipe, step, len(order))
            stepper.step([Pass(network, batch)], step, rate)
        totals = stepper.watch.totals()
        seconds = time.perf_counter() - started
        validation = None
        if isinstance(average, TriggeredMean):
            with average.lent(network):
                validation = _validation_loss(network, task, precision)
            average.watch([*(e.validation for e in history if e.validation is not None), validation])
        history.append(Epoch(epoch, totals.mean_loss, totals.mean_metric, rate, seconds, validation))
        if checkpoint is not None:
            kept = stepper.tensors((epoch + 1) * len(order))
            if average is not None:
                kept |= prefixed("average", average.tensors)
            write_checkpoint(checkpoint, kept, {"history": [asdict(e) for e in history]})
        if on_epoch is not None:
            on_epoch(history[-1])
        if stop():
            break
    if average is not None:
        average.put_into(network)
    if channels_last:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return history


def _validation_loss(network: nn.Module, task: Task, precision: str) -> float:
    assert task.validation is not None
    return evaluate(network, task.validation, task.objective, precision=precision).loss


@torch.no_grad()
def evaluate(
    model: Model,
    split: Split,
    objective: Objective,
    *,
    batch: int = 512,
    precision: str = "float32",
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Loss and metric of a callable over a split. A module is put into evaluation mode for it, and back. A recurrent one
    goes through a text in streams, its state carried on. Several processes share the examples out."""
    was_training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    loss = torch.zeros((), device=split.device, dtype=torch.float64)
    metric = torch.zeros((), device=split.device, dtype=torch.float64)
    for part, found in answered(model, split, batch, precision, ranks):
        outputs = answer(objective, found)
        with autocast(split.device, precision):
            mean = objective.loss(outputs, part.targets).to(torch.float64)
        counts = objective.counts(part.targets)
        loss += mean * counts.sum(dtype=torch.float64)
        metric += (objective.metric(outputs, part.targets) * counts).sum(dtype=torch.float64)
    ranks.sum([loss, metric])
    if was_training and isinstance(model, nn.Module):
        model.train()
    total = float(objective.counts(split.targets).sum(dtype=torch.float64))
    return Evaluation(float(loss) / total, float(metric) / total, len(split))
