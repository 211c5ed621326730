"""How many bytes of activations one architecture needs: a run of its steps in which every tensor is only a size.

Two numbers, which must not be confused:

``memory``
    The most that is there at once when the network is evaluated without a backward pass: its inputs, every tensor that
    is made and still read, and what an operation takes within its call. Steps run in the order of the architecture, as
    the supernet's plan does, and a tensor goes when its last reader is done.
``training_memory``
    All that autograd keeps for the backward pass of one forward pass: each stored tensor once, however many readers
    keep it. Inputs count where they are kept.

Weights, buffers and the private workspace of kernels (a convolution that unrolls its input) are in neither. Tensors are
float32 and contiguous, whole numbers int64. Every number can be had for any batch and any size of free dimensions; the
measures of a space are those of one example and free dimensions of 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nasdsl.space.architecture import GATE, MIX, ZEROS, Architecture, Body, Step
from nasdsl.space.operation import FLOAT, INT, Catalogue, Held, Instance
from nasdsl.space.size import Size
from nasdsl.space.tensor import Shape


def memory(
    architecture: Architecture, catalogue: Catalogue, *, batch: int = 1, free: Mapping[str, int] | None = None
) -> int:
    """Bytes that are there at once, at most, when the architecture is evaluated."""
    run = _Run(catalogue, batch, free or {}, training=False)
    run.all(architecture)
    return run.peak


def training_memory(
    architecture: Architecture, catalogue: Catalogue, *, batch: int = 1, free: Mapping[str, int] | None = None
) -> int:
    """Bytes that autograd keeps for the backward pass."""
    run = _Run(catalogue, batch, free or {}, training=True)
    run.all(architecture)
    return run.saved


class Tensor(NamedTuple):
    """``storage`` is where its numbers are; several tensors may be views of one."""

    storage: int
    wants_gradient: bool


@dataclass
class _Storage:
    bytes: int
    readers: int = 0  # names that hold it
    kept: bool = False  # for the backward pass


@dataclass
class _Run:
    catalogue: Catalogue
    batch: int
    free: Mapping[str, int]
    training: bool
    storages: list[_Storage] = field(default_factory=list)
    live: int = 0
    peak: int = 0
    saved: int = 0

    def all(self, architecture: Architecture) -> dict[int, Tensor]:
        """Runs every step; gives the tensors that are left: inputs and outputs."""
        values: dict[int, Tensor] = {}
        # The inputs are the caller's, and stay.
        keep = {*(id for _, id in architecture.outputs), *architecture.inputs}
        self.steps(architecture.steps, keep, values)
        return values

    # --- steps -----------------------------------------------------------------------------------

    def steps(self, steps: Sequence[Step], keep: set[int], values: dict[int, Tensor]) -> None:
        last: dict[int, int] = {}
        own = {step.id for step in steps}
        for position, step in enumerate(steps):
            for id in given(step):
                last[id] = position
        for position, step in enumerate(steps):
            if step.operation in ("element", "state"):
                continue
            self.name(values, step.id, self.step(step, values))
            for id in dict.fromkeys(given(step)):
                if last[id] == position and id in own and id not in keep:
                    self.drop(values.pop(id))

    def step(self, step: Step, values: Mapping[int, Tensor]) -> Tensor:
        operation = step.operation
        if operation in ("input", ZEROS):
            return self.new(self.bytes(step.shape), False)
        inputs = [values[id] for id in step.inputs]
        if step.body is not None:
            return self.scan(step.body, step.shape, inputs[0], values)
        if operation in (GATE, MIX):
            # A gate and a mixture multiply by what wants a gradient.
            return self.call(Held(inputs=tuple(range(len(inputs)))), step.instance, inputs, True)
        found = self.catalogue[operation]
        learns = step.owner is not None and (
            found.borrows is not None or bool(found.cost(step.instance).params)
        )
        return self.call(found.held(step.instance), step.instance, inputs, learns)

    def call(self, held: Held, instance: Instance, inputs: Sequence[Tensor], learns: bool) -> Tensor:
        """A call of an operation, on which the rule says what it holds; ``learns``: it has weights."""
        wants = [tensor.wants_gradient for tensor in inputs]
        wants_gradient = (learns or any(wants)) and instance.output.dtype == "float"
        if held.view or (held.idle and not self.training):
            output = Tensor(inputs[0].storage, wants_gradient)
        else:
            stored = None if held.stored is None else FLOAT * self.number(held.stored) * self.batch
            output = self.new(self.bytes(instance.output) if stored is None else stored, wants_gradient)
        scratch = 0 if self.training else self.number(held.scratch) * self.batch
        self.peak = max(self.peak, self.live + scratch)
        if wants_gradient:
            for position in held.inputs:
                others = wants[:position] + wants[position + 1 :]
                if not held.crosswise or learns or any(others):
                    self.keep(inputs[position])
            if held.output:
                self.keep(output)
            more = self.number(held.extra) * self.batch + held.fixed
            self.saved += more
            self.live += more * self.training
        return output

    def scan(self, body: Body, shape: Shape, sequence: Tensor, outside: Mapping[int, Tensor]) -> Tensor:
        """A loop over the first axis; elements are views of the sequence, and what each gives is stacked."""
        by_id = {step.id: step for step in body.steps}
        states = [self.new(self.bytes(by_id[id].shape), False) for id in body.states]
        results: list[Tensor] = []
        for state in states:
            self.hold(state)
        keep = {*body.new_states, body.output, body.element, *body.states}
        values = dict(outside)
        for _ in range(self.number(shape.dims[0])):
            self.name(values, body.element, sequence)
            for id, state in zip(body.states, states, strict=True):
                self.name(values, id, state)
            self.steps(body.steps, keep, values)
            new_states = [values[id] for id in body.new_states]
            for tensor in (*new_states, values[body.output]):
                self.hold(tensor)
            for state in states:
                self.drop(state)
            states = new_states
            results.append(values[body.output])
        stacked = self.new(self.bytes(shape), any(tensor.wants_gradient for tensor in results))
        for tensor in (*states, *results, *(values[id] for id in values if id in by_id)):
            self.drop(tensor)
        return stacked

    # --- storages --------------------------------------------------------------------------------

    def new(self, bytes: int, wants_gradient: bool) -> Tensor:
        self.storages.append(_Storage(bytes))
        self.live += bytes
        self.peak = max(self.peak, self.live)
        return Tensor(len(self.storages) - 1, wants_gradient)

    def name(self, values: dict[int, Tensor], id: int, tensor: Tensor) -> None:
        """A tensor takes the place of what had the name before, in a scan's last round."""
        self.hold(tensor)
        if id in values:
            self.drop(values[id])
        values[id] = tensor

    def hold(self, tensor: Tensor) -> None:
        self.storages[tensor.storage].readers += 1

    def drop(self, tensor: Tensor) -> None:
        storage = self.storages[tensor.storage]
        storage.readers -= 1
        if not storage.readers and not (self.training and storage.kept):
            self.live -= storage.bytes

    def keep(self, tensor: Tensor) -> None:
        storage = self.storages[tensor.storage]
        if not storage.kept:
            storage.kept = True
            self.saved += storage.bytes

    # --- sizes -----------------------------------------------------------------------------------

    def bytes(self, shape: Shape) -> int:
        total: Any = self.batch * (INT if shape.dtype == "int" else FLOAT)
        for dim in shape.dims:
            total = total * self.number(dim)
        return int(total)

    def number(self, value: int | Size) -> int:
        if isinstance(value, Size):
            return int(value.at({name: self.free.get(name, 1) for name in value.names()}))
        return value


def given(step: Step) -> tuple[int, ...]:
    """What a step reads; a scan also what its body reads from outside."""
    if step.body is None:
        return step.inputs
    body = step.body
    inside = {inner.id for inner in body.steps} | {body.element, *body.states}
    ids = [id for inner in body.steps for id in given(inner)] + [*body.new_states, body.output]
    return step.inputs + tuple(dict.fromkeys(id for id in ids if id not in inside))
