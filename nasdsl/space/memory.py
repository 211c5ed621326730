"""How many bytes of activations one architecture needs: a run of its steps in which every tensor is only a size.

Two measures, which must not be confused:

``memory``
    The most that is there at once when the network is evaluated without a backward pass: its inputs, every tensor that
    is made and still read, and what an operation takes within its call. Steps run in the order of the architecture, as
    the supernet's plan does, and a tensor goes when its last reader is done.
``training_memory``
    All that autograd keeps for the backward pass of one forward pass: each stored tensor once, however many readers
    keep it. Inputs count where they are kept.

A third is for forecasts: :func:`step_memory` follows a forward and a backward pass, in which gradients of activations
come and what was kept goes.

Weights, buffers and the private workspace of kernels (a convolution that unrolls its input) are in neither. Tensors are
float32 and contiguous, whole numbers int64. Every number can be had for any batch and any size of free dimensions; the
measures of a space are those of one example and free dimensions of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nasdsl.space.architecture import GATE, MIX, ZEROS, Architecture, Body, Segment, Step, given
from nasdsl.space.operation import FLOAT, INT, Catalogue, Held, Instance
from nasdsl.space.size import Size
from nasdsl.space.tensor import Shape


def memory(
    architecture: Architecture, catalogue: Catalogue, *, batch: int = 1, free: Mapping[str, int] | None = None
) -> int:
    """Bytes that are there at once, at most, when the architecture is evaluated."""
    run = _Run(held_by(catalogue), batch, free or {}, training=False)
    run.all(architecture)
    return run.peak


def training_memory(
    architecture: Architecture, catalogue: Catalogue, *, batch: int = 1, free: Mapping[str, int] | None = None
) -> int:
    """Bytes that autograd keeps for the backward pass."""
    run = _Run(held_by(catalogue), batch, free or {}, training=True)
    run.all(architecture)
    return run.saved


def step_memory(
    architecture: Architecture, holds: Holds, *, batch: int = 1, free: Mapping[str, int] | None = None
) -> int:
    """Bytes of activations and their gradients that are there at once, at most, in a forward and a backward pass.

    ``holds`` says of a step what it holds and whether it has weights that want gradients (:func:`held_by` of a
    catalogue, where nothing else is known). The loss is taken to keep as much as the outputs hold (the logarithms of probabilities), in which also its gradient
    is written anew.
    """
    run = _Run(holds, batch, free or {}, training=True)
    left = run.all(architecture)
    outputs = [left[id] for _, id in architecture.outputs]
    run.backward(
        [
            (out, 2 * run.bytes(architecture.step(id).shape))
            for out, (_, id) in zip(outputs, architecture.outputs, strict=True)
        ]
    )
    return run.peak


Holds = Callable[[Step], tuple[Held, bool]]


def held_by(catalogue: Catalogue) -> Holds:
    """What steps hold by the rules of their operations; gates and mixtures multiply by what wants a gradient."""

    def holds(step: Step) -> tuple[Held, bool]:
        if step.operation in (GATE, MIX):
            return Held(inputs=tuple(range(len(step.inputs)))), True
        found = catalogue[step.operation]
        learns = step.owner is not None and (
            found.borrows is not None or bool(found.cost(step.instance).params)
        )
        return found.held(step.instance), learns

    return holds


class Tensor(NamedTuple):
    """``storage`` is where its numbers are; several tensors may be views of one. ``node`` tells it from others in the
    backward pass."""

    storage: int
    wants_gradient: bool
    node: int


class _Call(NamedTuple):
    """What the backward pass has to know of a call; ``kept`` are storages, ``more`` bytes besides, ``sizes`` the bytes of
    the gradient of each input that wants one, ``again`` the bytes that it takes first to compute anew what wasn't kept."""

    output: Tensor
    inputs: tuple[Tensor, ...]
    sizes: tuple[int, ...]
    kept: tuple[int, ...]
    more: int
    passes: tuple[bool, ...]
    again: int


