"""``nasdsl count``: how many architectures a space has."""

from __future__ import annotations

from typing import Annotated

import typer

from nasdsl.cli import options


def command(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help=".nas files, or names of spaces that ship.", show_default=False
        ),
    ],
    unique: Annotated[
        bool,
        typer.Option(
            "--unique", help="Count architectures that compute the same once (up to 10^6 genotypes)."
        ),
    ] = False,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
) -> None:
    """Count the architectures of a space, exactly.

    The number is last on its line. Genotypes that satisfy every `require` over choices are counted, and none twice.

    Examples:

        nasdsl count darts
        nasdsl count spaces/*.nas
        nasdsl count nasbench201 --set repeats=1 --unique
    """
    spaces = [options.load_space(name, settings, space_name, limits) for name in names]
    if unique:
        from nasdsl.space import equivalence

        counts = [(space.name, equivalence.unique(space)) for space in spaces]
    else:
        counts = [(space.name, space.count()) for space in spaces]
    width = max(len(name) for name, _ in counts)
    for name, number in counts:
        print(f"{name:<{width}}  {number}")
