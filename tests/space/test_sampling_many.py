"""A stream of genotypes, and assignments by the array: in the space, seeded, and as likely as one by one."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from nasdsl.pipeline import SearchSpace, loads

GUARDED = """
space guarded() {
  input x: [4]
  op leaf(x: [D]) = a: tanh(x) | b: relu(x) | c: sigmoid(x)
  op outer(x: [D]) = plain: leaf(x) | twice: leaf(leaf(x)) | none: x
  return sum(choose any of { outer(x), relu(x) }) + x
}
"""
FLAT = """
space flat() {
  input x: [4]
  op leaf(x: [D]) = a: tanh(x) | b: relu(x) | c: sigmoid(x)
  return choose { one: leaf(leaf(x)), two: leaf(x) + leaf(x) + x }
}
"""
BOUNDED = """
space bounded() {
  input x: [4]
  return sum(choose 1..2 of { relu(x), tanh(x), sigmoid(x) }) + x
}
"""
SPACES = {"guarded": GUARDED, "flat": FLAT, "bounded": BOUNDED}


def space(name: str) -> SearchSpace:
    return loads(SPACES[name])


@pytest.mark.parametrize("name", SPACES)
def test_rows_and_streams_are_genotypes_of_the_space(name: str) -> None:
    found = space(name)
    rows = found.sample_indices(60, seed=1)
    assert rows.shape == (60, len(found.arities))
    for row in rows:
        genotype = found.genotype_of(row)
        assert found.genotype(genotype) == genotype
        assert found.assignment(genotype) == row.tolist()
    for genotype in islice(found.samples(1), 60):
        assert found.genotype(genotype) == genotype


@pytest.mark.parametrize("name", SPACES)
def test_the_seed_decides(name: str) -> None:
    found = space(name)
    assert (found.sample_indices(50, 3) == found.sample_indices(50, 3)).all()
    assert (found.sample_indices(50, 3) != found.sample_indices(50, 4)).any()
    first, again, other = (list(islice(found.samples(seed), 50)) for seed in (3, 3, 4))
    assert first == again != other


def test_rows_are_as_likely_as_genotypes_drawn_one_by_one() -> None:
    """Every assignment's frequency in 40 000 rows within five standard deviations of its probability."""
    found = space("guarded")
    count = 40_000
    seen = Counter(map(tuple, found.sample_indices(count, seed=0).tolist()))
    total = 0.0
    for row, times in seen.items():
        p = 1.0
        for choice in found.choices:
            if choice.guard.at(row):
                p /= 2 ** len(choice.labels) if choice.is_sublist else len(choice.labels)
        assert abs(times - count * p) < 5 * (count * p * (1 - p)) ** 0.5 + 1
        total += p
    assert total == pytest.approx(1, abs=0.02)
