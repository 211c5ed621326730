"""One algorithm for counting, sampling and extremes over all genotypes of a space.

A space's genotypes are the assignments of its choices' variables that satisfy a set of constraints, each a decision
diagram: that a choice which exists takes a permitted candidate, that one which doesn't is left alone, and every
``require``. The solver decides one variable after another, puts the decision into what is left, and splits what is
left into parts that share no variable; these are independent, so their counts multiply and their extremes add. Equal
parts are solved once. It is the component caching of #SAT solvers (Sang et al., 2004), over diagrams.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import inf
from typing import Any

from nasdsl.space.diagram import Diagram, Diagrams

Part = tuple[tuple[Diagram, ...], frozenset[int]]


class OverBudget(Exception):
    """More parts than the budget allows: the space is entangled beyond exact treatment."""


class Solver:
    """``terms`` are numbers whose sum is to be made extreme; for counting there are none.

    ``solved`` says how much of the budget was spent, in parts.
    """

    def __init__(
        self,
        table: Diagrams,
        arities: Sequence[int],
        constraints: Sequence[Diagram],
        terms: Sequence[Diagram] = (),
        budget: int = 1_000_000,
    ) -> None:
        self.table = table
        self.arities = arities
        self.constraints = tuple(constraints)
        self.terms = tuple(terms)
        self.budget = budget
        self._counts: dict[Any, int] = {}
        self.solved = 0

    # --- counting ------------------------------------------------------------------------------

    def count(self) -> int:
        """How many assignments satisfy the constraints. Raises :class:`OverBudget`."""
        return self.count_of(self.constraints, frozenset(range(len(self.arities))))

    def count_of(self, diagrams: Sequence[Diagram], variables: frozenset[int]) -> int:
        """How many assignments of these variables satisfy the diagrams. Raises :class:`OverBudget`."""
        parts, free, possible = self._split(diagrams, variables)
        if not possible:
            return 0
        total = 1
        for variable in free:
            total *= self.arities[variable]
        for part in parts:
            total *= self._count(part)
            if total == 0:
                return 0
        return total

    def _count(self, part: Part) -> int:
        diagrams, variables = part
        key = (tuple(map(id, diagrams)), variables)
        found = self._counts.get(key)
        if found is None:
            self._spend()
            variable = min(variables)
            rest = variables - {variable}
            found = sum(
                self.count_of([self.table.restrict(d, variable, case) for d in diagrams], rest)
                for case in range(self.arities[variable])
            )
            self._counts[key] = found
        return found

    def _spend(self) -> None:
        self.solved += 1
        if self.solved > self.budget:
            raise OverBudget

    def _split(
        self, diagrams: Sequence[Diagram], variables: frozenset[int]
    ) -> tuple[list[Part], list[int], bool]:
        """Independent parts, the variables that nothing asks, and whether all can still be satisfied."""
        group: dict[int, int] = {}

        def find(v: int) -> int:
            while group[v] != v:
                group[v] = group[group[v]]
                v = group[v]
            return v

        live: list[Diagram] = []
        seen: set[int] = set()
        for diagram in diagrams:
            if diagram.is_leaf:
                if diagram is self.table.false:
                    return [], [], False
                continue
            if id(diagram) in seen:
                continue
            seen.add(id(diagram))
            live.append(diagram)
            first = -1
            for variable in diagram.support():
                if variable not in group:
                    group[variable] = variable
                if first < 0:
                    first = find(variable)
                else:
                    group[find(variable)] = first
        members: dict[int, tuple[list[Diagram], set[int]]] = {}
        for variable in group:
            members.setdefault(find(variable), ([], set()))[1].add(variable)
        for diagram in live:
            members[find(diagram.variable)][0].append(diagram)
        parts = [(tuple(sorted(ds, key=id)), frozenset(vs)) for ds, vs in members.values()]
        return parts, [v for v in variables if v not in group], True

    # --- extremes ------------------------------------------------------------------------------

    def extreme(self, sign: int) -> tuple[Any, dict[int, int]] | None:
        """The largest (``sign`` 1) or smallest (-1) sum of the terms, with an assignment that reaches it.

        None where nothing satisfies the constraints. Raises :class:`OverBudget`.

        One variable after another, from the last to the first, is taken out: the terms that ask it are added up, and
        the best of its cases becomes a term over the others (bucket elimination, Dechter 1999).
        """
        impossible = -sign * inf
        best = max if sign > 0 else min
        total: Any = 0
        buckets: list[list[Diagram]] = [[] for _ in self.arities]

        def put(term: Diagram) -> None:
            nonlocal total
            if term.is_leaf:
                total += term.value
            else:
                buckets[max(term.support())].append(term)

        for term in self.terms:
            put(term)
        for constraint in self.constraints:
            put(self.table.choose(constraint, self.table.leaf(0), self.table.leaf(impossible)))
        taken_out: list[tuple[int, Diagram]] = []
        for variable in reversed(range(len(self.arities))):
            joined = self.table.leaf(0)
            for term in buckets[variable]:
                joined = self.table.map(_add, joined, term)
                self.solved += len(joined.support())
                if self._size(joined) > self.budget or self.solved > 50 * self.budget:
                    raise OverBudget
            taken_out.append((variable, joined))
            put(
                self.table.map(
                    best, *(self.table.restrict(joined, variable, c) for c in range(self.arities[variable]))
                )
            )
        if total == impossible:
            return None
        assignment: dict[int, int] = {}
        for variable, joined in reversed(taken_out):
            values = [
                self.table.restrict(joined, variable, case).at(assignment)
                for case in range(self.arities[variable])
            ]
            assignment[variable] = values.index(best(values))
        return total, assignment

    @staticmethod
    def _size(diagram: Diagram) -> int:
        """How many nodes a diagram has."""
        seen = {id(diagram)}
        stack = [diagram]
        while stack:
            for case in stack.pop().cases:
                if id(case) not in seen:
                    seen.add(id(case))
                    stack.append(case)
        return len(seen)

    # --- sampling ------------------------------------------------------------------------------

    def sample(self, generator: random.Random) -> dict[int, int]:
        """An assignment, each that satisfies the constraints as likely as any other."""
        taken: dict[int, int] = {}
        stack: list[tuple[Sequence[Diagram], frozenset[int]]] = [
            (self.constraints, frozenset(range(len(self.arities))))
        ]
        while stack:
            diagrams, variables = stack.pop()
            parts, free, possible = self._split(diagrams, variables)
            assert possible
            for variable in sorted(free):
                taken[variable] = generator.randrange(self.arities[variable])
            for part_diagrams, part_variables in parts:
                variable = min(part_variables)
                rest = part_variables - {variable}
                below = [
                    [self.table.restrict(d, variable, case) for d in part_diagrams]
                    for case in range(self.arities[variable])
                ]
                weights = [self.count_of(ds, rest) for ds in below]
                case = _draw(weights, generator)
                taken[variable] = case
                stack.append((below[case], rest))
        return taken


def _draw(weights: Sequence[int], generator: random.Random) -> int:
    """An index, with exact probabilities: the counts exceed what floats can hold."""
    at = generator.randrange(sum(weights))
    for index, weight in enumerate(weights):
        if at < weight:
            return index
        at -= weight
    raise AssertionError


def _add(a: Any, b: Any) -> Any:
    return a + b
