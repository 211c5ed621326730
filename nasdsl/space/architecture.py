"""One fully decided network, as data: what is left of the space graph when a genotype has been put in.

Guards are resolved, zeros propagated, identities gone and dead nodes dropped. The network, exported code and every
measure are made from it, so they cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import Scope
from nasdsl.space.operation import Instance
from nasdsl.space.tensor import Shape

GATE = "gate"
"""Keeps a choice of tensors visible in an architecture that is decided for a strategy: a step with ``choice`` and
``candidate`` that passes its one input on, multiplied by what the strategy says of that candidate."""

MIX = "mix"
"""A weighted sum, where a strategy blends candidates: ``weights`` says for each input where it is taken, and its weight
is the probability of that when every choice is drawn independently. With ``normalised`` it is divided by the weights'
sum (what a mean becomes)."""

ZEROS = "zeros"
"""The operation of a step that makes a tensor of zeros: an absent tensor that somebody needs. It reads one step, whose
batch axis and free dimensions it takes."""

SEGMENT = "segment"
"""The operation of a :class:`Segment`."""

CELL = "use of a cell"
"""The operation of a :class:`CellStep`."""

GIVEN = ("input", "element", "state")
"""The operations of steps that are no calls: what the network, or what a scan's body is given."""


@dataclass(frozen=True, eq=False)
class Step:
    """One call. ``id`` is the node of the space graph that it came from; ``inputs`` are ids of earlier steps.

    ``operation`` is the name of an operation in the catalogue, or one of ``input`` (a network input; ``name`` is its
    name), :data:`ZEROS`, :data:`GATE`, :data:`MIX`, ``element`` and ``state`` (what a scan's body is given: one element of the sequence, one
    state) and ``scan``.
    ``owner`` is the node whose weights it uses, its own unless ``shared``; None where it has no weights.
    ``scope`` is the use of an ``op``, ``cell`` or ``repeat`` that it stands in.
    """

    id: int
    operation: str
    instance: Instance
    inputs: tuple[int, ...]
    scope: Scope
    name: str | None = None
    owner: int | None = None
    body: Body | None = None
    choice: str | None = None
    candidate: int | None = None
    weights: tuple[Diagram, ...] = ()
    normalised: bool = False

    @property
    def shape(self) -> Shape:
        return self.instance.output


@dataclass(frozen=True, eq=False)
class Segment(Step):
    """``steps`` as one call, of which the backward pass is given the inputs alone: it runs them again. Its output is
    that of the last."""

    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, eq=False)
class CellStep(Step):
    """A use of a cell as one call (:mod:`nasdsl.supernet.cells`). ``last`` is the step in it that makes its output, and
    ``taken`` are the positions of inputs that a sum in it reads as they are and nobody else there reads, each with
    whether it is weighed."""

    last: Step | None = None
    taken: tuple[tuple[int, bool], ...] = ()


@dataclass(frozen=True, eq=False)
class Body:
    """What a scan runs at each element of a sequence (its first free or fixed axis).

    ``element`` and ``states`` are ids of the steps that stand for what the body is given, ``new_states`` what becomes
    of the states, ``output`` what is stacked. Steps outside may be read.
    """

    element: int
    states: tuple[int, ...]
    steps: tuple[Step, ...]
    new_states: tuple[int, ...]
    output: int


@dataclass(frozen=True, eq=False)
class Architecture:
    """Steps in an order in which they can run (``input`` steps among them)."""

    name: str
    genotype: Mapping[str, str | tuple[str, ...]]
    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[tuple[str, int], ...]

    def step(self, id: int) -> Step:
        return self._by_id[id]

    @property
    def _by_id(self) -> dict[int, Step]:
        found = self.__dict__.get("_steps")
        if found is None:
            found = {step.id: step for step in self.steps}
            object.__setattr__(self, "_steps", found)
        return found


def first_output(architecture: Architecture) -> Architecture:
    """What the first output needs, and no other output."""
    first = replace(architecture, outputs=architecture.outputs[:1])
    return replace(first, steps=needed(first, architecture.steps))


def needed(architecture: Architecture, steps: Iterable[Step]) -> tuple[Step, ...]:
    """Those of ``steps`` that the outputs of an architecture rest on, and its inputs, in their order."""
    by_id = {step.id: step for step in steps}
    found: set[int] = set()
    stack = [*architecture.inputs, *(id for _, id in architecture.outputs)]
    while stack:
        id = stack.pop()
        if id not in found and id in by_id:  # else what a scan's body is given
            found.add(id)
            step = by_id[id]
            stack += step.inputs if step.body is None else reads(step)
    return tuple([step for id, step in by_id.items() if id in found])


def reads(step: Step) -> Iterator[int]:
    """What a step reads, as often as it does; all that the body of a scan reads, in it and outside, among it."""
    yield from step.inputs
    if step.body is not None:
        for inner in step.body.steps:
            yield from reads(inner)
        yield from (*step.body.new_states, step.body.output)


def given(step: Step) -> tuple[int, ...]:
    """What a step is run with: its inputs, and of a scan also what its body reads from outside, each once."""
    return step.inputs if step.body is None else step.inputs + outside(step.body)


def outside(body: Body) -> tuple[int, ...]:
    """What a scan's body reads that was made before it."""
    inside = {step.id for step in body.steps} | {body.element, *body.states}
    ids = [id for step in body.steps for id in given(step)] + [*body.new_states, body.output]
    return tuple(dict.fromkeys(id for id in ids if id not in inside))


def readers(architecture: Architecture) -> Counter[int]:
    """How often the output of each step is read; an output of the architecture is read by whoever asked for it."""
    ids = [id for _, id in architecture.outputs]
    for step in architecture.steps:
        ids += step.inputs if step.body is None else reads(step)
    return Counter(ids)
