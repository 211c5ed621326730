"""The training step that all training shares: the weight steps of a search, and training from scratch.

    minibatch ─► ghost batches ─► forward, loss, backward, one after the other ─► gradients ─► clipped ─► weights

A step runs one or more passes (a strategy may average several sub-networks). The minibatch of each is cut into
``Recipe.ghosts`` parts, whose gradients are added up: each part has batch-norm statistics and dropout of its own, and
memory is needed for one part at a time. Running statistics move once a step, by the mean of the parts'. Several
processes share the parts out (:mod:`nasdsl.training.ranks`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm

from nasdsl.diagnostics import failure
from nasdsl.training.carried import Carried, Rows, has_scans
from nasdsl.training.checkpoint import optimizer_tensors, prefixed, restore_optimizer, restore_weights, under
from nasdsl.training.device import autocast
from nasdsl.training.distil import soft_targets
from nasdsl.training.optimizers import clip_gradients, make_optimizer, set_learning_rate
from nasdsl.training.outputs import Outputs, answer, detached, training_loss
from nasdsl.training.ranks import ALONE, Ranks
from nasdsl.training.recipe import Recipe
from nasdsl.training.regularisation import regularised
from nasdsl.training.seeds import seeded
from nasdsl.training.tasks import Objective, Split
from nasdsl.training.watch import Diverged, Watch


@dataclass(frozen=True)
class Pass:
    """One of the passes of a step: ``model(*inputs)`` on a minibatch.

    With ``teacher`` it learns what the pass of that number, an earlier one of the step, gave, instead of the minibatch's
    targets (:mod:`nasdsl.training.distil`). ``weight`` multiplies its gradient. ``penalty()`` is added to its loss for
    the gradient only. ``detail()`` says what was run, should the loss be no number. ``rows`` are those of the step's
    minibatch that ``batch`` is, all where there are none; ``model`` is called as
    :func:`~nasdsl.training.carried.has_scans` says where the module has any.

    ``whole(batch, factor)``, where there is one, runs the pass and its backward pass itself: it adds the gradient times
    ``factor``, a scalar on the device, to those of the weights that the pass uses, and gives the loss [] and the metric of
    each example. Nothing else than ``weight`` is looked at then, and nobody learns from what it gave.
    """

    model: Callable[..., Any]
    batch: Split
    weight: float = 1.0
    penalty: Callable[[], Tensor] | None = None
    detail: Callable[[], str] = lambda: ""
    teacher: int | None = None
    rows: Rows | None = None
    whole: Callable[[Split, Tensor], tuple[Tensor, Tensor]] | None = None


class Stepper:
    """Updates the weights of a module, step by step, and sums what the steps give (``watch``).

    With ``carried`` a recurrent module goes on with the state of the step before; its user says where streams start.

    ``after()`` is called after each update, for what follows the weights (a moving average of them).
    Raises NasError N1040 where the minibatches are too small for so many ghost batches.
    """

    def __init__(
        self,
        module: nn.Module,
        recipe: Recipe,
        objective: Objective,
        *,
        seed: int,
        device: torch.device,
        batch: int,
        precision: str = "float32",
        about: str = "training",
        after: Callable[[], None] = lambda: None,
        ranks: Ranks = ALONE,
        carried: bool = False,
    ) -> None:
        self.has_scans = has_scans(module)
        self.carried = Carried(carried and self.has_scans)
        self.module = module
        self.recipe = recipe
        self.objective = objective
        self.seed = seed
        self.device = device
        self.precision = precision
        self.after = after
        self.parameters = list(module.parameters())
        self.optimizer = make_optimizer(recipe, self.parameters)
        # Gradients in float16 are small: the loss is scaled up for them, by as much as just doesn't overflow.
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        self.watch = Watch(device, about)
        self.ranks = ranks
        self.parts = ranks.parts(recipe.ghosts)
        if batch < 2 * self.parts and self.parts > 1:
            raise failure(
                "N1040",
                f"a minibatch of {batch} is too small for {self.parts} ghost batches: each needs two examples",
                f"a `batch` of {2 * self.parts} or more, or fewer `ghosts`",
            )

    def step(self, passes: Sequence[Pass], number: int, rate: float) -> None:
        """One update with the learning rate ``rate``. Raises :class:`~nasdsl.training.watch.Diverged`: on the CPU before
        the weights have moved."""
        self.optimizer.zero_grad(set_to_none=True)
        dtype = next((p.dtype for p in self.parameters), torch.float32)
        loss = torch.zeros((), device=self.device, dtype=dtype)
        metric = torch.zeros_like(loss)
        statistics = Statistics(self.module, self.parts)
        for part in self.ranks.mine(self.parts):
            statistics.restart()
            given: list[Outputs] = []  # by the passes before, on this part
            for place, one in enumerate(passes):
                seen = part_of(one.batch, part, self.parts)
                share = len(seen) / len(one.batch)
                if one.whole is not None:
                    factor = torch.full((), one.weight * share, dtype=dtype, device=self.device)
                    value, scores = one.whole(seen, self.scaler.scale(factor))
                    given.append(())
                else:
                    rows = rows_of_part(one, part, self.parts)
                    with seeded(self.seed, "dropout", number, place, part):
                        taught = None if one.teacher is None else given[one.teacher]
                        value, scores, outputs = self._run(one, seen, share, taught, place, rows)
                    given.append(outputs)
                loss += value * (share / len(passes))
                metric += scores.mean() * (share / len(passes))
            statistics.add()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.ranks.sum([*gradients, loss, metric, *statistics.totals])
        statistics.finish()
        self.watch.add(loss, metric, number, lambda: "; ".join(filter(None, (p.detail() for p in passes))))
        self.carried.go_on(max(rows_of_part(one, 0, 1)[1] for one in passes))
        self._update(rate)

    def _run(
        self, one: Pass, seen: Split, share: float, taught: Outputs | None, place: int, rows: Rows
    ) -> tuple[Tensor, Tensor, Outputs]:
        """Adds to the gradients; gives the loss [], the metric of each example, and the outputs. ``taught`` is what a
        teacher gave; this is the ``place``-th pass of the step, on ``rows`` of its minibatch."""
        targets = seen.targets if taught is None else soft_targets(self.objective, taught)
        scanned = None
        with autocast(self.device, self.precision):
            if self.has_scans:
                states, dropouts = self.carried.before(rows), self.recipe.dropouts
                outputs, scanned = one.model(*seen.inputs, states=states, dropouts=dropouts)
                self.carried.after(place, rows, scanned.states)
            else:
                outputs = one.model(*seen.inputs)
            loss = training_loss(self.objective, outputs, targets, self.recipe)
        total = loss if one.penalty is None else loss + one.penalty()
        if scanned is not None:
            total = regularised(total, scanned, self.recipe)
        if total.requires_grad:  # not where every way to a weight is cut
            self.scaler.scale(total * (one.weight * share)).backward()
        told = detached(outputs)
        return loss.detach(), self.objective.metric(answer(self.objective, told), seen.targets), told

    def _update(self, rate: float) -> None:
        set_learning_rate(self.optimizer, rate)
        if any(p.grad is not None for p in self.parameters):
            self.scaler.unscale_(self.optimizer)
            clip_gradients(self.parameters, self.recipe.clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.after()

    # --- state -----------------------------------------------------------------------------------

    def tensors(self, step: int) -> dict[str, Tensor]:
        """The weights and what the optimiser remembers. Raises :class:`Diverged` where a weight is no number: a state
        that can't be gone on from isn't worth keeping."""
        if not finite(self.parameters):
            raise Diverged(self.watch.about, "a weight is no number", step)
        scaler = {name: torch.tensor(value) for name, value in self.scaler.state_dict().items()}
        return (
            prefixed("weights", self.module.state_dict())
            | prefixed("optimizer", optimizer_tensors(self.optimizer))
            | prefixed("scaler", scaler)
            | prefixed("carried", self.carried.tensors(self.ranks))
        )

    def digest(self) -> int:
        """A number that differs, almost surely, where weights differ."""
        return zlib.crc32(repr(float(get_total_norm(self.parameters))).encode())

    def restore(self, tensors: dict[str, Tensor], where: str = "the checkpoint") -> None:
        """Goes on from what ``tensors`` was. Raises NasError N939 where they are those of another network."""
        restore_weights(self.module, under("weights", tensors), where)
        restore_optimizer(self.optimizer, under("optimizer", tensors))
        scaler = {name: value.item() for name, value in under("scaler", tensors).items()}
        if scaler:
            self.scaler.load_state_dict(scaler)
        self.carried.restore(under("carried", tensors))


def part_of(batch: Split, index: int, count: int) -> Split:
    """The i-th of n parts of a minibatch, of sizes that differ by at most one."""
    if count == 1:
        return batch
    return batch.between(*part_rows(len(batch), index, count))


def part_rows(size: int, index: int, count: int) -> Rows:
    """From which of ``size`` rows to which the i-th of n parts goes."""
    return size * index // count, size * (index + 1) // count


def rows_of_part(one: Pass, index: int, count: int) -> Rows:
    """Which rows of the step's minibatch the i-th of n parts of a pass are."""
    first = 0 if one.rows is None else one.rows[0]
    start, stop = part_rows(len(one.batch), index, count)
    return first + start, first + stop


class Statistics:
    """The running statistics of a step in several parts: each part starts from those before the step, and afterwards
    they are the mean over the parts. Of a step in one part they are left to themselves."""

    def __init__(self, module: nn.Module, parts: int) -> None:
        self._parts = parts
        self._running = running_statistics(module) if parts > 1 else []
        self._before = [s.clone() for s in self._running]
        self.totals = [torch.zeros_like(s) for s in self._running]

    def restart(self) -> None:
        for running, before in zip(self._running, self._before, strict=True):
            running.copy_(before)

    def add(self) -> None:
        for running, total in zip(self._running, self.totals, strict=True):
            total += running / self._parts

    def finish(self) -> None:
        for running, total in zip(self._running, self.totals, strict=True):
            running.copy_(total)


def running_statistics(module: nn.Module) -> list[Tensor]:
    """The running means and variances that the module's batch norms move as they train."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    return [s for m in norms for s in (m.running_mean, m.running_var) if s is not None]


def finite(parameters: Sequence[Tensor]) -> bool:
    """Whether every weight is a number."""
    return bool(get_total_norm(parameters).isfinite())
