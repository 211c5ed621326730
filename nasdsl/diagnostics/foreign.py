"""Whose fault an exception is: code that nasdsl calls but didn't bring, a plug-in's or the user's own, is told as such.

A frame of the traceback is theirs where its module belongs to an installed package with entry points of nasdsl, or to
neither nasdsl, nor Python, nor anything else that is installed. The innermost of theirs is the place to look at.
"""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from nasdsl.diagnostics.diagnostic import Diagnostic
from nasdsl.diagnostics.error import NasError
from nasdsl.diagnostics.source import Source, Span

OURS = Path(__file__).resolve().parent.parent
GROUPS = ("nasdsl.strategies", "nasdsl.evaluators", "nasdsl.tasks", "nasdsl.operations")
HELP = "mend it there; NASDSL_DEBUG=1 shows the traceback"
TOLD = "nasdsl_told"
INSTALLED = {"site-packages", "dist-packages"}


def of_theirs(fault: BaseException, package: str = "") -> NasError | None:
    """A message (N990) where an exception came out of a plug-in's or the user's code: whose, which, and at what line. None
    where it is nasdsl's own. ``package`` is one that the user named, installed or not."""
    told: NasError | None = getattr(fault, TOLD, None)
    if told is not None:
        return told
    place: tuple[str, traceback.FrameSummary] | None = None
    frames = traceback.walk_tb(fault.__traceback__)
    summaries = traceback.extract_tb(fault.__traceback__)
    for (frame, _), summary in zip(frames, summaries, strict=True):
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        whose = _whose(summary.filename, top, package)
        if whose is not None:
            place = whose, summary
    if isinstance(fault, SyntaxError) and fault.filename:
        # It is about a file that never ran, so no frame is that file's.
        whose = _whose(fault.filename)
        if whose is not None:
            found = traceback.FrameSummary(
                fault.filename,
                fault.lineno or 1,
                "<module>",
                lookup_line=False,
                colno=max((fault.offset or 1) - 1, 0),
            )
            place = whose, found
    if place is None:
        return None
    whose, summary = place
    words = f"{type(fault).__name__}: {_said(fault)}".rstrip(": ")
    span = _span(summary)
    where = "" if span is not None else f" (line {summary.lineno} of `{summary.filename}`)"
    return NasError(Diagnostic("N990", f"{whose} raised {words}{where}", span, help=HELP))


def attribute(fault: BaseException, package: str = "") -> None:
    """Says on an exception whose it is, as :func:`of_theirs` does, for where its frames or ``package`` aren't known."""
    told = of_theirs(fault, package)
    if told is not None:
        setattr(fault, TOLD, told)


def _whose(file: str, top: str = "", package: str = "") -> str | None:
    """In words, whose the code of a file is, in a module of the package ``top``; None where it is nasdsl's, Python's or a
    library's."""
    path = Path(os.path.realpath(file))
    if file.startswith("<") or path.is_relative_to(OURS):
        return None
    if top and top == package:
        return f"your `{path.name}`"
    point = _plugged().get(top)
    if point is not None:
        name = point.dist.name if point.dist is not None else top
        return f"the plug-in `{name}`"
    # A library may write code elsewhere and run it, as compilers do.
    home = Path(os.path.realpath(getattr(sys.modules.get(top), "__file__", None) or file))
    if any(INSTALLED & set(p.parts) or p.is_relative_to(lib) for p in (path, home) for lib in _libraries()):
        return None
    return f"your `{path.name}`"


@cache
def _plugged() -> Mapping[str, EntryPoint]:
    """An entry point of each package that extends nasdsl, by the name that the package is imported by."""
    return {point.module.partition(".")[0]: point for group in GROUPS for point in entry_points(group=group)}


@cache
def _libraries() -> tuple[Path, ...]:
    """Where Python's own library lies."""
    paths = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    return tuple({Path(os.path.realpath(path)) for path in paths if path})


def _said(fault: BaseException) -> str:
    """Its words, on one line."""
    if isinstance(fault, SyntaxError):
        return fault.msg
    lines = str(fault).strip().splitlines()
    return lines[0] + (" …" if len(lines) > 1 else "") if lines else ""


def _span(summary: traceback.FrameSummary) -> Span | None:
    """The place as a span of the file's text; None where the file can't be read any more."""
    lines = linecache.getlines(summary.filename)
    if summary.lineno is None or not 0 < summary.lineno <= len(lines):
        return None
    line = lines[summary.lineno - 1].rstrip("\n")
    # Columns of tracebacks are counted in bytes.
    before = len(line.encode()[: summary.colno or 0].decode(errors="ignore"))
    indent = len(line) - len(line.lstrip())
    one_line = summary.end_lineno == summary.lineno and summary.end_colno is not None
    upto = len(line.encode()[: summary.end_colno].decode(errors="ignore")) if one_line else len(line.rstrip())
    start = sum(map(len, lines[: summary.lineno - 1]))
    first = max(before, indent)
    source = Source(os.path.relpath(summary.filename), "".join(lines))
    return Span(source, start + first, start + max(upto, first + 1))
