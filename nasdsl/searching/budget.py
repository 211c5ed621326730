"""``--budget``: how many epochs of a search fit into a time, measured on its first steps."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from nasdsl.diagnostics import failure
from nasdsl.searching.interrupt import Stop
from nasdsl.searching.journal import Unkept
from nasdsl.searching.search import Search, about
from nasdsl.searching.settings import SearchSettings
from nasdsl.space.space import Space
from nasdsl.training.budget import STEPS, epochs_within
from nasdsl.training.device import resolve_device
from nasdsl.training.tasks import Task


class _Clock(Stop):
    """Asked after each step whether to stop: yes, once enough steps are timed."""

    def __init__(self) -> None:
        super().__init__()
        self.times = [time.perf_counter()]

    def __call__(self) -> bool:
        self.times.append(time.perf_counter())
        return len(self.times) > 2 * STEPS

    def seconds_per_step(self) -> float:
        """The median of the later half: the first steps build plans."""
        spans = [b - a for a, b in zip(self.times, self.times[1:], strict=False)]
        return median(spans[len(spans) // 2 :])


def within(space: Space, settings: SearchSettings, task: Task, seconds: float) -> SearchSettings:
    """The settings with as many epochs of the search as fit into ``seconds``, its schedule stretched along.

    Only weight and architecture steps are counted: what a strategy does after the last epoch (scoring genotypes) and
    its rewards come on top. Raises NasError N966 where there is no supernet.
    """
    if settings.evaluator:
        raise failure(
            "N966",
            f"a budget of time is one of epochs of a supernet, and here `{settings.evaluator}` scores genotypes",
            "`--evaluations` says how many at most, `-c epoch_budget` for how many epochs they are trained together",
        )
    task.check(space)
    device = resolve_device(settings.device)
    task = task.to(device).ordered(space)
    clock = _Clock()
    steps: list[int] = []

    def hear(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            steps.append(event["steps"])

    measured = Search(space, task, about(space, settings, task), device, Unkept(), hear, clock)
    try:
        measured.run()
    except KeyboardInterrupt:
        if len(clock.times) <= 2 * STEPS:
            raise
    epochs = epochs_within(seconds, clock.seconds_per_step() * steps[0])
    return settings.model_copy(update={"budget": seconds, "search": settings.search.lasting(epochs)})
