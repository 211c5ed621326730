"""``--set name=value``, and how faults in it are named."""

from __future__ import annotations

from fractions import Fraction

import pytest

from nasdsl.cli import options
from nasdsl.diagnostics import NasError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16),
        ("0.1", Fraction(1, 10)),
        ("-3", -3),
        ("1/3", Fraction(1, 3)),
        ("4/2", 2),
        ("5M", 5_000_000),
        ("1.5K", 1500),
        ("0", 0),
    ],
)
def test_numbers_are_those_of_the_language(text: str, value: object) -> None:
    assert options.parameters([f"x={text}"]) == {"x": value}
    assert type(options.parameters([f"x={text}"])["x"]) is type(value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["width"], "expected NAME=VALUE"),
        (["=3"], "expected NAME=VALUE"),
        (["width="], "expected NAME=VALUE"),
        (["width=wide"], "`wide` is not a number"),
        (["width=1e9"], "is not a number"),
        (["width=1/0"], "is not a number"),
        (["width=nan"], "is not a number"),
        (["width=16px"], "is not a number"),
        (["width=0x10"], "is not a number"),
        (["width=" + "9" * 5000], "is not a number"),
        (["width=１６"], "is not a number"),
        (["width=16", "width=32"], "twice: 16 and 32"),
    ],
)
def test_what_is_no_setting(settings: list[str], says: str) -> None:
    with pytest.raises(NasError) as caught:
        options.parameters(settings)
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.code == "N984"
    assert says in diagnostic.message
    assert len(diagnostic.message) < 300


def test_bounds_are_moved_by_name() -> None:
    assert options.limits(None).nodes == 1_000_000
    assert options.limits(["nodes=5M", "nesting=10"]).nodes == 5_000_000
    for setting, says in (
        ("node=5", "no bound `node`"),
        ("nodes=0", "from 1 up"),
        ("nodes=1/2", "from 1 up"),
    ):
        with pytest.raises(NasError) as caught:
            options.limits([setting])
        assert says in caught.value.diagnostics[0].message
