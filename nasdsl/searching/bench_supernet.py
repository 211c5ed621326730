"""Strategies side by side on a task: the same supernet and budget, several search seeds, in parallel.

Those that train no supernet have an evaluator, and as many epochs for all of their trainings as a supernet has.

Of each search is told what its winner comes to when it is trained from scratch, or what a table lists for it, how well
the shared weights rank a list of architectures whose worth is known, and the time that it took.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasdsl.operations import catalogue
from nasdsl.searching.differences import Behind, behind_the_best
from nasdsl.searching.interrupt import stopping
from nasdsl.searching.journal import Unkept
from nasdsl.searching.processes import cores, in_processes
from nasdsl.searching.ranking import Agreement, agreement
from nasdsl.searching.search import Search, beginning, make_strategy
from nasdsl.searching.settings import SearchSettings, settings_type
from nasdsl.searching.strategy import STRATEGIES, trains_supernet
from nasdsl.searching.table import Table
from nasdsl.space import serialize
from nasdsl.space.space import Space
from nasdsl.supernet.alone import Alone
from nasdsl.training.device import resolve_device
from nasdsl.training.seeds import derive
from nasdsl.training.tasks import Task
from nasdsl.training.train import evaluate, fit

Truth = Mapping[str, tuple[float, ...]]
"""For the text of a genotype its metric when trained from scratch, once a training seed."""


@dataclass(frozen=True)
class Listing:
    """What a table says of every architecture of the space: one column, by the texts of genotypes."""

    table: str
    column: str
    values: Mapping[str, float]

    @staticmethod
    def of(table: Table) -> Listing:
        return Listing(table.name, table.report_column, table.report)

    @property
    def optimum(self) -> float:
        return max(self.values.values())


@dataclass(frozen=True)
class Outcome:
    """One search. ``shared`` is the winner's metric with the shared weights on the held-out half (nan where none are
    shared), ``test`` that of the winner trained from scratch on the test part (nan where it wasn't), ``listed`` what a
    table says of it (nan without one); ``params`` and ``flops`` are the winner's; ``ranking`` how the shared weights order
    the architectures of the truth, None without one; ``seconds`` of the search alone: of processor time, or by the clock
    where it ran on a GPU."""

    strategy: str
    seed: int
    genotype: str
    shared: float
    test: float
    listed: float
    params: int
    flops: int
    ranking: Agreement | None
    seconds: float


@dataclass(frozen=True)
class SupernetBench:
    """What :func:`bench_supernets` gives. ``epochs`` are those of a supernet, 0 where none is trained; ``without`` says how
    architectures are scored without one, empty where all have one; ``ceiling`` is the agreement of the first two training
    seeds of the truth."""

    space: str
    task: str
    metric: str
    epochs: int
    seeds: int
    device: str
    without: str
    listing: Listing | None
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

    @property
    def told(self) -> str:
        """The field of an outcome by which strategies are compared."""
        if self.listing is not None:
            return "listed"
        return "test" if self.retrained else "shared"

    @property
    def behind(self) -> dict[str, Behind]:
        """How far each strategy is behind the best, by its name."""
        found = {name: [getattr(o, self.told) for o in self.of(name)] for name in self.strategies}
        return behind_the_best({name: [v for v in vs if not math.isnan(v)] for name, vs in found.items()})

    @property
    def retrained(self) -> bool:
        """Whether winners were trained from scratch."""
        return any(not math.isnan(o.test) for o in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "space": self.space, "task": self.task, "metric": self.metric, "epochs": self.epochs,
            "seeds": self.seeds, "device": self.device, "without_supernet": self.without,
            "architectures": self.architectures,
            "listing": None if self.listing is None else
            {"table": self.listing.table, "column": self.listing.column, "optimum": self.listing.optimum},
            "compared_by": self.told, "behind": {name: vars(one) for name, one in self.behind.items()},
            "ceiling": vars(self.ceiling) if self.ceiling is not None else None,
            "seconds": round(self.seconds, 1), "workers": self.workers,
            "searches": [
                {**vars(o), "ranking": vars(o.ranking) if o.ranking is not None else None,
                 **{key: value if math.isfinite(value) else None for key, value in
                    (("shared", o.shared), ("test", o.test), ("listed", o.listed))}}
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
    listing: Listing | None

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
    listing: Listing | None = None,
    workers: int = 0,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> SupernetBench:
    """Runs each of ``settings`` (one a strategy) with search seeds 0 to ``seeds`` - 1.

    ``truth`` is what some architectures came to (:func:`nasdsl.searching.table.read_columns`); with ``retrain`` each
    winner is trained from scratch as ``settings.training`` says, on the whole training part; with ``listing`` it is
    looked up there. They run where the first of the settings says. Raises what a search does.
    """
    began = time.perf_counter()
    task.check(space)
    device = resolve_device(settings[0].device)
    for one in settings:
        make_strategy(space, one)
    # As data: the class of settings with a strategy's options is made anew in every process.
    jobs = [
        {**one.model_dump(), "seed": seed, "device": str(device)} for seed in range(seeds) for one in settings
    ]
    workers = min(workers or cores(), len(jobs))
    setup = Setup(serialize.write(space), task, truth or {}, retrain, listing)
    outcomes = []
    for outcome in in_processes(_run, setup, jobs, workers):
        outcomes.append(outcome)
        on_done(outcome)
    names = [one.strategy for one in settings]
    outcomes.sort(key=lambda o: (names.index(o.strategy), o.seed))
    return SupernetBench(
        space.name, task.name, task.objective.name,
        max((one.search.epochs for one in settings if not one.evaluator), default=0), seeds, str(device),
        next((_without(one) for one in settings if one.evaluator), ""), listing,
        len(truth or {}), ceiling(truth or {}), tuple(outcomes), time.perf_counter() - began, workers,
    )  # fmt: skip


def _without(settings: SearchSettings) -> str:
    """How a strategy that trains no supernet gets its scores, and how many at most.

    >>> from nasdsl.searching.settings import settings_for
    >>> _without(settings_for("random_search", evaluator="train", assignments=["epoch_budget=30"]))
    'train, at most 100 architectures and 30 epochs of training together'
    """
    budget = f" and {settings.epoch_budget} epochs of training together" if settings.epoch_budget else ""
    return f"{settings.evaluator}, at most {settings.evaluations} architectures{budget}"


def ceiling(truth: Truth) -> Agreement | None:
    """How far two trainings of the same architectures agree: what no ranking can be expected to exceed by much."""
    rows = list(truth.values())
    if len(rows) < 2 or any(len(row) < 2 for row in rows):
        return None
    first, second = ([row[i] for row in rows] for i in (0, 1))
    return agreement(first, second, [statistics.fmean(row) for row in rows])


def _run(setup: tuple[Space, Setup], job: Mapping[str, Any]) -> Outcome:
    space, about = setup
    settings = settings_type(job["strategy"], job["evaluator"]).model_validate(job)
    device = resolve_device(settings.device)
    # A processor waits for a GPU; on a CPU others may be at work beside it.
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    began = clock()
    with stopping() as stop:
        task = about.task.to(device)
        search: Search | None = None
        if not trains_supernet(STRATEGIES.find(settings.strategy)):
            found = beginning(space, task, settings, device, lambda event: None)(Unkept(), stop)
        else:
            search = Search(space, task, settings, device, Unkept(), lambda event: None, stop)
            found = search.run()
    seconds = clock() - began
    ranking = None
    if about.truth and search is not None:
        texts = list(about.truth)
        scores = [
            search.scorer.score(space.genotype(json.loads(text)), len(search.history) + i).metric
            for i, text in enumerate(texts)
        ]
        ranking = agreement(scores, [statistics.fmean(about.truth[text]) for text in texts])
    test = math.nan
    if about.retrain:
        network = Alone(space, found.genotype, seed=derive(settings.seed, "weights")).to(device)
        fit(
            network, task, settings.training,
            seed=settings.seed, precision=settings.precision, channels_last=settings.channels_last,
        )  # fmt: skip
        test = evaluate(network, task.test, task.objective).metric
    listed = math.nan if about.listing is None else about.listing.values.get(found.genotype.text, math.nan)
    size = space.measure(found.genotype)
    return Outcome(
        settings.strategy,
        settings.seed,
        found.genotype.text,
        math.nan if search is None else found.best.metric,
        test,
        listed,
        size.params,
        size.flops,
        ranking,
        seconds,
    )
