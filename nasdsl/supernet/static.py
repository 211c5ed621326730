"""One static graph for all genotypes: what a CUDA graph needs, in which no call rests on what was taken.

A blended architecture runs every candidate. Here every choice is one-hot, on the device, and candidates of a choice that
are a batch norm over a convolution of one tensor become one convolution whose weight is selected there,

    W = Σ_k z_k · pad(W_k)          y = (Σ_k z_k) · batchnorm(W * x) + z_skip · x + z_pool · pool(x)

with smaller kernels padded to the largest. Where nothing is selected W is 0, and so are its output and its gradients.
So every edge costs one convolution, whatever is taken, and a step is recorded once
(:class:`nasdsl.supernet.graphs.Captured`). Outputs and gradients are those of the genotype's path.

Candidates that are no such convolution, or whose batch norm has scale and offset, all run, masked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nasdsl.diagnostics import NasError
from nasdsl.space.architecture import MIX, Architecture, Step
from nasdsl.space.choice import Taken
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import SELECT
from nasdsl.space.space import Space
from nasdsl.space.survey import Survey
from nasdsl.supernet.batchnorm import Policy
from nasdsl.supernet.common import share_common
from nasdsl.supernet.fuse import can_pad
from nasdsl.supernet.gates import multiply
from nasdsl.supernet.mixture import Blend
from nasdsl.supernet.node import Node, Term, join_nodes
from nasdsl.supernet.plan import Calling, Context, Selected, make_plan
from nasdsl.supernet.selection import Selection
from nasdsl.supernet.supernet import Relaxed, Supernet


class StaticSupernet(nn.Module):
    """Runs a supernet's genotypes with a fixed row of calls. The weights are the supernet's own.

    Raises ValueError where :func:`obstacle` says why that can't be.
    """

    def __init__(self, supernet: Supernet) -> None:
        super().__init__()
        why = obstacle(supernet.space, supernet.affine, supernet.batch_norm)
        if why is not None:
            raise ValueError(f"a static graph can't run {why}")
        self.supernet = supernet
        space = supernet.space
        blended = space.mixture()
        joined = join_nodes(share_common(blended, space.catalogue), supernet._rides)
        self.architecture = joined if supernet.affine else select_convolutions(joined, supernet)
        self.gatings = _gatings(space, blended, self.architecture)
        """The gatings whose gradients for ``taken`` are those of the path."""
        self._plan = make_plan(self.architecture, supernet._bind, Calling())
        selected = [step for step in self.architecture.steps if isinstance(step, Selected)]
        self._selection = Selection(selected, supernet._bind, supernet.channels_last)
        self._sizes = {choice.name: len(choice.labels) for choice in space.choices}

    def forward(self, *inputs: Tensor, taken: Tensor, gating: str = "") -> Tensor | tuple[Tensor, ...]:
        """The outputs of a genotype's sub-network. ``taken`` [choices, K] is :func:`positions_taken`, on the inputs'
        device. With a ``gating``, one of ``gatings``, its gradient is that of the choices' gates; without one it is
        none."""
        rows = taken.unbind(0)
        ones = {name: row[:size] for (name, size), row in zip(self._sizes.items(), rows, strict=True)}
        blend = OneHot(self.supernet.space, ones, gating)
        blend.selected = self._selection(blend, taken.device)
        if self.supernet.channels_last:
            inputs = tuple(
                x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs
            )
        context = Context({}, multiply, self.supernet.dtype, self.supernet.channels_last, blend)
        outputs = self._plan(inputs, context)
        return outputs[0] if len(outputs) == 1 else outputs


def obstacle(space: Space, affine: bool, batch_norm: Policy) -> str | None:
    """What of a space, or of how batch norms are used, has no static graph, in words that follow "can't run"."""
    if batch_norm != "batch":
        return "batch norms with running statistics, which would be those of all candidates (`-c batch_norm=batch`)"
    for node in space.graph.all_nodes():
        if node.operation == "scan":
            return "a scan, whose state is carried on from step to step"
        if node.operation == "dropout":
            return "dropout, whose draws would be those of all candidates"
    try:
        space.mixture()
    except NasError as error:
        return f"this space: {error.diagnostics[0].message}"
    # Of nothing a path makes nothing, and a static graph makes of zeros what an offset makes of them.
    absent = Survey(space).absent
    for node in space.graph.all_nodes():
        offset = (affine and node.operation == "batchnorm") or node.settings.get("bias")
        if offset and absent[node.id] is not space.table.false:
            what = "batch norms with scale and offset" if node.operation == "batchnorm" else "a bias"
            return f"{what} behind a candidate that gives nothing"
    return None


def positions_taken(space: Space, genotype: Relaxed) -> list[list[int]]:
    """For each choice the positions of the candidates that a genotype takes; where it hasn't the choice, which decides
    nothing then, the first."""
    found = []
    for choice in space.choices:
        labels: Taken = genotype.get(choice.name, () if choice.is_sublist else choice.labels[0])
        taken = (labels,) if isinstance(labels, str) else labels
        found.append([choice.labels.index(label) for label in taken])
    return found


def one_hot(positions: Sequence[Sequence[int]], most: int, dtype: torch.dtype) -> Tensor:
    """[choices, ``most``]: 1 at the positions of each choice."""
    rows = [row for row, taken in enumerate(positions) for _ in taken]
    columns = [position for taken in positions for position in taken]
    found = torch.zeros((len(positions), most), dtype=dtype)
    found[rows, columns] = 1
    return found


class OneHot(Blend):
    """Weights that are 0 or 1, with the gradients of a gating (:mod:`nasdsl.supernet.gates`): <δ, o_k> at the candidate
    taken, and at the others 0 with ``selected_only`` and Σδ with ``ones_for_others``."""

    def __init__(self, space: Space, taken: Mapping[str, Tensor], gating: str) -> None:
        # The same value, and a gradient for what is taken alone.
        super().__init__(space, {name: z * z.detach() if gating else z.detach() for name, z in taken.items()})
        self._taken = taken
        self._wants_others = gating == "ones_for_others"
        self._others: dict[tuple[str, ...], Tensor] = {}

    def others(self, choices: Sequence[str]) -> Tensor | None:
        if not self._wants_others or not choices:
            return None
        key = tuple(choices)
        found = self._others.get(key)
        if found is None:
            gates = [self._taken[name] for name in key]
            found = torch.stack([((z - z.detach()) * (1 - z.detach())).sum() for z in gates]).sum()
            self._others[key] = found
        return found


def _gatings(space: Space, blended: Architecture, joined: Architecture) -> frozenset[str]:
    """A path has a gate where one of several candidates is selected. In a mixture weights of choices also stand where
    sums and means rest on them: there gates would get gradients that a path hasn't."""
    owner = {v: choice for choice in space.choices for v in choice.variables}
    selects = set()
    for step in blended.steps:
        if step.operation != MIX:
            continue
        rested = {owner[v] for weight in step.weights for v in weight.support()}
        gated = {choice.name for choice in rested if not choice.is_sublist}
        alone = all(_one_case(weight) is not None for weight in step.weights)
        if gated and (gated != {step.choice} or step.normalised or not alone):
            return frozenset()
        if step.choice is not None:
            selects.add(step.id)
    found = {"selected_only"}
    # Σδ is that of a node's sum: every selection must end in one, also where all of its candidates are absent.
    every = {
        node.id for node in space.graph.all_nodes() if node.operation == SELECT and node.choice is not None
    }
    if selects == every and not any(step.operation == MIX for step in joined.steps):
        found.add("ones_for_others")
    return frozenset(found)


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
        isinstance(module, nn.Conv2d) and can_pad(step) and module.bias is None and module.dilation == (1, 1)
    )


def _selected(group: Sequence[Term], architecture: Architecture, id: int) -> Selected:
    convs = tuple(architecture.step(term.source) for term in group if term.source is not None)
    weights = tuple(term.weight for term in group if term.weight is not None)
    first = convs[0]
    return Selected(
        id, "selected", first.instance, first.inputs, first.scope, first.name, weights=weights, convs=convs
    )
