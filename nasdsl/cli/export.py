"""``nasdsl export``: a network as files that need nothing of nasdsl."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from nasdsl.cli import configuration, files, options


def command(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE",
            help="A run, the folder of a trained network, or a .nas file.",
            show_default=False,
        ),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--format",
            metavar="NAMES",
            help="python, onnx, pt2, nas, safetensors, hub; with commas, or repeated. By default python,onnx.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Where the files go; by default export/ in the run."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="NAME",
            help="trained, inherited (of the run's supernet), fresh, or a safetensors file; by default what is there.",
            show_default=False,
        ),
    ] = None,
    genotype: Annotated[
        str | None,
        typer.Option(
            "-g",
            "--genotype",
            metavar="JSON",
            help="The architecture of a .nas file, or another one of a run: JSON, or a file that holds it.",
            show_default=False,
        ),
    ] = None,
    precisions: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="NAMES",
            help="Of the ONNX files: fp32, fp16, int8; with commas, or repeated. By default fp32.",
            show_default=False,
        ),
    ] = None,
    max_loss: Annotated[
        float, typer.Option("--max-loss", metavar="POINTS", help="What fp16 and int8 may lose of the metric.")
    ] = 1.0,
    opset: Annotated[int, typer.Option("--opset", metavar="NUMBER", help="Of the ONNX file.")] = 20,
    with_preprocessing: Annotated[
        bool, typer.Option("--with-preprocessing", help="The graph normalises its input itself.")
    ] = False,
    with_probabilities: Annotated[
        bool, typer.Option("--with-probabilities", help="The graph ends in a softmax.")
    ] = False,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k", metavar="K", help="The graph gives the K best and their classes.", show_default=False
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="What the files are checked and measured on; that of the run.",
            show_default=False,
        ),
    ] = None,
    data: options.DataOption = None,
    target: options.TargetOption = None,
    config: options.ConfigOption = None,
    seed: options.SeedOption = 0,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
) -> None:
    """Write a network as Python source, ONNX, a .pt2 program, a .nas file, weights alone, or a folder for the hub.

    Each form is run against the network on real held-out inputs; one whose numbers differ leaves no file behind. fp16
    and int8 are held to a bound on what they lose of the task's metric.

    Examples:

        nasdsl export runs/quickstart-digits-gdas-0
        nasdsl export runs/mine --format onnx --precision fp32,int8 --with-preprocessing -o deployed
        nasdsl export runs/mine --weights inherited --format python,nas,hub
        nasdsl export nasbench201 -g genotype.json --format python -o taken
        nasdsl export runs/mine --data photos/moved
    """
    from nasdsl import pipeline
    from nasdsl.cli import exportable
    from nasdsl.exporting.forms import known_formats
    from nasdsl.report import closing
    from nasdsl.training.train import evaluate

    wanted = known_formats(listed(formats) or ["python", "onnx"])
    wish = exportable.Wish(
        genotype,
        weights,
        lambda name, recorded: configuration.task_of(context, config, name, recorded),
        task is not None or data is not None,
        seed,
        tuple(settings or ()),
        space_name,
    )
    found = exportable.find(what, wish, limits)
    folder = output or (Path(what) / "export" if Path(what).is_dir() else Path(f"{found.space.name}-export"))
    metrics = {}
    if found.task is not None:
        metric = found.metric
        if metric is None:
            metric = evaluate(found.network, found.task.test, found.task.objective).metric
        metrics[f"held-out {found.task.objective.name}"] = round(metric, 4)
    report = pipeline.export(
        found.network,
        folder.resolve(),
        wanted,
        task=found.task,
        space=found.space,
        metrics=metrics,
        weights=found.weights,
        opset=opset,
        with_preprocessing=with_preprocessing,
        with_probabilities=with_probabilities,
        top_k=top_k,
        precisions=listed(precisions) or ["fp32"],
        max_loss=max_loss,
    )
    print(f"weights {found.weights}{''.join(f'; {name} {value}' for name, value in metrics.items())}")
    for line in closing.export_lines(report, files.shown(report.folder)):
        print(line)


def listed(given: Iterable[str] | None) -> list[str]:
    """Names with commas between them, of an option that may be repeated.

    >>> listed(["python,onnx", "pt2"])
    ['python', 'onnx', 'pt2']
    """
    return [name.strip() for text in given or () for name in text.split(",") if name.strip()]
