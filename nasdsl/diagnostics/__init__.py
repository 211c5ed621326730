"""Messages for people: where, what, and what would mend it. Imports nothing else of nasdsl."""

from nasdsl.diagnostics.diagnostic import Diagnostic, Note, Severity
from nasdsl.diagnostics.error import Findings, NasError, failure
from nasdsl.diagnostics.render import render, render_all
from nasdsl.diagnostics.source import Source, Span
from nasdsl.diagnostics.suggest import closest, did_you_mean

__all__ = [
    "Diagnostic",
    "Findings",
    "NasError",
    "Note",
    "Severity",
    "Source",
    "Span",
    "closest",
    "did_you_mean",
    "failure",
    "render",
    "render_all",
]
