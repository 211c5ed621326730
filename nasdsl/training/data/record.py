"""What a run keeps of its data: digests of what was read, and of which example is in which part."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.training.cuts import cut
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.seeds import generator
from nasdsl.training.split import Split
from nasdsl.training.tasks import Task

WHOLE = 1_000_000_000
"""Bytes up to which everything is digested."""
SAMPLED = 4096
"""So many examples of larger data, at even distances."""


def recorded(task: Task, settings: DataSettings) -> DataSettings:
    """The settings with the digests of the task's data. Raises NasError N917 where they have others already."""
    found = {"fingerprint": fingerprint(task), "split": split_digest(task, settings)}
    for name, what in (("fingerprint", "the data"), ("split", "the cut into parts")):
        before = getattr(settings, name)
        if before and before != found[name]:
            raise failure(
                "N917",
                f"{what} of `{settings.path}` has changed since the run began: `data.{name}` was {before} and is {found[name]} now",
                "put the old data back, or take what is there now: `-c data.fingerprint= -c data.split=`",
            )
    return settings.model_copy(update=found)


def fingerprint(task: Task) -> str:
    """A digest of the data as it was read: everything up to 1 GB, else examples at even distances."""
    digest = hashlib.blake2b(digest_size=12)
    seen: set[int] = set()
    for split in parts(task):
        targets = [split.targets] if isinstance(split.targets, Tensor) else list(split.targets)
        for tensor in [*split.stored, *targets]:
            if tensor.data_ptr() not in seen:  # two parts may share what is stored
                seen.add(tensor.data_ptr())
                _add(digest, tensor)
    return digest.hexdigest()


def split_digest(task: Task, settings: DataSettings) -> str:
    """A digest of which example is in which part, that for the architecture included."""
    digest = hashlib.blake2b(digest_size=12)
    for split in parts(task):
        digest.update(f"{len(split)} ".encode())
        if split.rows is not None:
            _add(digest, split.rows)
    if task.validation is None:
        first, _ = cut(task.train, 1 - settings.validation, generator(settings.seed, "halves"))
        _add(digest, first)
    return digest.hexdigest()


def parts(task: Task) -> list[Split]:
    return [split for split in (task.train, task.validation, task.test) if split is not None]


def _add(digest: hashlib.blake2b, tensor: Tensor) -> None:
    digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    if tensor.nbytes > WHOLE:
        tensor = tensor[torch.linspace(0, len(tensor) - 1, SAMPLED).round().to(torch.int64)]
    if tensor.numel():
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
