"""ProxylessNAS: one path trains the weights, two paths the architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nasdsl.searching.assign import follow, permitted, within_bounds
from nasdsl.searching.blending import Blending, BlendingOptions
from nasdsl.searching.strategy import STRATEGIES, Path
from nasdsl.space.choice import Choice, Genotype
from nasdsl.supernet import Supernet
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import derive, generator


class ProxylessOptions(BlendingOptions):
    lr: float = Field(default=1e-3, gt=0, description="learning rate of the architecture parameters (Adam)")
    beta1: float = Field(
        default=0.0, ge=0, lt=1, description="Adam's beta1: logits that were not sampled must not move"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="decay of the architecture parameters")
    architecture_first: bool = Field(
        default=False,
        description="the architecture step before the weight step of a minibatch; else after it",
    )
    search_none: bool = Field(
        default=False,
        description="under `choose k of`, each inner choice has a candidate `none` that is never derived",
    )
    every: int = Field(default=5, ge=1, description="weight steps for each architecture step")


@STRATEGIES.add("proxyless")
class Proxyless(Blending):
    """Cai, Zhu & Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", ICLR 2019.

    A weight step runs one path, drawn from p = softmax(α). An architecture step draws two candidates i, j of each
    choice without replacement, with p̃ = softmax(α_i, α_j) one of them to be active, and runs both behind gates g that
    are 1 and 0:

        ∂L/∂α_i = Σ_{j ∈ pair} ∂L/∂g_j p̃_j (δ_ij - p̃_i)

    After the step of Adam both logits are shifted by log(Σ e^α_new / Σ e^α_old), over the pair, so that the
    probabilities of all others stay as they were. Where the active candidate gives nothing, its choice isn't updated.

    Ours: a sub-list that isn't searched with every candidate on has Bernoulli gates, ∂L/∂α = ∂L/∂g p (1 - p) with
    p = sigmoid(α). The latency term of the paper is left out, and `none` isn't added where the space has none. Recipe
    and settings are from memory of the released code, and were not verified.

    The preset ``demo`` trains for 50 epochs at a learning rate of 0.1 with minibatches of 64, architecture parameters
    at 3e-2 after every weight step.
    """

    Options: ClassVar[type[Config]] = ProxylessOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": (*Blending.presets["demo"], "search.batch=64", "options.every=1"),
    }
    recipe: ClassVar[Recipe] = Recipe(epochs=120, batch=256, lr=0.025, weight_decay=4e-5, smoothing=0.1)
    affine: ClassVar[bool] = True

    @property
    def learns(self) -> bool:
        return super().learns and self.steps % self.options.every == 0

    # --- weights ---------------------------------------------------------------------------------

    def paths(self) -> Sequence[Path]:
        self.steps += 1
        return [Path(self.draw())]

    def draw(self) -> Genotype:
        """A genotype from the probabilities; sub-lists that are searched so have every candidate."""
        random = generator(self.seed, "path", self.steps)
        with torch.no_grad():
            p, inside = self.log_probabilities().exp(), torch.sigmoid(self.logits)
        for _ in range(100):
            uniform = torch.rand(p.shape, generator=random, dtype=torch.float64)
            best = (p.log() - (-uniform.log()).log()).argmax(1).tolist()

            def decide(choice: Choice, best: list[int] = best, uniform: Tensor = uniform) -> tuple[int, ...]:
                row, count = self.rows[choice.name], len(choice.labels)
                if choice.name in self.nested:
                    return tuple(range(count))
                if choice.is_sublist:
                    return within_bounds(choice, (inside - uniform)[row, :count].tolist())
                return (best[row],)

            genotype, assignment = follow(self.space, decide)
            if self.nested or permitted(self.space, assignment):
                return genotype
        return self.space.sample(derive(self.seed, "fallback", self.steps))

    # --- architecture ----------------------------------------------------------------------------

    def pairs(self) -> dict[str, tuple[int, ...]]:
        """For each choice the active candidate and the other."""
        random = generator(self.seed, "pair", self.steps)
        found = {}
        with torch.no_grad():
            p = self.log_probabilities().exp()
        for choice in self.space.choices:
            if choice.is_sublist:
                continue
            row = p[self.rows[choice.name], : len(choice.labels)]
            drawn = torch.multinomial(row, min(2, len(row)), generator=random)
            first = int(torch.multinomial(row[drawn], 1, generator=random))
            found[choice.name] = tuple(drawn.roll(-first).tolist())
        return found

    def gates(self, pairs: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """1 for what is active, 0 for everything else; gradients are wanted."""
        random = generator(self.seed, "members", self.steps)
        found = {}
        for choice in self.space.choices:
            count = len(choice.labels)
            gate = torch.zeros(count, dtype=torch.float64)
            if choice.name in self.nested:
                gate += 1
            elif choice.is_sublist:
                inside = torch.sigmoid(self.logits[self.rows[choice.name], :count].detach())
                uniform = torch.rand(count, generator=random, dtype=torch.float64)
                gate[list(within_bounds(choice, (inside - uniform).tolist()))] = 1
            else:
                gate[pairs[choice.name][0]] = 1
            found[choice.name] = gate.requires_grad_()
        return found

    def architecture_step(self, supernet: Supernet, loss: Callable[[Path], Tensor]) -> float:
        pairs = self.pairs()
        gates = self.gates(pairs)
        value = loss(Path({}, mixture=gates, among=pairs))
        names = list(gates)
        found = torch.autograd.grad(value, [gates[name] for name in names], allow_unused=True)
        gradients = {name: g for name, g in zip(names, found, strict=True) if g is not None}
        self.update(pairs, gradients)
        return float(value.detach())

    def update(self, pairs: Mapping[str, tuple[int, ...]], gradients: Mapping[str, Tensor]) -> None:
        """A step of Adam from the gradients of the gates, and the shift that keeps other candidates as likely."""
        gradient = torch.zeros_like(self.logits)
        moved: list[tuple[int, list[int]]] = []
        with torch.no_grad():
            for name, of_gates in gradients.items():
                row, count = self.rows[name], len(of_gates)
                if name in self.nested:
                    continue
                if self.space.choice(name).is_sublist:
                    p = torch.sigmoid(self.logits[row, :count])
                    gradient[row, :count] = of_gates * p * (1 - p)
                    continue
                pair = list(pairs[name])
                if pair[0] in self.zeros[name]:
                    continue
                p = torch.softmax(self.logits[row, pair], 0)
                g = of_gates[pair]
                gradient[row, pair] = p * (g - (p * g).sum())
                moved.append((row, pair))
        before = self.logits.detach().clone()
        self.descend(gradient)
        with torch.no_grad():
            for row, pair in moved:
                new, old = self.logits[row, pair].logsumexp(0), before[row, pair].logsumexp(0)
                self.logits[row, pair] -= new - old
