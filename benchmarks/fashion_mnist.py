"""A search on Fashion-MNIST from end to end: the winner's test accuracy beside that of a residual network of the same FLOPs.

    python -m benchmarks.fashion_mnist --data ../shared/data/fashion_mnist

It runs the commands that a person would: `nasdsl search` on the NAS-Bench-201 cell (C = 16, N = 1, 15 epochs of GDAS),
`nasdsl train` for the winner, the same for the baseline (`benchmarks/residual.nas`, its width chosen so that its FLOPs
are nearest), 10 epochs each of one recipe. The architecture parameters learn at 0.01: at the published 3e-4 they hardly
move in so few epochs, and the winner is an argmax over noise. What was done is kept in `runs/fashion_mnist/`, so that it goes on where it
was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks._timing import machine
from nasdsl import pipeline, resources

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "fashion_mnist.txt"
BASELINE = HERE / "residual.nas"
SIZES = {"channels": 1, "size": 28, "classes": 10}
RECIPE = ("-c", "training.lr=0.1", "-c", "training.crop=2", "-c", "training.flip=true")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the IDX files")
    parser.add_argument("--search-epochs", type=int, default=15)
    parser.add_argument("--train-epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--folder", type=Path, default=Path("runs/fashion_mnist"))
    options = parser.parse_args()
    text = "\n".join([*machine(), "", *lines(options)]) + "\n"
    print(text, end="")
    RESULTS.write_text(text, encoding="utf-8")


def lines(options: argparse.Namespace) -> Iterator[str]:
    run, plain = options.folder / f"search-{options.seed}", options.folder / f"residual-{options.seed}"
    common = [
        "--data", str(options.data), "--precision", options.precision, "--seed", str(options.seed), "--threads", "1",
    ]  # fmt: skip
    searched = timed(
        options.folder / "search.seconds",
        "search", "nasbench201", "--set", "cells=1", "--set", "width=16", "--strategy", "gdas",
        "-c", "search.crop=2", "-c", "search.flip=true", "-c", "options.lr=0.01", *RECIPE, "--epochs", str(options.search_epochs),
        *common, "-o", str(run),
    )  # fmt: skip
    space = pipeline.load(resources.spaces() / "nasbench201.nas", cells=1, width=16, **SIZES)
    genotype = json.loads((run / "genotype.json").read_text())
    winner = space.measure(space.genotype(genotype))
    trained = timed(
        options.folder / "winner.seconds", "train", str(run), "--epochs", str(options.train_epochs),
        "--precision", options.precision, "--threads", "1", "--seed", str(options.seed),
    )  # fmt: skip
    width = nearest(winner.flops)
    baseline = pipeline.load(BASELINE, width=width, **SIZES).measure({})
    compared = timed(
        options.folder / "residual.seconds", "train", str(BASELINE), "--set", f"width={width}",
        "--epochs", str(options.train_epochs), *RECIPE, *common, "-o", str(plain),
    )  # fmt: skip
    yield f"Fashion-MNIST, seed {options.seed}, {options.precision} autocast, one thread; wall seconds beside each step"
    yield f"search {options.search_epochs} epochs: {searched:.0f} s; training {options.train_epochs} epochs each"
    yield f"winner {json.dumps(genotype)}"
    yield ""
    yield f"{'network':<12}  {'test accuracy':>13}  {'params':>8}  {'FLOPs':>10}  {'training, s':>11}"
    for name, folder, measures, seconds in (
        ("winner", run, winner, trained), (f"residual {width}", plain, baseline, compared)
    ):  # fmt: skip
        stored = folder / "network" / "network.json" if folder == run else folder / "network.json"
        test = json.loads(stored.read_text())["test"]["metric"]
        yield f"{name:<12}  {100 * test:>11.2f} %  {measures.params:>8}  {measures.flops:>10}  {seconds:>11.0f}"


def timed(kept: Path, *command: str) -> float:
    """Runs a command of nasdsl once, and says how long it took; a command that was done is not done again."""
    if not kept.exists():
        began = time.time()
        subprocess.run([sys.executable, "-m", "nasdsl", *command], check=True, env=os.environ)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(str(time.time() - began))
    return float(kept.read_text())


def nearest(flops: object) -> int:
    """The width of the baseline whose FLOPs are nearest."""
    assert isinstance(flops, int)
    found = {w: pipeline.load(BASELINE, width=w, **SIZES).measure({}).flops for w in range(2, 49)}
    return min(found, key=lambda w: abs(found[w] - flops))  # type: ignore[operator]


if __name__ == "__main__":
    main()
