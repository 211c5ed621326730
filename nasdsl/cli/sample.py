"""``nasdsl sample``: genotypes drawn from a space."""

from __future__ import annotations

from typing import Annotated

import typer

from nasdsl.cli import options
from nasdsl.cli.spaces import load_space


def command(
    file: options.FileArgument,
    n: Annotated[int, typer.Option("-n", "--number", min=0, help="How many to draw.")] = 1,
    seed: options.SeedOption = 0,
    uniform: Annotated[
        bool, typer.Option("--uniform", help="Each architecture equally likely, instead of choice by choice.")
    ] = False,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
) -> None:
    """Draw genotypes from a space, one line of JSON each.

    The same seed draws the same genotypes.

    Examples:

        nasdsl sample quickstart -n 5 --seed 0
        nasdsl sample ofa_mobilenetv3 -n 1000 --uniform > genotypes.jsonl
    """
    space = load_space(file, settings, space_name, limits)
    for genotype in space.sample(seed, n, uniform=uniform):
        print(genotype.text)
