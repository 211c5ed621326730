"""CUDA graphs: what was recorded once is launched as a whole.

What a recorded function reads and writes stays where it is, so inputs are copied in. Nothing in it may wait for the
device, rest on what is in a tensor, take a number or memory of the host, or keep what it makes for the next call.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

WARMUP = 3
"""Runs before recording: lazily made buffers, and cuDNN's choice of algorithms, are not to be recorded."""


class Pool:
    """What recordings share that are never launched side by side, and go all at once: memory, and the stream that they
    are recorded on.

    The stream is no other's: cuBLAS has a workspace for each stream, which torch gives back when one of the recordings
    on it goes, whoever else's it is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        with torch.cuda.device(device):
            self.stream = torch.cuda.Stream()
            self.handle = torch.cuda.graph_pool_handle()


class Captured:
    """``function(*inputs)``, which returns tensors, recorded on the device of a ``pool``.

    Inputs must keep the shapes, types and memory formats of ``examples``; they may lie on the CPU, pinned, and are
    copied without waiting then. What is returned is overwritten by the next call, of any recording of the pool.

    ``restore()`` undoes what the warm-up runs change, where ``function`` changes anything but what it returns.
    """

    def __init__(
        self,
        function: Callable[..., Sequence[Tensor]],
        examples: Sequence[Tensor],
        pool: Pool,
        *,
        restore: Callable[[], None] = lambda: None,
    ) -> None:
        self.inputs = [torch.empty_like(x, device=pool.device).copy_(x) for x in examples]
        with torch.cuda.device(pool.device), _collected():
            # Warmed up where it is recorded: autograd goes back on the stream that it came by.
            pool.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(pool.stream):
                for _ in range(WARMUP):
                    function(*self.inputs)
                restore()
                self.graph = torch.cuda.CUDAGraph()
                # Within the block above, which leaves the stream also where recording fails.
                with torch.cuda.graph(self.graph, pool=pool.handle, stream=pool.stream):
                    self.outputs = function(*self.inputs)
                restore()
            torch.cuda.current_stream().wait_stream(pool.stream)

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.outputs


@contextmanager
def _collected() -> Iterator[None]:
    """No garbage is collected inside the block, as that may free memory of the device, or another recording."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
