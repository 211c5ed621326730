"""nasbench201: one network of the search space of that name.

Its genotype:

    {
        "normal.x1": "nor_conv_3x3",
        "normal.x2#1": "nor_conv_3x3",
        "normal.x2#2": "nor_conv_3x3",
        "normal.x3#1": "skip_connect",
        "normal.x3#2": "nor_conv_3x3",
        "normal.x3#3": "nor_conv_1x1"
    }
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Reconv(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.batchnorm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:  # [N, channels, H, W] -> [N, channels, H, W]
        return self.batchnorm(self.conv(torch.relu(x)))


class Normal(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.x1 = Reconv(channels, kernel=3)
        self.x2_1 = Reconv(channels, kernel=3)
        self.x2_2 = Reconv(channels, kernel=3)
        self.x3_1 = Reconv(channels, kernel=3)
        self.x3_2 = Reconv(channels, kernel=1)

    def forward(self, x0: Tensor) -> Tensor:  # [N, channels, H, W] -> [N, channels, H, W]
        x1 = self.x1(x0)
        x2 = self.x2_1(x0) + self.x2_2(x1)
        return x0 + self.x3_1(x1) + self.x3_2(x2)


class Reduce(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.batchnorm_1 = nn.BatchNorm2d(2 * channels)
        self.conv_2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, bias=False)
        self.batchnorm_2 = nn.BatchNorm2d(2 * channels)
        self.conv_3 = nn.Conv2d(channels, 2 * channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.batchnorm_1(self.conv_1(torch.relu(x)))  # [N, 2 * channels, H / 2, W / 2]
        y = self.batchnorm_2(self.conv_2(torch.relu(y)))
        return y + self.conv_3(F.avg_pool2d(x, 2))


class Nasbench201(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.batchnorm_1 = nn.BatchNorm2d(16)
        self.stage_1 = nn.Sequential(*[Normal(16) for _ in range(5)])
        self.reduce_1 = Reduce(16)
        self.stage_2 = nn.Sequential(*[Normal(32) for _ in range(5)])
        self.reduce_2 = Reduce(32)
        self.stage_3 = nn.Sequential(*[Normal(64) for _ in range(5)])
        self.batchnorm_2 = nn.BatchNorm2d(64)
        self.linear = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:  # [N, 3, 32, 32] -> [N, 10]
        x = self.batchnorm_1(self.conv(image))  # [N, 16, 32, 32]
        x = self.stage_1(x)
        x = self.reduce_1(x)  # [N, 32, 16, 16]
        x = self.stage_2(x)
        x = self.reduce_2(x)  # [N, 64, 8, 8]
        x = self.stage_3(x)
        x = torch.relu(self.batchnorm_2(x))
        return self.linear(x.mean((2, 3)))


def load_weights(model: nn.Module, path: str) -> None:
    """Reads the weights of a safetensors file into the model."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path))
