"""Horizontal fusion: candidates that do the same with one tensor are one candidate of as many times the channels.

    y = w1 · bn(conv3(x; W1)) + w2 · bn(conv3(x; W2))        z = conv3(x; [W1; W2])                      M·C channels
    v = w3 · bn(conv3(x; W3))                          ──►   [y1; y2; y3] = w · bn(z)                    one batch norm
                                                             y = y1 + y2, v = y3                         a sum a node

They may stand on several edges, and in several nodes. A row of operations goes on so as long as each has its M channels
blocks by itself: a convolution of a block is one of M groups, a depthwise one has M·C, batch norms and activations don't
mix channels. Where rows end in the sums of nodes, the weights of a mixture are the scale of the last batch norm, as in
:mod:`nasdsl.supernet.node`; else each block is read as the tensor that it stands for.

With ``pads`` a convolution of a smaller kernel is one of a larger kernel with zeros around: it takes a kernel launch
less, and more arithmetic. Weights stay those of the single operations, and are joined in each pass. The calls are those
of :mod:`nasdsl.supernet.fused`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nasdsl.operations.rules import each
from nasdsl.space.architecture import Architecture, Step, readers
from nasdsl.space.diagram import Diagram
from nasdsl.space.operation import Instance
from nasdsl.space.remembered import Remembered
from nasdsl.space.tensor import Shape
from nasdsl.supernet.node import Node, Term

FUSED = "fused"
PART = "part"

NORM = "batchnorm"
CONVOLUTIONS = frozenset({"conv", "depthwise"})
_BY_ITSELF = frozenset({NORM, "relu", "tanh", "sigmoid", "gelu", "silu", "hardswish"})
"""Operations that don't mix channels."""


@dataclass(frozen=True, eq=False)
class Fused(Step):
    """A step of operation :data:`FUSED`. ``stages`` are what is done one after the other, each the operations of all
    members. It gives several tensors: the sums of the first ``ends[0]`` members, of the next ``ends[1]``, and so on. In
    sums members have ``weights``, where they are of a mixture."""

    stages: tuple[tuple[Step, ...], ...] = ()
    ends: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Part(Step):
    """A step of operation :data:`PART`: the tensor at ``position`` of a :class:`Fused` one."""

    position: int = 0


@dataclass(frozen=True)
class _Row:
    """What is done to a tensor until somebody else has a say: ``steps``, and where they end in the sum of a node its
    ``term`` at ``place``, a node and a position in it."""

    steps: tuple[Step, ...]
    place: tuple[int, int] = (-1, 0)
    term: Term | None = None

    @property
    def adds(self) -> bool:
        """Whether what a batch norm gives is added up as it is, or with a weight."""
        return self.term is not None and self.term.gate is None and self.steps[-1].operation == NORM

    @property
    def weight(self) -> Diagram | None:
        return self.term.weight if self.term is not None and self.adds else None


def fuse_candidates(
    architecture: Architecture, pads: bool, made: Remembered[Any, Any] | None = None
) -> Architecture:
    """The same architecture, whose sums are nodes, with rows of operations on one tensor as one step. ``made`` remembers
    the steps."""
    made = Remembered() if made is None else made
    gone: set[int] = set()
    at: dict[int, tuple[Step, ...]] = {}
    terms: dict[tuple[int, int], Term | None] = {}
    for rows in _alike(_rows(architecture), pads):
        gone |= {step.id for row in rows for step in row.steps}
        first = rows[0].steps[0]
        rows.sort(key=lambda row: row.place)
        at[first.id] = _fused(rows, architecture.step(first.inputs[0]).shape, made)
        terms |= _terms(rows, at[first.id])
    if not at:
        return architecture
    steps: list[Step] = []
    for step in architecture.steps:
        steps += at.get(step.id, ())
        if step.id not in gone:
            steps.append(_reading(step, terms, made) if isinstance(step, Node) else step)
    return replace(architecture, steps=tuple(steps))


# --- rows ---------------------------------------------------------------------------------------------


def _rows(architecture: Architecture) -> Iterator[_Row]:
    """Those that start with a convolution, and aren't in another.

    None with a batch norm that is used elsewhere too: what moves its running statistics is to come in the order of the
    text.
    """
    read = readers(architecture)
    uses = Counter(norm.owner for norm in _norms(architecture))
    reader = {id: step for step in architecture.steps for id in step.inputs if read[id] == 1}
    inside: set[int] = set()
    for step in architecture.steps:
        if step.id not in inside and _is_convolution(step):
            row = _row(step, reader)
            inside.update(inner.id for inner in row.steps)
            if all(inner.operation != NORM or uses[inner.owner] == 1 for inner in row.steps):
                yield row


def _norms(architecture: Architecture) -> Iterator[Step]:
    for step in architecture.steps:
        if step.operation == NORM:
            yield step
        elif isinstance(step, Node):
            yield from (term.norm for term in step.terms if term.norm is not None)


