"""The list of trials: what a strategy may look back on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasdsl.space.choice import Genotype


@dataclass(frozen=True)
class Trial:
    """One genotype with its result. ``metric`` is larger where it is better (accuracy), ``loss`` smaller."""

    genotype: Genotype
    metric: float
    loss: float

    def as_json(self) -> dict[str, Any]:
        return {"genotype": dict(self.genotype), "metric": self.metric, "loss": self.loss}

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> Trial:
        taken = {name: tuple(v) if isinstance(v, list) else v for name, v in entry["genotype"].items()}
        return Trial(Genotype(taken), entry["metric"], entry["loss"])


class History(Sequence[Trial]):
    """Trials in the order in which they were made. Strategies read it; the search loop adds to it."""

    def __init__(self, trials: Sequence[Trial] = ()) -> None:
        self._trials = list(trials)
        self._texts = {trial.genotype.text for trial in trials}

    def add(self, trial: Trial) -> None:
        self._trials.append(trial)
        self._texts.add(trial.genotype.text)

    def has(self, genotype: Genotype) -> bool:
        return genotype.text in self._texts

    def best(self) -> Trial:
        """The trial with the largest metric; of several the one with the smallest loss, then the earliest.
        A loss or metric that is no number never wins. Raises ValueError where there is no trial."""
        return min(self._trials, key=_place)

    def ranked(self, first: int | None = None) -> list[Trial]:
        """All trials, or the first so many, the best in front."""
        return sorted(self._trials[:first], key=_place)

    def __getitem__(self, index: Any) -> Any:
        return self._trials[index]

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials)


def _place(trial: Trial) -> tuple[bool, float, bool, float]:
    """Smaller is better; numbers before what is none."""
    metric, loss = trial.metric, trial.loss
    return (
        metric != metric,
        0.0 if metric != metric else -metric,
        loss != loss,
        0.0 if loss != loss else loss,
    )
