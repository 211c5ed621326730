"""How cost grows with the work: a step, planning, and what is asked of a space.

    python -m benchmarks.growth            # some five minutes; tables and a plot in benchmarks/results/
    python -m benchmarks.growth --quick    # fewer and smaller points, nothing written

CPU time of one thread, medians. Steps are of the NAS-Bench-201 network at C = 8 and batch 8, so that all of it fits into
minutes: what matters is the shape of the curves. Memory is what a step keeps for its backward pass, in MB.
"""

from __future__ import annotations

import argparse
import gc
import random
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks._timing import by_turns, cpu_seconds, machine
from nasdsl import pipeline, resources
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.optimise import Optimisations

RESULTS = Path(__file__).parent / "results"

CANDIDATES = ["conv(kernel = 3)", "conv(kernel = 1)", "conv(kernel = 5)", "depthwise(3) -> conv(kernel = 1)"]


def space(candidates: int = 4, cells: int = 3, width: int = 8, nodes: int = 3, own: bool = False) -> Space:
    """A network of ``cells`` cells, each with an edge between any two of ``nodes`` + 1 nodes, and ``candidates`` on each.

    All cells share their choices, or each has its ``own``.
    """
    labels = [f"    | c{i}: relu -> {CANDIDATES[i % 4]} -> batchnorm" for i in range(candidates)]
    names = [f"normal{i}" for i in range(cells)] if own else ["normal"]
    lines = ["space grown() {", "  input image: [3, 16, 16]", "  op edge =", *labels]
    for name in names:
        lines.append(f"  cell {name}(x0) {{")
        for n in range(1, nodes + 1):
            lines.append(f"    x{n} = " + " + ".join(f"edge(x{m})" for m in range(n)))
        lines += [f"    return x{nodes}", "  }"]
    body = " -> ".join(names) if own else f"repeat(normal, {cells})"
    lines.append(
        f"  return image -> conv({width}, kernel = 3) -> batchnorm -> {body} -> global_avgpool -> linear(10)"
    )
    return pipeline.loads("\n".join([*lines, "}"]))


# --- what is measured ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    x: int
    y: float


@dataclass(frozen=True)
class Curve:
    name: str
    x: str
    y: str
    points: tuple[Point, ...]


def step_of(net: Supernet, batch: int, mixed: bool) -> Callable[[], Tensor]:
    images = torch.randn(batch, 3, 16, 16)
    targets = torch.randint(10, (batch,))
    choices = net.space.choices
    genotype = {c.name: c.labels[0] for c in choices}
    weights = {c.name: torch.full((len(c.labels),), 1 / len(c.labels)) for c in choices}

    def loss() -> Tensor:
        outputs = net(images, mixture=weights) if mixed else net(images, genotype=genotype)
        return nn.functional.cross_entropy(outputs, targets)

    return loss


def kept(loss: Callable[[], Tensor]) -> float:
    """MB that a forward pass keeps for its backward pass, weights apart."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss()
    return sum(found.values()) / 2**20


def steps(x: str, values: Sequence[int], rounds: int) -> Iterator[Curve]:
    """A single path's and a mixture's step, and what they keep, over candidates, cells, width or batch."""
    found: dict[str, list[Point]] = {}
    for value in values:
        sizes = {"batch": 8} | {x: value}
        batch = sizes.pop("batch")
        net = Supernet(space(**sizes), affine=False, batch_norm="batch")
        for mixed, name in ((False, "single path"), (True, "mixture")):
            loss = step_of(net, batch, mixed)
            seconds = median(by_turns({"": lambda loss=loss: loss().backward()}, rounds)[""])  # type: ignore[misc]
            found.setdefault(f"{name}, ms", []).append(Point(value, 1e3 * seconds))
            found.setdefault(f"{name}, MB kept", []).append(Point(value, kept(loss)))
    for name, points in found.items():
        yield Curve(f"step over {x}", x, name, tuple(points))


def compiling(cells: Sequence[int], choices: Sequence[int]) -> Iterator[Curve]:
    """From the text to a space: over cells that all have the same choices, and over choices, six a cell."""
    for name, makes in (
        ("cells", {n: partial(space, cells=n) for n in cells}),
        ("choices", {6 * n: partial(space, cells=n, own=True) for n in choices}),
    ):
        times = tuple(Point(n, 1e3 * settled(make)) for n, make in makes.items())
        yield Curve(f"compiling over {name}", name, "from the text, ms", times)
        memory = tuple(Point(n, allocated(make)) for n, make in makes.items())
        yield Curve(f"compiling over {name}", name, "of Python objects, MB", memory)


@contextmanager
def no_collections() -> Iterator[None]:
    """One collection of garbage goes through all of torch's objects, 0.15 s, whenever it happens to be due."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def settled(step: Callable[[], object]) -> float:
    """CPU seconds of a step, the median of three."""
    with no_collections():
        return median(cpu_seconds(step) for _ in range(3))


