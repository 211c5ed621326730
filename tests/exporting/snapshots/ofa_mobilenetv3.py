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

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def reshape(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The same entries under other sizes; 0 keeps the size in that place, -1 is what is left over."""
    batch = x.shape[0]
    sizes = [x.shape[axis + 1] if size == 0 else size for axis, size in enumerate(dims)]
    return x.reshape(batch, -1).reshape(batch, *sizes)


class ConvBnAct(nn.Module):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        act: Callable[[Tensor], Tensor],
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.act = act
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
        return self.act(self.batchnorm(self.conv(x)))


class Residual(nn.Module):
    """Adds what f makes of x to x."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.batchnorm_1 = nn.BatchNorm2d(16)
        self.conv = nn.Conv2d(16, 16, 1, bias=False)
        self.batchnorm_2 = nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:  # [N, 16, 112, 112] -> [N, 16, 112, 112]
        y = torch.relu(self.batchnorm_1(self.depthwise(x)))
        return x + self.batchnorm_2(self.conv(y))


class Mbconv(nn.Module):
    """Inverted residual block (MobileNetV2 and V3); kernel and expansion may be chosen."""

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        kernel: int,
        act: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.conv_bn_act_1 = ConvBnAct(in_channels, hidden, kernel=1, act=act)
        self.conv_bn_act_2 = ConvBnAct(
            hidden, hidden, kernel=kernel, act=act, stride=2, groups=hidden
        )
        self.conv = nn.Conv2d(hidden, out_channels, 1, bias=False)
        self.batchnorm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_bn_act_2(self.conv_bn_act_1(x))  # [N, hidden, H / 2, W / 2]
        return self.batchnorm(self.conv(x))


class MbconvResidual(nn.Module):
    """Inverted residual block (MobileNetV2 and V3); kernel and expansion may be chosen."""

    def __init__(
        self, channels: int, hidden: int, kernel: int, act: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.conv_bn_act_1 = ConvBnAct(channels, hidden, kernel=1, act=act)
        self.conv_bn_act_2 = ConvBnAct(hidden, hidden, kernel=kernel, act=act, groups=hidden)
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
        act: Callable[[Tensor], Tensor],
        mbconvs: list[tuple[int, int]],
    ) -> None:
        super().__init__()
        self.mbconv = Mbconv(in_channels, hidden, out_channels, kernel=kernel, act=act)
        self.mbconvs = nn.Sequential(
            *[MbconvResidual(out_channels, h, kernel=k, act=act) for h, k in mbconvs]
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.mbconvs(self.mbconv(x))


class SqueezeExcite(nn.Module):
    """Squeeze and excitation (Hu et al., 2018): every channel is scaled by a gate, which all
    channels of the whole image decide together.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.linear_1 = nn.Linear(features, features // 4)
        self.linear_2 = nn.Linear(features // 4, features)

    def forward(self, x: Tensor) -> Tensor:  # [N, features, H, W] -> [N, features, H, W]
        gate = torch.relu(self.linear_1(x.mean((2, 3))))  # [N, features / 4]
        gate = torch.sigmoid(self.linear_2(gate))  # [N, features]
        return x * reshape(gate, (self.features, 1, 1))


class MbconvSqueezeExcite(nn.Module):
    """Inverted residual block (MobileNetV2 and V3); kernel and expansion may be chosen."""

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        kernel: int,
        act: Callable[[Tensor], Tensor],
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.conv_bn_act_1 = ConvBnAct(in_channels, hidden, kernel=1, act=act)
        self.conv_bn_act_2 = ConvBnAct(
            hidden, hidden, kernel=kernel, act=act, stride=stride, groups=hidden
        )
        self.squeeze_excite = SqueezeExcite(hidden)
        self.conv = nn.Conv2d(hidden, out_channels, 1, bias=False)
        self.batchnorm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, in_channels, H, W] -> [N, out_channels, H', W']
        x = self.squeeze_excite(self.conv_bn_act_2(self.conv_bn_act_1(x)))  # [N, hidden, H', W']
        return self.batchnorm(self.conv(x))


class MbconvSqueezeExciteResidual(nn.Module):
    """Inverted residual block (MobileNetV2 and V3); kernel and expansion may be chosen."""

    def __init__(
        self, channels: int, hidden: int, kernel: int, act: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.conv_bn_act_1 = ConvBnAct(channels, hidden, kernel=1, act=act)
        self.conv_bn_act_2 = ConvBnAct(hidden, hidden, kernel=kernel, act=act, groups=hidden)
        self.squeeze_excite = SqueezeExcite(hidden)
        self.conv = nn.Conv2d(hidden, channels, 1, bias=False)
        self.batchnorm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, channels, H, W] -> [N, channels, H, W]
        y = self.squeeze_excite(self.conv_bn_act_2(self.conv_bn_act_1(x)))  # [N, hidden, H, W]
        y = self.batchnorm(self.conv(y))  # [N, channels, H, W]
        return x + y


class StageSqueezeExcite(nn.Module):
    """Two to four blocks; the first one changes width and size."""

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        kernel: int,
        act: Callable[[Tensor], Tensor],
        mbconvs: list[tuple[int, int]],
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.mbconv = MbconvSqueezeExcite(
            in_channels, hidden, out_channels, kernel=kernel, act=act, stride=stride
        )
        self.mbconvs = nn.Sequential(
            *[MbconvSqueezeExciteResidual(out_channels, h, kernel=k, act=act) for h, k in mbconvs]
        )

    def forward(self, x: Tensor) -> Tensor:  # [N, in_channels, H, W] -> [N, out_channels, H', W']
        return self.mbconvs(self.mbconv(x))


class OfaMobilenetv3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_bn_act_1 = ConvBnAct(3, 16, kernel=3, act=F.hardswish, stride=2)
        self.residual = Residual()
        self.stages = nn.Sequential(
            Stage(16, 96, 24, kernel=3, act=torch.relu, mbconvs=[(96, 3), (96, 5), (72, 7)]),
            StageSqueezeExcite(
                24, 144, 40, kernel=3, act=torch.relu, mbconvs=[(120, 7), (240, 5)], stride=2
            ),
            Stage(40, 120, 80, kernel=7, act=F.hardswish, mbconvs=[(480, 5)]),
            StageSqueezeExcite(
                80, 320, 112, kernel=3, act=F.hardswish, mbconvs=[(336, 3), (448, 3)]
            ),
            StageSqueezeExcite(
                112, 448, 160, kernel=7, act=F.hardswish, mbconvs=[(960, 3), (480, 7)], stride=2
            ),
        )
        self.conv_bn_act_2 = ConvBnAct(160, 960, kernel=1, act=F.hardswish)
        self.linear_1 = nn.Linear(960, 1280, bias=False)
        self.dropout = nn.Dropout(0.1)
        self.linear_2 = nn.Linear(1280, 1000)

    def forward(self, image: Tensor) -> Tensor:  # [N, 3, 224, 224] -> [N, 1000]
        x = self.conv_bn_act_1(image)  # [N, 16, 112, 112]
        x = self.residual(x)
        x = self.stages(x)  # [N, 160, 7, 7]
        x = self.conv_bn_act_2(x)  # [N, 960, 7, 7]
        x = F.hardswish(self.linear_1(x.mean((2, 3))))  # [N, 1280]
        return self.linear_2(self.dropout(x))


def load_weights(model: nn.Module, path: str) -> None:
    """Reads the weights of a safetensors file into the model."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path))
