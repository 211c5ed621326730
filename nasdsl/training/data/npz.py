"""``.npz`` files: ``x_train``, ``y_train``, ``x_test``, ``y_test`` as Keras names them, or ``x`` and ``y``.

Images of whole numbers 0..255 are taken as images, anything else as arrays. A folder of ``.npy`` files with these names
is read likewise, mapped into memory and not loaded.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nasdsl.diagnostics import failure
from nasdsl.training.data.dataset import Array, ArrayData, Data, Examples, ImageData, Images, checked_labels
from nasdsl.training.data.settings import DataSettings

TRAIN = (("x_train", "y_train"), ("x", "y"), ("X_train", "y_train"), ("X", "y"))
VALIDATION = (("x_val", "y_val"), ("x_valid", "y_valid"), ("X_val", "y_val"))
TEST = (("x_test", "y_test"), ("X_test", "y_test"))


def recognises(path: Path) -> bool:
    if path.is_dir():
        return any((path / f"{x}.npy").is_file() for x, _ in TRAIN)
    return path.suffix == ".npz"


def read(path: Path, settings: DataSettings) -> Data:
    """Raises NasError: N1004 for a file that can't be read, that lacks arrays or has pickled ones, and N1007 for labels
    that are none."""
    arrays = _mapped(path) if path.is_dir() else _loaded(path)
    train = _pair(arrays, TRAIN)
    if train is None:
        raise failure(
            "N1004",
            f"`{path}` has the arrays {', '.join(sorted(arrays)) or 'none'}",
            "it wants x_train and y_train, with x_test and y_test or without, or x and y",
        )
    parts = {"train": train, "validation": _pair(arrays, VALIDATION), "test": _pair(arrays, TEST)}
    there = {name: pair for name, pair in parts.items() if pair is not None}
    for name, (x, y) in there.items():
        _check(path, name, x, y, train[0].shape[1:])
    wanted_images = settings.kind == "image" or (settings.kind == "auto" and train[0].dtype == np.uint8)
    if wanted_images and train[0].ndim in (3, 4):
        return _images(path, there)
    examples = {name: Examples({"x": x}, {"y": y}) for name, (x, y) in there.items()}
    return ArrayData(examples["train"], examples.get("test"), examples.get("validation"))


def _loaded(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except ValueError as error:
        pickled = "allow_pickle" in str(error)
        help = (
            "object arrays are pickled code, which is never run: save arrays of numbers" if pickled else None
        )
        raise failure(
            "N1004", f"`{path}` can't be read: {'it has pickled arrays' if pickled else error}", help
        ) from None
    except (OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise failure("N1004", f"`{path}` is no whole .npz file: {error}") from None


def _mapped(path: Path) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for file in sorted(path.glob("*.npy")):
        try:
            # Copy on write: torch takes no read-only memory.
            found[file.stem] = np.load(file, mmap_mode="c", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise failure("N1004", f"`{file}` is no .npy file of numbers: {error}") from None
    return found


def _pair(arrays: Mapping[str, Array], names: tuple[tuple[str, str], ...]) -> tuple[Array, Array] | None:
    return next(((arrays[x], arrays[y]) for x, y in names if x in arrays and y in arrays), None)


def _check(path: Path, part: str, x: Array, y: Array, shape: tuple[int, ...]) -> None:
    if x.ndim < 2 or x.shape[1:] != shape:
        raise failure(
            "N1004",
            f"`{path}`: inputs of the {part} part have the shape {list(x.shape)}, where [N, {', '.join(map(str, shape))}] is wanted",
        )
    if len(x) != len(y):
        raise failure("N1007", f"`{path}`: the {part} part has {len(x)} examples, but {len(y)} targets")
    for name, array in (("x", x), ("y", y)):
        if array.dtype.kind not in "iufb":
            raise failure("N1004", f"`{path}`: `{name}` of the {part} part holds {array.dtype}, no numbers")


def _images(path: Path, parts: Mapping[str, tuple[Array, Array]]) -> ImageData:
    top = 1 + max(int(np.max(y, initial=0)) for _, y in parts.values())
    found = {
        name: Images(_channels_at_the_end(path, x), checked_labels(y, len(x), top, f"`{path}`, {name} part"))
        for name, (x, y) in parts.items()
    }
    classes = tuple(map(str, range(top)))
    return ImageData(found["train"], found.get("test"), classes, found.get("validation"))


def _channels_at_the_end(path: Path, images: Array) -> Array:
    """[N, H, W, C], from that, [N, C, H, W] or [N, H, W]. Raises NasError N1004 where it is neither, or no 0..255."""
    if images.dtype != np.uint8:
        if images.min(initial=0) < 0 or images.max(initial=0) > 255 or images.dtype.kind == "f":
            raise failure(
                "N1004",
                f"`{path}`: images are whole numbers 0..255, and these are {images.dtype} from {images.min()} to {images.max()}",
                "`--task arrays` takes numbers of any kind, and standardises them",
            )
        images = images.astype(np.uint8)
    if images.ndim == 3:
        return images[..., None]
    if images.shape[3] in (1, 3, 4):
        return images[..., :3]
    if images.shape[1] in (1, 3, 4):
        return np.ascontiguousarray(images[:, :3].transpose(0, 2, 3, 1))
    raise failure(
        "N1004", f"`{path}`: images of the shape {list(images.shape)} have no axis of 1 or 3 channels"
    )
