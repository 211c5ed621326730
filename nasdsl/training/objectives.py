"""What a task wants of the outputs of a network: a loss to make small, and a metric of which more is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

NOTHING = -100
"""A target that is none, as torch marks it: what fills up the last segment of a text."""


class Objective(Protocol):
    """Outputs and targets are tensors, or tuples of them where a network has several outputs."""

    @property
    def name(self) -> str:
        """What the metric is called; larger is better."""
        ...

    def loss(self, outputs: Any, targets: Any, smoothing: float = 0.0) -> Tensor:
        """Mean over the batch. ``smoothing`` is the share of a target that is spread over all classes."""
        ...

    def metric(self, outputs: Any, targets: Any) -> Tensor:
        """A value an example: [N]."""
        ...

    def counts(self, targets: Any) -> Tensor:
        """How much each example counts in a mean over a data set: [N]."""
        ...

    def natural(self, metric: float) -> Mapping[str, float]:
        """The mean metric as people state it, the most usual measure first; in some of them less is better."""
        ...


@dataclass(frozen=True)
class Classification:
    """Cross-entropy; accuracy as a share of 1. Targets are class numbers [N], or probabilities [N, classes]."""

    least: ClassVar[float] = 0.0
    name: str = "accuracy"

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = targets.argmax(1) if targets.is_floating_point() else targets
        return (outputs.argmax(1) == wanted).to(torch.float32)

    def counts(self, targets: Tensor) -> Tensor:
        return alike(targets)

    def natural(self, metric: float) -> Mapping[str, float]:
        return {self.name: metric}


@dataclass(frozen=True)
class Regression:
    """Squared error; the coefficient of determination R2, against the variance of the training part.

    Outputs and targets are [N, K], standardised over the training part, so that 1 - R2 is the mean squared error.
    ``deviations`` are those that the K targets had, in their own units.
    """

    deviations: tuple[float, ...] = (1.0,)
    name: str = "R2"

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return F.mse_loss(outputs.to(torch.float32), targets)

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 1 - (outputs.to(torch.float32) - targets).square().flatten(1).mean(1)

    def counts(self, targets: Tensor) -> Tensor:
        return alike(targets)

    def natural(self, metric: float) -> Mapping[str, float]:
        """With one target, its root mean squared error in its own unit too."""
        if len(self.deviations) != 1:
            return {self.name: metric}
        return {self.name: metric, "RMSE": math.sqrt(max(0.0, 1 - metric)) * self.deviations[0]}


@dataclass(frozen=True)
class NextToken:
    """Cross-entropy of the next token, in nats a token; its negative is the metric.

    Outputs are [N, T, V], targets [N, T] whole numbers of any width; none is to be told at the places of
    :data:`NOTHING`. Every token counts the same, so that the mean over a text gives its exact perplexity, as it is stated,
    or its ``bits`` a token (a byte).
    """

    bits: bool = False
    name: str = "log-likelihood"

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten().long(), label_smoothing=smoothing)

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        likelihood = -F.cross_entropy(outputs.flatten(0, 1), targets.flatten().long(), reduction="none")
        return likelihood.view(targets.shape).sum(1) / self.counts(targets)

    def counts(self, targets: Tensor) -> Tensor:
        """The tokens that are to be told."""
        return (targets != NOTHING).sum(1).to(torch.float32)

    def natural(self, metric: float) -> Mapping[str, float]:
        if self.bits:
            return {"bits per byte": -metric / math.log(2)}
        return {"perplexity": math.exp(min(-metric, 700.0))}


@dataclass(frozen=True)
class Several:
    """One objective for each output of the network, in their order; loss and metric are weighted means.

    ``names`` are those of the outputs.
    """

    names: Sequence[str]
    objectives: Sequence[Objective]
    weights: Sequence[float]

    @property
    def name(self) -> str:
        return " and ".join(f"{o.name} of {n}" for n, o in zip(self.names, self.objectives, strict=True))

    def loss(self, outputs: Sequence[Tensor], targets: Sequence[Tensor], smoothing: float = 0.0) -> Tensor:
        return self._mean(
            [o.loss(x, t, smoothing) for o, x, t in zip(self.objectives, outputs, targets, strict=True)]
        )

    def metric(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        return self._mean(self.parts(outputs, targets))

    def counts(self, targets: Sequence[Tensor]) -> Tensor:
        return alike(targets[0])

    def natural(self, metric: float) -> Mapping[str, float]:
        return {self.name: metric}

    def parts(self, outputs: Any, targets: Any) -> list[Tensor]:
        """The metric of each output by itself, [N] each, in their order."""
        return [o.metric(x, t) for o, x, t in zip(self.objectives, outputs, targets, strict=True)]

    def ordered(self, names: Sequence[str]) -> Several:
        """The same for outputs in another order."""
        places = [self.names.index(name) for name in names]
        return Several(
            tuple(names),
            tuple(self.objectives[i] for i in places),
            tuple(self.weights[i] for i in places),
        )

    def _mean(self, values: Sequence[Tensor]) -> Tensor:
        total = sum(self.weights)
        weighted = [value * (weight / total) for value, weight in zip(values, self.weights, strict=True)]
        return torch.stack(weighted).sum(0)


def least_of(objective: Objective) -> float | None:
    """The least that a metric can be which is a share of 1; None of any other, which has no such bounds.

    >>> least_of(Classification()), least_of(NextToken())
    (0.0, None)
    """
    if isinstance(objective, Several):
        return 0.0 if all(least_of(one) == 0.0 for one in objective.objectives) else None
    least: float | None = getattr(objective, "least", None)
    return least


def alike(targets: Tensor) -> Tensor:
    """The same weight for every example."""
    return torch.ones(len(targets), device=targets.device)


def also(objective: Objective, metric: float) -> str:
    """What people call a mean metric otherwise, to be put behind it.

    >>> also(NextToken(), -4.0), also(Classification(), 0.93)
    (' (perplexity 54.60)', '')
    """
    others = [f"{n} {v:.{_places(v)}f}" for n, v in objective.natural(metric).items() if n != objective.name]
    return f" ({', '.join(others)})" if others else ""


def _places(value: float) -> int:
    return 4 if abs(value) < 10 else 2
