"""Elastic weights: a module of the active size that runs with slices of the stored, largest one's tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from nasdsl.space.operation import Index


class Cut:
    """The entries that an architecture takes of one stored tensor: a view where every axis is a slice."""

    def __init__(self, indices: tuple[Index, ...]) -> None:
        self.slices = tuple(index if isinstance(index, slice) else slice(None) for index in indices)
        self.gathered = tuple(
            (axis, index) for axis, index in enumerate(indices) if not isinstance(index, slice)
        )
        self._positions: dict[torch.device, tuple[Tensor, ...]] = {}

    @property
    def is_view(self) -> bool:
        return not self.gathered

    def take(self, tensor: Tensor) -> Tensor:
        part = tensor[self.slices]
        for (axis, _), positions in zip(self.gathered, self._on(tensor.device), strict=True):
            part = part.index_select(axis, positions)
        return part

    def put(self, tensor: Tensor, part: Tensor) -> None:
        """Writes entries back to where :meth:`take` found them."""
        ((axis, _),) = self.gathered  # buffers have one axis
        tensor[self.slices].index_copy_(axis, self._on(tensor.device)[0], part)

    def _on(self, device: torch.device) -> tuple[Tensor, ...]:
        found = self._positions.get(device)
        if found is None:
            found = tuple(torch.tensor(index, device=device) for _, index in self.gathered)
            self._positions[device] = found
        return found


WHOLE = Cut(())


class Sliced:
    """Calls ``small`` (its own tensors are on the meta device and never read) with slices of ``full``'s tensors.

    Gradients flow into the stored weights; what ``small`` does to a buffer is done to the stored buffer.
    """

    def __init__(self, full: nn.Module, small: nn.Module, indices: Mapping[str, tuple[Index, ...]]) -> None:
        self.full = full
        self.small = small
        self.cuts = {name: Cut(index) for name, index in indices.items()}
        # A buffer that is not a view has to be written back.
        self._gathered = [n for n, _ in full.named_buffers() if n in self.cuts and not self.cuts[n].is_view]

    def cut(self, name: str) -> Cut:
        return self.cuts.get(name, WHOLE)

    def tensors(self) -> dict[str, Tensor]:
        stored = [*self.full.named_parameters(), *self.full.named_buffers()]
        return {name: self.cut(name).take(t) if name in self.cuts else t for name, t in stored}

    def __call__(self, *inputs: Tensor) -> Tensor:
        for small, full in zip(self.small.modules(), self.full.modules(), strict=True):
            small.training = full.training
            if isinstance(small, _BatchNorm) and isinstance(full, _BatchNorm):
                small.track_running_stats, small.momentum = full.track_running_stats, full.momentum
        tensors = self.tensors()
        output: Tensor = functional_call(self.small, tensors, inputs)
        if self._gathered:
            with torch.no_grad():
                buffers = dict(self.full.named_buffers())
                for name in self._gathered:
                    self.cuts[name].put(buffers[name], tensors[name])
        return output
