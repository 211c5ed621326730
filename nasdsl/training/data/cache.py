"""Room for decoded images: in memory where they fit, else in a file that is mapped into memory and kept.

The file is made once, whole or not at all, and found again by a key of the names, sizes and times of the images and of
how they were decoded; a folder of images is so read from its second run on without decoding anything.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasdsl.diagnostics import failure
from nasdsl.training.data.dataset import Array
from nasdsl.training.data.settings import DataSettings

GB = 1e9


@dataclass
class Room:
    """``array`` is to be filled where it is ``empty``."""

    array: Array
    empty: bool


@contextmanager
def room_for(
    shape: tuple[int, ...], settings: DataSettings, root: Path, part: str, files: Sequence[Path]
) -> Iterator[Room]:
    """An array of uint8. Raises NasError N936 where the cache can't be written."""
    if math.prod(shape) <= settings.memory * GB:
        yield Room(np.zeros(shape, np.uint8), True)
        return
    path = folder(settings) / f"{root.name}-{part}-{_key(shape, settings, files)}.npy"
    if path.is_file():
        # Copy on write: torch takes no read-only memory.
        yield Room(np.load(path, mmap_mode="c"), False)
        return
    beside = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        room = Room(np.lib.format.open_memmap(beside, "w+", np.uint8, shape), True)
        yield room
        room.array.flush()  # type: ignore[attr-defined]
        os.replace(beside, path)
        room.array = np.load(path, mmap_mode="c")
    except OSError as error:
        raise failure(
            "N936",
            f"can't write decoded images to `{path.parent}`: {error.strerror}",
            "name another place with `-c data.cache=FOLDER`, or smaller images with `-c data.size=`",
        ) from None
    finally:
        beside.unlink(missing_ok=True)


def folder(settings: DataSettings) -> Path:
    """Where decoded images are kept."""
    if settings.cache:
        return Path(settings.cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nasdsl"


def _key(shape: tuple[int, ...], settings: DataSettings, files: Sequence[Path]) -> str:
    digest = hashlib.blake2b(f"1 {shape} {settings.size} {settings.colours}".encode(), digest_size=8)
    for path in files:
        about = path.stat()
        digest.update(f"{path.parent.name}/{path.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()
