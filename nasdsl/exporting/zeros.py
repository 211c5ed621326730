"""Tensors of zeros, made where they are read.

An architecture makes them once, from the network's input; in code they would have to be handed down from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

from nasdsl.diagnostics import failure
from nasdsl.space.architecture import ZEROS, Architecture, Step
from nasdsl.space.size import Size
from nasdsl.space.tensor import Shape


def local_zeros(architecture: Architecture) -> list[Step]:
    """The same steps, with zeros made in the body that reads them, after a tensor that is read beside them.

    Raises NasError (N962) where the size of zeros rests on several inputs.
    """
    ids = [step.id for step in architecture.steps]
    ids += [inner.id for step in architecture.steps if step.body is not None for inner in step.body.steps]
    fresh = count(min(ids, default=0) - 1, -1)
    return _localised(architecture.steps, {id for _, id in architecture.outputs}, fresh)


def _localised(steps: Sequence[Step], kept: set[int], fresh: Iterator[int]) -> list[Step]:
    steps = [_inside(step, fresh) for step in steps]
    steps = [_measurable(step, steps) if step.operation == ZEROS else step for step in steps]
    zeros = {step.id: step for step in steps if step.operation == ZEROS}
    found: list[Step] = []
    local: dict[tuple[int, int], int] = {}
    for step in steps:
        reads = [id for id in step.inputs if id in zeros]
        beside = next((id for id in step.inputs if id not in zeros), None)
        if step.operation != ZEROS and reads and beside is not None and _serves(step, beside):
            for id in dict.fromkeys(reads):
                if (id, step.scope.id) not in local:
                    shape = step.instance.inputs[step.inputs.index(beside)]
                    made = replace(zeros[id].instance, inputs=(shape,))
                    mine = local[id, step.scope.id] = next(fresh)
                    found.append(
                        replace(zeros[id], id=mine, instance=made, inputs=(beside,), scope=step.scope)
                    )
            step = replace(step, inputs=tuple(local.get((id, step.scope.id), id) for id in step.inputs))
        found.append(step)
    read = kept.union(*(_everything_read(step) for step in found))
    return [step for step in found if step.operation != ZEROS or step.id in read]


def _inside(step: Step, fresh: Iterator[int]) -> Step:
    """A step with the body that it runs, if it is a scan, done likewise."""
    if step.body is None:
        return step
    body = step.body
    inner = _localised(body.steps, {body.output, *body.new_states}, fresh)
    return replace(step, body=replace(body, steps=tuple(inner)))


def _measurable(zeros: Step, steps: Sequence[Step]) -> Step:
    """Zeros that take their free dimensions from an input of the network that has them."""
    wanted = _free_names(zeros.shape)
    sources = [zeros.inputs[0], *(step.id for step in steps if step.operation == "input")]
    shapes = {step.id: step.shape for step in steps}
    for source in sources:
        if wanted <= _free_names(shapes[source]):
            return replace(
                zeros, inputs=(source,), instance=replace(zeros.instance, inputs=(shapes[source],))
            )
    raise failure(
        "N962",
        f"an absent tensor of shape {zeros.shape} would be zeros whose size rests on several inputs; that can't be exported",
        help="let another genotype win, or give one of the dimensions a number",
    )


def _free_names(shape: Shape) -> frozenset[str]:
    return frozenset().union(*(dim.names() for dim in shape.dims if isinstance(dim, Size)))


def _serves(step: Step, beside: int) -> bool:
    """Whether zeros for a step could take their batch and free dimensions from another of its inputs."""
    given = dict(zip(step.inputs, step.instance.inputs, strict=True))
    return given[beside].dtype == "float" and all(
        dim in given[beside].dims for shape in given.values() for dim in shape.dims if isinstance(dim, Size)
    )


def _everything_read(step: Step) -> set[int]:
    if step.body is None:
        return set(step.inputs)
    inner: set[int] = set().union(*(_everything_read(inside) for inside in step.body.steps))
    return inner | {*step.inputs, *step.body.new_states, step.body.output}
