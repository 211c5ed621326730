"""A folder of class folders of images: ``photos/cat/1.jpg``, with ``train/`` and ``test/`` (and ``val/``) around them or
without."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from nasdsl.diagnostics import Diagnostic, NasError, failure
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

R = TypeVar("R")

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
    folders = {part: folder for part, folder in parts.items() if folder is not None}
    files = {part: _files(folder) for part, folder in folders.items()}
    classes = tuple(files["train"])
    for part, found in files.items():
        strange = [name for name in found if name not in classes]
        if strange:
            raise failure(
                "N1000", f"`{parts[part]}` has the class `{strange[0]}`, which the training part doesn't have"
            )
    broken = Broken()
    modes = {path: mode for path in _some(files) if (mode := broken.none_of(_mode, path)) is not None}
    channels = channels_of(modes.values(), settings)
    sizes = (broken.none_of(_decoded, path, channels, settings.size) for path in modes)
    size = next((image.shape[:2] for image in sizes if image is not None), None)
    if size is None:
        broken.raise_if_any()
        raise AssertionError("no class is without an image")
    read_parts: dict[str, Images] = {}
    for part, found in files.items():
        with suppress(_DamagedError):
            read_parts[part] = _part(path, part, found, classes, (*size, channels), settings, broken)
    broken.raise_if_any()
    notes = (*_left_out(folders, files), *_in_two_parts(files))
    return ImageData(
        read_parts["train"], read_parts.get("test"), classes, read_parts.get("validation"), notes
    )


class _DamagedError(Exception):
    """A part lacks images, and is not to be kept."""


class Broken:
    """The images that couldn't be read, all of them, to be told together."""

    SHOWN = 10
    """So many are told each by itself."""

    def __init__(self) -> None:
        self.diagnostics: dict[Path, Diagnostic] = {}

    def none_of(self, read: Callable[..., R], path: Path, *how: Any) -> R | None:
        """What ``read`` gives of a path; None where it can't, which is kept."""
        try:
            return read(path, *how)
        except NasError as error:
            if error.diagnostics[0].code != "N1001":
                raise
            self.diagnostics[path] = error.diagnostics[0]
            return None

    def raise_if_any(self) -> None:
        """Raises NasError N1001, once for each image up to a number, then for all the others."""
        told = list(self.diagnostics.values())
        if not told:
            return
        more = len(told) - self.SHOWN
        if more > 0:
            words = f"and so it is with {more} image{'s' if more > 1 else ''} more"
            told = [*told[: self.SHOWN], Diagnostic("N1001", words, help=told[0].help)]
        raise NasError(*told)


def _some(files: Mapping[str, Mapping[str, list[Path]]]) -> list[Path]:
    """An image of each class of each part: what all of them have in common is seen in these."""
    return [paths[0] for found in files.values() for paths in found.values()]


def _left_out(folders: Mapping[str, Path], files: Mapping[str, Mapping[str, list[Path]]]) -> Iterator[str]:
    """Words for class folders without images, and for classes that a part has no images of."""
    for part, folder in folders.items():
        empty = [place.name for place in _folders(folder) if place.name not in files[part]]
        unknown = [name for name in empty if name not in files["train"]]
        if unknown:
            yield f"`{folder}` has no images in {_named(unknown)}: left out"
        absent = [name for name in files["train"] if name not in files[part]]
        if absent:
            yield f"`{folder}` has no images of the class{'es' if len(absent) > 1 else ''} {_named(absent)}"


def _in_two_parts(files: Mapping[str, Mapping[str, list[Path]]]) -> Iterator[str]:
    """Words for images that are trained on and held out as well, file by file."""
    paths = {part: [p for images in found.values() for p in images] for part, found in files.items()}
    sizes = {part: {path: path.stat().st_size for path in found} for part, found in paths.items()}
    for part in ("validation", "test"):
        # Files of other sizes needn't be read.
        common = set(sizes["train"].values()) & set(sizes.get(part, {}).values())
        if not common:
            continue
        trained_on = {_digest(path) for path, size in sizes["train"].items() if size in common}
        twice = [p for p, size in sizes[part].items() if size in common and _digest(p) in trained_on]
        if twice:
            yield (
                f"{len(twice)} of {len(paths[part])} images of the {part} part are in the training part too, such as "
                f"`{twice[0]}`: a score on them says little"
            )


def _digest(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()


def _named(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")


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
    broken: Broken,
) -> Images:
    """One part, decoded. Images that can't be are put to ``broken``, and nothing of the part is kept on disk then."""
    paths = [p for name in classes for p in files.get(name, ())]
    labels = np.array([i for i, name in enumerate(classes) for _ in files.get(name, ())], np.int64)
    whole = True
    with room_for((len(paths), *shape), settings, root, part, paths) as room:
        for i, path in enumerate(paths if room.empty else ()):
            image = broken.none_of(_decoded, path, shape[2], settings.size)
            if image is None:
                whole = False
                continue
            if image.shape != shape:
                raise failure(
                    "N1002",
                    f"images have different sizes: `{path}` is {image.shape[0]} x {image.shape[1]}, others {shape[0]} x {shape[1]}",
                    "say `-c data.size=64`, or another size that all are brought to",
                )
            room.array[i] = image
        if not whole:
            raise _DamagedError
    return Images(room.array, labels)


def _decoded(path: Path, channels: int, size: int) -> Array:
    """uint8 [H, W, C]. Raises NasError N1001."""
    image = _open(path)
    try:
        return pixels(image, channels, size)
    except (OSError, SyntaxError, ValueError) as error:
        raise _broken(path, error) from None


def _mode(path: Path) -> str:
    """Grey, colours, palette, …: what is known before anything is decoded. Raises NasError N1001."""
    with _open(path) as image:  # of many classes not all can be open at once
        return image.mode


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> Exception:
    reason = "it is no image" if isinstance(error, UnidentifiedImageError) else str(error)
    return failure("N1001", f"image `{path}` can't be read: {reason}", "mend it or take it out of the folder")
