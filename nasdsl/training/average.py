"""A moving average of weights: the network that is kept, beside the one that is trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """After each step every floating tensor s of the network's state (weights, and batch-norm statistics) becomes
    ``decay * s + (1 - decay) * t``, t being the trained one; counters are copied. It starts at what the network is.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._blend = get_ema_multi_avg_fn(decay)
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """To be called after each step of the optimiser."""
        state = network.state_dict()
        floating = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        self._blend([self.tensors[name] for name in floating], [state[name] for name in floating], None)
        for name in self.tensors.keys() - set(floating):
            self.tensors[name].copy_(state[name])

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from what ``tensors`` was."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    def put_into(self, network: nn.Module) -> None:
        """The network's state becomes the average."""
        network.load_state_dict(self.tensors)
