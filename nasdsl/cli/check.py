"""``nasdsl check``: every fault of one or more files, for people or for machines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from nasdsl.cli import errors, files, options
from nasdsl.diagnostics import Diagnostic, NasError, Severity, failure, render_all

if TYPE_CHECKING:
    from nasdsl.language.builder import Limits
    from nasdsl.space.size import Rational


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
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
) -> None:
    """Prove that every network in a space is well formed, or say where it is not.

    Ends with 1 where there is an error; warnings alone end with 0.

    Examples:

        nasdsl check mine.nas
        nasdsl check mine.nas --set layers=20
        nasdsl check spaces/*.nas --format sarif > faults.sarif
    """
    from nasdsl.report import machine

    bounds, values = options.limits(limits), options.parameters(settings)
    found = [diagnostic for name in names for diagnostic in faults(name, bounds, values, space_name)]
    if form is Format.TEXT:
        if found:
            print(render_all(found, colour=errors.wants_colour(sys.stdout), counted=False), end="\n\n")
        print(machine.summary(found, len(names)))
    elif form is Format.JSON:
        print(machine.as_json(found))
    elif form is Format.SARIF:
        print(machine.as_sarif(found))
    elif found:
        print(machine.as_github(found))
    if any(d.severity is Severity.ERROR for d in found):
        raise typer.Exit(errors.MENDABLE)


def faults(
    name: str, limits: Limits, parameters: Mapping[str, Rational], only: str | None = None
) -> list[Diagnostic]:
    """Every error and warning about a file: of each space in it or of one, or of its syntax and imports alone."""
    from nasdsl import pipeline
    from nasdsl.language import lints
    from nasdsl.language.modules import pick_space

    found: list[Diagnostic] = []
    try:
        module = pipeline.read(files.find_space(name), limits)
        if not module.tree.items:
            raise failure(
                "N607", f"there is nothing in `{name}`", "a space is written `space name { … return x }`"
            )
        for declaration in module.spaces if only is None else [pick_space(module, only)]:
            try:
                space = pipeline.elaborate(module, parameters, space=declaration.name, limits=limits)
                found += [*space.warnings, *lints.examine(space)]
            except NasError as fault:
                found += fault.diagnostics
    except NasError as fault:
        found += fault.diagnostics
    return list(dict.fromkeys(found))
