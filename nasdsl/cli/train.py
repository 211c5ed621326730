"""``nasdsl train``: one architecture, from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nasdsl.cli import options
from nasdsl.diagnostics import failure


def command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE",
            help="A run's folder, whose winner is trained, or a .nas file.",
            show_default=False,
        ),
    ],
    genotype: Annotated[
        str | None,
        typer.Option(
            "-g",
            "--genotype",
            metavar="JSON",
            help="The architecture of a .nas file: JSON, or a file that holds it.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="What is trained on; that of the run, or digits.",
            show_default=False,
        ),
    ] = None,
    epochs: options.EpochsOption = None,
    seed: options.SeedOption = 0,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = options.Precision.FLOAT32,
    threads: options.ThreadsOption = None,
    config: options.ConfigOption = None,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Where the network goes; in a run, its network/."
        ),
    ] = None,
) -> None:
    """Train the winner of a run, or any architecture, from scratch.

    The score on the held-out part, which no search has seen, is printed and kept with the weights.

    Examples:

        nasdsl train runs/quickstart-digits-gdas-0
        nasdsl train quickstart -g genotype.json --epochs 40 -o runs/mine
        nasdsl train quickstart -g "$(nasdsl sample quickstart --seed 3)" -c lr=0.05
    """
    from nasdsl import pipeline
    from nasdsl.cli import networks
    from nasdsl.report.progress import Progress
    from nasdsl.training import Recipe, load_task, override

    options.use_threads(threads)
    bounds = options.limits(limits)
    if Path(what).is_dir():
        if genotype or settings or space_name:
            raise failure(
                "N984",
                f"`{what}` is a run: its space and genotype are those of the run",
                "leave -g and --set out",
            )
        winner = networks.read_winner(Path(what), bounds)
        space, taken, recipe = winner.space, winner.genotype, winner.settings.training
        task, folder = task or winner.settings.task, output or Path(what) / "network"
    else:
        space = options.load_space(what, settings, space_name, limits)
        if genotype is None and space.choices:
            raise failure(
                "N988",
                f"`{space.name}` is a space of {space.count()} architectures: which one?",
                f'name it with -g, such as -g "$(nasdsl sample {what})"',
            )
        taken, recipe = space.genotype(networks.read_genotype(genotype or "{}")), Recipe()
        task = task or "digits"
        folder = output or Path("runs") / f"{space.name}-{task}-trained-{seed}"
    assignments = [*([f"epochs={epochs}"] if epochs is not None else []), *(config or ())]
    recipe = override(recipe, [text.removeprefix("training.") for text in assignments])
    found = load_task(task)
    found.check(space)
    network = space.network(taken)
    progress = Progress(indent="")
    progress.metric = found.objective.name
    measures = space.measure(taken)
    progress.say(
        f"training one of {space.name} on {found.name}: {measures.params} params, {recipe.epochs} epochs"
    )
    trained = pipeline.train(
        network,
        found,
        recipe,
        seed=seed,
        device=device,
        precision=str(precision),
        on_epoch=lambda epoch: progress.training(epoch, recipe.epochs),
    )
    networks.write_network(folder, space, trained, task=task, seed=seed, recipe=recipe)
    test = trained.test
    print(f"held-out {found.objective.name} {test.metric:.4f} on {test.examples} examples")
    print(
        f"the network is in {folder}; next: nasdsl export {what if folder.parent == Path(what) else folder}"
    )
