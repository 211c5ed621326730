"""Blending: every candidate runs, and their outputs are added with weights that a strategy has for each choice.

The weights of a choice are a tensor [K], one entry a candidate; usually probabilities that sum to 1. Those of a sub-list
are for each candidate that of its being in, so they need not. Where an edge of the space graph rests on several choices
its weight is that of its guard, P(guard), with every choice drawn on its own: over the guard's diagram,

    P(true) = 1,   P(false) = 0,   P(node) = Σ_c w_c · P(case c)

with w the weights of the choice that the node asks (of a sub-list's candidate: 1 - w and w). So gradients reach the
weights of every choice that plays a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nasdsl.space.diagram import Diagram
from nasdsl.space.space import Space
from nasdsl.supernet.gates import inner


class Blend:
    """The weights of one pass. What is asked of it is worked out once.

    A strategy's weights may have more bits than a network needs, of tensors of ``dtype``: what they come to is rounded
    to that, or to float32 where it has fewer, for all nodes that ask alike.
    """

    def __init__(self, space: Space, weights: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
        self._space = space
        self._weights = weights
        self._dtype = None if dtype is None else torch.promote_types(dtype, torch.float32)
        self._owner = {v: choice for choice in space.choices for v in choice.variables}
        self._cases: dict[int, Sequence[Tensor]] = {}
        self._known: dict[int, Tensor | float] = {}
        self._vectors: dict[tuple[int, ...], Tensor] = {}
        self.selected: Mapping[int, Tensor] = {}
        """The weights of selected convolutions, by their steps (:mod:`nasdsl.supernet.selection`)."""

    def vector(self, guards: Sequence[Diagram], device: torch.device) -> Tensor:
        """P of each guard, [len(guards)], on the device."""
        key = tuple(map(id, guards))
        found = self._vectors.get(key)
        if found is None:
            like = next(iter(self._weights.values()))
            values = [self.probability(guard) for guard in guards]
            # Filled, not copied from the host, for which a device would be waited for.
            entries = [v if isinstance(v, Tensor) else like.new_full((), v) for v in values]
            found = self._vectors[key] = torch.stack(entries).to(device, self._dtype)
        return found

    def others(self, choices: Sequence[str]) -> Tensor | None:
        """What stands for the candidates not taken of choices that end in one sum, a scalar 0 that wants its gradient Σδ
        (:class:`nasdsl.supernet.static.OneHot`); None where nobody asks for it."""
        return None

    def probability(self, guard: Diagram) -> Tensor | float:
        """P(guard); a number where it rests on no choice."""
        if guard.is_leaf:
            return 1.0 if guard.value is True else 0.0
        found = self._known.get(id(guard))
        if found is None:
            total: Tensor | float = 0.0
            for weight, case in zip(self._of_cases(guard.variable), guard.cases, strict=True):
                p = self.probability(case)
                if isinstance(p, Tensor):
                    total = total + weight * p
                elif p:
                    total = total + weight
            found = self._known[id(guard)] = total
        return found

    def _of_cases(self, variable: int) -> Sequence[Tensor]:
        found = self._cases.get(variable)
        if found is None:
            choice = self._owner[variable]
            weights = self._weights[choice.name].unbind(0)
            if choice.is_sublist:
                inside = weights[choice.variables.index(variable)]
                found = (1 - inside, inside)
            else:
                found = weights
            self._cases[variable] = found
        return found


def weighted_sum(weights: Tensor, inputs: Sequence[Tensor], normalised: bool) -> Tensor:
    """Σ_i weights_i · inputs_i, divided by Σ_i weights_i where ``normalised``."""
    if normalised:
        weights = weights / weights.sum()
    result: Tensor = _WeightedSum.apply(weights, *inputs)
    return result


class _WeightedSum(torch.autograd.Function):
    """Keeps the inputs alone for its backward pass: a product for each would keep as many results."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *inputs)
        result = inputs[0] * weights[0]
        for weight, x in zip(weights[1:].unbind(0), inputs[1:], strict=True):
            result = result + x * weight
        return result

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor | None, ...]:
        (delta,) = deltas
        weights, *inputs = ctx.saved_tensors
        wanted, *wanted_inputs = ctx.needs_input_grad
        of_weights = None
        if wanted:
            of_weights = torch.stack([inner(delta, x).to(weights) for x in inputs])
        of_inputs = [
            delta * weight if want else None
            for want, weight in zip(wanted_inputs, weights.unbind(0), strict=True)
        ]
        return of_weights, *of_inputs
