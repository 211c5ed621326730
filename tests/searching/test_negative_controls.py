"""Every strategy on the fixture's table of 27 losses, and its negative control: the same losses, shuffled.

A strategy is shown a table, in the form in which it learns: as rewards of genotypes, or, where it differentiates, as the
expected loss under the weights of the candidates, which is the table's multilinear extension

    L(w) = Σ_z  w_1[z_1] w_2[z_2] w_3[z_3]  L(z)

What it finds is ranked in the true table. With the true one it does better than a uniform draw, with a shuffled one as
well as that and no better: what is shown has nothing to do with what is ranked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl.searching import STRATEGIES, settings_for
from nasdsl.searching.history import History, Trial
from nasdsl.searching.strategy import MultiFidelity, Path, RewardDriven, WeightSharing
from nasdsl.training.train import Evaluation
from tests.searching import fixture

SEEDS = 16
SPREAD = math.sqrt((27**2 - 1) / 12)
"""The deviation of the rank of a uniform draw, 0 to 26 with mean 13."""

SETTINGS: dict[str, Sequence[str]] = {
    "enas": ("options.lr=0.03", "options.hidden=8", "options.temperature=1", "options.tanh=0", "options.samples=1"),
    "advantage": ("options.lr=0.08", "options.weight_decay=0", "options.warmup=0", "options.credit=exact", "options.centred=true"),
    "gdas": ("options.lr=0.1", "options.tau_start=1"),
    "pc_darts": ("options.lr=0.05", "options.warmup=0"),
    "reinforce": ("options.lr=0.2",),
    "nsga2": ("options.population=4",),
    "spos": ("options.population=4", "options.generations=3", "options.parents=2", "options.crossovers=2", "options.mutations=1"),
    "fair": ("options.population=4", "options.generations=3", "options.parents=2", "options.crossovers=2", "options.mutations=1"),
    "successive_halving": ("options.candidates=9",),
    "local_search": ("options.starts=3",),
    "regularized_evolution": ("options.population=4",),
}  # fmt: skip
LEARNERS = ("darts", "drnas", "snas", "proxyless")


@cache
def table() -> Tensor:
    """An additive table [3, 3, 3] with 27 different losses."""
    s = torch.tensor([[0.0, 0.5, 1.1], [0.9, 0.0, 0.4], [0.3, 1.0, 0.0]], dtype=torch.float64)
    found = s[0][:, None, None] + s[1][None, :, None] + s[2][None, None, :]
    return found + 1e-6 * torch.arange(27, dtype=torch.float64).reshape(3, 3, 3)


def loss(shown: Tensor, path: Path) -> Tensor:
    """The table's multilinear extension at what a path runs."""
    weights = []
    for name in fixture.CHOICES:
        if path.mixture is not None:
            weights.append(path.mixture[name])
        elif name in path.gates:
            weights.append(path.gates[name])
        else:
            weights.append(torch.eye(3, dtype=torch.float64)[fixture.LABELS.index(str(path.genotype[name]))])
    return torch.einsum("i,j,k,ijk->", *weights, shown)


def rank(name: str, shown: Tensor, seed: int) -> int:
    """That of the winner, in the true table."""
    given = [*SETTINGS.get(name, ("options.lr=0.05",) if name in LEARNERS else ())]
    kind = STRATEGIES.find(name)
    made: Any = kind(fixture.space(), settings_for(name, assignments=given).options, seed)
    if isinstance(made, WeightSharing):
        for epoch in range(4):
            made.start_epoch(epoch, 4)
            for _ in range(12):
                made.paths()
                if made.learns:
                    made.architecture_step(None, lambda path: loss(shown, path))  # type: ignore[arg-type]
            if isinstance(made, RewardDriven):
                for _ in range(15):
                    made.reward_step(lambda path: Evaluation(0.0, -float(loss(shown, path)), 1))
    history = History()
    while len(history) < 12 and (genotype := made.propose(history)) is not None:
        value = float(shown[fixture.positions(genotype)])
        budget = made.budget(history) if isinstance(made, MultiFidelity) else 0
        history.add(Trial(genotype, -value, value, budget))
    return fixture.rank(table(), fixture.positions(history.best().genotype))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_it_learns_from_the_table_and_nothing_from_a_shuffled_one(name: str) -> None:
    found = [rank(name, table(), seed) for seed in range(6)]
    control = [rank(name, fixture.shuffled(table(), seed), seed) for seed in range(SEEDS)]
    assert sum(found) / len(found) < 13 - 2 * SPREAD / math.sqrt(len(found)), found
    # Seeds 0 to 15, three standard errors: 13 ± 5.8.
    assert abs(sum(control) / SEEDS - 13) < 3 * SPREAD / math.sqrt(SEEDS), control
