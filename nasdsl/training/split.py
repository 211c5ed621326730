"""Examples, as training and search see them: held as they were stored, and made ready a minibatch at a time.

    stored, uint8 on the device  ──take──►  minibatch  ──augmented──►  minibatch  ──inputs──►  float32 for the network

A data set that is too large for the device is a memory-mapped tensor on the CPU, of which a minibatch is copied. What
a minibatch holds follows from its indices alone, so nothing of this needs to be saved for a resume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol, Union

import torch
from torch import Tensor

from nasdsl.training.device import sent

Targets = Union[Tensor, tuple[Tensor, ...]]
"""What the outputs should be: [N, …], one tensor for each output of the network where there are several."""


class View(Protocol):
    """How an input as it is stored becomes what the network reads."""

    def __call__(self, stored: Tensor, layout: torch.memory_format) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images stored as uint8 [N, H, W, C] become float32 [N, C, H, W], normalised: (x / 255 - mean) / deviation,
    with ``mean`` and ``deviation`` [C] of the training part."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, stored: Tensor, layout: torch.memory_format) -> Tensor:
        # One pass over the images.
        scale, offset = _line(self.mean, self.deviation, stored.device)
        x = torch.addcmul(offset, stored, scale)
        return x.permute(0, 3, 1, 2).contiguous(memory_format=layout)


@lru_cache(maxsize=16)
def _line(
    mean: tuple[float, ...], deviation: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Scale and offset with which a pixel becomes a number, float32 [C], the last axis of what is stored; kept, as a
    minibatch needs them at each step."""
    deviations = torch.tensor(deviation, dtype=torch.float64)
    scale, offset = 1 / (255 * deviations), -torch.tensor(mean, dtype=torch.float64) / deviations
    return sent(scale.to(torch.float32), device), sent(offset.to(torch.float32), device)


@dataclass(frozen=True, eq=False)
class Split:
    """Examples: ``stored`` [N, …] for each input of the network, ``targets`` [N, …].

    ``views`` say how each input as it is stored becomes what the network reads; there are none where it is the same.
    With ``rows``, these rows of ``stored`` belong to the split, so that two parts of one data set need no copies;
    ``targets`` are always those of the split alone. ``classes`` is how many there are where targets are class numbers,
    else 0. ``layout`` is the memory format of images. ``continuous`` examples are successive pieces of one text, which
    recurrent networks go through in streams where they are ``carried``.
    """

    stored: tuple[Tensor, ...]
    targets: Targets
    views: tuple[View | None, ...] = ()
    rows: Tensor | None = None
    classes: int = 0
    layout: torch.memory_format = field(default=torch.contiguous_format)
    continuous: bool = False
    carried: bool = False

    def __len__(self) -> int:
        return len(self.first_targets)

    @property
    def first_targets(self) -> Tensor:
        return self.targets if isinstance(self.targets, Tensor) else self.targets[0]

    @property
    def device(self) -> torch.device:
        return self.first_targets.device

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network reads, [N, …] an input. Of a minibatch: a whole data set would be large."""
        if self.rows is not None:
            return self.take(torch.arange(len(self), device=self.device)).inputs
        views = self.views or (None,) * len(self.stored)
        return tuple(
            x if view is None else view(x, self.layout) for x, view in zip(self.stored, views, strict=True)
        )

    def take(self, indices: Tensor) -> Split:
        """The examples of these numbers, as stored: a copy, on the split's device."""
        rows = indices if self.rows is None else self.rows[indices]
        stored = tuple(_fetch(x, rows, self.device) for x in self.stored)
        targets = each(self.targets, lambda t: t[indices])
        return replace(self, stored=stored, targets=targets, rows=None, continuous=False)

    def part(self, indices: Tensor) -> Split:
        """The examples of these numbers as a split that shares what is stored with this one."""
        rows = indices if self.rows is None else self.rows[indices]
        return replace(self, targets=each(self.targets, lambda t: t[indices]), rows=rows)

    @property
    def in_streams(self) -> bool:
        """Whether a recurrent network goes through it in streams, its state carried on."""
        return self.continuous and self.carried

    def with_inputs(self, places: Sequence[int]) -> Split:
        """The inputs in another order."""
        views = tuple(self.views[i] for i in places) if self.views else ()
        return replace(self, stored=tuple(self.stored[i] for i in places), views=views)

    def with_targets(self, places: Sequence[int]) -> Split:
        """Several targets in another order."""
        assert not isinstance(self.targets, Tensor)
        return replace(self, targets=tuple(self.targets[i] for i in places))

    def between(self, start: int, stop: int) -> Split:
        """The examples from ``start`` up to, not including, ``stop``."""
        targets = each(self.targets, lambda t: t[start:stop])
        if self.rows is None and all(x.device == self.device for x in self.stored):
            return replace(self, stored=tuple(x[start:stop] for x in self.stored), targets=targets)
        return self.take(torch.arange(start, min(stop, len(self)), device=self.device))

    def batches(self, size: int) -> Iterator[Split]:
        """In order, the last one as large as what is left."""
        for start in range(0, len(self), size):
            yield self.between(start, start + size)

    def order(self, size: int, random: torch.Generator) -> list[Tensor]:
        """The indices of an epoch's minibatches: all examples in a new order."""
        return shuffled(len(self), min(size, len(self)), random, self.device)

    def to(
        self,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        room: float = float("inf"),
    ) -> Split:
        """On another device, and real-valued inputs in another precision. Inputs of more than ``room`` bytes stay where
        they are, and come over a minibatch at a time."""
        moved = tuple(
            x if x.nbytes > room else x.to(device, dtype if x.is_floating_point() else None)
            for x in self.stored
        )
        rows = None if self.rows is None else self.rows.to(device)
        return replace(self, stored=moved, targets=each(self.targets, lambda t: t.to(device)), rows=rows)

    def channels_last(self) -> Split:
        """With images laid out as channels_last, which convolutions on the CPU like better."""
        views = self.views or (None,) * len(self.stored)
        laid = tuple(
            x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 and view is None else x
            for x, view in zip(self.stored, views, strict=True)
        )
        return replace(self, stored=laid, layout=torch.channels_last)


def _fetch(stored: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Rows of a tensor, on a device; the tensor may lie on another one."""
    return sent(stored[rows.to(stored.device)], device)


def each(targets: Targets, change: Callable[[Tensor], Tensor]) -> Targets:
    """The targets with every tensor changed."""
    return change(targets) if isinstance(targets, Tensor) else tuple(change(t) for t in targets)


def shuffled(count: int, size: int, random: torch.Generator, device: torch.device) -> list[Tensor]:
    """The indices of an epoch's batches. What is left over is not used this time, unless there is no full batch:
    batch norm should not see a batch of one."""
    order = torch.randperm(count, generator=random).to(device)
    return [order[i : i + size] for i in range(0, count - size + 1, size)] or [order]


def joined(batches: Sequence[Split]) -> Split:
    """Minibatches of one split in one; they follow each other no more."""
    first = replace(batches[0], continuous=False)
    stored = tuple(torch.cat(xs) for xs in zip(*(b.stored for b in batches), strict=True))
    if isinstance(first.targets, Tensor):
        return replace(first, stored=stored, targets=torch.cat([b.first_targets for b in batches]))
    columns = zip(*(b.targets for b in batches), strict=True)
    return replace(first, stored=stored, targets=tuple(torch.cat(ts) for ts in columns))
