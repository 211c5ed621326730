"""One picture as it was kept, of any mode, to the bytes of its pixels."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from PIL import Image

from nasdsl.training.data.dataset import Array
from nasdsl.training.data.settings import DataSettings

GREY = {"1", "L", "LA", "I;16", "I", "F"}
MODES = {1: "L", 3: "RGB"}


def channels_of(modes: Collection[str], settings: DataSettings) -> int:
    """1 where pictures of all of these modes are grey, else 3; or what the settings say."""
    if settings.colours != "auto":
        return 1 if settings.colours == "grey" else 3
    return 1 if set(modes) <= GREY else 3


def pixels(image: Image.Image, channels: int, size: int) -> Array:
    """uint8 [H, W, C]; see-through parts are white. With ``size``, the middle square, resampled.

    Raises OSError, SyntaxError or ValueError where the picture can't be decoded.
    """
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode.startswith("I"):  # 16 bits a pixel
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    image = image.convert(MODES[channels])
    if size:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
    return np.asarray(image).reshape(image.height, image.width, channels)
