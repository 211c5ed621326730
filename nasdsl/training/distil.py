"""Soft targets: what one network gives, as what another is to give."""

from __future__ import annotations

from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.training.objectives import Classification, Objective, Regression, Several
from nasdsl.training.outputs import Outputs, first
from nasdsl.training.split import Targets


def soft_targets(objective: Objective, outputs: Outputs) -> Targets:
    """The targets that a network's outputs are for another: probabilities [N, classes], or the numbers themselves; one
    tensor an output where the objective wants several.

    Raises NasError N967 where an objective has no such form.
    """
    if isinstance(objective, Several):
        return tuple(_soft(part, x) for part, x in zip(objective.objectives, outputs, strict=True))
    return _soft(objective, first(outputs))


def _soft(objective: Objective, output: Tensor) -> Tensor:
    told = output.detach()
    if isinstance(objective, Classification):
        return told.softmax(1)
    if isinstance(objective, Regression):
        return told
    raise failure(
        "N967",
        f"sub-networks can't be taught by the largest on a task measured by {objective.name}",
        "`-c options.distil=false` trains them on the task's own targets",
    )
