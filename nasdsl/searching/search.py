"""The search: weight and architecture steps alternate, then what the strategy proposes is scored, and the best wins.

This file has the order. What a step does is in :mod:`nasdsl.searching.steps`, what a genotype is worth in
:mod:`nasdsl.searching.scoring`, what is told in :mod:`nasdsl.searching.events`, where it is kept in
:mod:`nasdsl.searching.run`; what it shares with a search without a supernet is in :mod:`nasdsl.searching.record`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath

import torch

from nasdsl.diagnostics import Diagnostic, failure
from nasdsl.searching.degenerate import degenerate
from nasdsl.searching.evaluated import Evaluated, make_evaluator
from nasdsl.searching.evaluators import EVALUATORS
from nasdsl.searching.events import (
    Event,
    epoch_event,
    resume_event,
    rollback_event,
    start_event,
)
from nasdsl.searching.exhausted import is_out_of_memory, out_of_memory
from nasdsl.searching.forecast import forecast_search
from nasdsl.searching.history import History, Trial
from nasdsl.searching.interrupt import Stop, stopped, stopping
from nasdsl.searching.journal import Journal, Unkept
from nasdsl.searching.kinds import check_kinds
from nasdsl.searching.minibatches import Minibatches
from nasdsl.searching.objectives import constrained, costs_among, expected_cost, with_latencies
from nasdsl.searching.optimise import is_compilers, not_compiled, usable
from nasdsl.searching.record import Record
from nasdsl.searching.run import Run
from nasdsl.searching.scoring import Scorer, batch_norm_policy
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.standing import Standing
from nasdsl.searching.static import StaticPasses, why_not
from nasdsl.searching.steps import Steps
from nasdsl.searching.strategy import (
    STRATEGIES,
    RewardDriven,
    Strategy,
    WeightSharing,
    proposals_of,
    without_supernet,
)
from nasdsl.space.choice import Genotype
from nasdsl.space.size import plain
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.training.checkpoint import prefixed, under
from nasdsl.training.data.build import task_for
from nasdsl.training.device import resolve_device
from nasdsl.training.ranks import ALONE, Ranks, joined
from nasdsl.training.schedule import learning_rate
from nasdsl.training.seeds import derive
from nasdsl.training.tasks import Task
from nasdsl.training.watch import Diverged


@dataclass(frozen=True)
class SearchResult:
    """The winner, what was tried, and the supernet with the weights that it ended with (None where there was none).

    ``settings`` are those that the run was made with; ``settings.training`` is how to train the winner from scratch.
    """

    genotype: Genotype
    best: Trial
    history: History
    supernet: Supernet | None
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
    don't fit (N912, N913, N942, N943, N963, N965, N966), where objectives or constraints make no sense (N510 to N515,
    N501), where an optimisation can't be had (N968), where the folder or its checkpoint is another run's (N930 to N932, N939), where the loss
    diverges (N914); :class:`~nasdsl.searching.interrupt.Interrupted` where it was stopped.
    """
    task = task_for(settings.task, settings.data) if task is None else task
    task.check(space)
    task = task.ordered(space)
    if not space.choices:
        raise failure(
            "N942", f"space `{space.name}` has nothing to choose: there is one architecture", "train it"
        )
    settings = about(space, settings, task)
    costs_among(settings.objectives)
    space = constrained(with_latencies(space, settings), settings.constraints)
    with ExitStack() as stack:
        ranks, device = stack.enter_context(joined(resolve_device(settings.device), settings.timeout))
        begin = beginning(
            space, task.to(device), settings, device, on_event if ranks.first else _nothing, ranks
        )
        stop = stack.enter_context(stopping())
        journal: Journal
        if folder is not None and ranks.first:
            run = Run.open(folder, settings, space, device=device, ranks=ranks.count, warn=warn)
            journal = stack.enter_context(run)
        else:
            journal = Unkept(remembers=ranks.first and settings.on_divergence == "rollback")
        found = begin(journal, stop)
    warning = degenerate(
        space,
        found.genotype,
        by_gradient=getattr(STRATEGIES.find(settings.strategy), "learns", False) is not False,
    )
    if warning is not None and ranks.first:
        warn(warning)
    return found


