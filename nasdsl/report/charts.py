"""Charts of a run as SVG that stands in a page: matplotlib draws them, the page's style sheet colours them.

Every colour that a chart is drawn in stands for a variable of the page (:data:`INK`), so that light and dark pages show
the same chart.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK: Mapping[str, str] = {
    "#010203": "var(--ink)",
    "#040506": "var(--muted)",
    "#070809": "var(--rule)",
    **{f"#1000{i:02x}": f"var(--series-{i})" for i in range(8)},
}
"""What is drawn in a colour, by what the page calls it."""

_TEXT, _MUTED, _RULE = "#010203", "#040506", "#070809"
SERIES = tuple(f"#1000{i:02x}" for i in range(8))

Line = tuple[str, Sequence[float], Sequence[float]]
"""A name, and its points' x and y."""


def lines(
    curves: Sequence[Line],
    *,
    x: str,
    y: str,
    between: tuple[float, float] | None = None,
    size: tuple[float, float] = (5.2, 2.6),
) -> str:
    """Curves over one axis, with a key where there are several; ``between`` are the ends of the other axis."""
    with _style():
        figure, axes = _axes(size)
        for i, (name, xs, ys) in enumerate(curves):
            axes.plot(
                xs, ys, color=SERIES[i % 8], linewidth=1.6, label=name, marker="o" if len(xs) == 1 else None
            )
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.ticklabel_format(useOffset=False)
        if between is not None:
            axes.set_ylim(*between)
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=8)
        return _svg(figure)


def shares(labels: Sequence[str], xs: Sequence[float], rows: Sequence[Sequence[float]], *, title: str) -> str:
    """How the probabilities of a choice's candidates moved; ``rows`` are those of each x. At most eight have colours of
    their own."""
    with _style():
        figure, axes = _axes((2.6, 1.9))
        for i, label in enumerate(labels):
            axes.plot(
                xs, [row[i] for row in rows], color=SERIES[i % 8], linewidth=1.4,
                linestyle="-" if i < 8 else "--", label=label,
            )  # fmt: skip
        axes.set_ylim(0, 1)
        axes.set_title(title, fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        return _svg(figure)


def points(
    xs: Sequence[float],
    ys: Sequence[float],
    front: Sequence[int],
    *,
    x: str,
    y: str,
    size: tuple[float, float] = (5.2, 2.8),
) -> str:
    """Two objectives of every trial; those on the front, by their positions, are joined."""
    with _style():
        figure, axes = _axes(size)
        axes.scatter(xs, ys, s=12, color=_MUTED, linewidths=0)
        order = sorted(front, key=lambda i: xs[i])
        axes.plot([xs[i] for i in order], [ys[i] for i in order], color=SERIES[0], marker="o", markersize=4)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        return _svg(figure)


def _style() -> AbstractContextManager[None]:
    import matplotlib as mpl

    return mpl.rc_context(
        {
            "svg.fonttype": "none", "svg.hashsalt": "nasdsl", "font.family": "sans-serif", "font.size": 8,
            "text.color": _TEXT, "axes.labelcolor": _MUTED, "axes.edgecolor": _RULE, "axes.titlecolor": _TEXT,
            "xtick.color": _RULE, "ytick.color": _RULE, "xtick.labelcolor": _MUTED, "ytick.labelcolor": _MUTED,
            "grid.color": _RULE, "grid.linewidth": 0.6, "axes.grid": True, "axes.axisbelow": True,
            "axes.spines.top": False, "axes.spines.right": False, "legend.labelcolor": _TEXT,
        }
    )  # fmt: skip


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    # Without pyplot there is no window, and nothing that outlives the figure.
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for drawn, named in INK.items():
        text = text.replace(drawn, named)
    # The font is the page's.
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px sans-serif", text)
    return re.sub(r'width="([\d.]+)pt" height="([\d.]+)pt"', r'class="chart"', text, count=1)
