"""``nasdsl compile``: what a space is, at any stage of compiling it."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasdsl.cli import configuration, files, options
from nasdsl.cli.spaces import load_space

if TYPE_CHECKING:
    from nasdsl.space.space import Space


class Stage(StrEnum):
    """A stage of compiling a space."""

    TREE = "tree"
    GRAPH = "graph"
    SPACE = "space"
    SUPERNET = "supernet"


def command(
    file: options.FileArgument,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
    as_json: options.JsonOption = False,
    emit: Annotated[
        Stage,
        typer.Option(
            help="What to print: the syntax tree, the space graph, the space, or what the supernet stores."
        ),
    ] = Stage.SPACE,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Forecast too what a training step of the supernet takes with N examples.",
            show_default=False,
        ),
    ] = None,
    free: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="With --batch, the size of a free dimension. Repeatable.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(
            "-c",
            "--config",
            metavar="KEY=VALUE|FILE",
            help="With --batch, switches of a search such as optimise.recompute=true. Repeatable.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="GRAPH.json", help="Write the space graph as JSON that reads back."
        ),
    ] = None,
) -> None:
    """Compile a space and print what is in it.

    Inputs, outputs, choices with their candidates and guards, the exact number of architectures, the ranges of
    params, FLOPs and activation memory over all of them, and the size of the supernet.

    Examples:

        nasdsl compile quickstart
        nasdsl compile mine.nas --set width=32 --json
        nasdsl compile darts --emit supernet
        nasdsl compile darts --batch 64
        nasdsl compile darts --batch 64 -c optimise.recompute=true
        nasdsl compile darts -o darts.json
    """
    from nasdsl.report import tables

    path = files.find_space(file)
    if emit is Stage.TREE and output is None:
        _print_tree(path, as_json)
        return
    space = load_space(file, settings, space_name, limits)
    if output is not None:
        from nasdsl.space import serialize

        files.write_whole(output, serialize.write(space), not_over=path)
        if emit is Stage.SPACE and not as_json:
            print(f"wrote {output}")
            return
    if emit is Stage.TREE:
        _print_tree(path, as_json)
    elif emit is Stage.GRAPH:
        _print_graph(space) if as_json else tables.show(tables.graph_table(space))
    elif emit is Stage.SUPERNET:
        _print_json(tables.supernet_json(space)) if as_json else tables.show(tables.supernet_table(space))
    else:
        description = space.describe()
        if batch is not None:
            description["step"] = _step(space, batch, free, config)
        if as_json:
            _print_json(description)
        else:
            tables.show(tables.space_table(description, str(path)))


def _step(space: Space, batch: int, free: list[str] | None, config: list[str] | None) -> dict[str, object]:
    """What training steps are forecast to take: of the largest of some paths, and of all candidates blended."""
    from nasdsl.supernet.forecast import forecast_mixture, forecast_paths

    given = options.parameters(free, option="--free", example="--free T=35")
    sizes = {name: int(value) for name, value in given.items()}
    optimise = configuration.optimisations(config)
    blended = forecast_mixture(space, batch=batch, free=sizes, optimise=optimise)
    return {
        "batch": batch,
        "path": forecast_paths(space, batch=batch, free=sizes, optimise=optimise).as_json(),
        "mixture": None if blended is None else blended.as_json(),
    }


def _print_tree(path: Path, as_json: bool) -> None:
    from nasdsl.language.modules import read_source
    from nasdsl.language.parser import parse
    from nasdsl.report import tables

    tree = parse(read_source(path))
    _print_json(tables.tree_json(tree)) if as_json else tables.show(tables.syntax_tree(tree))


def _print_graph(space: Space) -> None:
    from nasdsl.space import serialize

    print(serialize.write(space).rstrip("\n"))


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
