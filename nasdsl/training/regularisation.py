"""Activation regularisation of recurrent networks (Merity, McCann & Socher, "Revisiting Activation Regularization for
Language RNNs", 2017)."""

from __future__ import annotations

from torch import Tensor

from nasdsl.operations.recurrent import Scanned
from nasdsl.training.recipe import Recipe


def regularised(loss: Tensor, scanned: Scanned, recipe: Recipe) -> Tensor:
    """The loss with ``activity`` times the mean square of what a scan gives, after dropout, and ``slowness`` times the
    mean square of its change from one time to the next, before dropout; for every scan that no other follows."""
    for output, dropped in scanned.outputs:  # [N, T, …]
        if recipe.activity:
            loss = loss + recipe.activity * dropped.square().mean()
        if recipe.slowness and output.shape[1] > 1:
            loss = loss + recipe.slowness * (output[:, 1:] - output[:, :-1]).square().mean()
    return loss
