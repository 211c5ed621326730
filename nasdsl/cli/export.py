"""``nasdsl export``: a trained network as files that need nothing of nasdsl."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nasdsl.cli import files, options


class Form(StrEnum):
    """What a network is written as."""

    PYTHON = "python"
    ONNX = "onnx"
    PT2 = "pt2"


def command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A run whose winner is trained, or a network's folder.", show_default=False
        ),
    ],
    forms: Annotated[
        list[Form] | None,
        typer.Option("-f", "--format", help="Repeatable; by default python and onnx.", show_default=False),
    ] = None,
    limits: options.LimitOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Where the files go; by default export/ in FOLDER."
        ),
    ] = None,
) -> None:
    """Write a trained network as Python source, ONNX or a .pt2 program.

    Each form is run against the network on real held-out inputs; one whose numbers differ leaves no file behind.

    Examples:

        nasdsl export runs/quickstart-digits-gdas-0
        nasdsl export runs/mine --format onnx -o deployed
    """
    from nasdsl import pipeline
    from nasdsl.cli import networks
    from nasdsl.report import closing
    from nasdsl.training import load_task

    stored = networks.read_network(folder, options.limits(limits))
    task = load_task(stored.task)
    report = pipeline.export(
        stored.network,
        (output or folder / "export").resolve(),
        [str(form) for form in forms or [Form.PYTHON, Form.ONNX]],
        sample_inputs=[x[: closing.COMPARED] for x in task.test.inputs],
        metrics={f"held-out {task.objective.name}": round(stored.metric, 4)},
        classes=task.labels or None,
    )
    for line in closing.export_lines(report, files.shown(report.folder)):
        print(line)
