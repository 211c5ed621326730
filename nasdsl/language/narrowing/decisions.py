"""Which candidates of which choices are fixed or kept, and what is left of a space then."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nasdsl.diagnostics import Diagnostic, NasError, failure
from nasdsl.space.choice import Choice, Taken
from nasdsl.space.diagram import Diagram
from nasdsl.space.diff import translated
from nasdsl.space.given import in_order, wrong_labels
from nasdsl.space.solve import OverBudget, Solver
from nasdsl.space.space import Space


@dataclass(frozen=True)
class Kept:
    """The candidates that a choice keeps, of which it still takes one."""

    labels: tuple[str, ...]


Wish = Taken | Kept
"""What becomes of a choice: what it takes, or what it keeps."""


class Decisions:
    """``taken`` has what is fixed by the index of its choice, ``variables`` the same by variable: the case of each.
    ``kept`` has the candidates, two at least and not all, that a choice may still take, ``left`` their cases by variable.

    Raises NasError for what is no choice or no candidate (N801, N804, N805).
    """

    def __init__(self, space: Space, wishes: Mapping[str, Wish]) -> None:
        self.space = space
        self.taken, self.kept = _checked_all(space, wishes)
        self.variables = _variables(space, self.taken)
        self.left = {
            space.choices[index].variables[0]: [
                space.choices[index].labels.index(label) for label in kept.labels
            ]
            for index, kept in self.kept.items()
        }
        self._cases = _Cases(space, self.variables, self.left)
        self._restricted: dict[int, Diagram] = {}

    def count(self) -> int:
        """How many architectures take these candidates, or one of those, wherever they have the choice.

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
        for variable, cases in self.left.items():
            takes = table.false
            for case in cases:
                takes = table.either(takes, table.equals(variable, case, space.arities[variable]))
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

    def labels(self, choice: Choice) -> tuple[str, ...]:
        """The candidates that an open choice may still take."""
        kept = self.kept.get(choice.index)
        return choice.labels if kept is None else kept.labels


def _checked_all(space: Space, wishes: Mapping[str, Wish]) -> tuple[dict[int, Taken], dict[int, Kept]]:
    problems: list[Diagnostic] = []
    decided: dict[int, Taken] = {}
    kept: dict[int, Kept] = {}
    for name, wish in wishes.items():
        try:
            choice = space.choice(name)
        except NasError as error:
            problems += error.diagnostics
            continue
        if not isinstance(wish, Kept):
            problems += wrong_labels(choice, wish)
            decided[choice.index] = in_order(choice, wish)
            continue
        problems += _wrong_kept(choice, wish)
        labels = tuple(label for label in choice.labels if label in wish.labels)
        if len(labels) == 1:
            decided[choice.index] = labels[0]
        elif len(labels) < len(choice.labels):
            kept[choice.index] = Kept(labels)
    if problems:
        raise NasError(*problems)
    return decided, kept


def _wrong_kept(choice: Choice, kept: Kept) -> list[Diagnostic]:
    if choice.is_sublist:
        words = f"the choice `{choice.name}` takes {choice.pick} of its candidates, and can't be left some of them"
        return [Diagnostic("N805", words, help=f"fix it: {choice.name}={','.join(kept.labels)}")]
    return [problem for label in kept.labels for problem in wrong_labels(choice, label)]


def _variables(space: Space, decided: Mapping[int, Taken]) -> dict[int, int]:
    found: dict[int, int] = {}
    for index, taken in decided.items():
        found.update(space.choices[index].cases(taken))
    return found


class _Cases(Mapping[int, Sequence[Diagram]]):
    """The cases of each variable in the space's own table, where some are fixed, and of some only some are left."""

    def __init__(self, space: Space, fixed: Mapping[int, int], left: Mapping[int, Sequence[int]]) -> None:
        self.space = space
        self.fixed = fixed
        self.left = left

    def __getitem__(self, variable: int) -> list[Diagram]:
        table, arity = self.space.table, self.space.arities[variable]
        if variable in self.fixed:
            return [table.true if case == self.fixed[variable] else table.false for case in range(arity)]
        cases = [table.equals(variable, case, arity) for case in range(arity)]
        left = self.left.get(variable)
        return cases if left is None else [c if i in left else table.false for i, c in enumerate(cases)]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.space.arities)))

    def __len__(self) -> int:
        return len(self.space.arities)
