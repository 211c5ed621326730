"""A plan: the shortest list of calls that gives an architecture's outputs, bound to the modules that hold the weights.

Plans have most of their calls in common: a call is made once for a step, what it is bound to and what dies with it, and
a new genotype's plan is put together from calls that are there. A cached plan is little more than their list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasdsl.operations.recurrent import (
    EMBEDDING,
    Scanning,
    last_scans,
    multiplies,
    on_state,
    with_hidden_dropout,
)
from nasdsl.space.architecture import (
    GATE,
    GIVEN,
    MIX,
    ZEROS,
    Architecture,
    Body,
    CellStep,
    Segment,
    Step,
    given,
    outside,
)
from nasdsl.space.remembered import Remembered
from nasdsl.space.size import Size
from nasdsl.space.tensor import Dim, Shape
from nasdsl.supernet.compiled import Chain, Compiler
from nasdsl.supernet.fuse import Fused, Part
from nasdsl.supernet.fused import FusedRun
from nasdsl.supernet.gates import Gating
from nasdsl.supernet.inplace import RELU_IN_PLACE
from nasdsl.supernet.kernels import fast_norm
from nasdsl.supernet.mixture import Blend, weighted_sum
from nasdsl.supernet.node import Node, NodeRun
from nasdsl.supernet.partial import FIRST, REJOIN, run_of
from nasdsl.supernet.recompute import run_segment

Run = Callable[..., Tensor]


class Context:
    """What is known only when a plan runs: the gates, how they act, the weights of a mixture, the dtype and layout of what
    is made from nothing (zeros), the sizes of free dimensions, and what scans start from."""

    __slots__ = (
        "_others",
        "_vectors",
        "blend",
        "channels_last",
        "dtype",
        "gates",
        "gating",
        "scanning",
        "sizes",
    )

    def __init__(
        self,
        gates: Mapping[str, Tensor],
        gating: Gating,
        dtype: torch.dtype,
        channels_last: bool = False,
        blend: Blend | None = None,
        scanning: Scanning | None = None,
    ) -> None:
        self.blend = blend
        self.scanning = scanning
        self.gates = gates
        self.gating = gating
        self.dtype = dtype
        self.channels_last = channels_last
        self.sizes: dict[str, int] = {}
        self._vectors: dict[tuple[tuple[str, int], ...], Tensor] = {}
        self._others: dict[tuple[tuple[str, int], ...], Tensor] = {}

    def gate_vector(self, gates: tuple[tuple[str, int], ...]) -> Tensor:
        """The entries of gates at the candidates taken [len(gates)]; made once a pass for all nodes that ask alike."""
        found = self._vectors.get(gates)
        if found is None:
            found = self._vectors[gates] = torch.stack([self.gates[choice][k] for choice, k in gates])
        return found

    def others(self, gates: tuple[tuple[str, int], ...]) -> Tensor:
        """The sum of all other entries of those gates, a scalar (0 where gates are one-hot)."""
        found = self._others.get(gates)
        if found is None:
            found = torch.stack(
                [self.gates[choice].sum() - self.gates[choice][k] for choice, k in gates]
            ).sum()
            self._others[gates] = found
        return found


@dataclass(frozen=True, slots=True)
class Bound:
    """What runs a step, with whether it ``wants_context``; ``runs`` are what runs the operations of the catalogue in it."""

    run: Callable[..., Any]
    wants_context: bool
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One call. Inputs and output go by the ids of the steps; ``dead`` are those that nothing reads after it."""

    bound: Bound
    inputs: tuple[int, ...]
    output: int
    dead: tuple[int, ...]


