import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasdsl import resources
from nasdsl.diagnostics import Source
from nasdsl.language import syntax
from nasdsl.language.format import WIDTH, format_expression, format_file, number_text
from nasdsl.language.parser import parse, parse_expression
from tests.language import strategies

SHIPPED = sorted(resources.spaces().rglob("*.nas"))
quickly = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def reformat(text: str) -> str:
    source = Source("<text>", text)
    return format_file(parse(source), source)


def comments(text: str) -> Counter[str]:
    return Counter(m.rstrip() for m in re.findall(r'"[^"\r\n]*"|#[^\r\n]*', text) if m.startswith("#"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_spaces_are_formatted(path):
    text = path.read_text(encoding="utf-8")
    assert reformat(text) == text


@quickly
@given(strategies.files)
def test_a_made_tree_survives_formatting(tree):
    text = format_file(tree, strategies.NOWHERE.source)
    source = Source("<text>", text)
    parsed = parse(source)
    assert parsed == tree
    assert reformat(text) == text


@quickly
@given(st.data())
def test_any_spelling_of_a_tree_survives_formatting(data):
    tree = data.draw(strategies.files)
    text = data.draw(strategies.spellings(format_file(tree, strategies.NOWHERE.source)))
    formatted = reformat(text)
    assert parse(Source("<text>", formatted)) == tree
    assert comments(formatted) == comments(text)
    assert reformat(formatted) == formatted
