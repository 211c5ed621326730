"""Charts: what is drawn where, and in which colours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from nasdsl.report import charts

CLOUD = charts.Cloud("params", "accuracy", [(1.0, 0.2), (3.0, 0.9), (2.0, 0.5)], [(3.0, 0.9), (1.0, 0.2)])


def test_the_front_is_joined_from_left_to_right() -> None:
    (axes,) = charts.clouds([CLOUD]).axes
    (line,) = axes.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 3], [0.2, 0.9])
    (dots,) = axes.collections
    assert sorted(map(tuple, dots.get_offsets())) == sorted(CLOUD.trials)


def test_a_band_is_as_wide_as_the_error() -> None:
    curve = charts.Curve("one", [1, 2], [0.5, 0.7], error=[0.1, 0.2])
    (axes,) = charts.lines([curve], x="x", y="y", level=("best", 0.9)).axes
    (band,) = axes.collections
    corners = {(round(float(x), 6), round(float(y), 6)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(1, 0.4), (1, 0.6), (2, 0.5), (2, 0.9)}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "best"]


def test_no_placeholder_is_left() -> None:
    figure = charts.clouds([CLOUD], title="a front")
    page, paper = charts.on_page(figure), charts.on_paper(figure)
    for text in (page, paper):
        assert not any(colour in text for colour in charts.ROLES)
        ET.fromstring(text.encode())
    assert set(re.findall(r"var\(--([\w-]+)\)", page)) <= set(charts.ROLES.values())
    assert "var(" not in paper and "a front" in paper
    assert charts.on_page(charts.clouds([CLOUD], title="a front")) == page
