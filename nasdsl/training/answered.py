"""What a model answers to all examples of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nasdsl.operations.recurrent import States
from nasdsl.training.carried import STREAMS, has_scans, rows_of, streamed
from nasdsl.training.device import autocast
from nasdsl.training.outputs import Outputs
from nasdsl.training.ranks import ALONE, Ranks
from nasdsl.training.split import Split


def answered(
    model: Callable[..., Any], split: Split, batch: int, precision: str, ranks: Ranks = ALONE
) -> Iterator[tuple[Split, Outputs]]:
    """Minibatches of a split with what the model gives for them: in the order of the examples, or in
    :data:`~nasdsl.training.carried.STREAMS` streams, its state carried on, where the split is a text and the model
    recurrent. Several processes take turns with the minibatches, or have some of the streams each."""
    if split.in_streams and has_scans(model):
        yield from _in_streams(model, split, min(STREAMS, batch), precision, ranks)
        return
    for i, part in enumerate(split.batches(batch)):
        if i % ranks.count == ranks.rank:
            with autocast(split.device, precision):
                outputs = model(*part.inputs)
            yield part, outputs


def _in_streams(
    model: Callable[..., Any], split: Split, streams: int, precision: str, ranks: Ranks
) -> Iterator[tuple[Split, Outputs]]:
    states: States = {}
    for numbers in streamed(split, streams):
        mine = numbers[ranks.rank :: ranks.count]
        if not len(mine):
            continue
        part = split.take(mine)
        with autocast(split.device, precision):
            outputs, scanned = model(*part.inputs, states=rows_of(states, (0, len(mine))))
        states = scanned.states
        yield part, outputs
