"""ofa_mobilenetv3: one network of the search space of that name.

Its genotype:

    {
        "stage#1.mbconv.kernel": "3",
        "stage#1.mbconv.expand": "6",
        "stage#1.repeat.depth": "3",
        "stage#1.repeat.mbconv#1.kernel": "3",
        "stage#1.repeat.mbconv#1.expand": "4",
        "stage#1.repeat.mbconv#2.kernel": "5",
        "stage#1.repeat.mbconv#2.expand": "4",
        "stage#1.repeat.mbconv#3.kernel": "7",
        "stage#1.repeat.mbconv#3.expand": "3",
        "stage#2.mbconv.kernel": "3",
        "stage#2.mbconv.expand": "6",
        "stage#2.repeat.depth": "2",
        "stage#2.repeat.mbconv#1.kernel": "7",
        "stage#2.repeat.mbconv#1.expand": "3",
        "stage#2.repeat.mbconv#2.kernel": "5",
        "stage#2.repeat.mbconv#2.expand": "6",
        "stage#3.mbconv.kernel": "7",
        "stage#3.mbconv.expand": "3",
        "stage#3.repeat.depth": "1",
        "stage#3.repeat.mbconv#1.kernel": "5",
        "stage#3.repeat.mbconv#1.expand": "6",
        "stage#4.mbconv.kernel": "3",
        "stage#4.mbconv.expand": "4",
        "stage#4.repeat.depth": "2",
        "stage#4.repeat.mbconv#1.kernel": "3",
        "stage#4.repeat.mbconv#1.expand": "3",
        "stage#4.repeat.mbconv#2.kernel": "3",
        "stage#4.repeat.mbconv#2.expand": "4",
        "stage#5.mbconv.kernel": "7",
        "stage#5.mbconv.expand": "4",
        "stage#5.repeat.depth": "2",
        "stage#5.repeat.mbconv#1.kernel": "3",
        "stage#5.repeat.mbconv#1.expand": "6",
        "stage#5.repeat.mbconv#2.kernel": "7",
        "stage#5.repeat.mbconv#2.expand": "3"
    }
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBnActHardswish(nn.Module):
    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        self.batchnorm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, in_channels, H, W] -> [N, out_channels, H', W']
        return F.hardswish(self.batchnorm(self.conv(x)))


class ConvBnActRelu(nn.Module):
    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        self.batchnorm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, in_channels, H, W] -> [N, out_channels, H', W']
        return torch.relu(self.batchnorm(self.conv(x)))


class Mbconv1(nn.Module):
    """Inverted residual block (MobileNetV2 and V3); kernel and expansion may be chosen."""

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv_bn_act_1 = ConvBnActRelu(channels, hidden, kernel=1)
        self.conv_bn_act_2 = ConvBnActRelu(hidden, hidden, kernel=kernel, groups=hidden)
        self.conv = nn.Conv2d(hidden, channels, 1, bias=False)
        self.batchnorm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, channels, H, W] -> [N, channels, H, W]
        y = self.conv_bn_act_2(self.conv_bn_act_1(x))  # [N, hidden, H, W]
        y = self.batchnorm(self.conv(y))  # [N, channels, H, W]
        return x + y


class Mbconv2(nn.Module):
    """Inverted residual block (MobileNetV2 and V3); kernel and expansion may be chosen."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_bn_act_1 = ConvBnActRelu(in_channels, 6 * in_channels, kernel=1)
        self.conv_bn_act_2 = ConvBnActRelu(
            6 * in_channels, 6 * in_channels, kernel=3, stride=2, groups=6 * in_channels
        )
        self.conv = nn.Conv2d(6 * in_channels, out_channels, 1, bias=False)
        self.batchnorm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_bn_act_2(self.conv_bn_act_1(x))  # [N, 6 * in_channels, H / 2, W / 2]
        return self.batchnorm(self.conv(x))


