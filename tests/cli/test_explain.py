"""Every code that nasdsl prints is explained, and the examples do what they say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import nasdsl
from nasdsl import pipeline
from nasdsl.cli.explain import explanations, page
from nasdsl.diagnostics import Diagnostic, NasError, Severity

PACKAGE = Path(nasdsl.__file__).parent
TEXTS = [entry for entry in explanations().values() if entry.fails and not entry.command]


def codes_in_source() -> set[str]:
    """Every text constant of the program that is a code."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if re.fullmatch(r"N\d{3,4}", node.value):
                    found.add(node.value)
    return found


def said_of(text: str) -> list[Diagnostic]:
    """The errors of a text or, where it compiles, its warnings."""
    try:
        return list(pipeline.loads(text.strip("\n")).warnings)
    except NasError as fault:
        return [d for d in fault.diagnostics if d.severity is Severity.ERROR]


def test_every_code_is_explained_and_no_other() -> None:
    assert codes_in_source() == set(explanations())


@pytest.mark.parametrize("entry", explanations().values(), ids=lambda entry: entry.code)
def test_a_page_says_what_is_wrong(entry: object) -> None:
    text = page(entry)  # type: ignore[arg-type]
    assert len(text.splitlines()) >= 3
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("entry", TEXTS, ids=lambda entry: entry.code)
def test_the_example_that_fails_gives_the_code(entry: object) -> None:
    found = said_of(entry.fails)  # type: ignore[attr-defined]
    assert [d.code for d in found] == [entry.code], [(d.code, d.message) for d in found]  # type: ignore[attr-defined]
    assert all(d.span is not None for d in found if d.code != "N607")


@pytest.mark.parametrize("entry", TEXTS, ids=lambda entry: entry.code)
def test_the_example_that_passes_gives_nothing(entry: object) -> None:
    assert said_of(entry.passes) == []  # type: ignore[attr-defined]
