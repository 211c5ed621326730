"""How much each choice mattered, against the variances of small tables that are added up by hand or in full."""

from __future__ import annotations

import math
import random
from itertools import combinations
from statistics import fmean, pvariance, stdev

import pytest

from nasdsl import pipeline
from nasdsl.space.marginals import FEWEST, Marginal, Scored, by_share, comparable, marginals
from nasdsl.space.space import Space

TEXT = """space s {
  input x: [4]
  a = 2 | 3 | 4
  y = x -> linear(a)
  op act = one: relu | two: gelu
  op more = none: identity | some: linear(%s)
  return y -> act -> more -> linear(2)
}
"""


def space(width: str = "8") -> Space:
    return pipeline.loads(TEXT % width)


def every(space: Space) -> list[dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for genotype in space.sample(0, 400):
        found[genotype.text] = {name: str(taken) for name, taken in genotype.items()}
    assert len(found) == space.count()
    return list(found.values())


def worth(genotype: dict[str, str]) -> float:
    """Main effects of two choices, and an effect of two together."""
    effect = {"2": 0.0, "3": 0.25, "4": 0.75}[genotype["a"]] + 0.5 * (genotype["act"] == "two")
    return effect + 0.25 * (genotype["a"] == "4" and genotype["act"] == "two")


def test_over_a_whole_space_shares_are_the_main_effects_of_functional_anova() -> None:
    whole = space()
    trials = [Scored(genotype, worth(genotype)) for genotype in every(whole)]
    found = {marginal.name: marginal for marginal in marginals(whole.choices, trials)}
    variance = pvariance([trial.score for trial in trials])
    for choice in whole.choices:
        effects = [
            fmean(t.score for t in trials if t.genotype[choice.name] == label) for label in choice.labels
        ]
        assert found[choice.name].share == pytest.approx(pvariance(effects) / variance, abs=1e-12)
        assert [c.mean for c in found[choice.name].candidates] == pytest.approx(effects, abs=1e-12)
        assert [c.trials for c in found[choice.name].candidates] == [12 // len(effects)] * len(effects)
    # The rest is what a and act do only together.
    mean = fmean(trial.score for trial in trials)
    main = {
        name: {c.label: (c.mean or 0.0) - mean for c in marginal.candidates}
        for name, marginal in found.items()
    }
    together = fmean(
        (t.score - mean - sum(main[name][str(taken)] for name, taken in t.genotype.items())) ** 2
        for t in trials
    )
    shares = math.fsum(marginal.share or 0.0 for marginal in found.values())
    assert shares + together / variance == pytest.approx(1, abs=1e-12)
    assert found["more"].share == pytest.approx(0, abs=1e-12) and together > 0.01 * variance
    assert [marginal.name for marginal in by_share(found.values())] == ["a", "act", "more"]


def test_errors_are_those_of_a_mean_and_chance_is_the_average_over_all_deals() -> None:
    whole, draw = space(), random.Random(0)
    scores = [draw.gauss(0.5, 0.1) for _ in range(10)]
    genotypes = every(whole)[:10]

    def of_act(ones: tuple[int, ...]) -> Marginal:
        # Ten different architectures, of which some are said to have taken the first candidate.
        trials = [
            Scored({"act": "one" if i in ones else "two", "rest": str(genotypes[i])}, score)
            for i, score in enumerate(scores)
        ]
        return marginals([whole.choice("act")], trials)[0]

    one = of_act((0, 1, 2, 3)).candidates[0]
    assert one.error == pytest.approx(stdev(scores[:4]) / 2, abs=1e-12)
    deals = [of_act(ones) for ones in combinations(range(10), 4)]
    assert len(deals) == 210
    assert fmean(deal.share or 0.0 for deal in deals) == pytest.approx(1 / 9, abs=1e-12)
    assert {deal.by_chance for deal in deals} == {1 / 9}


def test_nothing_is_said_of_too_few_or_of_scores_that_are_all_alike() -> None:
    whole = space()
    genotypes = every(whole)
    few = marginals(whole.choices, [Scored(g, worth(g)) for g in genotypes[: FEWEST - 1]])
    assert all(m.share is None and m.by_chance is None for m in few)
    assert sum(c.trials for c in few[0].candidates) == FEWEST - 1
    alike = marginals(whole.choices, [Scored(g, 0.1 + 0.2) for g in genotypes])
    assert all(m.share is None for m in alike)
    one_sided = [Scored(g, i) for i, g in enumerate({"act": "one", "n": str(i)} for i in range(20))]
    (act,) = marginals([whole.choice("act")], one_sided)
    assert act.share is None and act.candidates[1].mean is None and act.candidates[1].error is None
    assert marginals(whole.choices, [])[0].trials == 0


def test_conditions_and_sub_lists() -> None:
    """A choice is judged where it exists; each candidate of a sub-list is a choice of its own."""
    whole = space("16 | 32")
    inner = next(c for c in whole.choices if c.name not in ("a", "act", "more"))
    genotypes = every(whole)
    found = {m.name: m for m in marginals(whole.choices, [Scored(g, i) for i, g in enumerate(genotypes)])}
    assert found[inner.name].trials == sum(inner.name in g for g in genotypes) == 12
    several = pipeline.loads(
        "space s {\n  input x: [4]\n  y = sum(choose any of {x, relu(x), gelu(x)}) + x\n  return y -> linear(2)\n}\n"
    )
    (choice,) = several.choices
    drawn = {g.text: g for g in several.sample(0, 200)}.values()
    trials = [
        Scored(g, float(choice.labels[0] in g[choice.name]), budget) for g in drawn for budget in range(3)
    ]
    assert [m.label for m in marginals(several.choices, trials)] == list(choice.labels)
    # 8 architectures are too few; named otherwise each counts twice.
    twice = [Scored({**t.genotype, "n": str(n)}, t.score) for t in trials[::3] for n in range(2)]
    first, *others = marginals(several.choices, twice)
    assert first.share == pytest.approx(1, abs=1e-12) and [c.mean for c in first.candidates] == [1.0, 0.0]
    assert all(m.share == pytest.approx(0, abs=1e-12) for m in others)


def test_scores_of_one_budget_are_compared_each_architecture_once() -> None:
    g = [{"a": str(i)} for i in range(4)]
    trials = [Scored(g[0], 0.5, 1), Scored(g[1], 0.6, 1), Scored(g[0], 0.9, 3), Scored(g[2], math.nan, 3)]
    assert comparable(trials) == trials[:2]
    assert comparable([*trials, Scored(g[1], 0.7, 1)]) == [trials[0], Scored(g[1], 0.7, 1)]
    assert [t.budget for t in comparable([*trials, Scored(g[3], 0.1, 3)])] == [3, 3]
