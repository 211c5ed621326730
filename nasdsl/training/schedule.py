"""What a recipe changes over time: the learning rate step by step, drop-path epoch by epoch."""

from __future__ import annotations

import math

from nasdsl.training.recipe import Recipe


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
    if recipe.schedule == "step":
        return recipe.lr * float(recipe.drop) ** sum(step >= at * steps_per_epoch for at in recipe.drops)
    if recipe.schedule == "exponential":
        first = recipe.drops[0] if recipe.drops else 0.0
        epochs = max(0, math.floor(step / steps_per_epoch - first))
        return max(recipe.lr * float(recipe.drop) ** epochs, recipe.lr_end)
    passed, length = step - warm, max(1.0, recipe.epochs * steps_per_epoch - warm)
    if recipe.schedule == "restarts":
        passed, length = _restarted(passed, recipe.period * steps_per_epoch, recipe.period_growth)
    left = (
        1 - passed / length
        if recipe.schedule == "linear"
        else 0.5 * (1 + math.cos(math.pi * passed / length))
    )
    return recipe.lr_end + (recipe.lr - recipe.lr_end) * left


def _restarted(step: float, period: float, growth: float) -> tuple[float, float]:
    """How many steps of its period have passed, and how long that is (SGDR: Loshchilov & Hutter, 2017)."""
    while step >= period:
        step -= period
        period *= growth
    return step, period


def drop_path_chance(recipe: Recipe, epoch: int) -> float:
    """The chance that a path is dropped in an epoch, counted from 0; linear as in DARTS' evaluation: the last epoch has
    ``(epochs - 1) / epochs`` of what the recipe says.

    >>> [drop_path_chance(Recipe(epochs=4, drop_path=0.2), epoch) for epoch in range(4)]
    [0.0, 0.05, 0.1, 0.15000000000000002]
    """
    return recipe.drop_path * epoch / recipe.epochs