def beginning(
    space: Space,
    task: Task,
    settings: SearchSettings,
    device: torch.device,
    on_event: Callable[[Event], None],
    ranks: Ranks = ALONE,
) -> Callable[[Journal, Stop], SearchResult]:
    """What runs the search, with a supernet or an evaluator. Strategy, space and task are matched here, before there is a
    folder: raises like :func:`search`, and NasError N1043 for several processes without a supernet to share."""
    strategy = make_strategy(space, settings)
    if isinstance(strategy, WeightSharing):
        expected_cost(space, settings, strategy)
        usable(settings.optimise, device)
        ordinary(space, settings, device)
        return lambda journal, stop: Search(
            space, task, settings, device, journal, on_event, stop, ranks
        ).run()
    if ranks.count > 1:
        raise failure(
            "N1043",
            f"{ranks.count} processes were started, but strategy `{settings.strategy}` trains no supernet to share",
            "start it without torchrun",
        )
    evaluator = make_evaluator(space, task, settings, strategy)

    def run(journal: Journal, stop: Stop) -> SearchResult:
        history = Evaluated(space, task, settings, strategy, evaluator, journal, on_event, stop).run()
        best = history.best()
        return SearchResult(best.genotype, best, history, None, {}, settings, journal.folder)

    return run


def _nothing(event: Event) -> None:
    """Only the first of several processes speaks."""


def about(space: Space, settings: SearchSettings, task: Task) -> SearchSettings:
    """The settings with what was really searched: the space with its parameters, and the task with a digest of its data."""
    changes = {
        "space": space.name,
        "parameters": plain(space.parameters),
        "task": task.name,
        "data": task.data,
    }
    return settings.model_copy(update=changes)


def make_strategy(space: Space, settings: SearchSettings) -> Strategy:
    """The strategy of a search. Raises NasError N942 where it can't handle the space, N943 where nothing scores what it
    proposes, N966 where two things would."""
    check_kinds(space, settings.strategy)
    kind = STRATEGIES.find(settings.strategy)
    options, costs = settings.options, costs_among(settings.objectives)
    if costs and "costs" in kind.Options.model_fields:
        # A strategy that looks at costs itself looks at those that the search is for.
        options = options.model_copy(update={"costs": costs})
    strategy = kind(space, options, derive(settings.seed, "strategy"))
    if isinstance(strategy, WeightSharing) and settings.evaluator:
        raise failure(
            "N966",
            f"strategy `{settings.strategy}` scores with the supernet that it trains, and takes no evaluator",
            f"without `--evaluator`; or with a strategy that wants one: {', '.join(without_supernet())}",
        )
    if not isinstance(strategy, WeightSharing) and not settings.evaluator:
        raise failure(
            "N943",
            f"strategy `{settings.strategy}` trains no supernet, so something has to score what it proposes",
            f"say which with `--evaluator`: {', '.join(sorted(EVALUATORS))}; `nasdsl bench` runs it on a table",
        )
    return strategy


def sharing_strategy(space: Space, settings: SearchSettings) -> WeightSharing:
    """One that trains a supernet. Raises like :func:`make_strategy`."""
    strategy = make_strategy(space, settings)
    assert isinstance(strategy, WeightSharing), "its search is one with an evaluator"
    return strategy


def ordinary(space: Space, settings: SearchSettings, device: torch.device) -> str | None:
    """Why single paths run as they are, and not on the static graph; None where they run on it. Raises NasError N968."""
    if settings.optimise.static == "off":
        return "it is switched off"
    fresh = sharing_strategy(space, settings)
    return why_not(space, settings, fresh, batch_norm_policy(settings, fresh)[0], device)


