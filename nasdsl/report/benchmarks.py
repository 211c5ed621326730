"""The page of a benchmark: a table, and the incumbent over evaluations as SVG."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasdsl.searching.bench import Bench, Summary
    from nasdsl.searching.bench_supernet import SupernetBench

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")
"""Those of Okabe & Ito, which colour-blind people tell apart."""


def as_text(found: Bench) -> str:
    """The table, the best mean first."""
    from nasdsl.report.progress import grouped

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

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 55


def as_svg(found: Bench) -> str:
    """Mean of the incumbent's reported value after each evaluation; the bands are the standard error of the mean."""
    return "\n".join(_document(found)) + "\n"


def _document(found: Bench) -> Iterator[str]:
    curves = sorted(found.summaries, key=lambda s: -s.mean)
    low, high = _extent(curves, found.optimum)
    count = found.evaluations

    def x(evaluation: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (evaluation - 1) / max(1, count - 1)

    def y(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="#1f2933">'
    )
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    title = f"{found.space}, {found.table}: mean of {found.seeds} seeds, band ± standard error"
    yield f'<text x="{LEFT}" y="22" font-size="14">{escape(title)}</text>'
    for value in _ticks(low, high, 6):
        yield (
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#d5dbe1"/>'
            f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for at in _ticks(1, count, 6):
        if 1 <= at <= count:
            yield f'<text x="{x(at):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{at:g}</text>'
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    yield f'<text x="{middle:.1f}" y="{HEIGHT - 14}" text-anchor="middle">evaluations</text>'
    height = TOP + (HEIGHT - TOP - BOTTOM) / 2
    yield (
        f'<text transform="translate(18 {height:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(found.report_column)} of the incumbent</text>"
    )
    top = y(found.optimum)
    yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top:.1f}" y2="{top:.1f}" stroke="#6b7580" stroke-dasharray="4 3"/>'
    yield f'<text x="{WIDTH - RIGHT + 10}" y="{top + 4:.1f}" fill="#6b7580">optimum {found.optimum:.2f}</text>'
    for i, s in enumerate(curves):
        colour = COLOURS[i % len(COLOURS)]
        error = [d / s.seeds**0.5 for d in s.deviation_curve]
        pairs = list(zip(s.mean_curve, error, strict=True))
        above = [f"{x(n):.1f},{y(m + e):.1f}" for n, (m, e) in enumerate(pairs, 1)]
        below = [f"{x(n):.1f},{y(m - e):.1f}" for n, (m, e) in enumerate(pairs, 1)]
        line = [f"{x(n):.1f},{y(m):.1f}" for n, (m, _) in enumerate(pairs, 1)]
        yield f'<polygon points="{" ".join(above + below[::-1])}" fill="{colour}" opacity="0.15"/>'
        yield f'<polyline points="{" ".join(line)}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
        row = TOP + 30 + 34 * i
        yield f'<rect x="{WIDTH - RIGHT + 10}" y="{row}" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{WIDTH - RIGHT + 28}" y="{row + 10}">{escape(s.strategy)}</text>'
        yield (
            f'<text x="{WIDTH - RIGHT + 28}" y="{row + 24}" fill="#6b7580">'
            f"{s.mean:.2f} ± {s.deviation:.2f}</text>"
        )
    yield "</svg>"


def _extent(curves: Sequence[Summary], optimum: float) -> tuple[float, float]:
    """From the worst mean after a tenth of the budget up to the optimum: the first draws would flatten all else."""
    start = len(curves[0].mean_curve) // 10
    low = min(min(s.mean_curve[start:]) for s in curves)
    room = max(optimum - low, 1e-9)
    return low - 0.05 * room, optimum + 0.05 * room


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers between two values.

    >>> _ticks(90.3, 94.4, 5)
    [91.0, 92.0, 93.0, 94.0]
    """
    raw = max(high - low, 1e-12) / count
    power = 10.0 ** len(str(int(raw))) / 10 if raw >= 1 else 1.0
    while power > raw:
        power /= 10
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw)
    first = -(-low // step)
    return [round((first + i) * step, 10) for i in range(int((high - first * step) / step + 1e-9) + 1)]
