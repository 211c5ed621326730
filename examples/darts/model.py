"""darts: one network of the search space of that name.

Its genotype:

    {
        "normal.n[2].0": "sep_conv_3x3",
        "normal.n[2].1": "sep_conv_3x3",
        "normal.n[3]": ["0", "1"],
        "normal.n[3].0": "sep_conv_3x3",
        "normal.n[3].1": "sep_conv_3x3",
        "normal.n[4]": ["0", "1"],
        "normal.n[4].0": "skip_connect",
        "normal.n[4].1": "sep_conv_3x3",
        "normal.n[5]": ["0", "2"],
        "normal.n[5].0": "skip_connect",
        "normal.n[5].2": "dil_conv_3x3",
        "reduction.n[2].0": "max_pool_3x3",
        "reduction.n[2].1": "max_pool_3x3",
        "reduction.n[3]": ["1", "2"],
        "reduction.n[3].1": "max_pool_3x3",
        "reduction.n[3].2": "skip_connect",
        "reduction.n[4]": ["0", "2"],
        "reduction.n[4].0": "max_pool_3x3",
        "reduction.n[4].2": "skip_connect",
        "reduction.n[5]": ["1", "2"],
        "reduction.n[5].1": "max_pool_3x3",
        "reduction.n[5].2": "skip_connect"
    }
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def shift(x: Tensor, by: int) -> Tensor:
    """Moves the entries up and left along every axis after the channels; zeros enter: [N, C, ...] -> [N, C, ...]."""
    for axis in range(2, x.dim()):
        # Pads the far end of the axis and drops the near one; F.pad counts axes from the last.
        ends = [0, 0] * (x.dim() - 1 - axis) + [0, by]
        x = F.pad(x, ends).narrow(axis, by, x.shape[axis])
    return x


class ReluConvBn(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.batchnorm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, in_channels, H, W] -> [N, out_channels, H, W]
        return self.batchnorm(self.conv(torch.relu(x)))


class ReluSepConvBn(nn.Module):
    """Depthwise separable convolution, once."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.batchnorm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, channels, H, W] -> [N, channels, H, W]
        x = self.depthwise(torch.relu(x))
        return self.batchnorm(self.conv(x))


class SepConv(nn.Module):
    """Depthwise separable convolution, applied twice; the stride is the first one's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.relu_sep_conv_bn_1 = ReluSepConvBn(channels)
        self.relu_sep_conv_bn_2 = ReluSepConvBn(channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, channels, H, W] -> [N, channels, H, W]
        return self.relu_sep_conv_bn_2(self.relu_sep_conv_bn_1(x))


class DilConv(nn.Module):
    """Dilated depthwise separable convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, 3, padding=2, dilation=2, groups=channels, bias=False
        )
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.batchnorm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, channels, H, W] -> [N, channels, H, W]
        x = self.depthwise(torch.relu(x))
        return self.batchnorm(self.conv(x))


class Normal(nn.Module):
    def __init__(self, prev_channels: int, cur_channels: int, channels: int) -> None:
        super().__init__()
        self.relu_conv_bn_1 = ReluConvBn(prev_channels, channels)
        self.relu_conv_bn_2 = ReluConvBn(cur_channels, channels)
        self.n2_0 = SepConv(channels)
        self.n2_1 = SepConv(channels)
        self.n3_0 = SepConv(channels)
        self.n3_1 = SepConv(channels)
        self.n4_1 = SepConv(channels)
        self.n5_2 = DilConv(channels)

    def forward(self, prev: Tensor, cur: Tensor) -> Tensor:
        n0 = self.relu_conv_bn_1(prev)  # [N, channels, H, W]
        n1 = self.relu_conv_bn_2(cur)
        n2 = self.n2_0(n0) + self.n2_1(n1)
        n3 = self.n3_0(n0) + self.n3_1(n1)
        n4 = n0 + self.n4_1(n1)
        n5 = n0 + self.n5_2(n2)
        return torch.cat([n2, n3, n4, n5], 1)


class Edge(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, channels, H, W] -> [N, channels, H / 2, W / 2]
        return self.batchnorm(F.max_pool2d(x, 3, stride=2, padding=1))


class Reduction(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.relu_conv_bn_1 = ReluConvBn(2 * channels, channels)
        self.relu_conv_bn_2 = ReluConvBn(2 * channels, channels)
        self.n2_0 = Edge(channels)
        self.n2_1 = Edge(channels)
        self.n3_1 = Edge(channels)
        self.n4_0 = Edge(channels)
        self.n5_1 = Edge(channels)

    def forward(self, prev: Tensor, cur: Tensor) -> Tensor:
        n0 = self.relu_conv_bn_1(prev)  # [N, channels, H, W]
        n1 = self.relu_conv_bn_2(cur)
        n2 = self.n2_0(n0) + self.n2_1(n1)  # [N, channels, H / 2, W / 2]
        n3 = self.n3_1(n1) + n2
        n4 = self.n4_0(n0) + n2
        n5 = self.n5_1(n1) + n2
        return torch.cat([n2, n3, n4, n5], 1)


class Halve(nn.Module):
    """Halves height and width without losing a pixel: two strided 1x1 convolutions, the second
    one pixel further on.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(2 * channels, channels // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(2 * channels, channels // 2, 1, stride=2, bias=False)
        self.batchnorm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        a = self.conv_1(x)  # [N, channels / 2, H / 2, W / 2]
        b = self.conv_2(shift(x, 1))
        return self.batchnorm(torch.cat([a, b], 1))


class FactorizedReduce(nn.Module):
    """The same after a ReLU, as DARTS has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.halve = Halve(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.halve(torch.relu(x))


class NormalFactorizedReduce(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factorized_reduce = FactorizedReduce(channels)
        self.relu_conv_bn = ReluConvBn(4 * channels, channels)
        self.n2_0 = SepConv(channels)
        self.n2_1 = SepConv(channels)
        self.n3_0 = SepConv(channels)
        self.n3_1 = SepConv(channels)
        self.n4_1 = SepConv(channels)
        self.n5_2 = DilConv(channels)

    def forward(self, prev: Tensor, cur: Tensor) -> Tensor:
        n0 = self.factorized_reduce(prev)  # [N, channels, H / 2, W / 2]
        n1 = self.relu_conv_bn(cur)
        n2 = self.n2_0(n0) + self.n2_1(n1)
        n3 = self.n3_0(n0) + self.n3_1(n1)
        n4 = n0 + self.n4_1(n1)
        n5 = n0 + self.n5_2(n2)
        return torch.cat([n2, n3, n4, n5], 1)


class Darts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 48, 3, padding=1, bias=False)
        self.batchnorm = nn.BatchNorm2d(48)
        self.cells = nn.ModuleList(
            [
                Normal(48, 48, 16),
                Normal(48, 64, 16),
                Reduction(32),
                NormalFactorizedReduce(32),
                Normal(128, 128, 32),
                Reduction(64),
                NormalFactorizedReduce(64),
                Normal(256, 256, 64),
            ]
        )
        self.linear = nn.Linear(256, 10)

    def forward(self, image: Tensor) -> Tensor:  # [N, 3, 32, 32] -> [N, 10]
        cur = self.batchnorm(self.conv(image))  # [N, 48, 32, 32]
        prev = cur
        for cell in self.cells:
            prev, cur = cur, cell(prev, cur)
        return self.linear(cur.mean((2, 3)))


def load_weights(model: nn.Module, path: str) -> None:
    """Reads the weights of a safetensors file into the model."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path))
