"""The command line: one thin file a command, under one way for errors (:mod:`nasdsl.cli.errors`)."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """The program ``nasdsl``. Ends the process with the command's exit code."""
    from nasdsl.cli import errors

    # A space is many small objects that live to the end. Looking among them for garbage takes a quarter of the time.
    gc.set_threshold(100_000, 50, 100)
    sys.exit(errors.run(_run))


def _run() -> None:
    # Imported here, so that Ctrl-C while Python still loads ends as cleanly as later.
    from nasdsl.cli.app import app

    app(prog_name="nasdsl")
