"""Small programs for tests: spaces around a few statements, and what is said about wrong ones."""

from __future__ import annotations

import re
from pathlib import Path

from nasdsl import pipeline
from nasdsl.diagnostics import Diagnostic, Findings, NasError, Severity, Source
from nasdsl.language.builder import Limits
from nasdsl.language.modules import Loader
from nasdsl.pipeline import SearchSpace

IMAGE = "input x: [8, 8, 8]"


def text_of(statements: str, inputs: str = IMAGE) -> str:
    """The statements as the body of a space, unless they are a whole file."""
    if re.search(r"^\s*«?space ", statements, re.MULTILINE):
        return statements
    return f"space s {{\n{inputs}\n{statements}\n}}\n"


def space(
    statements: str, inputs: str = IMAGE, limits: Limits | None = None, **parameters: int
) -> SearchSpace:
    findings = Findings()
    module = Loader(findings).load(Path("test.nas"), Source("test.nas", text_of(statements, inputs)))
    findings.raise_if_any()
    return pipeline.elaborate(module, parameters, limits=limits)


def labels(found: SearchSpace) -> dict[str, tuple[str, ...]]:
    """The candidates of each choice, by its name."""
    return {choice.name: choice.labels for choice in found.choices}


def names(statements: str, inputs: str = IMAGE) -> list[str]:
    """The names of a space's choices, in order."""
    return [choice.name for choice in space(statements, inputs).choices]


def shape(found: SearchSpace, output: int = 0) -> str:
    dims, _ = found.shape(found.outputs[output][1])
    return "[" + ", ".join(map(str, dims)) + "]"


def errors(
    statements: str, inputs: str = IMAGE, limits: Limits | None = None, **parameters: int
) -> list[Diagnostic]:
    """What is wrong with a program, in the order of the text."""
    try:
        space(statements, inputs, limits, **parameters)
    except NasError as error:
        found = [d for d in error.diagnostics if d.severity is Severity.ERROR]
        return sorted(found, key=lambda d: d.span.start if d.span else 0)
    raise AssertionError("this compiles, and should not")


def refused(
    statements: str, *codes: str, inputs: str = IMAGE, limits: Limits | None = None, **parameters: int
) -> list[Diagnostic]:
    """Checks that a program is refused for these reasons at the places between « and », and for no other."""
    marked = text_of(statements, inputs)
    wanted: list[tuple[str, str]] = []
    for code, place in zip(codes, re.finditer("«([^»]*)»", marked), strict=True):
        line = marked[: place.start()].count("\n") + 1
        wanted.append((code, f"{line}: {place[1]}"))
    plain = marked.replace("«", "").replace("»", "")
    found = errors(plain, limits=limits, **parameters)
    got = []
    for diagnostic in found:
        assert diagnostic.span is not None, diagnostic
        line = plain[: diagnostic.span.start].count("\n") + 1
        got.append((diagnostic.code, f"{line}: {diagnostic.span.text}"))
    assert got == wanted, [(d.code, d.message) for d in found]
    return found


def warned(statements: str, *codes: str, inputs: str = IMAGE) -> list[Diagnostic]:
    """Checks that a program compiles with these warnings."""
    found = list(space(statements, inputs).warnings)
    assert [d.code for d in found] == list(codes), [(d.code, d.message) for d in found]
    return found
