"""How well scores that need no training rank the architectures of NAS-Bench-201.

    python -m benchmarks.proxies --data cifar-10-batches-bin --table ../shared/data/nasbench201/cifar10.csv

Architectures are drawn uniformly from the space at its full size (C = 16, N = 5) and scored at initialisation, on one
minibatch of 64 images of CIFAR-10, by each evaluator that trains nothing; six minutes of CPU in all. Spearman's rho and
Kendall's tau-b with the test accuracy after 200 epochs, which the table has; their spread is the standard deviation over
bootstrap samples of the architectures. Those that a proxy can't score are left out of its line, as in the published
figures.

The published ones are Spearman's rho over all 15 625 architectures, in the table that the authors of "Zero-Cost Proxies
for Lightweight NAS" (Abdelfattah et al., ICLR 2021) release with their code. Of naswot they have none.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks._timing import machine
from nasdsl import pipeline, resources
from nasdsl.searching.evaluators import EVALUATORS, Given
from nasdsl.searching.ranking import kendall
from nasdsl.searching.table import read_table
from nasdsl.space.choice import Genotype
from nasdsl.training.recipe import Recipe

RESULTS = Path(__file__).parent / "results" / "proxies.txt"
PUBLISHED = {"synflow": 0.737, "jacob_cov": 0.731, "snip": 0.596, "grad_norm": 0.594, "fisher": 0.360}
PROXIES = (*PUBLISHED, "naswot", "params", "flops")
RESAMPLED = 1000


@dataclass(frozen=True)
class Scored:
    """What a proxy made of the architectures, and its CPU seconds for one of them."""

    name: str
    scores: Sequence[float]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 in a published layout")
    parser.add_argument("--table", type=Path, default=Path("../shared/data/nasbench201/cifar10.csv"))
    parser.add_argument("--count", type=int, default=150, help="architectures")
    parser.add_argument("--seed", type=int, default=0, help="of architectures, minibatch and weights")
    parser.add_argument("--proxies", default=",".join(PROXIES), help="fewer than all; then nothing is kept")
    options = parser.parse_args()
    proxies = options.proxies.split(",")
    torch.set_num_threads(1)
    space = pipeline.load(resources.spaces() / "nasbench201.nas")
    table = read_table(options.table, space)
    genotypes = space.sample(options.seed, options.count, uniform=True)
    truth = [table.report[genotype.text] for genotype in genotypes]
    task = pipeline.load_data(options.data)
    given = Given(space, task, *task.halves(options.seed), Recipe(), options.seed)
    lines = [
        *machine(),
        f"python -m benchmarks.proxies --data {options.data.name} --table {options.table.name} "
        f"--count {options.count} --seed {options.seed}"
        + (f" --proxies {options.proxies}" if set(proxies) != set(PROXIES) else ""),
        "",
        f"{options.count} architectures of nasbench201, 64 images of {task.name}, against {table.report_column}",
        "",
        f"{'':10} {'rho':>12} {'tau-b':>13} {'published rho':>14} {'unscored':>9} {'s each':>7}",
    ]
    print("\n".join(lines), flush=True)
    for name in proxies:
        lines.append(line(scored(name, given, genotypes), truth, options.seed))
        print(lines[-1], flush=True)
    if set(proxies) == set(PROXIES):
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def scored(name: str, given: Given, genotypes: Sequence[Genotype]) -> Scored:
    kind = EVALUATORS.find(name)
    evaluator = kind(given, kind.Options())
    start = time.process_time()
    scores = [evaluator.score(genotype, 0).metric for genotype in genotypes]
    return Scored(name, scores, (time.process_time() - start) / len(genotypes))


def line(found: Scored, truth: Sequence[float], seed: int) -> str:
    known = [(score, true) for score, true in zip(found.scores, truth, strict=True) if not math.isnan(score)]
    pairs = np.array(known)  # [architectures, (score, truth)]
    rho, tau = spread(pairs, spearman, seed), spread(pairs, kendall, seed)
    published = f"{PUBLISHED[found.name]:.3f}" if found.name in PUBLISHED else "-"
    unscored = len(truth) - len(known)
    return f"{found.name:10} {rho:>12} {tau:>13} {published:>14} {unscored:>9} {found.seconds:7.2f}"


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    return float(spearmanr(a, b).statistic)


def spread(pairs: NDArray[np.float64], agreement: Callable[..., float], seed: int) -> str:
    """A statistic of pairs, and its standard deviation over samples of them with replacement."""
    random = np.random.default_rng(seed)
    drawn = (pairs[random.integers(len(pairs), size=len(pairs))] for _ in range(RESAMPLED))
    deviation = np.std([agreement(*sample.T) for sample in drawn], ddof=1)
    return f"{agreement(*pairs.T):.2f} ± {deviation:.2f}"


if __name__ == "__main__":
    main()
