"""Augmentation in batches, on the device that holds the data, seeded: one idea a file.

The order is that of the papers: crop and flip of the pixels, RandAugment, normalisation, cutout, mixup.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nasdsl.training.augment.crop import crop_and_flip, mirror, shift
from nasdsl.training.augment.cutout import cutout
from nasdsl.training.augment.mixup import mixup
from nasdsl.training.augment.rand_augment import rand_augment
from nasdsl.training.recipe import Recipe
from nasdsl.training.split import Pixels, Split, View

__all__ = ["augmented"]


def augmented(batch: Split, recipe: Recipe, random: torch.Generator) -> Split:
    """A minibatch as the recipe changes it: images, that is inputs with four axes, and with mixup whatever is
    real-valued. Everything follows from ``random``."""
    if recipe.crop or recipe.flip or recipe.cutout or recipe.rand_augment:
        views = batch.views or (None,) * len(batch.stored)
        changed = tuple(
            _image(x, view, batch.layout, recipe, random) if x.dim() == 4 else (x, view)
            for x, view in zip(batch.stored, views, strict=True)
        )
        batch = replace(batch, stored=tuple(x for x, _ in changed), views=tuple(view for _, view in changed))
    return mixup(batch, recipe.mixup, random) if recipe.mixup else batch


def _image(
    stored: Tensor, view: View | None, layout: torch.memory_format, recipe: Recipe, random: torch.Generator
) -> tuple[Tensor, View | None]:
    """Images [N, C, H, W] that the network reads as they are, or with the view that they still need."""
    if isinstance(view, Pixels):
        images = _pixels(stored, view, layout, recipe, random)
    else:
        images = stored if view is None else view(stored, layout)
        images = shift(images, recipe.crop, random) if recipe.crop else images
        images = mirror(images, random) if recipe.flip else images
    return (cutout(images, recipe.cutout, random) if recipe.cutout else images), None


def _pixels(
    stored: Tensor, view: Pixels, layout: torch.memory_format, recipe: Recipe, random: torch.Generator
) -> Tensor:
    """uint8 [N, H, W, C] to normalised images [N, C, H, W]."""
    if recipe.crop or recipe.flip:
        stored = crop_and_flip(stored, recipe.crop, recipe.flip, random)
    if recipe.rand_augment:
        images = stored.permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255
        images = rand_augment(images, recipe.rand_augment, recipe.rand_magnitude, random)
        stored = (images * 255).permute(0, 2, 3, 1)  # the normalisation takes real numbers too
    return view(stored, layout)
