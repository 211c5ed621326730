"""A split in two, seeded: by class where there are classes, by size for numbers, in one piece for text."""

from __future__ import annotations

import torch
from torch import Tensor

from nasdsl.training.split import Split

QUANTILES = 10
"""Numbers are cut so that each of so many groups, from the smallest to the largest, goes into both parts."""


def cut(split: Split, share: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """The numbers of the examples in two parts, ascending, the first with about ``share`` of them."""
    targets = split.first_targets.cpu()
    if split.continuous:
        first = round(share * len(split))
        return torch.arange(first), torch.arange(first, len(split))
    return stratified(strata(targets, split.classes), share, random)


def strata(targets: Tensor, classes: int) -> Tensor:
    """[N]: the group of each example. Class numbers are groups; real numbers are grouped by quantile."""
    if not targets.is_floating_point():
        # Without classes, whole numbers [N, …] are no targets to balance.
        return targets if targets.dim() == 1 else torch.zeros(len(targets), dtype=torch.int64)
    if classes:  # probabilities
        return targets.argmax(1)
    values = targets.reshape(len(targets), -1)[:, 0]
    ranks = values.argsort(stable=True).argsort(stable=True)
    return ranks * min(QUANTILES, len(values)) // len(values)


def stratified(targets: Tensor, share: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices in two parts, the first with ``share`` of every class (rounded by turns, so that the sizes come out)."""
    first: list[Tensor] = []
    second: list[Tensor] = []
    owed = 0.0
    for label in targets.unique():
        members = (targets == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=random)]
        owed += share * len(members)
        count = min(len(members), max(0, round(owed)))
        owed -= count
        first.append(members[:count])
        second.append(members[count:])
    return torch.cat(first).sort().values, torch.cat(second).sort().values
