"""Why a space can't be narrowed."""

from __future__ import annotations

from pathlib import Path

from nasdsl.diagnostics import Diagnostic, NasError, Span


class Untraceable(Exception):
    """A choice whose place in the text can't be told apart from another's. ``span`` is where."""

    def __init__(self, reason: str, span: Span | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.span = span


class OpenDepth(Untraceable):
    """Copies that are decided differently, of a ``repeat`` whose depth is open."""

    def __init__(self, span: Span) -> None:
        super().__init__(
            "the copies of this `repeat` are decided differently, and how many there are is open", span
        )


class Unequal(Exception):
    """What was written is not the space that it should be. ``reason`` says in which way."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def cannot(reason: Exception, home: Path | None) -> NasError:
    """The message (N621, N622) for what went wrong while a text was written or proved."""
    if isinstance(reason, OpenDepth):
        help = "fix its depth as well, or the same candidate in each copy"
        return NasError(Diagnostic("N621", reason.reason, reason.span, help=help))
    span = reason.span if isinstance(reason, Untraceable) else None
    words = getattr(reason, "reason", None)
    if isinstance(reason, NasError):
        first = reason.diagnostics[0]
        words = f"what would be written does not compile: {first.message}"
        if first.code in ("N601", "N602") and home is not None:
            words = f"what it imports is not found from `{home.parent}`: {first.message}"
    return NasError(
        Diagnostic(
            "N622",
            f"this can't be written as a smaller space: {words or reason}",
            span,
            help="fix more choices at once: a whole genotype can always be written (`--genotype`)",
        )
    )
