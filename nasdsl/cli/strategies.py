"""``nasdsl strategies``: who searches, what each can handle, and what can be set."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from nasdsl.cli import errors, options
from nasdsl.cli.spaces import load_space


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A strategy or an evaluator; without it, all are listed."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Only those that can search this space."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """List the search strategies and evaluators, or explain one with its options.

    A strategy that trains a supernet scores with it; any other wants an evaluator.

    Examples:

        nasdsl strategies
        nasdsl strategies gdas
        nasdsl strategies --space quickstart
        nasdsl strategies --json
    """
    from nasdsl.searching.about import evaluators, explained, strategies, unusable

    if name is not None:
        found = explained(name)
        print(json.dumps(found, indent=2) if as_json else page(found))
        return
    if broken := unusable():
        errors.show(broken)
    within = None if space is None else load_space(space, None, None, None)
    told: dict[str, Sequence[Mapping[str, Any]]] = {"strategies": strategies(within)}
    if within is None:
        told["evaluators"] = evaluators()
    if as_json:
        print(json.dumps(told, indent=2))
        return
    for title, entries in told.items():
        print(f"{title}\n")
        for line in table(entries):
            print(line)
        print()


def table(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line each: name, what is needed or can't be handled, and the first line of what it is."""
    width = max((len(entry["name"]) for entry in entries), default=0)
    for entry in entries:
        about = entry["summary"]
        notes = []
        if entry.get("wants_evaluator"):
            notes.append("wants an evaluator")
        if entry.get("cannot_handle"):
            notes.append(f"no {', no '.join(entry['cannot_handle'])}")
        yield f"  {entry['name']:<{width}}  {about}" + (f"  [{'; '.join(notes)}]" if notes else "")


def page(entry: Mapping[str, Any]) -> str:
    """All about one, as text."""
    parts = [f"{entry['name']}: {entry['kind']}", entry["text"]]
    if "handles" in entry:
        kinds = [f"  {kind:<13} {about}" for kind, about in entry["handles"].items()]
        parts.append("handles\n\n" + "\n".join(kinds))
    if entry.get("cannot_handle"):
        parts.append("can't handle\n\n  " + ", ".join(entry["cannot_handle"]))
    if entry.get("presets"):
        parts.append("presets (--preset)\n\n  " + ", ".join(entry["presets"]))
    if entry["options"]:
        parts.append(f"options (-c {entry['prefix']}.NAME=VALUE)\n\n" + "\n".join(_options(entry["options"])))
    return "\n\n".join(parts)


def _options(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for option in entries:
        values = f", one of {', '.join(option['values'])}" if "values" in option else ""
        yield f"  {option['name']} = {json.dumps(option['default'])}{values}"
        yield textwrap.indent(textwrap.fill(option["description"], 100), "      ")
