"""The list of trials: what a strategy may look back on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasdsl.space.choice import Genotype


@dataclass(frozen=True)
class Trial:
    """One genotype with its result. ``metric`` is larger where it is better (accuracy), ``loss`` smaller.

    ``budget`` is what was spent on it, epochs of training; 0 where it was scored with shared weights, or for nothing.
    """

    genotype: Genotype
    metric: float
    loss: float
    budget: int = 0

    def as_json(self) -> dict[str, Any]:
        entry = {"genotype": dict(self.genotype), "metric": self.metric, "loss": self.loss}
        return entry | ({"budget": self.budget} if self.budget else {})

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> Trial:
        taken = {name: tuple(v) if isinstance(v, list) else v for name, v in entry["genotype"].items()}
        return Trial(Genotype(taken), entry["metric"], entry["loss"], entry.get("budget", 0))


class History(Sequence[Trial]):
    """Trials in the order in which they were made. Strategies read it; the search loop adds to it."""

    def __init__(self, trials: Sequence[Trial] = ()) -> None:
        self._trials = list(trials)
        self._texts = {trial.genotype.text for trial in trials}

    def add(self, trial: Trial) -> None:
        self._trials.append(trial)
        self._texts.add(trial.genotype.text)

    @property
    def spent(self) -> int:
        """The sum of the budgets; what was scored twice with the same budget was trained once."""
        return sum(budget for _, budget in {(t.genotype.text, t.budget) for t in self._trials})

    def finalists(self, count: int) -> list[Trial]:
        """The best trials of so many different genotypes, the best first; those that failed are left out."""
        found: dict[str, Trial] = {}
        for trial in self.ranked():
            if trial.metric == trial.metric and len(found) < count:
                found.setdefault(trial.genotype.text, trial)
        return list(found.values())

    def found(self, genotype: Genotype, budget: int) -> Trial | None:
        """The first trial of a genotype with a budget."""
        if not self.has(genotype):
            return None
        return next((t for t in self._trials if t.budget == budget and t.genotype == genotype), None)

    def has(self, genotype: Genotype) -> bool:
        return genotype.text in self._texts

    def best(self) -> Trial:
        """The trial with the largest metric, among those that the most was spent on; of several the one with the smallest
        loss, then the earliest. A loss or metric that is no number never wins. Raises ValueError where there is no
        trial."""
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


def _place(trial: Trial) -> tuple[bool, int, float, bool, float]:
    """Smaller is better; numbers before what is none."""
    metric, loss = trial.metric, trial.loss
    return (
        metric != metric,
        -trial.budget,
        0.0 if metric != metric else -metric,
        loss != loss,
        0.0 if loss != loss else loss,
    )
