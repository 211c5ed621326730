"""How an architecture parameter sits in front of a candidate's output.

A *gate* is the tensor [K] that a strategy has for a choice, one entry a candidate. Each function takes a candidate's
output x, the gate and the candidate's position k, and gives what stands in x's place.

======================= =========================== =========================================================
gating                  forward                     gradient of gate entry j (δ: that of the output)
======================= =========================== =========================================================
``multiply``            gate[k] · x                 <δ, x> for j = k, 0 for others
``selected_only``       x                           the same
``ones_for_others``     x                           <δ, x> for j = k, Σδ for others
======================= =========================== =========================================================

The last two are for gates that are one-hot in the forward pass, 1 at k, and save the multiplication. They are GDAS's
two published estimators: ``weights[k] * op(x)`` (the paper, DARTS space), and ``weights[k] * op(x) + Σ_j weights[j]``
over the others, which are 0 in the forward pass (the code for NAS-Bench-201).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gating = Callable[[Tensor, Tensor, int], Tensor]


def multiply(x: Tensor, gate: Tensor, k: int) -> Tensor:
    return x * gate[k]


def selected_only(x: Tensor, gate: Tensor, k: int) -> Tensor:
    result: Tensor = _OneHot.apply(x, gate, k, None)
    return result


class OnesForOthers:
    """A gating for one pass: it remembers Σδ, which all edges into a node share."""

    def __init__(self) -> None:
        self.sums = _LastSum()

    def __call__(self, x: Tensor, gate: Tensor, k: int) -> Tensor:
        result: Tensor = _OneHot.apply(x, gate, k, self.sums)
        return result


GATINGS: dict[str, Callable[[], Gating]] = {
    "multiply": lambda: multiply,
    "selected_only": lambda: selected_only,
    "ones_for_others": OnesForOthers,
}
"""Each makes the gating of one pass."""


class _LastSum:
    """The sum of the tensor that was asked for last. Holding the tensor keeps its memory from being used again."""

    def __init__(self) -> None:
        self.tensor: Tensor | None = None
        self.version = 0
        self.total: Tensor | None = None

    def of(self, tensor: Tensor) -> Tensor:
        last = self.tensor
        if (
            last is None
            or self.total is None
            or last.data_ptr() != tensor.data_ptr()
            or last.shape != tensor.shape
            or last.stride() != tensor.stride()
            or self.version != tensor._version
        ):
            self.tensor, self.version, self.total = tensor, tensor._version, tensor.sum()
        assert self.total is not None
        return self.total


class _OneHot(torch.autograd.Function):
    """Identity forward; backward, the gate's gradient is a dot product with that of the output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, k: int, sums: _LastSum | None) -> Tensor:
        ctx.save_for_backward(x)
        ctx.k, ctx.sums = k, sums
        ctx.gate = gate.detach()
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        (delta,) = deltas
        if not ctx.needs_input_grad[1]:
            return delta, None, None, None
        (x,) = ctx.saved_tensors
        gradient = torch.zeros_like(ctx.gate)
        if ctx.sums is not None:
            gradient += ctx.sums.of(delta).to(gradient)
        gradient[ctx.k] = inner(delta, x).to(gradient)
        return delta, gradient, None, None


def inner(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> over all elements, without a temporary where both lie in memory in the same order."""
    if a.dtype in (torch.bfloat16, torch.float16):
        # Each product is rounded, their sum isn't; in float32 throughout both would have to be copied.
        return (a * b).sum(dtype=torch.float32)
    if a.stride() == b.stride() and _dense(a):
        return torch.dot(a.as_strided((a.numel(),), (1,)), b.as_strided((b.numel(),), (1,)))
    return (a * b).sum()


def _dense(t: Tensor) -> bool:
    return t.is_contiguous() or (t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last))
