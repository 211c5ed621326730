"""Equivalence: what counts as the same network, and that the classes are right."""

from __future__ import annotations

import pytest

from nasdsl import pipeline
from nasdsl.diagnostics import NasError
from nasdsl.space.equivalence import Classes, at_least, genotypes, unique, unseen
from nasdsl.space.space import Space


def small(body: str) -> Space:
    return pipeline.loads(
        f"space s {{\n input x: [4, 6, 6]\n op edge = none: zero | skip: identity | c: conv(kernel = 1)\n {body}\n}}"
    )


@pytest.mark.parametrize(
    ("body", "classes"),
    [
        # x, conv(x), and nothing; conv(x) + x in either order.
        ("return edge(x)", 3),
        # The sum of two unordered: {0, x, c}² has 6 unordered pairs, each another network (x + x is not x).
        ("return edge(x) + edge(x)", 6),
        # A sum of sums is one sum.
        ("y = edge(x) + x\n return y + edge(x)", 6),
        # concat is ordered, and needs zeros where nothing is.
        ("return concat([edge(x), edge(x)])", 9),
        # Two equal uses without weights are not one use twice.
        ("y = relu(x)\n return x -> (one: relu | two: relu)", 1),
        ("y = x -> (one: relu | two: identity -> relu)\n return y", 1),
        # Nothing, x, one convolution (first or second edge), two.
        ("y = edge(x)\n return edge(y) -> relu", 4),
    ],
)
def test_classes(body: str, classes: int) -> None:
    assert unique(small(body)) == classes


def test_listing_gives_each_genotype_once() -> None:
    space = small("n = [x, relu(x), tanh(x)]\n return sum(choose 1..2 of { edge(t) for t in n })")
    listed = list(genotypes(space))
    assert len(set(listed)) == len(listed) == space.count()


def test_swapped_edges_are_equivalent() -> None:
    space = small("a = edge(x)\n b = edge(x)\n return a + b")
    classes = Classes()
    one = classes.add(space.architecture({"a": "skip", "b": "c"}))
    assert classes.add(space.architecture({"a": "c", "b": "skip"})) == one
    assert classes.add(space.architecture({"a": "c", "b": "c"})) != one


def test_too_large_a_space_is_refused() -> None:
    with pytest.raises(NasError) as raised:
        unique(small("return " + " -> ".join(["edge(x)"] + ["edge"] * 13)))
    assert raised.value.diagnostics[0].code == "N505"


def test_a_lower_bound_from_samples() -> None:
    # 3^6 genotypes; sorting each sum's terms leaves far fewer classes, some of them 90 times as large as others.
    space = small("return " + " + ".join(["edge(x)"] * 3) + " + (" + " + ".join(["edge(relu(x))"] * 3) + ")")
    truth = unique(space)
    found = [at_least(space, 150, seed) for seed in range(20)]
    mean = sum(bound for bound, _ in found) / len(found)
    errors = [error for _, error in found]
    spread = (sum((bound - mean) ** 2 for bound, _ in found) / (len(found) - 1)) ** 0.5
    # On average no more than the truth (3 standard errors of the mean), more than what was seen, and the error is right.
    assert mean <= truth + 3 * spread / len(found) ** 0.5
    assert mean >= 0.8 * truth
    assert 0.5 < sum(errors) / len(errors) / spread < 2
    assert at_least(space, 150, 0) == found[0]


def test_unseen_kinds() -> None:
    assert unseen(seen=7, once=0, twice=3, samples=1_000)[0] == 7
    # Nothing met twice: as many as the pairs that could have been alike.
    assert unseen(seen=100, once=100, twice=0, samples=100)[0] == 100 + 100 * 99 / 2


def test_weights_are_shared_whoever_makes_them() -> None:
    space = pipeline.loads(
        """space s {
          input t: int[T]
          shared a = embedding(9, 4)
          shared b = embedding(9, 4)
          u = a(t)
          v = b(t)
          y = onehot(4)(t)
          return unembed(y, a) + (same: unembed(y, a) | other: unembed(y, b))
        }"""
    )
    classes = Classes()
    # Neither embedding is left, but one set of weights differs from two.
    assert [classes.add(space.architecture({"choice": label})) for label in ("same", "other")] == [0, 1]
