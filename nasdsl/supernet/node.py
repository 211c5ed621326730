"""A node's sum as one call, with what weighs its terms riding along.

The terms of a sum, of a mixture and what passes through gates are joined into one step,

    y = Σ_i c_i · t_i,     t_i = x_i  or  batchnorm(x_i)

with one buffer for y. c_i is 1, the weight of a candidate in a mixture, or a gate. In front of a batch norm it is the
norm's scale: its gradient is Σ_channels of that of the scale, which the norm's backward pass gives for nothing. Else it
is <δ, x_i>, with δ the gradient of y, and Σδ, which estimator ``ones_for_others`` asks for, is taken once a node.

For the backward pass a node keeps: for each batch norm its input x_i (and [C] statistics, not its output), and the
other x_i only where the gradient of c_i is wanted. Nothing else is kept for a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from nasdsl.space.architecture import GATE, MIX, ZEROS, Architecture, Step, needed, readers
from nasdsl.space.diagram import Diagram
from nasdsl.space.remembered import Remembered
from nasdsl.supernet.gates import OnesForOthers, inner, multiply, selected_only
from nasdsl.supernet.kernels import add_normalised, normalised_backward, takes_batch_statistics

NODE = "node"


@dataclass(frozen=True)
class Term:
    """One term of a node's sum: the step whose output it is, None where that is absent; the batch norm in between; and
    its coefficient, a weight of a mixture or the gate of a candidate, 1 where it has neither."""

    source: int | None
    norm: Step | None = None
    weight: Diagram | None = None
    gate: tuple[str, int] | None = None

    @property
    def is_weighed(self) -> bool:
        return self.weight is not None or self.gate is not None


@dataclass(frozen=True, eq=False)
class Node(Step):
    """A step of operation :data:`NODE`. Its inputs are the sources of the terms that are there. ``choices`` are those
    whose candidates it adds up with their weights, each as often as it ends here."""

    terms: tuple[Term, ...] = ()
    choices: tuple[str, ...] = ()


# --- the pass -----------------------------------------------------------------------------------------


def join_nodes(
    architecture: Architecture, rides: Callable[[Step], bool], made: Remembered[Any, Any] | None = None
) -> Architecture:
    """The same architecture with sums, mixtures and gates as nodes.

    ``rides(step)`` says whether a coefficient may be the scale of that batch norm. What a scan repeats stays as it is.
    ``made`` remembers the nodes, where ``rides`` is the same.
    """
    read = readers(architecture)
    made = Remembered() if made is None else made
    steps: dict[int, Step] = {}
    for step in architecture.steps:
        if step.operation not in _SUMS:
            steps[step.id] = step
            continue
        # What is read by this sum alone, which it may absorb, and what is absent: the node rests on nothing else.
        sources = [steps[id] for id in step.inputs]
        own = tuple([s if read[s.id] == 1 or s.operation == ZEROS else None for s in sources])
        key = ("node", step, own)
        found = made.get(key)
        if found is None:
            found = made.keep(key, _node(step, sources, steps, read, rides))
        steps[step.id] = found
    return replace(architecture, steps=needed(architecture, steps.values()))


def _node(
    step: Step,
    sources: Sequence[Step],
    steps: Mapping[int, Step],
    read: Mapping[int, int],
    rides: Callable[[Step], bool],
) -> Step:
    """The node that a step is, or the step where it is none. ``sources`` are what it reads."""
    terms = _terms(step, sources)
    if terms is None:
        return step
    absorbed: list[Term] = []
    choices = [] if step.operation != MIX or step.choice is None else [step.choice]
    for term in terms:
        found, inner = _absorb(term, steps, read, rides)
        absorbed += found
        choices += inner
    there = [term for term in absorbed if term.source is None or steps[term.source].operation != ZEROS]
    if any(term.source is not None for term in there):
        # What is absent adds nothing; a gate on it may still want its Σδ.
        gone = [replace(t, source=None) for t in absorbed if t not in there and t.gate is not None]
        absorbed = there + gone
    inputs = tuple(term.source for term in absorbed if term.source is not None)
    return Node(
        step.id, NODE, replace(step.instance, inputs=tuple(steps[i].shape for i in inputs)), inputs,
        step.scope, step.name, terms=tuple(absorbed), choices=tuple(choices),
    )  # fmt: skip


_SUMS = frozenset({GATE, "sum", MIX})


def _terms(step: Step, sources: Sequence[Step]) -> list[Term] | None:
    """What a step adds up, or None where it is no sum."""
    if step.operation == GATE:
        assert step.choice is not None and step.candidate is not None
        return [Term(step.inputs[0], gate=(step.choice, step.candidate))]
    if step.operation == "sum":
        terms = [Term(id) for id in step.inputs]
    elif step.operation == MIX and not step.normalised:
        terms = [
            Term(id, weight=None if weight.is_leaf and weight.value is True else weight)
            for id, weight in zip(step.inputs, step.weights, strict=True)
        ]
    else:
        return None
    return terms if all(source.shape == step.shape for source in sources) else None


def _absorb(
    term: Term, steps: Mapping[int, Step], read: Mapping[int, int], rides: Callable[[Step], bool]
) -> tuple[Sequence[Term], Sequence[str]]:
    """The terms that stand for one, where nobody else reads what it reads, and the choices that end in them."""
    assert term.source is not None
    source = steps[term.source]
    if read[source.id] > 1:
        return [term], ()
    if isinstance(source, Node) and not term.is_weighed:
        return source.terms, source.choices
    if rides(source):
        return [replace(term, source=source.inputs[0], norm=source)], ()
    return [term], ()


# --- what runs it -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A term as it runs: where its tensor stands among the inputs, its coefficient among the coefficients."""

    position: int
    coefficient: int | None
    norm: _BatchNorm | None
    gate: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Those of one pass: of the terms that are weighed, the sum of all other gates, and whether they are one-hot gates,
    1 in the forward pass. ``one_by_one`` where the gating is not one of ours."""

    values: Tensor | None = None
    others: Tensor | None = None
    hard: bool = False
    one_by_one: bool = False


class NodeRun:
    """What runs a node. ``bind`` gives the module of a batch norm."""

    def __init__(self, node: Node, bind: Callable[[Step], Any], kernels: bool) -> None:
        there = [term for term in node.terms if term.source is not None]
        weighed = [term for term in there if term.is_weighed]
        numbers = iter(range(len(weighed)))
        places = [
            _Place(
                position,
                next(numbers) if term.is_weighed else None,
                None if term.norm is None else bind(term.norm),
                term.gate,
            )
            for position, term in enumerate(there)
        ]
        # Batch norms first: their output is a fresh buffer, which the others are added to.
        self.places = sorted(places, key=lambda place: place.norm is None)
        self.guards = tuple(term.weight for term in weighed if term.weight is not None)
        self.gates = tuple(term.gate for term in weighed if term.gate is not None)
        self.absent = tuple(t.gate for t in node.terms if t.source is None and t.gate is not None)
        self.choices = node.choices
        self.kernels = kernels

    def with_norms(self, norms: Sequence[Any]) -> NodeRun:
        """The same of other batch norms, given in the order of the terms."""
        other = object.__new__(NodeRun)
        other.__dict__.update(self.__dict__)
        new = iter(norms)
        other.places = [
            place if place.norm is None else _Place(place.position, place.coefficient, next(new), place.gate)
            for place in self.places
        ]
        return other

    def __call__(self, context: Any, *inputs: Tensor) -> Tensor:
        return self.add(self.coefficients(context, inputs[0].device), context, inputs)

    def coefficients(self, context: Any, device: torch.device) -> Coefficients:
        if self.guards:
            return Coefficients(context.blend.vector(self.guards, device), context.blend.others(self.choices))
        if not (self.gates or self.absent):
            return Coefficients()
        gating = context.gating
        others = isinstance(gating, OnesForOthers)
        hard = others or gating is selected_only
        if not hard and gating is not multiply:
            return Coefficients(one_by_one=True)
        values = context.gate_vector(self.gates) if self.gates else None
        if hard and values is not None and not values.requires_grad:
            values = None
        return Coefficients(values, context.others((*self.gates, *self.absent)) if others else None, hard)

    def add(self, found: Coefficients, context: Any, inputs: Sequence[Tensor]) -> Tensor:
        if found.one_by_one:
            return _one_by_one(self.places, self.absent, context, inputs)
        return _add_up(self.places, found, inputs, self.kernels)


def _one_by_one(
    places: Sequence[_Place], absent: Sequence[tuple[str, int]], context: Any, inputs: Sequence[Tensor]
) -> Tensor:
    """With a gating that is not one of ours."""
    total: Tensor | None = None
    for place in places:
        x = inputs[place.position] if place.norm is None else place.norm(inputs[place.position])
        if place.gate is not None:
            x = context.gating(x, context.gates[place.gate[0]], place.gate[1])
        total = x if total is None else total + x
    assert total is not None
    for choice, candidate in absent:
        total = total + context.gating(torch.zeros_like(total), context.gates[choice], candidate)
    return total


def _add_up(
    places: Sequence[_Place], coefficients: Coefficients, inputs: Sequence[Tensor], kernels: bool
) -> Tensor:
    # Two tensors a term, its input and, of a batch norm, scale and offset after them.
    tensors: list[Tensor | None] = []
    layout: list[tuple[int | None, float | None]] = []
    for place in places:
        x, norm, scale, offset = inputs[place.position], place.norm, None, None
        eps = None
        if norm is not None:
            if takes_batch_statistics(norm) and x.numel() > x.shape[1]:
                scale, offset, eps = norm.weight, norm.bias, norm.eps
            else:
                x = norm(x)
        tensors += [x, scale, offset]
        layout.append((place.coefficient, eps))
    values, others = coefficients.values, coefficients.others
    if len(layout) == 1 and values is None and others is None and layout[0][1] is None:
        assert tensors[0] is not None
        return tensors[0]
    result: Tensor = _AddUp.apply(layout, coefficients.hard, kernels, values, others, *tensors)
    return result


class _AddUp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        layout: Sequence[tuple[int | None, float | None]],
        hard: bool,
        kernels: bool,
        coefficients: Tensor | None,
        extra: Tensor | None,
        *tensors: Tensor | None,
    ) -> Tensor:
        xs = [x for x in tensors[::3] if x is not None]
        dtype = reduce(torch.promote_types, (x.dtype for x in xs))
        factors = None if coefficients is None or hard else _Factors(coefficients, xs[0])
        learned = coefficients is not None and ctx.needs_input_grad[3]
        out: Tensor | None = None
        waiting: Tensor | None = None  # the first term, where it is nobody's buffer
        saved: list[Tensor | None] = []
        for (k, eps), x, scale, offset in zip(layout, xs, tensors[1::3], tensors[2::3], strict=True):
            factor = None if factors is None or k is None else factors.values[k]
            if eps is not None:
                scaled, moved = scale, _times(offset, factor)
                if factors is not None and k is not None:
                    scaled = factors.scale(scale, k)
                out, mean, inverse = add_normalised(out, x, scaled, moved, eps, kernels)
                if out.dtype != dtype:
                    out = out.to(dtype)
                saved += [x, mean, inverse]
                continue
            if out is None and waiting is None:
                if factor is not None:
                    out = (x * factor.to(x.dtype)).to(dtype)
                else:
                    waiting = x
            elif out is None:
                assert waiting is not None
                if factor is not None and x.dtype == waiting.dtype:
                    out = torch.addcmul(waiting, x, factor.to(x.dtype))
                else:
                    out = waiting + (x if factor is None else x * factor.to(x.dtype))
            else:
                out = out.add_(x) if factor is None else _add_times(out, x, factor)
            saved += [x if learned and k is not None else None, None, None]
        if out is None:
            assert waiting is not None
            out = waiting.view_as(waiting)
        ctx.layout, ctx.hard = layout, hard
        ctx.count = len(saved)
        ctx.save_for_backward(coefficients, *saved, *tensors[1::3], *tensors[2::3])
        ctx.dtypes = [x.dtype for x in xs]
        ctx.extra = extra
        return out

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Any, ...]:
        (delta,) = deltas
        coefficients, *rest = ctx.saved_tensors
        saved, norms = rest[: ctx.count], rest[ctx.count :]
        scales, offsets = norms[: len(ctx.layout)], norms[len(ctx.layout) :]
        learned, wants_extra, *wanted = ctx.needs_input_grad[3:]
        factors = None if coefficients is None or ctx.hard else _Factors(coefficients, delta)
        found: list[Tensor | None] = []
        products: dict[int, Tensor] = {}
        for i, (k, eps) in enumerate(ctx.layout):
            want_x, want_scale, want_offset = wanted[3 * i : 3 * i + 3]
            x, mean, inverse = saved[3 * i : 3 * i + 3]
            factor = None if factors is None or k is None else factors.values[k]
            weighs = learned and k is not None
            if eps is None:
                of_x = None
                if want_x:
                    of_x = delta if factor is None else delta * factor.to(delta.dtype)
                    of_x = of_x.to(ctx.dtypes[i])
                if weighs:
                    products[k] = inner(delta, x)
                found += [of_x, None, None]
                continue
            scale, offset = scales[i], offsets[i]
            asked = (want_x, want_scale or weighs, want_offset or (weighs and offset is not None))
            scaled = scale if factors is None or k is None else factors.scale(scale, k)
            of_x, of_scale, of_offset = normalised_backward(delta, x, scaled, mean, inverse, eps, asked)
            if weighs:
                assert of_scale is not None
                product = (of_scale if scale is None else of_scale * scale).sum()
                if offset is not None and of_offset is not None:
                    product = product + (of_offset * offset).sum()
                products[k] = product
            found += [
                of_x,
                _times(of_scale, factor) if want_scale else None,
                _times(of_offset, factor) if want_offset else None,
            ]
        of_coefficients = None
        if learned:
            assert coefficients is not None
            of_coefficients = torch.stack([products[k] for k in sorted(products)]).to(coefficients)
        of_extra = delta.sum().to(ctx.extra) if wants_extra else None
        return None, None, None, of_coefficients, of_extra, *found


class _Factors:
    """The coefficients as a node's tensors need them. All at once: for a GPU each would be a launch."""

    def __init__(self, coefficients: Tensor, x: Tensor) -> None:
        # Scales of batch norms stay in float32 where tensors have fewer bits.
        self.values = coefficients.to(x.device, torch.promote_types(x.dtype, torch.float32))
        self.channels = x.shape[1] if x.dim() > 1 else 1
        self.scales: Sequence[Tensor] = ()

    def scale(self, values: Tensor | None, k: int) -> Tensor:
        """The scale [C] of a batch norm times coefficient k; values of None are ones."""
        if values is not None:
            return values * self.values[k].to(values.dtype)
        if not self.scales:
            self.scales = self.values.unsqueeze(1).expand(-1, self.channels).contiguous().unbind(0)
        return self.scales[k]


def _times(values: Tensor | None, factor: Tensor | None) -> Tensor | None:
    return values if values is None or factor is None else values * factor.to(values.dtype)


def _add_times(out: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """out + factor · x, in place."""
    if x.dtype != out.dtype:
        return out.add_(x * factor.to(x.dtype))
    return out.addcmul_(x, factor.to(x.dtype))
