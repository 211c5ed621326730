"""The page of a benchmark: a table, and the incumbent over evaluations as SVG."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nasdsl.diagnostics.quantities import counted, grouped, short
from nasdsl.searching.differences import Behind

if TYPE_CHECKING:
    from nasdsl.searching.bench import Bench, Summary
    from nasdsl.searching.bench_supernet import Outcome, SupernetBench


BEHIND = "behind the best"
BEHIND_MEANS = f"{BEHIND}: what the mean lacks, and its 95 % interval; one that holds 0 shows no difference"


def as_text(found: Bench) -> str:
    """The table, the best mean first."""
    behind = found.behind
    rows = [["strategy", "mean ± sd", *([BEHIND] if behind else []), "regret", "optimum", "evaluations"]]
    for s in sorted(found.summaries, key=lambda s: -s.mean):
        told = f"{s.mean:.2f} ± {s.deviation:.2f}" if s.seeds > 1 else f"{s.mean:.2f}"
        lacks = [_lacks(behind.get(s.strategy), 2)] if behind else []
        reached = f"{100 * s.found:.0f} %"
        rows.append([s.strategy, told, *lacks, f"{s.regret:.2f}", reached, f"{s.evaluations:.1f}"])
    lines = [
        f"{found.space} on {found.table}: {grouped(str(found.architectures))} architectures, "
        f"{found.evaluations} evaluations, {counted(found.seeds, 'seed')}",
        f"searched by {found.search_column}, reported {found.report_column} (optimum {found.optimum:.2f})",
        *([BEHIND_MEANS] if behind else []),
        "",
        *_aligned(rows),
    ]
    lines += ["", f"{found.seconds:.1f} s in {found.workers} process{'es' if found.workers > 1 else ''}"]
    return "\n".join(lines) + "\n"


def supernets_as_text(found: SupernetBench) -> str:
    """The table of supernets, the best mean of the first column on top."""
    columns = list(_columns(found))
    names = {name: found.of(name) for name in found.strategies}
    order = sorted(names, key=lambda name: -statistics.fmean(columns[0].values(names[name]) or [-math.inf]))
    rows = [["strategy", *(column.title for column in columns)]]
    rows += [[name, *(column.cell(names[name]) for column in columns)] for name in order]
    behind = found.behind
    if behind and columns[0].field == found.told:
        rows[0].insert(2, BEHIND)
        for row in rows[1:]:
            row.insert(2, _lacks(behind.get(row[0]), columns[0].digits))
    if found.ceiling is not None:
        between = {"tau, all": found.ceiling.all, "better half": found.ceiling.better_half}
        known = (between.get(title) for title in rows[0][1:])
        rows.append(["two trainings", *("" if tau is None else f"{tau:.2f}" for tau in known)])
    lines = [*_legend(found), "", *_aligned(rows), ""]
    lines.append(f"{found.seconds:.1f} s in {found.workers} process{'es' if found.workers > 1 else ''}")
    return "\n".join(lines) + "\n"


def _legend(found: SupernetBench) -> Iterator[str]:
    epochs = f"{counted(found.epochs, 'epoch')} a supernet, " if found.epochs else ""
    yield f"{found.space} on {found.task}: {epochs}{counted(found.seeds, 'search seed')}"
    if found.without:
        yield f"without a supernet: scored by {found.without}"
    if found.retrained:
        yield f"winner: trained from scratch, {found.metric} on the test part"
    if found.listing is not None:
        yield (
            f"listed: what {found.listing.table} has for the winner in {found.listing.column} "
            f"(optimum {found.listing.optimum:.2f})"
        )
    if _tells_nothing_else(found):
        yield f"shared: {found.metric} of the winner with the shared weights, on the held-out half"
    if found.behind and not (found.architectures and found.told == "shared"):
        yield BEHIND_MEANS
    if found.architectures:
        yield (
            f"tau: Kendall's tau-b of the shared weights' {found.metric} with that of "
            f"{found.architectures} architectures trained from scratch"
        )


def _tells_nothing_else(found: SupernetBench) -> bool:
    """Whether winners are neither trained nor looked up, and nothing is ranked."""
    return not (found.retrained or found.listing is not None or found.architectures)


@dataclass(frozen=True)
class _Column:
    """``of`` gives what an outcome has for it, nan where it has nothing."""

    title: str
    digits: int
    of: Callable[[Outcome], float]
    field: str = ""
    spread: bool = True
    is_size: bool = False

    def values(self, outcomes: Sequence[Outcome]) -> list[float]:
        return [value for value in map(self.of, outcomes) if not math.isnan(value)]

    def cell(self, outcomes: Sequence[Outcome]) -> str:
        values = self.values(outcomes)
        if self.is_size and values:
            return short(statistics.fmean(values))
        if not self.spread and values:
            return f"{statistics.fmean(values):.{self.digits}f}"
        return _spread(values, self.digits)


def _columns(found: SupernetBench) -> Iterator[_Column]:
    if found.listing is not None:
        yield _Column("listed", 2, lambda o: o.listed, "listed")
    if found.retrained:
        yield _Column("winner", 4, lambda o: o.test, "test")
    if found.architectures:
        yield _Column("tau, all", 2, lambda o: math.nan if o.ranking is None else o.ranking.all)
        yield _Column("better half", 2, lambda o: math.nan if o.ranking is None else o.ranking.better_half)
    if _tells_nothing_else(found):
        yield _Column("shared", 4, lambda o: o.shared, "shared")
    yield _Column("params", 0, lambda o: o.params, spread=False, is_size=True)
    yield _Column("FLOPs", 0, lambda o: o.flops, spread=False, is_size=True)
    yield _Column("CPU s" if found.device == "cpu" else "s", 0, lambda o: o.seconds, spread=False)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]


def _lacks(behind: Behind | None, digits: int) -> str:
    """
    >>> _lacks(Behind(0.031, -0.012, 0.074), 2)
    '0.03 (-0.01 to 0.07)'
    """
    if behind is None:
        return ""
    return f"{behind.difference:.{digits}f} ({behind.low:.{digits}f} to {behind.high:.{digits}f})"


def _spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation of the sample; nothing where there is nothing. What diverged has no deviation.

    >>> _spread([0.5, 0.7], 2), _spread([0.5], 2), _spread([], 2), _spread([0.5, -math.inf], 2)
    ('0.60 ± 0.14', '0.50', '-', '-inf')
    """
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


