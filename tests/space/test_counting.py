"""Counting is exact: against the published numbers, and against enumeration."""

from __future__ import annotations

from itertools import product

import pytest

from nasdsl import pipeline, resources
from nasdsl.diagnostics import NasError
from nasdsl.space.space import Space

COUNTS = {
    "quickstart": 5**3 * 3 * 3,
    "nasbench201": 5**6,
    "darts": (180 * 7**8) ** 2,
    "darts_rnn": 2_642_411_520,
    "enas_macro": 6**12 * 2**66,
    "enas_micro": (10 * 15 * 20 * 25 * 30) ** 4,
    "enas_rnn": 669_692_775_628_800,
    "one_shot": (3 * 6 * 10 * 15) * 28**4,
    "ofa_mobilenetv3": (9**2 + 9**3 + 9**4) ** 5,
    "autoformer_tiny": 3 * (4**12 + 4**13 + 4**14),
    "hierarchical": 1_566_453,
}


@pytest.mark.parametrize("name", COUNTS)
def test_shipped_spaces(name: str) -> None:
    assert pipeline.load(resources.spaces() / f"{name}.nas").count() == COUNTS[name]


def test_a_large_grammar() -> None:
    space = pipeline.load(resources.spaces() / "hierarchical.nas", depth=5)
    assert space.count() == 48168094052524714211722485


def enumerated(space: Space) -> int:
    """The genotypes that one gets by trying every assignment of the variables."""
    found = set()
    for cases in product(*(range(arity) for arity in space.arities)):
        genotype = space.genotype_of(cases)
        try:
            found.add(space.genotype(genotype))
        except NasError:
            continue
    return len(found)


SMALL = {
    "guards of a chain": "a = 1 | 2\n return x -> repeat(conv(4, kernel = 3|5), a)",
    "a sub-list": "n = [x, x, x, x]\n return sum(choose 1..3 of { t -> conv(8, kernel = 1) for t in n })",
    "nested": "return x -> (a: conv(4, kernel = 3|5) | b: identity -> (c: relu | d: (e: tanh | f: sigmoid)) | g: zero)",
    "a shared cell": "y = act(x) + act(x)\n return y -> (p: act | q: identity)",
    "a cell under one of two guards": "return (x -> (p: act | q: identity)) + (x -> (r: act | s: identity))",
    "loose ends": "n = [x]\n for i in 1..3 { n[i] = choose { conv(8, kernel = 1)(t) for t in n } }\n return sum(unused(n))",
    "count": 'y = act(x) + act2(x) + act2(x)\n require count("relu") <= 1\n return y',
    "len": "s = choose any of { x, relu(x), tanh(x) }\n require len(s) >= 1\n require len(s) <= 2\n return sum(s)",
    "numbers": "w = 4 | 8\n v = 4 | 8 | 16\n require w + v <= 16\n return x -> conv(w, kernel = 1) -> conv(v, kernel = 1)",
    "an if": "w = 4 | 8\n y = if w == 4 then act2(x) else x\n return y -> conv(w, kernel = 1)",
}


@pytest.mark.parametrize("name", SMALL)
def test_count_equals_enumeration(name: str) -> None:
    text = (
        "space s {\n input x: [8, 6, 6]\n cell act = relu | tanh\n op act2 = relu | gelu | sigmoid\n "
        + SMALL[name]
        + "\n}"
    )
    space = pipeline.loads(text)
    assert space.count() == enumerated(space)
    assert space.count() > 1


def test_what_nothing_meets_is_an_error() -> None:
    with pytest.raises(NasError) as raised:
        pipeline.loads(
            'space s { input x: [8]\n y = x -> (relu | tanh)\n require count("relu") >= 2\n return y }'
        )
    assert raised.value.diagnostics[0].code == "N501"


@pytest.mark.parametrize("seed", range(3))
def test_estimates_lie_around_the_count(seed: int) -> None:
    space = pipeline.load(resources.spaces() / "hierarchical.nas", depth=2)
    mean, error = space.estimate(2000, seed)
    assert 0 < error < 0.1 * space.count()
    assert abs(mean - space.count()) < 4 * error


@pytest.mark.parametrize(
    ("bound", "possible"), [("params <= 100", False), ("params >= 100M", False), ("params <= 500", True)]
)
def test_whether_a_limit_can_be_met_is_said_at_once(bound: str, possible: bool) -> None:
    text = f"space s {{ input x: [8, 6, 6]\n require {bound}\n return x -> conv(8 | 16, kernel = 1|3) -> global_avgpool -> linear(10) }}"
    if possible:
        assert pipeline.loads(text).limits
        return
    with pytest.raises(NasError) as raised:
        pipeline.loads(text)
    assert raised.value.diagnostics[0].code == "N501"
