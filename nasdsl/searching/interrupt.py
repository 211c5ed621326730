"""Ctrl-C and SIGTERM end a run after the step that is under way; a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """A run was stopped and can go on. The message says how."""


def stopped(folder: Path | None) -> BaseException:
    """How a run ends that was stopped: with where it is kept, or, where it isn't, as Ctrl-C ends anything."""
    if folder is None:
        return KeyboardInterrupt()
    return Interrupted(f"stopped; the same command goes on from here (the run is in `{folder}`)")


class Stop:
    """Asked after each step: has somebody asked us to stop?"""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked


@contextmanager
def stopping() -> Iterator[Stop]:
    """Catches the two signals inside the block. Outside the main thread it catches nothing."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.asked = True

    before: dict[int, Any] = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
