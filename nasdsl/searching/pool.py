"""Work in several processes, one thread each; the result doesn't depend on how many there are."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(
    work: Callable[[Any, Item], Result], shared: Callable[[], Any], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """``work(shared(), item)`` for each item, in their order; ``shared`` is called once a process.

    All three have to survive pickling. With one worker nothing leaves this process. An exception ends the others.
    """
    if workers <= 1:
        ours = shared()
        for item in items:
            yield work(ours, item)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (work, shared)) as pool:
        try:
            yield from pool.map(_work, items)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_process: tuple[Callable[[Any, Any], Any], Any] | None = None


def _start(work: Callable[[Any, Any], Any], shared: Callable[[], Any]) -> None:
    global _process
    import torch

    torch.set_num_threads(1)
    _process = (work, shared())


def _work(item: Any) -> Any:
    assert _process is not None
    work, shared = _process
    return work(shared, item)
