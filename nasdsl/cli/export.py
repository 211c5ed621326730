"""``nasdsl export``."""

from __future__ import annotations

from nasdsl.cli import options


def command(file: options.FileArgument) -> None:
    """To come."""
