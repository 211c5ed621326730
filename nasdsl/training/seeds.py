"""Chance as an argument: every use of chance has its own stream, derived from the run's seed and the use's name.

A stream that is named by epoch and step needs no saved state: a resumed run derives the same numbers again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nasdsl.operations.execute import reset_embeddings
from nasdsl.supernet.chance import seeded_with


def derive(seed: int, *names: str | int) -> int:
    """A seed for one use of chance.

    >>> derive(0, "order", 3) == derive(0, "order", 3), derive(0, "order", 3) == derive(0, "order", 4)
    (True, False)
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A generator on the CPU for one use of chance."""
    return torch.Generator().manual_seed(derive(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Seeds torch's own generators inside the block (initialisers and dropout take no generator) and puts them back."""
    with seeded_with(derive(seed, *names)):
        yield


def initialise(network: torch.nn.Module, seed: int) -> None:
    """Draws the weights of a network anew, in the order of its modules, and resets its batch-norm statistics."""
    with seeded(seed, "weights"):
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        reset_embeddings(network)
