"""What CUDA graphs bring to a search on a GPU: these networks are bound by the launching of kernels.

By turns, milliseconds a step (median, with the device waited for), on the NAS-Bench-201 network at batch 64, data on the
device. All but the first and the last rows are the steps of a search, with all that the host does in them: minibatch,
sample, clipping, update, watching.

- the plain module written by hand, eager;
- weight steps and pairs of GDAS steps as calls one by one; on segments (``optimise.compile=cudagraphs``, each kind of
  candidate recorded by itself); on the static graph (``optimise.static=on``, each pass launched as one graph);
- a pair as two graphs with sample and update in them: what could be had at the most (:mod:`benchmarks._whole`).

Then how long the search as published would take: 250 epochs over 25 000 images at batch 64, 97 500 pairs of steps.

    python -m benchmarks.gpu                               # needs a CUDA device; says so where there is none
    python -m benchmarks.gpu --contiguous                  # images not laid out as channels_last
    python -m benchmarks.gpu --device cpu --cells 1 --batch 4 --rounds 1     # the same code, nothing recorded

Goals on an H200: a single path at least 3 times faster than the plain eager module; the search in under 10 minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._plain import YARDSTICK, yardstick
from benchmarks._timing import machine
from benchmarks._whole import HardSample, MaskedSGD
from benchmarks.speed import Bench
from nasdsl.searching import settings_for
from nasdsl.searching.interrupt import Stop
from nasdsl.searching.journal import Unkept
from nasdsl.searching.search import Search
from nasdsl.space.tensor import Shape
from nasdsl.supernet import Supernet
from nasdsl.supernet.graphs import Captured, Pool
from nasdsl.supernet.static import StaticSupernet
from nasdsl.training.device import autocast
from nasdsl.training.objectives import Classification
from nasdsl.training.optimizers import clip_gradients, make_optimizer
from nasdsl.training.recipe import Recipe
from nasdsl.training.split import Pixels, Split
from nasdsl.training.tasks import Task

PAIRS = 250 * 390
"""Weight and architecture steps of the published search."""


class Eager:
    """A module's training step as it is written everywhere."""

    def __init__(self, module: nn.Module, precision: str) -> None:
        self.module, self.precision = module, precision
        self.recipe = Recipe(lr=0.025)
        self.parameters = list(module.parameters())
        self.optimizer = make_optimizer(self.recipe, self.parameters)

    def step(self, images: Tensor, targets: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(images.device, self.precision):
            loss = nn.functional.cross_entropy(self.module(images), targets)
        loss.backward()
        clip_gradients(self.parameters, self.recipe.clip)
        self.optimizer.step()


class OwnSteps:
    """The steps of a GDAS search on random pictures, every sample of which is the yardstick's architecture."""

    def __init__(self, bench: Bench, device: torch.device, precision: str, *assignments: str) -> None:
        chosen = settings_for(
            "gdas",
            assignments=[f"search.batch={bench.batch}", *assignments],
            device=str(device),
            precision=precision,
        )
        task = pictures(4 * bench.batch).to(device)
        self.search = Search(bench.space, task, chosen, device, Unkept(), lambda event: None, Stop())
        strategy: Any = self.search.strategy
        strategy.start_epoch(0, chosen.search.epochs)
        genotype = bench.genotype(YARDSTICK)
        # Logits so far apart that every sample is the yardstick; all of the sampling is still done.
        with torch.no_grad():
            strategy.logits.zero_()
            for choice in bench.space.choices:
                strategy.logits[strategy.rows[choice.name], choice.labels.index(genotype[choice.name])] = 1e4
        batches = self.search.batches
        self.order = batches.order("weights", batches.weights, 0)
        self.other = batches.order("architecture", batches.held_out, 0)
        self.number = 0

    def weight_step(self) -> None:
        self.search.steps.weight_step(self._training(), self.number, 0.025)

    def pair(self) -> None:
        held_out = self.search.batches.held_out.take(self.other[self.number % len(self.other)])
        self.search.steps.minibatch_step(self.number, self._training(), held_out, 0.025)

    def _training(self) -> Split:
        self.number += 1
        return self.search.batches.weights.take(self.order[self.number % len(self.order)])


def pictures(count: int) -> Task:
    """Random ones of CIFAR-10's size, stored as it is."""
    random = torch.Generator().manual_seed(0)

    def part() -> Split:
        stored = torch.randint(256, (count, 32, 32, 3), generator=random, dtype=torch.uint8)
        view = Pixels((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        return Split((stored,), torch.randint(10, (count,), generator=random), (view,), classes=10)

    shapes = (Shape((3, 32, 32)),)
    return Task("pictures", "", part(), part(), shapes, Shape((10,)), Classification(), validation=part())


class WholeSteps:
    """GDAS' two steps on a static graph: the sample, both passes and both updates, all on the device."""

    def __init__(self, net: Supernet, precision: str, images: Tensor, targets: Tensor) -> None:
        self.static, self.precision = StaticSupernet(net), precision
        self.device = images.device
        sizes = [len(choice.labels) for choice in net.space.choices]
        self.valid = torch.tensor([[k < n for k in range(max(sizes))] for n in sizes], device=self.device)
        self.logits = (1e-3 * torch.randn(self.valid.shape, device=self.device)).requires_grad_()
        self.tau = torch.tensor(10.0, device=self.device)
        self.weights = MaskedSGD(net.parameters(), lr=0.025, weight_decay=5e-4, clip=5.0)
        on_gpu = self.device.type == "cuda"
        self.pool = Pool(self.device) if on_gpu else None
        betas = (0.5, 0.999)
        self.adam = torch.optim.Adam(
            [self.logits], lr=3e-4, betas=betas, weight_decay=1e-3, capturable=on_gpu
        )
        self.examples = (images, targets)
        self._weight_step = self._recorded(self.weight_step)
        self._architecture_step = self._recorded(self.architecture_step)

    def pair(self) -> None:
        self._weight_step(*self.examples)
        self._architecture_step(*self.examples)

    def _loss(self, images: Tensor, targets: Tensor, hard: Tensor, gating: str) -> Tensor:
        with autocast(self.device, self.precision, cache=False):
            outputs = self.static(images, taken=hard, gating=gating)
            assert isinstance(outputs, Tensor)
            return nn.functional.cross_entropy(outputs, targets)

    def weight_step(self, images: Tensor, targets: Tensor) -> Sequence[Tensor]:
        self.weights.zero_grad()
        with torch.no_grad():
            sample = HardSample.draw(self.logits, self.valid, self.tau)
        loss = self._loss(images, targets, sample.hard, "")
        loss.backward()
        self.weights.step()
        return [loss.detach()]

    def architecture_step(self, images: Tensor, targets: Tensor) -> Sequence[Tensor]:
        with self.static.supernet.frozen():
            sample = HardSample.draw(self.logits, self.valid, self.tau)
            loss = self._loss(images, targets, sample.hard, "selected_only")
            (gradient,) = torch.autograd.grad(loss, [self.logits])
        if self.logits.grad is None:
            self.logits.grad = torch.zeros_like(self.logits)
        self.logits.grad.copy_(gradient)
        self.adam.step()
        return [loss.detach()]

    def _recorded(self, step: Callable[..., Sequence[Tensor]]) -> Callable[..., Sequence[Tensor]]:
        if self.pool is None:
            return step
        self.architecture_step(*self.examples)  # so that Adam has its state
        before = [t.detach().clone() for t in self._changed()]

        @torch.no_grad()
        def restore() -> None:
            for tensor, value in zip(self._changed(), before, strict=True):
                tensor.copy_(value)

        return Captured(step, self.examples, self.pool, restore=restore)

    def _changed(self) -> list[Tensor]:
        """All that a step changes."""
        state = [t for t in self.adam.state[self.logits].values() if isinstance(t, Tensor)]
        return [*self.weights.tensors(), self.logits, *state]


def milliseconds(step: Callable[[], object], device: torch.device, times: int) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    start = time.perf_counter()
    for _ in range(times):
        step()
    wait()
    return 1e3 * (time.perf_counter() - start) / times


def steps_of(
    bench: Bench, device: torch.device, precision: str, layout: str
) -> dict[str, Callable[[], object]]:
    """What is measured, by its label."""
    images, targets = (t.to(device) for t in bench.data)
    plain = Eager(yardstick(cells=bench.cells).to(device), precision)
    found: dict[str, Callable[[], object]] = {"plain module": lambda: plain.step(images, targets)}
    ways = {"calls one by one": "off", "static graph": "static=on"}
    if device.type == "cuda":
        ways["segments"] = "compile=cudagraphs"
    for label, switch in ways.items():
        given = [layout] if switch == "off" else [layout, f"optimise.{switch}"]
        own = OwnSteps(bench, device, precision, *given)
        found[f"weight step, {label}"] = own.weight_step
        found[f"GDAS pair, {label}"] = own.pair
    net = Supernet(bench.space, affine=False, batch_norm="batch", device=device)
    found["GDAS pair, all on the device"] = WholeSteps(net, precision, images, targets).pair
    return found


def report(label: str, found: dict[str, float], device: torch.device) -> None:
    print(f"\n{label}")
    plain = found["plain module"]
    for name, value in found.items():
        line = f"  {name:<32}{value:>9.2f} ms"
        if name.startswith("GDAS"):
            if device.type == "cuda":
                line += f"   published search: {PAIRS * value / 60_000:6.1f} minutes (goal 10)"
        else:
            line += f"{plain / value:>8.2f} times as fast" + (" (goal 3)" if "static" in name else "")
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--contiguous", action="store_true")
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(
            "needs a CUDA device, and there is none here; `--device cpu` runs the same code without recording"
        )
        return
    print("\n".join(machine()))
    if device.type == "cuda":
        print(torch.cuda.get_device_name(device))
    bench = Bench(given.cells, given.batch)
    times = 20 if device.type == "cuda" else 1
    for precision in ("float32", "bfloat16"):
        steps = steps_of(bench, device, precision, f"channels_last={'false' if given.contiguous else 'true'}")
        found: dict[str, list[float]] = {label: [] for label in steps}
        for step in steps.values():
            milliseconds(step, device, times)
        for _ in range(given.rounds):
            for label, step in steps.items():
                found[label].append(milliseconds(step, device, times))
        middle = {label: median(values) for label, values in found.items()}
        report(f"{precision}, N = {given.cells}, batch {given.batch}", middle, device)


if __name__ == "__main__":
    main()
