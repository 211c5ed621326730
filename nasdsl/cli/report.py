"""``nasdsl report``: a run as one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nasdsl.cli import files, networks, options


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE.html", help="The page; by default report.html in the run.",
            show_default=False,
        ),
    ] = None,
    as_json: options.JsonOption = False,
    limits: options.LimitOption = None,
) -> None:  # fmt: skip
    """Write a run as one HTML page that needs nothing else: space and winner drawn, curves, how much each choice
    mattered among what was scored, trials, configuration.

    It can be written at any time, also while the run goes on. With --json the winner and the figures of each choice are
    printed, and no page is written.

    Examples:

        nasdsl report runs/quickstart-digits-gdas-0
        nasdsl report runs/mine -o mine.html
        nasdsl report runs/mine --json
    """
    from nasdsl.report.run_log import read_run
    from nasdsl.report.run_page import entry, page_path, run_page

    log = read_run(run)
    name, parameters = str(log.config.get("space")), log.config.get("parameters", {})
    space = networks.reference(run, name, parameters, options.limits(limits)).load()
    if as_json:
        print(json.dumps(entry(log, space), indent=2, ensure_ascii=False))
        return
    path = output or page_path(log)
    files.write_whole(path, run_page(log, space))
    print(f"wrote {path}")
