"""A whole search step as one CUDA graph, sample and update on the device too: what the search's own steps could gain at
the most, for :mod:`benchmarks.gpu`.

The host doesn't know the sample then, so no weight can be left out on its word: :class:`MaskedSGD` sees by their gradients
which weights a step used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class HardSample:
    """One-hot [choices, K], differentiable through the Gumbel softmax of ``logits``; nothing leaves the device."""

    hard: Tensor

    @staticmethod
    def draw(logits: Tensor, valid: Tensor, tau: Tensor | float) -> HardSample:
        """``logits`` and ``valid`` (whether a choice has such a candidate) are [choices, K], ``tau`` a temperature."""
        noise = -torch.empty_like(logits).exponential_().log()
        log_p = torch.log_softmax(logits.masked_fill(~valid, -torch.inf), 1)
        soft = torch.softmax((log_p + noise) / tau, 1)
        # Not F.one_hot, which may ask the host.
        hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
        return HardSample(hard + (soft - soft.detach()))


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
