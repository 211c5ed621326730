"""AdvantageNAS: single paths, with a credit for each choice of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nasdsl.searching.absent import zero_candidates
from nasdsl.searching.gdas import Gdas, GdasOptions, Sample
from nasdsl.searching.strategy import STRATEGIES, Path, State
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.training.config import Config
from nasdsl.training.optimizers import clip_gradients, set_learning_rate
from nasdsl.training.recipe import Recipe


class AdvantageOptions(Config):
    lr: float = Field(
        default=3e-4,
        gt=0,
        description="learning rate of the architecture parameters (Adam, cosine to 0 over the search), as in the released code",
    )
    beta1: float = Field(default=0.5, ge=0, lt=1, description="Adam's beta1, as in the released code")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Adam's beta2, as in the released code")
    weight_decay: float = Field(
        default=3e-3,
        ge=0,
        description="decay of the architecture parameters (added to their gradient), as in the released code",
    )
    clip: float = Field(
        default=1.0,
        ge=0,
        description="largest norm of their gradient, decay included, as in the released code; 0 leaves it",
    )
    warmup: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the epochs in which they stand still; the released code has 50 epochs of up to 100",
    )
    credit: Literal["first_order", "exact"] = Field(
        default="first_order",
        description="first_order: one forward and one backward a step, as published; exact: loss without the choice, one more forward a choice (ours)",
    )
    zero_pos: bool = Field(
        default=False,
        description="gives a zero operation the worst average advantage of its choice (the released code, language modelling)",
    )
    centred: bool = Field(
        default=False,
        description="takes a moving average of a choice's advantage off (the released code's mode A2)",
    )
    average: float = Field(
        default=0.05, gt=0, le=1, description="rate of these averages, as in the released code"
    )
    baseline_decay: float = Field(
        default=0.9,
        ge=0,
        lt=1,
        description="decay of the moving average of losses that chosen numbers are compared with (ours)",
    )
    tries: int = Field(
        default=1000, ge=1, description="genotypes that are drawn where the likeliest one is not in the space"
    )


@STRATEGIES.add("advantage")
class Advantage(Gdas):
    """Sato, Sakuma & Akimoto, "AdvantageNAS: Efficient Neural Architecture Search with Credit Assignment", AAAI 2021.

    An architecture step draws z ~ Cat(p), p = softmax(θ), for each choice (one z for all uses of a cell), runs that
    sub-network with each output taken multiplied by z = 1, and goes backward once. With y_e what a use e of the choice
    gives,

        A = Σ_e Σ_k z_k ∂L/∂z_{e,k} = Σ_e <∂L/∂y_e, y_e>,     gradient of θ = A (z - p)

    which Adam descends. A is the first-order value of what the loss would lose without the choice. The exact value,
    L(z) - L(z, y_e = 0 for all e) (``credit=exact``), is an unbiased credit, since its second term doesn't depend on z
    of that choice; the first-order one is unbiased where the loss is affine in each y_e, and biased elsewhere. Where a
    zero operation was drawn A = 0, so that nothing is learned of it unless others turn out better or worse; with
    ``zero_pos`` it is given the largest (worst) moving average over the choice's candidates of ∂L/∂z.

    Settings are those of the released code's search on NAS-Bench-201: θ starts at one (the first entry a millionth
    above), stands still for half of the epochs, and then takes a step after each weight step, with decay, then clipping.
    Batch norms have no affine part and use the statistics of the batch.

    Deviates: architecture steps are made on the half of the data that the weights don't see, as in that search (the one
    for language modelling alternates on one stream). The likeliest candidates win ("AM" there; "PB", the sample with
    the lowest minibatch loss, is not kept). Numbers, sub-lists and guards are handled as in ``gdas``.

    The preset ``demo`` trains for 100 epochs, has a fifth of them for warm-up, and θ at a learning rate of 0.03.
    """

    Options: ClassVar[type[Config]] = AdvantageOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": ("search.epochs=100", "options.lr=0.03", "options.warmup=0.2"),
    }
    recipe: ClassVar[Recipe] = Recipe(epochs=100, lr=0.1, clip=1.0)
    learns: bool = True  # type: ignore[misc]

    def __init__(self, space: Space, options: AdvantageOptions, seed: int) -> None:
        # The sampler of gdas at the temperature 1; decay is added here, before clipping.
        shared = options.model_dump(include={"lr", "beta1", "beta2", "baseline_decay", "tries"})
        super().__init__(
            space, GdasOptions(**shared, tau_start=1, tau_end=1, weight_decay=0, search_none=False), seed
        )
        self.settings = options
        with torch.no_grad():
            self.logits.copy_(self.valid.to(self.logits))
            if self.logits.numel():
                self.logits[:, 0] += 1e-6
        self.zeros = zero_candidates(space) if options.zero_pos else torch.zeros_like(self.valid)
        self.averages: Tensor | None = None  # [choices, K] of ∂L/∂z
        self.centres: Tensor | None = None  # [choices] of A

    def start_epoch(self, epoch: int, epochs: int) -> dict[str, float]:
        self.learns = epoch >= round(self.settings.warmup * epochs)
        rate = self.settings.lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        set_learning_rate(self.optimizer, rate)
        return {"architecture_lr": rate if self.learns else 0.0}

    def architecture_step(self, supernet: Supernet, loss: Callable[[Path], Tensor]) -> float:
        with torch.no_grad():
            sample = self.sample()
        taken, result = self.credits(sample, loss)
        with torch.no_grad():
            gradient = self.advantages(sample, taken)[:, None] * (
                sample.hard - self.log_probabilities().exp() * (sample.hard.sum(1, keepdim=True) > 0)
            )
            self.add_score(gradient, sample, result)
            gradient += self.settings.weight_decay * self.logits
        self.logits.grad = gradient
        clip_gradients([self.logits], self.settings.clip)
        self.optimizer.step()
        return result

    # --- credit ----------------------------------------------------------------------------------

    def credits(self, sample: Sample, loss: Callable[[Path], Tensor]) -> tuple[Tensor, float]:
        """For each choice A, or its exact counterpart [choices], and the loss."""
        z = sample.hard.detach().clone()
        if self.settings.credit == "exact":
            with torch.no_grad():
                value = float(loss(Path(sample.genotype)))
                credit = torch.zeros(len(z), dtype=z.dtype)
                for name, gate in self.gates(replace(sample, hard=torch.zeros_like(z))).items():
                    without = loss(Path(sample.genotype, {name: gate}, "multiply"))
                    credit[self.rows[name]] = value - float(without)
            return credit, value
        z.requires_grad_()
        found = loss(Path(sample.genotype, self.gates(replace(sample, hard=z)), "selected_only"))
        gradient = None
        if found.requires_grad:
            (gradient,) = torch.autograd.grad(found, [z], allow_unused=True)
        if gradient is None:  # no candidate taken reaches the output
            gradient = torch.zeros_like(z)
        return (z.detach() * gradient).sum(1), float(found.detach())

    def advantages(self, sample: Sample, credit: Tensor) -> Tensor:
        """What the gradients are multiplied by: the credit under the zero-operation rule, centred where asked for."""
        z, rate = sample.hard.detach(), self.settings.average
        advantage = credit
        if self.settings.zero_pos:
            before = torch.zeros_like(z) if self.averages is None else self.averages
            current = z * credit[:, None] + (1 - z) * before
            self.averages = current if self.averages is None else rate * current + (1 - rate) * before
            worst = self.averages.masked_fill(~self.valid, -torch.inf).amax(1)
            advantage = torch.where((z * self.zeros).sum(1) > 0, worst, credit)
        if self.settings.centred:
            there = z.sum(1) > 0
            before = torch.zeros_like(credit) if self.centres is None else self.centres
            moved = credit if self.centres is None else rate * credit + (1 - rate) * before
            self.centres = torch.where(there, moved, before)
            advantage = advantage - before
        return advantage

    # --- state -----------------------------------------------------------------------------------

    def state(self) -> State:
        tensors, rest = super().state()
        kept = {"averages": self.averages, "centres": self.centres}
        return tensors | {name: t for name, t in kept.items() if t is not None}, rest

    def restore(self, state: State) -> None:
        super().restore(state)
        self.averages = state[0].get("averages")
        self.centres = state[0].get("centres")
