"""The front of a run: the metric of every trial over each cost, with those that nothing beats joined by a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    """What ``pareto.json`` says: a cloud for each cost, and of which box the front dominates which share."""

    clouds: tuple[charts.Cloud, ...]
    hypervolume: float
    box: str


def read_front(path: Path) -> StoredFront:
    """Of :meth:`nasdsl.searching.objectives.Front.as_json`."""
    found = json.loads(path.read_text(encoding="utf-8"))
    key, *costs = found["objectives"]
    metric = found.get("metric", key)
    clouds = (
        charts.Cloud(
            NAMES.get(cost, cost),
            metric,
            [(point[cost], point[key]) for point in found["trials"]],
            [(point[cost], point[key]) for point in found["front"]],
        )
        for cost in costs
    )
    box = [
        f"{metric if name == key else name} {worst:.4g} to {best:.4g}"
        for name, (worst, best) in found.get("box", {}).items()
    ]
    return StoredFront(tuple(clouds), found["hypervolume"], ", ".join(box))


def said(front: StoredFront) -> str:
    """The hypervolume with its box, as it stands over a picture."""
    return f"hypervolume {front.hypervolume:.4f}" + (f" of {front.box}" if front.box else "")


def lines(folder: Path) -> Iterator[str]:
    """What is told of the front of a finished run, whose picture is drawn: where it is, and which of it won."""
    front, picture = read_front(folder / "pareto.json"), plot(folder / "pareto.json")
    cloud = front.clouds[0]
    yield f"the front: {len(cloud.front)} of the {len(cloud.trials)} that were scored, in {picture}"
    yield (
        f"the winner is the one of the best {cloud.y}, whatever it costs; the cheapest is trained by "
        f'nasdsl train {folder} -g "$(sed -n 1p {folder}/front.jsonl)"'
    )


def plot(path: Path) -> Path:
    """Draws ``pareto.json`` beside it, a panel a cost; gives the path of the picture."""
    front = read_front(path)
    figure = charts.clouds(front.clouds, title=said(front))
    picture = path.with_suffix(".svg")
    picture.write_text(charts.on_paper(figure), encoding="utf-8")
    return picture
