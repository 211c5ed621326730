"""Optimisers of a recipe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from nasdsl.training.recipe import Recipe


def make_optimizer(recipe: Recipe, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimiser of a recipe, with fused kernels where torch has them.

    A parameter whose gradient is None in a step is left untouched: neither decay nor momentum moves it, and its
    momentum waits as it is. In a supernet these are the weights that the step's genotype doesn't use.
    """
    found = list(parameters)
    groups = decay_groups(recipe, found)
    if recipe.optimizer in ("adam", "adamw"):
        kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
        return kind(
            groups, lr=recipe.lr, betas=(recipe.momentum, recipe.beta2), eps=recipe.epsilon, fused=True
        )
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=recipe.lr, alpha=recipe.beta2, eps=recipe.epsilon, momentum=recipe.momentum
        )
    sgd = torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=True,
    )
    if recipe.momentum > 0:
        for parameter in found:
            # The fused kernel can't mix parameters with momentum and those that get their first gradient. A buffer of
            # zeros gives the same first step as none.
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def decay_groups(recipe: Recipe, parameters: Iterable[Tensor]) -> list[dict[str, Any]]:
    """The parameters with their weight decay: one group, or two where only matrices and kernels decay.

    Scales and offsets of norms, and biases, are told by their having one axis.
    """
    found = list(parameters)
    if recipe.decay == "all":
        return [{"params": found, "weight_decay": recipe.weight_decay}]
    decayed = [p for p in found if p.dim() > 1]
    others = [p for p in found if p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Iterable[Tensor], norm: float) -> None:
    """Scales the gradients that are there so that their joint norm is at most ``norm``; 0 leaves them."""
    if norm > 0:
        active = [p for p in parameters if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(active, norm)
