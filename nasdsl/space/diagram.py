"""Decision diagrams: everything that rests on choices, in one canonical form.

A guard, a chosen width, a tensor's size under two candidates: each is a function of the choices. A :class:`Diagram`
holds such a function as a directed acyclic graph: a node asks one variable and has a child a case; a leaf holds the
value. Variables are asked in one global order and equal diagrams are one object, so that ``is`` decides equality,
a guard that always holds *is* :attr:`Diagrams.true`, and a size is proved by looking at its leaves.

The idea is Bryant's (1986), with several cases a variable and any value at the leaves.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

# Pure-Python recursion takes no C stack since CPython 3.11; a diagram is as deep as there are variables.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 1_000_000))

LEAF = sys.maxsize


class Diagram:
    """A function of the choices. Made by :class:`Diagrams` alone; compared by identity."""

    __slots__ = ("_support", "cases", "value", "variable")

    variable: int
    cases: tuple[Diagram, ...]
    value: Any

    def __init__(self, variable: int, cases: tuple[Diagram, ...], value: Any) -> None:
        self.variable = variable
        self.cases = cases
        self.value = value
        self._support: frozenset[int] | None = None

    @property
    def is_leaf(self) -> bool:
        return self.variable == LEAF

    def at(self, assignment: Sequence[int] | Mapping[int, int]) -> Any:
        """The value where variable v takes case ``assignment[v]``."""
        diagram = self
        while diagram.variable != LEAF:
            diagram = diagram.cases[assignment[diagram.variable]]
        return diagram.value

    def support(self) -> frozenset[int]:
        """The variables that it asks."""
        if self._support is None:
            found: set[int] = set()
            if not self.is_leaf:
                found.add(self.variable)
                for case in self.cases:
                    found |= case.support()
            self._support = frozenset(found)
        return self._support

    def leaves(self) -> list[Any]:
        """The values that it can take, each once, in the order of the first path to them."""
        values: list[Any] = []
        seen: set[int] = set()
        stack = [self]
        while stack:
            diagram = stack.pop()
            if id(diagram) in seen:
                continue
            seen.add(id(diagram))
            if diagram.is_leaf:
                values.append(diagram.value)
            stack.extend(reversed(diagram.cases))
        return values

    def __repr__(self) -> str:
        if self.is_leaf:
            return f"Diagram({self.value!r})"
        return f"Diagram(variable {self.variable}: {', '.join(map(repr, self.cases))})"


class Undefined:
    """The value where a diagram is never looked at: outside the guard that it was restricted to."""

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()


class Diagrams:
    """The table in which equal diagrams are one object.

    >>> table = Diagrams()
    >>> kernel = table.switch(0, [table.leaf(3), table.leaf(5)])
    >>> table.map(operator.mul, kernel, table.leaf(2)).leaves()
    [6, 10]
    >>> table.both(table.equals(0, 1, 2), table.equals(0, 0, 2)) is table.false
    True
    """

    def __init__(self) -> None:
        self._leaves: dict[tuple[type, Any], Diagram] = {}
        self._inner: dict[tuple[int, tuple[int, ...]], Diagram] = {}
        self._memo: dict[Any, dict[tuple[int, ...], Diagram]] = {}
        self.true = self.leaf(True)
        self.false = self.leaf(False)
        self.undefined = self.leaf(UNDEFINED)

    def leaf(self, value: Any) -> Diagram:
        """The one diagram that is a value whatever is chosen."""
        if isinstance(value, Fraction) and value.denominator == 1:
            value = value.numerator
        key = (type(value), value)
        found = self._leaves.get(key)
        if found is None:
            found = self._leaves[key] = Diagram(LEAF, (), value)
        return found

    def lift(self, value: Any) -> Diagram:
        """A diagram as it is, any other value as a leaf."""
        return value if isinstance(value, Diagram) else self.leaf(value)

    def node(self, variable: int, cases: Sequence[Diagram]) -> Diagram:
        """Asks ``variable``, which must come before all that the cases ask."""
        first = cases[0]
        if all(case is first for case in cases):
            return first
        key = (variable, tuple(map(id, cases)))
        found = self._inner.get(key)
        if found is None:
            found = self._inner[key] = Diagram(variable, tuple(cases), None)
        return found

    def equals(self, variable: int, case: int, arity: int) -> Diagram:
        """True where ``variable`` takes ``case``."""
        return self.node(variable, [self.true if c == case else self.false for c in range(arity)])

    def switch(self, variable: int, cases: Sequence[Diagram]) -> Diagram:
        """``cases[c]`` where ``variable`` takes case c; the cases may ask earlier variables too."""
        if all(case.variable > variable for case in cases):
            return self.node(variable, cases)
        result = cases[-1]
        for case in range(len(cases) - 1):
            result = self.choose(self.equals(variable, case, len(cases)), cases[case], result)
        return result

    # --- logic ---------------------------------------------------------------------------------

    def both(self, a: Diagram, b: Diagram) -> Diagram:
        """Where a and b hold."""
        if a is self.false or b is self.false:
            return self.false
        if a is self.true or a is b:
            return b
        if b is self.true:
            return a
        return self.map(_and, a, b)

    def either(self, a: Diagram, b: Diagram) -> Diagram:
        """Where a or b holds."""
        if a is self.true or b is self.true:
            return self.true
        if a is self.false or a is b:
            return b
        if b is self.false:
            return a
        return self.map(_or, a, b)

    def all_of(self, conditions: Iterable[Diagram]) -> Diagram:
        """Where all of them hold."""
        result = self.true
        for condition in conditions:
            result = self.both(result, condition)
        return result

    def negate(self, a: Diagram) -> Diagram:
        return self.map(operator.not_, a)

    def choose(self, condition: Diagram, then: Diagram, otherwise: Diagram) -> Diagram:
        """``then`` where ``condition`` holds, else ``otherwise``."""
        if condition is self.true or then is otherwise:
            return then
        if condition is self.false:
            return otherwise
        return self.map(_if, condition, then, otherwise)

    def within(self, value: Diagram, guard: Diagram) -> Diagram:
        """``value`` where ``guard`` holds, ``UNDEFINED`` elsewhere."""
        return self.choose(guard, value, self.undefined)

    def given(self, value: Diagram, guard: Diagram) -> Diagram:
        """What is left to ask of ``value`` where ``guard`` is known to hold; the simplest that agrees with it there.

        >>> table = Diagrams()
        >>> outer, inner = table.equals(0, 1, 2), table.equals(1, 0, 2)
        >>> table.given(table.both(outer, inner), outer) is inner
        True
        """
        found = self._given(value, guard, self._memo.setdefault("given", {}))
        return value if found is None else found

    def _given(self, value: Diagram, guard: Diagram, memo: dict[tuple[int, ...], Any]) -> Diagram | None:
        if guard is self.false:
            return None
        if guard is self.true or value.is_leaf:
            return value
        key = (id(value), id(guard))
        if key not in memo:
            variable = min(value.variable, guard.variable)
            arity = len((value if value.variable == variable else guard).cases)
            cases = [
                self._given(
                    value.cases[c] if value.variable == variable else value,
                    guard.cases[c] if guard.variable == variable else guard,
                    memo,
                )
                for c in range(arity)
            ]
            known = [case for case in cases if case is not None]
            if all(case is known[0] for case in known):
                memo[key] = known[0]
            else:
                memo[key] = self.node(variable, [case if case is not None else known[0] for case in cases])
        found: Diagram | None = memo[key]
        return found

    # --- any function --------------------------------------------------------------------------

    def map(self, function: Callable[..., Any], *operands: Diagram, remember: bool = True) -> Diagram:
        """``function`` applied to the values, for every combination of choices that the operands ask.

        Results are remembered a function, so pass one that lives on; for a function made on the spot say
        ``remember=False``.
        """
        memo = self._memo.setdefault(function, {}) if remember else {}
        return self._map(function, operands, memo)

    def _map(
        self,
        function: Callable[..., Any],
        operands: tuple[Diagram, ...],
        memo: dict[tuple[int, ...], Diagram],
    ) -> Diagram:
        # Logic ends early, whatever the other operands ask.
        if function is _and:
            a, b = operands
            if a is self.false or b is self.false:
                return self.false
            if a is self.true or a is b:
                return b
            if b is self.true:
                return a
        elif function is _or:
            a, b = operands
            if a is self.true or b is self.true:
                return self.true
            if a is self.false or a is b:
                return b
            if b is self.false:
                return a
        elif function is _if:
            condition, then, otherwise = operands
            if condition is self.true or then is otherwise:
                return then
            if condition is self.false:
                return otherwise
        key = tuple(map(id, operands))
        found = memo.get(key)
        if found is not None:
            return found
        variable = min(operand.variable for operand in operands)
        if variable == LEAF:
            result = self.leaf(function(*(operand.value for operand in operands)))
        else:
            arity = next(len(o.cases) for o in operands if o.variable == variable)
            cases = []
            for case in range(arity):
                parts = tuple(o.cases[case] if o.variable == variable else o for o in operands)
                cases.append(self._map(function, parts, memo))
            result = self.node(variable, cases)
        memo[key] = result
        return result

    def restrict(self, diagram: Diagram, variable: int, case: int) -> Diagram:
        """The diagram where ``variable`` is known to take ``case``."""
        if diagram.variable > variable:
            return diagram
        if diagram.variable == variable:
            return diagram.cases[case]
        memo = self._memo.setdefault(("restrict", variable, case), {})
        found = memo.get((id(diagram),))
        if found is None:
            found = self.node(diagram.variable, [self.restrict(c, variable, case) for c in diagram.cases])
            memo[(id(diagram),)] = found
        return found


def shortest_path(diagram: Diagram, wanted: Callable[[Any], bool]) -> dict[int, int] | None:
    """The fewest decisions that lead to a leaf whose value is wanted: {variable: case}, or None."""
    best: dict[int, tuple[int, int | None] | None] = {}

    def length(d: Diagram) -> int | None:
        if id(d) in best:
            entry = best[id(d)]
            return None if entry is None else entry[0]
        if d.is_leaf:
            best[id(d)] = (0, None) if wanted(d.value) else None
        else:
            lengths = [
                (steps + 1, c) for c, case in enumerate(d.cases) if (steps := length(case)) is not None
            ]
            best[id(d)] = min(lengths, default=None)
        entry = best[id(d)]
        return None if entry is None else entry[0]

    if length(diagram) is None:
        return None
    path: dict[int, int] = {}
    while not diagram.is_leaf:
        entry = best[id(diagram)]
        assert entry is not None and entry[1] is not None
        path[diagram.variable] = entry[1]
        diagram = diagram.cases[entry[1]]
    return path


def paths(diagram: Diagram) -> Iterator[tuple[dict[int, int], Any]]:
    """Every path to a leaf with the leaf's value. There can be exponentially many."""

    def walk(d: Diagram, path: dict[int, int]) -> Iterator[tuple[dict[int, int], Any]]:
        if d.is_leaf:
            yield dict(path), d.value
            return
        for c, case in enumerate(d.cases):
            path[d.variable] = c
            yield from walk(case, path)
        del path[d.variable]

    yield from walk(diagram, {})


def _and(a: bool, b: bool) -> bool:
    return a and b


def _or(a: bool, b: bool) -> bool:
    return a or b


def _if(condition: bool, then: Any, otherwise: Any) -> Any:
    return then if condition else otherwise
