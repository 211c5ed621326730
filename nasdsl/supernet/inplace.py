"""A ReLU overwrites its input where nobody else reads that, and where what made it doesn't keep it for the backward pass.

Convolutions, linear maps, batch norms and nodes' sums keep their inputs, not their outputs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nasdsl.space.architecture import Architecture, CellStep, Step, readers
from nasdsl.space.remembered import Remembered
from nasdsl.supernet.node import Node

RELU_IN_PLACE = "relu in place"

_KEEP_NO_OUTPUT = frozenset({"conv", "depthwise", "linear", "batchnorm"})


def relu_in_place(architecture: Architecture, made: Remembered[Any, Any] | None = None) -> Architecture:
    """The same architecture with some ReLUs as steps of operation :data:`RELU_IN_PLACE`, which ``made`` remembers."""
    read = readers(architecture)
    made = Remembered() if made is None else made
    by_id: dict[int, Step] = {}
    for step in architecture.steps:
        if step.operation == "relu" and read[step.inputs[0]] == 1 and keeps_no_output(by_id[step.inputs[0]]):
            found: Step | None = made.get(("in place", step))
            step = (
                made.keep(("in place", step), replace(step, operation=RELU_IN_PLACE))
                if found is None
                else found
            )
        by_id[step.id] = step
    return replace(architecture, steps=tuple(by_id.values()))


def keeps_no_output(maker: Step) -> bool:
    if isinstance(maker, CellStep):
        assert maker.last is not None
        return keeps_no_output(maker.last)
    if isinstance(maker, Node):
        # One term without a batch norm may be passed on as it is: then it is its maker's.
        return len(maker.inputs) > 1 or any(term.norm is not None for term in maker.terms)
    return maker.operation in _KEEP_NO_OUTPUT
