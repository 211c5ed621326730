"""Samples, neighbours and mutations stay in the space, and are drawn as promised."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from nasdsl import pipeline, resources
from nasdsl.space.choice import Genotype

SPACES = sorted(path.stem for path in resources.spaces().glob("*.nas"))
# A choice with few architectures below one candidate and many below the other.
UNEQUAL = """space s {
  input x: [4, 6, 6]
  return x -> (plain: relu | rich: conv(4, kernel = 3|5|7) -> (a: relu | b: tanh | c: sigmoid))
}"""


def chi_square(counts: list[int], expected: float) -> float:
    return sum((count - expected) ** 2 / expected for count in counts)


@pytest.mark.parametrize("name", SPACES)
def test_what_is_sampled_is_in_the_space(name: str) -> None:
    space = pipeline.load(resources.spaces() / f"{name}.nas")
    for genotype in [*space.sample(1, 5), space.sample(2, 1, uniform=not space.limits)[0]]:
        assert space.genotype(genotype) == genotype
        assert space.genotype_of(space.assignment(genotype)) == genotype
    assert space.sample(3, 4) == space.sample(3, 4)


def test_uniform_over_architectures() -> None:
    space = pipeline.loads(UNEQUAL)
    drawn = Counter(g.text for g in space.sample(0, 2000, uniform=True))
    assert len(drawn) == space.count() == 10
    # 9 degrees of freedom: 27.9 is exceeded once in a thousand.
    assert chi_square(list(drawn.values()), 200) < 27.9


def test_uniform_choice_by_choice() -> None:
    space = pipeline.loads(UNEQUAL)
    drawn = Counter(g["choice"] for g in space.sample(0, 2000))
    assert chi_square(list(drawn.values()), 1000) < 10.8


def test_uniform_sub_lists() -> None:
    space = pipeline.loads(
        "space s { input x: [4]\n return sum(choose 1..2 of { x, relu(x), tanh(x), sigmoid(x) }) }"
    )
    drawn = Counter(g.text for g in space.sample(0, 2000))
    assert len(drawn) == 10
    assert chi_square(list(drawn.values()), 200) < 27.9


def test_constraints_over_choices_are_met() -> None:
    space = pipeline.load(resources.spaces() / "quickstart.nas")
    text = next(iter(space.sources.values())).replace("  width =", '  require count("none") == 1\n  width =')
    narrow = pipeline.loads(text)
    assert narrow.count() == 3 * 4**2 * 9
    for genotype in narrow.sample(0, 50):
        assert sum(taken == "none" for taken in genotype.values()) == 1


def test_limits_on_measures_are_met() -> None:
    space = pipeline.load(resources.spaces() / "ofa_mobilenetv3.nas")
    assert all(space.measure(genotype).flops <= 300_000_000 for genotype in space.sample(0, 10))


@pytest.mark.parametrize("name", SPACES)
def test_neighbours_and_mutations(name: str) -> None:
    space = pipeline.load(resources.spaces() / f"{name}.nas")
    genotype = space.sample(0)
    mutant = space.mutate(genotype, random.Random(0))
    assert space.genotype(mutant) == mutant != genotype
    if name in ("quickstart", "nasbench201", "hierarchical"):
        near = space.neighbours(genotype)
        assert len(set(near)) == len(near) and genotype not in near
        assert all(space.genotype(n) == n for n in near)


def test_nasbench201_has_24_neighbours() -> None:
    space = pipeline.load(resources.spaces() / "nasbench201.nas")
    assert len(space.neighbours(space.sample(0))) == 24


def test_a_genotype_is_text_in_elaboration_order() -> None:
    space = pipeline.load(resources.spaces() / "nasbench201.nas")
    genotype = space.sample(0)
    shuffled = dict(sorted(genotype.items(), reverse=True))
    assert space.genotype(shuffled).text == genotype.text
    assert Genotype(shuffled) == genotype
