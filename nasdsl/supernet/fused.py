"""What runs rows of operations that were fused (:mod:`nasdsl.supernet.fuse`), M members of C channels each.

======================== ===========================================================================
of one tensor x          conv(x, [W_1; …; W_M]);  depthwise: C groups of M, dealt out to the members
of the members' tensors  conv of M groups;  depthwise of M·C groups;  activations, batch norms: as ever
at the end               Σ_m c_m · batchnorm(z_m) over the members that end in one sum, or each by itself
======================== ===========================================================================

The gradient of c_m is that of the batch norm's scale, summed over its channels, which its backward pass has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nasdsl.operations.rules import each, pads
from nasdsl.space.architecture import Step
from nasdsl.supernet.elastic import Sliced
from nasdsl.supernet.fuse import CONVOLUTIONS, NORM, Fused, kernel_of
from nasdsl.supernet.inplace import keeps_no_output
from nasdsl.supernet.kernels import add_normalised, normalise, normalised_backward, takes_batch_statistics

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class FusedRun:
    """What runs a fused step: its parts. ``bind`` gives the module of a step, whole or sliced.

    Where a batch norm moves or uses running statistics, members run one by one.
    """

    def __init__(self, step: Fused, bind: Callable[[Step], Any], kernels: bool) -> None:
        runs = [[bind(inner) for inner in stage] for stage in step.stages]
        self.rows = list(zip(*runs, strict=True))
        self.ends, self.weights, self.kernels = step.ends, step.weights, kernels
        self.norms = [
            _module(run) for stage, own in zip(step.stages, runs, strict=True)
            if stage[0].operation == NORM for run in own
        ]  # fmt: skip
        self.last = runs.pop() if step.stages[-1][0].operation == NORM else None
        befores = (None, *(stage[0] for stage in step.stages))
        self.calls = [
            self._call(stage, own, before)
            for before, stage, own in zip(befores, step.stages, runs, strict=False)
        ]

    def _call(
        self, stage: Sequence[Step], runs: Sequence[Any], before: Step | None
    ) -> Callable[[Tensor], Tensor]:
        """What runs a stage on the channels of all members; ``before`` is a step of the stage in front of it."""
        operation = stage[0].operation
        if operation in CONVOLUTIONS:
            return _convolution(stage, runs, is_first=before is None)
        if operation == NORM:
            return lambda z: normalise(
                z, _joined(runs, "weight"), _joined(runs, "bias"), _module(runs[0]).eps, self.kernels
            )
        # Nobody else reads what it reads.
        in_place = operation == "relu" and before is not None and keeps_no_output(before)
        run: Callable[[Tensor], Tensor] = torch.relu_ if in_place else runs[0]
        return run

    def __call__(self, context: Any, x: Tensor) -> Sequence[Tensor]:
        weights = context.blend.vector(self.weights, x.device) if self.weights else None
        if not all(takes_batch_statistics(norm) for norm in self.norms):
            return self._one_by_one(weights, x)
        z = x
        for call in self.calls:
            z = call(z)
        if self.last is None:
            return z.chunk(len(self.rows), 1)
        if z.numel() == z.shape[1]:
            return self._one_by_one(weights, x)  # which raises what torch raises of one number a channel
        scale, offset = _joined(self.last, "weight"), _joined(self.last, "bias")
        eps = _module(self.last[0]).eps
        parts: Sequence[Tensor] = _AddUp.apply(self.ends, eps, self.kernels, z, weights, scale, offset)
        return parts

    def _one_by_one(self, weights: Tensor | None, x: Tensor) -> list[Tensor]:
        parts: list[Tensor] = []
        rows = iter(enumerate(self.rows))
        for count in self.ends:
            total: Tensor | None = None
            for number, row in islice(rows, count):
                y = x
                for run in row:
                    y = run(y)
                y = y if weights is None else y * weights[number].to(y.dtype)
                total = y if total is None else total + y
            assert total is not None
            parts.append(total)
        return parts


# --- convolutions -------------------------------------------------------------------------------------


def _convolution(stage: Sequence[Step], runs: Sequence[Any], is_first: bool) -> Callable[[Tensor], Tensor]:
    """That of a stage: what it reads is one tensor where it ``is_first``, else that of each member."""
    first, members = stage[0], len(stage)
    channels = int(first.instance.inputs[0].dims[0])  # type: ignore[arg-type]
    axes = len(first.shape.dims) - 1
    kernels = [kernel_of(step) for step in stage]
    largest = tuple(max(sizes) for sizes in zip(*kernels, strict=True))
    stride, dilation = (
        each(first.operation, name, first.instance.settings[name], axes) for name in ("stride", "dilation")
    )
    convolve = partial(_CONVOLVE[axes], stride=stride, padding=pads(largest, dilation), dilation=dilation)
    by_channel = first.operation == "depthwise"
    # A channel's own M outputs are neighbours then.
    dealt = by_channel and is_first
    if by_channel:
        groups = channels if is_first else members * channels
    else:
        groups = 1 if is_first else members

    def run(x: Tensor) -> Tensor:
        weight, bias = join_weights(_stored(runs, "weight")), _joined(runs, "bias")
        if not dealt:
            return convolve(x, weight, bias, groups=groups)
        bias = None if bias is None else _by_channel(bias, members)
        return _by_member(convolve(x, _by_channel(weight, members), bias, groups=groups), members)

    return run


def join_weights(weights: Sequence[Tensor]) -> Tensor:
    """One after the other, smaller kernels with zeros around."""
    kernels = [weight.shape[2:] for weight in weights]
    largest = torch.Size(max(sizes) for sizes in zip(*kernels, strict=True))
    joined = list(weights)
    # All of one kernel get their zeros at once.
    for kernel in set(kernels) - {largest}:
        places = [i for i, found in enumerate(kernels) if found == kernel]
        row = padded(torch.cat([weights[i] for i in places]), largest)
        for i, part in zip(places, row.chunk(len(places)), strict=True):
            joined[i] = part
    return torch.cat(joined)


def padded(weight: Tensor, kernel: Sequence[int]) -> Tensor:
    """A weight [C', C, *k] with zeros around, so that its kernel is as large as another."""
    margins = [(large - small) // 2 for small, large in zip(weight.shape[2:], kernel, strict=True)]
    if not any(margins):
        return weight
    return F.pad(weight, [m for margin in reversed(margins) for m in (margin, margin)])


def _by_channel(tensor: Tensor, members: int) -> Tensor:
    """[M·C, …] to [C·M, …]: the M of each channel are neighbours."""
    return tensor.unflatten(0, (members, -1)).transpose(0, 1).flatten(0, 1)


def _by_member(y: Tensor, members: int) -> Tensor:
    """[N, C·M, …] to [N, M·C, …]: the C of each member are neighbours."""
    y, axis = _channels(y)
    dealt = y.unflatten(axis, (-1, members)).transpose(axis, axis + 1).flatten(axis, axis + 1)
    return dealt.movedim(axis, 1)


def _channels(y: Tensor) -> tuple[Tensor, int]:
    """y [N, C, …] with its axes as they lie in memory, and where its channels are: what is made of it lies alike."""
    return (y, 1) if y.is_contiguous() else (y.movedim(1, -1), y.dim() - 1)


# --- batch norms --------------------------------------------------------------------------------------


class _AddUp(torch.autograd.Function):
    """Sums of what a batch norm gives for members z [N, M·C, …], with the statistics of the batch.

    ``ends`` says how many members each sum has; ``coefficients`` [M], ``scale`` and ``offset`` [M·C] may be None.
    """

    @staticmethod
    def forward(
        ctx: Any,
        ends: Sequence[int],
        eps: float,
        kernels: bool,
        z: Tensor,
        coefficients: Tensor | None,
        scale: Tensor | None,
        offset: Tensor | None,
    ) -> tuple[Tensor, ...]:
        scaled = _times(scale, coefficients, z)
        moved = None if offset is None else _times(offset, coefficients, z)
        y, mean, inverse = add_normalised(None, z, scaled, moved, eps, kernels)
        ctx.save_for_backward(z, mean, inverse, scaled, coefficients, scale, offset)
        ctx.ends, ctx.eps = ends, eps
        y, axis = _channels(y)
        blocks = y.unflatten(axis, (sum(ends), -1)).split(list(ends), axis)
        sums = (b.sum(axis) if count > 1 else b.squeeze(axis) for b, count in zip(blocks, ends, strict=True))
        return tuple(part.movedim(axis, 1) for part in sums)

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Any, ...]:
        z, mean, inverse, scaled, coefficients, scale, offset = ctx.saved_tensors
        want_z, weighs, want_scale, want_offset = ctx.needs_input_grad[3:]
        delta = torch.cat([d for d, count in zip(deltas, ctx.ends, strict=True) for _ in range(count)], 1)
        asked = (want_z, want_scale or weighs, want_offset or (weighs and offset is not None))
        of_z, of_scale, of_offset = normalised_backward(delta, z, scaled, mean, inverse, ctx.eps, asked)
        of_coefficients = None
        if weighs:
            assert of_scale is not None
            product = of_scale if scale is None else of_scale * scale
            if offset is not None and of_offset is not None:
                product = product + of_offset * offset
            of_coefficients = product.unflatten(0, (sum(ctx.ends), -1)).sum(1).to(coefficients)
        return (
            None, None, None, of_z, of_coefficients,
            _times(of_scale, coefficients, z) if want_scale else None,
            _times(of_offset, coefficients, z) if want_offset else None,
        )  # fmt: skip


def _times(values: Tensor | None, coefficients: Tensor | None, z: Tensor) -> Tensor | None:
    """values [M·C] times the coefficient [M] of each member; values of None are ones."""
    if coefficients is None:
        return values
    if values is None:
        # Scales stay in float32 where tensors have fewer bits.
        wide = coefficients.to(torch.promote_types(z.dtype, torch.float32))
        return wide.repeat_interleave(z.shape[1] // len(wide), output_size=z.shape[1])
    by_member = values.unflatten(0, (len(coefficients), -1))
    return (by_member * coefficients.to(values.dtype).unsqueeze(1)).flatten()


# --- stored tensors -----------------------------------------------------------------------------------


def _module(run: Any) -> Any:
    return run.full if isinstance(run, Sliced) else run


def _stored(runs: Sequence[Any], name: str) -> list[Tensor]:
    """A tensor of each module, or what is taken of it; nothing where they have none."""
    found = []
    for run in runs:
        tensor = getattr(_module(run), name)
        if tensor is not None:
            found.append(run.cut(name).take(tensor) if isinstance(run, Sliced) else tensor)
    return found


def _joined(runs: Sequence[Any], name: str) -> Tensor | None:
    found = _stored(runs, name)
    return torch.cat(found) if found else None
