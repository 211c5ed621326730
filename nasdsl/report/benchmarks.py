"""The page of a benchmark: a table, and the incumbent over evaluations as SVG."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasdsl.diagnostics.quantities import grouped

if TYPE_CHECKING:
    from nasdsl.searching.bench import Bench, Summary
    from nasdsl.searching.bench_supernet import SupernetBench


def as_text(found: Bench) -> str:
    """The table, the best mean first."""
    wide = max(len("strategy"), *(len(s.strategy) for s in found.summaries))
    lines = [
        f"{found.space} on {found.table}: {grouped(str(found.architectures))} architectures, "
        f"{found.evaluations} evaluations, {found.seeds} seeds",
        f"searched by {found.search_column}, reported {found.report_column} (optimum {found.optimum:.2f})",
        "",
        f"{'strategy':<{wide}}  {'mean ± sd':>14}  {'regret':>7}  {'optimum':>8}  {'evaluations':>11}",
    ]
    for s in sorted(found.summaries, key=lambda s: -s.mean):
        lines.append(
            f"{s.strategy:<{wide}}  {f'{s.mean:.2f} ± {s.deviation:.2f}':>14}  {s.regret:>7.2f}  "
            f"{f'{100 * s.found:.0f} %':>8}  {s.evaluations:>11.1f}"
        )
    lines += ["", f"{found.seconds:.1f} s in {found.workers} process{'es' if found.workers > 1 else ''}"]
    return "\n".join(lines) + "\n"


def supernets_as_text(found: SupernetBench) -> str:
    """The table of supernets: winners trained from scratch, the best mean first, and how well they rank."""
    wide = max(len("strategy"), *(len(name) for name in found.strategies))
    head = f"{found.space} on {found.task}: {found.epochs} epochs a supernet, {found.seeds} search seeds"
    lines = [head, f"winners trained from scratch, {found.metric} on the test part"]
    if found.architectures:
        lines.append(
            f"ranking: Kendall's tau-b of the shared weights' {found.metric} with that of "
            f"{found.architectures} architectures trained from scratch"
        )
    lines += [
        "",
        f"{'strategy':<{wide}}  {'winner':>15}  {'tau, all':>14}  {'better half':>14}  {'CPU s':>6}",
    ]
    rows = []
    for name in found.strategies:
        outcomes = found.of(name)
        tests = [o.test for o in outcomes]
        rankings = [o.ranking for o in outcomes if o.ranking is not None]
        seconds = sum(o.seconds for o in outcomes) / len(outcomes)
        rows.append(
            (
                sum(tests) / len(tests),
                f"{name:<{wide}}  {_spread(tests, 4):>15}  {_spread([r.all for r in rankings], 2):>14}  "
                f"{_spread([r.better_half for r in rankings], 2):>14}  {seconds:>6.0f}",
            )
        )
    lines += [text for _, text in sorted(rows, key=lambda row: -row[0] if row[0] == row[0] else 0.0)]
    if found.ceiling is not None:
        lines.append(
            f"{'two trainings':<{wide}}  {'':>15}  {found.ceiling.all:>14.2f}  {found.ceiling.better_half:>14.2f}"
        )
    lines += ["", f"{found.seconds:.1f} s in {found.workers} process{'es' if found.workers > 1 else ''}"]
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation of the sample; nothing where there is nothing.

    >>> _spread([0.5, 0.7], 2), _spread([0.5], 2), _spread([], 2)
    ('0.60 ± 0.14', '0.50', '-')
    """
    known = [value for value in values if value == value]
    if not known:
        return "-"
    mean = f"{statistics.fmean(known):.{digits}f}"
    return f"{mean} ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else mean


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
