"""The display of a search on a terminal: one panel that changes in place, and the lines that stay when it is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nasdsl.diagnostics.quantities import duration, grouped
from nasdsl.report.progress import Progress

LEADING = 8
"""Choices that are shown, the most undecided first: these are what moves."""


class Display:
    """What is known of a search, drawn anew with each event. ``metric`` is what the task calls its metric."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.start: Mapping[str, Any] = {}
        self.epoch: Mapping[str, Any] = {}
        self.trials = 0
        self.best: Mapping[str, Any] | None = None
        self.end: Mapping[str, Any] | None = None
        # Of this process: (seconds, epochs) when it told of its first epoch, for the time left.
        self.first: tuple[float, int] | None = None

    def take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind in ("start", "resume"):
            self.start = event
            self.metric = event.get("score", self.metric)
        elif kind == "epoch":
            self.epoch = event
            if self.first is None:
                self.first = event["seconds"], event["epoch"]
        elif kind == "trial":
            self.trials = event["number"]
            if self.best is None or event["metric"] > self.best["metric"]:
                self.best = event
        elif kind == "end":
            self.end = event

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self.start:
            about = self.start
            parts.append(
                Text(
                    f"{about['space']}: {grouped(about['architectures'])} architectures, "
                    f"{about['choices']} choices; {about['strategy']} on {about['task']}"
                )
            )
        parts.append(self._bar())
        parts.append(self._numbers())
        leading = self._leading()
        if leading is not None:
            parts.append(leading)
        return Group(*parts)

    def _bar(self) -> RenderableType:
        if "evaluator" in self.start:
            what, done, whole = "scored", self.trials, self.start["evaluations"]
        else:
            what, done = "epoch", self.epoch.get("epoch", 0)
            whole = self.start.get("epochs", done)
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            f"{what} {done}/{whole or '?'}",
            ProgressBar(total=max(1, whole), completed=done, width=40),
            time_left(self.first, self.epoch, whole),
        )
        return grid

    def _numbers(self) -> RenderableType:
        said = []
        for key, name in (("loss", "loss"), ("architecture_loss", "architecture"), ("metric", self.metric)):
            if isinstance(self.epoch.get(key), float):
                said.append(f"{name} {self.epoch[key]:.3f}")
        if "entropy" in self.epoch:
            said.append(f"undecided {self.epoch['entropy']:.0%}")
        if self.best is not None:
            whole = f"/{self.start['proposals']}" if "proposals" in self.start else ""
            scored = "" if "evaluator" in self.start else f"scored {self.trials}{whole}, "
            said.append(f"{scored}best {self.best['metric']:.3f}")
        return Text("  ".join(said) or "under way")

    def _leading(self) -> RenderableType | None:
        """The leading candidate of the choices that are least decided."""
        shares: Mapping[str, list[float]] = self.epoch.get("probabilities", {})
        leading: Mapping[str, str] = self.epoch.get("leading", {})
        if not leading:
            return None
        names = sorted(leading, key=lambda name: max(shares[name]))[:LEADING]
        table = Table.grid(padding=(0, 1))
        for name in names:
            top = max(shares[name])
            table.add_row(
                Text(name, style="dim"),
                ProgressBar(total=1.0, completed=top, width=16),
                f"{top:.2f}",
                leading[name],
            )
        more = len(leading) - len(names)
        return Group(table, Text(f"and {more} choices that are more decided", style="dim")) if more else table


def time_left(first: tuple[float, int] | None, epoch: Mapping[str, Any], epochs: int) -> str:
    """About how long it still takes, from the epochs of this process.

    >>> time_left((10.0, 1), {"epoch": 5, "seconds": 50.0}, 10)
    'about 50 s left'
    """
    if first is None or epoch.get("epoch", 0) <= first[1] or epochs <= epoch["epoch"]:
        return ""
    pace = (epoch["seconds"] - first[0]) / (epoch["epoch"] - first[1])
    return f"about {duration(pace * (epochs - epoch['epoch']))} left"


@contextmanager
def watching(progress: Progress) -> Iterator[Progress]:
    """Shows a search while the block lasts: on a terminal in a panel, elsewhere in the lines of ``progress``."""
    console = Console(file=progress.stream)
    if not console.is_terminal or console.is_dumb_terminal:
        yield progress
        return
    display = Display(progress.metric)
    with Live(display, console=console, refresh_per_second=4, transient=True):
        shown = _Shown(display, progress)
        yield shown
    for event in shown.kept:
        progress.search(event)


class _Shown(Progress):
    """Gives events to a display, and keeps those that stay when it is gone."""

    def __init__(self, display: Display, progress: Progress) -> None:
        super().__init__(progress.stream, lines=progress.lines, indent=progress.indent)
        self.metric = progress.metric
        self.display = display
        self.kept: list[Mapping[str, Any]] = []

    def search(self, event: Mapping[str, Any]) -> None:
        self.display.take(event)
        if event["event"] in ("start", "resume", "end", "rollback"):
            self.kept.append(event)
        elif event["event"] == "epoch":
            self.kept = [e for e in self.kept if e["event"] != "epoch"] + [event]
