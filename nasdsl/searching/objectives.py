"""What a search is for besides a large metric: costs that are to be small, and constraints that must hold.

A constraint (``flops <= 100M``) is a ``require`` that is added to the space, so that whatever a strategy draws, mutates
or derives meets it, and one that nothing meets is refused before the search (N501). An objective besides the metric
(``params``) makes a front of the trials: those that no other beats in every objective. A strategy that learns from the
gradient of a loss gets the expected cost on top of it, and one that learns from rewards has the cost taken off them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path as FilePath
from typing import Any, TypeVar

import torch
from torch import Tensor

from nasdsl.diagnostics import Source, Span, did_you_mean, failure
from nasdsl.searching.expected import ExpectedSum
from nasdsl.searching.history import History, Trial
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.strategy import Path, WeightSharing
from nasdsl.space.choice import Genotype, Taken
from nasdsl.space.latency import UNITS, LatencyTable, no_table, timed
from nasdsl.space.measures import cost_terms
from nasdsl.space.size import whole
from nasdsl.space.space import Limit, Space
from nasdsl.training.objectives import Objective, least_of
from nasdsl.training.train import Evaluation

METRIC = "accuracy"
"""The name of the task's metric among objectives, whatever the task calls it."""
MEASURES = ("params", "flops", "memory", "training_memory", "latency")
"""Costs that an architecture has without being trained; latency where there is a table of it."""
ADDITIVE = ("params", "flops", "training_memory", "latency")
"""Those that are sums over the parts of an architecture, so that they have an expectation."""

_CONSTRAINT = re.compile(r"\s*(\w+)\s*(<=|<|>=|>|==|!=)\s*([0-9]+(?:\.[0-9]+)?)\s*([KMG]|[num]?s)?\s*")
_SCALE = {None: 1, "K": 10**3, "M": 10**6, "G": 10**9}

_WORDS = {True: "time", False: "number"}

SomeSpace = TypeVar("SomeSpace", bound=Space)


def with_latencies(space: SomeSpace, settings: SearchSettings) -> SomeSpace:
    """The space with the table of latencies that the settings name. Raises NasError: N513 where it can't be read, N514
    where it lacks a row, N515 where one is wanted and none is named."""
    if settings.latency:
        return timed(space, LatencyTable.read(FilePath(settings.latency)))
    if "latency" in settings.objectives:
        raise no_table()
    return space


def constrained(space: SomeSpace, constraints: Sequence[str]) -> SomeSpace:
    """The space with more ``require`` statements. Raises NasError N511 where one can't be read, N501 where none can be
    met."""
    if not constraints:
        return space
    found = replace(space, limits=(*space.limits, *(_limit(space, text) for text in constraints)))
    found.check_limits()
    return found


def _limit(space: Space, text: str) -> Limit:
    source = Source("--constraint", text)
    span = Span(source, 0, len(text))
    match = _CONSTRAINT.fullmatch(text)
    if match is None or match[1] not in MEASURES:
        help = did_you_mean(match[1], MEASURES) if match is not None else None
        raise failure(
            "N511",
            f"`{text}` is not a constraint on a measure",
            help or f"write it as `flops <= 100M`; the measures are {', '.join(MEASURES)}",
            span,
        )
    measure, operator, number, unit = match.groups()
    scale = UNITS if measure == "latency" else _SCALE
    if unit not in scale:
        help = "write it as `latency <= 2ms`" if measure == "latency" else f"write it as `{measure} <= 100M`"
        raise failure(
            "N511", f"`{text}` compares {measure} with no {_WORDS[measure == 'latency']}", help, span
        )
    return Limit(measure, operator, whole(Fraction(number) * scale[unit]), space.table.true, span)


def costs_among(objectives: Sequence[str]) -> tuple[str, ...]:
    """The objectives besides the metric. Raises NasError N510 where one isn't known, or the metric is missing."""
    for name in objectives:
        if name not in (METRIC, *MEASURES):
            raise failure(
                "N510",
                f"there is no objective `{name}`",
                did_you_mean(name, (METRIC, *MEASURES))
                or f"the objectives are {METRIC}, {', '.join(MEASURES)}",
            )
    if METRIC not in objectives or len(set(objectives)) != len(objectives):
        raise failure(
            "N510",
            f"the objectives are `{METRIC}` and different costs beside it, and these are "
            f"`{','.join(objectives)}`",
            f"write `--objective {METRIC},params`",
        )
    return tuple(name for name in objectives if name != METRIC)


