"""Text to a task of language modelling: what comes next, at every place.

A text is one long row of tokens, and an example is a segment of it, ``bptt`` tokens long, with the same tokens one
place further on as targets. Segments are kept in the order of the text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.diagnostics.quantities import grouped
from nasdsl.space.tensor import Shape
from nasdsl.training.data.dataset import Array, TextData
from nasdsl.training.data.parts import Parts
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.objectives import NOTHING, NextToken
from nasdsl.training.split import Split
from nasdsl.training.tasks import Task


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens stored in few bits become int64, as embeddings take them."""

    def __call__(self, stored: Tensor, layout: torch.memory_format) -> Tensor:
        return stored.to(torch.int64)


@dataclass(frozen=True, eq=False)
class Streams(Split):
    """Successive segments [N, bptt] of one text.

    Networks that keep nothing from one segment to the next see them in any order. Where states are carried, the text is
    cut into as many streams as a minibatch has rows, and the k-th minibatch of an :meth:`order` holds the k-th segment of each:
    the first minibatch starts every stream, and each later one goes on, row by row, where the one before ended.
    """

    def order(self, size: int, random: torch.Generator) -> list[Tensor]:
        if not self.in_streams:
            return super().order(size, random)
        return in_sequence(len(self), min(size, len(self)), self.device)


def in_sequence(count: int, streams: int, device: torch.device) -> list[Tensor]:
    """The numbers of the segments of each minibatch, where each of the ``streams`` is a run of successive segments. The
    last ones that fill no stream are left out.

    >>> [batch.tolist() for batch in in_sequence(7, 2, torch.device("cpu"))]
    [[0, 3], [1, 4], [2, 5]]
    """
    length = count // streams
    starts = torch.arange(streams, device=device) * length
    return [starts + i for i in range(length)]


def text_task(name: str, data: TextData, settings: DataSettings) -> Task:
    """Language modelling. Raises NasError N1011 where a part is shorter than one segment."""
    parts = text_parts(name, data, settings)
    vocabulary = 256 if data.bytes else len(data.vocabulary)
    count = sum(len(part) for part in (data.train, data.validation, data.test) if part is not None)
    unit = "bytes" if data.bytes else f"words, {grouped(vocabulary)} different ones"
    return Task(
        name,
        f"{grouped(count)} {unit}",
        parts.train,
        parts.test,
        (Shape((settings.bptt,), "int"),),
        Shape((settings.bptt, vocabulary)),
        NextToken(bits=data.bytes),
        tuple(data.vocabulary),
        input_names=("tokens",),
        sizes={"vocab": vocabulary},
        validation=parts.validation,
        notes=parts.notes,
    )


def text_parts(name: str, data: TextData, settings: DataSettings) -> Parts:
    """The parts of a text in segments, whole where they are scored. Raises NasError N1011 for one that is too short."""
    validation = (
        None
        if data.validation is None
        else segments(name, "validation", data.validation, settings, whole=True)
    )
    return Parts(
        segments(name, "training", data.train, settings),
        segments(name, "test", data.test, settings, whole=True),
        validation,
        data.notes,
    )


def segments(name: str, part: str, tokens: Array, settings: DataSettings, *, whole: bool = False) -> Streams:
    """A text [T] in segments. What is left over at its end, shorter than a segment, is left out, or where the ``whole``
    is wanted filled up: with zeros that nothing is to be told at, so that no token before is told otherwise for them.

    Raises NasError N1011 for a text that is shorter than a segment.
    """
    length = settings.bptt
    if settings.tokens:
        tokens = tokens[: settings.tokens + 1]
    count = (len(tokens) - 1) // length
    if count < 1:
        raise failure(
            "N1011",
            f"the {part} text of `{name}` has {len(tokens)} tokens, too few for a segment of {length} and what comes next",
            f"shorter segments: `-c data.bptt={max(1, len(tokens) - 1)}`" if len(tokens) > 1 else None,
        )
    left = (len(tokens) - 1) % length if whole else 0
    missing = length - left if left else 0
    used = np.array(tokens[: count * length + left + 1])
    inputs = torch.from_numpy(np.pad(used[:-1], (0, missing))).view(-1, length)
    # A byte has no room for NOTHING.
    told = used[1:].astype(np.int16) if missing and used.dtype == np.uint8 else used[1:]
    targets = torch.from_numpy(np.pad(told, (0, missing), constant_values=NOTHING if missing else 0)).view(
        -1, length
    )
    return Streams((inputs,), targets, (Tokens(),), continuous=True, carried=settings.carried)
