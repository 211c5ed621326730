"""Random crops of padded images, and mirror images.

The standard augmentation of CIFAR-10 (He et al., 2016): four pixels of black on each side, a crop of the old size at a
random place, and a flip from left to right for every second image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nasdsl.training.device import sent


def crop_and_flip(images: Tensor, padding: int, flip: bool, random: torch.Generator) -> Tensor:
    """uint8 [N, H, W, C], in one pass: each image is cropped from itself with ``padding`` black pixels around it, and
    with ``flip`` turned around with a chance of one half."""
    count, height, width, channels = images.shape
    device = images.device
    rows = torch.arange(height).repeat(count, 1)  # [N, H]
    columns = torch.arange(width).repeat(count, 1)  # [N, W]
    if flip:
        turned = torch.rand(count, 1, generator=random) < 0.5
        columns = torch.where(turned, width - 1 - columns, columns)
    if padding:
        offsets = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=random)
        rows, columns = rows + offsets[0], columns + offsets[1]
        images = F.pad(images, (0, 0, padding, padding, padding, padding))
    tall, wide = images.shape[1:3]
    rows = (torch.arange(count)[:, None] * tall + rows) * wide
    places = sent(rows, device)[:, :, None] + sent(columns, device)[:, None, :]  # [N, H, W]
    taken = images.reshape(-1, channels).index_select(0, places.flatten())
    return taken.view(count, height, width, channels)


def shift(images: Tensor, by: int, random: torch.Generator) -> Tensor:
    """Moves each real-valued image [N, C, H, W] by up to ``by`` pixels in both directions; its smallest value enters at
    the rim, which is the background of a standardised image."""
    count, _, height, width = images.shape
    floor = images.amin(dim=(1, 2, 3), keepdim=True)
    padded = F.pad(images - floor, (by, by, by, by))
    offsets = sent(torch.randint(0, 2 * by + 1, (2, count, 1), generator=random), images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)  # [N, H]
    columns = offsets[1] + torch.arange(width, device=images.device)  # [N, W]
    which = torch.arange(count, device=images.device)
    moved = padded[which[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # [N, H, W, C]
    return moved.permute(0, 3, 1, 2).contiguous(memory_format=layout_of(images)) + floor


def mirror(images: Tensor, random: torch.Generator) -> Tensor:
    """Turns each real-valued image [N, C, H, W] around with a chance of one half."""
    turned = sent(torch.rand(len(images), generator=random) < 0.5, images.device)
    return torch.where(turned[:, None, None, None], images.flip(3), images)


def layout_of(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
