"""Augmentation in batches, on the device that holds the data."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def shift(images: Tensor, by: int, random: torch.Generator) -> Tensor:
    """Moves each image [N, C, H, W] by up to ``by`` pixels in both directions; its smallest value enters at the rim."""
    count, _, height, width = images.shape
    # The background of a standardised image is not 0.
    floor = images.amin(dim=(1, 2, 3), keepdim=True)
    padded = F.pad(images - floor, (by, by, by, by))
    offsets = torch.randint(0, 2 * by + 1, (2, count, 1), generator=random).to(images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)  # [N, H]
    columns = offsets[1] + torch.arange(width, device=images.device)  # [N, W]
    which = torch.arange(count, device=images.device)
    moved = padded[which[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # [N, H, W, C]
    return moved.permute(0, 3, 1, 2).contiguous(memory_format=_format(images)) + floor


def _format(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
