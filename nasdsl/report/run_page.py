"""A run as one HTML page that needs nothing besides itself: ``nasdsl report``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics.quantities import duration, grouped
from nasdsl.report import charts
from nasdsl.report.pareto import read_front, said
from nasdsl.report.progress import genotype_text
from nasdsl.report.run_log import RunLog
from nasdsl.space.marginals import Marginal, Scored, by_share, comparable, marginals, means

if TYPE_CHECKING:
    from nasdsl.space.space import Space

TRIALS = 200
"""More trials than this are left to `events.jsonl`."""

CHOICES = 60
"""More choices than this are not drawn one by one."""


@dataclass(frozen=True)
class Chart:
    """A drawing with the words over and beneath it; ``labels`` are those of its curves, in the order of the colours."""

    title: str
    svg: str
    note: str = ""
    labels: tuple[str, ...] = ()


def run_page(run: RunLog, space: Space) -> str:
    """The page. ``space`` is the run's own."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    loader = PackageLoader("nasdsl.report", "templates")
    environment = Environment(
        loader=loader, autoescape=select_autoescape(["html"]), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = grouped
    environment.filters["figure"] = figure
    environment.filters["means"] = means
    return environment.get_template("run.html").render(
        run=run,
        title=f"{run.config.get('space')}, {run.config.get('strategy')} on {run.config.get('task')}",
        facts=facts(run, space),
        winner=winner(run, space),
        drawing=drawing(run, space),
        curves=curves(run),
        choices=choices(run, space),
        mattered=mattered(run, space),
        scored=len(comparable(scored(run))),
        fronts=fronts(run),
        trials=trials(run),
        config=flat(run.config),
        versions=run.versions,
    )


def figure(value: Any) -> str:
    """A number in few digits, and what is no number as it is.

    >>> figure(0.123456), figure(12), figure(None)
    ('0.1235', '12', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)


def facts(run: RunLog, space: Space) -> dict[str, str]:
    """What a reader wants to know first."""
    done, wanted = run.epochs
    seconds = run.events[-1].get("seconds") if run.events else None
    found = {
        "state": run.state,
        "space": f"{space.name}: {grouped(str(space.count()))} architectures, {len(space.choices)} choices",
        "strategy": str(run.config.get("strategy")),
        "task": str(run.config.get("task")),
        "epochs": f"{done} of {wanted}",
        "trials": str(len(run.of("trial"))),
        "seed": str(run.config.get("seed")),
    }
    if seconds is not None:
        found["time"] = duration(float(seconds))
    end = run.end
    if end is not None:
        found["with the shared weights"] = f"{figure(end['metric'])} (loss {figure(end['loss'])})"
    test = (run.trained or {}).get("test")
    if isinstance(test, Mapping) and "metric" in test:
        whose = "trained from scratch"
        if end is not None and (run.trained or {}).get("genotype", end["genotype"]) != end["genotype"]:
            whose = "another architecture, trained from scratch"
        found[whose] = f"{figure(test['metric'])} on {test.get('examples')} held-out examples"
    return found


def winner(run: RunLog, space: Space) -> list[tuple[str, str, str]]:
    """Each choice of the winner: what was taken, and with which probability at the end."""
    end = run.end
    if end is None:
        return []
    told = [event["probabilities"] for event in run.of("epoch") if "probabilities" in event]
    probabilities: Mapping[str, list[float]] = told[-1] if told else {}
    rows = []
    for name, taken in end["genotype"].items():
        labels = taken if isinstance(taken, list) else [taken]
        known = space.choice(name).labels
        shares = [probabilities[name][known.index(label)] for label in labels if name in probabilities]
        rows.append((name, ", ".join(labels), ", ".join(f"{share:.2f}" for share in shares)))
    return rows


def scored(run: RunLog) -> list[Scored]:
    """The architectures that the run scored, with their scores."""
    return [
        Scored(event["genotype"], float(event["metric"]), int(event.get("budget", 0)))
        for event in run.of("trial")
        if isinstance(event.get("metric"), (int, float))
    ]


def mattered(run: RunLog, space: Space) -> list[Marginal]:
    """The choices by how much they mattered among what was scored; none, where too few were to say of any."""
    found = by_share(marginals(space.choices, scored(run)))
    return [marginal for marginal in found if marginal.share is not None]


def entry(run: RunLog, space: Space) -> dict[str, Any]:
    """What the page says, for machines: state, winner, test score, and for each choice what :class:`Marginal` knows."""
    end = run.end
    trials = scored(run)
    return {
        "run": str(run.folder),
        "state": run.state,
        "space": space.name,
        "strategy": run.config.get("strategy"),
        "task": run.config.get("task"),
        "seed": run.config.get("seed"),
        "winner": None if end is None else {key: end[key] for key in ("genotype", "metric", "loss")},
        "trained": run.trained,
        "trials": len(trials),
        "compared": len(comparable(trials)),
        "choices": [marginal.as_json() for marginal in marginals(space.choices, trials)],
    }


def drawing(run: RunLog, space: Space) -> str:
    """The space, with the winner in it where there is one."""
    from nasdsl.report.drawing_panels import picture_of
    from nasdsl.report.drawing_svg import svg

    end = run.end
    return svg(picture_of(space, space.genotype(end["genotype"]) if end is not None else None))


def curves(run: RunLog) -> list[Chart]:
    """What went up and down over the epochs, and over the trials."""
    epochs = run.of("epoch")
    found: list[Chart] = []

    def over_epochs(
        title: str, keys: Mapping[str, str], *, between: tuple[float, float] | None = None, note: str = ""
    ) -> None:
        drawn = []
        for key, name in keys.items():
            pairs = [(e["epoch"], e[key]) for e in epochs if isinstance(e.get(key), (int, float))]
            if pairs:
                drawn.append(charts.Curve(name, [p[0] for p in pairs], [float(p[1]) for p in pairs]))
        if drawn:
            plot = charts.lines(drawn, x="epoch", y="", between=between)
            found.append(Chart(title, charts.on_page(plot), note))

    over_epochs("Loss", {"loss": "weights", "architecture_loss": "architecture"})
    over_epochs("Metric on the training half", {"metric": "metric"})
    over_epochs("Reward", {"reward": "reward"})
    undecided = "1 is undecided, 0 decided"
    over_epochs("How undecided the choices are", {"entropy": "entropy"}, between=(0, 1.02), note=undecided)
    over_epochs("Learning rate", {"lr": "learning rate"})
    scored = [e for e in run.of("trial") if isinstance(e.get("metric"), (int, float))]
    if len(scored) > 1:
        best, incumbents = -math.inf, []
        for event in scored:
            best = max(best, event["metric"])
            incumbents.append(best)
        numbers = [e["number"] for e in scored]
        rows = [
            charts.Curve("trial", numbers, [e["metric"] for e in scored]),
            charts.Curve("best so far", numbers, incumbents),
        ]
        found.append(Chart("Trials", charts.on_page(charts.lines(rows, x="trial", y="metric"))))
    return found


def choices(run: RunLog, space: Space) -> list[Chart]:
    """How the probabilities of each choice moved."""
    epochs = [e for e in run.of("epoch") if e.get("probabilities")]
    found: list[Chart] = []
    if len(epochs) < 2:
        return found
    for choice in space.choices[:CHOICES]:
        rows = [e["probabilities"].get(choice.name) for e in epochs]
        if all(rows):
            plot = charts.shares(choice.labels, [e["epoch"] for e in epochs], rows, title=choice.name)
            found.append(Chart(choice.name, charts.on_page(plot), labels=tuple(choice.labels)))
    return found


def fronts(run: RunLog) -> list[Chart]:
    """The metric of the trials over each cost that the run had among its objectives."""
    path = run.folder / "pareto.json"
    if not path.exists():
        return []
    found = read_front(path)
    note = said(found)
    return [
        Chart(f"{cloud.y} over {cloud.x}", charts.on_page(charts.clouds([cloud])), note)
        for cloud in found.clouds
    ]


def trials(run: RunLog) -> list[Mapping[str, Any]]:
    """The best trials, the best first."""
    scored = [e for e in run.of("trial") if isinstance(e.get("metric"), (int, float))]
    rows: list[Mapping[str, Any]] = []
    for event in sorted(scored, key=lambda e: (-e["metric"], e["loss"]))[:TRIALS]:
        rows.append({**event, "text": genotype_text(event["genotype"])})
    return rows


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The configuration, an entry a row."""
    found: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = json.dumps(value, ensure_ascii=False, default=str)
    return found


def page_path(run: RunLog) -> Path:
    """Where a run's page goes."""
    return run.folder / "report.html"
