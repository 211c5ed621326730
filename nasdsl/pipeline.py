"""The order of the stages, on one page.

    text ──parse──► syntax tree ──elaborate──► space graph ──► search space
                                                                    │
                    ┌───────────────────────────────────────────────┤
                    ▼                                               ▼
       supernet ◄──► strategy ──► genotype ──────────► network ──► code, ONNX, pt2

:func:`load` goes from a file to a search space, :func:`load_data` from one to a task, :func:`search` from there to a
genotype, :func:`train` from a genotype to a trained network, :func:`evaluate` says how good that one is, and
:func:`export` goes from a network to files; :func:`lift` is the way back, from a network to a text. Each takes a value
and returns a value; torch is imported where a stage needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasdsl import resources
from nasdsl.diagnostics import Findings, Source
from nasdsl.language.builder import Limits
from nasdsl.language.elaborate import Elaborator
from nasdsl.language.modules import Loader, Module, pick_space
from nasdsl.operations import catalogue
from nasdsl.space.choice import Taken
from nasdsl.space.size import Rational, plain
from nasdsl.space.space import Space
from nasdsl.space.tensor import Shape

if TYPE_CHECKING:
    from torch import nn

    from nasdsl.exporting.exported import ExportReport
    from nasdsl.exporting.latency import Latency
    from nasdsl.exporting.network import Network
    from nasdsl.lifting import Lifted
    from nasdsl.searching import SearchResult
    from nasdsl.space.latency import LatencyTable
    from nasdsl.training.assess import Assessment
    from nasdsl.training.recipe import Recipe
    from nasdsl.training.tasks import Task
    from nasdsl.training.train import Epoch, Evaluation


class SearchSpace(Space):
    """A space as it is handed to people: all of :class:`~nasdsl.space.space.Space`, and networks."""

    def network(self, genotype: Mapping[str, Taken | Sequence[str]]) -> Network:
        """A plain torch module of one architecture, with fresh weights. Raises NasError for a wrong genotype."""
        from nasdsl.exporting.network import network

        return network(self, self.genotype(genotype))


# --- text to space ----------------------------------------------------------------------------------


def load(
    path: str | Path, *, space: str | None = None, limits: Limits | None = None, **parameters: Rational
) -> SearchSpace:
    """Reads a ``.nas`` file, or a space that ships by its bare name, and proves every architecture in it well formed.

    ``parameters`` are those of the space (``width=32``); ``space`` picks one where the file has several.
    Raises NasError with all that is wrong, each with its place.
    """
    shipped = None if Path(path).exists() else resources.space_named(path)
    return elaborate(read(shipped or Path(path), limits), parameters, space=space, limits=limits)


def loads(text: str, *, path: str = "<text>", **parameters: Rational) -> SearchSpace:
    """The space that a text describes; imports are looked up in the working folder and among those that ship."""
    findings = Findings()
    module = Loader(findings).load(Path.cwd() / "text.nas", Source(path, text))
    findings.raise_if_any()
    return elaborate(module, parameters)


def read(path: Path, limits: Limits | None = None) -> Module:
    """Text to syntax trees: a file and what it imports."""
    findings = Findings()
    module = Loader(findings, (limits or Limits()).nesting).load(path)
    findings.raise_if_any()
    return module


def elaborate(
    module: Module,
    parameters: Mapping[str, Rational],
    *,
    space: str | None = None,
    limits: Limits | None = None,
) -> SearchSpace:
    """Syntax trees to a search space."""
    elaborator = Elaborator(catalogue(), limits or Limits())
    elaborated: Any = elaborator.space(module, pick_space(module, space), parameters)
    found = SearchSpace(**{name: getattr(elaborated, name) for name in Space.__dataclass_fields__})
    found.check_limits()
    return found


# --- data -------------------------------------------------------------------------------------------


def load_data(path: str | Path, *, kind: str = "auto", target: str = "", **settings: Any) -> Task:
    """Data of one's own as a task, which :func:`search` and :func:`train` take: a file, a folder or ``module:function``.

    ``kind`` says what it is where that isn't clear, ``target`` names the column to predict, and ``settings`` are the
    further entries of the table ``data`` (``size=32``, ``test=0.1``). Its ``sizes`` are parameters of a space that fits:
    ``load("mine.nas", **task.sizes)``. Raises NasError N915 and N916 where there is nothing of a known kind, N920
    and N921 for wrong settings, and what the reader of its format raises.
    """
    from nasdsl.training.config import validated
    from nasdsl.training.data.build import task_for
    from nasdsl.training.data.settings import DataSettings

    given = {"path": str(path), "kind": kind, "target": target, **settings}
    return task_for("", validated(DataSettings, given))


# --- space to genotype ------------------------------------------------------------------------------


def search(
    space: Space,
    task: str | Task = "digits",
    strategy: str = "gdas",
    *,
    preset: str = "published",
    settings: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    folder: str | Path | None = None,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
) -> SearchResult:
    """Trains one supernet as the strategy says, and gives the genotype that wins.

    ``settings`` change the strategy's published configuration (``["search.epochs=30"]``). With ``folder`` the run is
    kept there, and the same call resumes it. Raises NasError where space, task and strategy don't fit.
    """
    from nasdsl.searching import search as run
    from nasdsl.searching import settings_for

    chosen = settings_for(
        strategy,
        preset=preset,
        assignments=settings,
        space=space.name,
        parameters=plain(space.parameters),
        task=task if isinstance(task, str) else task.name,
        seed=seed,
        device=device,
        precision=precision,
    )
    return run(
        space,
        chosen,
        task=None if isinstance(task, str) else task,
        folder=None if folder is None else Path(folder),
        on_event=on_event,
    )


# --- genotype to trained network --------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """A network with its score on the held-out part, which nothing before has seen."""

    network: Network
    test: Evaluation
    epochs: Sequence[Epoch]


def train(
    network: Network,
    task: str | Task = "digits",
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    channels_last: bool = True,
    fresh: bool = True,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Trains a network from scratch, in place, and evaluates it on the task's test part.

    Its weights are drawn anew from ``seed``, unless ``fresh`` is false: then it goes on from those that it has.
    ``channels_last`` lays images out in the faster memory format. With ``checkpoint`` the state is kept there after each
    epoch, and the same call takes it up again. Raises NasError N914 where training diverges.
    """
    from nasdsl.training.device import resolve_device
    from nasdsl.training.recipe import Recipe
    from nasdsl.training.seeds import initialise
    from nasdsl.training.tasks import load_task
    from nasdsl.training.train import evaluate as score
    from nasdsl.training.train import fit

    place = resolve_device(device)
    found = load_task(task, place) if isinstance(task, str) else task.to(place)
    if fresh:
        initialise(network, seed)
    network.to(place)
    epochs = fit(
        network,
        found,
        recipe or Recipe(),
        seed=seed,
        precision=precision,
        channels_last=channels_last,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
    )
    return Trained(network, score(network, found.test, found.objective, precision=precision), epochs)


