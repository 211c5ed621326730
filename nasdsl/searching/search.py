"""The search: weight and architecture steps alternate, then what the strategy proposes is scored, and the best wins.

Events, one JSON object each, all with ``event`` and ``seconds`` since the start of this process's part of the run:

=========== ======================================================================================================
``start``   ``space``, ``architectures`` (text), ``choices``, ``task``, ``strategy``, ``epochs``, ``steps`` an epoch
``epoch``   ``epoch`` (from 1), ``loss`` and ``metric`` on the weights' half, ``architecture_loss`` on the other where
            the strategy learns, ``reward`` (the mean) where it has rewards, ``lr``, what the strategy reports
            (``tau``), ``probabilities`` {choice: [...]},
            ``entropy`` (mean over choices, 1 is undecided), ``leading`` {choice: label}
``trial``   ``number`` (from 1), ``genotype``, ``metric``, ``loss``
``end``     ``genotype``, ``metric``, ``loss``
=========== ======================================================================================================
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor

from nasdsl.diagnostics import Diagnostic, failure
from nasdsl.searching.history import History, Trial
from nasdsl.searching.interrupt import Interrupted, Stop, stopping
from nasdsl.searching.kinds import check_kinds
from nasdsl.searching.run import Run
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.strategy import STRATEGIES, Bilevel, Path, Ranking, RewardDriven, WeightSharing
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet, recalibrate
from nasdsl.training.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from nasdsl.training.device import autocast, resolve_device
from nasdsl.training.optimizers import clip_gradients, make_optimizer, set_learning_rate
from nasdsl.training.outputs import Outputs, first, training_loss
from nasdsl.training.schedule import learning_rate
from nasdsl.training.seeds import derive, generator, seeded
from nasdsl.training.tasks import Split, Task, load_task, shuffled
from nasdsl.training.train import Evaluation, augmented, evaluate

Event = dict[str, Any]


@dataclass(frozen=True)
class SearchResult:
    """The winner, what was tried, and the supernet with the weights that it ended with.

    ``settings`` are those that the run was made with; ``settings.training`` is how to train the winner from scratch.
    """

    genotype: Genotype
    best: Trial
    history: History
    supernet: Supernet
    probabilities: Mapping[str, list[float]]
    settings: SearchSettings
    folder: FilePath | None


def search(
    space: Space,
    settings: SearchSettings,
    *,
    task: Task | None = None,
    folder: FilePath | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    warn: Callable[[Diagnostic], None] = lambda diagnostic: None,
) -> SearchResult:
    """Searches a space; with ``folder`` the run can be stopped (Ctrl-C) and resumed by the same call.

    ``task`` is loaded by the name in the settings unless it is given. Raises NasError where strategy, space and task
    don't fit (N912, N913, N942), where the folder is another run's (N930 to N932), where the loss diverges (N914);
    :class:`~nasdsl.searching.interrupt.Interrupted` where it was stopped.
    """
    device = resolve_device(settings.device)
    task = load_task(settings.task, device) if task is None else task.to(device)
    task.check(space)
    if not space.choices:
        raise failure(
            "N942", f"space `{space.name}` has nothing to choose: there is one architecture", "train it"
        )
    settings = about(space, settings, task)
    make_strategy(space, settings)  # what it can't handle it says before there is a folder
    if folder is None:
        with stopping() as stop:
            return Search(space, task, settings, device, None, on_event, stop).run()
    with Run.open(folder, settings, space, device=device, warn=warn) as run, stopping() as stop:
        return Search(space, task, settings, device, run, on_event, stop).run()


def about(space: Space, settings: SearchSettings, task: Task) -> SearchSettings:
    """The settings with what was really searched: the space with its parameters, and the task."""
    parameters = {n: v if isinstance(v, int) else str(v) for n, v in space.parameters.items()}
    return settings.model_copy(update={"space": space.name, "parameters": parameters, "task": task.name})


def make_strategy(space: Space, settings: SearchSettings) -> WeightSharing:
    """The strategy of a search. Raises NasError N943 where it trains no supernet, and what it says of the space."""
    check_kinds(space, settings.strategy)
    kind = STRATEGIES.find(settings.strategy)
    strategy = kind(space, settings.options, derive(settings.seed, "strategy"))
    if not isinstance(strategy, WeightSharing):
        raise failure(
            "N943",
            f"strategy `{settings.strategy}` trains no supernet, and nothing else scores genotypes here",
            "`nasdsl bench` runs it on a table; `nasdsl search` wants one such as gdas, darts or random",
        )
    return strategy


@dataclass
class Progress:
    """How far a run has come. All that a resumed run needs besides tensors."""

    epoch: int = 0
    step: int = 0  # inside the epoch
    started: bool = False
    done: bool = False
    # Sums over the epoch under way.
    losses: list[float] = field(default_factory=lambda: [0.0, 0.0])
    counts: list[int] = field(default_factory=lambda: [0, 0])
    metric: float = 0.0
    # The phase of rewards after it: how many steps were made, and the sum of their rewards.
    rewarded: int = 0
    reward: float = 0.0


class Search:
    """One search under way: the loop, and the state that goes into checkpoints."""

    def __init__(
        self,
        space: Space,
        task: Task,
        settings: SearchSettings,
        device: torch.device,
        run: Run | None,
        on_event: Callable[[Event], None],
        stop: Stop,
    ) -> None:
        self.space = space
        self.task = task
        self.settings = settings
        self.device = device
        self.folder = run
        self.on_event = on_event
        self.stop = stop
        self.began = time.perf_counter()
        self.strategy = make_strategy(space, settings)
        strategy = self.strategy
        self.supernet = Supernet(
            space,
            seed=derive(settings.seed, "supernet"),
            device=device,
            affine=strategy.affine,
            batch_norm=strategy.batch_norm,
            channels_last=settings.channels_last,
        )
        self.parameters = list(self.supernet.parameters())
        self.optimizer = make_optimizer(settings.search, self.parameters)
        self.weight_half, self.architecture_half = task.halves(settings.seed)
        if settings.channels_last:
            self.weight_half = self.weight_half.channels_last()
            self.architecture_half = self.architecture_half.channels_last()
        self.history = History()
        self.progress = Progress()
        self._pass: tuple[tuple[str, int, int] | None, list[Tensor]] = (None, [])

    # --- the order of a search -------------------------------------------------------------------

    def run(self) -> SearchResult:
        self._resume()
        if not self.progress.started:
            self._begin()
        for epoch in range(self.progress.epoch, self.settings.search.epochs):
            self._epoch(epoch)
        while not self.progress.done:
            genotype = self.strategy.propose(self.history)
            if genotype is None:
                self._end()
            else:
                self._trial(genotype)
        best = self.history.best()
        return SearchResult(
            best.genotype,
            best,
            self.history,
            self.supernet,
            self.strategy.probabilities(),
            self.settings,
            self.folder.folder if self.folder else None,
        )

    def _begin(self) -> None:
        settings = self.settings
        self.progress.started = True
        self._event(
            "start",
            space=self.space.name,
            architectures=str(self.space.count()),
            choices=len(self.space.choices),
            task=self.task.name,
            strategy=settings.strategy,
            epochs=settings.search.epochs,
            steps=len(self._order(0, "weights", self.weight_half)),
        )

    def _epoch(self, epoch: int) -> None:
        settings, progress, strategy = self.settings, self.progress, self.strategy
        reported = strategy.start_epoch(epoch, settings.search.epochs)
        order = self._order(epoch, "weights", self.weight_half)
        other = self._order(epoch, "architecture", self.architecture_half)
        rate = settings.search.lr
        self.supernet.train()
        for i in range(progress.step, len(order)):
            step = epoch * len(order) + i
            rate = learning_rate(settings.search, step, len(order))
            with seeded(settings.seed, "dropout", step):
                batch = self.weight_half.take(order[i])
                second = self.architecture_half.take(other[i % len(other)])
                first = isinstance(strategy, Bilevel) and strategy.architecture_first
                if first and strategy.learns:
                    self._architecture_step(second, step, batch, rate)
                self._weight_step(batch, rate, step)
                if not first and strategy.learns:
                    self._architecture_step(second, step, batch, rate)
            progress.step = i + 1
            if progress.step == len(order) and not self._rewards_left():
                self._close_epoch(epoch, len(order), rate, reported)
            if self.stop():
                self._leave()
        while self.progress.epoch == epoch:
            rate = learning_rate(settings.search, (epoch + 1) * len(order) - 1, len(order))
            self._reward_step(epoch)
            if not self._rewards_left():
                self._close_epoch(epoch, len(order), rate, reported)
            if self.stop():
                self._leave()

    def _rewards_left(self) -> bool:
        strategy = self.strategy
        return isinstance(strategy, RewardDriven) and self.progress.rewarded < strategy.reward_steps

    def _weight_step(self, batch: Split, rate: float, step: int) -> None:
        """One update of the weights that the strategy's paths use."""
        settings, objective = self.settings, self.task.objective
        batch = augmented(batch, settings.search, generator(settings.seed, "augment", step))
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        paths = self.strategy.paths()
        total = 0.0
        for path in paths:
            seen = part_of(batch, *path.part)
            with autocast(self.device, settings.precision):
                outputs = self._outputs(path, seen)
                loss = training_loss(objective, outputs, seen.targets, settings.search)
            total += self._finite(loss, "the weights", step, path)
            if path.l2:
                loss = loss + path.l2 * self.supernet.half_squared_norm(path.genotype)
            if loss.requires_grad:  # not where every path to a weight is cut
                (loss * (1 / len(paths) if path.weight is None else path.weight)).backward()
            metric = objective.metric(first(outputs).detach(), seen.targets)
            self.progress.metric += float(metric.mean()) / len(paths)
        clip_gradients(self.parameters, settings.search.clip)
        self.optimizer.step()
        self.progress.losses[0] += total / len(paths)
        self.progress.counts[0] += 1

    def _architecture_step(self, batch: Split, step: int, training: Split, rate: float) -> None:
        """One update of what the strategy learns; the weights stay as they are. ``training`` is the minibatch of the
        weight step that it goes with."""

        def loss(path: Path, batch: Split = batch, smoothing: float = 0.0) -> Tensor:
            with autocast(self.device, self.settings.precision):
                outputs = first(self._outputs(path, batch))
                value = self.task.objective.loss(outputs, batch.targets, smoothing)
            self._finite(value, "the architecture parameters", step, path)
            return value

        strategy = self.strategy
        if isinstance(strategy, Bilevel) and strategy.unrolled:
            recipe = self.settings.search
            seen = augmented(training, recipe, generator(self.settings.seed, "augment", step))
            set_learning_rate(self.optimizer, rate)
            self.progress.losses[1] += strategy.unrolled_step(
                self.supernet, lambda path: loss(path, seen, recipe.smoothing), loss, self.optimizer
            )
            self.progress.counts[1] += 1
            return
        with self.supernet.frozen():
            self.progress.losses[1] += self.strategy.architecture_step(self.supernet, loss)
        self.progress.counts[1] += 1

    def _reward_step(self, epoch: int) -> None:
        """One sample of the strategy is evaluated, and it learns from that; no weight wants a gradient."""
        strategy, progress = self.strategy, self.progress
        assert isinstance(strategy, RewardDriven)
        batch = self._cycled("reward", self.architecture_half, epoch, progress.rewarded)
        self.supernet.eval()

        @torch.no_grad()
        def score(path: Path) -> Evaluation:
            return self._evaluate(path, batch)

        with seeded(self.settings.seed, "reward", epoch, progress.rewarded):
            progress.reward += strategy.reward_step(score)
        self.supernet.train()
        progress.rewarded += 1

    def _cycled(self, which: str, split: Split, number: int, index: int) -> Split:
        """The minibatch of that index in an endless row of shuffled passes over a split."""
        steps = max(1, len(split) // self.settings.search.batch)
        key = (which, number, index // steps)
        if self._pass[0] != key:
            size = min(self.settings.search.batch, len(split))
            self._pass = (
                key,
                shuffled(len(split), size, generator(self.settings.seed, *key), self.device),
            )
        return split.take(self._pass[1][index % steps])

    def _trial(self, genotype: Genotype) -> None:
        result = self.score(genotype)
        self.history.add(Trial(genotype, result.metric, result.loss))
        self._event(
            "trial", number=len(self.history), genotype=dict(genotype), metric=result.metric, loss=result.loss
        )
        if self.stop():
            self._leave()

    def _end(self) -> None:
        if not self.history:
            raise failure(
                "N944",
                f"strategy `{self.settings.strategy}` found no architecture that is in the space",
                "the `require` statements may leave almost nothing; `nasdsl compile` counts what they leave",
            )
        best = self.history.best()
        if isinstance(self.strategy, Ranking) and self.strategy.calibration_batches:
            # What is handed out has the winner's statistics, not those of the last that was scored.
            self.calibrate(best.genotype, self.strategy.calibration_batches)
        self.progress.done = True
        self._event("end", genotype=dict(best.genotype), metric=best.metric, loss=best.loss)
        if self.folder is not None:
            self.folder.write(
                "genotype.json", json.dumps(dict(best.genotype), indent=2, ensure_ascii=False) + "\n"
            )
            self.folder.write("report.md", self._report(best))
        self._save()

    # --- parts -----------------------------------------------------------------------------------

    def score(self, genotype: Genotype) -> Evaluation:
        """A genotype with the shared weights, on the part that they were not trained on, or as the strategy asks."""
        strategy, part = self.strategy, self.architecture_half
        if isinstance(strategy, Ranking):
            if strategy.calibration_batches:
                self.calibrate(genotype, strategy.calibration_batches)
            if strategy.ranking_batches:
                first = len(self.history) * strategy.ranking_batches
                taken = [self._cycled("ranking", part, 0, first + i) for i in range(strategy.ranking_batches)]
                part = Split(
                    tuple(torch.cat(xs) for xs in zip(*(t.inputs for t in taken), strict=True)),
                    torch.cat([t.targets for t in taken]),
                )
        self.supernet.eval()
        result = self._evaluate(Path(genotype), part)
        self.supernet.train()
        return result

    def calibrate(self, genotype: Genotype, batches: int) -> None:
        """Re-estimates the running statistics of a genotype's batch norms on the weights' part; the same minibatches
        for every genotype."""
        order = self._order(0, "calibration", self.weight_half)[:batches]
        with (
            autocast(self.device, self.settings.precision),
            seeded(self.settings.seed, "calibration"),
        ):
            recalibrate(self.supernet, genotype, (self.weight_half.take(taken).inputs for taken in order))

    def _evaluate(self, path: Path, split: Split) -> Evaluation:
        def model(*inputs: Tensor) -> Tensor:
            return first(self.supernet(*inputs, genotype=path.genotype))

        return evaluate(
            model,
            split,
            self.task.objective,
            batch=self.settings.ranking_batch,
            precision=self.settings.precision,
        )

    def _outputs(self, path: Path, batch: Split) -> Outputs:
        outputs: Outputs = self.supernet(
            *batch.inputs,
            genotype=path.genotype,
            gates=path.gates,
            gating=path.gating,
            mixture=path.mixture,
            among=path.among,
            share=path.share,
        )
        return outputs

    def _finite(self, loss: Tensor, whose: str, step: int, path: Path) -> float:
        value = float(loss.detach())
        if not math.isfinite(value):
            raise failure(
                "N914",
                f"training {whose} diverged: the loss is {value} at step {step}, genotype {Genotype(path.genotype).text}",
                "a smaller `search.lr`, or a smaller `search.clip`, may help",
            )
        return value

    def _order(self, epoch: int, which: str, split: Split) -> list[Tensor]:
        size = min(self.settings.search.batch, len(split))
        return shuffled(len(split), size, generator(self.settings.seed, which, epoch), self.device)

    def _close_epoch(self, epoch: int, steps: int, rate: float, reported: Mapping[str, float]) -> None:
        progress = self.progress
        probabilities = self.strategy.probabilities()
        about: Event = {
            "epoch": epoch + 1,
            "loss": progress.losses[0] / steps,
            "metric": progress.metric / steps,
        }
        if progress.counts[1]:
            about["architecture_loss"] = progress.losses[1] / progress.counts[1]
        if progress.rewarded:
            about["reward"] = progress.reward / progress.rewarded
        about |= {"lr": rate, **reported}
        if probabilities:
            about["entropy"] = mean_entropy(probabilities)
            about["leading"] = {
                name: self.space.choice(name).labels[max(range(len(p)), key=p.__getitem__)]
                for name, p in probabilities.items()
                if not self.space.choice(name).is_sublist
            }
            about["probabilities"] = {name: [round(p, 6) for p in ps] for name, ps in probabilities.items()}
        self._event("epoch", **about)
        self.progress = Progress(epoch=epoch + 1, started=True)
        self._save()

    def _event(self, name: str, **about: Any) -> None:
        event = {"event": name, **about, "seconds": round(time.perf_counter() - self.began, 3)}
        if self.folder is not None:
            self.folder.event(event)
        self.on_event(event)

    # --- stopping and resuming -------------------------------------------------------------------

    def _leave(self) -> None:
        if self.folder is None:
            raise KeyboardInterrupt
        self._save()
        raise Interrupted(
            f"stopped; the same command goes on from here (the run is in `{self.folder.folder}`)"
        )

    def _save(self) -> None:
        if self.folder is None:
            return
        tensors, rest = self.strategy.state()
        everything = (
            prefixed("supernet", self.supernet.state_dict())
            | prefixed("optimizer", optimizer_tensors(self.optimizer))
            | prefixed("strategy", tensors)
        )
        steps = len(self._order(0, "weights", self.weight_half))
        reward_steps = self.strategy.reward_steps if isinstance(self.strategy, RewardDriven) else 0
        at = self.progress.epoch * (steps + reward_steps) + self.progress.step + self.progress.rewarded
        at += len(self.history) + self.progress.done
        state = {
            "progress": vars(self.progress),
            "strategy": rest,
            "history": [trial.as_json() for trial in self.history],
        }
        self.folder.save(at, everything, state)

    def _resume(self) -> None:
        found = self.folder.load() if self.folder is not None else None
        if found is None:
            return
        tensors, state = found
        self.supernet.load_state_dict(under("supernet", tensors))
        restore_optimizer(self.optimizer, under("optimizer", tensors))
        self.strategy.restore((under("strategy", tensors), state["strategy"]))
        self.history = History([Trial.from_json(entry) for entry in state["history"]])
        self.progress = Progress(**state["progress"])

    def _report(self, best: Trial) -> str:
        """A page for people."""
        lines = [
            f"# {self.space.name}, searched by {self.settings.strategy} on {self.task.name}",
            "",
            f"{self.space.count()} architectures, {len(self.space.choices)} choices; "
            f"{self.settings.search.epochs} epochs, seed {self.settings.seed}.",
            "",
            f"With the shared weights the winner has {self.task.objective.name} {best.metric:.4f} and loss {best.loss:.4f} "
            f"on the {len(self.architecture_half)} examples that the weights were not trained on"
            + (f", the best of {len(self.history)} that were scored." if len(self.history) > 1 else "."),
            "",
            "| choice | taken | probability |",
            "| --- | --- | --- |",
        ]
        probabilities = self.strategy.probabilities()
        for name, value in best.genotype.items():
            choice = self.space.choice(name)
            labels = value if isinstance(value, tuple) else (value,)
            ps = [
                f"{probabilities[name][choice.labels.index(label)]:.2f}"
                for label in labels
                if name in probabilities
            ]
            lines.append(f"| `{name}` | {', '.join(labels)} | {', '.join(ps)} |")
        return "\n".join(lines) + "\n"


def part_of(batch: Split, index: int, count: int) -> Split:
    """The i-th of n parts of a minibatch, of sizes that differ by at most one."""
    if count == 1:
        return batch
    bounds = [len(batch) * i // count for i in (index, index + 1)]
    return batch.take(torch.arange(*bounds, device=batch.device))


def mean_entropy(probabilities: Mapping[str, list[float]]) -> float:
    """The mean over choices of the entropy, as a share of the largest possible: 1 is undecided, 0 decided.

    >>> mean_entropy({"a": [0.5, 0.5], "b": [1.0, 0.0]})
    0.5
    """
    shares = []
    for ps in probabilities.values():
        total = sum(ps)
        if len(ps) > 1 and total > 0:
            terms = (p / total for p in ps)
            shares.append(-sum(p * math.log(p) for p in terms if p > 0) / math.log(len(ps)))
    return sum(shares) / len(shares) if shares else 0.0
