"""How well the scores of a supernet rank architectures that were trained by themselves.

Kendall's tau-b counts pairs in the same order against pairs in the other, ties apart: 1 is the same order, 0 none. Two
trainings of the same architectures from other seeds don't agree fully either: their tau is the ceiling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b over all architectures and over the half that is better by what they really are; nan where a side
    is constant."""

    all: float
    better_half: float


def agreement(scores: Sequence[float], truth: Sequence[float], worth: Sequence[float] = ()) -> Agreement:
    """Of scores with what was measured; the better half is by ``worth``, or else by what was measured.

    >>> agreement([1, 2, 3, 4], [10, 20, 40, 30])
    Agreement(all=0.6666666666666669, better_half=-1.0)
    """
    worth = worth or truth
    order = sorted(range(len(worth)), key=lambda i: -worth[i])[: (len(worth) + 1) // 2]
    return Agreement(kendall(scores, truth), kendall([scores[i] for i in order], [truth[i] for i in order]))


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b of two rows of numbers."""
    from scipy.stats import kendalltau

    if len(a) < 2:
        return math.nan
    return float(kendalltau(a, b).statistic)
