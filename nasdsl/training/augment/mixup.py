"""Mixup (Zhang et al., 2018): every example is blended with another of its minibatch, and so are the targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nasdsl.training.device import sent
from nasdsl.training.split import Split, each


def mixup(batch: Split, alpha: float, random: torch.Generator) -> Split:
    """λ x + (1 - λ) x' for real-valued inputs and for targets, with λ from Beta(α, α), one for the minibatch.

    Class numbers become probabilities [N, classes]. Inputs of whole numbers, such as tokens, can't be blended: a batch
    with any is given back as it is.
    """
    inputs = batch.inputs
    if not all(x.is_floating_point() for x in inputs):
        return batch
    # torch draws no beta variates from a generator of ours.
    seed = int(torch.randint(2**62, (), generator=random))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    partner = sent(torch.randperm(len(batch), generator=random), batch.device)

    def blended(x: Tensor) -> Tensor:
        return torch.lerp(x[partner], x, share)

    def soft(targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            return blended(targets)
        return blended(F.one_hot(targets, batch.classes).to(torch.float32))

    return replace(batch, stored=tuple(map(blended, inputs)), views=(), targets=each(batch.targets, soft))
