"""Several processes that train one network together (``torchrun --nproc-per-node 2 -m nasdsl search …``).

Every process, a rank, has the whole network and draws the same numbers; of each minibatch it runs its own ghost
batches. What differs is summed: gradients, losses, running statistics. So all ranks hold the same weights, and the
result is that of one process which runs all ghost batches, within rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from nasdsl.diagnostics import failure

P = ParamSpec("P")
T = TypeVar("T")

LAUNCHED = "WORLD_SIZE"
"""The environment variable that torchrun sets in the processes that it starts."""


def speaking(function: Callable[P, T]) -> Callable[P, T]:
    """A method that speaks with other ranks. Raises NasError N1041 where one of them doesn't answer any more."""

    @wraps(function)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:  # gloo has no class of its own for a connection that was closed
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise failure(
                "N1041",
                f"another process of this run has ended, or doesn't answer: {_first_line(error)}",
                "what it said stands above; the same command goes on from the last checkpoint",
            ) from None

    return spoken


@dataclass(frozen=True)
class Ranks:
    """This process and its siblings: the ``rank``-th of ``count``, from 0. Alone, everything here is for nothing."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """The one that writes and prints."""
        return self.rank == 0

    def parts(self, ghosts: int) -> int:
        """In how many ghost batches a minibatch is cut: ``ghosts``, or as many more as share out evenly.

        >>> Ranks(0, 2).parts(1), Ranks(0, 2).parts(3), Ranks().parts(3)
        (2, 4, 3)
        """
        return -(-ghosts // self.count) * self.count

    def mine(self, parts: int) -> range:
        """Those of the parts that this process runs.

        >>> list(Ranks(1, 2).mine(4))
        [2, 3]
        """
        share = parts // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    # --- sums ------------------------------------------------------------------------------------

    @speaking
    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Each becomes, in place, its sum over the ranks: one message for all tensors of a type, however many. Ranks
        must hold as many, of the same sizes."""
        if self.count == 1:
            return
        for dtype in dict.fromkeys(t.dtype for t in tensors):
            alike = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.detach().reshape(-1) for t in alike])
            dist.all_reduce(flat)
            with torch.no_grad():
                for tensor, total in zip(alike, flat.split([t.numel() for t in alike]), strict=True):
                    tensor.copy_(total.view(tensor.shape))

    def summed(self, value: Tensor) -> Tensor:
        """The sum over the ranks of what each computed; gradients go to each rank's own part of it."""
        return value if self.count == 1 else _Summed.apply(value, self)

    def replicated(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The same tensors, which all ranks have alike: their gradients become the sums over the ranks."""
        if self.count == 1 or not any(t.requires_grad for t in tensors):
            return tensors
        return _Replicated.apply(self, *tensors)

    @contextmanager
    def summing(self, parameters: Sequence[Tensor]) -> Iterator[None]:
        """Inside the block each gradient of a parameter is the sum over the ranks as soon as it is there."""

        def total(gradient: Tensor) -> Tensor:
            gradient = gradient.clone()
            self.sum([gradient])
            return gradient

        wanted = [p for p in parameters if p.requires_grad] if self.count > 1 else []
        handles = [p.register_hook(total) for p in wanted]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    # --- agreement -------------------------------------------------------------------------------

    @speaking
    def agree(self, *asked: bool, digest: int = 0) -> list[bool]:
        """For each question whether any rank says yes. Raises NasError N1042 where ranks have different digests (of
        what they did, below 2**62)."""
        if self.count == 1:
            return list(asked)
        numbers = torch.tensor([*map(int, asked), digest, -digest])
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        *answers, largest, smallest = numbers.tolist()
        if largest != -smallest:
            raise failure(
                "N1042",
                "the processes of this run have come to differ: they drew other genotypes, or hold other weights",
                "are versions, threads and devices the same for all of them?",
            )
        return [bool(answer) for answer in answers]

    @speaking
    def from_first(self, value: T) -> T:
        """What the first rank has."""
        if self.count == 1:
            return value
        found: list[T] = [value]
        dist.broadcast_object_list(found, src=0, device=torch.device("cpu"))
        return found[0]


ALONE = Ranks()


@contextmanager
def joined(device: torch.device, timeout: float = 600.0) -> Iterator[tuple[Ranks, torch.device]]:
    """The ranks that torchrun started this process with, and the device of this one: for a GPU that of its number. Who
    doesn't answer for ``timeout`` seconds has ended. Alone where there was no torchrun, or it started one process."""
    count = int(os.environ.get(LAUNCHED, "1"))
    if count == 1:
        yield ALONE, device
        return
    if device == torch.device("cuda"):  # without a number
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    ours = not dist.is_initialized()  # else who has called this has joined already
    if ours:
        _join(device, timeout)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), device
    finally:
        if ours:
            dist.destroy_process_group()


@speaking
def _join(device: torch.device, timeout: float) -> None:
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, ranks: Ranks) -> Tensor:
        total = value.clone()
        ranks.sum([total])
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None


class _Replicated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ranks: Ranks, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.ranks = ranks
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        totals = [g.clone() for g in gradients]  # zeros where nothing came
        ctx.ranks.sum(totals)
        return None, *totals
