"""Diagnostics on their way to the user: raised, or collected while a stage goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

from nasdsl.diagnostics.diagnostic import Diagnostic, Note, Severity
from nasdsl.diagnostics.render import render_all
from nasdsl.diagnostics.source import Span


class NasError(Exception):
    """Something that the user can mend. Carries every diagnostic that was found; its text is what the command line
    prints of them, without colours, so that a traceback in Python ends with the place and the help."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(*diagnostics)
        self.diagnostics = diagnostics

    def __str__(self) -> str:
        return render_all(self.diagnostics)

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
