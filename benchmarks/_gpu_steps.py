"""The steps that :mod:`benchmarks.gpu` measures, each made ready by a function of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._plain import YARDSTICK, yardstick
from benchmarks._whole import HardSample, MaskedSGD
from benchmarks.speed import Bench
from nasdsl.searching import settings_for
from nasdsl.searching.interrupt import Stop
from nasdsl.searching.journal import Unkept
from nasdsl.searching.search import Search
from nasdsl.searching.strategy import Path
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

Step = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """On what, and how, steps are measured."""

    bench: Bench
    device: torch.device
    precision: str
    layout: str = "channels_last=true"


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
    """The steps of a search on random pictures. Every sample of GDAS is the yardstick's architecture."""

    def __init__(self, setting: Setting, *assignments: str, strategy: str = "gdas") -> None:
        bench, device = setting.bench, setting.device
        chosen = settings_for(
            strategy,
            assignments=[
                f"search.batch={bench.batch}",
                "search.crop=4",
                "search.flip=true",
                setting.layout,
                *assignments,
            ],
            device=str(device),
            precision=setting.precision,
        )
        task = pictures(8 * bench.batch).to(device)
        self.search = Search(bench.space, task, chosen, device, Unkept(), lambda event: None, Stop())
        self.search.strategy.start_epoch(0, chosen.search.epochs)
        self.genotype = bench.genotype(YARDSTICK)
        if strategy == "gdas":
            self._settle(self.search.strategy)
        batches = self.search.batches
        self.order = batches.order("weights", batches.weights, 0)
        self.other = batches.order("architecture", batches.held_out, 0)
        self.number = 0

    def _settle(self, strategy: Any) -> None:
        """Logits so far apart that every sample is the yardstick; all of the sampling is still done."""
        with torch.no_grad():
            strategy.logits.zero_()
            for choice in self.search.space.choices:
                taken = choice.labels.index(self.genotype[choice.name])
                strategy.logits[strategy.rows[choice.name], taken] = 1e4

    def weight_step(self) -> None:
        self.search.steps.weight_step(self._training(), self.number, 0.025)

    def pair(self) -> None:
        held_out = self.search.batches.held_out.take(self.other[self.number % len(self.other)])
        self.search.steps.minibatch_step(self.number, self._training(), held_out, 0.025)

    def evaluation(self) -> None:
        """Of the yardstick with shared weights on the whole held-out half, four minibatches."""
        self.search.supernet.eval()
        self.search.scorer.evaluate(Path(self.genotype), self.search.batches.held_out)
        self.search.supernet.train()

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


# --- what is measured ---------------------------------------------------------------------------------


def _plain(setting: Setting, layout: torch.memory_format = torch.contiguous_format) -> Step:
    images, targets = (t.to(setting.device) for t in setting.bench.data)
    images = images.contiguous(memory_format=layout)
    module = yardstick(cells=setting.bench.cells).to(setting.device)
    # Before there is an optimiser, whose momenta lie like the weights.
    module.to(memory_format=layout)  # type: ignore[call-overload]
    eager = Eager(module, setting.precision)
    return lambda: eager.step(images, targets)


def _whole(setting: Setting) -> Step:
    bench = setting.bench
    images, targets = (t.to(setting.device) for t in bench.data)
    net = Supernet(
        bench.space,
        affine=False,
        batch_norm="batch",
        device=setting.device,
        channels_last=setting.layout.endswith("true"),
    )
    return WholeSteps(net, setting.precision, images, targets).pair


CALLS = ("optimise.static=off",)
STATIC = ("optimise.static=on",)
SEGMENTS = ("optimise.static=off", "optimise.compile=cudagraphs")
DARTS = ("optimise.static=off", "options.order=first")

PLAIN = "plain module"
STATIC_STEP, STATIC_PAIR = "weight step, static graph", "GDAS pair, static graph"
CALLED_PAIR = "GDAS pair, calls one by one"

STEPS: Mapping[str, Callable[[Setting], Step]] = {
    PLAIN: _plain,
    "plain module, channels_last": lambda s: _plain(s, torch.channels_last),
    "weight step, calls one by one": lambda s: OwnSteps(s, *CALLS).weight_step,
    STATIC_STEP: lambda s: OwnSteps(s, *STATIC).weight_step,
    CALLED_PAIR: lambda s: OwnSteps(s, *CALLS).pair,
    STATIC_PAIR: lambda s: OwnSteps(s, *STATIC).pair,
    "GDAS pair, all on the device": _whole,
    "DARTS pair, first order": lambda s: OwnSteps(s, *DARTS, strategy="darts").pair,
    "DARTS pair, fuse=same": lambda s: OwnSteps(s, *DARTS, "optimise.fuse=same", strategy="darts").pair,
    "DARTS pair, fuse=padded": lambda s: OwnSteps(s, *DARTS, "optimise.fuse=padded", strategy="darts").pair,
    "evaluation, four minibatches": lambda s: OwnSteps(s, *CALLS).evaluation,
}
"""In the order of their worth, the slowest to be made last."""
SLOW_STEPS: Mapping[str, Callable[[Setting], Step]] = {
    "weight step, segments": lambda s: OwnSteps(s, *SEGMENTS).weight_step,
    "GDAS pair, segments": lambda s: OwnSteps(s, *SEGMENTS).pair,
}
"""Compiled first, which takes its time."""
