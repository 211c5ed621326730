"""A search without a supernet: what the strategy proposes is scored by an evaluator, one genotype after another."""

from __future__ import annotations

from collections.abc import Callable

from nasdsl.diagnostics import failure
from nasdsl.searching.evaluators import EVALUATORS, Budgeted, Evaluator, Given
from nasdsl.searching.events import Event, evaluated_about, evaluated_start_event, resume_event
from nasdsl.searching.history import History, Trial
from nasdsl.searching.interrupt import Stop, stopped
from nasdsl.searching.journal import Journal
from nasdsl.searching.record import Record
from nasdsl.searching.settings import GROWING, SearchSettings, grows
from nasdsl.searching.strategy import MultiFidelity, Strategy
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
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
        self.record = Record(space, task, settings, strategy, journal, on_event)
        self.stop = stop
        self.done = False
        # Where the end stands among the events, by which a search that is to go on beyond it forgets it.
        self.ended_at = 0

    # --- the order -------------------------------------------------------------------------------

    def run(self) -> History:
        """The trials, all of them."""
        self.resume()
        if self.history and not self.done:
            about = evaluated_about(self.settings, self.score_name)
            event = resume_event(self.space, self.task, self.settings, 0, 0, len(self.history))
            self.record.on_event(event | about)
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
    def history(self) -> History:
        return self.record.history

    @property
    def score_name(self) -> str:
        return self.evaluator.score_name or self.task.objective.name

    def begin(self) -> None:
        self.record.tell(evaluated_start_event(self.space, self.task, self.settings, self.score_name))

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
        """Scores a genotype; what was scored before with the same budget is not scored again."""
        budget = self.next_budget()
        known = self.history.found(genotype, budget)
        if known is None:
            result = self.evaluator.score(genotype, budget)
            known = Trial(genotype, result.metric, result.loss, budget)
        event = self.record.add(known)
        self.record.tell(event | ({"budget": budget, "spent": self.history.spent} if budget else {}))
        if self.stop():
            self.leave()
        due = self.record.cadence.due()
        if budget or due:  # what took long is kept at once
            self.save()

    def end(self) -> None:
        best = self.record.winner(budget=True)
        self.done, self.ended_at = True, self.record.journal.events_size()
        spent = {"spent": self.history.spent} if self.history.spent else {}
        self.record.end(self.report(best), {}, **spent)
        self.save()

    def report(self, best: Trial) -> str:
        spent = self.history.spent
        told = (
            f"Scored by `{self.settings.evaluator}` the winner has {self.score_name} {best.metric:.6g}, the best of "
            f"{len(self.history)}"
        )
        if spent:
            told += f"; it was trained for {best.budget} epochs, and all of them together for {spent}"
        return told + "."

    # --- stopping and resuming -------------------------------------------------------------------

    def leave(self) -> None:
        self.save()
        raise stopped(self.record.journal.folder)

    def save(self) -> None:
        allowed = {key: getattr(self.settings, key) for key in GROWING}
        state = {"done": self.done, "ended_at": self.ended_at, "allowed": allowed}
        self.record.save(len(self.history) + self.done, {}, state)

    def resume(self) -> None:
        found = self.record.journal.load()
        if found is not None:
            self.record.restore(found)
            state = found[1]
            self.done, self.ended_at = state["done"], state.get("ended_at", 0)
            allowed = state.get("allowed", {})  # a checkpoint of an earlier version says nothing of it
            more = any(grows(key, before, getattr(self.settings, key)) for key, before in allowed.items())
            if self.done and more and self.may_go_on():
                self.record.journal.forget_events(self.ended_at)
                self.done = False
