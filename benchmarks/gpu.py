"""What CUDA graphs bring to a search on a GPU: these networks are bound by the launching of kernels.

By turns, milliseconds a step (median, with the device waited for), on the NAS-Bench-201 network at batch 64, data on the
device: the plain module written by hand, eager; a single path of the supernet, eager; the static graph's weight step
and its GDAS architecture step, recorded (:mod:`nasdsl.supernet.static`). Then how long the search as published would
take: 250 epochs over 25 000 images at batch 64, 97 500 pairs of steps.

    python -m benchmarks.gpu                               # needs a CUDA device; says so where there is none
    python -m benchmarks.gpu --device cpu --cells 1 --batch 4 --rounds 1     # the same code, nothing recorded

Goals on an H200: a single path at least 3 times faster than the plain eager module; the search in under 10 minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks._plain import YARDSTICK, yardstick
from benchmarks._timing import machine
from benchmarks.speed import Bench
from nasdsl.supernet import Supernet
from nasdsl.supernet.graphs import Captured, MaskedSGD, autocast
from nasdsl.supernet.static import HardSample, StaticSupernet
from nasdsl.training.optimizers import clip_gradients, make_optimizer
from nasdsl.training.recipe import Recipe

PAIRS = 250 * 390
"""Weight and architecture steps of the published search."""


class Eager:
    """A module's training step as it is written everywhere."""

    def __init__(self, module: nn.Module, dtype: torch.dtype | None) -> None:
        self.module, self.dtype = module, dtype
        self.recipe = Recipe(lr=0.025)
        self.parameters = list(module.parameters())
        self.optimizer = make_optimizer(self.recipe, self.parameters)

    def step(self, images: Tensor, targets: Tensor, **path: object) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(images.device, self.dtype):
            loss = nn.functional.cross_entropy(self.module(images, **path), targets)
        loss.backward()
        clip_gradients(self.parameters, self.recipe.clip)
        self.optimizer.step()


class StaticGdas:
    """GDAS' two steps on a static graph: the sample, both passes and both updates, all on the device."""

    def __init__(self, net: Supernet, dtype: torch.dtype | None) -> None:
        self.static, self.dtype = StaticSupernet(net), dtype
        self.device = next(net.parameters()).device
        choices = net.space.choices
        self.names, self.sizes = [c.name for c in choices], [len(c.labels) for c in choices]
        self.valid = torch.tensor(
            [[k < n for k in range(max(self.sizes))] for n in self.sizes], device=self.device
        )
        self.logits = (1e-3 * torch.randn(self.valid.shape, device=self.device)).requires_grad_()
        self.tau = torch.tensor(10.0, device=self.device)
        self.weights = MaskedSGD(net.parameters(), lr=0.025, weight_decay=5e-4, clip=5.0)
        self.adam = torch.optim.Adam(
            [self.logits],
            lr=3e-4,
            betas=(0.5, 0.999),
            weight_decay=1e-3,
            capturable=self.device.type == "cuda",
        )

    def _loss(self, images: Tensor, targets: Tensor, sample: HardSample) -> Tensor:
        taken = sample.taken(self.names, self.sizes)
        with autocast(self.device, self.dtype):
            return nn.functional.cross_entropy(self.static(images, taken=taken), targets)

    def weight_step(self, images: Tensor, targets: Tensor) -> Tensor:
        self.weights.zero_grad()
        with torch.no_grad():
            sample = HardSample.draw(self.logits, self.valid, self.tau)
        loss = self._loss(images, targets, sample)
        loss.backward()
        self.weights.step()
        return loss.detach()

    def architecture_step(self, images: Tensor, targets: Tensor) -> Tensor:
        with self.static.supernet.frozen():
            loss = self._loss(images, targets, HardSample.draw(self.logits, self.valid, self.tau))
            (gradient,) = torch.autograd.grad(loss, [self.logits])
        if self.logits.grad is None:
            self.logits.grad = torch.zeros_like(self.logits)
        self.logits.grad.copy_(gradient)
        self.adam.step()
        return loss.detach()

    def changed(self) -> list[Tensor]:
        """All that a step changes."""
        state = [t for t in self.adam.state[self.logits].values() if isinstance(t, Tensor)]
        return [*self.weights.tensors(), self.logits, *state]


def recorded(
    gdas: StaticGdas, step: Callable[[Tensor, Tensor], Tensor], examples: tuple[Tensor, Tensor]
) -> Captured:
    step(*examples)  # so that Adam has its state
    before = [t.detach().clone() for t in gdas.changed()]

    @torch.no_grad()
    def restore() -> None:
        for tensor, value in zip(gdas.changed(), before, strict=True):
            tensor.copy_(value)

    return Captured(step, examples, restore)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
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
    images, targets = (t.to(device) for t in bench.data)
    genotype = bench.genotype(YARDSTICK)
    times = 20 if device.type == "cuda" else 1
    for name, dtype in (("float32", None), ("bfloat16", torch.bfloat16)):
        nets = [Supernet(bench.space, affine=False, batch_norm="batch", device=device) for _ in range(2)]
        plain, path = Eager(yardstick(cells=given.cells).to(device), dtype), Eager(nets[0], dtype)
        gdas = StaticGdas(nets[1], dtype)
        weight = recorded(gdas, gdas.weight_step, (images, targets))
        architecture = recorded(gdas, gdas.architecture_step, (images, targets))
        steps: dict[str, Callable[[], object]] = {
            "plain module, eager": lambda plain=plain: plain.step(images, targets),  # type: ignore[misc]
            "single path, eager": lambda path=path: path.step(images, targets, genotype=genotype),  # type: ignore[misc]
            "static graph, weight step": lambda weight=weight: weight(images, targets),  # type: ignore[misc]
            "static graph, GDAS step": lambda a=architecture: a(images, targets),  # type: ignore[misc]
        }
        found: dict[str, list[float]] = {label: [] for label in steps}
        for step in steps.values():
            milliseconds(step, device, times)
        for _ in range(given.rounds):
            for label, step in steps.items():
                found[label].append(milliseconds(step, device, times))
        middle = {label: median(values) for label, values in found.items()}
        print(f"\n{name}, N = {given.cells}, batch {given.batch}")
        for label, value in middle.items():
            print(f"  {label:<28}{value:>9.2f} ms{middle['plain module, eager'] / value:>8.2f} times as fast")
        if device.type == "cuda":
            pair = middle["static graph, weight step"] + middle["static graph, GDAS step"]
            print(
                f"  the published search, {PAIRS} pairs of steps: {PAIRS * pair / 60_000:.1f} minutes (goal 10)"
            )


if __name__ == "__main__":
    main()
