"""Measuring latencies: that every row is measured. How long things take is nobody's test."""

from __future__ import annotations

from nasdsl import pipeline
from nasdsl.space.latency import rows_of_space, timed

TEXT = """space s {
  input words: int[T]
  op act = a: relu | b: tanh | n: zero
  x = words -> embedding(vocab = 5, features = 4)
  y = act(x) + linear(x, 4)
  return mean([y, x]) -> layernorm -> linear(3)
}
"""


def test_each_operation_of_a_space_is_measured() -> None:
    space = pipeline.loads(TEXT)
    told: list[tuple[int, int]] = []
    table = pipeline.latency_table(space, runs=5, whole=1, length=3, on_file=lambda *done: told.append(done))
    assert list(table.rows) == [row.text for row in rows_of_space(space, 3)]
    assert all(time >= 0 for time in table.rows.values()) and table.overhead > 0
    assert (table.space, table.threads, table.length, table.whole) == ("s", 1, 3, 1)
    assert told[-1] == (len(table.rows) + 1, len(table.rows) + 1)
    genotype = next(iter(space.sample(0, 1)))
    assert timed(space, table).measure(genotype).latency >= table.overhead


def test_one_architecture_is_timed_as_a_whole() -> None:
    space = pipeline.loads(TEXT)
    found = pipeline.latency(space, next(iter(space.sample(0, 1))), runs=7, length=3)
    assert found.runs == 7 and 0 < found.p05 <= found.median <= found.p95
