"""Out of memory: what a step takes, and what would fit."""

from __future__ import annotations

import os
import resource
from typing import Any

import torch

from nasdsl.diagnostics import NasError, failure
from nasdsl.diagnostics.quantities import size_text
from nasdsl.searching.forecast import forecast_search
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.strategy import STRATEGIES, WeightSharing
from nasdsl.space.space import Space
from nasdsl.training.tasks import Task


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: Python's, a GPU's, or torch's allocator's on the CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def available(device: torch.device) -> int:
    """Bytes that the device has, or that this process may have of them."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return machine if limit == resource.RLIM_INFINITY else min(machine, limit)


def out_of_memory(
    space: Space,
    task: Task,
    settings: SearchSettings,
    device: torch.device,
    step: int,
    *,
    static: bool = False,
) -> NasError:
    """N989 for a search: the step, what it was forecast to take, and settings with which it would take less. ``static``:
    single paths ran on the static graph."""
    recipe, has = settings.search, available(device)
    batch, ghosts = recipe.batch, recipe.ghosts

    def takes(parts: int, strategy: str = "", static: bool = static, **switches: Any) -> int:
        changed = {
            "search": recipe.model_copy(update={"ghosts": parts}),
            "optimise": settings.optimise.model_copy(update=switches),
        }
        chosen = settings.model_copy(update=changed)
        kind = STRATEGIES.find(strategy or settings.strategy)
        options = kind.Options() if strategy else settings.options
        made = kind(space, options, settings.seed)
        assert isinstance(made, WeightSharing)
        return forecast_search(space, chosen, task, made, static=static).total

    about = f"out of memory at step {step}, with a batch of {batch}"
    if ghosts > 1:
        about += f" in {ghosts} ghost batches"
    now = takes(ghosts)
    about += f": a step takes about {size_text(now)}, and there are {size_text(has)}"
    parts = 2 * ghosts
    while takes(parts) > has and parts * 4 <= batch:
        parts *= 2
    ways = []
    if batch >= 2 * parts:
        size = size_text(takes(parts))
        ways.append(f"`-c search.ghosts={parts}` runs a batch in as many parts and takes about {size}")
    ways.append(f"`-c search.batch={max(2, batch // parts)}` takes as much with smaller steps")
    if static and takes(ghosts, static=False) < 0.8 * now:
        size = size_text(takes(ghosts, static=False))
        ways.append(f"`-c optimise.static=off` runs paths alone and takes about {size}")
    twice = takes(ghosts, recompute=True, fuse="off")
    if twice < 0.8 * now and settings.optimise.ride and not static:
        how = "`-c optimise.recompute=true`"
        if settings.optimise.fuse != "off":
            how += " with `-c optimise.fuse=off`"
        ways.append(f"{how} takes about {size_text(twice)} and more time")
    single = takes(ghosts, "random")
    if single < 0.8 * now and not static:
        ways.append(f"a strategy that runs a single path, such as random, takes about {size_text(single)}")
    return failure("N989", about, "; ".join(ways))
