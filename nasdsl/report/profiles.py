"""Profiles of ONNX files as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nasdsl.diagnostics.quantities import counted, short

if TYPE_CHECKING:
    from nasdsl.exporting.profile import Comparison, Profile

OPERATORS = 12
"""More kinds of operators than this are summed up."""


def profile_lines(profiles: Sequence[Profile]) -> Iterator[str]:
    """Files beside each other, then the operators of each."""
    first = profiles[0].latency
    yield (
        f"onnxruntime, {counted(first.threads, 'thread')}, batch {first.batch}, "
        f"{counted(first.runs, 'run')} (milliseconds)"
    )
    wide = max(len(one.file) for one in profiles)
    heads = ("median", "p5", "p95", "p99", "params", "multiply-adds", "peak memory", "on disk")
    yield f"{'file':<{wide}}" + "".join(f"{head:>{max(10, len(head) + 2)}}" for head in heads)
    for one in profiles:
        times = (one.latency.median, one.latency.p05, one.latency.p95, one.latency.p99)
        memory = "?" if one.peak_memory is None else _bytes(one.peak_memory)
        cells = [
            *(f"{1e3 * t:.3f}" for t in times),
            short(one.params),
            short(one.flops),
            memory,
            _bytes(one.bytes),
        ]
        yield f"{one.file:<{wide}}" + "".join(
            f"{cell:>{max(10, len(head) + 2)}}" for cell, head in zip(cells, heads, strict=True)
        )
    yield "params are those that the file holds: normalisation is folded into convolutions, so `train` counts some more"
    for one in profiles:
        yield ""
        yield from operator_lines(one)


def operator_lines(profile: Profile) -> Iterator[str]:
    """The kinds of operators that take longest, a line each in milliseconds, and the rest on one."""
    yield f"{profile.file}: {'operator':<24}{'calls':>7}{'ms':>10}{'share':>8}"
    margin = " " * (len(profile.file) + 2)
    for one in profile.operators[:OPERATORS]:
        yield f"{margin}{one.operator:<24}{one.calls:>7.0f}{one.milliseconds:>10.4f}{one.share:>8.1%}"
    rest = profile.operators[OPERATORS:]
    if rest:
        calls, taken, share = (
            sum(values) for values in zip(*((o.calls, o.milliseconds, o.share) for o in rest), strict=True)
        )
        yield f"{margin}{f'{len(rest)} other kinds':<24}{calls:>7.0f}{taken:>10.4f}{share:>8.1%}"


def comparison_lines(first: str, second: str, found: Comparison) -> Iterator[str]:
    """Which of two files is faster, and how sure that is."""
    yield (
        f"{second} takes {found.ratio:.2f} times as long as {first} "
        f"({counted(found.first.runs, 'pair')} by turns; nine of ten between {found.p05:.2f} and {found.p95:.2f})"
    )
    if found.p05 <= 1 <= found.p95:
        yield "the spread reaches over 1: on this machine, now, they can't be told apart by single runs"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
