"""What readers give: plain arrays with names, not yet cut, standardised or on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from nasdsl.diagnostics import failure

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images: uint8 [N, H, W, C] and class numbers [N]."""

    images: Array
    labels: Array


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images in the parts that were published; ``test`` is None where there is no such part.

    ``classes`` are the names of the classes, in the order of their numbers.
    """

    train: Images
    test: Images | None
    classes: tuple[str, ...]
    validation: Images | None = None
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return "image"


@dataclass(frozen=True, eq=False)
class ArrayData:
    """Arrays of any shape by name, [N, …] each. Targets of whole numbers are classes, real ones are numbers to predict.

    ``weights`` say how much each target counts in the loss. ``labels`` are the names of the classes of a single target,
    and ``sizes`` those of the task that don't follow from the shapes (:class:`~nasdsl.training.tasks.Task`).
    """

    train: Examples
    test: Examples | None = None
    validation: Examples | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    kind: str = "arrays"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of several arrays that belong together."""

    inputs: Mapping[str, Array]
    targets: Mapping[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.targets.values())))


@dataclass(frozen=True, eq=False)
class TextData:
    """Token numbers [T] of each part, and what the numbers stand for; ``vocabulary`` is empty for bytes.

    ``notes`` say what was cut off as test text, which must happen before words are counted.
    """

    train: Array
    validation: Array | None
    test: Array
    vocabulary: Sequence[str] = ()
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> bool:
        return not self.vocabulary

    @property
    def kind(self) -> str:
        return "bytes" if self.bytes else "words"


@dataclass(frozen=True, eq=False)
class TableData:
    """The rows of a table, as text: ``columns`` by name, [N] each, in the parts that were published."""

    train: Mapping[str, Sequence[str]]
    test: Mapping[str, Sequence[str]] | None
    target: str
    validation: Mapping[str, Sequence[str]] | None = None
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return "table"


Data = Union[ImageData, ArrayData, TextData, TableData]


def checked_labels(labels: Array, count: int, classes: int | None, where: str) -> Array:
    """Class numbers as int64 [N].

    Raises NasError N1007 where there is another number of them than of examples, where they aren't whole numbers from 0
    up, or where one is ``classes`` or more.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras keeps those of CIFAR-10
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise failure(
            "N1007", f"{where}: labels have the shape {list(labels.shape)}; one number an example is wanted"
        )
    if len(labels) != count:
        raise failure("N1007", f"{where}: {count} examples, but {len(labels)} labels")
    if labels.dtype.kind not in "iub":
        if labels.dtype.kind != "f" or not np.array_equal(labels, np.floor(labels)):
            raise failure("N1007", f"{where}: labels are no whole numbers", "class numbers go from 0 up")
    whole = labels.astype(np.int64)
    if len(whole) and whole.min() < 0:
        raise failure("N1007", f"{where}: label {whole.min()} is out of range", "class numbers go from 0 up")
    if classes is not None and len(whole) and whole.max() >= classes:
        raise failure(
            "N1007",
            f"{where}: label {whole.max()} is out of range: there are {classes} classes, counted from 0",
        )
    return whole
