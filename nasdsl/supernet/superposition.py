"""Several candidates of a choice at once: what path dropout runs (Bender et al., 2018).

In a *superposition* a choice of one may hold any number of its candidates, written as a tuple of labels: what they
give is added or averaged, and nothing is there where there are none. A sub-list may hold any of its candidates. A part of the graph
is there where its guard holds for some way of picking one candidate from each choice. With one candidate a choice it is
the architecture of that genotype.

A choice that sizes or settings rest on, or that decides what anything but a sum, a mean or a choice reads, can't be
superposed: it holds one candidate (:func:`superposable` tells).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.choice import Choice, Genotype, Taken
from nasdsl.space.decide import Absent, Decider, Deciding
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import SELECT, Node
from nasdsl.space.operation import Instance
from nasdsl.space.space import Space

Join = Literal["sum", "mean"]

Cases = Sequence[frozenset[int]]
"""For each variable the cases that it may take."""


def is_superposed(space: Space, taken: Mapping[str, Taken]) -> bool:
    """Whether a choice of one holds a tuple of candidates."""
    return any(isinstance(v, tuple) and not space.choice(name).is_sublist for name, v in taken.items())


def possible(guard: Diagram, cases: Cases) -> bool:
    """Whether a guard holds for some way of taking one case of each variable."""
    known: dict[int, bool] = {}

    def ask(diagram: Diagram) -> bool:
        if diagram.is_leaf:
            return bool(diagram.value)
        found = known.get(id(diagram))
        if found is None:
            found = any(ask(diagram.cases[case]) for case in cases[diagram.variable])
            known[id(diagram)] = found
        return found

    return ask(guard)


def superposable(space: Space) -> frozenset[str]:
    """The choices that may hold several candidates at once, or of a sub-list others than its bounds permit."""
    table, graph = space.table, space.graph
    rested: set[int] = set()
    for node in graph.all_nodes():
        sizes = [*node.type.dims, *node.settings.values()]
        sizes += [part.size for parts in node.type.parts for part in parts or ()]
        for size in sizes:
            if isinstance(size, Diagram):
                rested |= size.support()
        if node.operation not in (SELECT, "sum", "mean"):
            for edge in graph.reads(node.id):
                rested |= table.given(edge.guard, node.guard).support()
    return frozenset(c.name for c in space.choices if not rested & set(c.variables))


def follow_superposed(space: Space, decide: Callable[[Choice], tuple[int, ...]]) -> Genotype:
    """Asks ``decide`` for the candidates that each choice holds which exists, given what its guard asks."""
    cases: list[frozenset[int]] = [frozenset((0,))] * len(space.arities)
    found: dict[str, Taken] = {}
    for choice in space.ordered_choices:
        if not possible(choice.guard, cases):
            continue
        labels = tuple(choice.labels[i] for i in sorted(decide(choice)))
        found[choice.name] = labels if choice.is_sublist or len(labels) != 1 else labels[0]
        _put(cases, choice, found[choice.name])
    return Genotype({c.name: found[c.name] for c in space.choices if c.name in found})


def superposition(space: Space, taken: Mapping[str, Taken], join: Join = "sum") -> Architecture:
    """The architecture in which choices hold all the candidates named; ``join`` says what becomes of the several
    outputs of a choice of one."""
    cases: list[frozenset[int]] = [frozenset((0,))] * len(space.arities)
    for name, value in taken.items():
        _put(cases, space.choice(name), value)
    steps, outputs = _Superposed(space.decider, cases, join).architecture()
    return Architecture(space.name, taken, tuple(steps), space.inputs, tuple(outputs))


def _put(cases: list[frozenset[int]], choice: Choice, value: Taken) -> None:
    positions = [choice.labels.index(label) for label in ((value,) if isinstance(value, str) else value)]
    if choice.is_sublist:
        for i, variable in enumerate(choice.variables):
            cases[variable] = frozenset((int(i in positions),))
    else:
        cases[choice.variables[0]] = frozenset(positions)


class _Superposed(Deciding):
    """Decides with sets of cases. Sizes are those of the first case of each, which the others agree with."""

    def __init__(self, decider: Decider, cases: Cases, join: Join) -> None:
        super().__init__(decider, [min(case, default=0) for case in cases], (), False)
        self.picks, self.passing = {}, self.decider.identities
        self.cases = cases
        self.join = join

    def holds(self, guard: Diagram) -> bool:
        found = self.truth.get(id(guard))
        if found is None:
            found = self.truth[id(guard)] = possible(guard, self.cases)
        return found

    def _select(self, node: Node, values: Sequence[int | Absent]) -> int | Absent:
        present = tuple(value for value in values if isinstance(value, int))
        if not present:
            return self._absent(node)
        if len(present) == 1:
            return present[0]
        instance = Instance(tuple(self.steps[i].shape for i in present), {}, self._shape(node.type))
        self.steps[node.id] = Step(node.id, self.join, instance, present, node.scope, node.name)
        return node.id
