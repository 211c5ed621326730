"""In the manner of RandAugment (Cubuk et al., 2020): a few changes at random, each of the same strength, in batches.

Every image draws an operation of its own; all images that move go through one resampling, and all that change colour
through one blend. Differences from the paper: its `equalize` and `autocontrast` (which need a histogram an image) and
`sharpness` are left out, positions and angles go to either side, and resampling is bilinear.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

COLOURS = ("brightness", "contrast", "colour", "posterise", "solarise")
MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = ("identity", *COLOURS, *MOVES)
LARGEST = 30
"""The magnitude at which each operation is as strong as it gets."""


def rand_augment(images: Tensor, operations: int, magnitude: float, random: torch.Generator) -> Tensor:
    """Images in 0..1, [N, C, H, W], after ``operations`` changes in a row; ``magnitude`` goes from 0 to 30."""
    strength = magnitude / LARGEST
    images = images.clone()
    for _ in range(operations):
        # Drawn on the CPU, so that what is chosen by it needs no wait for a GPU.
        drawn = torch.randint(len(OPERATIONS), (len(images),), generator=random)
        side = torch.randint(2, (len(images),), generator=random) * 2.0 - 1
        for names, change in ((MOVES, _moved), (COLOURS, _recoloured)):
            first, last = OPERATIONS.index(names[0]), OPERATIONS.index(names[-1])
            some = ((drawn >= first) & (drawn <= last)).nonzero().flatten()
            if len(some):
                place = some.to(images.device)
                about = drawn[some].to(images.device), side[some].to(images.device)
                images[place] = change(images[place], *about, strength)
    return images


def _is(drawn: Tensor, name: str) -> Tensor:
    """[N, 1, 1, 1]: which images have drawn that operation."""
    return (drawn == OPERATIONS.index(name))[:, None, None, None]


def _moved(images: Tensor, drawn: Tensor, side: Tensor, strength: float) -> Tensor:
    """Rotation up to 30 degrees, shear up to 0.3, translation up to 0.45 of the image; black enters."""

    def of(name: str, largest: float) -> Tensor:
        return torch.where(drawn == OPERATIONS.index(name), strength * side * largest, 0.0)  # [N]

    angle = of("rotate", math.pi / 6)
    height, width = images.shape[2:]
    ratio = height / width
    # grid_sample counts in half sizes of the image, which are not pixels where it isn't square.
    across = torch.stack([angle.cos(), -angle.sin() * ratio + of("shear_x", 0.3), of("translate_x", 0.9)], 1)
    down = torch.stack([angle.sin() / ratio + of("shear_y", 0.3), angle.cos(), of("translate_y", 0.9)], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _recoloured(images: Tensor, drawn: Tensor, side: Tensor, strength: float) -> Tensor:
    """Brightness, contrast and colour are a blend with black, with the mean grey, and with grey, by a factor between
    0.1 and 1.9; posterise keeps as few as four bits, solarise inverts what is brighter than a threshold."""
    if images.shape[1] == 3:
        weights = images.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]
        grey = (images * weights).sum(1, keepdim=True)
    else:
        grey = images.mean(1, keepdim=True)
    plain = torch.where(_is(drawn, "colour"), grey, grey.mean((1, 2, 3), keepdim=True))
    plain = torch.where(_is(drawn, "brightness"), 0.0, plain)
    blends = _is(drawn, "brightness") | _is(drawn, "contrast") | _is(drawn, "colour")
    factor = (1 + 0.9 * strength * side)[:, None, None, None]
    images = torch.where(blends, torch.lerp(plain.expand_as(images), images, factor).clamp(0, 1), images)
    steps = 2 ** (8 - round(4 * strength))
    images = torch.where(
        _is(drawn, "posterise"), (images * 255 // (256 / steps)) * (256 / steps) / 255, images
    )
    inverted = _is(drawn, "solarise") & (images >= 1 - strength)
    return torch.where(inverted, 1 - images, images)