def _row(first: Step, reader: Mapping[int, Step]) -> _Row:
    steps = [first]
    after = reader.get(first.id)
    while after is not None and (after.operation in _BY_ITSELF or _is_convolution(after)):
        steps.append(after)
        after = reader.get(after.id)
    if not isinstance(after, Node):
        return _Row(tuple(steps))
    ((position, term),) = ((i, t) for i, t in enumerate(after.terms) if t.source == steps[-1].id)
    if term.norm is not None:
        steps.append(term.norm)
    return _Row(tuple(steps), (after.id, position), term)


def _is_convolution(step: Step) -> bool:
    """Of one group, or of one a channel."""
    return step.operation in CONVOLUTIONS and step.instance.settings.get("groups", 1) == 1


def can_pad(step: Step) -> bool:
    """Whether a step is a convolution of :func:`_is_convolution` whose kernel may be the middle of a larger one."""
    return _is_convolution(step) and all(size % 2 == 1 for size in kernel_of(step))


def kernel_of(convolution: Step) -> tuple[int, ...]:
    kernel, axes = convolution.instance.settings["kernel"], len(convolution.shape.dims) - 1
    return each(convolution.operation, "kernel", kernel, axes)


def _alike(rows: Iterable[_Row], pads: bool) -> Iterator[list[_Row]]:
    """Those that may run as one, two or more together."""
    # First by what is quickly told: few are left of a single path.
    quick: dict[Any, list[_Row]] = {}
    for row in rows:
        words = tuple([step.operation for step in row.steps])
        quick.setdefault((row.steps[0].inputs, words, row.adds, row.weight is None), []).append(row)
    for group in quick.values():
        if len(group) > 1:
            groups: dict[Any, list[_Row]] = {}
            for row in group:
                groups.setdefault(tuple(_kind(step, pads) for step in row.steps), []).append(row)
            yield from (found for found in groups.values() if len(found) > 1)


def _kind(step: Step, pads: bool) -> Any:
    """Equal for steps that may run as one."""
    settings = dict(step.instance.settings)
    if pads and can_pad(step):
        settings["kernel"] = "any"
    return (step.operation, repr(sorted(settings.items())), step.instance.inputs, step.shape)


# --- what becomes of them -----------------------------------------------------------------------------


def _fused(rows: Sequence[_Row], given: Shape, made: Remembered[Any, Any]) -> tuple[Step, ...]:
    """The fused step, and its parts."""
    # Rows that end in one node are neighbours.
    nodes = [row.place[0] if row.adds else -1 - i for i, row in enumerate(rows)]
    ends = tuple(nodes.count(node) for node in dict.fromkeys(nodes))
    weights = tuple(row.weight for row in rows if row.weight is not None)
    key = ("fused", tuple(row.steps for row in rows), ends, weights)
    found: tuple[Step, ...] | None = made.get(key)
    if found is not None:
        return found
    first, last = rows[0].steps[0], rows[0].steps[-1]
    channels, *sizes = last.shape.dims
    assert isinstance(channels, int)  # no free dimension: weights rest on it
    whole = replace(last.shape, dims=(len(ends) * channels, *sizes))
    # No node of the graph has an id below 0, and the steps whose ids the parts have are gone.
    fused = Fused(
        -1 - first.id, FUSED, Instance((given,), {}, whole), first.inputs, first.scope,
        weights=weights, stages=tuple(zip(*(row.steps for row in rows), strict=True)), ends=ends,
    )  # fmt: skip
    starts = [sum(ends[:position]) for position in range(len(ends))]
    parts = [
        Part(
            rows[start].steps[-1].id, PART, Instance((whole,), {}, last.shape), (fused.id,), last.scope,
            position=position,
        )
        for position, start in enumerate(starts)
    ]  # fmt: skip
    return made.keep(key, (fused, *parts))


def _terms(rows: Sequence[_Row], steps: Sequence[Step]) -> dict[tuple[int, int], Term | None]:
    """What the terms become in which rows end: a part, or None where that of another term has them in it."""
    found: dict[tuple[int, int], Term | None] = {}
    fused, *parts = steps
    assert isinstance(fused, Fused)
    rest = iter(rows)
    for count, part in zip(fused.ends, parts, strict=True):
        for i in range(count):
            row = next(rest)
            if row.term is not None:
                kept = Term(part.id) if row.adds else replace(row.term, source=part.id, norm=None)
                found[row.place] = kept if i == 0 else None
    return found


def _reading(node: Node, terms: Mapping[tuple[int, int], Term | None], made: Remembered[Any, Any]) -> Node:
    """The node with other terms."""
    now = [terms.get((node.id, position), term) for position, term in enumerate(node.terms)]
    kept = tuple(term for term in now if term is not None)
    if kept == node.terms:
        return node
    key = ("fused node", node, kept)
    found: Node | None = made.get(key)
    if found is None:
        inputs = tuple(term.source for term in kept if term.source is not None)
        instance = replace(node.instance, inputs=(node.shape,) * len(inputs))
        found = made.keep(key, replace(node, instance=instance, inputs=inputs, terms=kept))
    return found
