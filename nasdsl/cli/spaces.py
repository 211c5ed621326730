"""The space that the options of a command describe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nasdsl.cli import errors, files, options
from nasdsl.cli.configuration import parameters_of_files
from nasdsl.diagnostics import failure
from nasdsl.space.size import Rational

if TYPE_CHECKING:
    from nasdsl.language.builder import Limits
    from nasdsl.pipeline import SearchSpace
    from nasdsl.training.tasks import Task


def load_space(
    file: str,
    settings: Iterable[str] | None,
    space: str | None,
    bounds: Iterable[str] | None,
    config: Iterable[str] | None = None,
) -> SearchSpace:
    """The space that the options of a command describe; its warnings go to standard error."""
    values = (parameters_of_files(config) if config else {}) | options.parameters(settings)
    found = read_space(files.find_space(file), values, space, options.limits(bounds))
    errors.warn(found)
    return found


def read_space(path: Path, values: Mapping[str, Rational], space: str | None, bounds: Limits) -> SearchSpace:
    """The space of a ``.nas`` file, or of what ``nasdsl compile -o graph.json`` wrote."""
    from nasdsl import pipeline

    if path.suffix == ".json":
        return _read_graph(path, values)
    return pipeline.elaborate(pipeline.read(path, bounds), values, space=space, limits=bounds)


def fit_space(
    space: SearchSpace,
    task: Task,
    file: str,
    settings: Iterable[str] | None,
    name: str | None,
    bounds: Iterable[str] | None,
    config: Iterable[str] | None = None,
) -> SearchSpace:
    """The space of :func:`load_space`, with the same options, in the sizes of a task: parameters such as ``classes`` and
    ``size`` that were not set are, and this is said. Raises NasError N912 or N913 where that doesn't help."""
    from nasdsl.training.fitting import fitted

    path = files.find_space(file)
    values = (parameters_of_files(config) if config else {}) | options.parameters(settings)

    def load(given: Mapping[str, Rational]) -> SearchSpace:
        if given == values or path.suffix == ".json":
            return space
        return read_space(path, given, name, options.limits(bounds))

    found, set_here = fitted(load, values, task.sizes, task.check)
    if set_here:
        changes = ", ".join(f"{name} = {value}" for name, value in set_here.items())
        print(f"set to fit `{task.name}`: {changes}")
    return found


def _read_graph(path: Path, values: Mapping[str, Rational]) -> SearchSpace:
    """What ``nasdsl compile -o graph.json`` wrote."""
    from nasdsl.language.modules import read_source
    from nasdsl.operations import catalogue
    from nasdsl.pipeline import SearchSpace
    from nasdsl.space import serialize

    if values:
        names = ", ".join(values)
        raise failure("N984", f"`{path}` is compiled: its parameters ({names}) can't be set any more")
    return serialize.read(read_source(path).text, catalogue(), SearchSpace, str(path))
