"""Diagrams are canonical: equal functions are one object."""

from __future__ import annotations

import operator

from hypothesis import given, settings
from hypothesis import strategies as st

from nasdsl.space.diagram import Diagram, Diagrams, shortest_path

ARITIES = (2, 3, 2)
tables = st.lists(st.integers(0, 3), min_size=12, max_size=12)
POINTS = [(a, b, c) for a in range(2) for b in range(3) for c in range(2)]


def diagram(table: Diagrams, values: list[int]) -> Diagram:
    def build(variable: int, point: tuple[int, ...]) -> Diagram:
        if variable == len(ARITIES):
            return table.leaf(values[POINTS.index(point)])
        return table.node(
            variable, [build(variable + 1, (*point, case)) for case in range(ARITIES[variable])]
        )

    return build(0, ())


@settings(max_examples=200, deadline=None)
@given(tables, tables)
def test_map_is_pointwise_and_canonical(left: list[int], right: list[int]) -> None:
    table = Diagrams()
    a, b = diagram(table, left), diagram(table, right)
    total = table.map(operator.add, a, b)
    assert [total.at(point) for point in POINTS] == [x + y for x, y in zip(left, right, strict=True)]
    assert (
        total
        is table.map(operator.add, b, a)
        is diagram(table, [x + y for x, y in zip(left, right, strict=True)])
    )
    for variable, arity in enumerate(ARITIES):
        for case in range(arity):
            restricted = table.restrict(a, variable, case)
            assert variable not in restricted.support()
            assert all(restricted.at(p) == a.at(p) for p in POINTS if p[variable] == case)


@settings(max_examples=200, deadline=None)
@given(tables)
def test_shortest_path_leads_there(values: list[int]) -> None:
    table = Diagrams()
    found = diagram(table, values)
    path = shortest_path(found, lambda value: value == 3)
    if 3 not in values:
        assert path is None
        return
    assert path is not None
    fitting = [p for p in POINTS if all(p[v] == case for v, case in path.items())]
    assert all(found.at(p) == 3 for p in fitting)


def test_true_is_not_one() -> None:
    table = Diagrams()
    assert table.leaf(True) is not table.leaf(1)
    assert table.leaf(1) is not table.leaf(1.5)
