"""How far a search has come, as it stands in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Standing:
    """All that a resumed search needs besides tensors, the strategy's state, the history and the sums of the epoch."""

    epoch: int = 0
    step: int = 0
    """Weight steps of the epoch that were made."""
    reported: dict[str, float] | None = None
    """What the strategy reported as the epoch began; None before."""
    rewarded: int = 0
    """Steps of the phase of rewards after them."""
    reward: float = 0.0
    """The sum of their rewards."""
    rollbacks: int = 0
    """How often a divergence was answered by going back."""
    started: bool = False
    done: bool = False

    def next_epoch(self) -> None:
        self.epoch += 1
        self.step = self.rewarded = 0
        self.reward = 0.0
        self.reported = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, entries: Mapping[str, Any]) -> Standing:
        return cls(**entries)
