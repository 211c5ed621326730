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
from typing import Any

from nasdsl.space.diagram import Diagram, Diagrams

Part = tuple[tuple[Diagram, ...], frozenset[int]]


class OverBudget(Exception):
    """More parts than the budget allows: the space is entangled beyond exact treatment."""


class Solver:
    """``terms`` are numbers whose sum is to be made extreme; for counting there are none."""

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
        self._bests: dict[Any, Any] = {}
        self._solved = 0

    # --- counting ------------------------------------------------------------------------------

    def count(self) -> int:
        """How many assignments satisfy the constraints. Raises :class:`OverBudget`."""
        return self._count_all(self.constraints, frozenset(range(len(self.arities))))

    def _count_all(self, diagrams: Sequence[Diagram], variables: frozenset[int]) -> int:
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
                self._count_all([self.table.restrict(d, variable, case) for d in diagrams], rest)
                for case in range(self.arities[variable])
            )
            self._counts[key] = found
        return found

    def _spend(self) -> None:
        self._solved += 1
        if self._solved > self.budget:
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
        parts = [
            (tuple(sorted(ds, key=id)), frozenset(vs)) for ds, vs in members.values()
        ]
        return parts, [v for v in variables if v not in group], True

    # --- extremes ------------------------------------------------------------------------------

    def extreme(self, sign: int) -> tuple[Any, dict[int, int]] | None:
        """The largest (``sign`` 1) or smallest (-1) sum of the terms, with an assignment that reaches it.

        None where nothing satisfies the constraints. Raises :class:`OverBudget`.
        """
        base = sum(d.value for d in self.terms if d.is_leaf)
        terms = [d for d in self.terms if not d.is_leaf]
        found = self._extreme_all(
            (*self.constraints, *terms), frozenset(range(len(self.arities))), sign
        )
        return None if found is None else (base + found[0], found[1])

    def _extreme_all(
        self, diagrams: Sequence[Diagram], variables: frozenset[int], sign: int
    ) -> tuple[Any, dict[int, int]] | None:
        total: Any = 0
        inner: list[Diagram] = []
        # The same term may stand several times: weigh it instead of losing it.
        weights: dict[int, int] = {}
        for diagram in diagrams:
            if diagram.is_leaf:
                if diagram is self.table.false:
                    return None
                if not isinstance(diagram.value, bool):
                    total += diagram.value
            else:
                weights[id(diagram)] = weights.get(id(diagram), 0) + 1
                if weights[id(diagram)] == 1:
                    inner.append(diagram)
        for i, diagram in enumerate(inner):
            if weights[id(diagram)] > 1 and not isinstance(diagram.leaves()[0], bool):
                inner[i] = self.table.map(_times(weights[id(diagram)]), diagram)
        parts, free, _ = self._split(inner, variables)
        taken = dict.fromkeys(free, 0)
        for part in parts:
            found = self._extreme(part, sign)
            if found is None:
                return None
            total += found[0]
            taken.update(found[1])
        return total, taken

    def _extreme(self, part: Part, sign: int) -> tuple[Any, dict[int, int]] | None:
        diagrams, variables = part
        key = (tuple(map(id, diagrams)), variables, sign)
        if key in self._bests:
            found: tuple[Any, dict[int, int]] | None = self._bests[key]
            return found
        self._spend()
        variable = min(variables)
        rest = variables - {variable}
        best: tuple[Any, dict[int, int]] | None = None
        for case in range(self.arities[variable]):
            below = self._extreme_all(
                [self.table.restrict(d, variable, case) for d in diagrams], rest, sign
            )
            if below is not None and (best is None or sign * below[0] > sign * best[0]):
                best = (below[0], {variable: case, **below[1]})
        self._bests[key] = best
        return best

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
                weights = [self._count_all(ds, rest) for ds in below]
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


_TIMES: dict[int, Any] = {}


def _times(factor: int) -> Any:
    if factor not in _TIMES:
        _TIMES[factor] = lambda value: value * factor
    return _TIMES[factor]


