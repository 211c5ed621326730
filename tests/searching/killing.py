"""A process that runs searches in children, which die on the way. ``python -m tests.searching.killing`` is started by
the tests; it has imported torch, has started no thread, and forks a child for each order that it reads.

An order is a line of JSON: ``strategy``, ``assignments``, ``folder``, and how the child ends before its time:

- ``moment``: at the so-many-th moment of those listed in :func:`watch`, by ``signal``;
- ``seconds``: whatever it is doing then, by SIGKILL;
- ``largest``: no file may grow beyond so many bytes, as on a full disk.

With ``ranks`` there are so many children, who search together (:mod:`tests.searching.ranked`); the answer is a list.
With ``leave`` nobody waits for the child, which stopped itself by SIGSTOP; the answer is its ``pid``.

The answer is a line of JSON: the ``signal`` that the child died of or 0, its exit ``code``, what it ``said``, and the
``moments`` that a child saw that came to its end.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nasdsl.diagnostics import NasError
from nasdsl.searching import Interrupted, search
from nasdsl.searching.run import Run
from nasdsl.searching.scoring import Scorer
from nasdsl.searching.steps import Steps
from tests.searching.ranked import searched
from tests.searching.small import settings, space, task

ROOT = Path(__file__).parents[2]


class Server:
    """The tests' end of it."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.searching.killing"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def __call__(self, **order: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order, default=str) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)


def serve() -> None:
    torch.set_num_threads(1)
    space(), task()
    torch.optim.Adam([torch.zeros(1)])  # imports half of torch, once for all children
    for line in sys.stdin:
        assert threading.active_count() == 1
        tasks = Path("/proc/self/task")
        assert not tasks.exists() or len(list(tasks.iterdir())) == 1
        order = json.loads(line)
        print(json.dumps(in_ranks(order) if "ranks" in order else in_a_child(order)), flush=True)


Answer = dict[str, Any]


def in_a_child(order: dict[str, Any]) -> Answer:
    child, reading = fork(lambda: obey(order))
    if order.get("leave"):
        os.waitpid(child, os.WUNTRACED)
        return {"pid": child}
    if "seconds" in order:
        time.sleep(order["seconds"])
        os.kill(child, signal.SIGKILL)
    return ending(child, reading)


def in_ranks(order: dict[str, Any]) -> list[Answer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = []
    for rank in range(order["ranks"]):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(order["ranks"])}
        os.environ |= place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        children.append(fork(lambda: searched(order)))
    return [ending(*child) for child in children]


def fork(work: Callable[[], Answer]) -> tuple[int, int]:
    """The number of a child that does the work, and the pipe that its answer comes through."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    os.close(reading)
    code = 0
    try:
        answer = work()
    except (NasError, Interrupted) as ending:
        answer, code = {"said": str(ending)}, 1
    except BaseException as fault:
        answer, code = {"said": f"{type(fault).__name__}: {fault}"}, 70
    os.write(writing, json.dumps(answer).encode())
    os._exit(code)


def ending(child: int, reading: int) -> Answer:
    with open(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    died = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
    return {"signal": died, "code": code, **(json.loads(said) if said else {})}


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """A search, in the child."""
    seen = watch(order.get("moment", 0), order.get("signal", signal.SIGKILL))
    if "largest" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], order["largest"]))
    chosen = settings(order["strategy"], *order["assignments"])
    search(space(), chosen, task=task(), folder=Path(order["folder"]))
    return {"moments": seen()}


def watch(fatal: int, number: int) -> Callable[[], int]:
    """Counts moments before and after each step and score, within each event's line, and around each call that brings
    a file to the disk. The fatal one ends the process, or asks it to end. What is returned says how many there were."""
    moments = 0

    def moment() -> bool:
        nonlocal moments
        moments += 1
        return moments == fatal

    def end() -> None:
        os.kill(os.getpid(), number)

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if moment():
                end()
            result = function(*args, **kwargs)
            if moment():
                end()
            return result

        return wrapped

    for kind, names in ((Steps, ("weight_step", "architecture_step", "reward_step")), (Scorer, ("score",))):
        for name in names:
            setattr(kind, name, around(getattr(kind, name)))
    os.replace, os.fsync = around(os.replace), around(os.fsync)  # type: ignore[assignment]
    event = Run.event

    def half(self: Run, about: Any) -> None:
        if moment():
            if number == signal.SIGKILL:
                line = json.dumps(about)
                with open(self.folder / "events.jsonl", "a") as file:
                    file.write(line[: len(line) // 2])
            end()
        event(self, about)

    Run.event = half  # type: ignore[method-assign]
    return lambda: moments


if __name__ == "__main__":
    serve()
