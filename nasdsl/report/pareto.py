"""The front of a run: the metric of every trial over each cost, with those that nothing beats joined by a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from nasdsl.report import charts

NAMES = {
    "params": "params",
    "flops": "multiply-adds",
    "memory": "bytes of activations at once",
    "training_memory": "bytes of activations kept for a backward pass",
    "latency": "nanoseconds",
}


@dataclass(frozen=True)
class StoredFront:
    """What ``pareto.json`` says: a cloud for each cost."""

    clouds: tuple[charts.Cloud, ...]
    hypervolume: float


def read_front(path: Path) -> StoredFront:
    """Of :meth:`nasdsl.searching.objectives.Front.as_json`."""
    found = json.loads(path.read_text(encoding="utf-8"))
    metric, *costs = found["objectives"]
    clouds = (
        charts.Cloud(
            NAMES.get(cost, cost),
            metric,
            [(point[cost], point[metric]) for point in found["trials"]],
            [(point[cost], point[metric]) for point in found["front"]],
        )
        for cost in costs
    )
    return StoredFront(tuple(clouds), found["hypervolume"])


def plot(path: Path) -> Path:
    """Draws ``pareto.json`` beside it, a panel a cost; gives the path of the picture."""
    front = read_front(path)
    figure = charts.clouds(front.clouds, title=f"hypervolume {front.hypervolume:.4f}")
    picture = path.with_suffix(".svg")
    picture.write_text(charts.on_paper(figure), encoding="utf-8")
    return picture
