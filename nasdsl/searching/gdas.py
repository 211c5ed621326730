"""GDAS: a differentiable sampler over single paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nasdsl.searching.absent import zero_candidates
from nasdsl.searching.assign import (
    derived,
    follow,
    log_likelihood,
    nested_choices,
    permitted,
    positions,
    within_bounds,
)
from nasdsl.searching.history import History
from nasdsl.searching.strategy import STRATEGIES, Path, State
from nasdsl.space.choice import Choice, Genotype, Taken
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.batchnorm import Policy
from nasdsl.training.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import derive, generator


class GdasOptions(Config):
    lr: float = Field(
        default=3e-4,
        gt=0,
        description="learning rate of the architecture parameters (Adam), as published; a search of some hundred steps wants about 3e-2",
    )
    beta1: float = Field(
        default=0.5, ge=0, lt=1, description="Adam's beta1 for the architecture parameters, as published"
    )
    beta2: float = Field(
        default=0.999, ge=0, lt=1, description="Adam's beta2 for the architecture parameters, as published"
    )
    weight_decay: float = Field(
        default=1e-3,
        ge=0,
        description="decay of the architecture parameters (added to their gradient), as published",
    )
    tau_start: float = Field(
        default=10.0, gt=0, description="temperature of the Gumbel softmax in the first epoch, as published"
    )
    tau_end: float = Field(
        default=0.1, gt=0, description="temperature in the last epoch; linear in between, as published"
    )
    estimator: Literal["selected_only", "ones_for_others"] = Field(
        default="selected_only",
        description="gradient of the hard sample: selected_only is the paper's and the DARTS-space code's, ones_for_others the NAS-Bench-201 code's",
    )
    search_none: bool = Field(
        default=True,
        description="under `choose k of`, each inner choice has a candidate `none` that is never derived (the published eighth operation)",
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


@dataclass(frozen=True)
class Sample:
    """A hard sample of every choice. ``hard`` [choices, K] is one-hot, and differentiable through ``soft``."""

    genotype: Genotype
    hard: Tensor
    soft: Tensor
    taken: dict[str, tuple[int, ...]]


@STRATEGIES.add("gdas")
class Gdas:
    """Dong & Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", CVPR 2019.

    Every choice of tensors (and every chosen depth, a choice among the outputs along a chain) has logits. With Gumbel
    noise g and temperature τ,

        soft = softmax((log_softmax(logits) + g) / τ),   k = argmax soft,   hard = onehot(k) - stopgrad(soft) + soft

    and the sub-network of the candidates k is run, each one's output multiplied by its entry of ``hard``. A weight step
    on one half of the data and an architecture step on the other alternate, each with a sample of its own; cells of one
    kind share it. The likeliest candidates win. Batch norms have no affine part and use the statistics of the batch.

    The published code has two estimators, which agree in the forward pass. With δ the gradient of a node, o_k the
    output of candidate k and h the gradient of ``hard``, both give ∂L/∂logits = soft ⊙ (h - <soft, h>) / τ;
    ``selected_only``: h_k = <δ, o_k>, 0 for the others; ``ones_for_others``: Σδ for the others. Both are biased.

    Ours, not the paper's:

    - A chosen number (a width, a kernel) has no gradient through a factor in front of a batch norm. Its logits take the
      score-function gradient (L - b)(onehot(k) - softmax(logits)), with b a moving average of the losses L.
    - Under ``choose k of``, where each candidate holds a choice of its own (as in the DARTS space), the search runs
      with every candidate on, and takes the k candidates whose inner choice is most decided, by its largest
      probability. The published code takes the k likeliest pairs of edge and operation, so that both may stand on one
      edge: no genotype of such a space, but one of ``choose 2 of { f(t) for f in operations for t in n }``.
    - ``search_none`` gives these inner choices the published eighth operation. An edge that draws it is left out of the
      pass, so that its logits have no gradient then: with ``selected_only`` as published, for h is 0; with
      ``ones_for_others`` the code has Σδ for the other operations.
    - Any other sub-list has logits for each candidate being in, learned by the score function; low and high bounds
      take the likeliest.
    - A choice under a guard is sampled where its guard holds. Samples that break a ``require`` over choices are drawn
      again; a winner that breaks any is replaced by the likeliest of some genotypes drawn from the space.

    The preset ``demo`` deviates where the paper's setting would hardly move in so short a search: 100 epochs, weights at
    a learning rate of 0.1, architecture parameters at 3e-2.
    """

    Options: ClassVar[type[Config]] = GdasOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": ("search.epochs=100", "search.lr=0.1", "options.lr=0.03"),
    }
    recipe: ClassVar[Recipe] = Recipe(epochs=250, lr=0.025, lr_end=0.001)
    affine: ClassVar[bool] = False
    batch_norm: ClassVar[Policy] = "batch"
    learns: ClassVar[bool] = True

    def __init__(self, space: Space, options: GdasOptions, seed: int) -> None:
        self.space = space
        self.options = options
        self.seed = seed
        self.tau = options.tau_start
        self.baseline: float | None = None
        self.random = generator(seed, "gdas")
        self.rows = {choice.name: row for row, choice in enumerate(space.choices)}
        self.nested = {
            choice.name: inner
            for choice in space.choices
            if choice.is_sublist and choice.low == choice.high
            for inner in [nested_choices(space, choice)]
            if inner is not None
        }
        widths = [len(choice.labels) for choice in space.choices]
        # Inner choices that have one candidate more in the search; it stands in a column of its own, the last.
        self.with_none = self._with_none() if options.search_none else frozenset()
        # [choices, K]: one tensor for all, so that a step costs the same for a hundred choices as for one.
        shape = (len(widths), max(widths, default=0) + bool(self.with_none))
        self.valid = torch.arange(shape[1])[None, :] < torch.tensor(widths, dtype=torch.long)[:, None]
        self.valid[[self.rows[name] for name in self.with_none], -1] = True
        noise = torch.randn(shape, generator=generator(seed, "logits"), dtype=torch.float64)
        self.logits = (1e-3 * noise * self.valid).requires_grad_()
        self.optimizer = torch.optim.Adam(
            [self.logits],
            lr=options.lr,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
        )

    def _with_none(self) -> frozenset[str]:
        """The choices inside of relaxed sub-lists, but for those that have a candidate that gives nothing already."""
        inner = {name for names in self.nested.values() for name in names}
        zeros = zero_candidates(self.space) if inner else None
        return frozenset(n for n in inner if zeros is not None and not bool(zeros[self.rows[n]].any()))

    # --- sampling --------------------------------------------------------------------------------

    def start_epoch(self, epoch: int, epochs: int) -> dict[str, float]:
        share = epoch / (epochs - 1) if epochs > 1 else 1.0
        self.tau = self.options.tau_start + (self.options.tau_end - self.options.tau_start) * share
        return {"tau": self.tau}

    def log_probabilities(self) -> Tensor:
        """[choices, K], minus infinity where a choice has no such candidate."""
        return torch.log_softmax(self.logits.masked_fill(~self.valid, -torch.inf), 1)

    def gumbel(self) -> Tensor:
        """Gumbel(0, 1) noise [choices, K], finite."""
        while True:
            noise = (
                -torch.empty(self.valid.shape, dtype=torch.float64).exponential_(generator=self.random).log()
            )
            if bool(torch.isfinite(noise).all()):
                return noise

    def sample(self, noise: Tensor | None = None) -> Sample:
        """One hard sample with the given noise, or with fresh noise until every ``require`` over choices holds."""
        for _ in range(1 if noise is not None else 100):
            drawn = self.gumbel() if noise is None else noise
            soft = torch.softmax((self.log_probabilities() + drawn) / self.tau, 1)
            best = soft.argmax(1).tolist()
            members = self._members(best) if any(c.is_sublist for c in self.space.choices) else {}
            taken: dict[str, tuple[int, ...]] = {}

            def decide(
                choice: Choice,
                best: list[int] = best,
                members: dict[str, tuple[int, ...]] = members,
                taken: dict[str, tuple[int, ...]] = taken,
            ) -> tuple[int, ...]:
                taken[choice.name] = (
                    members[choice.name] if choice.is_sublist else (best[self.rows[choice.name]],)
                )
                return taken[choice.name]

            genotype, assignment = follow(self.space, decide)
            # A relaxed assignment is no genotype; what is required of genotypes can't be asked of it.
            if self.nested or permitted(self.space, assignment):
                return Sample(genotype, _one_hot(taken, self.rows, soft), soft, taken)
        genotype = self.space.sample(
            derive(self.seed, "fallback", int(torch.randint(2**31, (), generator=self.random)))
        )
        taken = {name: positions(self.space.choice(name), value) for name, value in genotype.items()}
        return Sample(genotype, _one_hot(taken, self.rows, soft), soft, taken)

    def _members(self, best: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """For each sub-list the candidates that are in: where the search is relaxed all whose inner choice didn't take
        `none`, else drawn one by one. ``best`` is what each choice took."""
        none = self.valid.shape[1] - 1
        uniform = torch.rand(self.valid.shape, generator=self.random, dtype=torch.float64)
        found: dict[str, tuple[int, ...]] = {}
        for choice in self.space.choices:
            if not choice.is_sublist:
                continue
            count = len(choice.labels)
            if choice.name in self.nested:
                inner = self.nested[choice.name]
                found[choice.name] = tuple(
                    i
                    for i in range(count)
                    if inner[i] not in self.with_none or best[self.rows[inner[i]]] != none
                )
            else:
                row = self.rows[choice.name]
                inside = torch.sigmoid(self.logits[row, :count].detach())
                found[choice.name] = within_bounds(choice, (inside - uniform[row, :count]).tolist())
        return found

    # --- learning --------------------------------------------------------------------------------

    def paths(self) -> Sequence[Path]:
        with torch.no_grad():
            return [Path(self.sample().genotype)]

    def architecture_step(self, supernet: Supernet, loss: Callable[[Path], Tensor]) -> float:
        sample = self.sample()
        value = loss(Path(sample.genotype, self.gates(sample), self.options.estimator))
        (gradient,) = (
            torch.autograd.grad(value, [self.logits], allow_unused=True) if value.requires_grad else (None,)
        )
        if gradient is None:
            gradient = torch.zeros_like(self.logits)
        result = float(value.detach())
        self.add_score(gradient, sample, result)
        self.logits.grad = gradient
        self.optimizer.step()
        return result

    def gates(self, sample: Sample) -> dict[str, Tensor]:
        """Rows of the hard sample for the choices that the supernet multiplies by."""
        rows = sample.hard.unbind(0)
        return {
            choice.name: rows[self.rows[choice.name]][: len(choice.labels)]
            for choice in self.space.choices
            if choice.name in sample.taken and not choice.is_sublist and choice.kind != "number"
        }

    def add_score(self, gradient: Tensor, sample: Sample, loss: float) -> None:
        """Adds (L - b)(z - p) for the choices that have no gradient of their own, and moves the baseline on."""
        baseline = loss if self.baseline is None else self.baseline
        advantage = loss - baseline
        decay = self.options.baseline_decay
        self.baseline = decay * baseline + (1 - decay) * loss
        with torch.no_grad():
            for choice in self.space.choices:
                if choice.name not in sample.taken:
                    continue
                row, count = self.rows[choice.name], len(choice.labels)
                logits = self.logits[row, :count]
                if choice.is_sublist and choice.name not in self.nested:
                    probability = torch.sigmoid(logits)
                elif choice.kind == "number" and not choice.is_sublist:
                    probability = torch.softmax(logits, 0)
                else:
                    continue
                taken = torch.zeros_like(logits)
                taken[list(sample.taken[choice.name])] = 1
                gradient[row, :count] += advantage * (taken - probability)

    # --- deriving --------------------------------------------------------------------------------

    def probabilities(self) -> dict[str, list[float]]:
        """For each choice; a sub-list's are those of being in (the strength, where it is derived from inner choices)."""
        with torch.no_grad():
            picked = self.log_probabilities().exp()
            inside = torch.sigmoid(self.logits)
        found: dict[str, list[float]] = {}
        for choice in self.space.choices:
            row, count = self.rows[choice.name], len(choice.labels)
            if choice.name in self.nested:
                inner = [self.rows[name] for name in self.nested[choice.name]]
                most = len(self.space.choice(self.nested[choice.name][0]).labels)
                found[choice.name] = picked[inner, :most].amax(1).tolist()
            else:
                found[choice.name] = (inside if choice.is_sublist else picked)[row, :count].tolist()
        return found

    def derive(self) -> Genotype | None:
        """The likeliest candidate of each choice; where that is not in the space, the likeliest of some that are."""
        return derived(
            self.space,
            self.probabilities(),
            self.nested,
            seed=derive(self.seed, "derive"),
            tries=self.options.tries,
        )

    def log_likelihood(self, genotype: Mapping[str, Taken]) -> float:
        return log_likelihood(self.space, self.probabilities(), genotype)

    def propose(self, history: History) -> Genotype | None:
        return self.derive() if not history else None

    # --- state -----------------------------------------------------------------------------------

    def state(self) -> State:
        tensors = {"logits": self.logits.detach(), "random": self.random.get_state()}
        return tensors | prefixed("adam", optimizer_tensors(self.optimizer)), {"baseline": self.baseline}

    def restore(self, state: State) -> None:
        tensors, rest = state
        with torch.no_grad():
            self.logits.copy_(tensors["logits"])
        self.random.set_state(tensors["random"])
        restore_optimizer(self.optimizer, under("adam", tensors))
        self.baseline = rest["baseline"]


def _one_hot(taken: Mapping[str, tuple[int, ...]], rows: Mapping[str, int], soft: Tensor) -> Tensor:
    """1 at what was taken, exactly, with the gradient of ``soft``."""
    hard = torch.zeros_like(soft)
    for name, indices in taken.items():
        hard[rows[name], list(indices)] = 1
    return hard + (soft - soft.detach())