class StageMbconv(nn.Module):
    """Two to four blocks; the first one changes width and size."""

    def __init__(self, in_channels: int, out_channels: int, mbconvs: list[tuple[int, int]]) -> None:
        super().__init__()
        self.mbconv = Mbconv2(in_channels, out_channels)
        self.mbconvs = nn.Sequential(
            *[Mbconv1(out_channels, hidden, kernel=kernel) for hidden, kernel in mbconvs]
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.mbconvs(self.mbconv(x))


class Mbconv3(nn.Module):
    """Inverted residual block (MobileNetV2 and V3); kernel and expansion may be chosen."""

    def __init__(
        self, in_channels: int, hidden: int, out_channels: int, kernel: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv_bn_act_1 = ConvBnActHardswish(in_channels, hidden, kernel=1)
        self.conv_bn_act_2 = ConvBnActHardswish(
            hidden, hidden, kernel=kernel, stride=stride, groups=hidden
        )
        self.conv = nn.Conv2d(hidden, out_channels, 1, bias=False)
        self.batchnorm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, in_channels, H, W] -> [N, out_channels, H', W']
        x = self.conv_bn_act_2(self.conv_bn_act_1(x))  # [N, hidden, H', W']
        return self.batchnorm(self.conv(x))


class Mbconv4(nn.Module):
    """Inverted residual block (MobileNetV2 and V3); kernel and expansion may be chosen."""

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv_bn_act_1 = ConvBnActHardswish(channels, hidden, kernel=1)
        self.conv_bn_act_2 = ConvBnActHardswish(hidden, hidden, kernel=kernel, groups=hidden)
        self.conv = nn.Conv2d(hidden, channels, 1, bias=False)
        self.batchnorm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, channels, H, W] -> [N, channels, H, W]
        y = self.conv_bn_act_2(self.conv_bn_act_1(x))  # [N, hidden, H, W]
        y = self.batchnorm(self.conv(y))  # [N, channels, H, W]
        return x + y


class Stage(nn.Module):
    """Two to four blocks; the first one changes width and size."""

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        kernel: int,
        mbconvs: list[tuple[int, int]],
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.mbconv = Mbconv3(in_channels, hidden, out_channels, kernel=kernel, stride=stride)
        self.mbconvs = nn.Sequential(*[Mbconv4(out_channels, h, kernel=k) for h, k in mbconvs])

    def forward(self, x: Tensor) -> Tensor:  # [N, in_channels, H, W] -> [N, out_channels, H', W']
        return self.mbconvs(self.mbconv(x))


class OfaMobilenetv3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_bn_act_1 = ConvBnActHardswish(3, 16, kernel=3, stride=2)
        self.mbconv = Mbconv1(16, 16, kernel=3)
        self.stages = nn.Sequential(
            StageMbconv(16, 24, mbconvs=[(96, 3), (96, 5), (72, 7)]),
            StageMbconv(24, 40, mbconvs=[(120, 7), (240, 5)]),
            Stage(40, 120, 80, kernel=7, mbconvs=[(480, 5)], stride=2),
            Stage(80, 320, 112, kernel=3, mbconvs=[(336, 3), (448, 3)]),
            Stage(112, 448, 160, kernel=7, mbconvs=[(960, 3), (480, 7)], stride=2),
        )
        self.conv_bn_act_2 = ConvBnActHardswish(160, 960, kernel=1)
        self.linear_1 = nn.Linear(960, 1280, bias=False)
        self.dropout = nn.Dropout(0.1)
        self.linear_2 = nn.Linear(1280, 1000)

    def forward(self, image: Tensor) -> Tensor:  # [N, 3, 224, 224] -> [N, 1000]
        x = self.conv_bn_act_1(image)  # [N, 16, 112, 112]
        x = self.mbconv(x)
        x = self.stages(x)  # [N, 160, 7, 7]
        x = self.conv_bn_act_2(x)  # [N, 960, 7, 7]
        x = F.hardswish(self.linear_1(x.mean((2, 3))))  # [N, 1280]
        return self.linear_2(self.dropout(x))


def load_weights(model: nn.Module, path: str) -> None:
    """Reads the weights of a safetensors file into the model."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path))
