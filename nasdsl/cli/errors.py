"""The one way in which a command fails: a message with a code, never a traceback.

======================================= ====================================== =========
what happened                           what is printed                        exit code
======================================= ====================================== =========
something the user can mend             its diagnostics (:class:`NasError`)    1
a plug-in, or the user's code, failed   N990, with their line                  1
a command or an option that isn't there a usage line                           2
Ctrl-C                                  ``interrupted``                        130
the reader of a pipe went away          nothing                                141
a fault of nasdsl                       N999, with how to see the traceback    70
======================================= ====================================== =========
"""

from __future__ import annotations

import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from nasdsl.diagnostics import Diagnostic, NasError, failure, render_all

if TYPE_CHECKING:
    from nasdsl.space.space import Space

MENDABLE = 1
USAGE = 2
INTERNAL = 70
INTERRUPTED = 130
BROKEN_PIPE = 141

DEBUG = "NASDSL_DEBUG"
"""Set this environment variable to see the traceback of a fault of nasdsl."""

FULL = {errno.ENOSPC, errno.EDQUOT}

P = ParamSpec("P")
R = TypeVar("R")


def run(function: Callable[[], None]) -> int:
    """Calls ``function`` and returns the exit code that its outcome asks for, with the message already printed."""
    try:
        function()
        sys.stdout.flush()
        return 0
    except SystemExit as end:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            return _pipe_closed()
        return end.code if isinstance(end.code, int) else (0 if end.code is None else MENDABLE)
    except BaseException as fault:  # the last line of defence: everything becomes a message and a code
        return report(fault)


def guard(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose exceptions become messages and an exit code, also where it is called by a test."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        import typer

        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except (Exception, KeyboardInterrupt) as fault:
            raise typer.Exit(report(fault)) from None

    return guarded


def report(fault: BaseException) -> int:
    """Prints what ``fault`` means to a person, and returns the exit code."""
    if isinstance(fault, BrokenPipeError):
        return _pipe_closed()
    if isinstance(fault, KeyboardInterrupt):
        # What a search has to say (how to resume) was said where it was interrupted.
        _print_error(str(fault) or "interrupted")
        return INTERRUPTED
    told = _mendable(fault)
    if told is not None:
        show(told.diagnostics)
        return MENDABLE
    if os.environ.get(DEBUG):
        traceback.print_exception(fault)
    theirs = _theirs(fault)
    if theirs is not None:
        show(theirs.diagnostics)
        return MENDABLE
    if isinstance(fault, OSError) and fault.errno is not None:
        show(_of_os_error(fault).diagnostics)
        return MENDABLE
    show(
        failure(
            "N999",
            f"nasdsl stumbled over itself: {type(fault).__name__}: {fault}".rstrip(": "),
            help=f"this is a fault of nasdsl, not yours; please report it with the traceback that {DEBUG}=1 shows",
        ).diagnostics
    )
    return INTERNAL


def _mendable(fault: BaseException) -> NasError | None:
    """What is told of a fault, whoever's code it came through."""
    if isinstance(fault, NasError):
        return fault
    if isinstance(fault, MemoryError) or type(fault).__name__ == "OutOfMemoryError":
        return _out_of_memory(fault)
    if isinstance(fault, OSError) and fault.errno in FULL:
        return _of_os_error(fault)
    return None


def _theirs(fault: BaseException) -> NasError | None:
    from nasdsl.diagnostics.foreign import of_theirs

    return of_theirs(fault)


def show(diagnostics: Iterable[Diagnostic]) -> None:
    """Diagnostics on standard error, in colour where a person reads it."""
    _print_error(render_all(diagnostics, colour=wants_colour(sys.stderr)))


def warn(space: Space) -> None:
    """The warnings of a space that compiled."""
    if space.warnings:
        show(space.warnings)


def wants_colour(stream: object) -> bool:
    """Whether a stream is a terminal that shows colours (``NO_COLOR`` says it does not)."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")


def _print_error(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except UnicodeEncodeError:
        encoding = getattr(sys.stderr, "encoding", None) or "ascii"
        print(text.encode(encoding, "replace").decode(encoding), file=sys.stderr, flush=True)
    except BrokenPipeError:
        _silence(sys.stderr)


def _pipe_closed() -> int:
    _silence(sys.stdout)
    return BROKEN_PIPE


def _silence(stream: object) -> None:
    # Python flushes its streams at exit and would complain once more.
    try:
        target = stream.fileno()  # type: ignore[attr-defined]
        os.dup2(os.open(os.devnull, os.O_WRONLY), target)
    except (OSError, ValueError, AttributeError):
        pass


def _of_os_error(fault: OSError) -> NasError:
    place = f" `{fault.filename}`" if fault.filename else ""
    reason = fault.strerror or type(fault).__name__
    help = "make room on the disk, or write elsewhere with -o" if fault.errno in FULL else None
    return failure("N982", f"can't use{place}: {reason[:1].lower()}{reason[1:]}", help=help)


def _out_of_memory(fault: BaseException) -> NasError:
    where = "the GPU has" if type(fault).__name__ == "OutOfMemoryError" else "this machine has"
    return failure(
        "N989",
        f"this takes more memory than {where}",
        help="make it smaller: a smaller batch (-c batch=32), a narrower space (--set width=16), "
        "or a strategy that runs a single path (gdas, random)",
    )
