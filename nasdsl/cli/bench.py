"""``nasdsl bench``: strategies side by side on a tabular benchmark."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from nasdsl.cli import files, options
from nasdsl.diagnostics import did_you_mean, failure


def command(
    file: options.FileArgument,
    table: Annotated[
        Path,
        typer.Option("--table", metavar="CSV", help="What every architecture came to.", show_default=False),
    ],
    strategies: Annotated[
        str, typer.Option("--strategies", metavar="NAME,...", help="Who competes.")
    ] = "random_search,regularized_evolution,local_search,reinforce",
    evaluations: Annotated[
        int, typer.Option("--evaluations", min=1, help="Architectures that each search may look up.")
    ] = 100,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Searches of each strategy.")] = 10,
    config: Annotated[
        list[str] | None,
        typer.Option(
            "-c",
            "--config",
            metavar="STRATEGY.KEY=VALUE",
            help="Set an option of a strategy, such as regularized_evolution.population=20. Repeatable.",
            show_default=False,
        ),
    ] = None,
    search_column: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What strategies see; by default the first valid….", show_default=False
        ),
    ] = "",
    report_column: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What is told of winners; by default the last test….", show_default=False
        ),
    ] = "",
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 is one a core.")] = 0,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
    as_json: options.JsonOption = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Also keep table, JSON and plot there.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compare strategies on a tabular benchmark, under the same budget.

    Each strategy searches by one column of the table, once a seed. Told is another column of the winners: mean ± standard
    deviation over the seeds, and what the mean lacks of the best there is. The manual describes the layout of tables
    (docs/benchmarks.md).

    Examples:

        nasdsl bench nasbench201 --table cifar10.csv --seeds 200
        nasdsl bench nasbench201 --table cifar10.csv --strategies random_search,local_search --evaluations 300 -o runs/bench
        nasdsl bench nasbench201 --table cifar10.csv -c regularized_evolution.population=20
    """
    space = options.load_space(file, settings, space_name, limits)
    from nasdsl.report import benchmarks
    from nasdsl.searching import STRATEGIES
    from nasdsl.searching.bench import bench
    from nasdsl.searching.table import read_table

    names = [name.strip() for name in strategies.split(",") if name.strip()]
    for name in names:
        STRATEGIES.find(name)
    assignments = of_strategies(config, names)
    read = read_table(table, space, search=search_column, report=report_column)

    def progress(done: int, all: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{all} searches", end="" if done < all else "\n", file=sys.stderr, flush=True)

    found = bench(
        space, read, names,
        evaluations=evaluations, seeds=seeds, options=assignments, workers=workers, on_done=progress,
    )  # fmt: skip
    text = benchmarks.as_text(found)
    data = json.dumps(found.as_json(), ensure_ascii=False, indent=2)
    print(data if as_json else text, end="\n" if as_json else "")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in (
            ("bench.txt", text),
            ("bench.json", data + "\n"),
            ("bench.svg", benchmarks.as_svg(found)),
        ):
            files.write_whole(output / name, content)
        if not as_json:
            print(f"bench.txt, bench.json and bench.svg are in {output}")


def of_strategies(config: list[str] | None, names: list[str]) -> dict[str, list[str]]:
    """``NAME.KEY=VALUE`` by strategy."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for assignment in config or ():
        name, dot, rest = assignment.partition(".")
        if not dot or name not in found:
            help = did_you_mean(name, names) or f"say whose option it is, as in `{names[0]}.key=value`"
            raise failure("N922", f"`{assignment}` sets no option of a strategy that competes", help)
        found[name].append(rest)
    return found
