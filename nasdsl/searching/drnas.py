"""DrNAS: the weights of candidates are drawn from a Dirichlet distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from nasdsl.searching.blending import Blending, BlendingOptions
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.space.space import Space
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import derive


class DrnasOptions(BlendingOptions):
    weight_decay: float = Field(
        default=1e-3,
        ge=0,
        description="decay of the architecture parameters, where `regularisation` is l2",
    )
    regularisation: Literal["kl", "l2"] = Field(
        default="kl", description="kl keeps the distributions near the uniform one; l2 decays the parameters"
    )
    scale: float = Field(default=1e-3, ge=0, description="what the divergence is multiplied by")


@STRATEGIES.add("drnas")
class Drnas(Blending):
    """Chen, Wang, Cheng, Tang & Hsieh, "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021.

    Every candidate runs, blended with w ~ Dirichlet(β), β = elu(α) + 1, one sample for all uses of a cell; gradients
    reach α through the sample (pathwise). To the loss of an architecture step 1e-3 · KL(Dir(β) ‖ Dir(1)) is added
    (``regularisation=kl``), or α decays (``l2``). The strongest of the mean β / Σβ win.

    Deviates: the released code's progressive search on large spaces (partial channels, pruning in stages) is left out;
    recipe and settings are those for NAS-Bench-201, where it needs neither. A sub-list that isn't searched with
    every candidate on has sigmoid(α).

    The preset ``demo`` trains for 50 epochs at a learning rate of 0.1, architecture parameters at 3e-2.
    """

    Options: ClassVar[type[Config]] = DrnasOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = Blending.presets
    recipe: ClassVar[Recipe] = Recipe(epochs=100, lr=0.025, lr_end=0.001, nesterov=False, weight_decay=3e-4)

    def __init__(self, space: Space, options: DrnasOptions, seed: int) -> None:
        super().__init__(space, options, seed)
        if options.regularisation == "kl":
            for group in self.optimizer.param_groups:
                group["weight_decay"] = 0.0
        # Choices with equally many candidates are drawn together.
        self.groups: dict[int, list[int]] = {}
        for choice in space.choices:
            if not choice.is_sublist:
                row = self.rows[choice.name]
                self.groups.setdefault(int(self.valid[row].sum()), []).append(row)

    def concentrations(self) -> Tensor:
        """β = elu(α) + 1 [choices, K + 1]."""
        return torch.nn.functional.elu(self.logits) + 1

    def of_group(self, rows: Sequence[int]) -> Tensor:
        """β of some choices with equally many candidates [rows, K]."""
        return self.concentrations()[rows][self.valid[rows]].view(len(rows), -1)

    def blend(self) -> Tensor:
        found = torch.zeros_like(self.logits)
        with torch.random.fork_rng(devices=[]):  # rsample takes no generator
            torch.manual_seed(derive(self.seed, "dirichlet", self.steps))
            for rows in self.groups.values():
                places = torch.zeros_like(self.valid)
                places[rows] = self.valid[rows]
                found = found.masked_scatter(places, Dirichlet(self.of_group(rows)).rsample())
        return found

    def penalty(self) -> Tensor | None:
        if self.options.regularisation != "kl":
            return None
        return self.options.scale * self.divergence()

    def divergence(self) -> Tensor:
        """Σ over choices of KL(Dir(β) ‖ Dir(1))."""
        total = torch.zeros((), dtype=torch.float64)
        for rows in self.groups.values():
            concentrations = self.of_group(rows)
            total = (
                total
                + kl_divergence(Dirichlet(concentrations), Dirichlet(torch.ones_like(concentrations))).sum()
            )
        return total

    def mean_weights(self) -> Tensor:
        concentrations = self.concentrations() * self.valid
        return concentrations / concentrations.sum(1, keepdim=True)
