"""How well the sum over a table of operation latencies tells what a network takes as a whole in onnxruntime.

Random architectures of NAS-Bench-201 (one cell a stage, width 16), one example, one thread: the rows as they were
measured, and scaled to five other architectures as `nasdsl latency` does. Beside them how well FLOPs order the
architectures, and how well a measurement tells another one a minute later, which is the most that a table can do.

    python -m benchmarks.latency
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks._timing import machine
from nasdsl import pipeline, resources
from nasdsl.space.latency import LatencyTable, timed

RESULTS = Path(__file__).parent / "results" / "latency.txt"
ARCHITECTURES = 20
SEED = 1
"""Of the architectures that are told; those that the table is scaled to are drawn with seed 0."""


def main() -> None:
    space = pipeline.load(resources.spaces() / "nasbench201.nas", cells=1, width=16)
    table = pipeline.latency_table(space)
    genotypes = list({g.text: g for g in space.sample(SEED, ARCHITECTURES)}.values())
    first, again = ([1e9 * pipeline.latency(space, g).median for g in genotypes] for _ in range(2))
    flops = [space.measure(g).flops for g in genotypes]

    def told(by: LatencyTable) -> list[int]:
        return [timed(space, by).measure(g).latency for g in genotypes]

    plain = replace(table, rows={name: round(t / table.scale) for name, t in table.rows.items()})
    lines = [
        *machine(),
        f"{table.machine}, onnxruntime {table.versions['onnxruntime']}",
        f"{len(genotypes)} architectures of nasbench201(cells = 1, width = 16), "
        f"{min(first) / 1e3:.0f} to {max(first) / 1e3:.0f} us; {len(table.rows)} rows, scale {table.scale:.3f}",
        "",
        f"{'':34} {'Spearman':>8} {'mean |error|':>13} {'mean error':>11}",
        _line("sum of rows as measured", told(plain), first),
        _line(f"sum of rows, scaled to {table.whole} others", told(table), first),
        _line("FLOPs", flops, first, times=False),
        _line("a second measurement of the same", again, first),
    ]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    RESULTS.write_text(text, encoding="utf-8")


def _line(name: str, said: Sequence[float], measured: Sequence[float], times: bool = True) -> str:
    errors = np.array(said) / np.array(measured) - 1
    line = f"{name:34} {spearmanr(said, measured)[0]:8.3f}"
    return line + f" {abs(errors).mean():12.1%} {errors.mean():+11.1%}" if times else line


if __name__ == "__main__":
    sys.exit(main())
