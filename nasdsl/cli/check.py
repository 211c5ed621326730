"""``nasdsl check``: every fault of one or more files, for people or for machines."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from nasdsl.cli import errors, files, options
from nasdsl.diagnostics import Diagnostic, NasError, Severity, render_all

if TYPE_CHECKING:
    from nasdsl.language.builder import Limits


class Format(StrEnum):
    """How diagnostics are printed."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


def command(
    names: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="The .nas files to check.", show_default=False)
    ],
    form: Annotated[
        Format,
        typer.Option("--format", help="For people, or for machines: a list, code scanning, a workflow."),
    ] = Format.TEXT,
    limits: options.LimitOption = None,
) -> None:
    """Prove that every network in a space is well formed, or say where it is not.

    Ends with 1 where there is an error; warnings alone end with 0.

    Examples:

        nasdsl check mine.nas
        nasdsl check spaces/*.nas --format sarif > faults.sarif
    """
    from nasdsl.report import machine

    bounds = options.limits(limits)
    found = [diagnostic for name in names for diagnostic in faults(name, bounds)]
    if form is Format.TEXT:
        if found:
            print(render_all(found, colour=errors.wants_colour(sys.stdout)), end="\n\n")
        print(machine.summary(found, len(names)))
    elif form is Format.JSON:
        print(machine.as_json(found))
    elif form is Format.SARIF:
        print(machine.as_sarif(found))
    elif found:
        print(machine.as_github(found))
    if any(d.severity is Severity.ERROR for d in found):
        raise typer.Exit(errors.MENDABLE)


def faults(name: str, limits: Limits) -> list[Diagnostic]:
    """Every error and warning about a file: of each space in it, or of its syntax and imports where it has none."""
    from nasdsl import pipeline

    found: list[Diagnostic] = []
    try:
        module = pipeline.read(files.find_space(name))
        for space in module.spaces:
            try:
                found += pipeline.elaborate(module, {}, space=space.name, limits=limits).warnings
            except NasError as fault:
                found += fault.diagnostics
    except NasError as fault:
        found += fault.diagnostics
    return list(dict.fromkeys(found))
