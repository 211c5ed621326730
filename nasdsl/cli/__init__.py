"""The command line: one thin file a command, under one way for errors (:mod:`nasdsl.cli.errors`)."""

from __future__ import annotations

import sys


def main() -> None:
    """The program ``nasdsl``. Ends the process with the command's exit code."""
    from nasdsl.cli import errors

    sys.exit(errors.run(_run))


def _run() -> None:
    # Imported here, so that Ctrl-C while Python still loads ends as cleanly as later.
    from nasdsl.cli.app import app

    app(prog_name="nasdsl")
