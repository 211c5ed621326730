"""``nasdsl fmt``: the one layout of a ``.nas`` file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from nasdsl.cli import errors, files
from nasdsl.diagnostics import NasError


def command(
    names: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="The .nas files to format.", show_default=False)
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with 1 where a file would change.")
    ] = False,
    diff: Annotated[
        bool,
        typer.Option("--diff", help="Write nothing; print what would change, and end with 1 where it would."),
    ] = False,
) -> None:
    """Put files into the one layout of the language.

    Comments stay, and the space is the same.

    Examples:

        nasdsl fmt mine.nas
        nasdsl fmt --check spaces/*.nas
        nasdsl fmt --diff mine.nas
    """
    from nasdsl.language.format import format_file
    from nasdsl.language.modules import read_source
    from nasdsl.language.parser import parse

    changed, faults = [], False
    for name in names:
        path = Path(name)
        try:
            source = read_source(path)
            before, after = source.text, format_file(parse(source), source)
            if before == after:
                continue
            changed.append(path)
            if not (check or diff):
                files.write_whole(path, after)
        except NasError as fault:  # the other files are formatted all the same
            errors.show(fault.diagnostics)
            faults = True
            continue
        if diff:
            lines = difflib.unified_diff(
                before.splitlines(keepends=True),
                after.splitlines(keepends=True),
                str(path),
                f"{path} formatted",
            )
            print(
                "".join(
                    line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
                    for line in lines
                ),
                end="",
            )
        else:
            print(f"{'would format' if check else 'formatted'} {path}")
    if faults or (changed and (check or diff)):
        raise typer.Exit(errors.MENDABLE)
