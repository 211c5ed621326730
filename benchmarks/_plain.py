"""NAS-Bench-201's network of one architecture as one would write it by hand: every edge is computed, nothing is clever.

The yardstick of ``benchmarks.speed``. Operations, cell and network are those of the paper and its code.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

YARDSTICK = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"


def edges(text: str) -> dict[tuple[int, int], str]:
    """(reader, source) to operation, of an architecture as NAS-Bench-201 writes it.

    >>> edges("|nor_conv_3x3~0|+|none~0|skip_connect~1|")
    {(1, 0): 'nor_conv_3x3', (2, 0): 'none', (2, 1): 'skip_connect'}
    """
    found = {}
    for reader, node in enumerate(text.split("+"), 1):
        for word in node.strip("|").split("|"):
            operation, source = word.split("~")
            found[reader, int(source)] = operation
    return found


class Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul(0.0)


def reconv(c_in: int, c_out: int, kernel: int, stride: int, affine: bool, running: bool) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(c_out, affine=affine, track_running_stats=running),
    )


def edge(name: str, channels: int, affine: bool, running: bool) -> nn.Module:
    if name == "none":
        return Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return reconv(channels, channels, {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[name], 1, affine, running)


class Cell(nn.Module):
    def __init__(self, taken: Mapping[tuple[int, int], str], channels: int, affine: bool, running: bool):
        super().__init__()
        self.nodes = 1 + max(reader for reader, _ in taken)
        self.edges = nn.ModuleDict(
            {f"{r}<-{s}": edge(name, channels, affine, running) for (r, s), name in taken.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for reader in range(1, self.nodes):
            values.append(sum(self.edges[f"{reader}<-{s}"](values[s]) for s in range(reader)))
        return values[-1]


class Reduction(nn.Module):
    def __init__(self, c_in: int, c_out: int, affine: bool, running: bool):
        super().__init__()
        self.first = reconv(c_in, c_out, 3, 2, affine, running)
        self.second = reconv(c_out, c_out, 3, 1, affine, running)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.second(self.first(x))


class PlainNetwork(nn.Module):
    """[N, 3, 32, 32] to logits [N, 10]."""

    def __init__(
        self,
        taken: Mapping[tuple[int, int], str],
        *,
        width: int = 16,
        cells: int = 5,
        affine: bool = False,
        running: bool = False,
    ):
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, affine=affine, track_running_stats=running),
        ]
        for stage in range(3):
            channels = width * 2**stage
            if stage:
                layers.append(Reduction(channels // 2, channels, affine, running))
            layers += [Cell(taken, channels, affine, running) for _ in range(cells)]
        layers += [
            nn.BatchNorm2d(4 * width, affine=affine, track_running_stats=running),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, 10),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


def yardstick(**options: object) -> PlainNetwork:
    torch.manual_seed(0)
    return PlainNetwork(edges(YARDSTICK), **options)  # type: ignore[arg-type]
