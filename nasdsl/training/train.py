"""Training a network from scratch, and evaluating one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from nasdsl.diagnostics import failure
from nasdsl.training.augment import shift
from nasdsl.training.average import MovingAverage
from nasdsl.training.checkpoint import (
    optimizer_tensors,
    prefixed,
    read_checkpoint,
    restore_optimizer,
    under,
    write_checkpoint,
)
from nasdsl.training.device import autocast
from nasdsl.training.optimizers import clip_gradients, make_optimizer, set_learning_rate
from nasdsl.training.outputs import Outputs, first, training_loss
from nasdsl.training.recipe import Recipe
from nasdsl.training.schedule import drop_path_chance, learning_rate
from nasdsl.training.seeds import generator, seeded
from nasdsl.training.tasks import Objective, Split, Task, shuffled

Model = Callable[..., Outputs]


@runtime_checkable
class DropsPaths(Protocol):
    """A network with paths to drop: those that a genotype's network adds up (:mod:`nasdsl.space.branches`)."""

    drop_path: float


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training part gave. ``metric`` is on the training batches, as they were seen."""

    epoch: int
    loss: float
    metric: float
    lr: float
    seconds: float


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
    ``recipe.ema`` the network ends with the moving average of its weights.

    Raises NasError N914 where the loss is no number any more, with its step.
    """
    examples = task.train
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        examples = examples.channels_last()
    parameters = list(network.parameters())
    optimizer = make_optimizer(recipe, parameters)
    average = MovingAverage(network, recipe.ema) if recipe.ema else None
    history: list[Epoch] = []
    if checkpoint is not None and checkpoint.exists():
        history = _resume(checkpoint, network, optimizer, average)
    device = examples.device
    size = min(recipe.batch, len(examples))
    for epoch in range(len(history), recipe.epochs):
        started = time.perf_counter()
        network.train()
        if isinstance(network, DropsPaths):
            network.drop_path = drop_path_chance(recipe, epoch)
        watch = Watch(device)
        order = shuffled(len(examples), size, generator(seed, "order", epoch), device)
        metric = torch.zeros((), device=device)
        rate = recipe.lr
        with seeded(seed, "dropout", epoch):
            for i, indices in enumerate(order):
                step = epoch * len(order) + i
                batch = augmented(examples.take(indices), recipe, generator(seed, "augment", step))
                rate = learning_rate(recipe, step, len(order))
                set_learning_rate(optimizer, rate)
                optimizer.zero_grad(set_to_none=True)
                with autocast(device, precision):
                    outputs = network(*batch.inputs)
                    loss = training_loss(task.objective, outputs, batch.targets, recipe)
                watch.add(loss, step)
                loss.backward()
                clip_gradients(parameters, recipe.clip)
                optimizer.step()
                if average is not None:
                    average.update(network)
                metric += task.objective.metric(first(outputs).detach(), batch.targets).mean()
        mean = float(metric / len(order))
        history.append(Epoch(epoch, watch.mean(), mean, rate, time.perf_counter() - started))
        if checkpoint is not None:
            tensors = prefixed("network", network.state_dict()) | prefixed(
                "optimizer", optimizer_tensors(optimizer)
            )
            if average is not None:
                tensors |= prefixed("average", average.tensors)
            write_checkpoint(checkpoint, tensors, {"history": [asdict(e) for e in history]})
        if on_epoch is not None:
            on_epoch(history[-1])
        if stop():
            break
    if average is not None:
        average.put_into(network)
    if channels_last:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return history


def augmented(batch: Split, recipe: Recipe, random: torch.Generator) -> Split:
    """The batch as the recipe changes it."""
    if not recipe.shift:
        return batch
    moved = tuple(shift(x, recipe.shift, random) if x.dim() == 4 else x for x in batch.inputs)
    return Split(moved, batch.targets)


@torch.no_grad()
def evaluate(
    model: Model, split: Split, objective: Objective, *, batch: int = 512, precision: str = "float32"
) -> Evaluation:
    """Loss and metric of a callable over a split. A module is put into evaluation mode for it, and back."""
    was_training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    loss = torch.zeros((), device=split.device, dtype=torch.float64)
    metric = torch.zeros((), device=split.device, dtype=torch.float64)
    for part in split.batches(batch):
        with autocast(split.device, precision):
            outputs = first(model(*part.inputs))
            loss += objective.loss(outputs, part.targets).to(torch.float64) * len(part)
        metric += objective.metric(outputs, part.targets).sum(dtype=torch.float64)
    if was_training and isinstance(model, nn.Module):
        model.train()
    return Evaluation(float(loss) / len(split), float(metric) / len(split), len(split))


class Watch:
    """Sums losses and notices the first that is no number. On a GPU it looks every so often, so as not to wait for it."""

    def __init__(self, device: torch.device, about: str = "training", every: int = 50) -> None:
        self.about = about
        self.every = 1 if device.type == "cpu" else every
        self.total = 0.0
        self.count = 0
        self._pending: list[tuple[Tensor, int]] = []

    def add(self, loss: Tensor, step: int, detail: str = "") -> None:
        """Raises NasError N914 where a loss is NaN or infinite."""
        self._pending.append((loss.detach(), step))
        if len(self._pending) >= self.every:
            self._look(detail)

    def mean(self) -> float:
        """The mean of the losses so far. Raises like :meth:`add`."""
        self._look("")
        return self.total / self.count if self.count else 0.0

    def _look(self, detail: str) -> None:
        if not self._pending:
            return
        losses = torch.stack([loss for loss, _ in self._pending]).double().cpu()
        if not bool(torch.isfinite(losses).all()):
            first = int((~torch.isfinite(losses)).nonzero()[0])
            raise failure(
                "N914",
                f"{self.about} diverged: the loss is {float(losses[first])} at step {self._pending[first][1]}{detail}",
                "a smaller learning rate, or clipped gradients, may help",
            )
        self.total += float(losses.sum())
        self.count += len(losses)
        self._pending.clear()


def _resume(
    checkpoint: Path, network: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage | None
) -> list[Epoch]:
    tensors, state = read_checkpoint(checkpoint)
    network.load_state_dict(under("network", tensors))
    restore_optimizer(optimizer, under("optimizer", tensors))
    if average is not None:
        average.restore(under("average", tensors))
    entries: list[dict[str, Any]] = state["history"]
    return [Epoch(**entry) for entry in entries]
