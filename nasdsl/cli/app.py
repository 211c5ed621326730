"""The commands, in the order in which a person meets them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from nasdsl.cli import (
    bench,
    check,
    compile,
    config,
    count,
    demo,
    diff,
    errors,
    evaluate,
    explain,
    export,
    fmt,
    latency,
    lift,
    narrow,
    profile,
    report,
    runs,
    sample,
    search,
    show,
    strategies,
    tabulate,
    train,
)

app = typer.Typer(
    name="nasdsl",
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def help_of(command: Callable[..., Any]) -> str:
    """Its docstring as the help page has it: each paragraph a line, which the terminal breaks; examples as they stand."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else " ".join(p.split()) for p in paragraphs)


SPACES = "Look at a space"
SEARCHES = "Search it"

for panel, module in (
    (SPACES, check),
    (SPACES, compile),
    (SPACES, count),
    (SPACES, sample),
    (SPACES, show),
    (SPACES, narrow),
    (SPACES, diff),
    (SPACES, fmt),
    (SPACES, lift),
    (SPACES, latency),
    (SPACES, explain),
    (SEARCHES, strategies),
    (SEARCHES, search),
    (SEARCHES, runs),
    (SEARCHES, report),
    (SEARCHES, train),
    (SEARCHES, evaluate),
    (SEARCHES, config),
    (SEARCHES, export),
    (SEARCHES, profile),
    (SEARCHES, demo),
    (SEARCHES, bench),
    (SEARCHES, tabulate),
):
    name = module.__name__.rpartition(".")[2]
    app.command(name, help=help_of(module.command), rich_help_panel=panel)(errors.guard(module.command))


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True)
    ] = False,
) -> None:
    """A language for neural architecture search.

    A search space is a text file; nasdsl proves it, searches it and exports what it finds.

    Start with:

        nasdsl compile quickstart
        nasdsl search quickstart --task digits --strategy gdas
    """
    if version:
        from nasdsl.version import VERSION

        typer.echo(f"nasdsl {VERSION}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
