"""The three kinds of steps of a search: of the weights, of what the strategy learns, and of rewards."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nasdsl.searching.minibatches import Minibatches
from nasdsl.searching.objectives import expected_cost, sample_cost
from nasdsl.searching.scoring import Scorer
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.static import StaticPasses
from nasdsl.searching.strategy import Bilevel, Path, RewardDriven, WeightSharing
from nasdsl.space.choice import Genotype
from nasdsl.supernet import Supernet
from nasdsl.training.augment import augmented
from nasdsl.training.carried import Carried, Rows
from nasdsl.training.device import autocast
from nasdsl.training.optimizers import set_learning_rate
from nasdsl.training.outputs import Outputs, answer
from nasdsl.training.ranks import ALONE, Ranks
from nasdsl.training.seeds import generator, seeded
from nasdsl.training.split import Split
from nasdsl.training.step import Pass, Stepper, part_of, part_rows
from nasdsl.training.tasks import Task
from nasdsl.training.train import Evaluation
from nasdsl.training.watch import Watch


class Steps:
    """Makes the steps. What they give is summed in ``weights.watch`` and ``architecture``."""

    def __init__(
        self,
        strategy: WeightSharing,
        supernet: Supernet,
        batches: Minibatches,
        scorer: Scorer,
        task: Task,
        settings: SearchSettings,
        device: torch.device,
        ranks: Ranks = ALONE,
        static: StaticPasses | None = None,
    ) -> None:
        """``static`` runs the passes that it can."""
        self.strategy = strategy
        self._bilevel = strategy if isinstance(strategy, Bilevel) else None  # asked once: it takes time
        self.supernet = supernet
        self.static = static
        self.batches = batches
        self.scorer = scorer
        self.objective = task.objective
        self.settings = settings
        self.device = device
        self.ranks = ranks
        self.weights = Stepper(
            supernet,
            settings.search,
            task.objective,
            seed=settings.seed,
            device=device,
            batch=min(settings.search.batch, len(batches.weights), len(batches.held_out)),
            precision=settings.precision,
            about="training the weights",
            ranks=ranks,
            carried=batches.weights.in_streams,
        )
        self.cost = expected_cost(supernet.space, settings, strategy)
        self.sample_cost = sample_cost(supernet.space, settings)
        self.held_out = Carried(batches.held_out.in_streams and supernet.has_scans)
        """The state of the streams of the half that the architecture is learned on."""
        self.architecture = Watch(device, "training the architecture parameters")
        self.digest = 0
        """Of all that was run, to compare between processes."""

    def start_streams(self, *, weights: bool, held_out: bool) -> None:
        """A pass over the text of one half or the other begins anew."""
        if weights:
            self.weights.carried.start_streams()
        if held_out:
            self.held_out.start_streams()

    def minibatch_step(self, step: int, training: Split, held_out: Split, rate: float) -> None:
        """A weight step on a minibatch of one half, and an architecture step on one of the other, where the strategy
        learns."""
        strategy = self.strategy
        first = self._bilevel is not None and self._bilevel.architecture_first
        with seeded(self.settings.seed, "dropout", step):
            if first and strategy.learns:
                self.architecture_step(held_out, step, training, rate)
            self.weight_step(training, step, rate)
            if not first and strategy.learns:
                self.architecture_step(held_out, step, training, rate)

    def weight_step(self, batch: Split, step: int, rate: float) -> None:
        """One update of the weights that the strategy's paths use."""
        batch = self._augmented(batch, step)
        paths = self.strategy.paths()
        passes = [self._pass(path, batch, 1 / len(paths)) for path in paths]
        if self.static is not None and self.static.take(paths):
            passes = [
                replace(one, whole=self._whole(self.static, path))
                for one, path in zip(passes, paths, strict=True)
            ]
        self.weights.step(passes, step, rate)

    def architecture_step(self, batch: Split, step: int, training: Split, rate: float) -> None:
        """One update of what the strategy learns; the weights stay as they are. ``training`` is the minibatch of the
        weight step that it goes with."""
        strategy, held_out = self.strategy, batch
        unrolled = self._bilevel if self._bilevel is not None and self._bilevel.unrolled else None

        def loss(path: Path, batch: Split = batch, smoothing: float = 0.0) -> Tensor:
            carried = self.held_out if batch is held_out else self.weights.carried
            if self.static is not None and unrolled is None and self.static.takes(path):
                value = self._static_loss(self.static, path, batch, smoothing)
            else:
                value = self._architecture_loss(path, batch, smoothing, step, carried)
            self.architecture.check(value, step, lambda: genotype_text(path))
            return value if self.cost is None else value + self.cost(path).to(value)

        if unrolled is not None:
            seen, smoothing = self._augmented(training, step), self.settings.search.smoothing
            optimizer = self.weights.optimizer
            set_learning_rate(optimizer, rate)
            with self.ranks.summing(self.weights.parameters):
                value = unrolled.unrolled_step(
                    self.supernet, lambda path: loss(path, seen, smoothing), loss, optimizer
                )
        else:
            with self.supernet.frozen():
                value = strategy.architecture_step(self.supernet, loss)
        self.held_out.go_on(len(held_out))
        # Filled, not copied: a GPU isn't waited for.
        seen_loss = torch.full((), value, dtype=torch.float64, device=self.device)
        self.architecture.add(seen_loss, torch.zeros_like(seen_loss), step)

    def reward_step(self, epoch: int, number: int) -> float:
        """The strategy's ``number``-th sample (from 0) of an epoch is evaluated, and it learns from that; no weight wants
        a gradient."""
        strategy = self.strategy
        assert isinstance(strategy, RewardDriven)
        batch = self.batches.cycled("reward", self.batches.held_out, epoch, number)

        @torch.no_grad()
        def score(path: Path) -> Evaluation:
            result = self.scorer.evaluate(path, batch)
            return result if self.sample_cost is None else self.sample_cost.off(result, path.genotype)

        self.supernet.eval()
        with seeded(self.settings.seed, "reward", epoch, number):
            reward = strategy.reward_step(score)
        self.supernet.train()
        return reward

    # --- parts -----------------------------------------------------------------------------------

    def outputs(self, path: Path, *inputs: Tensor, **scanning: Any) -> Any:
        """What a path through the supernet gives, with what its scans came to where they are told what to start from."""
        self._note(path)
        path = brought(path, self.device)
        return self.supernet(
            *inputs,
            genotype=path.genotype,
            gates=path.gates,
            gating=path.gating,
            mixture=path.mixture,
            among=path.among,
            share=path.share,
            join=path.join,
            **scanning,
        )

    def _note(self, path: Path) -> None:
        self.digest = zlib.crc32(genotype_text(path).encode(), self.digest)

    def _static_loss(self, static: StaticPasses, path: Path, batch: Split, smoothing: float) -> Tensor:
        """The same as :meth:`_architecture_loss` on the static graph."""
        ranks, parts = self.ranks, self.weights.parts
        path = replicated(path, ranks)
        value = torch.zeros((), device=self.device)
        for part in ranks.mine(parts):
            self._note(path)
            seen = part_of(batch, part, parts)
            value = value + static.architecture_loss(path, seen, smoothing) * (len(seen) / len(batch))
        return ranks.summed(value)

    def _architecture_loss(
        self, path: Path, batch: Split, smoothing: float, step: int, carried: Carried
    ) -> Tensor:
        """The mean loss over a minibatch in the same ghost batches as a weight step's. Passes of one step drop the same
        units and start from the same states: where they are compared, they differ in the weights alone."""
        ranks, parts = self.ranks, self.weights.parts
        path = replicated(path, ranks)
        value = torch.zeros((), device=self.device)
        for part in ranks.mine(parts):
            seen = part_of(batch, part, parts)
            chance = seeded(self.settings.seed, "architecture", step, part)
            with chance, autocast(self.device, self.settings.precision):
                found = self._scanned(path, seen, carried, part_rows(len(batch), part, parts))
                outputs = answer(self.objective, found)
                loss = self.objective.loss(outputs, seen.targets, smoothing)
            value = value + loss * (len(seen) / len(batch))
        return ranks.summed(value)

    def _scanned(self, path: Path, seen: Split, carried: Carried, rows: Rows) -> Outputs:
        """The outputs for a part of a minibatch, its streams being where ``carried`` has them."""
        outputs: Outputs
        if not self.supernet.has_scans:
            outputs = self.outputs(path, *seen.inputs)
            return outputs
        outputs, scanned = self.outputs(
            path, *seen.inputs, states=carried.before(rows), dropouts=self.settings.search.dropouts
        )
        if carried is self.held_out:
            carried.after(0, rows, scanned.states)
        return outputs

    def _pass(self, path: Path, batch: Split, share: float) -> Pass:
        def penalty() -> Tensor:
            return path.l2 * self.supernet.half_squared_norm(path.genotype)

        return Pass(
            lambda *inputs, **scanning: self.outputs(path, *inputs, **scanning),
            part_of(batch, *path.part),
            share if path.weight is None else path.weight,
            penalty if path.l2 else None,
            lambda: genotype_text(path),
            path.teacher,
            part_rows(len(batch), *path.part),
        )

    def _whole(self, static: StaticPasses, path: Path) -> Callable[[Split, Tensor], tuple[Tensor, Tensor]]:
        def whole(seen: Split, factor: Tensor) -> tuple[Tensor, Tensor]:
            self._note(path)
            return static.weight_pass(path, seen, factor)

        return whole

    def _augmented(self, batch: Split, step: int) -> Split:
        return augmented(batch, self.settings.search, generator(self.settings.seed, "augment", step))


def replicated(path: Path, ranks: Ranks) -> Path:
    """The path with gates and weights of its mixture whose gradients are summed over the ranks."""
    mixture = path.mixture or {}
    shared = iter(ranks.replicated([*path.gates.values(), *mixture.values()]))
    gates = {name: next(shared) for name in path.gates}
    return replace(
        path, gates=gates, mixture=None if path.mixture is None else {name: next(shared) for name in mixture}
    )


def brought(path: Path, device: torch.device) -> Path:
    """The path with gates and weights of its mixture on a GPU, in one copy; on a CPU they are there."""
    mixture = path.mixture or {}
    tensors = [*path.gates.values(), *mixture.values()]
    if device.type == "cpu" or not tensors:
        return path
    moved = iter(torch.cat(tensors).to(device, non_blocking=True).split([len(t) for t in tensors]))
    gates = {name: next(moved) for name in path.gates}
    return replace(
        path, gates=gates, mixture=None if path.mixture is None else {name: next(moved) for name in mixture}
    )


def genotype_text(path: Path) -> str:
    return "all candidates" if path.mixture is not None else f"genotype {Genotype(path.genotype).text}"
