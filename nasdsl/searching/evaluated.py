"""A search without a supernet: what the strategy proposes is scored by an evaluator, one genotype after another."""

from __future__ import annotations

import time
from collections.abc import Callable

from nasdsl.diagnostics import failure
from nasdsl.searching.cadence import Cadence
from nasdsl.searching.evaluators import EVALUATORS, Budgeted, Evaluator, Given
from nasdsl.searching.events import Event, end_event, evaluated_start_event, page, resume_event, trial_event
from nasdsl.searching.history import History, Trial
from nasdsl.searching.interrupt import Stop, stopped
from nasdsl.searching.journal import Journal
from nasdsl.searching.results import write_results
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.strategy import MultiFidelity, Strategy
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.training.checkpoint import prefixed, under
from nasdsl.training.tasks import Task


def make_evaluator(space: Space, task: Task, settings: SearchSettings, strategy: Strategy) -> Evaluator:
    """The evaluator of a search. Raises NasError N963 for an unknown one, N966 where strategy and evaluator don't fit, and
    what it says of space and task (N965)."""
    kind = EVALUATORS.find(settings.evaluator)
    weights, held_out = task.halves(settings.seed)
    given = Given(
        space,
        task,
        weights,
        held_out,
        settings.training,
        settings.seed,
        settings.precision,
        settings.channels_last,
    )
    evaluator = kind(given, settings.evaluation)
    if isinstance(strategy, MultiFidelity) and not isinstance(evaluator, Budgeted):
        raise failure(
            "N966",
            f"strategy `{settings.strategy}` says how long each genotype is trained, and evaluator "
            f"`{settings.evaluator}` trains none",
            "`--evaluator train` does",
        )
    return evaluator


class Evaluated:
    """One such search under way."""

    def __init__(
        self,
        space: Space,
        task: Task,
        settings: SearchSettings,
        strategy: Strategy,
        evaluator: Evaluator,
        journal: Journal,
        on_event: Callable[[Event], None],
        stop: Stop,
    ) -> None:
        self.space = space
        self.task = task
        self.settings = settings
        self.strategy = strategy
        self.evaluator = evaluator
        self.journal = journal
        self.on_event = on_event
        self.stop = stop
        self.began = time.perf_counter()
        self.history = History()
        self.done = False
        self.cadence = Cadence(settings.checkpoint_steps, settings.checkpoint_seconds)

    # --- the order -------------------------------------------------------------------------------

    def run(self) -> History:
        """The trials, all of them."""
        self.resume()
        if self.history and not self.done:
            self.on_event(resume_event(self.space, self.task, self.settings, 0, 0, len(self.history)))
        if not self.history and not self.done:
            self.begin()
        while not self.done:
            genotype = self.strategy.propose(self.history) if self.may_go_on() else None
            if genotype is None:
                self.end()
            else:
                self.trial(genotype)
        return self.history

    @property
    def score_name(self) -> str:
        return self.evaluator.score_name or self.task.objective.name

    def begin(self) -> None:
        self.tell(evaluated_start_event(self.space, self.task, self.settings, self.score_name))

    def may_go_on(self) -> bool:
        """Whether the budget allows for another evaluation."""
        settings = self.settings
        if len(self.history) >= settings.evaluations:
            return False
        return not settings.epoch_budget or self.history.spent + self.next_budget() <= settings.epoch_budget

    def next_budget(self) -> int:
        """Epochs of training that the next evaluation takes; 0 where nothing is trained."""
        if not isinstance(self.evaluator, Budgeted):
            return 0
        if isinstance(self.strategy, MultiFidelity):
            return self.strategy.budget(self.history)
        return self.evaluator.budget

    def trial(self, genotype: Genotype) -> None:
        budget = self.next_budget()
        known = self.history.found(genotype, budget)
        if known is None:
            result = self.evaluator.score(genotype, budget)
            known = Trial(genotype, result.metric, result.loss, budget)
        self.history.add(known)
        event = trial_event(self.history[-1], len(self.history))
        self.tell(event | ({"budget": budget, "spent": self.history.spent} if budget else {}))
        if self.stop():
            self.leave()
        due = self.cadence.due()
        if budget or due:  # what took long is kept at once
            self.save()

    def end(self) -> None:
        if not self.history:
            raise failure(
                "N944",
                f"strategy `{self.settings.strategy}` found no architecture that is in the space",
                "the `require` statements may leave almost nothing, or the budget none; "
                "`nasdsl compile` counts what they leave",
            )
        self.done = True
        best = self.history.best()
        self.tell(end_event(best) | ({"spent": self.history.spent} if self.history.spent else {}))
        write_results(self.journal, self.space, self.history, self.settings, self.report())
        self.save()

    def report(self) -> str:
        best, spent = self.history.best(), self.history.spent
        told = (
            f"Scored by `{self.settings.evaluator}` the winner has {self.score_name} {best.metric:.6g}, the best of "
            f"{len(self.history)}"
        )
        if spent:
            told += f"; it was trained for {best.budget} epochs, and all of them together for {spent}"
        return page(self.space, self.task, self.settings, self.history, {}, told + ".")

    def tell(self, event: Event) -> None:
        event["seconds"] = round(time.perf_counter() - self.began, 3)
        self.journal.event(event)
        self.on_event(event)

    # --- stopping and resuming -------------------------------------------------------------------

    def leave(self) -> None:
        self.save()
        raise stopped(self.journal.folder)

    def save(self) -> None:
        tensors, strategy = self.strategy.state()
        state = {
            "strategy": strategy,
            "history": [trial.as_json() for trial in self.history],
            "done": self.done,
        }
        self.journal.save(len(self.history) + self.done, prefixed("strategy", tensors), state)
        self.cadence.restart()

    def resume(self) -> None:
        found = self.journal.load()
        if found is None:
            return
        tensors, state = found
        self.strategy.restore((under("strategy", tensors), state["strategy"]))
        self.history = History([Trial.from_json(entry) for entry in state["history"]])
        self.done = state["done"]
