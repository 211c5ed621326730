"""``nasdsl demo``: the main job, from a text to a verified ONNX file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasdsl.cli import errors, files, options

if TYPE_CHECKING:
    from nasdsl.exporting.network import Network
    from nasdsl.pipeline import SearchSpace
    from nasdsl.report.closing import Closing
    from nasdsl.report.progress import Progress
    from nasdsl.space.choice import Genotype
    from nasdsl.training.tasks import Task

SPACE, TASK, STRATEGY, PRESET = "quickstart", "digits", "gdas", "demo"
OTHERS = 5
"""So many random architectures the winner is held against."""


def command(
    seed: options.SeedOption = 0,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = options.Precision.FLOAT32,
    threads: options.ThreadsOption = 1,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Where everything goes; by default in runs/."),
    ] = None,
) -> None:
    """Search a small space on real digit images, train the winner, export it and check the files.

    Five random architectures are trained the same way, so that one sees what the search was worth. The held-out images
    are seen by nothing before the end.

    Examples:

        nasdsl demo
        nasdsl demo --seed 3 -o runs/third
    """
    from nasdsl import pipeline
    from nasdsl.report import closing, tables
    from nasdsl.report.progress import Progress
    from nasdsl.searching import Interrupted
    from nasdsl.training import load_task

    options.use_threads(threads)
    folder = output or Path("runs") / f"demo-{seed}"
    space = pipeline.load(files.find_space(SPACE))
    task = load_task(TASK)
    progress = Progress()
    progress.metric = task.objective.name
    try:
        told = run(space, task, seed, device, str(precision), folder, progress)
    except Interrupted as stopped:
        raise KeyboardInterrupt(str(stopped)) from None
    files.write_whole(folder / "report.md", closing.closing_page(told))
    files.write_whole(folder / "result.json", json.dumps(told.as_json(), indent=2, ensure_ascii=False) + "\n")
    tables.show(closing.closing_table(told))


def run(
    space: SearchSpace, task: Task, seed: int, device: str, precision: str, folder: Path, progress: Progress
) -> Closing:
    """Search, training, export and comparison, in this order."""
    from nasdsl import pipeline
    from nasdsl.exporting.latency import onnx_latency
    from nasdsl.report.closing import COMPARED, Closing, Contender
    from nasdsl.report.progress import genotype_text
    from nasdsl.searching import sample_connected, settings_for

    stage(f"1/4  nasdsl search {SPACE} --task {TASK} --strategy {STRATEGY} --preset {PRESET} --seed {seed}")
    searched = pipeline.search(
        space,
        task,
        STRATEGY,
        preset=PRESET,
        seed=seed,
        device=device,
        precision=precision,
        folder=folder / "search",
        on_event=progress.search,
    )

    recipe = settings_for(STRATEGY, preset=PRESET).training

    def trained(genotype: Genotype, name: str) -> tuple[Network, Contender]:
        network = space.network(genotype)
        result = pipeline.train(network, task, recipe, seed=seed, device=device, precision=precision)
        size = space.measure(genotype)
        progress.say(
            f"{name:<8}  {task.objective.name} {result.test.metric:.4f}  {size.params:>6} params  {genotype_text(genotype)}"
        )
        return network, Contender(dict(genotype), result.test.metric, size.params, size.flops)

    stage(
        f"2/4  training the winner and {OTHERS} random connected architectures, {recipe.epochs} epochs each"
    )
    network, winner = trained(searched.genotype, "winner")
    random = [g for g in sample_connected(space, OTHERS + 1, seed) if g != searched.genotype][:OTHERS]
    others = [trained(genotype, f"random {i}")[1] for i, genotype in enumerate(random, start=1)]

    stage("3/4  exporting the winner, and checking each form on held-out images")
    images = [x[:COMPARED] for x in task.test.inputs]
    report = pipeline.export(
        network,
        (folder / "export").resolve(),
        ["python", "onnx"],
        sample_inputs=images,
        metrics={f"held-out {task.objective.name}": round(winner.metric, 4)},
        classes=task.labels or None,
    )
    for form in report.forms:
        progress.say(f"{form.format:<8}  {', '.join(path.name for path in form.files)}  {form.seconds:.1f} s")

    stage("4/4  timing the ONNX file in onnxruntime")
    one = {name: x[:1].cpu().numpy() for name, x in zip(network.input_names, images, strict=True)}
    latency = onnx_latency(report.form("onnx").files[0], one)
    return Closing(
        space=space.name,
        architectures=space.count(),
        choices=len(space.choices),
        task=task.name,
        strategy=STRATEGY,
        seed=seed,
        metric=task.objective.name,
        held_out=len(task.test),
        winner=winner,
        others=others,
        milliseconds=latency.milliseconds,
        differences={f.format: f.difference for f in report.forms if f.difference is not None},
        files=[files.shown(path) for path in (folder / "report.md", folder / "search", *report.files)],
    )


def stage(text: str) -> None:
    """The head of a stage."""
    print(f"\033[1m{text}\033[0m" if errors.wants_colour(sys.stdout) else text, flush=True)
