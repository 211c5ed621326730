"""A genotype as somebody gives it, checked against its space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nasdsl.diagnostics import Diagnostic, NasError, did_you_mean, failure
from nasdsl.space.choice import Choice, Genotype, Taken
from nasdsl.space.conditions import guard_text

if TYPE_CHECKING:
    from nasdsl.space.space import Space

Entries = Mapping[str, Taken | Sequence[str]]


def read_genotype(space: Space, entries: Entries) -> Genotype:
    """The genotype that entries say, in the order of the space. Raises NasError N801 to N806 with all that is wrong."""
    problems = _strange_names(space, entries)
    assignment = [0] * len(space.arities)
    taken: dict[str, Taken] = {}
    for choice in space.ordered_choices:
        found = _problems(space, choice, entries, choice.guard.at(assignment))
        problems += found
        if found or choice.name not in entries:
            continue
        taken[choice.name] = in_order(choice, entries[choice.name])
        for variable, case in choice.cases(taken[choice.name]):
            assignment[variable] = case
    if problems:
        raise NasError(*problems)
    genotype = Genotype({choice.name: taken[choice.name] for choice in space.choices if choice.name in taken})
    if not space.permits(genotype):
        raise failure(
            "N806",
            f"this architecture breaks a `require` of `{space.name}`",
            "sample one with `nasdsl sample`",
        )
    return genotype


def in_order(choice: Choice, given: Taken | Sequence[str]) -> Taken:
    """The candidates that are given, those of a sub-list in the order of the choice."""
    return given if isinstance(given, str) else tuple(label for label in choice.labels if label in given)


def _strange_names(space: Space, entries: Entries) -> list[Diagnostic]:
    """The entries that are no choices of the space. Raises NasError N801 where most of them are none."""
    known = dict.fromkeys(choice.name for choice in space.choices)
    strange = [name for name in entries if name not in known]
    if len(strange) > 1 and 2 * len(strange) > len(entries):
        raise failure(
            "N801",
            f"this genotype isn't of the space `{space.name}`: {len(strange)} of its {len(entries)} choices are "
            "unknown there",
            f"it names {_first_three(strange)}, and the space has {_first_three(list(known))}"
            if known
            else "the space has no choices",
        )
    return [
        Diagnostic("N801", f"the space `{space.name}` has no choice `{name}`", help=did_you_mean(name, known))
        for name in strange
    ]


def _first_three(names: Sequence[str]) -> str:
    return f"{', '.join(f'`{name}`' for name in names[:3])}{', …' if len(names) > 3 else ''}"


def _problems(space: Space, choice: Choice, entries: Entries, exists: bool) -> list[Diagnostic]:
    """What is wrong with the entry of a choice, which ``exists`` after what was taken before or not."""
    name = choice.name
    if not exists:
        if name not in entries:
            return []
        help = f"it exists where {guard_text(space.choices, choice.guard)}: take it out"
        return [Diagnostic("N803", f"the choice `{name}` does not exist in this architecture", help=help)]
    if name not in entries:
        labels = ", ".join(choice.labels[:8]) + (", …" if len(choice.labels) > 8 else "")
        return [Diagnostic("N802", f"the choice `{name}` is missing", help=f"its candidates are {labels}")]
    return wrong_labels(choice, entries[name])


def wrong_labels(choice: Choice, given: Taken | Sequence[str]) -> list[Diagnostic]:
    """What is wrong with the candidates that are given for a choice."""
    name = choice.name
    if isinstance(given, str) == choice.is_sublist:
        shape = f"a list of {choice.pick} labels" if choice.is_sublist else "one label"
        return [Diagnostic("N805", f"the choice `{name}` takes {shape}, and this is {given!r}")]
    wanted = [given] if isinstance(given, str) else list(given)
    unknown = [
        Diagnostic(
            "N804",
            f"`{label}` is no candidate of `{name}`",
            help=did_you_mean(str(label), choice.labels) or f"its candidates are {', '.join(choice.labels)}",
        )
        for label in wanted
        if label not in choice.labels
    ]
    if unknown or choice.low is None or choice.high is None:
        return unknown
    if len(set(wanted)) != len(wanted) or not choice.low <= len(wanted) <= choice.high:
        words = f"the choice `{name}` takes {choice.pick} different labels, and this is {wanted}"
        return [Diagnostic("N805", words)]
    return []
