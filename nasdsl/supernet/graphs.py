"""CUDA graphs: what was recorded once is launched as a whole.

What a recorded function reads and writes stays where it is, so inputs are copied in. Nothing in it may wait for the
device, rest on what is in a tensor, or take a number of the host that changes from call to call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARMUP = 3
"""Runs before recording: lazily made buffers, and cuDNN's choice of algorithms, are not to be recorded."""


class Captured:
    """``function(*inputs)``, which returns tensors, recorded on the CUDA device ``device``.

    Inputs must keep the shapes, types and memory formats of ``examples``; they may lie on the CPU, pinned, and are
    copied without waiting then. What is returned is overwritten by the next call. Recordings that are never launched
    side by side may share a ``pool`` of memory, that of the first one of them: then it is overwritten by theirs too.

    ``restore()`` undoes what the warm-up runs change, where ``function`` changes anything but what it returns.
    """

    def __init__(
        self,
        function: Callable[..., Sequence[Tensor]],
        examples: Sequence[Tensor],
        device: torch.device,
        *,
        pool: Any = None,
        restore: Callable[[], None] = lambda: None,
    ) -> None:
        self.inputs = [torch.empty_like(x, device=device).copy_(x) for x in examples]
        with torch.cuda.device(device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARMUP):
                    function(*self.inputs)
            torch.cuda.current_stream().wait_stream(side)
            restore()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, pool=pool):
                self.outputs = function(*self.inputs)
            restore()

    @property
    def pool(self) -> Any:
        return self.graph.pool()

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.outputs