def evaluate(
    network: Network, task: str | Task = "digits", *, device: str = "auto", precision: str = "float32"
) -> Assessment:
    """How good a network is on the task's test part: metric and loss, how far the metric could be off because the
    examples are few (a 95 % confidence interval), and which class was taken for which. It is moved to the device."""
    from nasdsl.training.assess import assess
    from nasdsl.training.device import resolve_device
    from nasdsl.training.tasks import load_task

    place = resolve_device(device)
    found = load_task(task, place) if isinstance(task, str) else task.to(place)
    return assess(network.to(place), found.test, found.objective, precision=precision)


# --- network to files -------------------------------------------------------------------------------


def export(
    network: Network,
    folder: str | Path,
    formats: Sequence[str] = ("python", "onnx"),
    *,
    sample_inputs: Any = None,
    **options: Any,
) -> ExportReport:
    """Writes a network as files, each run against the network first; see :func:`nasdsl.exporting.export.export`.

    ``sample_inputs`` are real inputs to compare on (a tensor, or several with a batch axis); without them random ones
    are drawn. Raises NasError N950 where a form computes something else, and then leaves no file behind.
    """
    from nasdsl.exporting.export import export as write

    return write(network, folder, formats, sample_inputs=sample_inputs, **options)


# --- how long networks take ---------------------------------------------------------------------------


def latency_table(
    space: Space,
    *,
    threads: int = 1,
    length: int = 16,
    runs: int = 100,
    whole: int = 5,
    seed: int = 0,
    on_file: Callable[[int, int], None] = lambda done, all: None,
) -> LatencyTable:
    """What each operation of a space takes in onnxruntime on this machine; see
    :func:`nasdsl.exporting.clock.measure_table`. ``nasdsl.space.latency.timed`` gives a space that knows it."""
    from nasdsl.exporting.clock import measure_table

    return measure_table(
        space, threads=threads, length=length, runs=runs, whole=whole, seed=seed, on_file=on_file
    )


def latency(
    space: Space,
    genotype: Mapping[str, Taken | Sequence[str]],
    *,
    threads: int = 1,
    length: int = 16,
    runs: int = 100,
) -> Latency:
    """What one architecture takes, exported to ONNX with random weights, without auxiliary heads, on one example.

    Free dimensions are of ``length``. Raises NasError for a wrong genotype.
    """
    from nasdsl.exporting.clock import measure_whole

    architecture = space.architecture(space.genotype(genotype))
    return measure_whole(architecture, space.catalogue, threads=threads, length=length, runs=runs)


# --- torch module to text ---------------------------------------------------------------------------


def lift(module: nn.Module, shapes: Sequence[Shape], *, name: str = "") -> Lifted:
    """The way back: a torch module as the text of a ``.nas`` file, repeats found and named.

    ``shapes`` are those of its inputs without the batch axis. The result holds the text, its space, and the network
    with the module's weights, which was seen to compute the same numbers. Raises NasError N1085 for what the language
    can't say, each by name; see :func:`nasdsl.lifting.lift`.
    """
    from nasdsl.lifting import lift as read_module

    return read_module(module, shapes, loads, name=name)
