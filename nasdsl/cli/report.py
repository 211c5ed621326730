"""``nasdsl report``: a run as one page."""

from __future__ import annotations

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
    limits: options.LimitOption = None,
) -> None:  # fmt: skip
    """Write a run as one HTML page that needs nothing else: space and winner drawn, curves, trials, configuration.

    It can be written at any time, also while the run goes on.

    Examples:

        nasdsl report runs/quickstart-digits-gdas-0
        nasdsl report runs/mine -o mine.html
    """
    from nasdsl.report.run_log import read_run
    from nasdsl.report.run_page import page_path, run_page

    log = read_run(run)
    name, parameters = str(log.config.get("space")), log.config.get("parameters", {})
    space = networks.reference(run, name, parameters, options.limits(limits)).load()
    path = output or page_path(log)
    files.write_whole(path, run_page(log, space))
    print(f"wrote {path}")
