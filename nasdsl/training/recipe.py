"""Recipes: how weights are trained, as configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from nasdsl.training.config import Config


class Recipe(Config):
    """How weights are trained. The defaults are those of NAS-Bench-201 (Dong & Yang, 2020) in 20 epochs of batch 64."""

    epochs: int = Field(default=20, ge=1, description="passes over the training part")
    batch: int = Field(default=64, ge=1, description="examples a step")
    optimizer: Literal["sgd", "adamw"] = Field(
        default="sgd", description="sgd as NAS-Bench-201 and DARTS; adamw for transformers"
    )
    lr: float = Field(
        default=0.1,
        gt=0,
        description="learning rate at the start; 0.1 with batch norm and sgd, about 1e-3 with adamw",
    )
    lr_end: float = Field(default=0.0, ge=0, description="learning rate at the end of the schedule")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="how the learning rate goes from lr to lr_end, step by step"
    )
    warmup: float = Field(
        default=0.0, ge=0, description="epochs in which the learning rate rises from 0 first"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd; an adamw beta1 likewise")
    nesterov: bool = Field(default=True, description="sgd looks ahead along its momentum")
    weight_decay: float = Field(default=5e-4, ge=0, description="decay of all weights that a step used")
    clip: float = Field(
        default=5.0, ge=0, description="largest norm of a step's gradient; 0 leaves it as it is"
    )
    smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="label smoothing: the share of the target spread over all classes",
    )
    shift: int = Field(default=0, ge=0, description="augmentation: images move by up to so many pixels")


def make_optimizer(recipe: Recipe, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimiser of a recipe, with fused kernels.

    A parameter whose gradient is None in a step is left untouched: neither decay nor momentum moves it, and its
    momentum waits as it is. In a supernet these are the weights that the step's genotype doesn't use.
    """
    group = list(parameters)
    if recipe.optimizer == "adamw":
        betas = (recipe.momentum, 0.999)
        return torch.optim.AdamW(
            group, lr=recipe.lr, betas=betas, weight_decay=recipe.weight_decay, fused=True
        )
    sgd = torch.optim.SGD(
        group,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    if recipe.momentum > 0:
        for parameter in group:
            # The fused kernel can't mix parameters with momentum and those that get their first gradient. A buffer of
            # zeros gives the same first step as none.
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0.

    >>> recipe = Recipe(epochs=2, lr=1.0)
    >>> [round(learning_rate(recipe, step, 2), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    warm = recipe.warmup * steps_per_epoch
    if step < warm:
        return recipe.lr * (step + 1) / (warm + 1)
    if recipe.schedule == "constant":
        return recipe.lr
    total = max(1.0, recipe.epochs * steps_per_epoch - warm)
    turn = 0.5 * (1 + math.cos(math.pi * (step - warm) / total))
    return recipe.lr_end + (recipe.lr - recipe.lr_end) * turn


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Iterable[Tensor], norm: float) -> None:
    """Scales the gradients that are there so that their joint norm is at most ``norm``; 0 leaves them."""
    if norm > 0:
        active = [p for p in parameters if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(active, norm)
