"""Modules and functions that torch doesn't have. Their source text is copied into exported code.

So each stands by itself, needs only the imports below, and takes any batch size N and any free size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention over tokens."""

    def __init__(self, features: int, heads: int, head_dim: int, causal: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim
        self.causal = causal
        self.query = nn.Linear(features, heads * head_dim)
        self.key = nn.Linear(features, heads * head_dim)
        self.value = nn.Linear(features, heads * head_dim)
        self.out = nn.Linear(heads * head_dim, features)

    def forward(self, x: Tensor) -> Tensor:  # [N, T, features] -> [N, T, features]
        query = self.split(self.query(x))
        key = self.split(self.key(x))
        value = self.split(self.value(x))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = self.out(mixed.transpose(1, 2).flatten(2))
        return x

    def split(self, x: Tensor) -> Tensor:  # [N, T, heads * head_dim] -> [N, heads, T, head_dim]
        batch, tokens, _ = x.shape
        return x.reshape(batch, tokens, self.heads, self.head_dim).transpose(1, 2)


class Patchify(nn.Module):
    """An image as a sequence of tokens: projected patches plus a learned vector for each position."""

    def __init__(self, channels: int, features: int, patch: int, tokens: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, features, patch, stride=patch)
        self.positions = nn.Parameter(torch.zeros(tokens, features))
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor:  # [N, channels, H, W] -> [N, tokens, features]
        x = self.project(x)  # [N, features, H / patch, W / patch]
        return x.flatten(2).transpose(1, 2) + self.positions


def one_hot(x: Tensor, classes: int) -> Tensor:
    """1 at the number's place and 0 elsewhere: [N, ...] -> [N, ..., classes]."""
    return (x.unsqueeze(-1) == torch.arange(classes, device=x.device)).to(torch.get_default_dtype())


def shift(x: Tensor, by: int) -> Tensor:
    """Moves the entries up and left along every axis after the channels; zeros enter: [N, C, ...] -> [N, C, ...]."""
    for axis in range(2, x.dim()):
        # Pads the far end of the axis and drops the near one; F.pad counts axes from the last.
        ends = [0, 0] * (x.dim() - 1 - axis) + [0, by]
        x = F.pad(x, ends).narrow(axis, by, x.shape[axis])
    return x


def max_pool1d(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """``F.max_pool1d`` for a free length, at which torch.export would fix it: [N, C, L] -> [N, C, L']."""
    return F.max_pool2d(x.unsqueeze(2), (1, kernel), (1, stride), (0, padding)).squeeze(2)


def avg_pool3d(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    """``F.avg_pool3d`` for axes that are shorter than the kernel, too; the padding is left out of the average."""
    ends = [end for one in reversed(padding) for end in (one, one)]
    there = F.pad(torch.ones_like(x[:1, :1]), ends)
    return F.avg_pool3d(F.pad(x, ends), kernel, stride) / F.avg_pool3d(there, kernel, stride)


def reshape(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The same entries under other sizes; 0 keeps the size in that place, -1 is what is left over."""
    batch = x.shape[0]
    sizes = [x.shape[axis + 1] if size == 0 else size for axis, size in enumerate(dims)]
    return x.reshape(batch, -1).reshape(batch, *sizes)


def mean(tensors: list[Tensor], count: int) -> Tensor:
    """The sum of the tensors divided by ``count``, which is larger than their number where some were absent."""
    return sum(tensors[1:], tensors[0]) / count


def maximum(tensors: list[Tensor]) -> Tensor:
    """The largest entry in each place."""
    largest = tensors[0]
    for tensor in tensors[1:]:
        largest = torch.maximum(largest, tensor)
    return largest
