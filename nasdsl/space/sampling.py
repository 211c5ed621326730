"""Sampling by the hundred thousand: a stream of genotypes, or an array of assignments with no genotype made at all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nasdsl.space.choice import Genotype
from nasdsl.space.diagram import Diagram

if TYPE_CHECKING:
    import numpy as np

    from nasdsl.space.space import Space

    Assignments = np.ndarray[tuple[int, int], Any]


def is_flat(space: Space) -> bool:
    """Whether every choice is of one candidate, exists everywhere, and rests on nothing."""
    free = not space.constraints and not space.limits
    return free and all(c.guard is space.table.true and not c.is_sublist for c in space.choices)


def samples(space: Space, seed: int) -> Iterator[Genotype]:
    """Genotypes without end, each as :meth:`~nasdsl.space.space.Space.sample` draws one, from one generator."""
    generator = random.Random(seed)
    if not is_flat(space):
        while True:
            yield space.sample(generator.getrandbits(63))
    draw = generator.random
    columns = [(choice.name, choice.labels, len(choice.labels)) for choice in space.choices]
    while True:
        yield Genotype({name: labels[int(draw() * count)] for name, labels, count in columns})


def sample_indices(space: Space, n: int, seed: int) -> Assignments:
    """Assignments of n architectures [n, variables]: the case of each variable, 0 where its choice doesn't exist.

    A choice of one candidate has one variable, with a case a candidate; a sub-list has one a candidate, whose case 1
    says that it is in. Row i is made a genotype by :meth:`~nasdsl.space.space.Space.genotype_of`. Uniform choice by
    choice over what the constraints permit. Without constraints, limits and bounded sub-lists all is done by numpy,
    some ten million architectures a second; else as fast as genotypes are sampled.

    >>> from nasdsl.pipeline import loads
    >>> space = loads("space s() { input x: [4] return choose { a: x, b: relu(x), c: tanh(x) } }")
    >>> rows = sample_indices(space, 5, seed=0)
    >>> rows.shape, [space.genotype_of(row) in list(space.neighbours(space.sample(0))) + [space.sample(0)] for row in rows]
    ((5, 1), [True, True, True, True, True])
    """
    import numpy as np

    bounded = any(c.is_sublist and (c.low, c.high) != (0, len(c.labels)) for c in space.choices)
    kind = np.min_scalar_type(max(space.arities, default=1))
    if space.constraints or space.limits or bounded:
        rows = [space.assignment(genotype) for genotype in space.sample(seed, n)]
        return np.array(rows, dtype=kind).reshape(n, len(space.arities))
    generator = np.random.default_rng(seed)
    found = np.empty((n, len(space.arities)), dtype=kind)
    # Columns with as many cases are drawn together: that is a third faster than one by one.
    for arity in sorted(set(space.arities)):
        columns = [variable for variable, a in enumerate(space.arities) if a == arity]
        drawn = generator.integers(arity, size=(n, len(columns)), dtype=kind)
        if len(columns) == found.shape[1]:
            found = drawn
        else:
            found[:, columns] = drawn
    for choice in space.ordered_choices:
        if choice.guard is not space.table.true:
            there = _holds(choice.guard, found, {})
            for variable in choice.variables:
                found[:, variable] *= there
    return found


def _holds(guard: Diagram, rows: Assignments, known: dict[int, Any]) -> Any:
    """Where a guard holds [n]."""
    import numpy as np

    if guard.is_leaf:
        return np.full(len(rows), bool(guard.value))
    found = known.get(id(guard))
    if found is None:
        cases = np.stack([_holds(case, rows, known) for case in guard.cases])
        found = known[id(guard)] = cases[rows[:, guard.variable], np.arange(len(rows))]
    return found
