"""Work in several processes, one thread each; what comes of each item doesn't depend on how many there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from nasdsl.diagnostics import failure
from nasdsl.diagnostics.foreign import attribute

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(
    work: Callable[[Shared, Item], Result], shared: Callable[[], Shared], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """``work(shared(), item)`` for each item, as they get done; ``shared`` is called once a process.

    All three have to survive pickling. With one worker or one item nothing leaves this process. An exception ends the
    others, and so does Ctrl-C. Raises NasError N1024 where a process dies.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        ours = [shared() for _ in items[:1]]
        for item in items:
            yield work(ours[0], item)
        return
    others = set(multiprocessing.active_children())
    # Spawned, not forked: torch may have started threads by now.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (work, shared))
    try:
        for future in as_completed([pool.submit(_work, item) for item in items]):
            yield future.result()
    except BrokenProcessPool:
        raise failure(
            "N1024",
            f"one of {workers} processes died",
            "perhaps it was out of memory: fewer --workers need less",
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


_process: tuple[Callable[[Any, Any], Any], Any] | None = None


def _start(work: Callable[[Any, Any], Any], shared: Callable[[], Any]) -> None:
    global _process
    import torch

    # Ctrl-C reaches every process of the terminal. The first one says what there is to say and ends the others; if they
    # ended by themselves, it might see a dead process before it sees its own signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _process = (work, shared())


def _work(item: Any) -> Any:
    assert _process is not None
    work, shared = _process
    try:
        return work(shared, item)
    except Exception as fault:
        attribute(fault)  # its frames stay in this process
        raise
