"""What the steps of training give, summed, and the first loss that is no number noticed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from nasdsl.diagnostics import Diagnostic, NasError


class Diverged(NasError):
    """A loss, or a weight, that is no number any more (N914). ``step`` is where it was first seen."""

    def __init__(self, about: str, what: str, step: int, detail: str = "") -> None:
        self.step = step
        text = f"{about} diverged: {what} at step {step}" + (f", {detail}" if detail else "")
        super().__init__(
            Diagnostic(
                "N914",
                text,
                help="a smaller `lr`, or a smaller `clip`, may help; `-c on_divergence=rollback` lets a search go on from its last checkpoint with half the rate",
            )
        )


@dataclass
class Totals:
    """Sums over the steps of an epoch: of each step's mean loss, and of its mean metric."""

    loss: float = 0.0
    metric: float = 0.0
    steps: int = 0

    @property
    def mean_loss(self) -> float:
        return self.loss / self.steps if self.steps else 0.0

    @property
    def mean_metric(self) -> float:
        return self.metric / self.steps if self.steps else 0.0


class Watch:
    """Sums what steps give. A GPU is asked every so often only, so that nobody waits for it each step.

    The sums are made step after step in float64, whenever they are made: a run that looked at other times, because it
    was resumed, has the same ones.
    """

    def __init__(self, device: torch.device, about: str = "training", every: int = 50) -> None:
        self.about = about
        self.every = 1 if device.type == "cpu" else every
        self._totals = Totals()
        self._pending: list[_Seen] = []

    def add(self, loss: Tensor, metric: Tensor, step: int, detail: Callable[[], str] = lambda: "") -> None:
        """A step's mean loss and metric, both []. Raises :class:`Diverged` where a loss is NaN or infinite: at once on
        the CPU, ``every`` losses later at the most elsewhere. ``detail()`` says what the step ran."""
        self._see(loss, metric, step, detail)

    def check(self, loss: Tensor, step: int, detail: Callable[[], str] = lambda: "") -> None:
        """A loss that isn't summed. Raises like :meth:`add`."""
        self._see(loss, None, step, detail)

    def totals(self) -> Totals:
        """All that was added since the start. Raises like :meth:`add`."""
        self._look()
        return self._totals

    def start(self, totals: Totals | Mapping[str, Any] | None = None) -> None:
        """Starts a new sum, from what another process has summed where that is given."""
        self._pending.clear()
        given = asdict(totals) if isinstance(totals, Totals) else dict(totals or {})
        self._totals = Totals(**given)

    def _see(self, loss: Tensor, metric: Tensor | None, step: int, detail: Callable[[], str]) -> None:
        values = torch.stack([loss.detach().double(), (loss if metric is None else metric).detach().double()])
        self._pending.append(_Seen(values, metric is not None, step, detail))
        if len(self._pending) >= self.every:
            self._look()

    def _look(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        values = torch.stack([seen.values for seen in pending]).tolist()
        for seen, (loss, metric) in zip(pending, values, strict=True):
            if not math.isfinite(loss):
                raise Diverged(self.about, f"the loss is {loss}", seen.step, seen.detail())
            if seen.counted:
                self._totals.loss += loss
                self._totals.metric += metric
                self._totals.steps += 1


@dataclass(frozen=True)
class _Seen:
    """A loss that nobody has looked at: ``values`` are it and the metric [2]."""

    values: Tensor
    counted: bool
    step: int
    detail: Callable[[], str]
