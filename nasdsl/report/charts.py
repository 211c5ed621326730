"""Charts as SVG: matplotlib draws them, and where they are shown colours them.

What is drawn is in placeholders of colours (:data:`ROLES`). In a page each becomes a variable of its style sheet, so
that light and dark pages show the same chart (:func:`on_page`); in a file it is a colour (:func:`on_paper`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

TEXT, MUTED, RULE = "#010203", "#040506", "#070809"
SERIES = tuple(f"#1000{i:02x}" for i in range(8))
ROLES: Mapping[str, str] = {
    TEXT: "ink",
    MUTED: "muted",
    RULE: "rule",
    **{colour: f"series-{i}" for i, colour in enumerate(SERIES)},
}
"""The placeholders, by what they are for."""

_PAPER: Mapping[str, str] = {
    "ink": "#1f2933",
    "muted": "#5f6b76",
    "rule": "#d5dbe1",
    # Those of Okabe & Ito, which colour-blind people tell apart.
    **dict(
        zip(
            (f"series-{i}" for i in range(8)),
            ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000"),
            strict=True,
        )
    ),
}


@dataclass(frozen=True)
class Curve:
    """Points by their x and y; ``error`` is the half width of a band around each y."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    error: Sequence[float] = ()


@dataclass(frozen=True)
class Cloud:
    """Trials by two objectives, (x, y); those of the front are joined by a line, from left to right."""

    x: str
    y: str
    trials: Sequence[tuple[float, float]]
    front: Sequence[tuple[float, float]]


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _style():
            return draw(*args, **kwargs)

    return drawn


@_styled
def lines(
    curves: Sequence[Curve],
    *,
    x: str,
    y: str,
    between: tuple[float, float] | None = None,
    level: tuple[str, float] | None = None,
    title: str = "",
    size: tuple[float, float] = (5.2, 2.6),
) -> Figure:
    """Curves over one axis, with a key where there are several. ``between`` are the ends of the other axis, ``level`` a
    dashed line over the whole width, with its name."""
    figure, axes = _axes(size)
    for i, curve in enumerate(curves):
        colour = SERIES[i % 8]
        marker = "o" if len(curve.xs) == 1 else None
        axes.plot(curve.xs, curve.ys, color=colour, linewidth=1.6, label=curve.name, marker=marker)
        if curve.error:
            pairs = list(zip(curve.ys, curve.error, strict=True))
            below, above = [m - e for m, e in pairs], [m + e for m, e in pairs]
            axes.fill_between(curve.xs, below, above, color=colour, alpha=0.15, linewidth=0)
    if level is not None:
        name, value = level
        axes.axhline(value, color=MUTED, linewidth=1, linestyle="--", label=name)
    axes.set(xlabel=x, ylabel=y)
    axes.ticklabel_format(useOffset=False)
    if between is not None:
        axes.set_ylim(*between)
    if title:
        axes.set_title(title, loc="left")
    if len(curves) > 1 or level is not None:
        axes.legend(frameon=False, fontsize=8)
    return figure


@_styled
def shares(
    labels: Sequence[str], xs: Sequence[float], rows: Sequence[Sequence[float]], *, title: str
) -> Figure:
    """How the probabilities of a choice's candidates moved; ``rows`` are those of each x. At most eight have colours of
    their own."""
    figure, axes = _axes((2.6, 1.9))
    for i, label in enumerate(labels):
        axes.plot(
            xs, [row[i] for row in rows], color=SERIES[i % 8], linewidth=1.4,
            linestyle="-" if i < 8 else "--", label=label,
        )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_title(title, fontsize=8, loc="left")
    axes.tick_params(labelsize=7)
    return figure


@_styled
def clouds(panels: Sequence[Cloud], *, title: str = "") -> Figure:
    """Clouds beside each other."""
    figure = _figure((4.6 * len(panels), 3.2))
    for axes, cloud in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.scatter(*_columns(cloud.trials), s=12, color=MUTED, linewidths=0, label="trials")
        axes.plot(*_columns(sorted(cloud.front)), color=SERIES[0], marker="o", markersize=4, label="front")
        axes.set(xlabel=cloud.x, ylabel=cloud.y)
    axes.legend(frameon=False, loc="lower right")
    if title:
        figure.suptitle(title, fontsize=9)
    return figure


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def on_page(figure: Figure) -> str:
    """An ``<svg>`` for a page that has the variables ``--ink``, ``--muted``, ``--rule``, ``--series-0`` to ``--series-7``
    and a class ``chart``, which says how wide it is."""
    text = _svg(figure, transparent=True)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for drawn, role in ROLES.items():
        text = text.replace(drawn, f"var(--{role})")
    return re.sub(r'width="([\d.]+)pt" height="([\d.]+)pt"', r'class="chart"', text, count=1)


def on_paper(figure: Figure) -> str:
    """An SVG file, on white."""
    text = _svg(figure, transparent=False)
    for drawn, role in ROLES.items():
        text = text.replace(drawn, _PAPER[role])
    return text


def _svg(figure: Figure, *, transparent: bool) -> str:
    """In placeholders; text stays text, and the same chart gives the same bytes."""
    stream = io.StringIO()
    with _style():
        figure.savefig(stream, format="svg", transparent=transparent, metadata={"Date": None})
    # The font is the reader's.
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px sans-serif", stream.getvalue())


def _style() -> AbstractContextManager[None]:
    import matplotlib as mpl

    return mpl.rc_context(
        {
            "svg.fonttype": "none", "svg.hashsalt": "nasdsl", "font.family": "sans-serif", "font.size": 8,
            "text.color": TEXT, "axes.labelcolor": MUTED, "axes.edgecolor": RULE, "axes.titlecolor": TEXT,
            "xtick.color": RULE, "ytick.color": RULE, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED,
            "grid.color": RULE, "grid.linewidth": 0.6, "axes.grid": True, "axes.axisbelow": True,
            "axes.spines.top": False, "axes.spines.right": False, "legend.labelcolor": TEXT,
        }
    )  # fmt: skip


def _figure(size: tuple[float, float]) -> Figure:
    # Without pyplot there is no window, and nothing that outlives the figure.
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = _figure(size)
    return figure, figure.subplots()
