"""Latency by a table: which rows there are, and that ranges and terms of a space say the same as its architectures."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasdsl import pipeline, resources
from nasdsl.diagnostics import NasError
from nasdsl.space.latency import LatencyTable, latency_terms, readable, rows_of_space, timed
from nasdsl.space.measures import Extent
from nasdsl.space.space import Space

TEXT = """space s {
  input image: [3, 8, 8]
  op edge = none: zero | skip: identity | conv: relu -> conv(4, kernel = 3) -> batchnorm
  x = image -> conv(4, kernel = 3)
  return edge(x) + edge(x) + batchnorm(x) -> global_avgpool
}
"""


def table_of(space: Space, overhead: int = 1000) -> LatencyTable:
    """A made-up table, in which every row takes another time."""
    rows = {row.text: 7**i % 1009 + 1 for i, row in enumerate(rows_of_space(space))}
    return LatencyTable(rows, overhead, space.name, {k: str(v) for k, v in space.parameters.items()})


def test_rows_are_what_occurs_in_some_architecture() -> None:
    found = [row.text for row in rows_of_space(pipeline.loads(TEXT))]
    conv = "channels=4, kernel=3, stride=1, dilation=1, groups=1, bias=False"
    assert found == [
        f"conv({conv}) [3, 8, 8] -> [4, 8, 8]",
        "relu() [4, 8, 8] -> [4, 8, 8]",
        f"conv({conv}) [4, 8, 8] -> [4, 8, 8]",
        "batchnorm() [4, 8, 8] -> [4, 8, 8]",
        "sum() [4, 8, 8], [4, 8, 8] -> [4, 8, 8]",
        "global_avgpool() [4, 8, 8] -> [4]",
    ]


@pytest.mark.parametrize(("edges", "adds", "convs"), [(("none", "none"), 0, 0), (("skip", "conv"), 2, 1)])
def test_an_architecture_takes_its_rows_and_the_overhead(
    edges: tuple[str, str], adds: int, convs: int
) -> None:
    """By hand. A batch norm after the one that reads a convolution takes no time; one of several readers does."""
    space = pipeline.loads(TEXT)
    names = [row.text for row in rows_of_space(space)]
    stem, relu, conv, norm, add, pool = (10**i for i in range(6))
    table = LatencyTable(dict(zip(names, (stem, relu, conv, norm, add, pool), strict=True)), 10**6, "s")
    genotype = {choice.name: edge for choice, edge in zip(space.choices, edges, strict=True)}
    expected = 10**6 + stem + norm + pool + adds * add + convs * (relu + conv)
    assert timed(space, table).measure(genotype).latency == expected


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("nasbench201", {"cells": 1}),
        ("quickstart", {}),
        ("hierarchical", {}),
        ("darts_rnn", {}),
        ("decoder_lm", {}),
        ("autoformer_tiny", {}),
    ],
)
def test_the_terms_of_a_space_add_up_to_each_architecture(name: str, parameters: dict[str, int]) -> None:
    space = pipeline.load(resources.spaces() / f"{name}.nas", **parameters)
    space = timed(space, table_of(space))
    terms = latency_terms(space)
    extent = space.ranges().latency
    for genotype in space.sample(5, 20):
        latency = space.measure(genotype).latency
        assert sum(term.at(space.assignment(genotype)) for term in terms) == latency
        assert extent.min <= latency <= extent.max


def test_the_range_is_that_of_enumeration() -> None:
    space = pipeline.loads(TEXT)
    space = timed(space, table_of(space))
    everything = {space.measure(g).latency for g in space.sample(0, 200)}
    extent = space.ranges().latency
    assert (extent.min, extent.max, extent.exact) == (min(everything), max(everything), True)


def test_a_scan_counts_once_an_element() -> None:
    text = """space s {
  input words: [T, 4]
  cell step(x, state) {
    new = x + state -> tanh
    return new, new
  }
  return words -> scan(step, state = [4]) -> relu
}"""
    space = pipeline.loads(text)
    for length in (5, 8):
        times = {"sum": 10, "tanh": 100, "relu": 1000}
        rows = {row.text: times[row.operation] for row in rows_of_space(space, length)}
        table = LatencyTable(rows, 0, space.name, length=length)
        assert timed(space, table).measure({}).latency == length * 110 + 1000
        assert timed(space, table).ranges().latency == Extent(length * 110 + 1000, length * 110 + 1000)


def test_a_table_of_another_space_is_one_message() -> None:
    small, large = (
        pipeline.load(resources.spaces() / "nasbench201.nas", cells=1, width=width) for width in (4, 8)
    )
    with pytest.raises(NasError) as caught:
        timed(large, table_of(small))
    (one,) = caught.value.diagnostics
    assert one.code == "N514"
    assert (
        "was measured for `nasbench201(width = 4, cells = 1, channels = 3, size = 32, classes = 10)`"
        in one.message
    )
    assert "lacks 25 of the 25 operations of `nasbench201(width = 8" in one.message
    assert (
        "`conv(channels=8, kernel=3" in one.message
        and "[3, 32, 32] -> [8, 32, 32]` and others" in one.message
    )


def test_latency_without_a_table_is_refused() -> None:
    space = pipeline.loads(TEXT)
    genotype = next(iter(space.sample(0, 1)))
    for ask in (lambda: space.measure(genotype).latency, lambda: space.ranges().latency):
        with pytest.raises(NasError, match="N515"):
            ask()


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    space = pipeline.loads(TEXT)
    table = table_of(space).scaled(0.5, 3)
    path = tmp_path / "table.json"
    path.write_text(table.as_text())
    assert LatencyTable.read(path) == table


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"kind": "nasdsl latencies", "format": 99, "rows": {}}', "\x00"]
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(NasError, match="N513"):
        LatencyTable.read(path)
    with pytest.raises(NasError, match="N513"):
        LatencyTable.read(tmp_path)


def test_times_for_people() -> None:
    assert [readable(t) for t in (12, 12_345, 2_000_000, 3 * 10**9)] == ["12 ns", "12.35 us", "2 ms", "3 s"]
