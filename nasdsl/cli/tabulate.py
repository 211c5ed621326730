"""``nasdsl tabulate``: what architectures of a space come to, each trained by itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasdsl.cli import configuration, options
from nasdsl.cli.spaces import fit_space, load_space

if TYPE_CHECKING:
    from nasdsl.searching.tabulate import Row


def command(
    context: typer.Context,
    file: options.FileArgument,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="TABLE.csv", help="The table.", show_default=False)
    ],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many architectures.")] = 60,
    task: options.TaskOption = None,
    data: options.DataOption = None,
    target: options.TargetOption = None,
    recipe_name: options.RecipeOption = None,
    epochs: options.EpochsOption = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each architecture.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of which architectures are drawn.")] = 0,
    config: options.ConfigOption = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 is one a core.")] = 0,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
) -> None:
    """Train architectures one by one, and write the table that `nasdsl bench` reads.

    They are drawn uniformly. Each is trained from scratch on the half of the training part that a search trains its
    weights on; the table has its metric on the other half and on the test part. It grows row by row, and the same
    command goes on with what is missing.

    Examples:

        nasdsl tabulate nasbench201 --set cells=1 --set size=8 --set channels=1 -n 60 --seeds 2 -o table.csv
        nasdsl tabulate mine.nas -n 100 --epochs 10 -c lr=0.05 -o table.csv
    """
    space = load_space(file, settings, space_name, limits, config)
    from nasdsl.searching.processes import cores
    from nasdsl.searching.tabulate import tabulate
    from nasdsl.training.data.settings import DataSettings
    from nasdsl.training.recipe import Recipe

    found = configuration.task_of(context, config, "digits", DataSettings())
    space = fit_space(space, found, file, settings, space_name, limits, config)
    recipe = configuration.training_recipe(Recipe(), recipe=recipe_name, epochs=epochs, config=config)

    def progress(done: int, row: Row) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} architectures", end="", file=sys.stderr, flush=True)

    rows = tabulate(
        space, found, recipe, output,
        count=count, seeds=seeds, seed=seed, workers=workers or cores(), on_row=progress,
    )  # fmt: skip
    same = [
        *(f"--set {text}" for text in settings or ()),
        f"--data {data}" if data else f"--task {found.name}",
    ]
    print(f"{output} has {rows} architectures; next: nasdsl bench {file} {' '.join(same)} --truth {output}")
