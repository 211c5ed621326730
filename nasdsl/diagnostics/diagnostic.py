"""What is wrong, where, and what would mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nasdsl.diagnostics.source import Span


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Note:
    """A second place that takes part in what is wrong."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message: a code that ``nasdsl explain`` knows, the words, the places and the mend.

    ``label`` stands beside the carets under ``span``; ``help`` shows the text as it should be.
    A diagnostic without a span is about something that is not a text (a flag, a data set).
    """

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    notes: tuple[Note, ...] = ()
    help: str | None = None
    severity: Severity = Severity.ERROR
