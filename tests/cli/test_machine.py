"""Diagnostics for machines."""

from __future__ import annotations

import json

from nasdsl.diagnostics import Diagnostic, Note, Severity, Source, Span
from nasdsl.report import machine

SOURCE = Source("a b.nas", "x ->\n  sep_cnov(3)\ny")
FAULT = Diagnostic(
    "N105",
    "unknown operation `sep_cnov`, 100% sure",
    Span(SOURCE, 7, 15),
    "not defined here",
    (Note(Span(SOURCE, 0, 1), "this meets it"),),
    "did you mean `sep_conv`?",
)
BARE = Diagnostic("N980", "no file", severity=Severity.WARNING)


def test_json_has_every_part() -> None:
    first, second = json.loads(machine.as_json([FAULT, BARE]))
    assert first == {
        "code": "N105",
        "severity": "error",
        "message": "unknown operation `sep_cnov`, 100% sure",
        "path": "a b.nas",
        "line": 2,
        "column": 3,
        "end_line": 2,
        "end_column": 11,
        "label": "not defined here",
        "help": "did you mean `sep_conv`?",
        "notes": [
            {
                "path": "a b.nas",
                "line": 1,
                "column": 1,
                "end_line": 1,
                "end_column": 2,
                "text": "this meets it",
            }
        ],
    }
    assert second["path"] is None
    assert second["severity"] == "warning"
    assert machine.as_json([]) == "[]"


def test_sarif_is_what_code_scanning_reads() -> None:
    document = json.loads(machine.as_sarif([FAULT, BARE]))
    assert document["version"] == "2.1.0"
    [run] = document["runs"]
    assert run["tool"]["driver"]["name"] == "nasdsl"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["N105", "N980"]
    first, second = run["results"]
    region = first["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 2, "startColumn": 3, "endLine": 2, "endColumn": 11}
    assert first["relatedLocations"][0]["message"]["text"] == "this meets it"
    assert second["level"] == "warning"
    assert "locations" not in second


def test_github_escapes_what_would_end_a_command() -> None:
    first, second = machine.as_github([FAULT, BARE]).splitlines()
    assert first == (
        "::error file=a b.nas,line=2,col=3,endColumn=11,title=N105"
        "::unknown operation `sep_cnov`, 100%25 sure%0Adid you mean `sep_conv`?"
    )
    assert second == "::warning title=N980::no file"


def test_the_closing_line_counts() -> None:
    assert machine.summary([FAULT, FAULT, BARE], 2) == "2 files: 2 errors, 1 warning"
