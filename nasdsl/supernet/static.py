"""One static graph for all genotypes: what a CUDA graph needs, in which no call rests on what was sampled.

A blended architecture runs every candidate. Here every choice is one-hot, on the device, and candidates of a choice that
are a batch norm over a convolution of one tensor become one convolution whose weight is selected there,

    W = Σ_k z_k · pad(W_k)          y = (Σ_k z_k) · batchnorm(W * x) + z_skip · x + z_pool · pool(x)

with smaller kernels padded to the largest. Where nothing is selected W is 0, and so are its output and its gradients.
So every edge costs one convolution, whatever is sampled, and a whole search step is captured once
(:class:`nasdsl.supernet.graphs.Captured`). Outputs and gradients are those of the genotype's path.

It asks for batch norms without affine part that use the statistics of the batch. Candidates that are no such
convolution all run, masked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.diagram import Diagram
from nasdsl.supernet.common import share_common
from nasdsl.supernet.gates import multiply
from nasdsl.supernet.mixture import Blend
from nasdsl.supernet.node import Node, Term, join_nodes
from nasdsl.supernet.plan import Calling, Context, Selected, make_plan
from nasdsl.supernet.supernet import Supernet


class StaticSupernet(nn.Module):
    """Runs a supernet's genotypes with a fixed row of calls. The weights are the supernet's own.

    Raises NasError (N506) where candidates can't be blended, and ValueError where batch norms have an affine part or
    running statistics.
    """

    def __init__(self, supernet: Supernet) -> None:
        super().__init__()
        if supernet.affine or supernet.batch_norm != "batch":
            raise ValueError(
                "a static graph needs batch norms without affine part and with the batch's statistics"
            )
        self.supernet = supernet
        space = supernet.space
        blended = share_common(space.mixture(), space.catalogue)
        joined = join_nodes(blended, supernet._rides)
        self.architecture = select_convolutions(joined, supernet)
        self._plan = make_plan(self.architecture, supernet._bind, Calling())

    def forward(self, *inputs: Tensor, taken: Mapping[str, Tensor]) -> Tensor:
        """The first output. ``taken`` are one-hot [K] for each choice, on the inputs' device. Where they want a gradient
        it is that of the gating ``selected_only``: <δ, o_k> at the candidate taken, 0 at the others."""
        # The same value, and a gradient for what is taken alone.
        weights = {name: z * z.detach() for name, z in taken.items()}
        blend = Blend(self.supernet.space, weights)
        if self.supernet.channels_last:
            inputs = tuple(
                x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs
            )
        context = Context({}, multiply, self.supernet.dtype, self.supernet.channels_last, blend)
        return self._plan(inputs, context)[0]


# --- the pass -----------------------------------------------------------------------------------------


def select_convolutions(architecture: Architecture, supernet: Supernet) -> Architecture:
    """The same architecture with the convolutions of a choice as one step, in front of one batch norm."""
    readers = Counter(id for step in architecture.steps for id in step.inputs)
    fresh = iter(range(max(step.id for step in architecture.steps) + 1, 10**9))
    steps: list[Step] = []
    gone: set[int] = set()
    for step in architecture.steps:
        if not isinstance(step, Node):
            steps.append(step)
            continue
        terms: list[Term] = []
        for group in _groups(step.terms, architecture, supernet, readers):
            if len(group) == 1:
                terms.append(group[0])
                continue
            made = _selected(group, architecture, next(fresh))
            steps.append(made)
            gone |= {term.source for term in group if term.source is not None}
            weight = group[0].weight
            for term in group[1:]:
                assert weight is not None and term.weight is not None
                weight = supernet.space.table.either(weight, term.weight)
            terms.append(Term(made.id, group[0].norm, weight))
        inputs = tuple(term.source for term in terms if term.source is not None)
        steps.append(replace(step, terms=tuple(terms), inputs=inputs))
    return replace(architecture, steps=tuple(step for step in steps if step.id not in gone))


def _groups(
    terms: Sequence[Term], architecture: Architecture, supernet: Supernet, readers: Mapping[int, int]
) -> list[list[Term]]:
    """Terms that one convolution can stand for together, others alone."""
    found: dict[Any, list[Term]] = {}
    for number, term in enumerate(terms):
        key: Any = number
        if term.norm is not None and term.weight is not None and term.source is not None:
            conv = architecture.step(term.source)
            variable = _one_case(term.weight)
            if variable is not None and readers[conv.id] == 1 and _is_plain(conv, supernet):
                key = (variable, conv.inputs, conv.shape, conv.instance.settings["stride"])
        found.setdefault(key, []).append(term)
    return list(found.values())


def _one_case(weight: Diagram) -> int | None:
    """The variable that a weight asks alone, for one of its cases; so weights of one variable exclude each other."""
    if weight.is_leaf or any(not case.is_leaf for case in weight.cases):
        return None
    return weight.variable if sum(case.value is True for case in weight.cases) == 1 else None


def _is_plain(step: Step, supernet: Supernet) -> bool:
    module = supernet._bind(step) if step.operation == "conv" else None
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == 1
        and module.bias is None
        and module.dilation == (1, 1)
        and all(k % 2 == 1 for k in module.kernel_size)
    )


def _selected(group: Sequence[Term], architecture: Architecture, id: int) -> Selected:
    convs = tuple(architecture.step(term.source) for term in group if term.source is not None)
    weights = tuple(term.weight for term in group if term.weight is not None)
    first = convs[0]
    return Selected(
        id, "selected", first.instance, first.inputs, first.scope, first.name, weights=weights, convs=convs
    )


# --- one-hot samples ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class HardSample:
    """One-hot [choices, K], differentiable through the Gumbel softmax of ``logits``; nothing leaves the device."""

    hard: Tensor

    @staticmethod
    def draw(logits: Tensor, valid: Tensor, tau: Tensor | float) -> HardSample:
        """``logits`` and ``valid`` (whether a choice has such a candidate) are [choices, K], ``tau`` a temperature."""
        noise = -torch.empty_like(logits).exponential_().log()
        log_p = torch.log_softmax(logits.masked_fill(~valid, -torch.inf), 1)
        soft = torch.softmax((log_p + noise) / tau, 1)
        # Not F.one_hot, which may ask the host.
        hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
        return HardSample(hard + (soft - soft.detach()))

    def taken(self, names: Sequence[str], sizes: Sequence[int]) -> dict[str, Tensor]:
        return {name: row[:size] for name, size, row in zip(names, sizes, self.hard.unbind(0), strict=True)}
