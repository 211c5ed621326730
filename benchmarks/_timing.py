"""Timing on a machine that isn't quiet: CPU time of one thread, what is compared by turns, medians of ratios."""

from __future__ import annotations

import gc
import platform
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

Step = Callable[[], object]


def cpu_seconds(step: Step) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def by_turns(steps: Mapping[str, Step], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each step in each round, after one that isn't counted. Every other round runs backwards, so that
    none always follows the same neighbour."""
    for step in steps.values():
        step()
    found: dict[str, list[float]] = {name: [] for name in steps}
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            order = list(steps) if turn % 2 == 0 else list(reversed(steps))
            for name in order:
                found[name].append(cpu_seconds(steps[name]))
            gc.collect()
    finally:
        gc.enable()
    return found


def ratio(times: Mapping[str, list[float]], name: str, against: str) -> float:
    """The median over rounds of one step's time by another's."""
    return median(a / b for a, b in zip(times[name], times[against], strict=True))


def machine() -> list[str]:
    """What the figures were taken on."""
    import torch

    model = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    if names:
        model = f"{names[0]}, {len(names)} processors"
    return [
        f"date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"machine: {model}, {platform.system()} {platform.release()}",
        f"Python {sys.version.split()[0]}, torch {torch.__version__}, {torch.get_num_threads()} thread, "
        f"{torch.backends.cpu.get_cpu_capability()}",
    ]
