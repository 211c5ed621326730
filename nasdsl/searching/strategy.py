"""The contract of a search strategy, in two small protocols, and the registry that holds them.

A :class:`Strategy` sees the space and the history and answers with a genotype. A :class:`WeightSharing` one also says
what a supernet is trained on, and may learn from it. The trainer owns weights, data, optimiser and device; neither
reaches into the other. Additions are there for those who want them: :class:`RewardDriven` strategies learn in a
phase after each epoch, :class:`Ranking` ones say how what they propose is scored, and :class:`MultiFidelity` ones how
much is spent on it.

A class may declare as ``handles`` the kinds of choices that it can handle (:mod:`nasdsl.searching.kinds`).

A strategy is a class in a file of its own, made with ``(space, options, seed)``. Same seed, same answers; what it
remembers goes through ``state`` and ``restore``, so that a search resumes bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from nasdsl.searching.history import History
from nasdsl.space.choice import Genotype, Taken
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.batchnorm import Policy
from nasdsl.supernet.superposition import Join
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.registry import Registry
from nasdsl.training.train import Evaluation


@dataclass(frozen=True)
class Path:
    """What one pass through the supernet runs: a genotype (or a relaxed assignment, in which a sub-list may hold more or
    fewer candidates than the space allows, and a choice of one a tuple of them, whose outputs are then added, or
    averaged, as ``join`` says), and for some choices of tensors a gate [K] that multiplies the candidate taken.

    With ``mixture``, the weights [K] of every choice, there is no genotype: all candidates (or those positions that
    ``among`` has for a choice) run and are blended, in one of ``share`` parts of the channels.

    The rest speaks of a weight step. ``part`` is (i, n): the pass sees the i-th of n parts of the minibatch, a ghost
    batch with statistics of its own. ``weight`` multiplies its gradient; by default the mean over the step's paths is
    taken. With ``teacher``, the place of an earlier path of the step, it learns what that one gave of the minibatch
    instead of the minibatch's targets. ``l2`` · ½Σw² over the weights that the path uses is added to its loss.
    """

    genotype: Mapping[str, Taken]
    gates: Mapping[str, Tensor] = field(default_factory=dict)
    gating: str = "multiply"
    part: tuple[int, int] = (0, 1)
    weight: float | None = None
    l2: float = 0.0
    mixture: Mapping[str, Tensor] | None = None
    among: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    share: int = 1
    join: Join = "sum"
    teacher: int | None = None


State = tuple[dict[str, Tensor], dict[str, Any]]
"""What a strategy remembers: tensors, and what JSON can hold."""


class Strategy(Protocol):
    """Sees the space and the past, and answers with a genotype."""

    Options: ClassVar[type[Config]]
    """Its options, each explained; ``options.<name>`` in the configuration."""
    presets: ClassVar[Mapping[str, Sequence[str]]]
    """Named changes of the configuration (``search.epochs=30``), each saying in the docstring how it deviates."""

    def __init__(self, space: Space, options: Any, seed: int) -> None:
        """Raises NasError N942 where it can't handle the space."""
        ...

    def propose(self, history: History) -> Genotype | None:
        """What to try next, decided by the seed, the state and the history; None ends the search, and the best trial
        wins."""
        ...

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


@runtime_checkable
class WeightSharing(Strategy, Protocol):
    """Also decides what the supernet is trained on before anything is proposed."""

    recipe: ClassVar[Recipe]
    """How the supernet's weights are trained, as published; ``search.<name>`` in the configuration."""
    affine: ClassVar[bool]
    """Whether batch norms have scale and offset during the search."""
    batch_norm: ClassVar[Policy]
    """Whose statistics they use."""

    @property
    def learns(self) -> bool:
        """Whether an architecture step follows each weight step. It is asked each time, and may change with an epoch."""
        ...

    def start_epoch(self, epoch: int, epochs: int) -> dict[str, float]:
        """Before each epoch, counted from 0. What it returns is reported with the epoch (a temperature)."""
        ...

    def paths(self) -> Sequence[Path]:
        """What the next weight step runs; of several, the gradients are averaged (see :attr:`Path.weight`)."""
        ...

    def architecture_step(self, supernet: Supernet, loss: Callable[[Path], Tensor]) -> float:
        """One update of what it learns, on a minibatch that the weights don't see; gives the loss.

        ``loss(path)`` runs the supernet, with weights that want no gradient. Only called where ``learns``.
        """
        ...

    def probabilities(self) -> dict[str, list[float]]:
        """For each choice the probability of each candidate, for those who watch; empty where nothing is learned."""
        ...


@runtime_checkable
class RewardDriven(WeightSharing, Protocol):
    """Learns from rewards, which need no gradient, in a phase of its own after each epoch's weight steps (ENAS)."""

    @property
    def reward_steps(self) -> int:
        """How many, after each epoch."""
        ...

    def reward_step(self, score: Callable[[Path], Evaluation]) -> float:
        """One sample, and what is learned from it; gives the reward. ``score(path)`` evaluates on a minibatch that the
        weights don't see, a fresh one for each step; where costs are among the objectives of the search, the sample's
        is taken off its metric and added to its loss."""
        ...


@runtime_checkable
class Bilevel(WeightSharing, Protocol):
    """Has architecture steps before weight steps, or such as look a weight step ahead (DARTS)."""

    @property
    def architecture_first(self) -> bool:
        """Whether the architecture step of a minibatch comes before its weight step."""
        ...

    @property
    def unrolled(self) -> bool:
        """Whether :meth:`unrolled_step` is called in place of :meth:`WeightSharing.architecture_step`."""
        ...

    def unrolled_step(
        self,
        supernet: Supernet,
        training_loss: Callable[[Path], Tensor],
        loss: Callable[[Path], Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> float:
        """One update of what it learns; gives the loss. ``training_loss`` is that of the minibatch of the weight step,
        which ``optimizer`` will make; the weights want gradients here, and are as they were afterwards."""
        ...


@runtime_checkable
class Ranking(WeightSharing, Protocol):
    """Says how the genotypes that it proposes are scored, where that isn't on the whole of the part that the weights
    don't see, with the batch norms as :attr:`WeightSharing.batch_norm` says."""

    @property
    def ranking_batches(self) -> int:
        """On how many minibatches, fresh ones for each genotype (ENAS: 1); 0 is the whole part."""
        ...

    @property
    def calibration_batches(self) -> int:
        """On how many minibatches of the weights' part running statistics are re-estimated before (SPOS); 0 is never."""
        ...


@runtime_checkable
class MultiFidelity(Strategy, Protocol):
    """Says how much is spent on each genotype that it proposes, in epochs of training (successive halving)."""

    def budget(self, history: History) -> int:
        """For what :meth:`propose` gives for this history."""
        ...


def proposals_of(strategy: Strategy) -> int | None:
    """How many genotypes a strategy proposes at most, where it knows: those that say so have it as ``proposals``."""
    found: int | None = getattr(strategy, "proposals", None)
    return found


STRATEGIES: Registry[type[Strategy]] = Registry(
    "strategy", "nasdsl.strategies", "N940", ("Options", "presets", "propose", "state", "restore")
)
"""Strategies by name; other packages add theirs under the entry-point group ``nasdsl.strategies``."""


def trains_supernet(kind: type[Strategy]) -> bool:
    """Whether a class is one of :class:`WeightSharing` strategies, asked before there is an instance."""
    return hasattr(kind, "paths")


def without_supernet() -> list[str]:
    """The strategies that train no supernet: an evaluator or a table scores what they propose."""
    return sorted(name for name, kind in STRATEGIES.items() if not trains_supernet(kind))
