"""What is wrong, where, and what would mend it."""

from __future__ import annotations

from dataclasses import dataclass, field
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


class NasError(Exception):
    """Something that the user can mend. Carries every diagnostic that was found."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("\n".join(f"{d.severity}[{d.code}]: {d.message}" for d in diagnostics))
        self.diagnostics = diagnostics

    def __reduce__(self) -> tuple[type[NasError], tuple[Diagnostic, ...]]:
        # What comes from another process says the same.
        return NasError, self.diagnostics


def failure(code: str, message: str, help: str | None = None, span: Span | None = None) -> NasError:
    """A :class:`NasError` with one diagnostic, ready to be raised."""
    return NasError(Diagnostic(code, message, span, help=help))


@dataclass
class Findings:
    """Collects diagnostics while a stage goes on after the first one."""

    diagnostics: list[Diagnostic] = field(default_factory=list)

    def error(
        self,
        code: str,
        message: str,
        span: Span | None,
        *,
        label: str = "",
        notes: tuple[Note, ...] = (),
        help: str | None = None,
    ) -> None:
        self.add(Diagnostic(code, message, span, label, notes, help))

    def add(self, diagnostic: Diagnostic) -> None:
        # A cell used in ten places would say the same thing ten times.
        if diagnostic not in self.diagnostics:
            self.diagnostics.append(diagnostic)

    @property
    def errors(self) -> list[Diagnostic]:
        return [d for d in self.diagnostics if d.severity is Severity.ERROR]

    def raise_if_any(self) -> None:
        if self.errors:
            raise NasError(*self.diagnostics)
