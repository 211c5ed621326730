"""``nasdsl bench``: strategies side by side, on a table of results or on a supernet."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasdsl.cli import configuration, files, options
from nasdsl.cli.spaces import fit_space, load_space
from nasdsl.diagnostics import did_you_mean, failure

if TYPE_CHECKING:
    from nasdsl.pipeline import SearchSpace
    from nasdsl.searching.bench_supernet import Listing, Outcome
    from nasdsl.searching.settings import SearchSettings
    from nasdsl.searching.table import Table
    from nasdsl.training.tasks import Task

TABULAR = "random_search,regularized_evolution,local_search,reinforce"
SHARING = "random,gdas,darts"
EVERYONES = ("search", "training")
"""Tables of the configuration whose entries hold for all strategies."""
OF_TASKS = ("target", "truth", "epochs", "retrain", "device", "precision", "evaluator")
"""Options that say nothing where strategies are compared on a table alone."""

TableOption = Annotated[
    Path | None,
    typer.Option(
        "--table",
        metavar="CSV",
        help="What every architecture came to: it is searched itself, or on a task the winners are looked up in it.",
        show_default=False,
    ),
]

StrategiesOption = Annotated[
    str | None,
    typer.Option("--strategies", metavar="NAME,…", help="Who competes.", show_default=False),
]

EvaluationsOption = Annotated[
    int,
    typer.Option(
        "--evaluations",
        min=1,
        help="Architectures that a search may look up in the table, or have evaluated.",
    ),
]

EvaluatorOption = Annotated[
    str | None,
    typer.Option(
        "--evaluator",
        metavar="NAME",
        help="What scores architectures for strategies that train no supernet, on a task.",
        show_default=False,
    ),
]

SeedsOption = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        min=1,
        help="Searches of each strategy: 10 on a table, 3 on a task.",
        show_default=False,
    ),
]

TruthOption = Annotated[
    Path | None,
    typer.Option(
        "--truth",
        metavar="CSV",
        help="What some architectures came to (`nasdsl tabulate`): how well are they ranked?",
        show_default=False,
    ),
]

ConstraintOption = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint",
        metavar="'MEASURE <= NUMBER'",
        help="Compare on those architectures alone that keep to it, such as 'flops <= 50M'. Repeatable.",
        show_default=False,
    ),
]

RetrainOption = Annotated[
    bool | None,
    typer.Option(
        "--retrain/--no-retrain",
        help="Train each winner from scratch, on a task; by default where no table has it.",
        show_default=False,
    ),
]

ConfigOption = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        "--config",
        metavar="STRATEGY.KEY=VALUE",
        help="Set an option of a strategy, such as regularized_evolution.population=20. Repeatable. "
        "On a task also search.KEY=VALUE and training.KEY=VALUE, for all, and evaluation.KEY=VALUE.",
        show_default=False,
    ),
]

SearchColumnOption = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="What strategies see; by default the first valid….", show_default=False
    ),
]

ReportColumnOption = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="What is told of winners; by default the last test….", show_default=False
    ),
]

WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 is one a core.")]

OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FOLDER",
        help="Also keep table, JSON and plot there.",
        show_default=False,
    ),
]


def command(
    context: typer.Context,
    file: options.FileArgument,
    table: TableOption = None,
    task: options.TaskOption = None,
    data: options.DataOption = None,
    target: options.TargetOption = None,
    strategies: StrategiesOption = None,
    evaluations: EvaluationsOption = 100,
    evaluator: EvaluatorOption = None,
    epochs: options.EpochsOption = None,
    seeds: SeedsOption = None,
    truth: TruthOption = None,
    constraint: ConstraintOption = None,
    retrain: RetrainOption = None,
    config: ConfigOption = None,
    search_column: SearchColumnOption = "",
    report_column: ReportColumnOption = "",
    workers: WorkersOption = 0,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = options.Precision.FLOAT32,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
    as_json: options.JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Compare strategies under the same budget, on a table of results or on a task.

    With `--table` each strategy searches by one column of the table, once a seed. Told is another column of the winners:
    mean ± standard deviation over the seeds, and what the mean lacks of the best there is. The manual describes the
    layout of tables (docs/benchmarks.md).

    With `--task` each strategy trains a supernet, for the same number of epochs. Told are what the winners come to when
    they are trained from scratch, or what `--table` has for them, and, with `--truth`, how well the shared weights rank
    architectures. Strategies that train none take an `--evaluator`; with `train` all that they train together has as many
    epochs as a supernet.

    Examples:

        nasdsl bench nasbench201 --table cifar10.csv --seeds 200
        nasdsl bench nasbench201 --table cifar10.csv --strategies random_search,local_search --evaluations 300 -o runs/bench
        nasdsl bench nasbench201 --table cifar10.csv -c regularized_evolution.population=20
        nasdsl bench mine.nas --task digits --strategies random,gdas --epochs 30 --truth table.csv
        nasdsl bench mine.nas --task digits --strategies gdas,regularized_evolution --evaluator train --epochs 60
        nasdsl bench nasbench201 --data cifar-10-batches-bin --table cifar10.csv --strategies gdas,enas --epochs 50
    """
    on_task = task is not None or data is not None
    _check_kind(context, on_task=on_task)
    from nasdsl.searching.bench_supernet import Listing
    from nasdsl.searching.objectives import constrained
    from nasdsl.searching.table import read_table
    from nasdsl.training.data.settings import DataSettings
    from nasdsl.training.device import resolve_device

    space = load_space(file, settings, space_name, limits)
    columns = {"search": search_column, "report": report_column}
    if on_task:
        of_data = [text for text in config or () if text.startswith("data.")]
        loaded = configuration.task_of(context, of_data, "digits", DataSettings())
        space = fit_space(space, loaded, file, settings, space_name, limits, None)
        space = constrained(space, constraint or ())
        listing = None if table is None else Listing.of(read_table(table, space, **columns))
        own = [text for text in config or () if text not in of_data]
        everywhere = [f"device={resolve_device(device)}", f"precision={precision.value}"]
        _on_task(
            space, loaded, strategies or SHARING, own, everywhere,
            epochs=epochs, evaluator=evaluator or "", evaluations=evaluations, seeds=seeds or 3, truth=truth, listing=listing,
            retrain=table is None if retrain is None else retrain,
            workers=workers, as_json=as_json, output=output,
        )  # fmt: skip
        return
    assert table is not None
    space = constrained(space, constraint or ())
    names = _names(strategies or TABULAR)
    assignments = of_strategies(config, names)
    _on_table(
        space, read_table(table, space, **columns), names, assignments,
        evaluations=evaluations, seeds=seeds or 10, workers=workers, as_json=as_json, output=output,
    )  # fmt: skip


