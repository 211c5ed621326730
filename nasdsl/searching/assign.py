"""From decisions, choice by choice, to a genotype: guards are followed in elaboration order."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

from nasdsl.space.architecture import ZEROS, Architecture
from nasdsl.space.choice import Choice, Genotype, Taken
from nasdsl.space.space import Space
from nasdsl.training.seeds import derive


def follow(space: Space, decide: Callable[[Choice], tuple[int, ...]]) -> tuple[Genotype, list[int]]:
    """Asks ``decide`` for each choice that exists, given what its guard asks, and gives genotype and assignment.

    ``decide`` answers with positions of candidates: one, or those of a sub-list. It may answer with more of a sub-list
    than the space allows: then what comes back is a relaxed assignment, and no genotype of the space.
    """
    assignment = [0] * len(space.arities)
    for choice in space.ordered_choices:
        if not choice.guard.at(assignment):
            continue
        taken = decide(choice)
        if choice.is_sublist:
            for position in taken:
                assignment[choice.variables[position]] = 1
        else:
            (position,) = taken
            assignment[choice.variables[0]] = position
    return space.genotype_of(assignment), assignment


def permitted(space: Space, assignment: list[int]) -> bool:
    """Whether every ``require`` over choices holds."""
    return all(constraint.at(assignment) for constraint in space.constraints)


def is_connected(architecture: Architecture) -> bool:
    """Whether every output depends on an input: a tensor of zeros takes no more than sizes from what it reads."""
    reached: set[int] = set()
    for step in architecture.steps:
        if step.operation == "input" or (
            step.operation != ZEROS and any(id in reached for id in step.inputs)
        ):
            reached.add(step.id)
    return all(id in reached for _, id in architecture.outputs)


def sample_connected(space: Space, count: int, seed: int, tries: int = 1000) -> list[Genotype]:
    """Random genotypes, all different, whose outputs depend on the input; fewer where ``tries`` don't give as many."""
    found: dict[str, Genotype] = {}
    for attempt in range(tries):
        if len(found) == count:
            break
        genotype = space.sample(derive(seed, "connected", attempt))
        if genotype.text not in found and is_connected(space.architecture(genotype)):
            found[genotype.text] = genotype
    return list(found.values())


# --- from strengths to a genotype ---------------------------------------------------------------------


def derived(
    space: Space, strengths: Mapping[str, Sequence[float]], nested: Collection[str], *, seed: int, tries: int
) -> Genotype | None:
    """The strongest candidate of each choice; where that is not in the space, the likeliest of ``tries`` genotypes
    drawn from it with ``seed``.

    Of a sub-list in ``nested`` (searched with every candidate on) the k strongest are taken, of any other those with a
    strength, a probability of being in, above one half.
    """

    def decide(choice: Choice) -> tuple[int, ...]:
        strength = strengths[choice.name]
        if not choice.is_sublist:
            return (max(range(len(strength)), key=strength.__getitem__),)
        if choice.name in nested:
            assert choice.low is not None
            order = sorted(range(len(strength)), key=lambda i: -strength[i])
            return tuple(sorted(order[: choice.low]))
        return within_bounds(choice, [p - 0.5 for p in strength])

    genotype, _ = follow(space, decide)
    if space.permits(genotype):
        return genotype
    drawn = space.sample(seed, tries)
    return max(drawn, key=lambda g: log_likelihood(space, strengths, g), default=None)


def log_likelihood(
    space: Space, strengths: Mapping[str, Sequence[float]], genotype: Mapping[str, Taken]
) -> float:
    """That of the candidates taken, and of those of sub-lists that were not, each drawn on its own."""
    total = 0.0
    for name, value in genotype.items():
        choice = space.choice(name)
        taken = positions(choice, value)
        total += sum(_log(strengths[name][i]) for i in taken)
        if choice.is_sublist:
            total += sum(_log(1 - p) for i, p in enumerate(strengths[name]) if i not in taken)
    return total


def _log(p: float) -> float:
    return math.log(p) if p > 0 else -math.inf


def nested_choices(space: Space, sublist: Choice) -> list[str] | None:
    """For each candidate of a sub-list the choice directly under it, or None where one has none.

    A choice is under a candidate if its guard can't hold without it, and directly so if its guard asks nothing that is
    itself under it; of several the first.
    """
    found: list[str] = []
    for variable in sublist.variables:
        under_it: list[Choice] = []
        inner_variables: set[int] = set()
        for choice in space.choices[sublist.index + 1 :]:
            support = choice.guard.support()
            if variable not in support:
                continue
            if space.table.restrict(choice.guard, variable, 0) is not space.table.false:
                continue
            if not support & inner_variables and not choice.is_sublist:
                under_it.append(choice)
            inner_variables.update(choice.variables)
        if not under_it:
            return None
        found.append(under_it[0].name)
    return found


def within_bounds(choice: Choice, margins: Sequence[float]) -> tuple[int, ...]:
    """The candidates of a sub-list with a positive margin; the largest ones where bounds ask for more or fewer."""
    assert choice.low is not None and choice.high is not None
    order = sorted(range(len(margins)), key=lambda i: -margins[i])
    wanted = sum(margin > 0 for margin in margins)
    return tuple(sorted(order[: min(max(wanted, choice.low), choice.high)]))


def positions(choice: Choice, value: Taken) -> tuple[int, ...]:
    """Where what a choice took stands among its candidates."""
    labels = value if isinstance(value, tuple) else (value,)
    return tuple(choice.labels.index(label) for label in labels)
