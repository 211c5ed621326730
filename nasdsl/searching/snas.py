"""SNAS: samples of a concrete distribution blend the candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nasdsl.searching.blending import Blending, BlendingOptions
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import generator


class SnasOptions(BlendingOptions):
    temperature_start: float = Field(default=1.0, gt=0, description="temperature in the first epoch")
    temperature_end: float = Field(
        default=0.03, gt=0, description="temperature in the last epoch; geometric in between"
    )


@STRATEGIES.add("snas")
class Snas(Blending):
    """Xie, Zheng, Liu & Lin, "SNAS: Stochastic Neural Architecture Search", ICLR 2019.

    With Gumbel noise g and temperature λ, every candidate runs, blended with

        z = softmax((log softmax(α) + g) / λ)

    one sample for all uses of a cell, and the gradient of the loss reaches α through z: nothing is straight-through. At
    a high temperature all candidates weigh the same, at a low one z is almost one-hot. Sub-lists have the binary
    concrete distribution, sigmoid((α + logistic noise) / λ).

    Deviates: the paper learns α on the minibatches of the weights; here, as elsewhere, on the other half of the data.
    Its cost on resources is left out. The schedule of λ was not verified against the authors' settings.

    The preset ``demo`` trains for 50 epochs at a learning rate of 0.1, architecture parameters at 3e-2.
    """

    Options: ClassVar[type[Config]] = SnasOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = Blending.presets
    recipe: ClassVar[Recipe] = Recipe(epochs=150, lr=0.025, lr_end=0.001, nesterov=False, weight_decay=3e-4)
    temperature = 1.0

    def start_epoch(self, epoch: int, epochs: int) -> dict[str, float]:
        super().start_epoch(epoch, epochs)
        start, end = self.options.temperature_start, self.options.temperature_end
        self.temperature = start * (end / start) ** (epoch / (epochs - 1) if epochs > 1 else 1.0)
        return {"temperature": self.temperature}

    def uniform(self, name: str) -> Tensor:
        """Numbers in (0, 1), new ones for each step."""
        drawn = torch.rand(
            self.valid.shape, generator=generator(self.seed, name, self.steps), dtype=torch.float64
        )
        return drawn.clamp(1e-12, 1 - 1e-12)

    def blend(self) -> Tensor:
        return self.concrete(-(-self.uniform("gumbel").log()).log())

    def concrete(self, noise: Tensor) -> Tensor:
        return torch.softmax((self.log_probabilities() + noise) / self.temperature, 1)

    def members(self) -> Tensor:
        return torch.sigmoid((self.logits + torch.logit(self.uniform("logistic"))) / self.temperature)