def _check_kind(context: typer.Context, *, on_task: bool) -> None:
    """Raises NasError N971 where there is nothing to compare on, or an option says something of the other kind."""
    if not on_task and context.params["table"] is None:
        raise failure(
            "N971",
            "strategies are compared on a table or on a task: say which",
            "--table cifar10.csv, or --task digits",
        )
    if context.params["table"] is None:
        for name in ("search_column", "report_column"):
            if configuration.was_given(context, name):
                option = name.replace("_", "-")
                raise failure("N971", f"`--{option}` is about a table, and there is none", "add --table CSV")
    others: tuple[str, ...] = OF_TASKS
    if on_task:
        others = ("evaluations",) if context.params["evaluator"] is None else ()
        about = "what an `--evaluator` or a table scores, and supernets are trained"
        help = "leave it out; `--epochs` says how long a search is"
    else:
        about = "what is trained on a task, and on a table alone nothing is"
        help = "leave it out, or say what supernets are trained on: --task digits"
    for name in others:
        if configuration.was_given(context, name):
            raise failure("N971", f"`--{name}` is about {about}", help)


def _names(strategies: str) -> list[str]:
    from nasdsl.searching import STRATEGIES

    names = list(dict.fromkeys(name.strip() for name in strategies.split(",") if name.strip()))
    if not names:
        raise failure("N940", "`--strategies` names none", f"there are: {', '.join(sorted(STRATEGIES))}")
    for name in names:
        STRATEGIES.find(name)
    return names


