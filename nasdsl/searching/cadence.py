"""When to keep the state: what is lost, should the process be killed, is at most so many steps and so many seconds."""

from __future__ import annotations

import time


class Cadence:
    """Asked after each step; 0 steps or 0 seconds are no limit."""

    def __init__(self, steps: int, seconds: float) -> None:
        self.steps = steps
        self.seconds = seconds
        self.restart()

    def restart(self) -> None:
        """The state was kept just now."""
        self._made = 0
        self._since = time.monotonic()

    def due(self) -> bool:
        """Counts a step, and says whether the state is to be kept now."""
        self._made += 1
        if self.steps and self._made >= self.steps:
            return True
        return bool(self.seconds) and time.monotonic() - self._since >= self.seconds
