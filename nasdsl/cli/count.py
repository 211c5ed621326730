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
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            min=2,
            help="Estimate from so many samples, with the standard error.",
            show_default=False,
        ),
    ] = None,
    seed: options.SeedOption = 0,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
) -> None:
    """Count the architectures of a space, exactly.

    The number is last on its line. Genotypes that satisfy every `require` over choices are counted, and none twice.

    Examples:

        nasdsl count darts
        nasdsl count spaces/*.nas
        nasdsl count nasbench201 --set cells=1 --unique
        nasdsl count enas_micro --samples 10000
    """
    spaces = [options.load_space(name, settings, space_name, limits) for name in names]
    if samples is not None:
        if unique:
            raise typer.BadParameter(
                "it counts exactly, and --samples estimates: give one of the two", param_hint="--unique"
            )
        width = max(len(space.name) for space in spaces)
        for space in spaces:
            mean, error = space.estimate(samples, seed)
            print(f"{space.name:<{width}}  ± {error:.3g}  {mean:.4g}")
        return
    if unique:
        from nasdsl.space import equivalence

        counts = [(space.name, equivalence.unique(space)) for space in spaces]
    else:
        counts = [(space.name, space.count()) for space in spaces]
    width = max(len(name) for name, _ in counts)
    for name, number in counts:
        print(f"{name:<{width}}  {number}")
