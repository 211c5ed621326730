"""CUDA graphs: a step is recorded once and then launched as a whole.

What a recorded step reads and writes stays where it is, so inputs are copied in, and nothing in it may wait for the
device. An optimiser in it can't leave out weights on the host's word: :class:`MaskedSGD` sees by their gradients which
weights a step used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

WARMUP = 3
"""Runs before recording: lazily made buffers, and cuDNN's choice of algorithms, are not to be recorded."""


class Captured:
    """``step(*inputs)``, which returns a tensor, recorded on a GPU; elsewhere it is simply called.

    Inputs must keep the shapes of ``examples``. What ``step`` draws on a GPU comes from the device's default generator,
    which goes on from launch to launch. ``restore()`` undoes what the warm-up runs change (weights, states).
    """

    def __init__(
        self,
        step: Callable[..., Tensor],
        examples: Sequence[Tensor],
        restore: Callable[[], None] = lambda: None,
    ) -> None:
        self.step = step
        self.graph: torch.cuda.CUDAGraph | None = None
        if not any(x.is_cuda for x in examples):
            return
        self.inputs = [x.clone() for x in examples]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUP):
                step(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        restore()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.output = step(*self.inputs)
        restore()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What the step returns; on a GPU a tensor that the next call overwrites."""
        if self.graph is None:
            return self.step(*inputs)
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.output


class MaskedSGD:
    """SGD with momentum, decay and clipping over one flat buffer, in which weights that a step didn't use don't move.

    A weight was used where its gradient isn't 0 throughout: for a static graph what a gradient of None is for
    :func:`nasdsl.training.optimizers.make_optimizer`, whose updates these are. Parameters become views of the buffer,
    their gradients of another, and stay so: gradients are zeroed, never set to None.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        clip: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        self.momentum, self.nesterov = momentum, nesterov
        self.weight_decay, self.clip = weight_decay, clip
        first = self.parameters[0]
        sizes = [p.numel() for p in self.parameters]
        self.weights, self.gradients = first.new_empty(sum(sizes)), first.new_zeros(sum(sizes))
        self.buffer = torch.zeros_like(self.weights)
        self.lr = first.new_tensor(lr)
        numbers = torch.arange(len(sizes), device=first.device)
        self.owner = numbers.repeat_interleave(torch.tensor(sizes, device=first.device))
        offset = 0
        with torch.no_grad():
            for p, size in zip(self.parameters, sizes, strict=True):
                place = slice(offset, offset + size)
                own = self.weights[place].as_strided(p.shape, p.stride(), offset)
                own.copy_(p)
                p.data = own
                p.grad = self.gradients[place].as_strided(p.shape, p.stride(), offset)
                offset += size

    def zero_grad(self) -> None:
        self.gradients.zero_()

    @torch.no_grad()
    def step(self) -> None:
        norms = torch.stack(torch._foreach_norm([p.grad for p in self.parameters if p.grad is not None]))
        used = (norms > 0)[self.owner]
        gradient = self.gradients
        if self.clip > 0:
            gradient = gradient * (self.clip / (norms.norm() + 1e-6)).clamp(max=1.0)
        gradient = gradient.add(self.weights, alpha=self.weight_decay)
        moved = self.buffer * self.momentum + gradient
        self.buffer.copy_(torch.where(used, moved, self.buffer))
        direction = gradient.add(moved, alpha=self.momentum) if self.nesterov else moved
        self.weights.sub_(torch.where(used, direction, torch.zeros_like(direction)) * self.lr)

    def tensors(self) -> list[Tensor]:
        """All that a step changes."""
        return [self.weights, self.buffer]


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Reduced precision inside a recorded step; without autocast's cache of weights, which a graph can't keep."""
    if dtype is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype, cache_enabled=False)