# --- the front ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """What the trials of a search were scored by: its name, and the least that it can be, where there is one."""

    name: str = METRIC
    least: float | None = None


def metric_of(objective: Objective, score: str = "") -> Metric:
    """That of a task or, under a name, the score of an evaluator, which may be any number."""
    return Metric(score) if score else Metric(objective.name, least_of(objective))


@dataclass(frozen=True)
class Front:
    """The trials that no other beats in every objective, by the first cost; and of all trials metric and costs.

    ``hypervolume`` is the share of ``box`` that the front dominates. The box goes from the worst to the best: each cost
    from the largest of the space to 0, and a metric that is a share, such as accuracy, from 0 to 1. Any other metric goes
    from the worst trial to the best, so that hypervolumes of different searches can't be compared.
    """

    metric: Metric
    costs: tuple[str, ...]
    trials: tuple[Trial, ...]
    points: tuple[Mapping[str, float], ...]
    all_points: tuple[Mapping[str, float], ...]
    box: Mapping[str, tuple[float, float]]
    hypervolume: float

    def as_json(self) -> dict[str, Any]:
        return {
            "objectives": [METRIC, *self.costs],
            "metric": self.metric.name,
            "hypervolume": self.hypervolume,
            "box": {name: list(ends) for name, ends in self.box.items()},
            "front": [
                {"genotype": dict(trial.genotype), **point}
                for trial, point in zip(self.trials, self.points, strict=True)
            ],
            "trials": [dict(point) for point in self.all_points],
        }

    def as_csv(self) -> str:
        """A line a trial, those of the front marked."""
        lines = [",".join((METRIC, *self.costs, "on_front"))]
        for point in self.all_points:
            lines.append(",".join([*(f"{v:g}" for v in point.values()), str(int(point in self.points))]))
        return "\n".join(lines) + "\n"


def front_of(space: Space, history: History, costs: Sequence[str], metric: Metric) -> Front:
    """The front of the trials of a search."""
    trials = [t for t in {trial.genotype.text: trial for trial in history}.values() if t.metric == t.metric]
    points = []
    for trial in trials:
        measures = space.measure(trial.genotype)
        points.append({METRIC: trial.metric, **{cost: getattr(measures, cost) for cost in costs}})
    smaller = [_smaller_is_better(point) for point in points]
    chosen = [i for i, p in enumerate(smaller) if not any(dominates(q, p) for q in smaller)]
    chosen.sort(key=lambda i: smaller[i][1:])
    ranges = space.ranges()
    box = {METRIC: _ends(metric, [trial.metric for trial in trials])}
    box |= {cost: (float(getattr(ranges, cost).max), 0.0) for cost in costs}
    return Front(
        metric,
        tuple(costs),
        tuple(trials[i] for i in chosen),
        tuple(points[i] for i in chosen),
        tuple(points),
        box,
        hypervolume([_within(points[i], box) for i in chosen], (1.0,) * len(box)),
    )


def _ends(metric: Metric, seen: Sequence[float]) -> tuple[float, float]:
    """Worst and best of the metric."""
    if metric.least is not None or not seen:
        return metric.least or 0.0, 1.0
    return min(seen), max(seen)


def _within(point: Mapping[str, float], box: Mapping[str, tuple[float, float]]) -> tuple[float, ...]:
    """Where a point is on the way from the best, 0, to the worst, 1; all at the worst where there is no way."""
    return tuple(
        (best - point[name]) / (best - worst) if best != worst else 1.0 for name, (worst, best) in box.items()
    )


