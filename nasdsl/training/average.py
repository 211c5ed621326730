"""Averages of weights: the network that is kept, beside the one that is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from nasdsl.diagnostics import failure
from nasdsl.training.recipe import Recipe


class Average(Protocol):
    """What is kept of a network, beside what is trained of it."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """All that there is to keep of it."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from what ``tensors`` was."""
        ...

    def update(self, network: nn.Module) -> None:
        """To be called after each step of the optimiser."""
        ...

    def put_into(self, network: nn.Module) -> None:
        """The network's state becomes the average."""
        ...


class MovingAverage:
    """After each step every floating tensor s of the network's state (weights, and batch-norm statistics) becomes
    ``decay * s + (1 - decay) * t``, t being the trained one; counters are copied. It starts at what the network is.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._blend = get_ema_multi_avg_fn(decay)
        self.tensors: dict[str, Tensor] = {
            name: tensor.detach().clone() for name, tensor in network.state_dict().items()
        }

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


class TriggeredMean:
    """The mean of the weights of all steps since training stopped to help (NT-ASGD: Merity, Keskar & Socher, "Regularizing
    and Optimizing LSTM Language Models", ICLR 2018), which is that of torch's ASGD with ``t0`` and ``lambd`` 0,
    but for the first of these steps, which that leaves out.

    It begins after the first epoch whose validation loss is worse than the best one that is more than ``patience``
    epochs older; until then the network is what it is. Buffers are those of the last step.
    """

    def __init__(self, network: nn.Module, patience: int) -> None:
        self.patience = patience
        self.mean = {name: p.detach().clone() for name, p in network.named_parameters()}
        self.steps = -1
        """How many steps it is the mean of; -1 where it has not begun."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        return {**self.mean, "steps": torch.tensor(self.steps)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.steps = int(tensors["steps"])
        for name, tensor in self.mean.items():
            tensor.copy_(tensors[name])

    def watch(self, losses: Sequence[float]) -> None:
        """Begins where the validation losses of all epochs so far say so."""
        *before, latest = losses
        if self.steps < 0 and len(before) > self.patience and latest > min(before[: -self.patience]):
            self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        if self.steps < 0:
            return
        self.steps += 1
        for name, parameter in network.named_parameters():
            self.mean[name].lerp_(parameter.detach(), 1 / self.steps)

    @torch.no_grad()
    def put_into(self, network: nn.Module) -> None:
        if self.steps > 0:
            for name, parameter in network.named_parameters():
                parameter.copy_(self.mean[name])

    @contextmanager
    def lent(self, network: nn.Module) -> Iterator[None]:
        """While it lasts the network has the mean as its weights."""
        own = {name: p.detach().clone() for name, p in network.named_parameters()}
        self.put_into(network)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    parameter.copy_(own[name])


def make_average(network: nn.Module, recipe: Recipe) -> Average | None:
    """The average that a recipe keeps, if any. Raises NasError N1031 where it wants two."""
    if recipe.ema and recipe.asgd:
        raise failure(
            "N1031",
            "the recipe has two averages of the weights, a moving one (ema) and the mean since training stalled (asgd)",
            "set one of them to 0",
        )
    if recipe.asgd:
        return TriggeredMean(network, recipe.asgd)
    return MovingAverage(network, recipe.ema) if recipe.ema else None
