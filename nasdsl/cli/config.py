"""``nasdsl config``: the whole configuration of a search and of training, explained."""

from __future__ import annotations

from typing import Annotated

import typer

from nasdsl.cli import configuration, options
from nasdsl.cli.spaces import load_space


def command(
    context: typer.Context,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]", help="A .nas file, for its name and parameters.", show_default=False
        ),
    ] = None,
    task: options.TaskOption = None,
    data: options.DataOption = None,
    target: options.TargetOption = None,
    strategy: options.StrategyOption = "gdas",
    preset: options.PresetOption = "published",
    recipe: options.RecipeOption = None,
    recipes: Annotated[bool, typer.Option("--recipes", help="List the published recipes instead.")] = False,
    epochs: options.EpochsOption = None,
    seed: options.SeedOption = 0,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = options.Precision.FLOAT32,
    config: options.ConfigOption = None,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
) -> None:
    """Print the configuration of a search as TOML, each entry under what it does and which values it takes.

    What it prints is read again with -c: keep it in a file, change what you like, leave out what shall stay as it is.
    `search` says how the supernet is trained, `options` are the strategy's, `training` says how a network is trained.

    Examples:

        nasdsl config --strategy gdas > mine.toml
        nasdsl config quickstart --set classes=5 --recipe darts_cifar10
        nasdsl config --recipes
    """
    if recipes:
        from nasdsl.training.recipes import names, summary

        width = max(map(len, names()))
        for name in names():
            print(f"{name:<{width}}  {summary(name)}")
        return
    space = load_space(file, settings, space_name, limits, config) if file else None
    from nasdsl.training import write_toml

    chosen = configuration.search_settings(
        context, space, strategy=strategy, preset=preset, recipe=recipe, epochs=epochs, config=config
    )
    print(write_toml(chosen, explained=True), end="")