@dataclass
class _Storage:
    bytes: int
    readers: int = 0  # names that hold it
    keepers: int = 0  # calls that keep it for the backward pass


@dataclass
class _Run:
    holds: Holds
    batch: int
    free: Mapping[str, int]
    training: bool
    storages: list[_Storage] = field(default_factory=list)
    live: int = 0
    peak: int = 0
    saved: int = 0
    tape: list[_Call] = field(default_factory=list)
    nodes: int = 0

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
            return self.scan(step.body, step, inputs[0], values)
        if isinstance(step, Segment):
            return self.segment(step, inputs)
        held, learns = self.holds(step)
        return self.call(held, step.instance, inputs, learns)

    def call(self, held: Held, instance: Instance, inputs: Sequence[Tensor], learns: bool) -> Tensor:
        """A call of an operation, on which the rule says what it holds; ``learns``: it has weights."""
        wants = [tensor.wants_gradient for tensor in inputs]
        wants_gradient = (learns or any(wants)) and instance.output.dtype == "float"
        if held.view or (held.idle and not self.training):
            output = self.view(inputs[0], wants_gradient)
        else:
            stored = None if held.stored is None else FLOAT * self.number(held.stored) * self.batch
            output = self.new(self.bytes(instance.output) if stored is None else stored, wants_gradient)
        scratch = self.number(held.scratch) * self.batch + self.number(held.scratch_fixed)
        if not self.training:
            self.peak = max(self.peak, self.live + scratch)
        if wants_gradient and self.training:
            kept = [
                inputs[position].storage
                for position in held.inputs
                if (learns or not held.for_weights)
                and (not held.crosswise or any(wants[:position] + wants[position + 1 :]))
            ]
            if held.output:
                kept.append(output.storage)
            more = self.number(held.extra) * self.batch + self.number(held.fixed)
            sizes = tuple(self.bytes(shape) for shape in instance.inputs)
            self.record(output, inputs, sizes, kept, more, passes=(0,) if held.view else held.passes)
        return output

    def record(
        self,
        output: Tensor,
        inputs: Sequence[Tensor],
        sizes: Sequence[int],
        kept: Sequence[int] = (),
        more: int = 0,
        *,
        passes: Sequence[int] = (),
        again: int = 0,
    ) -> None:
        """Notes a call for the backward pass, and that it keeps storages."""
        for storage in kept:
            if not self.storages[storage].keepers:
                self.saved += self.storages[storage].bytes
            self.storages[storage].keepers += 1
        self.saved += more
        self.take(more)
        wanting = [i for i, tensor in enumerate(inputs) if tensor.wants_gradient]
        self.tape.append(
            _Call(
                output,
                tuple(inputs[i] for i in wanting),
                tuple(sizes[i] for i in wanting),
                tuple(kept),
                more,
                tuple(i in passes for i in wanting),
                again,
            )
        )

    def segment(self, step: Segment, inputs: Sequence[Tensor]) -> Tensor:
        """Keeps its inputs; what is within is there while it runs, and again in its backward pass."""
        wants = any(tensor.wants_gradient for tensor in inputs)
        wants_gradient = wants or any(self.holds(inner)[1] for inner in step.steps)
        self.peak = max(self.peak, self.live + self.within(step, training=False))
        output = self.new(self.bytes(step.shape), wants_gradient)
        if wants_gradient and self.training:
            sizes = [self.bytes(shape) for shape in step.instance.inputs]
            kept = [tensor.storage for tensor in inputs]
            self.record(output, inputs, sizes, kept, again=self.within(step, training=True))
        return output

    def within(self, segment: Segment, *, training: bool) -> int:
        """The bytes that a segment takes besides its inputs and the gradient of its output: in a forward pass of which
        nothing is kept, or where ``training`` in one that is followed by its backward pass."""
        inner = _Run(self.holds, self.batch, self.free, training)
        shapes = zip(segment.inputs, segment.instance.inputs, strict=True)
        values = {id: inner.new(inner.bytes(shape), training) for id, shape in shapes}
        for tensor in values.values():
            inner.hold(tensor)
        given = inner.live
        output = segment.steps[-1].id
        inner.steps(segment.steps, {output, *segment.inputs}, values)
        if training:
            most = inner.peak
            inner.drop(values[output])  # nobody reads it the second time
            inner.peak = inner.live
            size = inner.bytes(segment.shape)
            inner.backward([(values[output], size)])
            inner.peak = max(most, inner.peak - size)
        return inner.peak - given

    def scan(self, body: Body, step: Step, sequence: Tensor, outside: Mapping[int, Tensor]) -> Tensor:
        """A loop over the first axis; elements are views of the sequence, and what each gives is stacked."""
        by_id = {inner.id: inner for inner in body.steps}
        turns = self.number(step.shape.dims[0])
        states = [self.new(self.bytes(by_id[id].shape), False) for id in body.states]
        results: list[Tensor] = []
        for state in states:
            self.hold(state)
        keep = {*body.new_states, body.output, body.element, *body.states}
        values = dict(outside)
        whole = self.bytes(step.instance.inputs[0])
        for _ in range(turns):
            element = self.view(sequence, sequence.wants_gradient)
            if sequence.wants_gradient and self.training:
                self.record(element, (sequence,), (whole,), passes=(0,) if results else ())
            self.name(values, body.element, element)
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
        stacked = self.new(self.bytes(step.shape), any(tensor.wants_gradient for tensor in results))
        if stacked.wants_gradient and self.training:
            # The gradients of the results are parts of that of the whole.
            self.record(stacked, results, [0] * turns, passes=range(turns))
        for tensor in (*states, *results, *(values[id] for id in values if id in by_id)):
            self.drop(tensor)
        return stacked

    # --- backward --------------------------------------------------------------------------------

    def backward(self, outputs: Sequence[tuple[Tensor, int]]) -> None:
        """Gradients go through the calls that were noted, from the last to the first, starting with so many bytes for each
        of the outputs; each call gives back what it kept. Two gradients of one tensor are added up where the first of them is."""
        gradients: dict[int, _Storage] = {}

        def give(tensor: Tensor, gradient: _Storage) -> None:
            before = gradients.get(tensor.node)
            if before is None:
                gradient.readers += 1
                gradients[tensor.node] = gradient
                return
            if before.readers > 1:  # somebody else's gradient too
                before.readers -= 1
                gradients[tensor.node] = _Storage(before.bytes, readers=1)
                self.take(before.bytes)
            if not gradient.readers:
                self.live -= gradient.bytes

        for tensor, size in outputs:
            self.take(size)
            give(tensor, _Storage(size))
        for call in reversed(self.tape):
            gradient = gradients.pop(call.output.node, None)
            if gradient is not None:
                self.take(call.again)
                self.live -= call.again
                made = []
                for size, passes in zip(call.sizes, call.passes, strict=True):
                    made.append(gradient if passes else _Storage(size))
                    self.take(0 if passes else size)
                for tensor, found in zip(call.inputs, made, strict=True):
                    give(tensor, found)
                gradient.readers -= 1
                if not gradient.readers:
                    self.live -= gradient.bytes
            self.live -= call.more
            for kept in call.kept:
                storage = self.storages[kept]
                storage.keepers -= 1
                if not storage.keepers and not storage.readers:
                    self.live -= storage.bytes

    # --- storages --------------------------------------------------------------------------------

    def new(self, bytes: int, wants_gradient: bool) -> Tensor:
        self.storages.append(_Storage(bytes))
        self.take(bytes)
        self.nodes += 1
        return Tensor(len(self.storages) - 1, wants_gradient, self.nodes)

    def view(self, tensor: Tensor, wants_gradient: bool) -> Tensor:
        self.nodes += 1
        return Tensor(tensor.storage, wants_gradient, self.nodes)

    def take(self, bytes: int) -> None:
        self.live += bytes
        self.peak = max(self.peak, self.live)

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
        if not storage.readers and not storage.keepers:
            self.live -= storage.bytes

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
