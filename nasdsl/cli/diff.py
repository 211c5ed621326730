"""``nasdsl diff``: what one space has and another has not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasdsl.cli import errors, options
from nasdsl.cli.spaces import load_space
from nasdsl.diagnostics import NasError
from nasdsl.diagnostics.quantities import grouped

if TYPE_CHECKING:
    from nasdsl.space.choice import Choice
    from nasdsl.space.diff import Change, Difference
    from nasdsl.space.space import Space

TROUBLE = 2
"""As with `diff`: 0 says that they are the same, 1 that they differ, 2 that they could not be compared."""

LABELS = 12
NAMES = 4
"""More candidates, and more choices with the same ones, are cut short for people; ``--json`` has all."""


def command(
    before: Annotated[
        str, typer.Argument(metavar="A", help="A .nas file, or a space that ships.", show_default=False)
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one.", show_default=False)],
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Tell which choices, candidates and architectures one space has and another has not, with exact counts.

    Choices are matched by their names and candidates by their labels. Ends with 0 where the spaces are the same, with 1
    where they differ and with 2 where they can't be compared. `--set` and `--space` hold for both.

    Examples:

        nasdsl diff darts mine.nas
        nasdsl diff old.nas new.nas --json
    """
    from nasdsl.space.diff import compare

    try:
        a = load_space(before, settings, space_name, limits)
        b = load_space(after, settings, space_name, limits)
        found = compare(a, b)
    except NasError as fault:
        errors.report(fault)
        raise typer.Exit(TROUBLE) from None
    if as_json:
        print(json.dumps(as_data(found, a, b), indent=2, ensure_ascii=False))
    else:
        print("\n".join(as_text(found, a, b, before, after)))
    if not found.is_empty:
        raise typer.Exit(errors.MENDABLE)


def as_text(found: Difference, a: Space, b: Space, before: str, after: str) -> Iterator[str]:
    """The difference for people."""
    from nasdsl.space.diff import only_in

    if found.is_empty:
        yield f"the same: {grouped(found.both)} architectures"
        return
    yield from _choices("-", found.lost)
    yield from _choices("+", found.gained)
    for change in found.changed:
        yield f"~ choice {change.name}: {'; '.join(_change(change))}"
    if found.lost or found.gained or found.changed:
        yield ""
    part = found.part
    common = part.count if part else found.both
    rows = [
        ("", before, found.before),
        ("", after, found.after),
        ("=", f"in both, with {part}" if part else "in both", common),
        ("-", "only in the first", found.before - common),
        ("+", "only in the second", found.after - common),
    ]
    width = max(len(name) for _, name, _ in rows)
    digits = max(len(grouped(count)) for *_, count in rows)
    for sign, name, count in rows:
        yield f"{sign or ' '} {name:<{width}}  {grouped(count):>{digits}}"
    if found.networks is False:
        yield "the genotypes are the same, but not the networks that they stand for"
    if part:
        of, what = (before, after) if part.of_first else (after, before)
        yield f"{what} is {of} with {part}: the same networks, whose genotypes don't name what is fixed"
        return
    if found.unmatched:
        names = ", ".join(f"`{choice.name}`" for choice in found.unmatched[:NAMES])
        names += ", …" if len(found.unmatched) > NAMES else ""
        yield f"no genotype is in both, as only one of them has {names}; whether they share networks is not known"
        yield "fix it with `nasdsl narrow` and compare again"
    for sign, wanted, one, other in (
        ("-", found.architectures_lost, a, b),
        ("+", found.architectures_gained, b, a),
    ):
        example = only_in(one, other) if wanted else None
        if example is not None:
            yield f"{sign} for example {example.text}"


def _choices(sign: str, choices: Sequence[Choice]) -> Iterator[str]:
    """A line for each set of candidates, with all choices that have it."""
    groups: dict[str, list[str]] = {}
    for choice in choices:
        groups.setdefault(_candidates(choice), []).append(choice.name)
    for candidates, names in groups.items():
        listed = ", ".join(names[:NAMES]) + (", …" if len(names) > NAMES else "")
        what = "choice" if len(names) == 1 else f"{len(names)} choices"
        yield f"{sign} {what} {listed}: {candidates}"


def _candidates(choice: Choice) -> str:
    labels = " | ".join(choice.labels[:LABELS]) + (" | …" if len(choice.labels) > LABELS else "")
    return f"{choice.pick} of {labels}" if choice.is_sublist else labels


def _change(change: Change) -> Iterator[str]:
    if change.lost:
        yield "- " + ", ".join(change.lost)
    if change.gained:
        yield "+ " + ", ".join(change.gained)
    if change.pick is not None:
        yield f"takes {change.pick[1]} instead of {change.pick[0]}"
    if change.where is not None:
        yield f"exists {_where(change.where[1])} instead of {_where(change.where[0])}"


def _where(condition: str | None) -> str:
    return "always" if condition is None else f"where {condition}"


def as_data(found: Difference, a: Space, b: Space) -> dict[str, Any]:
    """The difference for machines; counts are text, as they may be too large for numbers."""
    from nasdsl.space.diff import only_in

    lost = only_in(a, b) if found.architectures_lost else None
    gained = only_in(b, a) if found.architectures_gained else None
    return {
        "equal": found.is_empty,
        "choices": {
            "lost": [_choice(choice) for choice in found.lost],
            "gained": [_choice(choice) for choice in found.gained],
            "changed": [
                {
                    "name": change.name,
                    "lost": list(change.lost),
                    "gained": list(change.gained),
                    "pick": list(change.pick) if change.pick is not None else None,
                    "where": list(change.where) if change.where is not None else None,
                }
                for change in found.changed
            ],
        },
        "architectures": {
            "before": str(found.before),
            "after": str(found.after),
            "both": str(found.both),
            "lost": str(found.architectures_lost),
            "gained": str(found.architectures_gained),
        },
        "part": None
        if found.part is None
        else {
            "fixed": dict(found.part.fixed),
            "of": "before" if found.part.of_first else "after",
            "count": str(found.part.count),
        },
        "networks": {None: None, True: "equal", False: "different"}[found.networks],
        "examples": {
            "lost": None if lost is None else dict(lost),
            "gained": None if gained is None else dict(gained),
        },
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {"name": choice.name, "candidates": list(choice.labels), "pick": choice.pick}
