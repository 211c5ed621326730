"""What the input of a training step costs: drawing a minibatch, augmenting and normalising it, beside the step itself.

A search step of NAS-Bench-201 (N = 1, C = 16) on minibatches of 64 images of CIFAR-10's shape, with crop, flip and
cutout, channels_last, on one thread. The data is noise: what is in the images takes no time.

Then the same from a file of 500 MB that is mapped into memory, as data of more than ``data.memory`` is: with the file in
the system's cache, and right after it was put out of it.

    python -m benchmarks.input            # prints, and writes results/input.txt
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import nasdsl
from benchmarks._timing import machine
from nasdsl.supernet import Supernet
from nasdsl.training.augment import augmented
from nasdsl.training.objectives import Classification
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import generator
from nasdsl.training.split import Pixels, Split
from nasdsl.training.step import Pass, Stepper

IMAGES, BATCH, REPEATS = 10_000, 64, 60
RECIPES = {
    "none": Recipe(batch=BATCH),
    "crop, flip": Recipe(batch=BATCH, crop=4, flip=True),
    "crop, flip, cutout": Recipe(batch=BATCH, crop=4, flip=True, cutout=16),
    "crop, flip, cutout, mixup": Recipe(batch=BATCH, crop=4, flip=True, cutout=16, mixup=0.2),
    "crop, flip, RandAugment 2": Recipe(batch=BATCH, crop=4, flip=True, rand_augment=2),
}
ASKED = "crop, flip, cutout"
MAPPED = 500_000_000
"""Bytes of the file that is mapped into memory."""


def milliseconds(call: Callable[[int], object], repeats: int = REPEATS) -> tuple[float, float]:
    """Median and largest of the middle half, after a warm-up."""
    for i in range(5):
        call(i)
    times = []
    for i in range(repeats):
        started = time.perf_counter()
        call(i)
        times.append(1000 * (time.perf_counter() - started))
    quarters = statistics.quantiles(times, n=4)
    return quarters[1], quarters[2]


def examples() -> Split:
    return of(torch.randint(256, (IMAGES, 32, 32, 3), generator=generator(0), dtype=torch.uint8))


def write(file: Path) -> None:
    """Images of noise."""
    count = MAPPED // (32 * 32 * 3)
    array = np.lib.format.open_memmap(file, "w+", np.uint8, (count, 32, 32, 3))
    random = np.random.default_rng(0)
    for start in range(0, count, 10_000):
        array[start : start + 10_000] = random.integers(0, 256, array[start : start + 10_000].shape, np.uint8)
    array.flush()


def mapped(file: Path) -> Split:
    return of(torch.from_numpy(np.load(file, mmap_mode="c")))


def forget(file: Path) -> None:
    """Asks the system to put a file, which nothing has mapped now, out of its cache."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def of(pixels: torch.Tensor) -> Split:
    random = generator(0)
    view = Pixels((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))
    split = Split((pixels,), torch.randint(10, (len(pixels),), generator=random), (view,), classes=10)
    return split.channels_last()


def main() -> None:
    torch.set_num_threads(1)
    split = examples()
    space = nasdsl.load(Path(__file__).parent.parent / "spaces" / "nasbench201.nas", cells=1)

    def input_of(recipe: Recipe, split: Split = split) -> Callable[[int], Split]:
        order = split.order(BATCH, generator(0, "order"))

        def call(i: int) -> Split:
            batch = augmented(split.take(order[i % len(order)]), recipe, generator(0, "augment", i))
            return replace(batch, stored=batch.inputs, views=())  # the views are applied too

        return call

    supernet = Supernet(space, seed=0, channels_last=True)
    stepper = Stepper(
        supernet, RECIPES["none"], Classification(), seed=0, device=torch.device("cpu"), batch=BATCH
    )
    ready = input_of(RECIPES[ASKED])(0)
    genotypes = [space.sample(seed=seed) for seed in range(REPEATS + 5)]

    def step(i: int) -> None:
        def model(*inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            return supernet(*inputs, genotype=genotypes[i])

        stepper.step([Pass(model, ready)], i, 0.01)

    whole, upper = milliseconds(step)
    lines = [
        f"minibatches of {BATCH} images 3x32x32; NAS-Bench-201, N = 1, C = 16, random genotypes, one thread",
        f"a step without its input: {whole:.1f} ms (upper quartile {upper:.1f})",
        "",
        f"{'augmentation':<28}{'ms':>8}{'upper quartile':>16}{'of input and step':>20}",
    ]
    for name, recipe in RECIPES.items():
        median, most = milliseconds(input_of(recipe))
        lines.append(f"{name:<28}{median:>8.2f}{most:>16.2f}{median / (median + whole):>20.1%}")
    lines += ["", f"from a mapped file of {MAPPED // 10**6} MB: {ASKED}"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images.npy"
        write(file)
        for name in ("in the cache", "not in the cache"):
            if name == "not in the cache":
                forget(file)
            median, most = milliseconds(input_of(RECIPES[ASKED], mapped(file)))
            lines.append(f"{name:<28}{median:>8.2f}{most:>16.2f}{median / (median + whole):>20.1%}")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "input.txt").write_text("\n".join([*machine(), "", text]), encoding="utf-8")


if __name__ == "__main__":
    main()
