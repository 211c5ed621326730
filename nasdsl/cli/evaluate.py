"""``nasdsl evaluate``: how good a trained network is on data that nothing before has seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nasdsl.cli import configuration, options
from nasdsl.diagnostics import failure


def command(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FOLDER",
            help="A run whose winner is trained, or a network's folder.",
            show_default=False,
        ),
    ],
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="On which task's test part; that of the training by default.",
            show_default=False,
        ),
    ] = None,
    data: options.DataOption = None,
    target: options.TargetOption = None,
    config: options.ConfigOption = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="A line for each class.")] = False,
    confusion: Annotated[
        bool, typer.Option("--confusion", help="Which class was taken for which, and how often.")
    ] = False,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = options.Precision.FLOAT32,
    threads: options.ThreadsOption = None,
    as_json: options.JsonOption = False,
    limits: options.LimitOption = None,
) -> None:
    """Evaluate a trained network on the held-out part of its task, with a 95 % confidence interval.

    The interval says how far the score could be off because the held-out examples are few; it knows nothing of what
    another seed of the training would give (`nasdsl train --seeds 3` does).

    Examples:

        nasdsl evaluate runs/quickstart-digits-gdas-0
        nasdsl evaluate runs/mine --per-class --confusion
        nasdsl evaluate runs/mine/network --json
    """
    from nasdsl import pipeline
    from nasdsl.cli import networks
    from nasdsl.report import assessments, tables
    from nasdsl.training.objectives import Several, also

    options.use_threads(threads)
    stored = networks.read_network(folder, options.limits(limits))
    found = configuration.task_of(context, config, stored.task, stored.data)
    found.check(stored.space)
    found = found.ordered(stored.space)
    assessment = pipeline.evaluate(stored.network, found, device=device, precision=str(precision))
    if (per_class or confusion) and not assessment.confusion:
        raise failure("N1022", f"task `{found.name}` has no classes", "leave --per-class and --confusion out")
    if as_json:
        print(json.dumps({"task": found.name, "metric_name": found.objective.name, **assessment.as_json()}))
        return
    interval = assessment.interval
    print(
        f"held-out {found.objective.name} {assessment.metric:.4f}{also(found.objective, assessment.metric)} "
        f"[{interval.low:.4f}, {interval.high:.4f}] on {assessment.examples} examples "
        f"({interval.confidence:.0%}, {interval.method}); loss {assessment.loss:.4f}"
    )
    if isinstance(found.objective, Several):
        for output, part in zip(found.objective.names, found.objective.objectives, strict=True):
            value = assessment.outputs[output]
            print(f"  {output}: {part.name} {value:.4f}{also(part, value)}")
    labels = found.labels or tuple(map(str, range(len(assessment.confusion))))
    if per_class:
        tables.show(assessments.class_table(assessment, labels))
    if confusion:
        tables.show(assessments.confusion_table(assessment, labels))
