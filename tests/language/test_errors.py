"""What people read: each fault in ``bad/`` with its message beside it, as ``nasdsl check`` prints it.

``pytest --bless`` (or ``NASDSL_BLESS=1``) writes the messages anew. Read them before they are committed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nasdsl import pipeline
from nasdsl.diagnostics import Findings, NasError, Severity, Source, render_all
from nasdsl.language.modules import Loader

BAD = Path(__file__).parent / "bad"
FAULTS = sorted(BAD.glob("*.nas"))


def compiled(path: Path) -> None:
    findings = Findings()
    module = Loader(findings).load(path, Source(path.name, path.read_text(encoding="utf-8")))
    findings.raise_if_any()
    pipeline.elaborate(module, {})


def message(path: Path) -> str:
    """All that is said about a file, under its name alone."""
    with pytest.raises(NasError) as caught:
        compiled(path)
    assert any(d.severity is Severity.ERROR for d in caught.value.diagnostics)
    return render_all(caught.value.diagnostics) + "\n"


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_messages(path: Path, bless: bool) -> None:
    expected = path.with_suffix(".expected")
    found = message(path)
    if bless or os.environ.get("NASDSL_BLESS"):
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


def test_every_fault_has_its_message() -> None:
    assert len(FAULTS) >= 40
    assert {path.stem for path in BAD.glob("*.expected")} == {path.stem for path in FAULTS}
