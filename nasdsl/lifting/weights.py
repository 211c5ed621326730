"""Which step of the compiled network is which call of the module, and the weights that go there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from nasdsl.lifting.call import SUM, Call
from nasdsl.space.architecture import Architecture, Step


def match_weights(architecture: Architecture, outputs: Sequence[Call]) -> dict[int, Mapping[str, Tensor]]:
    """For each step with weights those of its call: both are walked from the outputs back, input by input."""
    found: dict[int, Mapping[str, Tensor]] = {}
    seen: set[tuple[int, int]] = set()
    stack = list(zip(outputs, (architecture.step(id) for _, id in architecture.outputs), strict=True))
    while stack:
        call, step = stack.pop()
        if (id(call), step.id) in seen:
            continue
        seen.add((id(call), step.id))
        if call.operation == SUM and not call.settings:
            above, below = _addends(call), _summed(architecture, step)
        else:
            above, below = list(call.inputs), [architecture.step(i) for i in step.inputs]
        if call.weights:
            assert step.operation == call.operation, (step.operation, call.operation)
            found[step.id] = call.weights
        stack += zip(above, below, strict=True)
    return found


def _addends(call: Call) -> list[Call]:
    """A sum of sums is one sum in an architecture."""
    if call.operation != SUM or call.settings:
        return [call]
    return [x for given in call.inputs for x in _addends(given)]


def _summed(architecture: Architecture, step: Step) -> list[Step]:
    if step.operation != "sum":
        return [step]
    return [x for i in step.inputs for x in _summed(architecture, architecture.step(i))]
