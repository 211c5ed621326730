"""Common parts are computed once: steps that compute the same from the same tensors become one step.

    a = relu(x);  y = conv3(a)                a = relu(x);  y = conv3(a)
    b = relu(x);  z = conv1(b)      ──►                     z = conv1(a)

In a mixture the ReLU of a node feeds many candidates on many edges, and so do pools of it. Only operations without
weights that torch or this package defines are merged: a plug-in's function might draw random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nasdsl.operations.execute import is_torch
from nasdsl.space.architecture import ZEROS, Architecture, Body, Step
from nasdsl.space.operation import Catalogue


def share_common(architecture: Architecture, catalogue: Catalogue) -> Architecture:
    """The same outputs from fewer steps."""
    renamed: dict[int, int] = {}
    steps = _shared(architecture.steps, catalogue, renamed)
    outputs = tuple((name, renamed.get(id, id)) for name, id in architecture.outputs)
    return replace(architecture, steps=steps, outputs=outputs)


def _shared(steps: Sequence[Step], catalogue: Catalogue, renamed: dict[int, int]) -> tuple[Step, ...]:
    kept: list[Step] = []
    known: dict[Any, int] = {}
    for step in steps:
        inputs = tuple(renamed.get(id, id) for id in step.inputs)
        if inputs != step.inputs:
            step = replace(step, inputs=inputs)
        if step.body is not None:
            step = replace(step, body=_body(step.body, catalogue, renamed))
        key = _key(step, catalogue)
        same = known.get(key) if key is not None else None
        if same is not None:
            renamed[step.id] = same
            continue
        if key is not None:
            known[key] = step.id
        kept.append(step)
    return tuple(kept)


def _body(body: Body, catalogue: Catalogue, outside: Mapping[int, int]) -> Body:
    renamed = dict(outside)
    steps = _shared(body.steps, catalogue, renamed)
    states = tuple(renamed.get(id, id) for id in body.new_states)
    return replace(body, steps=steps, new_states=states, output=renamed.get(body.output, body.output))


def _key(step: Step, catalogue: Catalogue) -> Any:
    """Equal for steps that compute the same; None where that can't be said."""
    if step.operation == ZEROS:
        return (ZEROS, step.inputs, step.shape)
    operation = catalogue.get(step.operation)
    if operation is None or operation.variadic or operation.borrows is not None or step.owner is not None:
        return None
    call = operation.torch(step.instance)
    if call.kind == "module" or (
        "." in call.target and not is_torch(call.target) and call.kind == "function"
    ):
        return None
    return (
        call.kind,
        call.target,
        repr(call.args),
        repr(call.kwargs),
        call.number_at,
        step.inputs,
        step.shape,
    )
