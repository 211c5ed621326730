"""What ``nasdsl export`` is given: a run, the folder of a trained network or a ``.nas`` file; and where weights come from.

============= =========================================================================================
``trained``   of the run's trained winner, or of the network's folder
``inherited`` the supernet's of the run, with batch norm re-estimated on the task's training part
``fresh``     drawn anew, by the seed
a file        a safetensors file with the names of the network, such as an earlier export has
============= =========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasdsl.cli import finished, networks, options
from nasdsl.cli.spaces import load_space
from nasdsl.diagnostics import did_you_mean, failure

if TYPE_CHECKING:
    from nasdsl.exporting.network import Network
    from nasdsl.language.builder import Limits
    from nasdsl.pipeline import SearchSpace
    from nasdsl.space.choice import Genotype
    from nasdsl.training.data.settings import DataSettings
    from nasdsl.training.tasks import Task

TRAINED, INHERITED, FRESH = "trained", "inherited", "fresh"
SOURCES = (TRAINED, INHERITED, FRESH)

TaskReader = Callable[[str, "DataSettings"], "Task"]


@dataclass(frozen=True)
class Exportable:
    """A network with what is known of it. ``weights`` says where they come from; ``metric`` is its score on the
    held-out part of the task, where that was measured when it was trained."""

    network: Network
    space: SearchSpace
    weights: str
    task: Task | None
    metric: float | None = None


@dataclass(frozen=True)
class Wish:
    """The options of the command that say what is exported. ``read_task`` gives the task that they describe, over the
    recorded name and settings of data; ``asks_for_task`` where they describe any."""

    genotype: str | None = None
    weights: str | None = None
    read_task: TaskReader | None = None
    asks_for_task: bool = False
    seed: int = 0
    settings: tuple[str, ...] = ()
    space_name: str | None = None


def find(what: str, wish: Wish, bounds: list[str] | None) -> Exportable:
    """What is to be exported. Raises NasError N937 where the folder doesn't have it, N1076 for weights that can't be."""
    if wish.weights is not None and wish.weights not in SOURCES and not Path(wish.weights).is_file():
        help = did_you_mean(wish.weights, SOURCES) or f"there are {', '.join(SOURCES)}, or a safetensors file"
        raise failure("N1076", f"there are no weights `{wish.weights}`", help)
    if not Path(what).is_dir() and (Path(what).exists() or not _looks_like_folder(what)):
        return _of_file(what, wish, bounds)
    if wish.settings or wish.space_name:
        raise failure(
            "N984", f"`{what}` is a folder: its space is that of the run", "leave --set and --space out"
        )
    folder, limits = Path(what), options.limits(bounds)
    trained = (folder / networks.NETWORK).is_file() or (folder / "network" / networks.NETWORK).is_file()
    source = wish.weights
    if source is None:
        ended = (folder / "genotype.json").is_file()
        source = TRAINED if trained or not ended else INHERITED
        if wish.genotype is not None and ended:
            source = INHERITED
    if source == TRAINED:
        return _trained(folder, wish, limits)
    return _of_run(folder, source, wish, limits)


def _looks_like_folder(what: str) -> bool:
    return Path(what).suffix == "" and Path(what).parent != Path()


def _trained(folder: Path, wish: Wish, limits: Limits) -> Exportable:
    if wish.genotype is not None:
        raise failure(
            "N1076",
            f"the trained network in `{folder}` has a genotype already",
            "leave -g out, or take --weights inherited",
        )
    stored = networks.read_network(folder, limits)
    task = task_of(wish, stored.task, stored.data)
    task.check(stored.space)
    task = task.ordered(stored.space)
    metric = stored.metric if task.name == stored.task else None
    network = answering(stored.network, task)
    return Exportable(network, stored.space, f"trained on {stored.task}", task, metric)


def _of_run(run: Path, source: str, wish: Wish, limits: Limits) -> Exportable:
    """The winner of a run, or another genotype of its space, with weights that weren't trained for it."""
    if (run / networks.NETWORK).is_file() and not (run / "config.toml").is_file():
        raise failure(
            "N1076",
            f"`{run}` is one network, and not the run in which it was found: it has no weights but its own",
            f"leave --weights out, or export the .nas file in {run / 'space'}",
        )
    ended = finished.read_run(run, limits)
    space = ended.space.load()
    genotype = space.genotype(networks.read_genotype(wish.genotype) if wish.genotype else ended.genotype)
    task = task_of(wish, ended.settings.task, ended.settings.data)
    task.check(space)
    task = task.ordered(space)
    if source != INHERITED:
        network, words = _with_weights(space, genotype, source, wish.seed)
        return Exportable(answering(network, task), space, words, task)
    from nasdsl.searching.inherited import inherited

    supernet = inherited(run, space, ended.settings, genotype, task)
    network = space.network(genotype).inherit(supernet.weights_of)
    words = f"inherited from the supernet, batch norm re-estimated on {task.name}"
    return Exportable(answering(network, task), space, words, task)


def task_of(wish: Wish, name: str, data: DataSettings) -> Task:
    """The task that was asked for, or the one of a run with its data."""
    from nasdsl.training.data.build import task_for

    return (wish.read_task or task_for)(name, data)


def answering(network: Network, task: Task) -> Network:
    """The network without the outputs that the task doesn't ask for, which were there to help its training."""
    from nasdsl.space.tensor import Shape

    return network.answering() if isinstance(task.outputs, Shape) else network


def _of_file(file: str, wish: Wish, bounds: list[str] | None) -> Exportable:
    """An architecture of a ``.nas`` file."""
    from nasdsl.training.data.settings import DataSettings

    if wish.weights in (TRAINED, INHERITED):
        raise failure(
            "N1076",
            f"`{file}` is a text, and no run: it has no {wish.weights} weights",
            "leave --weights out for fresh ones, or name a safetensors file",
        )
    space = load_space(file, wish.settings, wish.space_name, bounds)
    if wish.genotype is None and space.choices:
        raise failure(
            "N988",
            f"`{space.name}` is a space of {space.count()} architectures: which one?",
            f'name it with -g, such as -g "$(nasdsl sample {file})"',
        )
    genotype = space.genotype(networks.read_genotype(wish.genotype or "{}"))
    task = task_of(wish, "", DataSettings()) if wish.asks_for_task else None
    if task is not None:
        task.check(space)
        task = task.ordered(space)
    network, words = _with_weights(space, genotype, wish.weights or FRESH, wish.seed)
    return Exportable(network, space, words, task)


def _with_weights(space: SearchSpace, genotype: Genotype, source: str, seed: int) -> tuple[Network, str]:
    """A network with fresh weights or those of a file, and the words for where they are from."""
    from nasdsl.training.seeds import initialise

    network = space.network(genotype)
    if source == FRESH:
        initialise(network, seed)
        return network, f"fresh, by seed {seed}"
    read_weights(network, Path(source))
    return network, f"from {Path(source).name}"


def read_weights(network: Network, path: Path) -> None:
    """The tensors of a safetensors file. Raises NasError N1076 where they aren't the network's."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from nasdsl.training.checkpoint import misfit

    try:
        tensors: Mapping[str, Any] = load_file(path)
    except (OSError, SafetensorError) as fault:
        raise failure("N1076", f"`{path}` is no safetensors file: {fault}") from None
    strange = misfit(network, tensors)
    if strange is not None:
        raise failure(
            "N1076",
            f"the weights in `{path}` are those of another network: `{strange}` doesn't fit",
            "`nasdsl export --format nas` writes a file with the weights that fit it",
        )
    network.load_state_dict(dict(tensors))