@dataclass(slots=True, eq=False)
class CellCall:
    """A use of a cell as one call. Its own ``calls`` go by ids that stand for the same in all uses of a kind; they free
    what they have read, and what is dead outside is in no other hands."""

    inputs: tuple[int, ...]
    output: int
    dead: tuple[int, ...]
    calls: tuple[Call, ...] = ()
    own_inputs: tuple[int, ...] = ()
    own_output: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Runs without looking at the space again."""

    calls: tuple[Call | CellCall, ...]
    inputs: tuple[int, ...]
    shapes: tuple[Shape, ...]
    outputs: tuple[int, ...]

    def __call__(self, inputs: Sequence[Tensor], context: Context) -> tuple[Tensor, ...]:
        for shape, tensor in zip(self.shapes, inputs, strict=True):
            for axis, dim in enumerate(shape.dims, 1):
                if isinstance(dim, Size):
                    context.sizes[str(dim)] = tensor.shape[axis]
        values = dict(zip(self.inputs, inputs, strict=True))
        execute(self.calls, values, context)
        return tuple(values[id] for id in self.outputs)

    @property
    def runs(self) -> Iterator[Run]:
        """What runs the operations of the catalogue."""
        return (run for call in self.single_calls for run in call.bound.runs)

    @property
    def single_calls(self) -> Iterator[Call]:
        """The calls in the order in which they run, those of cells one by one."""
        for call in self.calls:
            if isinstance(call, CellCall):
                yield from call.calls
            else:
                yield call


def execute(calls: Iterable[Call | CellCall], values: dict[int, Any], context: Context) -> None:
    for call in calls:
        given = [values[id] for id in call.inputs]
        if isinstance(call, CellCall):
            inside = dict(zip(call.own_inputs, given, strict=True))
            given.clear()
            for id in call.dead:
                del values[id]
            execute(call.calls, inside, context)
            values[call.output] = inside[call.own_output]
            continue
        bound = call.bound
        values[call.output] = bound.run(context, *given) if bound.wants_context else bound.run(*given)
        for id in call.dead:
            del values[id]


@dataclass(frozen=True, eq=False)
class Selected(Step):
    """A convolution whose weight is that of the one of ``convs`` that is taken (:mod:`nasdsl.supernet.static`)."""

    convs: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Calling:
    """How steps become calls: with ``kernels`` batch norms run as :mod:`nasdsl.supernet.kernels` has it, and
    ``compiler`` compiles chains."""

    kernels: bool = False
    compiler: Compiler | None = None


def make_plan(
    architecture: Architecture,
    bind: Callable[[Step], Run],
    calling: Calling = Calling(),
    made: Remembered[Any, Any] | None = None,
) -> Plan:
    """The plan of an architecture. ``bind`` gives, for a step with an operation of the catalogue, what runs it; ``made``
    remembers the calls of steps, from one call with the same ``bind`` and ``calling`` to the next."""
    outputs = tuple([id for _, id in architecture.outputs])
    # The inputs are the caller's; freeing them here would free nothing.
    keep = {*outputs, *architecture.inputs}
    level = Level(last_scans(architecture.steps), made=made)
    calls = calls_of(architecture.steps, keep, bind, calling, level)
    shapes = tuple([architecture.step(id).shape for id in architecture.inputs])
    return Plan(tuple(calls), architecture.inputs, shapes, outputs)


@dataclass(frozen=True)
class Level:
    """Where a list of steps is run: by the network itself, whose ``last`` scans no other follows, or by ``scan`` at each
    turn, which has steps whose inputs at ``places`` rest on its state."""

    last: frozenset[int] = frozenset()
    scan: int | None = None
    places: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    made: Remembered[Any, Any] | None = None


def calls_of(
    steps: Sequence[Step],
    keep: set[int],
    bind: Callable[[Step], Run],
    calling: Calling,
    level: Level,
) -> list[Any]:
    """The calls of steps, but for those that stand for what is given. What is in ``keep`` lives on. Those of cells are
    to be filled in."""
    made = Remembered() if level.made is None else level.made
    read = set(keep)
    dying: list[tuple[int, ...]] = []
    for step in reversed(steps):
        gone: list[int] = []
        for id in step.inputs if step.body is None else given(step):
            if id not in read:
                read.add(id)
                gone.append(id)
        dying.append(tuple(gone))
    calls: list[Any] = []
    for step, dead in zip(steps, reversed(dying), strict=True):
        if step.operation in GIVEN:
            continue
        if isinstance(step, CellStep):
            calls.append(CellCall(step.inputs, step.id, dead))
            continue
        # What a loop does rests on whether another follows it.
        key = (step, dead) if step.body is None else None
        call = made.get(key)
        if call is None:
            call = Call(bound(step, bind, calling, level), given(step), step.id, dead)
            if key is not None:
                made.keep(key, call)
        calls.append(call)
    return calls


def bound(step: Step, bind: Callable[[Step], Run], calling: Calling, level: Level = Level()) -> Bound:
    """A step with what runs it."""
    runs: list[Run] = []

    def recorded(step: Step) -> Run:
        runs.append(bind(step))
        return runs[-1]

    run, wants_context = _run(step, recorded, calling, level)
    return Bound(run, wants_context, tuple(runs))


def _run(
    step: Step, bind: Callable[[Step], Run], calling: Calling, level: Level
) -> tuple[Callable[..., Any], bool]:
    if isinstance(step, Node):
        return NodeRun(step, bind, calling.kernels), True
    if isinstance(step, Fused):
        return FusedRun(step, bind, calling.kernels), True
    if isinstance(step, Part):
        return itemgetter(step.position), False
    if isinstance(step, Selected):
        return _selected(step, bind), True
    if isinstance(step, Chain):
        assert calling.compiler is not None
        return calling.compiler.chain(step, [bind(inner) for inner in step.steps]), False
    if isinstance(step, Segment):
        return _segment(step, bind, calling), True
    if step.operation == RELU_IN_PLACE:
        return torch.relu_, False
    if step.operation == GATE:
        assert step.choice is not None and step.candidate is not None
        return _gate(step.choice, step.candidate), True
    if step.operation in (FIRST, REJOIN):
        return run_of(step), False
    if step.operation == MIX:
        return _mix(step), True
    if step.operation == ZEROS:
        return _zeros(step.shape), True
    if step.body is not None:
        return _scan(step, step.body, bind, calling, level), True
    run = bind(step)
    if step.operation == EMBEDDING and level.scan is None:
        return _embedding(run, step.instance.settings["vocab"]), True
    if level.scan is not None and step.id in level.places and multiplies(run):
        dropping = with_hidden_dropout(run, level.scan, level.places[step.id])
        return lambda context, *inputs: dropping(context.scanning, *inputs), True
    return (fast_norm(run) if calling.kernels and isinstance(run, _BatchNorm) else run), False


def _segment(step: Segment, bind: Callable[[Step], Run], calling: Calling) -> Run:
    *steps, node = step.steps
    assert isinstance(node, Node)
    modules: list[nn.Module] = []

    def recorded(inner: Step) -> Run:
        run = bind(inner)
        # A sliced module moves the statistics of the stored one.
        modules.extend(m for m in (run, getattr(run, "full", None)) if isinstance(m, nn.Module))
        return run

    calls = calls_of(steps, {*node.inputs, *step.inputs}, recorded, calling, Level())

    def first(context: Context, *inputs: Tensor) -> list[Tensor]:
        values = dict(zip(step.inputs, inputs, strict=True))
        execute(calls, values, context)
        return [values[id] for id in node.inputs]

    return run_segment(first, NodeRun(node, recorded, calling.kernels), modules)


def _selected(step: Selected, bind: Callable[[Step], Run]) -> Run:
    convs = [conv for conv in map(bind, step.convs) if isinstance(conv, nn.Conv2d)]
    padding = [max(sizes) // 2 for sizes in zip(*(conv.kernel_size for conv in convs), strict=True)]
    stride = convs[0].stride

    def run(context: Context, x: Tensor) -> Tensor:
        assert context.blend is not None
        return F.conv2d(x, context.blend.selected[step.id], stride=stride, padding=padding)

    return run


def _gate(choice: str, candidate: int) -> Run:
    def run(context: Context, x: Tensor) -> Tensor:
        return context.gating(x, context.gates[choice], candidate)

    return run


def _mix(step: Step) -> Run:
    def run(context: Context, *inputs: Tensor) -> Tensor:
        assert context.blend is not None
        weights = context.blend.vector(step.weights, inputs[0].device)
        return weighted_sum(weights, inputs, step.normalised)

    return run


def _zeros(shape: Shape) -> Run:
    def run(context: Context, x: Tensor) -> Tensor:
        zeros = torch.zeros((x.shape[0], *_sizes(shape.dims, context)), dtype=context.dtype, device=x.device)
        if context.channels_last and zeros.dim() == 4:
            zeros = zeros.contiguous(memory_format=torch.channels_last)
        return zeros

    return run


def _sizes(dims: Sequence[Dim], context: Context) -> list[int]:
    return [int(dim.at(context.sizes)) if isinstance(dim, Size) else dim for dim in dims]


def _embedding(run: Run, vocabulary: int) -> Run:
    def embed(context: Context, tokens: Tensor) -> Tensor:
        vectors = run(tokens)
        return vectors if context.scanning is None else context.scanning.embedded(tokens, vectors, vocabulary)

    return embed


def _scan(step: Step, body: Body, bind: Callable[[Step], Run], calling: Calling, level: Level) -> Run:
    """A loop over axis 1 of the first input; the states start at zeros, or at what the pass has for them."""
    before = outside(body)
    # What was made outside lives on for the next round.
    keep = {*body.new_states, body.output, body.element, *body.states, *before}
    calls = calls_of(body.steps, keep, bind, calling, Level(scan=step.id, places=on_state(body)))
    by_id = {inner.id: inner for inner in body.steps}
    shapes = [by_id[id].shape for id in body.states]
    first = len(step.inputs)

    def run(context: Context, *given: Tensor) -> Tensor:
        scanning = context.scanning
        sequence = given[0] if scanning is None else scanning.read(given[0])
        values: dict[int, Any] = dict(zip(before, given[first:], strict=True))
        size = sequence.shape[0]
        states = [
            torch.zeros((size, *_sizes(shape.dims, context)), dtype=context.dtype, device=sequence.device)
            for shape in shapes
        ]
        if scanning is not None:
            states = scanning.start(step.id, states)
        outputs: list[Tensor] = []
        for element in sequence.unbind(1):
            values[body.element] = element
            values.update(zip(body.states, states, strict=True))
            execute(calls, values, context)
            states = [values[id] for id in body.new_states]
            outputs.append(values[body.output])
        stacked = torch.stack(outputs, 1)
        if scanning is None:
            return stacked
        return scanning.end(step.id, states, stacked, step.id in level.last)

    return run
