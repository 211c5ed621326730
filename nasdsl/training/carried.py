"""The state that a recurrent network is in, carried from one segment of a text to the next (truncated back-propagation
through time: no gradient goes from a segment into the one before).

A minibatch holds a segment of each of several streams, a row a stream, and its successor goes on row by row. At the start
of a pass over the text all states are zero. In a search the state is that of the streams, whatever genotype comes next:
it starts from where the last one ended (as in ENAS and DARTS), but for scans that the last one had not, or had in
another size, which start at zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from nasdsl.operations.recurrent import States
from nasdsl.training.ranks import ALONE, Ranks
from nasdsl.training.split import Split

STREAMS = 10
"""An evaluation goes through a text in so many streams, as that of DARTS on its validation text."""

Rows = tuple[int, int]
"""From the first row of a minibatch up to, not including, the second."""


class Carried:
    """The states of the streams, and where the passes of the step under way have ended. With ``on`` false nothing is
    carried: all passes start at zeros.

    Several processes hold the rows that they train on, and zeros elsewhere.
    """

    def __init__(self, on: bool) -> None:
        self.on = on
        self._states: States = {}
        self._ended: dict[int, dict[Rows, States]] = {}
        self._whole = True  # all rows are here, not those of this process alone

    def start_streams(self) -> None:
        """Every stream is at its start."""
        self._states, self._whole = {}, True

    def before(self, rows: Rows) -> States:
        """What a pass over some rows starts from."""
        return rows_of(self._states, rows)

    def after(self, place: int, rows: Rows, states: States) -> None:
        """What the ``place``-th pass of the step has ended with."""
        if self.on:
            detached = {scan: tuple(s.detach() for s in found) for scan, found in states.items()}
            self._ended.setdefault(place, {})[rows] = detached

    def go_on(self, count: int) -> None:
        """The step is made, on ``count`` rows. Of several passes over the same rows the last one is gone on from."""
        if not self._ended:
            return
        ends = [self._ended[place] for place in sorted(self._ended)]
        every = [states for end in ends for states in end.values()]
        alike = {
            scan: [(s.shape[1:], s.dtype) for s in states]
            for scan, states in every[0].items()
            if all(_same(states, other.get(scan, ())) for other in every)
        }
        device = next((s.device for states in every[0].values() for s in states), None)
        whole = {
            scan: tuple(torch.zeros((count, *shape), dtype=dtype, device=device) for shape, dtype in kinds)
            for scan, kinds in alike.items()
        }
        for end in ends:
            for (start, stop), states in end.items():
                for scan, tensors in whole.items():
                    for target, found in zip(tensors, states[scan], strict=True):
                        target[start:stop] = found
        self._states, self._ended, self._whole = whole, {}, False

    # --- state -----------------------------------------------------------------------------------

    def tensors(self, ranks: Ranks = ALONE) -> dict[str, Tensor]:
        """All that is carried, as tensors named ``<scan>.<number of the state>``."""
        found = {
            f"{scan}.{i}": tensor.clone()
            for scan, states in sorted(self._states.items())
            for i, tensor in enumerate(states)
        }
        if not self._whole:
            ranks.sum(list(found.values()))
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        numbers = [tuple(map(int, name.split("."))) for name in tensors]
        self._ended, self._whole = {}, True
        self._states = {
            scan: tuple(tensors[f"{s}.{i}"].clone() for s, i in sorted(numbers) if s == scan)
            for scan in sorted({s for s, _ in numbers})
        }


def rows_of(states: States, rows: Rows) -> States:
    return {scan: tuple(s[slice(*rows)] for s in found) for scan, found in states.items()}


def _same(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    return [(x.shape[1:], x.dtype) for x in ours] == [(x.shape[1:], x.dtype) for x in theirs]


def has_scans(model: object) -> bool:
    """Whether a model is recurrent: ``model(*inputs, states=…, dropouts=…)`` gives its outputs and what its scans came
    to (:mod:`nasdsl.operations.recurrent`)."""
    return bool(getattr(model, "has_scans", False))


def streamed(split: Split, streams: int) -> Iterator[Tensor]:
    """The numbers of the examples of a text in streams: a successive piece of each, from the first to the last. All
    examples are there, so that the last stream may end sooner than the others.

    >>> text = Split((torch.zeros(5, 1),), torch.zeros(5, 1))
    >>> [numbers.tolist() for numbers in streamed(text, 2)]
    [[0, 3], [1, 4], [2]]
    """
    length = -(-len(split) // streams)
    starts = torch.arange(0, len(split), length, device=split.device)
    for i in range(length):
        yield starts[starts + i < len(split)] + i
