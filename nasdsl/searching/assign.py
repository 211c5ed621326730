"""From decisions, choice by choice, to a genotype: guards are followed in elaboration order."""

from __future__ import annotations

from collections.abc import Callable

from nasdsl.space.architecture import ZEROS, Architecture
from nasdsl.space.choice import Choice, Genotype
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
