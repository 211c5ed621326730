"""``nasdsl runs``: what there is in a folder of runs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasdsl.cli import options
from nasdsl.diagnostics import failure
from nasdsl.diagnostics.quantities import duration

if TYPE_CHECKING:
    from nasdsl.report.run_log import RunLog


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where runs are.")] = Path("runs"),
    as_json: options.JsonOption = False,
) -> None:
    """List the runs in a folder with their state: running, stopped, finished, unreadable.

    A stopped one goes on with the command that began it. Of an unreadable one `nasdsl report` says what is damaged.

    Examples:

        nasdsl runs
        nasdsl runs experiments --json
    """
    from nasdsl.report.run_log import runs_in

    if not folder.is_dir():
        raise failure("N981", f"there is no folder `{folder}`", "`nasdsl search` makes runs in runs/")
    found = runs_in(folder)
    if as_json:
        print(json.dumps([entry(run) for run in found], indent=2, ensure_ascii=False))
    elif not found:
        print(f"no run in {folder}; `nasdsl search` makes one")
    else:
        _show(found)


def entry(run: RunLog) -> dict[str, Any]:
    """A run for machines."""
    done, epochs = run.epochs
    return {
        "folder": str(run.folder), "state": run.state, "space": run.config.get("space"),
        "task": run.config.get("task"), "strategy": run.config.get("strategy"), "seed": run.config.get("seed"),
        "epoch": done, "epochs": epochs, "trials": len(run.of("trial")), "best": run.best,
        "changed": round(run.changed, 1),
    }  # fmt: skip


def _show(runs: list[RunLog]) -> None:
    from rich.table import Table

    from nasdsl.report.run_page import figure
    from nasdsl.report.tables import show

    table = Table(box=None, pad_edge=False, header_style="")
    # A path is there to be copied, so it is never cut short.
    table.add_column("run", overflow="fold", min_width=max(len(str(run.folder)) for run in runs))
    for name in ("state", "space", "task", "strategy"):
        table.add_column(name)
    for name in ("seed", "epoch", "trials", "best", "changed"):
        table.add_column(name, justify="right")
    now = time.time()
    for run in runs:
        row = entry(run)
        about = [row["space"], row["task"], row["strategy"], row["seed"]]
        done = [f"{row['epoch']}/{row['epochs']}", row["trials"]] if run.config else [None, None]
        cells = ["-" if cell is None else str(cell) for cell in (*about, *done)]
        ago = f"{duration(max(0.0, now - run.changed))} ago"
        table.add_row(row["folder"], row["state"], *cells, figure(row["best"]), ago)
    show(table)
