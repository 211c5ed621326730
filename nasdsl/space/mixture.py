"""The whole space as one network in which candidates are blended, for strategies that weigh all of them at once.

The weight of an edge is the probability that its guard holds when every choice is drawn independently from its weights
(given that its reader exists). Numbers have no mixture.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from nasdsl.diagnostics import failure
from nasdsl.space.architecture import MIX, Architecture, Step
from nasdsl.space.decide import Absent, Deciding
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import SELECT, Node
from nasdsl.space.operation import Instance

if TYPE_CHECKING:
    from nasdsl.space.space import Space


def mixture(space: Space, among: Mapping[str, Collection[int]]) -> Architecture:
    """Every candidate of every choice, joined by :data:`~nasdsl.space.architecture.MIX` steps.

    Where ``among`` has positions of candidates for a choice, the others are left out; of a sub-list they are never in.

    Raises NasError (N506) where the space has chosen numbers or candidates of different sizes, which can't be blended.
    """
    for choice in space.choices:
        if choice.kind == "number":
            raise failure(
                "N506",
                f"`{choice.name}` chooses a number, and numbers can't be blended",
                "use a strategy that runs one path at a time, or choose between operations",
                choice.span,
            )
    for node in space.graph.all_nodes():
        if not node.type.is_static:
            raise failure(
                "N506",
                "candidates of different sizes can't be blended",
                "use a strategy that runs one path at a time",
                node.span,
            )
    steps, outputs = _Mixture(space, among).architecture()
    return Architecture(space.name, {}, tuple(steps), space.inputs, tuple(outputs))


class _Mixture(Deciding):
    """Decides nothing: every edge that can hold is there."""

    def __init__(self, space: Space, among: Mapping[str, Collection[int]]) -> None:
        super().__init__(space.decider, [0] * len(space.arities), (), False)
        self.cases: dict[int, Collection[int]] = {}
        for name, positions in among.items():
            choice = space.choice(name)
            if choice.is_sublist:
                outside = [v for i, v in enumerate(choice.variables) if i not in positions]
                self.cases |= dict.fromkeys(outside, (0,))
            else:
                self.cases[choice.variables[0]] = positions
        self.possible: dict[int, bool] = {}
        self.picks, self.passing = {}, self.decider.identities

    def holds(self, guard: Diagram) -> bool:
        """Whether it can, with the candidates that there are."""
        if not self.cases or guard.is_leaf:
            return guard is not self.decider.space.table.false
        found = self.possible.get(id(guard))
        if found is None:
            cases = self.cases.get(guard.variable, range(len(guard.cases)))
            found = self.possible[id(guard)] = any(self.holds(guard.cases[c]) for c in cases)
        return found

    def _step(self, node: Node, sources: Sequence[int]) -> int | Absent:
        table = self.decider.space.table
        edges = self.decider.reads[node.id]
        if len(edges) > len(sources):
            edges = [edge for edge in edges if self.holds(edge[1])]
        weights = [table.given(guard, node.guard) for _, guard in edges]
        if all(weight is table.true for weight in weights):
            return super()._step(node, sources)
        if node.operation not in (SELECT, "sum", "mean"):
            raise failure(
                "N506",
                f"the inputs of a `{node.operation}` depend on a choice, so they can't be blended",
                "use a strategy that runs one path at a time",
                node.span,
            )
        values = [self.value[source] for source in sources]
        if not any(isinstance(value, int) for value in values):
            return self._absent(node)
        if node.operation == "mean":  # it divides by all that were chosen, also by what is absent
            values = [self._present(value, node) for value in values]
        there = [
            (value, weight) for value, weight in zip(values, weights, strict=True) if isinstance(value, int)
        ]
        inputs = tuple(value for value, _ in there)
        shape = self._shape(node.type)
        instance = Instance(tuple(self.steps[i].shape for i in inputs), {}, shape)
        self.steps[node.id] = Step(
            node.id, MIX, instance, inputs, node.scope, node.name,
            choice=self._choice_name(node), weights=tuple(weight for _, weight in there),
            normalised=node.operation == "mean",
        )  # fmt: skip
        return node.id

    def _choice_name(self, node: Node) -> str | None:
        return None if node.choice is None else self.decider.space.choices[node.choice].name
