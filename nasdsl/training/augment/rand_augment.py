"""In the manner of RandAugment (Cubuk et al., 2020): a few changes at random, each of the same strength, in batches.

Every image draws an operation of its own; the images that move go through one resampling together, and those that are
blended through one blend. Differences from the paper: its `equalize` and `autocontrast` (which need a histogram an image) and
`sharpness` are left out, positions and angles go to either side, and resampling is bilinear.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nasdsl.training.device import sent

BLENDS = ("brightness", "contrast", "colour")
MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = ("identity", *BLENDS, "posterise", "solarise", *MOVES)
LARGEST = 30
"""The magnitude at which each operation is as strong as it gets."""


def rand_augment(images: Tensor, operations: int, magnitude: float, random: torch.Generator) -> Tensor:
    """Images in 0..1, [N, C, H, W], after ``operations`` changes in a row; ``magnitude`` goes from 0 to 30."""
    strength = magnitude / LARGEST
    # A copy in which every image lies in one piece: those of a group are taken out and put back.
    images = images.clone(memory_format=torch.contiguous_format)
    for _ in range(operations):
        # Drawn on the CPU, so that what is chosen by it needs no wait for a GPU.
        drawn = torch.randint(len(OPERATIONS), (len(images),), generator=random)
        side = torch.randint(2, (len(images),), generator=random) * 2.0 - 1
        for names, change in GROUPS:
            first, last = OPERATIONS.index(names[0]), OPERATIONS.index(names[-1])
            some = ((drawn >= first) & (drawn <= last)).nonzero().flatten()
            if len(some):
                place = sent(some, images.device)
                about = sent(drawn[some], images.device), sent(side[some], images.device)
                images.index_copy_(0, place, change(images.index_select(0, place), *about, strength))
    return images


def _is(drawn: Tensor, name: str) -> Tensor:
    """[N, 1, 1, 1]: 1 for images that have drawn that operation, else 0."""
    return (drawn == OPERATIONS.index(name)).to(torch.float32)[:, None, None, None]


def _moved(images: Tensor, drawn: Tensor, side: Tensor, strength: float) -> Tensor:
    """Rotation up to 30 degrees, shear up to 0.3, translation up to 0.45 of the image; black enters."""

    def of(name: str, largest: float) -> Tensor:
        return torch.where(drawn == OPERATIONS.index(name), strength * side * largest, 0.0)[:, None, None]

    angle = of("rotate", math.pi / 6)
    height, width = images.shape[2:]
    ratio = height / width
    # grid_sample counts in half sizes of the image, which are not pixels where it isn't square.
    x = _centres(width, images)[None, None, :]
    y = _centres(height, images)[None, :, None]
    across = angle.cos() * x + (of("shear_x", 0.3) - angle.sin() * ratio) * y + of("translate_x", 0.9)
    down = (angle.sin() / ratio + of("shear_y", 0.3)) * x + angle.cos() * y + of("translate_y", 0.9)
    return F.grid_sample(images, torch.stack([across, down], 3), align_corners=False)  # [N, H, W, 2]


def _centres(size: int, like: Tensor) -> Tensor:
    """The centres of the pixels of an axis, which goes from -1 to 1."""
    return (2 * torch.arange(size, dtype=like.dtype, device=like.device) + 1) / size - 1


def _blended(images: Tensor, drawn: Tensor, side: Tensor, strength: float) -> Tensor:
    """Brightness, contrast and colour: a blend with black, with the mean grey, and with grey, by a factor between 0.1
    and 1.9."""
    if images.shape[1] == 3:
        weights = sent(torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype), images.device)[
            None, :, None, None
        ]
        grey = (images * weights).sum(1, keepdim=True)
    else:
        grey = images.mean(1, keepdim=True)
    plain = grey * _is(drawn, "colour") + grey.mean((1, 2, 3), keepdim=True) * _is(drawn, "contrast")
    factor = (1 + 0.9 * strength * side)[:, None, None, None]
    return torch.lerp(plain.expand_as(images), images, factor).clamp_(0, 1)


def _posterised(images: Tensor, drawn: Tensor, side: Tensor, strength: float) -> Tensor:
    """Eight bits a pixel, or as few as four."""
    step = 256 / 2 ** (8 - round(4 * strength))
    return (images * 255).div_(step).floor_().mul_(step).div_(255)


def _solarised(images: Tensor, drawn: Tensor, side: Tensor, strength: float) -> Tensor:
    """What is brighter than a threshold is inverted."""
    return torch.where(images >= 1 - strength, 1 - images, images)


GROUPS = (
    (MOVES, _moved),
    (BLENDS, _blended),
    (("posterise",), _posterised),
    (("solarise",), _solarised),
)
"""Operations that stand side by side in :data:`OPERATIONS`, and what makes their images."""
