"""The weights of a static graph's convolutions, those of all edges together.

There are as many edges as cells and choices come to, and a kernel is small: padding and adding each by itself would take
most launches of a pass. Convolutions of equal sizes are stacked [n, C_out, K, K, C_in], as they lie in memory with
channels_last, and selected at once,

    W[i] = Σ_j z_ij · pad(W_ij)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasdsl.space.architecture import Step
from nasdsl.supernet.mixture import Blend
from nasdsl.supernet.plan import Selected


class Selection:
    """Gives each selected convolution its weight. ``bind`` gives the module of a convolution."""

    def __init__(
        self, steps: Sequence[Selected], bind: Callable[[Step], object], channels_last: bool
    ) -> None:
        self.channels_last = channels_last
        alike: dict[tuple[torch.Size, ...], list[tuple[Selected, list[nn.Conv2d]]]] = {}
        for step in steps:
            convs = [conv for conv in map(bind, step.convs) if isinstance(conv, nn.Conv2d)]
            alike.setdefault(tuple(conv.weight.shape for conv in convs), []).append((step, convs))
        self.groups = [_Group(members) for members in alike.values()]

    def __call__(self, blend: Blend, device: torch.device) -> Mapping[int, Tensor]:
        """By the ids of the steps, W [C_out, C_in, K, K]."""
        found: dict[int, Tensor] = {}
        for group in self.groups:
            found |= zip(group.ids, group.selected(blend, device, self.channels_last), strict=True)
        return found


class _Group:
    """Selected convolutions whose candidates have the same sizes, in the same order."""

    def __init__(self, members: Sequence[tuple[Selected, Sequence[nn.Conv2d]]]) -> None:
        self.ids = [step.id for step, _ in members]
        # By the position of the candidate: the convolutions of all members, and what each is weighed with.
        self.convs = list(zip(*(convs for _, convs in members), strict=True))
        self.guards = list(zip(*(step.weights for step, _ in members), strict=True))
        sizes = [convs[0].kernel_size for convs in self.convs]
        largest = [max(axis) for axis in zip(*sizes, strict=True)]
        self.margins = [[(big - k) // 2 for big, k in zip(largest, size, strict=True)] for size in sizes]

    def selected(self, blend: Blend, device: torch.device, channels_last: bool) -> Sequence[Tensor]:
        total: Tensor | None = None
        for convs, guards, (down, across) in zip(self.convs, self.guards, self.margins, strict=True):
            weights = [conv.weight.permute(0, 2, 3, 1) if channels_last else conv.weight for conv in convs]
            stacked = torch.stack(weights)
            if down or across:
                inner = (0, 0) if channels_last else ()
                stacked = F.pad(stacked, (*inner, across, across, down, down))
            shares = blend.vector(guards, device).detach().to(stacked.dtype)
            part = stacked * shares.view(-1, 1, 1, 1, 1)
            total = part if total is None else total + part
        assert total is not None
        if torch.is_autocast_enabled(device.type):
            total = total.to(torch.get_autocast_dtype(device.type))  # else one by one, at each convolution
        return [w.permute(0, 3, 1, 2) if channels_last else w for w in total.unbind(0)]
