"""REINFORCE on independent choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nasdsl.searching.assign import follow, positions, within_bounds
from nasdsl.searching.history import History, Trial
from nasdsl.searching.replay import Replaying
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.searching.untried import REPEATS
from nasdsl.space.choice import Choice, Genotype
from nasdsl.space.space import Space
from nasdsl.training.config import Config
from nasdsl.training.seeds import derive, generator


class ReinforceOptions(Config):
    lr: float = Field(
        default=0.01,
        gt=0,
        description="learning rate of Adam; 0.01 as for NATS-Bench, the example for NAS-Bench-201 has 0.5",
    )
    decay: float = Field(
        default=0.9, ge=0, lt=1, description="decay of the moving average that rewards are compared with"
    )


@STRATEGIES.add("reinforce")
class Reinforce(Replaying):
    """REINFORCE (Williams, 1992) as in NAS-Bench-201 (Dong & Yang, 2020; AutoDL-Projects, reinforce.py).

    Each choice has logits α, drawn from 1e-3·N(0, 1), and p = softmax(α). A genotype z is drawn from them; its reward R
    gives the gradient -(R - b)(z - p) of α, taken by Adam. The baseline b is the moving average of rewards, corrected
    for its start at zero, and is updated with R before it is used: the first step has no gradient.

    Ours: the choices of a sub-list's candidates are Bernoulli, with p = sigmoid(α), put within its bounds; a genotype
    that breaks a ``require`` is drawn again.

    The learning rate is that of NATS-Bench. The preset ``nasbench201`` has 0.5, the example of the code's manual for
    NAS-Bench-201: within a hundred evaluations it settles on one genotype.
    """

    Options: ClassVar[type[Config]] = ReinforceOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "nasbench201": ("options.lr=0.5",),
    }

    def __init__(self, space: Space, options: ReinforceOptions, seed: int) -> None:
        self.rows = {choice.name: row for row, choice in enumerate(space.choices)}
        widths = torch.tensor([len(choice.labels) for choice in space.choices], dtype=torch.long)
        self.valid = torch.arange(max(widths.tolist(), default=0))[None, :] < widths[:, None]
        super().__init__(space, options, seed)

    def reset(self) -> None:
        noise = torch.randn(self.valid.shape, generator=generator(self.seed, "logits"), dtype=torch.float64)
        self.logits = 1e-3 * noise * self.valid
        self.optimizer = torch.optim.Adam([self.logits], lr=self.options.lr)
        self.baseline, self.weight = 0.0, 0.0

    def probabilities(self) -> Tensor:
        """[choices, K]: of each candidate; for a sub-list's that it is in."""
        picked = torch.softmax(self.logits.masked_fill(~self.valid, -torch.inf), 1)
        inside = torch.sigmoid(self.logits)
        lists = torch.tensor([[choice.is_sublist] for choice in self.space.choices])
        return torch.where(lists, inside, picked)

    def tell(self, trial: Trial, number: int) -> None:
        if trial.metric != trial.metric:
            return
        decay = self.options.decay
        # Σ decay^i (1 - decay) R_i over the sum of these weights, in a form that is R exactly at first.
        self.weight = decay * self.weight + (1 - decay)
        self.baseline += (1 - decay) / self.weight * (trial.metric - self.baseline)
        self.logits.grad = -(trial.metric - self.baseline) * self.score(trial.genotype)
        self.optimizer.step()

    def score(self, genotype: Genotype) -> Tensor:
        """z - p, the gradient of log p(z), 0 where a choice doesn't exist."""
        found = torch.zeros_like(self.logits)
        p = self.probabilities()
        for name, taken in genotype.items():
            choice, row = self.space.choice(name), self.rows[name]
            found[row, : len(choice.labels)] = -p[row, : len(choice.labels)]
            found[row, list(positions(choice, taken))] += 1
        return found

    def next(self, history: History) -> Genotype | None:
        noise = generator(self.seed, "draw", len(history))
        p = self.probabilities()
        for _ in range(REPEATS):
            uniform = torch.rand(p.shape, generator=noise, dtype=torch.float64)
            # Gumbel-max for those that pick one.
            best = (p.log() - (-uniform.log()).log()).argmax(1).tolist()

            def decide(choice: Choice, best: list[int] = best, uniform: Tensor = uniform) -> tuple[int, ...]:
                row, count = self.rows[choice.name], len(choice.labels)
                if choice.is_sublist:
                    return within_bounds(choice, (p[row, :count] - uniform[row, :count]).tolist())
                return (best[row],)

            genotype, _ = follow(self.space, decide)
            if self.space.permits(genotype):
                return genotype
        return self.space.sample(derive(self.seed, "fallback", len(history)))
