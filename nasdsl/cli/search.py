"""``nasdsl search``: the best architecture of a space, with a folder of all that happened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasdsl.cli import configuration, errors, options
from nasdsl.cli.spaces import fit_space, load_space
from nasdsl.diagnostics import Diagnostic, Severity

if TYPE_CHECKING:
    from nasdsl.pipeline import SearchSpace
    from nasdsl.searching import SearchSettings
    from nasdsl.training.tasks import Task


EvaluatorOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What scores genotypes where the strategy trains no supernet: train, synflow, …",
    ),
]

EvaluationsOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="So many genotypes at most are scored by it.")
]

ObjectiveOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,…",
        help="accuracy, and costs to keep small beside it: params, flops, memory, training_memory, latency.",
        show_default=False,
    ),
]

ConstraintOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        help="What every architecture must keep to: 'flops <= 100M'. Repeatable.",
        show_default=False,
    ),
]

LatencyOption = Annotated[
    Path | None,
    typer.Option(metavar="TABLE", help="Latencies of operations, from `nasdsl latency`.", show_default=False),
]

TrackOption = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="NAME",
        help="Also give the numbers to tensorboard, mlflow or wandb (offline). Repeatable.",
        show_default=False,
    ),
]

OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FOLDER", help="The run's folder; by default one in runs/."),
]


def command(
    context: typer.Context,
    file: options.FileArgument,
    task: options.TaskOption = None,
    data: options.DataOption = None,
    target: options.TargetOption = None,
    strategy: options.StrategyOption = "gdas",
    evaluator: EvaluatorOption = "",
    evaluations: EvaluationsOption = None,
    preset: options.PresetOption = "published",
    recipe: options.RecipeOption = None,
    objective: ObjectiveOption = None,
    constraint: ConstraintOption = None,
    latency: LatencyOption = None,
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
    track: TrackOption = None,
    output: OutputOption = None,
) -> None:
    """Search a space on a task, and keep the winner.

    The run's folder holds the configuration as used, the space, events, checkpoints, the winning genotype and a
    report. Ctrl-C ends a run cleanly; the same command goes on from there.

    Examples:

        nasdsl search quickstart --task digits --strategy gdas --preset demo
        nasdsl search mine.nas --task digits --strategy random --epochs 20 --seed 3 -o runs/mine
        nasdsl search nasbench201 --data fashion_mnist/ --set cells=1
        nasdsl search tabular_mlp --data table.csv --target price
        nasdsl search quickstart --objective accuracy,params --constraint "flops <= 5M"
        nasdsl search quickstart --objective accuracy,latency --latency table.json
        nasdsl search quickstart -c options.lr=0.03 -c search.lr=0.05
        nasdsl search quickstart --strategy regularized_evolution --evaluator synflow
        nasdsl search quickstart --strategy successive_halving --evaluator train
        nasdsl search quickstart -c mine.toml        # `nasdsl config` prints one to start from
    """
    space = load_space(file, settings, space_name, limits, config)
    from nasdsl.report.live import watching
    from nasdsl.report.progress import Progress
    from nasdsl.report.trackers import check_trackers, tracked
    from nasdsl.searching import Interrupted, search
    from nasdsl.training.data.build import task_for
    from nasdsl.training.device import resolve_device
    from nasdsl.training.ranks import joined

    check_trackers(list(track or ()))
    options.use_threads(threads)
    chosen = configuration.search_settings(
        context,
        space,
        strategy=strategy,
        evaluator=evaluator,
        preset=preset,
        recipe=recipe,
        epochs=epochs,
        config=config,
    )
    if objective is not None:
        chosen = chosen.model_copy(update={"objectives": tuple(map(str.strip, objective.split(",")))})
    if constraint:
        chosen = chosen.model_copy(update={"constraints": tuple(constraint)})
    if latency is not None:
        chosen = chosen.model_copy(update={"latency": str(latency)})
    found = task_for(chosen.task, chosen.data)
    space = fit_space(space, found, file, settings, space_name, limits, config)
    words = (space.name, found.name, chosen.strategy, chosen.evaluator, str(chosen.seed))
    folder = output or Path("runs") / "-".join(filter(None, words))
    ranks, _ = context.with_resource(joined(resolve_device(chosen.device), chosen.timeout))
    if budget is not None:
        measured = _within(options.seconds(budget), space, chosen, found, folder)
        fitting = chosen.search.lasting(ranks.from_first(measured.search.epochs))  # the same in all processes
        chosen = measured.model_copy(update={"search": fitting})
    _warn_of_what_does_nothing(space, chosen)
    progress = Progress(indent="")
    by_default = chosen.task == "digits" and not chosen.data.path
    if ranks.first and by_default and configuration.said(context, "task", config) is None:
        progress.say(
            "no --data and no --task: it is searched on `digits`, the images that come with scikit-learn"
        )
    for note in found.notes if ranks.first else ():
        progress.say(note)
    progress.metric = found.ordered(space).objective.name
    labels = {choice.name: tuple(choice.labels) for choice in space.choices}
    try:
        with tracked(list(track or ()), folder, labels) as tell, watching(progress) as shown:

            def on_event(event: dict[str, Any]) -> None:
                shown.search(event)
                tell(event)

            result = search(
                space, chosen, task=found, folder=folder, on_event=on_event, warn=lambda d: errors.show([d])
            )
    except Interrupted as stopped:
        raise KeyboardInterrupt(str(stopped)) from None
    if result.folder is not None:  # else another process of this run has it
        if (folder / "pareto.json").is_file():
            from nasdsl.report.pareto import lines

            print("\n".join(lines(folder)))
        print(f"the run is in {folder}; next: nasdsl train {folder}")


def _warn_of_what_does_nothing(space: SearchSpace, settings: SearchSettings) -> None:
    """Entries of the search's recipe that this search makes no use of (N1026)."""
    recipe = settings.search
    told: list[str] = []
    if recipe.drop_path:
        told.append(
            "search.drop_path does nothing: paths are dropped while a network is trained, not a supernet"
        )
    if recipe.recurrent and not any(node.operation == "scan" for node in space.graph.all_nodes()):
        names = ", ".join(f"search.{name}" for name in recipe.recurrent)
        told.append(f"{names}: nothing for it to act on, as the space has no scan")
    if recipe.asgd:
        told.append(
            "search.asgd does nothing: weights are averaged while a network is trained, not a supernet"
        )
    for text in told:
        errors.show([Diagnostic("N1026", text, severity=Severity.WARNING)])


def _within(
    seconds: float, space: SearchSpace, settings: SearchSettings, task: Task, folder: Path
) -> SearchSettings:
    """The settings with the number of epochs that fit, as it was counted when the run began."""
    from nasdsl.cli import finished
    from nasdsl.searching.budget import within

    kept = finished.read_settings(folder) if (folder / "config.toml").is_file() else None
    if kept is not None and kept.budget == seconds:
        recipe = settings.search.lasting(kept.search.epochs)
        return settings.model_copy(update={"budget": seconds, "search": recipe})
    return within(space, settings, task, seconds)
