"""What strategies share that run every candidate at once, blended with weights: the family of DARTS.

Each choice has logits, and a strategy turns them into the weights [K] of its candidates, which the supernet blends
(:mod:`nasdsl.supernet.mixture`). A space with chosen numbers, or with candidates of different sizes, has no mixture: the
strategy refuses it at once (N506).

Under ``choose k of``, where each candidate holds a choice of its own (the DARTS space), every candidate is on during
the search, and the k whose inner choice is most decided are derived. With ``search_none`` these inner choices have one
candidate more, `none`, which takes a share of the weights and is never derived: DARTS' eight operations. The candidates
of any other sub-list have the weight sigmoid(logit) each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nasdsl.searching.assign import derived, nested_choices
from nasdsl.searching.history import History
from nasdsl.searching.kinds import ALL
from nasdsl.searching.strategy import Path, State
from nasdsl.space.architecture import MIX
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.batchnorm import Policy
from nasdsl.training.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import derive, generator


class BlendingOptions(Config):
    lr: float = Field(default=3e-4, gt=0, description="learning rate of the architecture parameters (Adam)")
    beta1: float = Field(default=0.5, ge=0, lt=1, description="Adam's beta1 for the architecture parameters")
    beta2: float = Field(
        default=0.999, ge=0, lt=1, description="Adam's beta2 for the architecture parameters"
    )
    weight_decay: float = Field(
        default=1e-3, ge=0, description="decay of the architecture parameters (added to their gradient)"
    )
    architecture_first: bool = Field(
        default=True,
        description="the architecture step before the weight step of each minibatch, as in DARTS' code; else after it",
    )
    search_none: bool = Field(
        default=True,
        description="under `choose k of`, each inner choice has a candidate `none` that is never derived",
    )
    warmup: int = Field(default=0, ge=0, description="epochs in which the architecture parameters rest")
    tries: int = Field(
        default=1000, ge=1, description="genotypes that are drawn where the strongest one is not in the space"
    )


class Blending:
    """The weights are softmax(logits); a subclass says otherwise in :meth:`blend`."""

    Options: ClassVar[type[Config]] = BlendingOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": ("search.epochs=50", "search.lr=0.1", "options.lr=0.03"),
    }
    recipe: ClassVar[Recipe] = Recipe(epochs=50, lr=0.025, lr_end=0.001, nesterov=False, weight_decay=3e-4)
    affine: ClassVar[bool] = False
    batch_norm: ClassVar[Policy] = "batch"
    handles: ClassVar[frozenset[str]] = ALL - {"numbers", "sizes"}

    def __init__(self, space: Space, options: Any, seed: int) -> None:
        space.mixture()  # raises where there is none
        self.space = space
        self.options = options
        self.seed = seed
        self.epoch = 0
        self.steps = 0
        self.rows = {choice.name: row for row, choice in enumerate(space.choices)}
        self.nested = {
            choice.name: inner
            for choice in space.choices
            if choice.is_sublist and choice.low == choice.high
            for inner in [nested_choices(space, choice)]
            if inner is not None
        }
        self.zeros = never_mixed(space)
        widths = torch.tensor([len(choice.labels) for choice in space.choices], dtype=torch.long)
        most = max([*widths.tolist(), *self.more_rows()], default=0)
        # [choices, K + 1]: the last column is `none`, where the search adds it.
        widths = torch.cat([widths, torch.tensor(self.more_rows(), dtype=torch.long)])
        self.valid = torch.arange(most + 1)[None, :] < widths[:, None]
        if options.search_none:
            for inner in self.nested.values():
                for name in inner:
                    if not self.zeros[name]:
                        self.valid[self.rows[name], most] = True
        noise = torch.randn(self.valid.shape, generator=generator(seed, "logits"), dtype=torch.float64)
        self.logits = (1e-3 * noise * self.valid).requires_grad_()
        self.optimizer = torch.optim.Adam(
            [self.logits],
            lr=options.lr,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
        )

    # --- searching -------------------------------------------------------------------------------

    @property
    def learns(self) -> bool:
        return self.epoch >= self.options.warmup

    @property
    def architecture_first(self) -> bool:
        found: bool = self.options.architecture_first
        return found

    @property
    def unrolled(self) -> bool:
        return False

    def unrolled_step(
        self,
        supernet: Supernet,
        training_loss: Callable[[Path], Tensor],
        loss: Callable[[Path], Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> float:
        raise NotImplementedError("this strategy doesn't look ahead")

    def start_epoch(self, epoch: int, epochs: int) -> dict[str, float]:
        self.epoch = epoch
        return {}

    def log_probabilities(self) -> Tensor:
        """log softmax(logits), minus infinity where a choice has no such candidate."""
        return torch.log_softmax(self.logits.masked_fill(~self.valid, -torch.inf), 1)

    def blend(self) -> Tensor:
        """The weights of all candidates [choices, K + 1], which gradients of the logits go through."""
        return self.log_probabilities().exp()

    def members(self) -> Tensor:
        """The weights of a sub-list's candidates [choices, K + 1]."""
        return torch.sigmoid(self.logits)

    def weights(self) -> dict[str, Tensor]:
        """For each choice the weights [K] that the supernet blends its candidates with."""
        blend = self.blend().unbind(0)
        has_lists = any(c.is_sublist and c.name not in self.nested for c in self.space.choices)
        members = self.members().unbind(0) if has_lists else ()
        found = {}
        for row, choice in enumerate(self.space.choices):
            count = len(choice.labels)
            if choice.name in self.nested:
                found[choice.name] = torch.ones(count, dtype=torch.float64)
            else:
                found[choice.name] = (members if choice.is_sublist else blend)[row][:count]
        return found

    def more_rows(self) -> list[int]:
        """How many logits a subclass has in each row beneath those of the choices."""
        return []

    @property
    def share(self) -> int:
        """In one of how many parts of the channels candidates run."""
        return 1

    def penalty(self) -> Tensor | None:
        """What is added to the loss of an architecture step."""
        return None

    def paths(self) -> Sequence[Path]:
        self.steps += 1
        with torch.no_grad():
            return [Path({}, mixture=self.weights(), share=self.share)]

    def architecture_step(self, supernet: Supernet, loss: Callable[[Path], Tensor]) -> float:
        self.steps += 1
        value = loss(Path({}, mixture=self.weights(), share=self.share))
        penalty = self.penalty()
        total = value if penalty is None else value + penalty
        (gradient,) = torch.autograd.grad(total, [self.logits], allow_unused=True)
        self.descend(gradient)
        return float(value.detach())

    def descend(self, gradient: Tensor | None) -> None:
        """A step of Adam."""
        self.logits.grad = torch.zeros_like(self.logits) if gradient is None else gradient
        self.optimizer.step()

    # --- deriving --------------------------------------------------------------------------------

    def mean_weights(self) -> Tensor:
        """Those that :meth:`blend` has on average [choices, K + 1]: by them the genotype is derived."""
        return self.log_probabilities().exp()

    def edge_strengths(self, sublist: str) -> Sequence[float]:
        """What multiplies the strength of each candidate of a sub-list."""
        return [1.0] * len(self.space.choice(sublist).labels)

    def probabilities(self) -> dict[str, list[float]]:
        """For each choice; a sub-list's are those of being in (the strength, where it is derived from inner choices)."""
        with torch.no_grad():
            picked, inside = self.mean_weights(), torch.sigmoid(self.logits)
        found: dict[str, list[float]] = {}
        for choice in self.space.choices:
            row, count = self.rows[choice.name], len(choice.labels)
            if choice.name in self.nested:
                best = [
                    float(picked[self.rows[name], : len(self.space.choice(name).labels)].max())
                    for name in self.nested[choice.name]
                ]
                edges = self.edge_strengths(choice.name)
                found[choice.name] = [e * b for e, b in zip(edges, best, strict=True)]
            else:
                found[choice.name] = (inside if choice.is_sublist else picked)[row, :count].tolist()
        return found

    def derive(self) -> Genotype | None:
        """The strongest candidate of each choice; where that is not in the space, the likeliest of some that are."""
        return derived(
            self.space,
            self.probabilities(),
            self.nested,
            seed=derive(self.seed, "derive"),
            tries=self.options.tries,
        )

    def propose(self, history: History) -> Genotype | None:
        return self.derive() if not history else None

    # --- state -----------------------------------------------------------------------------------

    def state(self) -> State:
        tensors = {"logits": self.logits.detach()} | prefixed("adam", optimizer_tensors(self.optimizer))
        return tensors, {"steps": self.steps}

    def restore(self, state: State) -> None:
        tensors, rest = state
        with torch.no_grad():
            self.logits.copy_(tensors["logits"])
        restore_optimizer(self.optimizer, under("adam", tensors))
        self.steps = rest["steps"]


def never_mixed(space: Space) -> dict[str, frozenset[int]]:
    """For each choice of one the candidates that enter no mixture, as they give nothing wherever it is used."""
    there: dict[str, set[int]] = {choice.name: set() for choice in space.choices}
    used: set[str] = set()
    for step in space.mixture().steps:
        if step.operation != MIX or step.choice is None:
            continue
        used.add(step.choice)
        (variable,) = space.choice(step.choice).variables
        for k in range(len(space.choice(step.choice).labels)):
            if any(space.table.restrict(w, variable, k) is not space.table.false for w in step.weights):
                there[step.choice].add(k)
    return {
        choice.name: frozenset(range(len(choice.labels))) - there[choice.name]
        if choice.name in used and not choice.is_sublist
        else frozenset()
        for choice in space.choices
    }
