"""Which candidates of which choices are fixed, and what is left of a space then."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from nasdsl.diagnostics import Diagnostic, NasError, failure
from nasdsl.space.choice import Choice, Taken
from nasdsl.space.diagram import Diagram
from nasdsl.space.diff import translated
from nasdsl.space.given import in_order, wrong_labels
from nasdsl.space.solve import OverBudget, Solver
from nasdsl.space.space import Space


class Decisions:
    """``taken`` has what is fixed by the index of its choice, ``variables`` the same by variable: the case of each.

    Raises NasError for what is no choice or no candidate (N801, N804, N805).
    """

    def __init__(self, space: Space, fixed: Mapping[str, Taken]) -> None:
        self.space = space
        self.taken = _checked_all(space, fixed)
        self.variables = _variables(space, self.taken)
        self._cases = _Cases(space, self.variables)
        self._restricted: dict[int, Diagram] = {}

    def count(self) -> int:
        """How many architectures take these candidates wherever they have the choice.

        Raises NasError N502 where that can't be counted exactly.
        """
        try:
            return self._solver().count()
        except OverBudget:
            raise failure(
                "N502",
                f"the choices of `{self.space.name}` are too entangled to be counted exactly",
                "fix more of them",
            ) from None

    def assignment(self) -> dict[int, int]:
        """The cases of all variables, where the decisions leave one architecture."""
        return self._solver().sample(random.Random(0))

    def _solver(self) -> Solver:
        """What the space asks of an assignment, and the decisions, wherever their choice exists."""
        space, table = self.space, self.space.table
        owner = {v: choice for choice in space.choices for v in choice.variables}
        rules = list(space.rules)
        for variable, case in self.variables.items():
            takes = table.equals(variable, case, space.arities[variable])
            rules.append(table.choose(owner[variable].guard, takes, table.true))
        return Solver(table, space.arities, rules)

    def restricted(self, guard: Diagram) -> Diagram:
        """A guard over the choices that stay open."""
        return translated(guard, self.space.table, self._cases, self._restricted)

    def may_hold(self, guard: Diagram) -> bool:
        """Whether a guard holds in some architecture that takes these candidates."""
        return self.restricted(guard) is not self.space.table.false

    def open_choices(self) -> list[Choice]:
        """The choices that are left: not fixed, and not ruled out by what is."""
        return [c for c in self.space.choices if c.index not in self.taken and self.may_hold(c.guard)]


def _checked_all(space: Space, fixed: Mapping[str, Taken]) -> dict[int, Taken]:
    problems: list[Diagnostic] = []
    decided: dict[int, Taken] = {}
    for name, taken in fixed.items():
        try:
            choice = space.choice(name)
        except NasError as error:
            problems += error.diagnostics
            continue
        problems += wrong_labels(choice, taken)
        decided[choice.index] = in_order(choice, taken)
    if problems:
        raise NasError(*problems)
    return decided


def _variables(space: Space, decided: Mapping[int, Taken]) -> dict[int, int]:
    found: dict[int, int] = {}
    for index, taken in decided.items():
        found.update(space.choices[index].cases(taken))
    return found


class _Cases(Mapping[int, Sequence[Diagram]]):
    """The cases of each variable in the space's own table, where some are fixed."""

    def __init__(self, space: Space, fixed: Mapping[int, int]) -> None:
        self.space = space
        self.fixed = fixed

    def __getitem__(self, variable: int) -> list[Diagram]:
        table, arity = self.space.table, self.space.arities[variable]
        if variable in self.fixed:
            return [table.true if case == self.fixed[variable] else table.false for case in range(arity)]
        return [table.equals(variable, case, arity) for case in range(arity)]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.space.arities)))

    def __len__(self) -> int:
        return len(self.space.arities)