def allocated(step: Callable[[], object]) -> float:
    """The most memory that Python objects of a step take at once, MB."""
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def planning(values: Sequence[int], rounds: int) -> Iterator[Curve]:
    """A genotype's plan over the nodes of the space graph: of a new one, whose calls are partly there, and from the
    cache; and what a new one adds to memory."""
    new, cached, memory = [], [], []
    for cells in values:
        net = Supernet(space(cells=cells), affine=False, batch_norm="batch", device="meta")
        nodes = net.space.graph.number_of_nodes()
        *first, last = net.space.sample(0, 40 * rounds)
        with no_collections():
            times = [cpu_seconds(partial(net.plan, genotype)) for genotype in first]
        new.append(Point(nodes, 1e6 * median(times[len(times) // 2 :])))
        cached.append(Point(nodes, 1e3 * cpu_seconds(lambda: [net.plan(last) for _ in range(1000)])))  # noqa: B023
        before = len(net._plans)
        more = allocated(lambda: [net.plan(genotype) for genotype in net.space.sample(1, 10 * rounds)])  # noqa: B023
        memory.append(Point(nodes, 2**10 * more / max(1, len(net._plans) - before)))
    yield Curve("planning over nodes of the graph", "nodes", "a new plan, µs", tuple(new))
    yield Curve("planning over nodes of the graph", "nodes", "a cached one, µs", tuple(cached))
    yield Curve("planning over nodes of the graph", "nodes", "memory of a new one, kB", tuple(memory))


SHIPPED: dict[str, dict[str, int]] = {
    "nasbench201": {},
    "darts": {"layers": 20},
    "ofa_mobilenetv3": {},
    "enas_macro": {},
}


def planned(rounds: int) -> Iterator[str]:
    """The same on spaces that ship, each at the size of its paper, by cells and step by step: a line a space."""
    for name, parameters in SHIPPED.items():
        space = pipeline.load(resources.spaces() / f"{name}.nas", **parameters)
        found: list[float] = []
        for cells in (True, False):
            net = Supernet(space, affine=False, device="meta", optimise=Optimisations(cells=cells))
            with no_collections():
                times = [
                    1e6 * cpu_seconds(partial(net.plan, genotype))
                    for genotype in space.sample(0, 40 * rounds)
                ]
            found += [times[0], median(times[len(times) // 2 :])]
        calls = len([*net.plan(space.sample(0)).single_calls])
        yield f"  {name:<28}{len(space.graph):>11}{calls:>11}" + "".join(f"{value:>11.0f}" for value in found)


def asking(values: Sequence[int], rounds: int) -> Iterator[Curve]:
    """Counting, sampling and mutating over the choices of a space."""
    counting, sampling, mutating = [], [], []
    for cells in values:
        found = space(cells=cells, own=True)
        choices = len(found.choices)
        counting.append(Point(choices, 1e3 * cpu_seconds(found.count)))
        stream, generator = found.samples(0), random.Random(0)
        drawn = median(cpu_seconds(partial(next, stream)) for _ in range(50 * rounds))
        sampling.append(Point(choices, 1e6 * drawn))
        one = found.sample(0)
        moved = median(cpu_seconds(partial(found.mutate, one, generator)) for _ in range(20 * rounds))
        mutating.append(Point(choices, 1e6 * moved))
    yield Curve("asking over choices", "choices", "counting, ms", tuple(counting))
    yield Curve("asking over choices", "choices", "sampling one, µs", tuple(sampling))
    yield Curve("asking over choices", "choices", "mutating one, µs", tuple(mutating))


def curves(quick: bool) -> Iterator[Curve]:
    rounds = 2 if quick else 5
    yield from steps("candidates", (2, 4) if quick else (2, 4, 8, 16), rounds)
    yield from steps("cells", (3, 6) if quick else (3, 6, 15, 30, 60), rounds)
    yield from steps("width", (4, 8) if quick else (4, 8, 16, 32, 64), rounds)
    yield from steps("batch", (2, 8) if quick else (2, 8, 32, 128), rounds)
    yield from compiling(
        (1, 10) if quick else (1, 3, 10, 30, 100, 300, 1000), (1, 5) if quick else (1, 5, 17, 50, 100)
    )
    yield from planning((3, 10) if quick else (3, 10, 30, 100), rounds)
    yield from asking((3, 10) if quick else (3, 10, 30, 100), rounds)


# --- showing it ---------------------------------------------------------------------------------------


def table(curve: Curve) -> str:
    xs = "".join(f"{p.x:>11}" for p in curve.points)
    ys = "".join(f"{p.y:>11.4g}" for p in curve.points)
    return f"  {curve.x:<28}{xs}\n  {curve.y:<28}{ys}\n"


def draw(found: Sequence[Curve], path: Path) -> None:
    """One panel a family of curves, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    families = list(dict.fromkeys(curve.name for curve in found))
    figure, axes = plt.subplots(2, -(-len(families) // 2), figsize=(16, 8), squeeze=False)
    for axis, name in zip(axes.flat, families, strict=False):
        for curve in found:
            if curve.name == name:
                axis.loglog([p.x for p in curve.points], [p.y for p in curve.points], "o-", label=curve.y)
                axis.set_xlabel(curve.x)
                axis.set_xticks([p.x for p in curve.points], [str(p.x) for p in curve.points])
                axis.minorticks_off()
        axis.set_title(name)
        axis.grid(True, which="both", alpha=0.3)
        axis.legend(fontsize=8)
    for axis in axes.flat[len(families) :]:
        axis.remove()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and smaller points, nothing written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [*machine(), ""]
    print("\n".join(lines), flush=True)
    found: list[Curve] = []
    for curve in curves(given.quick):
        if not found or found[-1].name != curve.name:
            lines.append(curve.name)
            print(lines[-1])
        found.append(curve)
        lines.append(table(curve))
        print(lines[-1], flush=True)
    heads = ("calls", "first", "new", "by step:", "new")
    lines.append("plans, µs" + f"{'nodes':>32}" + "".join(f"{head:>11}" for head in heads))
    print(lines[-1])
    for line in planned(1 if given.quick else 5):
        lines.append(line)
        print(line, flush=True)
    if not given.quick:
        (RESULTS / "growth.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
        draw(found, RESULTS / "growth.png")
        print(f"written to {RESULTS / 'growth.txt'} and growth.png")


if __name__ == "__main__":
    main()
