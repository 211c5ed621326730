"""Equivalence: what counts as the same network, and that the classes are right."""

from __future__ import annotations

import pytest

from nasdsl import pipeline
from nasdsl.diagnostics import NasError
from nasdsl.space.equivalence import Classes, genotypes, unique
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
