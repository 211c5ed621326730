"""IDX files, the layout of MNIST and Fashion-MNIST, compressed by gzip or not.

A file is a magic number (two zeros, the type of the entries, the number of axes), the length of each axis as a
big-endian 32-bit number, then the entries: http://yann.lecun.com/exdb/mnist/ as of 1998.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np

from nasdsl.diagnostics import failure
from nasdsl.training.data.dataset import Array, ImageData, Images, checked_labels
from nasdsl.training.data.settings import DataSettings

TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IMAGES = re.compile(r"(.*)images[-.]idx3-ubyte(\.gz)?")


def recognises(path: Path) -> bool:
    """A folder that holds ``…images-idx3-ubyte`` files."""
    return path.is_dir() and any(_IMAGES.fullmatch(p.name) for p in path.iterdir())


def read(path: Path, settings: DataSettings) -> ImageData:
    """The images of a folder. Files named ``train…`` are the training part, ``t10k…`` or ``test…`` the test part.

    Raises NasError: N915 for a missing file, N1003 for one that is no IDX file or cut off, N1007 for wrong labels.
    """
    found = {match[1]: p for p in sorted(path.iterdir()) if (match := _IMAGES.fullmatch(p.name))}
    training = [start for start in found if not start.startswith(("t10k", "test"))]
    held_out = [start for start in found if start.startswith(("t10k", "test"))]
    if len(training) != 1 or len(held_out) > 1:
        raise failure(
            "N915",
            f"`{path}` has {len(training)} files of training images and {len(held_out)} of test images",
            "one such as train-images-idx3-ubyte is wanted, and one such as t10k-images-idx3-ubyte or none",
        )
    train = _part(path, found[training[0]], training[0])
    test = _part(path, found[held_out[0]], held_out[0]) if held_out else None
    classes = 1 + max(int(part.labels.max(initial=0)) for part in (train, test) if part is not None)
    return ImageData(train, test, tuple(map(str, range(classes))))


def _part(folder: Path, images: Path, start: str) -> Images:
    names = [f"{start}labels-idx1-ubyte", f"{start}labels.idx1-ubyte"]
    there = [p for name in names for p in (folder / name, folder / f"{name}.gz") if p.is_file()]
    if not there:
        raise failure(
            "N915", f"`{folder}` has `{images.name}`, but no labels of it", f"`{names[0]}` is wanted"
        )
    pixels = read_idx(images)
    if pixels.ndim != 3 or pixels.dtype != np.uint8:
        raise failure("N1003", f"`{images}` holds no images: {pixels.ndim} axes of {pixels.dtype}")
    labels = checked_labels(read_idx(there[0]), len(pixels), None, f"`{there[0]}`")
    return Images(pixels[..., None], labels)


def read_idx(path: Path) -> Array:
    """The array of one IDX file. Raises NasError N1003 where it is none, or cut off."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise failure(
            "N1003", f"`{path}` can't be read: {error}", "it may be cut off: fetch it again"
        ) from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES:
        raise failure("N1003", f"`{path}` is no IDX file: it starts with {data[:4].hex(' ') or 'nothing'}")
    dtype, axes = np.dtype(TYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    wanted = start + math.prod(shape) * dtype.itemsize
    if len(shape) != axes or len(data) != wanted:
        what = "cut off" if len(data) < wanted else "too long"
        raise failure("N1003", f"`{path}` is {what}: {len(data)} bytes, where its head says {wanted}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
