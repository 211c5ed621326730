"""How well shared weights rank architectures, strategy by strategy, against training each by itself.

    python -m benchmarks.ranking            # on digits: half an hour of CPU, the truth of it kept beside this file
    python -m benchmarks.ranking --data ../shared/data/fashion_mnist --images 10000 --alone 5 --epochs 5 --seeds 1

60 architectures of NAS-Bench-201 (N = 1) are drawn uniformly and trained from scratch, once with each of two training
seeds (`nasdsl tabulate`); each strategy then trains three supernets with other seeds (`nasdsl bench --truth`). Kendall's
tau-b, over all architectures and over the better half; that of the two training seeds is the ceiling.

On digits an architecture is trained for 2 epochs. After 12 most are at 97 %, and two trainings of the same 60 agree by
a tau of 0.17: there is nothing left to rank. After 6 it is 0.31, after 3 0.61, after 2 0.63.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks._timing import machine
from nasdsl import load_data

HERE = Path(__file__).parent
STRATEGIES = "random,spos,fair,one_shot,gdas,advantage,enas,proxyless,darts,snas,drnas,pc_darts"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a data set of images in place of digits")
    parser.add_argument("--images", type=int, default=0, help="of its training part, the first; 0 is all")
    parser.add_argument("--count", type=int, default=60, help="architectures of the truth")
    parser.add_argument("--epochs", type=int, default=30, help="of a supernet")
    parser.add_argument("--alone", type=int, default=2, help="epochs of an architecture by itself")
    parser.add_argument("--seeds", type=int, default=3, help="supernets of each strategy")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--strategies", default=STRATEGIES)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    name = options.data.name if options.data else "digits"
    truth = HERE / "truth" / f"{name}.csv"
    truth.parent.mkdir(exist_ok=True)
    space = ["nasbench201", "--set", "cells=1", "--set", f"width={options.width}"]
    data = options.data
    if data and options.images:
        data = first_images(data, options.images)
    task = ["--data", str(data)] if data else ["--task", "digits"]
    if not options.data:
        space += ["--set", "size=8", "--set", "channels=1"]
    workers = ["--workers", str(options.workers)]
    nasdsl(
        "tabulate", *space, *task, "-n", str(options.count), "--seeds", "2", "--epochs", str(options.alone),
        *workers, "-o", str(truth),
    )  # fmt: skip
    # Minibatches of 64 for all: some strategies were published with larger ones than digits have steps for.
    shown = nasdsl(
        "bench", *space, *task, "--strategies", options.strategies, "--epochs", str(options.epochs),
        "--seeds", str(options.seeds), "--truth", str(truth), "--no-retrain", *workers,
        "-c", "search.batch=64", *(["-c", "one_shot.ghosts=2"] if "one_shot" in options.strategies else []),
    )  # fmt: skip
    command = f"python -m benchmarks.ranking {' '.join(sys.argv[1:])}".rstrip()
    text = "\n".join([*machine(), command, "", shown])
    print(text, end="")
    (HERE / "results" / f"ranking_{name}.txt").write_text(text, encoding="utf-8")


def first_images(data: Path, count: int) -> Path:
    """A file with the first images of the training part, and the whole test part."""
    task = load_data(data)
    parts = {"train": (task.train, count), "test": (task.test, len(task.test))}
    arrays = {}
    for name, (part, size) in parts.items():
        assert isinstance(part.targets, torch.Tensor)
        arrays[f"x_{name}"] = part.stored[0][:size].numpy()
        arrays[f"y_{name}"] = part.targets[:size].numpy()
    path = Path("runs") / f"{data.name}_{count}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **arrays)
    return path


def nasdsl(*command: str) -> str:
    """What a command prints; its errors go where ours go."""
    done = subprocess.run(
        [sys.executable, "-m", "nasdsl", *command], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
