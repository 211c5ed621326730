"""What every search does with its trials: tells of them, keeps them to go on from, and ends with the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.searching.cadence import Cadence
from nasdsl.searching.evaluators import EVALUATORS
from nasdsl.searching.events import Event, end_event, trial_event
from nasdsl.searching.history import History, Trial
from nasdsl.searching.journal import Journal, Kept
from nasdsl.searching.objectives import metric_of
from nasdsl.searching.page import page
from nasdsl.searching.results import write_results
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.strategy import Strategy
from nasdsl.space.space import Space
from nasdsl.training.checkpoint import prefixed, under
from nasdsl.training.tasks import Task


class Record:
    """The trials of one search under way and its strategy's state; ``cadence`` says when they are to be kept."""

    def __init__(
        self,
        space: Space,
        task: Task,
        settings: SearchSettings,
        strategy: Strategy,
        journal: Journal,
        on_event: Callable[[Event], None],
    ) -> None:
        self.space = space
        self.task = task
        self.settings = settings
        self.strategy = strategy
        self.journal = journal
        self.on_event = on_event
        self.history = History()
        self.cadence = Cadence(settings.checkpoint_steps, settings.checkpoint_seconds)
        self._began = time.perf_counter()

    def tell(self, event: Event) -> None:
        """Writes an event down and hands it on, with the seconds since this process took up the search."""
        event["seconds"] = round(time.perf_counter() - self._began, 3)
        self.journal.event(event)
        self.on_event(event)

    def add(self, trial: Trial) -> Event:
        """A trial that was made; its event is still to be told."""
        self.history.add(trial)
        return trial_event(self.history[-1], len(self.history))

    def winner(self, *, budget: bool = False) -> Trial:
        """The best trial. Raises NasError N944 where there is none; ``budget`` says that one may be why."""
        if not self.history:
            raise failure(
                "N944",
                f"strategy `{self.settings.strategy}` found no architecture that is in the space",
                f"the `require` statements may leave almost nothing{', or the budget none' if budget else ''}; "
                "`nasdsl compile` counts what they leave",
            )
        return self.history.best()

    def end(self, told: str, probabilities: Mapping[str, list[float]], **about: Any) -> None:
        """Tells the end and writes the files of a finished search; ``told`` says how the winner was scored."""
        self.tell(end_event(self.history.best()) | about)
        text = page(self.space, self.task, self.settings, self.history, probabilities, told)
        score = EVALUATORS.find(self.settings.evaluator).score_name if self.settings.evaluator else ""
        metric = metric_of(self.task.objective, score)
        write_results(self.journal, self.space, self.history, self.settings, metric, text)

    def save(self, number: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Keeps the state of a search under a number that grows with it: its own, the strategy's and the trials."""
        strategy_tensors, strategy = self.strategy.state()
        whole = {**state, "strategy": strategy, "history": [trial.as_json() for trial in self.history]}
        self.journal.save(number, {**tensors, **prefixed("strategy", strategy_tensors)}, whole)
        self.cadence.restart()

    def restore(self, kept: Kept) -> None:
        """Takes up strategy and trials from what was kept."""
        tensors, state = kept
        self.strategy.restore((under("strategy", tensors), state["strategy"]))
        self.history = History([Trial.from_json(entry) for entry in state["history"]])
