"""The training step that all training shares: the weight steps of a search, and training from scratch.

    minibatch ─► ghost batches ─► forward, loss, backward, one after the other ─► gradients ─► clipped ─► weights

A step runs one or more passes (a strategy may average several sub-networks). The minibatch of each is cut into
``Recipe.ghosts`` parts, whose gradients are added up: each part has batch-norm statistics and dropout of its own, and
memory is needed for one part at a time. Running statistics move once a step, by the mean of the parts'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm

from nasdsl.diagnostics import failure
from nasdsl.training.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from nasdsl.training.device import autocast
from nasdsl.training.optimizers import clip_gradients, make_optimizer, set_learning_rate
from nasdsl.training.outputs import Outputs, answer, detached, training_loss
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import seeded
from nasdsl.training.tasks import Objective, Split
from nasdsl.training.watch import Diverged, Watch


@dataclass(frozen=True)
class Pass:
    """One of the passes of a step: ``model(*inputs)`` on a minibatch.

    ``weight`` multiplies its gradient. ``penalty()`` is added to its loss for the gradient only. ``detail()`` says
    what was run, should the loss be no number.
    """

    model: Callable[..., Outputs]
    batch: Split
    weight: float = 1.0
    penalty: Callable[[], Tensor] | None = None
    detail: Callable[[], str] = lambda: ""


class Stepper:
    """Updates the weights of a module, step by step, and sums what the steps give (``watch``).

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
    ) -> None:
        self.module = module
        self.recipe = recipe
        self.objective = objective
        self.seed = seed
        self.device = device
        self.precision = precision
        self.after = after
        self.parameters = list(module.parameters())
        self.optimizer = make_optimizer(recipe, self.parameters)
        self.watch = Watch(device, about)
        self.parts = recipe.ghosts
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
        loss = torch.zeros((), device=self.device)
        metric = torch.zeros((), device=self.device)
        for part in self._ghosts():
            for place, one in enumerate(passes):
                seen = part_of(one.batch, part, self.parts)
                share = len(seen) / len(one.batch)
                with seeded(self.seed, "dropout", number, place, part):
                    value, scores = self._run(one, seen, share)
                loss += value * (share / len(passes))
                metric += scores.mean() * (share / len(passes))
        self.watch.add(loss, metric, number, lambda: "; ".join(filter(None, (p.detail() for p in passes))))
        self._update(rate)

    def _run(self, one: Pass, seen: Split, share: float) -> tuple[Tensor, Tensor]:
        """Adds to the gradients; gives the loss [] and the metric of each example."""
        with autocast(self.device, self.precision):
            outputs = one.model(*seen.inputs)
            loss = training_loss(self.objective, outputs, seen.targets, self.recipe)
        total = loss if one.penalty is None else loss + one.penalty()
        if total.requires_grad:  # not where every way to a weight is cut
            (total * (one.weight * share)).backward()
        return loss.detach(), self.objective.metric(detached(answer(self.objective, outputs)), seen.targets)

    def _update(self, rate: float) -> None:
        set_learning_rate(self.optimizer, rate)
        clip_gradients(self.parameters, self.recipe.clip)
        self.optimizer.step()
        self.after()

    def _ghosts(self) -> Iterator[int]:
        """The parts of a step, one after the other; each starts from the running statistics that the step started from."""
        if self.parts == 1:
            yield 0
            return
        statistics = running_statistics(self.module)
        before = [s.clone() for s in statistics]
        after = [torch.zeros_like(s) for s in statistics]
        for part in range(self.parts):
            for s, value in zip(statistics, before, strict=True):
                s.copy_(value)
            yield part
            for s, total in zip(statistics, after, strict=True):
                total += s
        for s, total in zip(statistics, after, strict=True):
            s.copy_(total / self.parts)

    # --- state -----------------------------------------------------------------------------------

    def tensors(self, step: int) -> dict[str, Tensor]:
        """The weights and what the optimiser remembers. Raises :class:`Diverged` where a weight is no number: a state
        that can't be gone on from isn't worth keeping."""
        if not finite(self.parameters):
            raise Diverged(self.watch.about, "a weight is no number", step)
        return prefixed("weights", self.module.state_dict()) | prefixed(
            "optimizer", optimizer_tensors(self.optimizer)
        )

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.module.load_state_dict(under("weights", tensors))
        restore_optimizer(self.optimizer, under("optimizer", tensors))


def part_of(batch: Split, index: int, count: int) -> Split:
    """The i-th of n parts of a minibatch, of sizes that differ by at most one."""
    if count == 1:
        return batch
    return batch.between(len(batch) * index // count, len(batch) * (index + 1) // count)


def running_statistics(module: nn.Module) -> list[Tensor]:
    """The running means and variances that the module's batch norms move as they train."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    return [s for m in norms for s in (m.running_mean, m.running_var) if s is not None]


def finite(parameters: Sequence[Tensor]) -> bool:
    """Whether every weight is a number."""
    return bool(get_total_norm(parameters).isfinite())
