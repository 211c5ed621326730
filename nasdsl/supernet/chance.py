"""torch's own generators, for what takes no other: initialisers and dropout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded_with(seed: int) -> Iterator[None]:
    """Seeds torch's own generators inside the block, and puts them back: the CPU's, and those of GPUs where this process
    uses any. One that doesn't is not made to, which would take memory there."""
    used = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(used)):
        # Not `torch.manual_seed`, which notes for a GPU that isn't used who wanted it seeded, at each step of a search.
        torch.default_generator.manual_seed(seed)
        if used:
            torch.cuda.manual_seed_all(seed)
        yield
