"""Cutout (DeVries & Taylor, 2017): a square of every image is set to 0, the mean of normalised images."""

from __future__ import annotations

import torch
from torch import Tensor

from nasdsl.training.device import sent


def cutout(images: Tensor, length: int, random: torch.Generator) -> Tensor:
    """Normalised images [N, C, H, W] with a square of ``length`` pixels cut out; its centre is any pixel, so that at the
    rim less is cut."""
    count, _, height, width = images.shape
    middle = torch.rand(2, count, generator=random)
    rows = sent(_inside((middle[0] * height).floor(), length, height), images.device)  # [N, H]
    columns = sent(_inside((middle[1] * width).floor(), length, width), images.device)  # [N, W]
    kept = ~(rows[:, :, None] & columns[:, None, :])
    return images * kept[:, None].to(images.dtype)


def _inside(centre: Tensor, length: int, size: int) -> Tensor:
    """[N, size]: which places of an axis lie in the square."""
    first = centre[:, None] - length // 2
    places = torch.arange(size)
    return (places >= first) & (places < first + length)