class Search:
    """One search under way: the order of its steps, and what is kept of them."""

    def __init__(
        self,
        space: Space,
        task: Task,
        settings: SearchSettings,
        device: torch.device,
        journal: Journal,
        on_event: Callable[[Event], None],
        stop: Stop,
        ranks: Ranks = ALONE,
    ) -> None:
        self.space = space
        self.task = task
        self.settings = settings
        self.device = device
        self.stop = stop
        self.ranks = ranks
        self.strategy = sharing_strategy(space, settings)
        self.record = Record(space, task, settings, self.strategy, journal, on_event)
        self.supernet = Supernet(
            space,
            seed=derive(settings.seed, "supernet"),
            device=device,
            affine=self.strategy.affine,
            batch_norm=batch_norm_policy(settings, self.strategy)[0],
            channels_last=settings.channels_last,
            optimise=usable(settings.optimise, device),
        )
        self.batches = Minibatches(task, settings, device, carried=self.supernet.has_scans)
        self.scorer = Scorer(
            self.strategy, self.supernet, self.batches, task.objective, settings, device, ranks
        )
        self.ordinary = ordinary(space, settings, device)
        static = None
        if self.ordinary is None:
            static = StaticPasses(self.supernet, task.objective, settings, device)
        self.steps = Steps(
            self.strategy, self.supernet, self.batches, self.scorer, task, settings, device, ranks, static
        )
        self.standing = Standing()

    @property
    def history(self) -> History:
        return self.record.history

    # --- the order of a search -------------------------------------------------------------------

    def run(self) -> SearchResult:
        if self.resume() and not self.standing.done:
            at = (self.standing.epoch, self.standing.step, len(self.history))
            self.record.on_event(resume_event(self.space, self.task, self.settings, *at))
        while not self.standing.done:
            try:
                self.go_on()
            except Diverged as diverged:
                self.roll_back(diverged)
            except (MemoryError, RuntimeError) as error:
                if is_compilers(error):
                    raise not_compiled(self.settings.optimise, error) from None
                if not is_out_of_memory(error):
                    raise
                static = self.steps.static is not None
                raise out_of_memory(
                    self.space, self.task, self.settings, self.device, self.made(), static=static
                ) from None
        return self.result()

    def go_on(self) -> None:
        """From where the search is to its end."""
        if not self.standing.started:
            self.begin()
        while self.standing.epoch < self.settings.search.epochs:
            self.epoch(self.standing.epoch)
        while not self.standing.done:
            genotype = self.strategy.propose(self.history)
            if genotype is None:
                self.end()
            else:
                self.trial(genotype)

    def begin(self) -> None:
        self.standing.started = True
        fresh = sharing_strategy(self.space, self.settings)
        memory = forecast_search(
            self.space, self.settings, self.task, fresh, static=self.steps.static is not None
        )
        scored = proposals_of(self.strategy)
        self.record.tell(
            start_event(
                self.space, self.task, self.settings, self.batches.steps, memory, scored, self.ordinary
            )
        )
        if self.settings.on_divergence == "rollback":
            self.save()  # what the first epoch goes back to

    def epoch(self, epoch: int) -> None:
        """Weight and architecture steps, then rewards, where the strategy has any; from where the epoch was left."""
        standing, batches = self.standing, self.batches
        reported = self.strategy.start_epoch(epoch, self.settings.search.epochs)
        if standing.reported is None:  # else the epoch began in another process
            standing.reported = reported
        order = batches.order("weights", batches.weights, epoch)
        other = batches.order("architecture", batches.held_out, epoch)
        self.supernet.train()
        while standing.step < len(order):
            i = standing.step
            step = epoch * len(order) + i
            self.steps.start_streams(weights=i == 0, held_out=i % len(other) == 0)
            training, held_out = batches.weights.take(order[i]), batches.held_out.take(other[i % len(other)])
            self.steps.minibatch_step(step, training, held_out, self.rate(step))
            standing.step += 1
            self.after_step()
        rewards = self.strategy.reward_steps if isinstance(self.strategy, RewardDriven) else 0
        while standing.rewarded < rewards:
            standing.reward += self.steps.reward_step(epoch, standing.rewarded)
            standing.rewarded += 1
            self.after_step()
        self.close_epoch(self.rate((epoch + 1) * len(order) - 1))
        self.after_step()

    def close_epoch(self, rate: float) -> None:
        """Tells what the epoch came to, at the learning rate that it ended with, and keeps the state."""
        standing = self.standing
        self.ranks.agree(digest=self.steps.weights.digest())
        weights, architecture = self.steps.weights.watch.totals(), self.steps.architecture.totals()
        about = {"epoch": standing.epoch + 1, "loss": weights.mean_loss, "metric": weights.mean_metric}
        if architecture.steps:
            about["architecture_loss"] = architecture.mean_loss
        if standing.rewarded:
            about["reward"] = standing.reward / standing.rewarded
        self.record.tell(
            epoch_event(
                self.space, about | {"lr": rate, **(standing.reported or {})}, self.strategy.probabilities()
            )
        )
        standing.next_epoch()
        self.steps.weights.watch.start()
        self.steps.architecture.start()
        self.save()

    def trial(self, genotype: Genotype) -> None:
        result = self.scorer.score(genotype, len(self.history))
        self.record.tell(self.record.add(Trial(genotype, result.metric, result.loss)))
        self.after_step()

    def end(self) -> None:
        best = self.record.winner()
        # What is handed out has the winner's statistics, not those of the last that was scored.
        self.scorer.calibrate(best.genotype)
        self.standing.done = True
        self.record.end(self.report(best), self.strategy.probabilities())
        self.save()

    def report(self, best: Trial) -> str:
        told = (
            f"With the shared weights the winner has {self.task.objective.name} {best.metric:.4f} and loss "
            f"{best.loss:.4f} on the {len(self.batches.held_out)} examples that the weights were not trained on"
        )
        return told + (
            f", the best of {len(self.history)} that were scored." if len(self.history) > 1 else "."
        )

    def result(self) -> SearchResult:
        best = self.history.best()
        return SearchResult(
            best.genotype,
            best,
            self.history,
            self.supernet,
            self.strategy.probabilities(),
            self.settings,
            self.record.journal.folder,
        )

    def rate(self, step: int) -> float:
        """The learning rate of a weight step, counted from 0 over the whole search."""
        recipe = self.settings.search
        return learning_rate(recipe, step, self.batches.steps) * 0.5**self.standing.rollbacks

    # --- stopping, resuming, rolling back --------------------------------------------------------

    def after_step(self) -> None:
        """Leaves where somebody asked for it, and keeps the state where it is time to. Of several processes each does
        what any of them wants."""
        stop, due = self.ranks.agree(self.stop(), self.record.cadence.due(), digest=self.steps.digest)
        if stop:
            self.leave()
        elif due:
            self.save()

    def leave(self) -> None:
        self.save()
        self.ranks.agree()  # else the first to leave would have the others ended before that is done
        raise stopped(self.record.journal.folder)

    def save(self) -> None:
        """Keeps the state, all of it."""
        state = {
            "progress": self.standing.as_json(),
            "weights": asdict(self.steps.weights.watch.totals()),
            "architecture": asdict(self.steps.architecture.totals()),
        }
        weights = self.steps.weights.tensors(self.made())
        held_out = prefixed("held_out", self.steps.held_out.tensors(self.ranks))
        self.record.save(self.at(), weights | held_out, state)

    def roll_back(self, diverged: Diverged) -> None:
        """Goes back to the state that was kept last, and on from there with half the learning rate. Raises
        ``diverged`` where that isn't wanted, or was done often enough."""
        count = self.standing.rollbacks + 1
        wanted = self.settings.on_divergence == "rollback" and count <= self.settings.rollbacks
        if not wanted or not self.resume():
            raise diverged
        self.standing.rollbacks = count
        why = diverged.diagnostics[0].message
        self.record.tell(rollback_event(count, why, self.made(), 0.5**count))
        self.save()  # else the next divergence would forget this one

    def resume(self) -> bool:
        """Takes up what was kept last; says whether there was anything."""
        found = self.ranks.from_first(self.record.journal.load())
        if found is None:
            return False
        tensors, state = found
        self.steps.weights.restore(tensors, f"the checkpoint of `{self.record.journal.folder}`")
        self.steps.held_out.restore(under("held_out", tensors))
        self.steps.weights.watch.start(state["weights"])
        self.steps.architecture.start(state["architecture"])
        self.record.restore(found)
        self.standing = Standing.from_json(state["progress"])
        return True

    def made(self) -> int:
        """Weight steps that were made so far."""
        return self.standing.epoch * self.batches.steps + self.standing.step

    def at(self) -> int:
        """How many steps of any kind were made; checkpoints are named by it."""
        rewards = self.strategy.reward_steps if isinstance(self.strategy, RewardDriven) else 0
        standing = self.standing
        return self.made() + standing.epoch * rewards + standing.rewarded + len(self.history) + standing.done
