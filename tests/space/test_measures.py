"""Params and FLOPs against the published table of NAS-Bench-201, and ranges against enumeration."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nasdsl import pipeline, resources
from nasdsl.diagnostics import NasError
from nasdsl.space.measures import Extent
from nasdsl.space.space import Space


def genotype_of(arch: str) -> dict[str, str]:
    """``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`` in the names of the shipped space."""
    x1, x2a, x2b, x3a, x3b, x3c = re.findall(r"([a-z0-9_]+)~\d", arch)
    return {
        "normal.x1": x1, "normal.x2#1": x2a, "normal.x2#2": x2b,
        "normal.x3#1": x3a, "normal.x3#2": x3b, "normal.x3#3": x3c,
    }  # fmt: skip


def test_nasbench201_table(nasbench201_table: Path) -> None:
    space = pipeline.load(resources.spaces() / "nasbench201.nas")
    with nasbench201_table.open() as lines:
        rows = list(csv.DictReader(lines))
    compared = 0
    for row in rows[::97]:
        genotype = genotype_of(row["arch"])
        if "none" in genotype.values():
            continue  # the table counts convolutions that a pruned network doesn't have
        found = space.measure(genotype)
        assert found.params == int(row["params"])
        # The table also counts the bias of the last layer, one for each of the ten classes.
        assert found.flops + 10 == int(row["flops"])
        compared += 1
    assert compared > 20


def extremes(space: Space, measure: str) -> tuple[int, int]:
    found = [getattr(space.measure(g), measure) for g in set(space.sample(0, 400))]
    return min(found), max(found)


@pytest.mark.parametrize(
    "body",
    [
        "return x -> (a: conv(4, kernel = 3|5) | b: identity | c: zero) -> conv(8, kernel = 1)",
        "w = 4 | 8 | 12\n return x -> conv(w, kernel = 3) -> repeat(conv(kernel = 1|3), 1 | 2) -> global_avgpool -> linear(3)",
        "y = edge(x) + edge(x)\n return edge(y) + edge(x)",
        "return x -> (maxpool(3) -> relu | flatten -> reshape([8, 6, 6]) | dropout(0.1)) -> repeat(conv(kernel = 3) -> batchnorm -> gelu, 1 | 2 | 3)",
        "s = x -> edge\n g = x -> global_avgpool -> linear(8) -> (sigmoid | tanh) -> reshape([8, 1, 1])\n return conv(4, kernel = 1)(s * g + max([edge(x), s])) -> flatten -> linear(2)",
        "n = [x, conv(8, kernel = 1)(x)]\n for i in 2..4 { n[i] = sum(choose 1..2 of { edge(t) for t in n }) }\n return sum(unused(n))",
    ],
)
def test_ranges_equal_the_extremes_of_all(body: str) -> None:
    space = pipeline.loads(
        "space s {\n input x: [8, 6, 6]\n op edge = none: zero | c1: conv(kernel = 1) | c3: conv(kernel = 3)\n "
        + body
        + "\n}"
    )
    found = space.ranges()
    assert found.params.exact and found.flops.exact and found.training_memory.exact
    for measure in ("params", "flops", "training_memory", "memory"):
        low, high = extremes(space, measure)
        extent = getattr(found, measure)
        assert extent.min <= low and extent.max >= high
        if space.count() < 100:
            assert (extent.min, extent.max) == (low, high) or not extent.exact
            assert extent.max == high


def test_a_scan_costs_what_its_turns_cost() -> None:
    space = pipeline.loads(
        "space s {\n input x: [5, 8]\n cell c(x, h: [D]) { return linear(D)(x) + linear(D)(h) }\n"
        " return x -> scan(c, state = [8]) -> linear(2)\n}"
    )
    network = space.network({})
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.randn(1, 5, 8))
    counted = counter.get_total_flops() // 2  # torch counts a multiply-add as two
    assert space.measure({}).flops == counted
    assert space.ranges().flops == Extent(counted, counted)


def test_requirements_on_memory_are_judged_and_decided_before() -> None:
    text = (
        "space s {{\n input x: [8, 6, 6]\n w = 4 | 8 | 12\n require {}\n"
        " return x -> conv(w, kernel = 3) -> relu\n}}"
    )
    space = pipeline.loads(text.format("memory <= 3K and training_memory <= 2500"))
    assert {g["w"] for g in space.sample(0, 20)} == {"4"}
    with pytest.raises(NasError, match=r"N501.*training_memory go from 1728 to 2880"):
        pipeline.loads(text.format("training_memory <= 1K"))


def test_a_scan_over_several_elements_has_bounds() -> None:
    space = pipeline.loads(
        "space s {\n input x: [5, 8]\n"
        " cell c(x, h: [D]) { return linear(D)(x) + (linear(D)(h) -> (tanh | relu | identity)) }\n"
        " return x -> scan(c, state = [8]) -> linear(2)\n}"
    )
    for measure in ("training_memory", "memory"):
        low, high = extremes(space, measure)
        extent = getattr(space.ranges(), measure)
        assert not extent.exact and extent.min <= low <= high <= extent.max
