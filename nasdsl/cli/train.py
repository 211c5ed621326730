"""``nasdsl train``: networks from scratch, or from a supernet's weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasdsl.cli import configuration, errors, files, options
from nasdsl.cli.spaces import fit_space, load_space
from nasdsl.diagnostics import Diagnostic, Severity, failure
from nasdsl.diagnostics.quantities import counted

if TYPE_CHECKING:
    from nasdsl.cli.networks import SpaceReference
    from nasdsl.cli.trainings import Outcome, Trainings
    from nasdsl.exporting.network import Network
    from nasdsl.pipeline import SearchSpace
    from nasdsl.report.progress import Progress
    from nasdsl.space.choice import Genotype
    from nasdsl.training.recipe import Recipe
    from nasdsl.training.tasks import Task


class Weights(StrEnum):
    """Where training starts from."""

    SCRATCH = "scratch"
    INHERITED = "inherited"


def command(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE",
            help="A run's folder, whose winner is trained unless -g says which, or a .nas file.",
            show_default=False,
        ),
    ],
    genotype: Annotated[
        str | None,
        typer.Option(
            "-g",
            "--genotype",
            metavar="JSON",
            help="An architecture of the run's space, or of the .nas file: JSON, or a file that holds it.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option("--top", min=1, help="Train so many of a run's best, and keep the best on validation."),
    ] = 1,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Train each so often, from --seed upwards.")
    ] = 1,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, help="So many trainings side by side, each on one thread."),
    ] = 1,
    weights: Annotated[
        Weights,
        typer.Option("--weights", help="From fresh weights, or from those of the run's supernet."),
    ] = Weights.SCRATCH,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="What is trained on; that of the run, or digits.",
            show_default=False,
        ),
    ] = None,
    recipe: options.RecipeOption = None,
    data: options.DataOption = None,
    target: options.TargetOption = None,
    epochs: options.EpochsOption = None,
    budget: options.BudgetOption = None,
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what was trained otherwise in that folder.")
    ] = False,
) -> None:
    """Train the winner of a run, several of its best, or any architecture.

    The score on the held-out part, which no search has seen, is printed and kept with the weights. Of several
    candidates the winner is the best on a validation part; the held-out part is looked at once, for the winner. A
    training that was stopped goes on with the same command; one that was made otherwise stays, but for --overwrite. --set trains a wider or deeper network than was searched.

    Examples:

        nasdsl train runs/quickstart-digits-gdas-0
        nasdsl train runs/mine --top 8 --seeds 3 --workers 4
        nasdsl train runs/mine -g "$(sed -n 2p runs/mine/front.jsonl)" -o runs/mine-2
        nasdsl train runs/darts --recipe darts_cifar10 --set layers=20 --set width=36 --budget 10h
        nasdsl train quickstart -g "$(nasdsl sample quickstart --seed 3)" -c lr=0.05
    """
    from nasdsl.cli import jobs, trainings
    from nasdsl.report.progress import Progress
    from nasdsl.training import resolve_device

    options.use_threads(threads)
    run = Path(what) if Path(what).is_dir() else None
    if run is not None:
        if space_name:
            raise failure("N984", f"`{what}` is a run: its space is that of the run", "leave --space out")
        if genotype is not None and top > 1:
            raise failure(
                "N984", "--top trains the best that the run scored, and -g one architecture", "leave one out"
            )
        asked = _of_run(context, run, genotype, weights, top, settings, config, limits)
    else:
        if weights is Weights.INHERITED or top > 1:
            raise failure(
                "N984",
                f"`{what}` is a space: --top and --weights inherited are for what a run has found",
                "name the folder of a run",
            )
        files.check_run(what)
        asked = _of_space(context, what, genotype, settings, space_name, limits, config)
    chosen = configuration.training_recipe(asked.recipe, recipe=recipe, epochs=epochs, config=config)
    seed = int(configuration.said(context, "seed", config))
    device = str(configuration.said(context, "device", config))
    loaded = asked.task.to(resolve_device(device))
    loaded.check(asked.space)
    loaded = loaded.ordered(asked.space)
    folder = output or run or Path("runs") / f"{asked.space.name}-{asked.task.name}-trained-{seed}"
    job = jobs.Job(
        folder,
        asked.reference,
        {},
        asked.task.name,
        loaded.data,
        seed,
        chosen,
        device,
        str(configuration.said(context, "precision", config)),
        run=run if weights is Weights.INHERITED else None,
    )
    alone_in = folder / "network" if run is not None and output is None else folder
    planned = trainings.plan(job, folder, alone_in, asked.space, asked.genotypes, range(seed, seed + seeds))
    if budget is not None:
        planned = trainings.within_budget(planned, loaded, options.seconds(budget), workers, overwrite)
    else:
        trainings.make_room(planned, overwrite)
    progress = Progress(indent="")
    _announce(planned, loaded, top, progress)
    try:
        kept = _train(planned, loaded, asked.task.name, workers, progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; the same command goes on from the last whole epoch (kept in `{folder}`)"
        ) from None
    print(f"the network is in {kept}; next: nasdsl export {what if kept.parent == run else kept}")


@dataclass(frozen=True)
class Asked:
    """What is to be trained: architectures of a space, on a task, by a recipe that options may change."""

    reference: SpaceReference
    space: SearchSpace
    genotypes: Sequence[Genotype]
    task: Task
    recipe: Recipe


def _of_run(
    context: typer.Context,
    run: Path,
    genotype: str | None,
    weights: Weights,
    top: int,
    settings: list[str] | None,
    config: list[str] | None,
    limits: list[str] | None,
) -> Asked:
    """The winner of a run and the best after it, ``top`` in all where it has so many; or a ``genotype`` of its space, for
    which the search need not have ended."""
    from nasdsl.cli import finished, networks

    found = finished.read_search(run, options.limits(limits))
    changed = options.parameters(settings)
    reference = found.space.with_parameters(changed)
    if genotype is None:
        winner = finished.read_winner(run)
        ranked = [winner, *(g for g in finished.read_ranked(run) if g != winner)]
    else:
        ranked = [networks.read_genotype(genotype)]
    space = reference.load()
    _can_inherit(weights, bool(changed))
    genotypes = [space.genotype(entries) for entries in ranked[:top]]
    task = configuration.task_of(context, config, found.settings.task, found.settings.data)
    return Asked(reference, space, genotypes, task, found.settings.training)


def _of_space(
    context: typer.Context,
    what: str,
    genotype: str | None,
    settings: list[str] | None,
    space_name: str | None,
    limits: list[str] | None,
    config: list[str] | None,
) -> Asked:
    """One architecture of a .nas file, which has to be named where there are several."""
    from nasdsl.cli import networks
    from nasdsl.training import Recipe
    from nasdsl.training.data.settings import DataSettings

    space = load_space(what, settings, space_name, limits, config)
    if genotype is None and space.choices:
        raise failure(
            "N988",
            f"`{space.name}` is a space of {space.count()} architectures: which one?",
            f'name it with -g, such as -g "$(nasdsl sample {what})"',
        )
    task = configuration.task_of(context, config, "digits", DataSettings())
    space = fit_space(space, task, what, settings, space_name, limits, config)
    reference = networks.SpaceReference(
        files.find_space(what), space.name, space.parameters, options.limits(limits)
    )
    genotypes = [space.genotype(networks.read_genotype(genotype or "{}"))]
    return Asked(reference, space, genotypes, task, Recipe())


def _announce(planned: Trainings, task: Task, top: int, progress: Progress) -> None:
    """What is about to be trained, and what of it does nothing."""
    space, genotypes, recipe = planned.space, planned.genotypes, planned.jobs[0].recipe
    for note in task.notes:
        progress.say(note)
    progress.metric = task.objective.name
    _warn_of_what_does_nothing(space.network(genotypes[0]), recipe)
    size = space.measure(genotypes[0])
    many = f"{len(planned.jobs)} trainings, the first" if not planned.alone else "training one"
    progress.say(
        f"{many} of {space.name} on {task.name}: {size.params} params, {counted(recipe.epochs, 'epoch')}"
    )
    if len(genotypes) < top:
        progress.say(f"the run has scored {len(genotypes)} architectures, and all of them are trained")


def _train(planned: Trainings, task: Task, name: str, workers: int, progress: Progress) -> Path:
    """Trains what is planned, says what came out, and gives the folder of the network that is kept."""
    from nasdsl.cli import trainings
    from nasdsl.report import assessments, tables
    from nasdsl.training.objectives import also

    metric = task.objective.name
    if planned.alone:
        score = trainings.train_alone(planned, task, progress)
        words = also(task.objective, score.metric)
        print(f"held-out {metric} {score.metric:.4f}{words} on {score.examples} examples")
        return planned.jobs[0].folder
    scores = trainings.train_several(planned, task, workers, progress)
    outcome = trainings.conclude(planned, scores, task)
    trainings.write_results(planned, scores, outcome, task, name)
    measures = [planned.space.measure(genotype) for genotype in planned.genotypes]
    candidates = [
        assessments.Candidate(m.params, m.flops, [score.metric for score in row])
        for m, row in zip(measures, scores, strict=True)
    ]
    part = "validation" if planned.jobs[0].validates else "held-out"
    tables.show(assessments.candidates_table(candidates, f"{part} {metric}", outcome.winner))
    told = assessments.mean_and_spread([score.metric for score in outcome.test])
    which = f"candidate {outcome.winner + 1}: " if len(candidates) > 1 else ""
    print(f"{which}held-out {metric} {told} on {outcome.test[0].examples} examples")
    for line in _reasons(outcome, len(planned.seeds), planned.jobs[0].validates):
        print(line)
    return planned.base / "network"


def _reasons(outcome: Outcome, seeds: int, validates: bool) -> Iterator[str]:
    """Why this candidate, where others did as well, and why the network of this seed, where there are several."""
    if outcome.tied:
        *others, last = (str(number + 1) for number in outcome.tied)
        yield (
            f"candidates {', '.join(others)} and {last} did equally well on the validation part: "
            f"{outcome.winner + 1} is the smallest of them"
        )
    if seeds > 1:
        why = (
            "which did best on the validation part"
            if validates
            else "the first, since the held-out part is not there to choose by"
        )
        yield f"the network that is kept is that of seed {outcome.kept}, {why}"


def _can_inherit(weights: Weights, changed: bool) -> None:
    if weights is Weights.INHERITED and changed:
        raise failure(
            "N1025",
            "the supernet's weights are those of the space that was searched, and --set makes it another",
            "train from scratch, or leave --set out",
        )


def _warn_of_what_does_nothing(network: Network, recipe: Recipe) -> None:
    said: Sequence[tuple[bool, str, str]] = (
        (
            bool(recipe.drop_path and not network.paths),
            "drop_path does nothing: this architecture adds up no candidates",
            "set drop_path=0, or take no notice",
        ),
        (
            bool(recipe.auxiliary and len(network.output_names) == 1),
            "auxiliary does nothing: the space has one output",
            "an auxiliary head is a second output: `return logits, aux`",
        ),
    )
    acting = ", ".join(recipe.recurrent)
    recurrent = (
        bool(acting and not network.has_scans),
        f"{acting}: nothing for it to act on, as this architecture has no scan",
        "set it to 0, or take no notice",
    )
    for does, text, help in (*said, recurrent):
        if does:
            errors.show([Diagnostic("N1026", text, help=help, severity=Severity.WARNING)])
