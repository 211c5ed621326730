"""Strategies side by side on a tabular benchmark: the same budget of evaluations, many search seeds, in parallel.

A strategy sees the ``search`` column of the table. After each evaluation the incumbent is the best by that column, and
its ``report`` column is what is told: the strategy never sees it, and the incumbent's may fall.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasdsl.diagnostics import failure
from nasdsl.operations import catalogue
from nasdsl.searching.differences import Behind, behind_the_best
from nasdsl.searching.history import History, Trial
from nasdsl.searching.processes import cores, in_processes
from nasdsl.searching.strategy import (
    STRATEGIES,
    MultiFidelity,
    Strategy,
    WeightSharing,
    without_supernet,
)
from nasdsl.searching.table import Table
from nasdsl.space import serialize
from nasdsl.space.space import Space
from nasdsl.training.config import override
from nasdsl.training.seeds import derive


@dataclass(frozen=True)
class Outcome:
    """One search: the reported value of the incumbent after each evaluation, and the winner."""

    strategy: str
    seed: int
    incumbents: tuple[float, ...]
    genotype: str
    search: float

    @property
    def report(self) -> float:
        return self.incumbents[-1]


@dataclass(frozen=True)
class Summary:
    """A strategy over its seeds. ``deviation`` is that of the sample (0 for one seed); ``regret`` is what the mean lacks of
    the table's optimum; ``found`` the share of seeds that reached it; ``mean_curve`` and ``deviation_curve`` are those of
    the incumbent after each evaluation."""

    strategy: str
    seeds: int
    evaluations: float
    mean: float
    deviation: float
    search: float
    regret: float
    found: float
    mean_curve: tuple[float, ...]
    deviation_curve: tuple[float, ...]


@dataclass(frozen=True)
class Bench:
    """What :func:`bench` gives."""

    space: str
    table: str
    architectures: int
    search_column: str
    report_column: str
    evaluations: int
    seeds: int
    optimum: float
    summaries: tuple[Summary, ...]
    outcomes: tuple[Outcome, ...]
    seconds: float
    workers: int

    @property
    def behind(self) -> dict[str, Behind]:
        """How far each strategy is behind the best, by its name."""
        return behind_the_best(
            {
                s.strategy: [o.report for o in self.outcomes if o.strategy == s.strategy]
                for s in self.summaries
            }
        )

    def as_json(self) -> dict[str, Any]:
        """For machines; every search with its winner, and the curves."""
        behind = self.behind
        return {
            "space": self.space, "table": self.table, "architectures": self.architectures,
            "search_column": self.search_column, "report_column": self.report_column,
            "evaluations": self.evaluations, "seeds": self.seeds, "optimum": self.optimum,
            "seconds": round(self.seconds, 1), "workers": self.workers,
            "strategies": {
                s.strategy: {
                    "mean": round(s.mean, 4), "deviation": round(s.deviation, 4), "regret": round(s.regret, 4),
                    "search": round(s.search, 4), "found": s.found, "evaluations": s.evaluations,
                    "behind": vars(behind[s.strategy]) if s.strategy in behind else None,
                    "mean_curve": [round(v, 4) for v in s.mean_curve],
                    "deviation_curve": [round(v, 4) for v in s.deviation_curve],
                    "winners": [
                        {"seed": o.seed, "genotype": o.genotype, "search": o.search, "report": o.report}
                        for o in self.outcomes if o.strategy == s.strategy
                    ],
                }
                for s in self.summaries
            },
        }  # fmt: skip


def bench(
    space: Space,
    table: Table,
    strategies: Sequence[str],
    *,
    evaluations: int = 100,
    seeds: int = 10,
    options: Mapping[str, Sequence[str]] | None = None,
    workers: int = 0,
    on_done: Callable[[int, int], None] = lambda done, all: None,
) -> Bench:
    """Runs each strategy with seeds 0 to ``seeds`` - 1 for ``evaluations`` evaluations.

    ``options`` are assignments for a strategy ("population=20"). The result is the same for any number of ``workers``
    (0: as many as there are cores); ``on_done`` hears of each group of searches that is done.

    Raises NasError: N940 for an unknown strategy, N947 for one that needs a supernet or trainings of several lengths,
    N946 for an architecture that the table doesn't have, and what strategies say of a space or an option that they can't
    take.
    """
    began = time.perf_counter()
    options = options or {}
    names = list(dict.fromkeys(strategies))
    for name in names:
        make(space, name, options.get(name, ()), 0)
    workers = min(workers or cores(), len(names) * seeds)
    # Small groups, so that all workers end at about the same time.
    size = max(1, min(10, seeds // (2 * workers) or 1))
    groups = [
        (name, tuple(options.get(name, ())), range(start, min(start + size, seeds)))
        for start in range(0, seeds, size)
        for name in names
    ]
    outcomes: list[Outcome] = []
    for found in in_processes(_run_group, Setup(serialize.write(space), table, evaluations), groups, workers):
        outcomes += found
        on_done(len(outcomes), len(names) * seeds)
    outcomes.sort(key=lambda o: (names.index(o.strategy), o.seed))
    summaries = tuple(
        summarise(name, [o for o in outcomes if o.strategy == name], table.optimum, evaluations)
        for name in names
    )
    return Bench(
        space.name, table.name, len(table), table.search_column, table.report_column, evaluations, seeds,
        table.optimum, summaries, tuple(outcomes), time.perf_counter() - began, workers,
    )  # fmt: skip


def make(space: Space, name: str, options: Sequence[str], seed: int) -> Strategy:
    """A strategy for a bench. Raises NasError N947 where it trains a supernet, or says how much is spent on a genotype."""
    kind = STRATEGIES.find(name)
    made = kind(space, override(kind.Options(), options), derive(seed, "strategy"))
    if isinstance(made, WeightSharing):
        raise failure(
            "N947",
            f"strategy `{name}` learns from a supernet, and a table has none",
            f"`nasdsl bench --task` compares those that do; on a table there are {', '.join(tabular())}",
        )
    if isinstance(made, MultiFidelity):
        raise failure(
            "N947",
            f"strategy `{name}` says how long each genotype is trained, and a table has one number for it however long",
            f"`nasdsl search --evaluator train` runs it; on a table there are {', '.join(tabular())}",
        )
    return made


def tabular() -> list[str]:
    """The strategies that a table can serve."""
    return [name for name in without_supernet() if not hasattr(STRATEGIES.find(name), "budget")]


@dataclass(frozen=True)
class Setup:
    """What every process of a bench needs; called, it reads the space."""

    space: str
    table: Table
    evaluations: int

    def __call__(self) -> tuple[Space, Table, int]:
        return serialize.read(self.space, catalogue()), self.table, self.evaluations


def _run_group(setup: tuple[Space, Table, int], group: tuple[str, tuple[str, ...], range]) -> list[Outcome]:
    (space, table, evaluations), (name, options, seeds) = setup, group
    return [run_one(make(space, name, options, seed), table, evaluations, name, seed) for seed in seeds]


def run_one(strategy: Strategy, table: Table, evaluations: int, name: str, seed: int) -> Outcome:
    """One search. Every proposal counts as an evaluation, also one that was made before.

    Raises NasError N944 where nothing is proposed, N946 where the table has no row for what is.
    """
    history = History()
    best: Trial | None = None
    incumbents: list[float] = []
    while len(history) < evaluations:
        genotype = strategy.propose(history)
        if genotype is None:
            break
        value = table.search.get(genotype.text)
        if value is None:
            raise table.missing(genotype)
        trial = Trial(genotype, value, -value)
        history.add(trial)
        if best is None or trial.metric > best.metric:
            best = trial
        incumbents.append(table.report[best.genotype.text])
    if best is None:
        raise failure("N944", f"strategy `{name}` found no architecture that is in the space")
    return Outcome(name, seed, tuple(incumbents), best.genotype.text, best.metric)


def summarise(name: str, outcomes: Sequence[Outcome], optimum: float, evaluations: int) -> Summary:
    """What the seeds of one strategy came to: means and standard deviations, at the end and after each evaluation."""
    # A strategy that ended early keeps its winner.
    curves = [o.incumbents + (o.report,) * (evaluations - len(o.incumbents)) for o in outcomes]
    by_evaluation = list(zip(*curves, strict=True))
    reports = [o.report for o in outcomes]
    mean = statistics.fmean(reports)
    return Summary(
        name,
        len(outcomes),
        statistics.fmean(len(o.incumbents) for o in outcomes),
        mean,
        _deviation(reports),
        statistics.fmean(o.search for o in outcomes),
        optimum - mean,
        sum(value >= optimum for value in reports) / len(reports),
        tuple(map(statistics.fmean, by_evaluation)),
        tuple(map(_deviation, by_evaluation)),
    )


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
