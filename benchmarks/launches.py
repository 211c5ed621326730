"""How many kernels a training step launches, with and without what the compiler does, and what each costs on the CPU.

These networks are bound by launches on a GPU. Counted here, without one, are the operators of torch that a step
dispatches and that write a tensor: forward, loss, backward, clipping, optimiser. Views and empty tensors launch nothing;
some operators are a few kernels, a convolution's backward pass two or three. CPU time is relative to the switches that
are on by default: medians of ratios by turns in one process, one thread.

    python -m benchmarks.launches                  # about 12 minutes
    python -m benchmarks.launches --quick          # the counts alone: a minute

The table is written to benchmarks/results/launches.txt (``--output``), not with ``--quick`` unless told.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks._timing import by_turns, machine, ratio
from nasdsl import pipeline, resources
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.searching.strategy import Path as SearchPath
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.optimise import PLAIN, Optimisations
from nasdsl.training.optimizers import clip_gradients, make_optimizer
from nasdsl.training.recipe import Recipe

RESULTS = Path(__file__).parent / "results" / "launches.txt"
DEFAULT = Optimisations()
VARIANTS = {
    "none": PLAIN,
    "share": replace(PLAIN, share=True),
    "ride": replace(PLAIN, ride=True),
    "default": DEFAULT,
    "fuse=same": replace(DEFAULT, fuse="same"),
    "fuse=padded": replace(DEFAULT, fuse="padded"),
}
SPACES: dict[str, dict[str, int]] = {"nasbench201": {"cells": 5}, "darts": {"layers": 8}}
PATHS = 8


class Launches(TorchDispatchMode):
    """Counts what is dispatched under it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        returned = function._schema.returns
        views = any(r.alias_info is not None and not r.alias_info.is_write for r in returned)
        makes = any("Tensor" in str(r.type) for r in returned) or "foreach" in function.name()
        nothing = function.name().startswith(("aten::empty", "aten::new_empty", "aten::_unsafe_view"))
        self.count += makes and not views and not nothing
        return function(*args, **(kwargs or {}))


class Steps:
    """The steps of a first-order DARTS search, and a weight step of a single path."""

    def __init__(
        self, space: Space, optimise: Optimisations, batch: int, channels_last: bool = False
    ) -> None:
        self.space = space
        self.net = Supernet(
            space, affine=False, batch_norm="batch", channels_last=channels_last, optimise=optimise
        )
        self.recipe = Recipe(lr=0.025)
        self.parameters = list(self.net.parameters())
        self.optimizer = make_optimizer(self.recipe, self.parameters)
        kind = STRATEGIES.find("darts")
        self.strategy: Any = kind(space, kind.Options(order="first"), 0)
        self.strategy.start_epoch(0, 1)
        random = torch.Generator().manual_seed(0)
        self.images = torch.randn(batch, 3, 32, 32, generator=random)
        self.targets = torch.randint(10, (batch,), generator=random)

    def _loss(self, path: SearchPath) -> Tensor:
        outputs = self.net(self.images, genotype=path.genotype, mixture=path.mixture, among=path.among)
        return nn.functional.cross_entropy(outputs, self.targets)

    def _train(self, path: SearchPath) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self._loss(path).backward()
        clip_gradients(self.parameters, self.recipe.clip)
        self.optimizer.step()

    def weights(self) -> None:
        (path,) = self.strategy.paths()
        self._train(path)

    def architecture(self) -> None:
        with self.net.frozen():
            self.strategy.architecture_step(self.net, self._loss)

    def path(self, seed: int) -> None:
        self._train(SearchPath(self.space.sample(seed)))


def launches(step: Callable[[], object]) -> int:
    step()  # what is made once is no launch of a step
    with Launches() as found:
        step()
    return found.count


def counted(space: Space) -> dict[str, list[float]]:
    """For each kind of step the launches of each variant."""
    found: dict[str, list[float]] = {"mixture, weights": [], "mixture, architecture": [], "single path": []}
    for optimise in VARIANTS.values():
        # What a GPU runs: the compositions of `kernels` are a CPU's.
        steps = Steps(space, replace(optimise, kernels=False), 2)
        found["mixture, weights"].append(launches(steps.weights))
        found["mixture, architecture"].append(launches(steps.architecture))
        paths = [launches(partial(steps.path, seed)) for seed in range(PATHS)]
        found["single path"].append(mean(paths))
    return found


def timed(space: Space, batch: int, rounds: int, channels_last: bool) -> dict[str, list[float]]:
    """For each kind of step the CPU time of each variant, relative to the default."""
    made = {name: Steps(space, optimise, batch, channels_last) for name, optimise in VARIANTS.items()}
    kinds: dict[str, Callable[[Steps], Callable[[], object]]] = {
        "mixture, weights": lambda steps: steps.weights,
        "mixture, architecture": lambda steps: steps.architecture,
        "single path": lambda steps: lambda: [steps.path(seed) for seed in range(PATHS)],
    }
    found = {}
    for kind, step in kinds.items():
        times = by_turns({name: step(steps) for name, steps in made.items()}, rounds)
        found[kind] = [ratio(times, name, "default") for name in VARIANTS]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("spaces", nargs="*", metavar="SPACE", help=f"of {', '.join(SPACES)}")
    parser.add_argument("--quick", action="store_true", help="the counts alone")
    parser.add_argument("--batch", type=int, default=16, help="batch size of what is timed (16)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of turns (3)")
    parser.add_argument("--output", type=Path, help="where the table is written")
    given = parser.parse_args()
    unknown = [name for name in given.spaces if name not in SPACES]
    if unknown:
        parser.error(f"no space `{unknown[0]}`: they are {', '.join(SPACES)}")
    torch.set_num_threads(1)
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    for text in machine():
        say(text)
    say(
        f"batch {given.batch} where time is measured, {given.rounds} rounds; a single path is the mean of {PATHS}"
    )
    for name in given.spaces or SPACES:
        space = pipeline.load(resources.spaces() / f"{name}.nas", **SPACES[name])
        sizes = ", ".join(f"{key} = {value}" for key, value in SPACES[name].items())
        say("")
        say(f"{f'{name}, {sizes}':<44}" + "".join(f"{variant:>13}" for variant in VARIANTS))
        for kind, row in counted(space).items():
            say(f"{f'{kind}: launches':<44}" + "".join(f"{number:>13.0f}" for number in row))
        for channels_last in () if given.quick else (False, True):
            for kind, row in timed(space, given.batch, given.rounds, channels_last).items():
                layout = "CPU time, channels_last" if channels_last else "CPU time"
                say(f"{f'{kind}: {layout}':<44}" + "".join(f"{number:>13.2f}" for number in row))
    output = given.output or (None if given.quick or given.spaces else RESULTS)
    if output is not None:
        output.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"written to {output}")


if __name__ == "__main__":
    main()
