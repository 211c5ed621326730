"""How much each choice mattered, among the architectures that were scored: means by candidate, and shares of variance.

The architectures that took a candidate have a mean score, with the standard error s / √n. A choice splits those that
have it into groups, and what its means explain of the variance of their scores is the share

    η² = Σ n_c (mean_c - mean)² / Σ (score - mean)²,

the one-way analysis of variance. Where every architecture of a space was scored, and each candidate occurs as often
with any of the others, that is the main effect of functional ANOVA (Hutter et al., 2014), and shares of all choices add
up to 1 less what choices do only together. It is plain arithmetic on what was scored, without a model of what wasn't:
a strategy that narrows down looks at the candidates of one choice beside its favourites of the others, and the means are
those. If a choice of k candidates did nothing, the scores being dealt out at random, its share of n scores would be
(k - 1) / (n - 1) on average: a share says something as far as it lies above that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nasdsl.space.choice import Choice, Taken

FEWEST = 10
"""With fewer scores, or fewer than two a candidate, no share is given."""


class Scored(NamedTuple):
    """An architecture with its score, larger where it is better. ``budget`` is what was spent on it, where scores of
    different budgets can't be compared."""

    genotype: Mapping[str, Taken | Sequence[str]]
    score: float
    budget: int = 0


@dataclass(frozen=True)
class Candidate:
    """The architectures that took one: how many, the mean of their scores, its standard error (None for fewer than 2)."""

    label: str
    trials: int
    mean: float | None
    error: float | None


@dataclass(frozen=True)
class Marginal:
    """A choice, or a candidate of a sub-list as a choice of its own (``label`` says which: it is `in` or `out`).

    ``trials`` counts the scored architectures that have the choice. ``share`` is η² among them, and ``by_chance`` what it
    would be on average if the choice did nothing; both are None where there are too few to say, or all scored alike.
    """

    choice: str
    label: str | None
    trials: int
    candidates: tuple[Candidate, ...]
    share: float | None
    by_chance: float | None

    @property
    def name(self) -> str:
        return self.choice if self.label is None else f"{self.choice}: {self.label}"

    def as_json(self) -> dict[str, Any]:
        own = {"choice": self.choice} if self.label is None else {"choice": self.choice, "label": self.label}
        candidates = [
            {"label": c.label, "trials": c.trials, "mean": c.mean, "error": c.error} for c in self.candidates
        ]
        return own | {
            "trials": self.trials,
            "share": self.share,
            "by_chance": self.by_chance,
            "candidates": candidates,
        }


def marginals(choices: Iterable[Choice], trials: Sequence[Scored]) -> list[Marginal]:
    """Those of each choice, in order, from what :func:`comparable` leaves of the trials."""
    scored = comparable(trials)
    found = []
    for choice in choices:
        there = [trial for trial in scored if choice.name in trial.genotype]
        if choice.is_sublist:
            for label in choice.labels:
                groups: dict[str, list[float]] = {"in": [], "out": []}
                for trial in there:
                    groups["in" if label in trial.genotype[choice.name] else "out"].append(trial.score)
                found.append(_marginal(choice.name, label, groups))
        else:
            groups = {label: [] for label in choice.labels}
            for trial in there:
                groups[str(trial.genotype[choice.name])].append(trial.score)
            found.append(_marginal(choice.name, None, groups))
    return found


def by_share(found: Iterable[Marginal]) -> list[Marginal]:
    """The choices that explain the most above chance first; those of which nothing can be said last."""
    return sorted(
        found,
        key=lambda m: (m.share or 0.0) - (m.by_chance or 0.0) if m.share is not None else -2.0,
        reverse=True,
    )


def means(marginal: Marginal) -> str:
    """The means of a choice's candidates on a line, for people.

    >>> means(Marginal("a", None, 3, (Candidate("x", 2, 0.5, 0.1), Candidate("y", 1, 0.25, None)), None, None))
    'x 0.5 ± 0.1 (2), y 0.25 (1)'
    """
    parts = []
    for candidate in marginal.candidates:
        if candidate.mean is not None:
            error = "" if candidate.error is None else f" ± {candidate.error:.2g}"
            parts.append(f"{candidate.label} {candidate.mean:.4g}{error} ({candidate.trials})")
    return ", ".join(parts)


def comparable(trials: Sequence[Scored]) -> list[Scored]:
    """Each architecture once, with its last score, of the budget that the most were scored with (of several the largest);
    scores that are no numbers left out."""
    unique = {(_text(t.genotype), t.budget): t for t in trials if math.isfinite(t.score)}
    counts = Counter(trial.budget for trial in unique.values())
    budget = max(counts, key=lambda b: (counts[b], b), default=0)
    return [trial for trial in unique.values() if trial.budget == budget]


def _marginal(choice: str, label: str | None, groups: Mapping[str, Sequence[float]]) -> Marginal:
    candidates = tuple(Candidate(name, len(scores), *_mean(scores)) for name, scores in groups.items())
    taken = [scores for scores in groups.values() if scores]
    share, by_chance = _share(taken)
    return Marginal(choice, label, sum(map(len, taken)), candidates, share, by_chance)


def _mean(scores: Sequence[float]) -> tuple[float | None, float | None]:
    n = len(scores)
    if not n:
        return None, None
    mean = math.fsum(scores) / n
    squares = math.fsum((score - mean) ** 2 for score in scores)
    return mean, math.sqrt(squares / (n - 1) / n) if n > 1 else None


def _share(groups: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
    k, n = len(groups), sum(map(len, groups))
    if k < 2 or n < max(FEWEST, 2 * k):
        return None, None
    mean = math.fsum(score for scores in groups for score in scores) / n
    whole = math.fsum((score - mean) ** 2 for scores in groups for score in scores)
    between = math.fsum(len(s) * (math.fsum(s) / len(s) - mean) ** 2 for s in groups)
    # Scores that are all alike differ by no more than rounding does.
    if whole <= n * (1e-12 * max(1.0, abs(mean))) ** 2:
        return None, None
    return min(1.0, between / whole), (k - 1) / (n - 1)


def _text(genotype: Mapping[str, Taken | Sequence[str]]) -> str:
    return repr(
        [(name, taken if isinstance(taken, str) else list(taken)) for name, taken in genotype.items()]
    )
