"""Diagnostics for machines: JSON for editors and scripts, SARIF for code scanning, GitHub's workflow commands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nasdsl.diagnostics import Diagnostic, Severity, Span

Json = dict[str, Any]


def as_json(diagnostics: Iterable[Diagnostic]) -> str:
    """A list of objects, one a message; lines and columns count from 1, ends are exclusive."""
    return json.dumps([_entry(d) for d in diagnostics], indent=2, ensure_ascii=False)


def as_sarif(diagnostics: Sequence[Diagnostic]) -> str:
    """SARIF 2.1.0, which code-scanning services read."""
    results = []
    for d in diagnostics:
        result: Json = {
            "ruleId": d.code,
            "level": str(d.severity),
            "message": {"text": d.message + (f" ({d.help})" if d.help else "")},
        }
        if d.span is not None:
            result["locations"] = [_sarif_location(d.span, d.label)]
        if d.notes:
            result["relatedLocations"] = [_sarif_location(note.span, note.text) for note in d.notes]
        results.append(result)
    driver = {
        "name": "nasdsl",
        "version": _version(),
        "rules": [{"id": code} for code in sorted({d.code for d in diagnostics})],
    }
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_github(diagnostics: Iterable[Diagnostic]) -> str:
    """Workflow commands, which GitHub shows beside the line in a pull request."""
    lines = []
    for d in diagnostics:
        properties: dict[str, object] = {}
        if d.span is not None:
            place = _place(d.span)
            properties["file"] = place["path"]
            properties["line"] = place["line"]
            properties["col"] = place["column"]
            if place["end_line"] == place["line"]:
                properties["endColumn"] = place["end_column"]
        properties["title"] = d.code
        listed = ",".join(f"{name}={_escape(str(value), ':,')}" for name, value in properties.items())
        message = d.message + (f"\n{d.help}" if d.help else "")
        lines.append(f"::{d.severity} {listed}::{_escape(message)}")
    return "\n".join(lines)


def summary(diagnostics: Iterable[Diagnostic], files: int) -> str:
    """``2 files: 1 error, 3 warnings``.

    >>> summary([], 1)
    '1 file: no faults'
    """
    found = list(diagnostics)
    counts = [
        f"{number} {severity}{'s' * (number != 1)}"
        for severity in (Severity.ERROR, Severity.WARNING)
        if (number := sum(d.severity is severity for d in found))
    ]
    return f"{files} file{'s' * (files != 1)}: {', '.join(counts) or 'no faults'}"


def _entry(d: Diagnostic) -> Json:
    entry: Json = {"code": d.code, "severity": str(d.severity), "message": d.message}
    entry |= _place(d.span) if d.span is not None else {"path": None}
    entry["label"] = d.label
    entry["help"] = d.help
    entry["notes"] = [{**_place(note.span), "text": note.text} for note in d.notes]
    return entry


def _place(span: Span) -> Json:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {
        "path": span.source.path,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    }


def _sarif_location(span: Span, text: str) -> Json:
    place = _place(span)
    location: Json = {
        "physicalLocation": {
            "artifactLocation": {"uri": place["path"].replace("\\", "/")},
            "region": {
                "startLine": place["line"],
                "startColumn": place["column"],
                "endLine": place["end_line"],
                "endColumn": place["end_column"],
            },
        }
    }
    if text:
        location["message"] = {"text": text}
    return location


def _escape(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _version() -> str:
    try:
        return version("nasdsl")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0"
