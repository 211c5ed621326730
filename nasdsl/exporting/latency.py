"""How long an ONNX file takes in onnxruntime, on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasdsl.exporting.onnx import open_session

WARM_UP = 10
RUNS = 100


@dataclass(frozen=True)
class Latency:
    """Seconds a run, over ``runs`` of them, with ``threads`` threads and ``batch`` inputs at once."""

    median: float
    p05: float
    p95: float
    p99: float
    mean: float
    runs: int
    threads: int
    batch: int

    @staticmethod
    def of(times: Sequence[float], threads: int, batch: int) -> Latency:
        """What was measured, in one value."""
        p05, median, p95, p99 = (float(value) for value in np.percentile(times, [5, 50, 95, 99]))
        return Latency(median, p05, p95, p99, float(np.mean(times)), len(times), threads, batch)

    @property
    def milliseconds(self) -> float:
        return 1e3 * self.median


def onnx_latency(
    path: str | Path,
    inputs: Mapping[str, np.ndarray],
    *,
    threads: int = 1,
    warm_up: int = WARM_UP,
    runs: int = RUNS,
    at_most: float = 10.0,
) -> Latency:
    """Times a file on given inputs, after runs that don't count. No new run starts ``at_most`` seconds after the first.

    Other work on the machine lengthens the slow runs more than the median.
    """
    session = open_session(Path(path), threads)
    given = dict(inputs)
    for _ in range(warm_up):
        session.run(None, given)
    taken: list[float] = []
    begin = time.perf_counter()
    while len(taken) < runs and (not taken or time.perf_counter() - begin < at_most):
        start = time.perf_counter()
        session.run(None, given)
        taken.append(time.perf_counter() - start)
    batch = next(iter(given.values())).shape[0] if given else 0
    return Latency.of(taken, threads, batch)


def in_turns(
    paths: Sequence[Path],
    inputs: Sequence[Mapping[str, np.ndarray]],
    *,
    threads: int = 1,
    runs: int = RUNS,
    rounds: int = 5,
) -> list[Latency]:
    """Times many small files: all of them ``rounds`` times one after another, so that a while in which the machine does
    other work meets a part of the runs of each. A round begins with runs that don't count."""
    sessions = [open_session(path, threads) for path in paths]
    taken: list[list[float]] = [[] for _ in paths]
    each = max(1, runs // rounds)
    for _ in range(rounds):
        for session, given, times in zip(sessions, inputs, taken, strict=True):
            for turn in range(WARM_UP // 2 + each):
                start = time.perf_counter()
                session.run(None, given)
                if turn >= WARM_UP // 2:
                    times.append(time.perf_counter() - start)
    return [Latency.of(times, threads, 1) for times in taken]
