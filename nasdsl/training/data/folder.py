"""A folder of class folders of images: ``photos/cat/1.jpg``, with ``train/`` and ``test/`` (and ``val/``) around them or
without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from nasdsl.diagnostics import failure
from nasdsl.training.data.cache import room_for
from nasdsl.training.data.dataset import Array, ImageData, Images
from nasdsl.training.data.pictures import channels_of, pixels
from nasdsl.training.data.settings import DataSettings

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}

LAYOUT = "a folder for each class: `cat/1.jpg`, `dog/2.jpg`, with `train/` and `test/` around them or without"


def recognises(path: Path) -> bool:
    """A folder with an image one or two levels further down."""
    if not path.is_dir():
        return False
    places = [path / names[0] for names in PARTS.values()] + [path]
    return any(_images_in(place) for base in places if base.is_dir() for place in _folders(base))


def has_loose_images(path: Path) -> bool:
    """Whether images lie in the folder itself, or in its parts, and not in folders of classes."""
    places = [path, *(path / name for names in PARTS.values() for name in names)]
    return any(any(_images_in(place)) for place in places if place.is_dir())


def read(path: Path, settings: DataSettings) -> ImageData:
    """Every image of the folder, decoded.

    Raises NasError: N1000 where there are no class folders or no images, N1001 for an image that can't be decoded,
    N1002 where sizes differ and ``settings.size`` is 0.
    """
    parts = {
        part: next((path / name for name in names if (path / name).is_dir()), None)
        for part, names in PARTS.items()
    }
    if parts["train"] is None:
        parts = {"train": path, "validation": None, "test": None}
    files = {part: _files(folder) for part, folder in parts.items() if folder is not None}
    classes = tuple(files["train"])
    for part, found in files.items():
        strange = [name for name in found if name not in classes]
        if strange:
            raise failure(
                "N1000", f"`{parts[part]}` has the class `{strange[0]}`, which the training part doesn't have"
            )
    first = [paths[0] for found in files.values() for paths in found.values()]
    channels = channels_of([_open(path) for path in first], settings)
    size = (settings.size, settings.size) if settings.size else _decoded(first[0], channels, 0).shape[:2]
    read_parts = {
        part: _part(path, part, found, classes, (*size, channels), settings) for part, found in files.items()
    }
    return ImageData(read_parts["train"], read_parts.get("test"), classes, read_parts.get("validation"))


def _files(folder: Path) -> dict[str, list[Path]]:
    """The images of each class folder, by its name. Raises NasError N1000 where there are none."""
    found = {place.name: images for place in _folders(folder) if (images := list(_images_in(place)))}
    if not found:
        loose = next(_images_in(folder), None)
        help = f"`{loose.name}` lies beside them: put images into folders named by class" if loose else LAYOUT
        raise failure("N1000", f"`{folder}` has no class folders with images", help)
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images_in(folder: Path) -> Iterator[Path]:
    return (
        p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    )


def _part(
    root: Path,
    part: str,
    files: dict[str, list[Path]],
    classes: Sequence[str],
    shape: tuple[int, int, int],
    settings: DataSettings,
) -> Images:
    paths = [p for name in classes for p in files.get(name, ())]
    labels = np.array([i for i, name in enumerate(classes) for _ in files.get(name, ())], np.int64)
    with room_for((len(paths), *shape), settings, root, part, paths) as room:
        for i, path in enumerate(paths if room.empty else ()):
            image = _decoded(path, shape[2], settings.size)
            if image.shape != shape:
                raise failure(
                    "N1002",
                    f"images have different sizes: `{path}` is {image.shape[0]} x {image.shape[1]}, others {shape[0]} x {shape[1]}",
                    "say `-c data.size=64`, or another size that all are brought to",
                )
            room.array[i] = image
    return Images(room.array, labels)


def _decoded(path: Path, channels: int, size: int) -> Array:
    """uint8 [H, W, C]. Raises NasError N1001."""
    image = _open(path)
    try:
        return pixels(image, channels, size)
    except (OSError, SyntaxError, ValueError) as error:
        raise _broken(path, error) from None


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> Exception:
    reason = "it is no image" if isinstance(error, UnidentifiedImageError) else str(error)
    return failure("N1001", f"image `{path}` can't be read: {reason}", "mend it or take it out of the folder")
