"""CIFAR-10 and CIFAR-100 in their published layouts (Krizhevsky, 2009): binary, and that of Python.

Binary: records of one label (CIFAR-100: a coarse and a fine one) and 3 x 32 x 32 bytes. Python: pickled dictionaries
with ``data`` [N, 3072] and ``labels`` (``fine_labels``); they are read without running code of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasdsl.diagnostics import failure
from nasdsl.training.data.dataset import Array, ImageData, Images, checked_labels
from nasdsl.training.data.pickled import read_pickle
from nasdsl.training.data.settings import DataSettings

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Layout:
    """Names of the files of one layout. ``before`` is how many bytes of a record stand before its label."""

    classes: int
    train: Sequence[str]
    test: str
    names: str
    labels: str
    before: int = 0


CIFAR10 = tuple(f"data_batch_{i}" for i in range(1, 6))
BINARY = (
    Layout(10, [f"{name}.bin" for name in CIFAR10], "test_batch.bin", "batches.meta.txt", ""),
    Layout(100, ["train.bin"], "test.bin", "fine_label_names.txt", "", before=1),
)
PYTHON = (
    Layout(10, CIFAR10, "test_batch", "batches.meta", "labels"),
    Layout(100, ["train"], "test", "meta", "fine_labels"),
)


def _layout(path: Path, layouts: Sequence[Layout]) -> Layout | None:
    if not path.is_dir():
        return None
    return next(
        (x for x in layouts if (path / x.train[0]).is_file() and (path / x.names).is_file()),
        next((x for x in layouts if (path / x.train[0]).is_file() and (path / x.test).is_file()), None),
    )


def recognises(path: Path) -> bool:
    return _layout(path, (*BINARY, *PYTHON)) is not None


def read(path: Path, settings: DataSettings) -> ImageData:
    """Raises NasError: N915 for a missing file, N1005 for one of another length, N1006 for pickled code, N1007 for
    labels out of range."""
    binary = _layout(path, BINARY)
    layout = binary or _layout(path, PYTHON)
    assert layout is not None
    missing = [name for name in (*layout.train, layout.test) if not (path / name).is_file()]
    if missing:
        raise failure("N915", f"`{path}` looks like CIFAR-{layout.classes}, but has no `{missing[0]}`")
    read_file = _binary if binary else _python
    batches = [read_file(path / name, layout) for name in layout.train]
    train = Images(np.concatenate([b.images for b in batches]), np.concatenate([b.labels for b in batches]))
    return ImageData(train, read_file(path / layout.test, layout), _classes(path, layout, bool(binary)))


def _binary(path: Path, layout: Layout) -> Images:
    data = np.fromfile(path, np.uint8)
    record = layout.before + 1 + PIXELS
    if not len(data) or len(data) % record:
        raise failure(
            "N1005",
            f"`{path}` has {len(data)} bytes, which is no multiple of a record's {record}",
            "it may be cut off",
        )
    records = data.reshape(-1, record)
    labels = checked_labels(records[:, layout.before], len(records), layout.classes, f"`{path}`")
    return Images(_pixels(records[:, layout.before + 1 :]), labels)


def _python(path: Path, layout: Layout) -> Images:
    entries = read_pickle(path)
    data = entries.get("data") if isinstance(entries, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (PIXELS,):
        raise failure("N1005", f"`{path}` is no batch of CIFAR: it has no `data` of [N, {PIXELS}] bytes")
    labels = np.array(entries.get(layout.labels, []))
    return Images(_pixels(data), checked_labels(labels, len(data), layout.classes, f"`{path}`"))


def _pixels(rows: Array) -> Array:
    """Planes of colours [N, 3072] to images [N, H, W, C]."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _classes(path: Path, layout: Layout, binary: bool) -> tuple[str, ...]:
    """Their names, or their numbers where the file of names is missing."""
    numbers = tuple(map(str, range(layout.classes)))
    file = path / layout.names
    if not file.is_file():
        return numbers
    if binary:
        found = file.read_text(encoding="utf-8", errors="replace").split()
    else:
        entries = read_pickle(file)
        key = "label_names" if layout.classes == 10 else "fine_label_names"
        listed = entries.get(key, []) if isinstance(entries, dict) else []
        found = [name.decode("latin1") if isinstance(name, bytes) else str(name) for name in listed]
    return tuple(found) if len(found) == layout.classes else numbers
