"""How good a network really is: its score on a split with a confidence interval, and where it goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasdsl.training.answered import answered
from nasdsl.training.device import autocast
from nasdsl.training.objectives import Several
from nasdsl.training.outputs import Outputs, answer
from nasdsl.training.seeds import derive
from nasdsl.training.tasks import Classification, Objective, Split

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """Holds the mean over all examples that could have been drawn, with the probability ``confidence``; ``method`` is
    ``Wilson`` or ``bootstrap``."""

    low: float
    high: float
    confidence: float
    method: str


@dataclass(frozen=True)
class Assessment:
    """Mean loss and metric over ``examples`` examples. ``confusion`` has, for a classification, a row for each class and
    in it how many of its examples were taken for each class. ``outputs`` has, where the network has several, the metric of
    each by its name."""

    metric: float
    loss: float
    examples: int
    interval: Interval
    confusion: tuple[tuple[int, ...], ...] = ()
    outputs: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def assess(
    model: Callable[..., Outputs],
    split: Split,
    objective: Objective,
    *,
    batch: int = 512,
    precision: str = "float32",
) -> Assessment:
    """Runs a network, which is put into evaluation mode for it, over a split."""
    was_training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    classifies = isinstance(objective, Classification)
    scores: list[Tensor] = []
    taken: list[Tensor] = []
    several: list[Tensor] = []
    loss, classes = 0.0, 0
    for part, found in answered(model, split, batch, precision):
        outputs = answer(objective, found)
        with autocast(split.device, precision):
            mean = float(objective.loss(outputs, part.targets))
        counts = objective.counts(part.targets).double()
        loss += mean * float(counts.sum())
        scores.append((objective.metric(outputs, part.targets) * counts).cpu())
        if classifies and isinstance(outputs, Tensor):
            classes = outputs.shape[1]
            taken.append(outputs.argmax(1).cpu())
        if isinstance(objective, Several):
            several.append(torch.stack(objective.parts(outputs, part.targets)).double().cpu())
    if was_training and isinstance(model, nn.Module):
        model.train()
    total = float(objective.counts(split.targets).sum(dtype=torch.float64))
    each = (torch.cat(scores) * (len(split) / total)).numpy()  # so that their mean is the weighted one
    confusion: tuple[tuple[int, ...], ...] = ()
    if classifies:
        confusion = confusions(split.first_targets.cpu(), torch.cat(taken), classes)
        interval = wilson(int(each.sum()), len(each))
    else:
        interval = bootstrapped(each)
    by_output: dict[str, float] = {}
    if isinstance(objective, Several):
        by_output = dict(zip(objective.names, torch.cat(several, 1).mean(1).tolist(), strict=True))
    return Assessment(float(each.mean()), loss / total, len(split), interval, confusion, by_output)


def wilson(right: int, examples: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's interval of a share (1927), which keeps its promise also near 0 and 1.

    >>> found = wilson(97, 100)
    >>> round(found.low, 4), round(found.high, 4)
    (0.9155, 0.9897)
    """
    from scipy.stats import binomtest

    found = binomtest(right, examples).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high), confidence, "Wilson")


def bootstrapped(scores: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    """The percentiles of the means of :data:`RESAMPLES` samples of the scores, drawn with replacement (Efron, 1979).
    The same scores give the same interval."""
    from scipy.stats import bootstrap

    if len(scores) < 2:
        return Interval(float("-inf"), float("inf"), confidence, "bootstrap")
    found = bootstrap(
        (scores,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 5_000_000 // len(scores)),
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(derive(0, "bootstrap")),
    ).confidence_interval
    return Interval(float(found.low), float(found.high), confidence, "bootstrap")


def confusions(targets: Tensor, taken: Tensor, classes: int) -> tuple[tuple[int, ...], ...]:
    """How often class i was taken for class j."""
    counts = torch.bincount(targets * classes + taken, minlength=classes * classes).view(classes, classes)
    return tuple(tuple(row) for row in counts.tolist())
