"""What is proved for all genotypes at once, and the smallest genotype where a proof fails.

A genotype takes a permitted number of candidates of each sub-list and meets every ``require`` over choices. Both are
assumed while shapes are proved: a size that is wrong only where no genotype gets is no fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nasdsl.language.builder import ChoiceRecord, Failure, GraphBuilder, TooManyRows
from nasdsl.space.diagram import Diagram, shortest_path
from nasdsl.space.solve import OverBudget, Solver

# How much is spent on finding out whether a genotype meets a condition; beyond it, it is taken to.
BUDGET = 20_000
# How large a diagram of all of them may get before it is given up for a count in parts.
TOGETHER = 2_000


class Proof:
    """The conditions that every genotype meets, as far as they are known."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.table = builder.table
        self.constraints: list[Diagram] = []
        self._bounds: dict[int, tuple[Diagram, Diagram]] = {}
        self._sublists: dict[int, ChoiceRecord] = {}
        self._known = 0
        self._possible: dict[int, bool] = {}

    def require(self, condition: Diagram) -> None:
        self.constraints.append(condition)
        self._possible.clear()

    # --- what genotypes there are --------------------------------------------------------------

    def possible(self, condition: Diagram) -> bool:
        """Whether a genotype meets the condition, as far as is known by now."""
        self.builder.asked += 1
        if condition is self.table.true:
            return True
        if condition is self.table.false:
            return False
        rules = self._rules(condition)
        if not rules:
            return True
        key = id(condition)
        found = self._possible.get(key)
        if found is None:
            found = self._possible[key] = self._satisfiable([condition, *rules])
        return found

    def _satisfiable(self, conditions: Sequence[Diagram]) -> bool:
        # Mostly all of them make one small diagram. Where they don't, independent parts are counted apart.
        try:
            with self.table.bounded(TOGETHER):
                return self.table.all_of(conditions) is not self.table.false
        except TooManyRows:
            pass
        solver = Solver(self.table, self.builder.arities, conditions, budget=BUDGET)
        try:
            return solver.count() > 0
        except OverBudget:
            return True

    def _rules(self, condition: Diagram) -> list[Diagram]:
        """The rules that share choices with a condition, directly or by way of others."""
        self._find_sublists()
        if not self.constraints and not self._sublists:
            return []
        reached = set(condition.support())
        rules: dict[int, Diagram] = {}
        grown = True
        while grown:
            grown = False
            for rule in (*self.constraints, *self._bounds_of(reached)):
                if id(rule) not in rules and not reached.isdisjoint(rule.support()):
                    rules[id(rule)] = rule
                    reached |= rule.support()
                    grown = True
        return list(rules.values())

    def _find_sublists(self) -> None:
        choices = self.builder.choices
        if self._known == len(choices):
            return
        for record in list(choices.values())[self._known :]:
            if record.low is not None and record.high is not None:
                if record.low > 0 or record.high < len(record.labels):
                    self._sublists.update(dict.fromkeys(record.variables, record))
        # What was possible stays so: whatever else is taken, a new sub-list can have as many elements as it may.
        self._known = len(choices)

    def _bounds_of(self, variables: Iterable[int]) -> list[Diagram]:
        """That each sub-list which exists has as many elements as it may have."""
        found = []
        for record in {id(r): r for v in variables if (r := self._sublists.get(v)) is not None}.values():
            known = self._bounds.get(record.index)
            if known is None or known[0] is not record.guard:
                assert record.low is not None and record.high is not None
                # Row n: what is right where n are taken already, from the last candidate up.
                row = [self.table.leaf(record.low <= n <= record.high) for n in range(len(record.labels) + 1)]
                for variable in reversed(record.variables):
                    row = [self.table.node(variable, row[n : n + 2]) for n in range(len(row) - 1)]
                rule = self.table.choose(record.guard, row[0], self.table.true)
                known = self._bounds[record.index] = (record.guard, rule)
            found.append(known[1])
        return found

    # --- where something is wrong --------------------------------------------------------------

    def smallest(self, value: Diagram, wanted: Callable[[Any], bool]) -> Mapping[int, int] | None:
        """The fewest decisions of a genotype that lead to a leaf that is wanted; None where no genotype does."""
        self.builder.asked += 1
        path = shortest_path(value, wanted)
        if path is None:
            return None
        if self.possible(self._conjunction(path)):
            return path
        where = self.table.map(wanted, value, remember=False)
        rules = self._rules(where)
        if not self._satisfiable([where, *rules]):
            return None
        for rule in rules:
            where = self.table.both(where, rule)
        return shortest_path(where, lambda leaf: leaf is True)

    def _conjunction(self, path: Mapping[int, int]) -> Diagram:
        condition = self.table.true
        for variable, case in sorted(path.items(), reverse=True):
            condition = self.table.both(
                self.table.equals(variable, case, self.builder.arities[variable]), condition
            )
        return condition

    def failure(self, doubt: Diagram) -> tuple[Failure, Mapping[int, int]] | None:
        """The smallest genotype that reaches a failure, and what fails there; None where no genotype does."""
        path = self.smallest(doubt, lambda leaf: isinstance(leaf, Failure))
        if path is None:
            return None
        leaf = doubt
        while not leaf.is_leaf:
            leaf = leaf.cases[path.get(leaf.variable, 0)]
        return leaf.value, path

    def satisfiable(self) -> bool:
        """Whether any genotype meets every ``require`` over choices, as far as that can be counted."""
        rules: dict[int, Diagram] = {}
        for constraint in self.constraints:
            rules.update((id(rule), rule) for rule in self._rules(constraint))
        return not rules or self._satisfiable(list(rules.values()))
