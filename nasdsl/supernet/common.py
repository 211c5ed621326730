"""Common parts are computed once: steps that compute the same from the same tensors become one step.

    a = relu(x);  y = conv3(a)                a = relu(x);  y = conv3(a)
    b = relu(x);  z = conv1(b)      ──►                     z = conv1(a)

In a mixture the ReLU of a node feeds many candidates on many edges, and so do pools of it. Only operations without
weights that torch or this package defines are merged: a plug-in's function might draw random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from sys import intern
from typing import Any

from nasdsl.operations.execute import is_torch
from nasdsl.space.architecture import ZEROS, Architecture, Body, Step
from nasdsl.space.operation import Catalogue
from nasdsl.space.remembered import Remembered
from nasdsl.supernet.partial import FIRST


def share_common(
    architecture: Architecture, catalogue: Catalogue, made: Remembered[Any, Any] | None = None
) -> Architecture:
    """The same outputs from fewer steps. ``made`` remembers what is worked out of single steps."""
    renamed: dict[int, int] = {}
    made = Remembered() if made is None else made
    steps = _shared(architecture.steps, catalogue, renamed, made)
    outputs = tuple((name, renamed.get(id, id)) for name, id in architecture.outputs)
    return replace(architecture, steps=steps, outputs=outputs)


def _shared(
    steps: Sequence[Step], catalogue: Catalogue, renamed: dict[int, int], made: Remembered[Any, Any]
) -> tuple[Step, ...]:
    kept: list[Step] = []
    known: dict[Any, int] = {}
    for step in steps:
        if renamed and not renamed.keys().isdisjoint(step.inputs):
            step = _reading(step, tuple(renamed.get(id, id) for id in step.inputs), made)
        if step.body is not None:
            step = replace(step, body=_body(step.body, catalogue, renamed, made))
        elif step.owner is None:
            key = key_of(step, catalogue, made)
            same = known.setdefault(key, step.id)
            if same != step.id:
                renamed[step.id] = same
                continue
        kept.append(step)
    return tuple(kept)


def key_of(step: Step, catalogue: Catalogue, made: Remembered[Any, Any]) -> Any:
    """A text and the inputs, equal for steps that compute the same; where nothing can be said of it the step itself."""
    key = made.get(("key", step))
    return made.keep(("key", step), _key(step, catalogue) or step) if key is None else key


def _reading(step: Step, inputs: tuple[int, ...], made: Remembered[Any, Any]) -> Step:
    """The step with other inputs."""
    key = (step, inputs)
    found: Step | None = made.get(key)
    return made.keep(key, replace(step, inputs=inputs)) if found is None else found


def _body(body: Body, catalogue: Catalogue, outside: Mapping[int, int], made: Remembered[Any, Any]) -> Body:
    renamed = dict(outside)
    steps = _shared(body.steps, catalogue, renamed, made)
    states = tuple(renamed.get(id, id) for id in body.new_states)
    return replace(body, steps=steps, new_states=states, output=renamed.get(body.output, body.output))


def _key(step: Step, catalogue: Catalogue) -> Any:
    """Equal for steps that compute the same; None where that can't be said."""
    if step.operation in (ZEROS, FIRST):
        return (intern(f"{step.operation} {step.shape!r}"), step.inputs)
    operation = catalogue.get(step.operation)
    if operation is None or operation.variadic or operation.borrows is not None or step.owner is not None:
        return None
    call = operation.torch(step.instance)
    if call.kind == "module" or (
        "." in call.target and not is_torch(call.target) and call.kind == "function"
    ):
        return None
    # As text, of which there is one object, and which knows its hash.
    what = (call.kind, call.target, call.args, call.kwargs, call.number_at, step.shape)
    return (intern(repr(what)), step.inputs)
