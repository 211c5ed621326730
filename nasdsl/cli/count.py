"""``nasdsl count``: how many architectures a space has."""

from __future__ import annotations

from typing import Annotated

import typer

from nasdsl.cli import options
from nasdsl.cli.spaces import load_space


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
            "--unique",
            help="Count architectures that compute the same once (up to 10^6 genotypes, or --samples).",
        ),
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            min=2,
            help="Estimate from so many samples, with the standard error. With --unique a lower bound.",
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
        nasdsl count enas_macro --unique --samples 1000

    Up to equivalence no sample tells how many there are that it missed; what --samples gives then is Chao's lower
    bound, which is close where classes are about equally large.
    """
    spaces = [load_space(name, settings, space_name, limits) for name in names]
    width = max(len(space.name) for space in spaces)
    if samples is not None:
        for space in spaces:
            if unique:
                from nasdsl.space import equivalence

                bound, error = equivalence.at_least(space, samples, seed)
                print(f"{space.name:<{width}}  at least, ± {error:.3g}  {bound:.4g}")
            else:
                mean, error = space.estimate(samples, seed)
                print(f"{space.name:<{width}}  ± {error:.3g}  {mean:.4g}")
        return
    if unique:
        from nasdsl.space import equivalence

        counts = [(space.name, equivalence.unique(space)) for space in spaces]
    else:
        counts = [(space.name, space.count()) for space in spaces]
    for name, number in counts:
        print(f"{name:<{width}}  {number}")
