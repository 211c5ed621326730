"""Strategies side by side on a task: the same supernet and budget, several search seeds, in parallel.

Of each search three things are told: what its winner comes to when it is trained from scratch, how well the shared
weights rank a list of architectures whose worth is known, and the processor time that it took.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nasdsl.operations import catalogue
from nasdsl.searching.interrupt import stopping
from nasdsl.searching.journal import Unkept
from nasdsl.searching.processes import cores, in_processes
from nasdsl.searching.ranking import Agreement, agreement
from nasdsl.searching.search import Search, make_strategy
from nasdsl.searching.settings import SearchSettings, settings_type
from nasdsl.space import serialize
from nasdsl.space.space import Space
from nasdsl.supernet.alone import Alone
from nasdsl.training.seeds import derive
from nasdsl.training.tasks import Task
from nasdsl.training.train import evaluate, fit

Truth = Mapping[str, tuple[float, ...]]
"""For the text of a genotype its metric when trained from scratch, once a training seed."""


@dataclass(frozen=True)
class Outcome:
    """One search. ``shared`` is the winner's metric with the shared weights on the held-out half, ``test`` that of the
    winner trained from scratch on the test part (nan where it wasn't); ``ranking`` how the shared weights order the
    architectures of the truth, None without one; ``seconds`` of processor time, training the winner apart."""

    strategy: str
    seed: int
    genotype: str
    shared: float
    test: float
    ranking: Agreement | None
    seconds: float


@dataclass(frozen=True)
class SupernetBench:
    """What :func:`bench_supernets` gives. ``ceiling`` is the agreement of the first two training seeds of the truth."""

    space: str
    task: str
    metric: str
    epochs: int
    seeds: int
    architectures: int
    ceiling: Agreement | None
    outcomes: tuple[Outcome, ...]
    seconds: float
    workers: int

    def of(self, strategy: str) -> list[Outcome]:
        return [o for o in self.outcomes if o.strategy == strategy]

    @property
    def strategies(self) -> list[str]:
        return list(dict.fromkeys(o.strategy for o in self.outcomes))

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "space": self.space, "task": self.task, "metric": self.metric, "epochs": self.epochs,
            "seeds": self.seeds, "architectures": self.architectures,
            "ceiling": vars(self.ceiling) if self.ceiling is not None else None,
            "seconds": round(self.seconds, 1), "workers": self.workers,
            "searches": [
                {**vars(o), "ranking": vars(o.ranking) if o.ranking is not None else None,
                 "test": None if math.isnan(o.test) else o.test}
                for o in self.outcomes
            ],
        }  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """What every process needs; called, it reads the space."""

    space: str
    task: Task
    truth: Truth
    retrain: bool

    def __call__(self) -> tuple[Space, Setup]:
        return serialize.read(self.space, catalogue()), self


def bench_supernets(
    space: Space,
    task: Task,
    settings: Sequence[SearchSettings],
    *,
    seeds: int = 3,
    truth: Truth | None = None,
    retrain: bool = True,
    workers: int = 0,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> SupernetBench:
    """Runs each of ``settings`` (one a strategy) with search seeds 0 to ``seeds`` - 1.

    ``truth`` is what some architectures came to (:func:`nasdsl.searching.table.read_columns`); with ``retrain`` each
    winner is trained from scratch as ``settings.training`` says, on the whole training part. Raises what a search does.
    """
    began = time.perf_counter()
    task.check(space)
    for one in settings:
        make_strategy(space, one)
    # As data: the class of settings with a strategy's options is made anew in every process.
    jobs = [{**one.model_dump(), "seed": seed} for seed in range(seeds) for one in settings]
    workers = min(workers or cores(), len(jobs))
    setup = Setup(serialize.write(space), task, truth or {}, retrain)
    outcomes = []
    for outcome in in_processes(_run, setup, jobs, workers):
        outcomes.append(outcome)
        on_done(outcome)
    names = [one.strategy for one in settings]
    outcomes.sort(key=lambda o: (names.index(o.strategy), o.seed))
    return SupernetBench(
        space.name, task.name, task.objective.name, settings[0].search.epochs, seeds, len(truth or {}),
        ceiling(truth or {}), tuple(outcomes), time.perf_counter() - began, workers,
    )  # fmt: skip


def ceiling(truth: Truth) -> Agreement | None:
    """How far two trainings of the same architectures agree: what no ranking can be expected to exceed by much."""
    rows = list(truth.values())
    if len(rows) < 2 or any(len(row) < 2 for row in rows):
        return None
    first, second = ([row[i] for row in rows] for i in (0, 1))
    return agreement(first, second, [statistics.fmean(row) for row in rows])


def _run(setup: tuple[Space, Setup], job: Mapping[str, Any]) -> Outcome:
    space, about = setup
    settings = settings_type(job["strategy"]).model_validate(job)
    device = torch.device("cpu") if settings.device == "auto" else torch.device(settings.device)
    began = time.process_time()
    with stopping() as stop:
        task = about.task.to(device)
        search = Search(space, task, settings, device, Unkept(remembers=False), lambda event: None, stop)
        found = search.run()
    seconds = time.process_time() - began
    ranking = None
    if about.truth:
        texts = list(about.truth)
        scores = [
            search.scorer.score(space.genotype(json.loads(text)), len(search.history) + i).metric
            for i, text in enumerate(texts)
        ]
        ranking = agreement(scores, [statistics.fmean(about.truth[text]) for text in texts])
    test = math.nan
    if about.retrain:
        network = Alone(space, found.genotype, seed=derive(settings.seed, "weights")).to(device)
        fit(network, task, settings.training, seed=settings.seed, channels_last=settings.channels_last)
        test = evaluate(network, task.test, task.objective).metric
    return Outcome(
        settings.strategy, settings.seed, found.genotype.text, found.best.metric, test, ranking, seconds
    )
