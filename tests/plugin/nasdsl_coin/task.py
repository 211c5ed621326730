"""A task: which way the stripes run."""

from __future__ import annotations

import torch

from nasdsl.training.tasks import Task, classification


def stripes() -> Task:
    """120 images [1, 8, 8] with stripes across or down, and noise."""
    random = torch.Generator().manual_seed(0)
    images = 0.3 * torch.randn(120, 1, 8, 8, generator=random)
    targets = torch.arange(120) % 2
    images[targets == 0, :, ::2] += 1
    images[targets == 1, :, :, ::2] += 1
    return classification("stripes", "stripes across or down", images, targets, labels=("across", "down"))
