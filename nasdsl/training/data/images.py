"""Images to a task: uint8 on the device, normalised by the statistics of the training part."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from nasdsl.diagnostics import failure
from nasdsl.diagnostics.quantities import grouped
from nasdsl.space.tensor import Shape
from nasdsl.training.data.dataset import Array, ImageData, Images
from nasdsl.training.data.parts import check_classes, parts_of
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.objectives import Classification
from nasdsl.training.split import Pixels, Split
from nasdsl.training.tasks import Normalisation, Task, sizes_of


def image_task(name: str, data: ImageData, settings: DataSettings) -> Task:
    """Classification of images. Raises NasError N919 where there is one class, or too little of one."""
    classes = len(data.classes)
    check_classes(name, data.train.labels, data.classes)
    whole = _split(data.train, settings, classes)
    parts = parts_of(
        name,
        whole,
        None if data.test is None else _split(data.test, settings, classes),
        None if data.validation is None else _split(data.validation, settings, classes),
        settings,
    )
    mean, deviation = statistics(whole.stored[0].numpy(), parts.train.rows)
    seen = parts.changed(lambda split: with_view(split, Pixels(mean, deviation)))
    height, width, channels = whole.stored[0].shape[1:]
    shape = (channels, height, width)
    return Task(
        name,
        f"{grouped(len(seen.train) + len(seen.test))} images of {classes} classes, {height}x{width}",
        seen.train,
        seen.test,
        (Shape(shape),),
        Shape((classes,)),
        Classification(),
        data.classes,
        # In the units that images are stored in.
        Normalisation(tuple(255 * m for m in mean), tuple(255 * d for d in deviation)),
        ("image",),
        sizes_of(shape) | {"classes": classes},
        seen.validation,
        notes=(*data.notes, *parts.notes),
    )


def _split(part: Images, settings: DataSettings, classes: int) -> Split:
    images = part.images
    if settings.size and images.shape[1:3] != (settings.size, settings.size):
        images = resized(images, settings.size)
    if settings.colours != "auto":
        images = coloured(images, 1 if settings.colours == "grey" else 3)
    return Split((torch.from_numpy(images),), torch.from_numpy(part.labels), classes=classes)


def with_view(split: Split, view: Pixels) -> Split:
    return replace(split, views=(view,))


def statistics(images: Array, rows: torch.Tensor | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, of pixels in 0..1, [C] each; of these rows alone where they are given.

    Exact: the values of a byte are counted.
    """
    channels = images.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    numbers = np.arange(len(images)) if rows is None else rows.numpy()
    step = max(1, 10_000_000 // math.prod(images.shape[1:]))
    for start in range(0, len(numbers), step):
        some = images[numbers[start : start + step]]
        for channel in range(channels):
            counts[channel] += np.bincount(some[..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    totals = counts.sum(1)
    means = (counts * values).sum(1) / totals
    deviations = np.sqrt((counts * (values - means[:, None]) ** 2).sum(1) / totals)
    # A channel that is the same everywhere is left as it is.
    return tuple(means.tolist()), tuple(float(d) or 1.0 for d in deviations)


def resized(images: Array, size: int) -> Array:
    """uint8 [N, H, W, C] in another size, [N, size, size, C], from the middle square; bilinear, smoothed.

    Raises NasError N1002 for other than 1 or 3 channels.
    """
    count, height, width, channels = images.shape
    if channels not in (1, 3):
        raise failure("N1002", f"images of {channels} channels can't be resized")
    made = np.empty((count, size, size, channels), np.uint8)
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    for i in range(count):
        image = Image.fromarray(images[i] if channels == 3 else images[i, :, :, 0])
        box = (left, top, left + side, top + side)
        changed = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
        made[i] = np.asarray(changed).reshape(size, size, channels)
    return made


def coloured(images: Array, channels: int) -> Array:
    """Grey from red, green and blue by their brightness (ITU-R 601), or grey thrice."""
    if images.shape[3] == channels:
        return images
    if channels == 3:
        return np.repeat(images[..., :1], 3, axis=3)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.rint(images[..., :3] @ weights).astype(np.uint8)[..., None]
