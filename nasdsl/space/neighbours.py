"""Small steps in a space: the neighbours of a genotype, and mutations. Every one of them is in the space."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from nasdsl.space.choice import Choice, Genotype, Taken

if TYPE_CHECKING:
    from nasdsl.space.space import Space


def alternatives(choice: Choice, taken: Taken) -> Iterator[Taken]:
    """What a choice could take instead: another candidate; of a sub-list one more, one less, or one exchanged."""
    if isinstance(taken, str):
        yield from (label for label in choice.labels if label != taken)
        return
    assert choice.low is not None and choice.high is not None
    inside = set(taken)
    outside = [label for label in choice.labels if label not in inside]

    def ordered(labels: set[str]) -> tuple[str, ...]:
        return tuple(label for label in choice.labels if label in labels)

    if len(inside) < choice.high:
        yield from (ordered(inside | {label}) for label in outside)
    if len(inside) > choice.low:
        yield from (ordered(inside - {label}) for label in taken)
    if choice.low == choice.high or len(inside) in (choice.low, choice.high):
        yield from (ordered(inside - {old} | {new}) for old, new in product(taken, outside))


def completed(space: Space, entries: dict[str, Taken], generator: random.Random) -> Genotype:
    """Entries without those whose choices no longer exist, and with what has come to exist drawn at random."""

    def take(choice: Choice) -> Taken:
        known = entries.get(choice.name)
        return space.draw(choice, generator) if known is None else known

    return space.taking(take)


def neighbours(space: Space, genotype: Genotype, seed: int = 0) -> list[Genotype]:
    """The genotypes that differ in one choice, in the space's order, without those that break a ``require``.

    Where the change brings other choices into existence, these are drawn with ``seed``.
    """
    generator = random.Random(seed)
    found = []
    for name, taken in genotype.items():
        for other in alternatives(space.choice(name), taken):
            neighbour = completed(space, {**genotype, name: other}, generator)
            if space.permits(neighbour):
                found.append(neighbour)
    return found


def mutate(space: Space, genotype: Genotype, generator: random.Random) -> Genotype:
    """One choice, drawn uniformly among those that exist, takes another candidate, drawn uniformly.

    The genotype itself where nothing else is permitted.
    """
    moves = [
        (name, other) for name, taken in genotype.items() for other in alternatives(space.choice(name), taken)
    ]
    by_choice: dict[str, list[Taken]] = {}
    for name, other in moves:
        by_choice.setdefault(name, []).append(other)
    while by_choice:
        name = generator.choice(list(by_choice))
        others = by_choice[name]
        other = others.pop(generator.randrange(len(others)))
        if not others:
            del by_choice[name]
        mutant = completed(space, {**genotype, name: other}, generator)
        if space.permits(mutant):
            return mutant
    return genotype
