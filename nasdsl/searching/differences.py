"""By how much one strategy lacks another, and what the seeds show of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Behind:
    """What a mean lacks of the best one, and the bounds of its 95 % confidence interval."""

    difference: float
    low: float
    high: float

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves out that there is no difference."""
        return self.low > 0


def behind(best: Sequence[float], other: Sequence[float]) -> Behind | None:
    """How far the mean of ``other`` is behind that of ``best``; values of different seeds, which have spreads of their own
    (Welch, "The Generalization of 'Student's' Problem when Several Different Population Variances are Involved", 1947).
    None where one of them has a single value, or one that is not finite: a training that diverged.

    >>> found = behind([0.9, 0.8, 0.7, 0.8], [0.8, 0.7, 0.6, 0.7])
    >>> round(found.difference, 3), round(found.low, 3), round(found.high, 3), found.is_shown
    (0.1, -0.041, 0.241, False)
    """
    if min(len(best), len(other)) < 2 or not all(map(math.isfinite, (*best, *other))):
        return None
    difference = statistics.fmean(best) - statistics.fmean(other)
    # Squared standard errors of the two means.
    errors = [statistics.variance(values) / len(values) for values in (best, other)]
    both = sum(errors)
    if both == 0:
        return Behind(difference, difference, difference)
    from scipy.stats import t

    freedom = 1 / sum(
        (error / both) ** 2 / (len(values) - 1) for error, values in zip(errors, (best, other), strict=True)
    )
    reach = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(both)
    return Behind(difference, difference - reach, difference + reach)


def behind_the_best(values: Mapping[str, Sequence[float]]) -> dict[str, Behind]:
    """By name how far each is behind the one with the best mean, which is not among them; nor is what has no spread."""
    there = {name: found for name, found in values.items() if found}
    if not there:
        return {}
    best = max(there, key=lambda name: statistics.fmean(there[name]))
    found = {name: behind(there[best], there[name]) for name in there if name != best}
    return {name: one for name, one in found.items() if one is not None}
