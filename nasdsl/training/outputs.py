"""What is made of a network's outputs: the first is its answer, any further ones are auxiliary heads.

A space that returns several (``return logits, aux``) says so. In training each further output has the same loss as the
first, weighted by the recipe's ``auxiliary`` (0.4 in DARTS' evaluation, after Szegedy et al., 2015); evaluation and
exports use the first alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nasdsl.training.objectives import Objective, Several
from nasdsl.training.split import Targets

if TYPE_CHECKING:
    from nasdsl.training.recipe import Recipe

Outputs = Tensor | Sequence[Tensor]


def first(outputs: Outputs) -> Tensor:
    """The answer of a network."""
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def answer(objective: Objective, outputs: Outputs) -> Outputs:
    """What an objective looks at: the first output, or all where it wants several."""
    return outputs if isinstance(objective, Several) else first(outputs)


def total(objective: Objective, outputs: Outputs) -> Tensor:
    """The sum [] of all numbers that an objective looks at."""
    wanted = answer(objective, outputs)
    return wanted.sum() if isinstance(wanted, Tensor) else torch.stack([x.sum() for x in wanted]).sum()


def detached(outputs: Outputs) -> Outputs:
    """The same values without their gradients."""
    return outputs.detach() if isinstance(outputs, Tensor) else [x.detach() for x in outputs]


def training_loss(objective: Objective, outputs: Outputs, targets: Targets, recipe: Recipe) -> Tensor:
    """The mean loss of a minibatch with the recipe's label smoothing, that of auxiliary heads added."""
    loss = objective.loss(answer(objective, outputs), targets, recipe.smoothing)
    if recipe.auxiliary and not isinstance(outputs, Tensor) and not isinstance(objective, Several):
        for further in outputs[1:]:
            loss = loss + recipe.auxiliary * objective.loss(further, targets, recipe.smoothing)
    return loss