def _smaller_is_better(point: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(-value if name == METRIC else value for name, value in point.items())


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Nowhere worse, and somewhere better; smaller is better.

    >>> dominates((1, 2), (1, 3)), dominates((1, 2), (2, 1)), dominates((1, 2), (1, 2))
    (True, False, False)
    """
    return tuple(a) != tuple(b) and all(x <= y for x, y in zip(a, b, strict=True))


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """The volume between points and a reference that they dominate; smaller is better in every objective.

    Slices along the last objective (Zitzler & Thiele, 1999), so it is exact, and meant for a few objectives.

    >>> hypervolume([(0.0, 0.5), (0.5, 0.0)], (1.0, 1.0))
    0.75
    """
    inside = [p for p in points if all(x < r for x, r in zip(p, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(p[0] for p in inside)
    total = 0.0
    order = sorted(inside, key=lambda p: p[-1])
    ends = [p[-1] for p in order[1:]] + [reference[-1]]
    for i, (point, end) in enumerate(zip(order, ends, strict=True)):
        if end > point[-1]:
            total += (end - point[-1]) * hypervolume([p[:-1] for p in order[: i + 1]], reference[:-1])
    return total


# --- the penalty --------------------------------------------------------------------------------------


class ExpectedCost:
    """The expected cost of what a path weighs, as a share of the largest architecture's, with gradients.

    Every choice is drawn independently from its weights (the probabilities of a mixture, or gates, of which the one
    taken is 1). A choice without either is as the path's genotype has it. That is exact where no ``require`` ties the
    choices (:mod:`nasdsl.searching.expected`).
    """

    def __init__(self, space: Space, costs: Sequence[str], weight: float) -> None:
        for cost in costs:
            if cost not in ADDITIVE:
                raise failure(
                    "N512",
                    f"`{cost}` is no sum over the parts of an architecture, so it has no expectation to learn from",
                    f"take {' or '.join(ADDITIVE)}, or a strategy that learns from no gradient, or `-c cost_weight=0`",
                )
        self.space = space
        self.weight = weight
        self.sums = [
            (ExpectedSum(space, cost_terms(space, cost)), max(1, getattr(space.ranges(), cost).max))
            for cost in costs
        ]

    def __call__(self, path: Path) -> Tensor:
        """weight · Σ E(cost) / largest, a scalar."""
        weights = self._weights(path)
        total = torch.zeros((), dtype=torch.float64)
        for expected, largest in self.sums:
            total = total + expected(weights) / largest
        return self.weight * total

    def _weights(self, path: Path) -> dict[str, Tensor]:
        given = path.gates if path.mixture is None else path.mixture
        found = {}
        for choice in self.space.choices:
            weights = given.get(choice.name)
            if weights is None:
                weights = torch.zeros(len(choice.labels), dtype=torch.float64)
                taken = path.genotype.get(choice.name, ())
                for label in (taken,) if isinstance(taken, str) else taken:
                    weights[choice.labels.index(label)] = 1
            found[choice.name] = weights.double().cpu()
        return found


class SampleCost:
    """What one architecture costs, as a share of the largest, taken off what a strategy is told of it (ours).

        metric - weight · Σ cost / largest,        loss + weight · Σ cost / largest

    Any measure will do, for nothing is averaged.
    """

    def __init__(self, space: Space, costs: Sequence[str], weight: float) -> None:
        ranges = space.ranges()
        self.space = space
        self.weight = weight
        self.largest = {cost: max(1, getattr(ranges, cost).max) for cost in costs}

    def __call__(self, genotype: Mapping[str, Taken]) -> float:
        """weight · Σ cost / largest."""
        measures = self.space.measure(Genotype(genotype))
        return self.weight * sum(getattr(measures, cost) / most for cost, most in self.largest.items())

    def off(self, result: Evaluation, genotype: Mapping[str, Taken]) -> Evaluation:
        cost = self(genotype)
        return replace(result, loss=result.loss + cost, metric=result.metric - cost)


def expected_cost(space: Space, settings: SearchSettings, strategy: WeightSharing) -> ExpectedCost | None:
    """What is added to the losses that a strategy learns from; None where it learns from none, or nothing costs."""
    costs = _that_weigh(settings)
    if not costs or getattr(type(strategy), "learns", True) is False:
        return None
    return ExpectedCost(space, costs, settings.cost_weight)


def sample_cost(space: Space, settings: SearchSettings) -> SampleCost | None:
    """What is taken off the rewards of a search; None where nothing costs."""
    costs = _that_weigh(settings)
    return SampleCost(space, costs, settings.cost_weight) if costs else None


def _that_weigh(settings: SearchSettings) -> tuple[str, ...]:
    return costs_among(settings.objectives) if settings.cost_weight else ()
