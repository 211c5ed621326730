"""How options become a configuration: what was given on the command line, over files, over what is published."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nasdsl.cli import options
from nasdsl.diagnostics import failure
from nasdsl.space.size import Rational, plain

if TYPE_CHECKING:
    from nasdsl.pipeline import SearchSpace
    from nasdsl.searching import SearchSettings
    from nasdsl.supernet.optimise import Optimisations
    from nasdsl.training.data.settings import DataSettings
    from nasdsl.training.entries import Entry
    from nasdsl.training.recipe import Recipe
    from nasdsl.training.tasks import Task


def configuration(config: Iterable[str] | None) -> tuple[list[Entry], list[str]]:
    """What ``-c`` said: the entries of its files, and its assignments. Raises NasError N922 and N923."""
    from nasdsl.training.config import assignment
    from nasdsl.training.entries import read_entries

    entries: list[Entry] = []
    assignments: list[str] = []
    for text in config or ():
        path = Path(text)
        if "=" not in text and (path.suffix == ".toml" or path.exists()):
            entries += read_entries(path)
        else:
            assignment(text)  # a mistake in its form is told before anything else happens
            assignments.append(text)
    return entries, assignments


def was_given(context: typer.Context, name: str) -> bool:
    """Whether the user said it; a default is weaker than a configuration file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def search_settings(
    context: typer.Context,
    space: SearchSpace | None,
    *,
    strategy: str,
    evaluator: str = "",
    preset: str,
    recipe: str | None,
    epochs: int | None,
    config: Iterable[str] | None,
) -> SearchSettings:
    """The settings of a search from the options of a command: those that were given, over files, over defaults.

    Raises NasError N1021 where a file was made for another space, and like
    :func:`~nasdsl.searching.settings.settings_for`.
    """
    from nasdsl.searching import settings_for

    entries, assignments = configuration(config)
    for entry in entries:
        if entry.key == "strategy" and not was_given(context, "strategy"):
            strategy = str(entry.value)
        if entry.key == "evaluator" and not was_given(context, "evaluator"):
            evaluator = str(entry.value)
        if entry.key == "space" and space is not None and entry.value not in ("", space.name):
            raise failure(
                "N1021",
                f"this configuration is for the space `{entry.value}`, not for `{space.name}`",
                "take the line out, or name that space",
                entry.span,
            )
    chosen = context.params
    own = data_entries(chosen.get("task"), chosen.get("data"), chosen.get("target"))
    given: dict[str, Any] = {
        name: str(value) if isinstance(value, StrEnum) else value
        for name, value in context.params.items()
        if name in ("task", "seed", "device", "precision", "evaluations") and was_given(context, name)
    }
    if own:
        given.pop("task", None)  # it named a kind of data
    if space is not None:
        given |= {"space": space.name, "parameters": plain(space.parameters)}
    return settings_for(
        strategy,
        evaluator=evaluator,
        preset=preset,
        recipe=recipe or "",
        entries=entries,
        epochs=epochs,
        assignments=[*own, *assignments],
        **given,
    )


def data_entries(task: str | None, data: str | None, target: str | None) -> list[str]:
    """The assignments that ``--task``, ``--data`` and ``--target`` stand for, where there is data of the user's own.

    Raises NasError N910 and N918 where they don't go together.
    """
    from nasdsl.training.data.build import named

    found = named(task, data) | ({"target": target} if target else {})
    return [f"data.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in found.items()]


def task_of(context: typer.Context, config: Iterable[str] | None, name: str, recorded: DataSettings) -> Task:
    """The task that ``--task``, ``--data``, ``--target`` and the entries ``data.…`` of ``-c`` describe, over the one of a
    run or a stored network. Other data, or data cut in another way, is not held against what was recorded.

    Raises NasError N910, N915 to N918, N920 to N922, and what the readers of data raise.
    """
    from nasdsl.training.config import override, put
    from nasdsl.training.data.build import task_for
    from nasdsl.training.data.settings import DataSettings

    entries, assignments = configuration(config)
    path, target = context.params.get("data"), context.params.get("target")
    task = said(context, "task", config, name)
    own = data_entries(task if path and was_given(context, "task") else None, path, target)
    from_files = [replace(e, key=e.key[5:]) for e in entries if e.key.startswith("data.")]
    given = [text for text in (*own, *assignments) if text.startswith("data.")]
    settings = DataSettings() if path or task != name else recorded
    if given or from_files:
        settings = settings.model_copy(update={"fingerprint": "", "split": ""})
        settings = override(put(settings, from_files), [text.removeprefix("data.") for text in given])
    return task_for(name if path or task is None else str(task), settings)


def parameters_of_files(config: Iterable[str] | None) -> dict[str, Rational]:
    """The parameters of a space that the files of ``-c`` set (``parameters = { width = 8 }``)."""
    entries, _ = configuration(config)
    found: list[str] = []
    for entry in entries:
        table, _, name = entry.key.partition(".")
        if table == "parameters" and name:
            found.append(f"{name}={entry.value}")
    return options.parameters(
        dict.fromkeys(found), option="parameters", example="parameters = { width = 32 }"
    )


def training_recipe(
    base: Recipe, *, recipe: str | None, epochs: int | None, config: Iterable[str] | None
) -> Recipe:
    """How a network is trained: the recipe of a run or a published one, over it files, ``--epochs`` and single entries.

    A file is a recipe alone, or a whole configuration, of which the table ``training`` is read.
    """
    from nasdsl.searching import SearchSettings
    from nasdsl.training.config import override, put
    from nasdsl.training.recipes import published

    entries, assignments = configuration(config)
    found = published(recipe) if recipe else base
    of_searches = SearchSettings.model_fields.keys() - {"training"}
    taken = [
        replace(entry, key=entry.key.removeprefix("training."))
        for entry in entries
        if entry.key.partition(".")[0] not in of_searches
    ]
    found = put(found, taken)
    if epochs is not None:
        found = found.lasting(epochs)
    ours = [text.removeprefix("training.") for text in assignments if not text.startswith("data.")]
    return override(found, ours)


def optimisations(config: Iterable[str] | None) -> Optimisations:
    """The switches that ``-c`` sets: the table ``optimise`` of files, and entries such as ``optimise.recompute=true``.

    Raises NasError N920 to N923.
    """
    from pydantic import create_model

    from nasdsl.searching.optimise import OptimiseSettings, switches
    from nasdsl.training.config import Config, override, put

    usual = OptimiseSettings()
    alone: Any = create_model("Alone", __base__=Config, optimise=(OptimiseSettings, usual))
    entries, assignments = configuration(config)
    of_files = put(alone(), [entry for entry in entries if entry.key.startswith("optimise.")])
    return switches(override(of_files, assignments).optimise)


def said(context: typer.Context, name: str, config: Iterable[str] | None, otherwise: Any = None) -> Any:
    """An option that was given, else what the files of ``-c`` say, else ``otherwise``, else its default."""
    if was_given(context, name):
        return context.params[name]
    entries, _ = configuration(config)
    for entry in reversed(entries):
        if entry.key == name:
            return entry.value
    return context.params[name] if otherwise is None else otherwise
