"""Out of memory: what a step takes, and what would fit."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

import torch

from nasdsl.diagnostics import NasError, failure
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.strategy import Path
from nasdsl.space.memory import training_memory
from nasdsl.supernet import Supernet
from nasdsl.supernet.partial import partial_channels


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: Python's, a GPU's, or torch's allocator's on the CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


@dataclass(frozen=True)
class Forecast:
    """What a weight step takes, in bytes: ``state`` for weights, gradients and what the optimiser remembers, and
    ``example`` for what each example of a ghost batch keeps for the backward pass."""

    state: int
    example: int

    def step(self, examples: int) -> int:
        return self.state + examples * self.example


def forecast(supernet: Supernet, path: Path, settings: SearchSettings) -> Forecast:
    """The weight step of one path."""
    weights = sum(p.numel() * p.element_size() for p in supernet.parameters())
    space = supernet.space
    if path.mixture is not None:
        run = partial_channels(space.mixture(path.among), path.share, space.catalogue)
    else:
        run = supernet.architecture(path.genotype)
    copies = {"adam": 4, "adamw": 4}.get(settings.search.optimizer, 3)
    return Forecast(copies * weights, training_memory(run, space.catalogue))


def available(device: torch.device) -> int:
    """Bytes that the device has, or that this process may have of them."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return machine if limit == resource.RLIM_INFINITY else min(machine, limit)


def out_of_memory(
    supernet: Supernet, path: Path | None, settings: SearchSettings, device: torch.device, step: int
) -> NasError:
    """N989 for a search: the step, what it was forecast to take, and settings with which it would take less."""
    batch, ghosts = settings.search.batch, settings.search.ghosts
    about = f"out of memory at step {step}, with a batch of {batch}"
    if ghosts > 1:
        about += f" in {ghosts} ghost batches"
    if path is None:
        return failure("N989", about, f"`-c search.batch={max(2, batch // 2)}` takes less")
    expected = forecast(supernet, path, settings)
    has = available(device)
    about += f": a step takes {readable(expected.step(-(-batch // ghosts)))} or more"
    about += f", and there are {readable(has)}"
    parts = 2 * ghosts
    while expected.step(-(-batch // parts)) > has and parts * 4 <= batch:
        parts *= 2
    ways = []
    if batch >= 2 * parts:
        takes = readable(expected.step(-(-batch // parts)))
        ways.append(f"`-c search.ghosts={parts}` runs a batch in as many parts and takes about {takes}")
    ways.append(f"`-c search.batch={max(2, batch // parts)}` takes as much with smaller steps")
    if path.mixture is not None:
        single = Path(supernet.space.sample(settings.seed))
        takes = readable(forecast(supernet, single, settings).step(-(-batch // ghosts)))
        ways.append(f"a strategy that runs a single path, such as gdas or random, takes about {takes}")
    return failure("N989", about, "; ".join(ways))


def readable(size: int) -> str:
    """
    >>> readable(3_250_000_000), readable(41_000)
    ('3.2 GB', '41 kB')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            value = size / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:.0f} {name}"
    return f"{size} bytes"