def _on_table(
    space: SearchSpace,
    table: Table,
    names: list[str],
    assignments: dict[str, list[str]],
    *,
    evaluations: int,
    seeds: int,
    workers: int,
    as_json: bool,
    output: Path | None,
) -> None:
    from nasdsl.report import benchmarks
    from nasdsl.searching.bench import bench

    def progress(done: int, all: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{all} searches", end="" if done < all else "\n", file=sys.stderr, flush=True)

    found = bench(
        space, table, names,
        evaluations=evaluations, seeds=seeds, options=assignments, workers=workers, on_done=progress,
    )  # fmt: skip
    _show(benchmarks.as_text(found), found.as_json(), benchmarks.as_svg(found), as_json, output)


def _on_task(
    space: SearchSpace,
    task: Task,
    strategies: str,
    config: list[str],
    everywhere: list[str],
    *,
    epochs: int | None,
    evaluator: str,
    evaluations: int,
    seeds: int,
    truth: Path | None,
    listing: Listing | None,
    retrain: bool,
    workers: int,
    as_json: bool,
    output: Path | None,
) -> None:
    from nasdsl.report import benchmarks
    from nasdsl.searching.bench_supernet import bench_supernets
    from nasdsl.searching.table import read_columns

    if epochs is not None:
        config = [f"search.epochs={epochs}", *config]
    chosen = _settings(
        _names(strategies), config, everywhere, task.name, evaluator=evaluator, evaluations=evaluations
    )
    known = read_columns(truth, space, "test") if truth is not None else None

    def progress(outcome: Outcome) -> None:
        if sys.stderr.isatty():
            print(f"{outcome.strategy}, seed {outcome.seed}: {outcome.seconds:.0f} s", file=sys.stderr)

    found = bench_supernets(
        space,
        task,
        chosen,
        seeds=seeds,
        truth=known,
        retrain=retrain,
        listing=listing,
        workers=workers,
        on_done=progress,
    )
    _show(benchmarks.supernets_as_text(found), found.as_json(), None, as_json, output)


def _settings(
    names: list[str], config: list[str], everywhere: list[str], task: str, *, evaluator: str, evaluations: int
) -> list[SearchSettings]:
    """Those of each strategy, with ``everywhere`` in front of what ``config`` says. Where that says nothing of epochs all
    supernets have as many as the longest of the published searches.

    Raises NasError N971 for an evaluator, or options of one, that no strategy uses; N922 for an option of a strategy that
    doesn't compete; and what :func:`nasdsl.searching.settings_for` says.
    """
    from nasdsl.searching import EVALUATORS, STRATEGIES, settings_for
    from nasdsl.searching.strategy import trains_supernet, without_supernet

    everyone = [text for text in config if text.partition(".")[0] in EVERYONES]
    evaluation = [text for text in config if text.partition(".")[0] == "evaluation"]
    own = of_strategies([text for text in config if text not in (*everyone, *evaluation)], names)

    def settings_of(name: str, evaluator: str, more: list[str]) -> SearchSettings:
        assignments = [*everywhere, *everyone, *more, *(f"options.{text}" for text in own[name])]
        return settings_for(name, evaluator=evaluator, assignments=assignments, task=task)

    sharing = [name for name in names if trains_supernet(STRATEGIES.find(name))]
    if len(sharing) == len(names) and (evaluator or evaluation):
        what = "`--evaluator`" if evaluator else f"`-c {evaluation[0]}`"
        raise failure(
            "N971",
            f"{what} is about strategies that train no supernet, and all of these do",
            f"leave it out, or add one of {', '.join(without_supernet())} to `--strategies`",
        )
    found = {name: settings_of(name, "", []) for name in sharing}
    epochs = max((one.search.epochs for one in found.values()), default=0)
    for name, one in found.items():
        if one.search.epochs < epochs:
            found[name] = settings_of(name, "", [f"search.epochs={epochs}"])
    budget = [f"evaluations={evaluations}", *evaluation]
    trains = evaluator != "" and hasattr(EVALUATORS.find(evaluator), "budget")
    said = any(text.startswith("search.epochs=") for text in everyone)
    for name in names:
        if name not in found:
            one = settings_of(name, evaluator, budget)
            # As many epochs as a supernet has, for all trainings together.
            together = epochs or (one.search.epochs if said else 0)
            found[name] = one.model_copy(update={"epoch_budget": together}) if trains else one
    return [found[name] for name in names]


def _show(text: str, data: dict[str, Any], plot: str | None, as_json: bool, output: Path | None) -> None:
    """Prints the table or JSON, and keeps both, with the plot, in a folder."""
    written = json.dumps(data, ensure_ascii=False, indent=2)
    print(written if as_json else text, end="\n" if as_json else "")
    if output is None:
        return
    output.mkdir(parents=True, exist_ok=True)
    contents = {"bench.txt": text, "bench.json": written + "\n"} | ({"bench.svg": plot} if plot else {})
    for name, content in contents.items():
        files.write_whole(output / name, content)
    if not as_json:
        print(f"{', '.join(contents)} are in {output}")


def of_strategies(config: list[str] | None, names: list[str]) -> dict[str, list[str]]:
    """``NAME.KEY=VALUE`` by strategy."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for assignment in config or ():
        name, dot, rest = assignment.partition(".")
        if not dot or name not in found:
            help = did_you_mean(name, names) or f"say whose option it is, as in `{names[0]}.key=value`"
            raise failure("N922", f"`{assignment}` sets no option of a strategy that competes", help)
        found[name].append(rest)
    return found
