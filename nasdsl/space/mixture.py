"""The whole space as one network in which candidates are blended, for strategies that weigh all of them at once.

The weight of an edge is the probability that its guard holds when every choice is drawn independently from its weights
(given that its reader exists). Numbers have no mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasdsl.diagnostics import failure
from nasdsl.space.architecture import MIX, Architecture, Step
from nasdsl.space.decide import Absent, _Run
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import SELECT, Node
from nasdsl.space.operation import Instance

if TYPE_CHECKING:
    from nasdsl.space.space import Space


def mixture(space: Space) -> Architecture:
    """Every candidate of every choice, joined by :data:`~nasdsl.space.architecture.MIX` steps.

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
    steps, outputs = _Mixture(space._decider, [0] * len(space.arities), (), False).architecture()
    return Architecture(space.name, {}, tuple(steps), space.inputs, tuple(outputs))


class _Mixture(_Run):
    """Decides nothing: every edge that can hold is there."""

    def holds(self, guard: Diagram) -> bool:
        return guard is not self.decider.space.table.false

    def _step(self, node: Node, edges: Sequence[tuple[int, Diagram]]) -> int | Absent:
        table = self.decider.space.table
        weights = [table.given(guard, node.guard) for _, guard in edges]
        if all(weight is table.true for weight in weights):
            return super()._step(node, edges)
        if node.operation not in (SELECT, "sum", "mean"):
            raise failure(
                "N506",
                f"the inputs of a `{node.operation}` depend on a choice, so they can't be blended",
                "use a strategy that runs one path at a time",
                node.span,
            )
        there = [
            (value, weight)
            for (source, _), weight in zip(edges, weights, strict=True)
            if isinstance(value := self.value[source], int)
        ]
        if not there:
            return self._absent(node)
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
