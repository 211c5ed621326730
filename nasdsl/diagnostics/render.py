"""Diagnostics as text for people."""

from __future__ import annotations

from collections.abc import Iterable

from nasdsl.diagnostics.diagnostic import Diagnostic, Severity
from nasdsl.diagnostics.source import Span

_COLOURS = {"error": "\033[1;31m", "warning": "\033[1;33m", "help": "\033[1;36m", "bold": "\033[1m"}
_RESET = "\033[0m"
# Of a line of source no more is shown than this many characters.
LONGEST = 160


def render(diagnostic: Diagnostic, *, colour: bool = False) -> str:
    """The message with its place, the lines of source with carets, the help line, and what is to be said of the source.

    >>> from nasdsl.diagnostics.source import Source
    >>> source = Source("mine.nas", "x -> sep_cnov(3)")
    >>> print(render(Diagnostic("N105", "unknown operation `sep_cnov`", Span(source, 5, 13),
    ...                         "not defined here", help="did you mean `sep_conv`?")))
    mine.nas:1:6: error[N105]: unknown operation `sep_cnov`
       1 | x -> sep_cnov(3)
         |      ^^^^^^^^ not defined here
         = help: did you mean `sep_conv`?
    """

    def paint(text: str, style: str) -> str:
        return f"{_COLOURS[style]}{text}{_RESET}" if colour else text

    style = "error" if diagnostic.severity is Severity.ERROR else "warning"
    head = paint(f"{diagnostic.severity}[{diagnostic.code}]", style)
    place = f"{diagnostic.span}: " if diagnostic.span else ""
    lines = [f"{place}{head}: {paint(diagnostic.message, 'bold')}"]
    width = 4
    if diagnostic.span:
        lines += _excerpt(diagnostic.span, diagnostic.label, "^", width)
    for note in diagnostic.notes:
        if diagnostic.span is None or note.span.source is not diagnostic.span.source:
            lines.append(f"{' ' * width}--> {note.span}")
        lines += _excerpt(note.span, note.text, "-", width)
    if diagnostic.help:
        first, *rest = diagnostic.help.splitlines()
        lines.append(f"{' ' * width} = {paint('help', 'help')}: {first}")
        lines += [f"{' ' * width}         {line}" for line in rest]
    if diagnostic.span and diagnostic.span.source.remark:
        lines.append(f"{' ' * width} = {paint('note', 'help')}: {diagnostic.span.source.remark}")
    return "\n".join(lines)


def render_all(diagnostics: Iterable[Diagnostic], *, colour: bool = False, counted: bool = True) -> str:
    """Several messages, in the order of the text, with a closing count unless the caller has one."""
    ordered = sorted(diagnostics, key=lambda d: (d.span.source.path, d.span.start) if d.span else ("", 0))
    blocks = [render(d, colour=colour) for d in ordered]
    errors = sum(d.severity is Severity.ERROR for d in ordered)
    if counted and errors > 1:
        blocks.append(f"{errors} errors")
    return "\n\n".join(blocks)


def _excerpt(span: Span, label: str, mark: str, width: int) -> list[str]:
    number, column = span.source.position(span.start)
    text, column, length = _window(span.source.line(number), column, span.end - span.start)
    before = "".join("\t" if c == "\t" else " " for c in text[: column - 1])
    length = max(1, min(length, len(text) - column + 1))
    return [
        f"{number:>{width}} | {text}".rstrip(),
        f"{' ' * width} | {before}{mark * length} {label}".rstrip(),
    ]


def _window(text: str, column: int, length: int) -> tuple[str, int, int]:
    """What is shown of a line: all of it, or of a very long one the part around the place.

    The text, the column in it (from 1) and the length of what is marked.
    """
    if len(text) <= LONGEST:
        return text, column, length
    length = min(length, LONGEST // 2)
    start = max(0, min(column - 1 - (LONGEST - length) // 2, len(text) - LONGEST))
    end = start + LONGEST
    left, right = ("… " if start else ""), (" …" if end < len(text) else "")
    return f"{left}{text[start:end]}{right}", column - start + len(left), length