# --- the plot ------------------------------------------------------------------------------------------


def as_svg(found: Bench) -> str:
    """Mean of the incumbent's reported value after each evaluation; the bands are the standard error of the mean."""
    from nasdsl.report import charts

    best_first = sorted(found.summaries, key=lambda s: -s.mean)
    evaluations = range(1, found.evaluations + 1)
    curves = [
        charts.Curve(
            f"{s.strategy}: {s.mean:.2f} ± {s.deviation:.2f}",
            evaluations,
            s.mean_curve,
            [deviation / s.seeds**0.5 for deviation in s.deviation_curve],
        )
        for s in best_first
    ]
    figure = charts.lines(
        curves,
        x="evaluations",
        y=f"{found.report_column} of the incumbent",
        between=_extent(best_first, found.optimum),
        level=(f"optimum: {found.optimum:.2f}", found.optimum),
        title=f"{found.space}, {found.table}: mean of {found.seeds} seeds, band ± standard error",
        size=(7.2, 4.2),
    )
    return charts.on_paper(figure)


def _extent(curves: Sequence[Summary], optimum: float) -> tuple[float, float]:
    """From the worst mean after a tenth of the budget up to the optimum: the first draws would flatten all else."""
    start = len(curves[0].mean_curve) // 10
    low = min(min(s.mean_curve[start:]) for s in curves)
    room = max(optimum - low, 1e-9)
    return low - 0.05 * room, optimum + 0.05 * room
