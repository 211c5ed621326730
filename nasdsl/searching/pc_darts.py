"""PC-DARTS: partial channels, and weights of edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nasdsl.searching.blending import Blending, BlendingOptions
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.space.architecture import MIX
from nasdsl.space.space import Space
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe


class PcDartsOptions(BlendingOptions):
    lr: float = Field(default=6e-4, gt=0, description="learning rate of the architecture parameters (Adam)")
    share: int = Field(
        default=4, ge=1, description="K: candidates see one in so many channels (1: all of them)"
    )
    warmup: int = Field(default=15, ge=0, description="epochs in which the architecture parameters rest")


@STRATEGIES.add("pc_darts")
class PcDarts(Blending):
    """Xu, Xie, Zhang, Chen, Qi, Tian & Xiong, "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture
    Search", ICLR 2020.

    First-order DARTS in which the candidates of a choice see the first C/K channels of their input; the others pass by,
    are joined on, and the channels are shuffled (:mod:`nasdsl.supernet.partial`). And each edge into a node has a weight:
    with β one logit an edge, the edges that enter one node are multiplied by softmax(β). Edges are the candidates
    of ``choose k of``, or choices whose outputs are added (as in NAS-Bench-201). Strengths are softmax(β) · softmax(α).

    With K = 1 and equal β it is DARTS with each of a node's n edges divided by n. Both logits rest for 15 epochs.

    Since the candidates' weights are trained on C/K channels, the shared weights say little of the winner: it is meant
    to be trained from scratch.

    The preset ``demo`` trains for 50 epochs with minibatches of 64, the last 40 with architecture steps, at a learning
    rate of 3e-2.
    """

    Options: ClassVar[type[Config]] = PcDartsOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": (*Blending.presets["demo"], "search.batch=64", "options.warmup=10"),
    }
    recipe: ClassVar[Recipe] = Recipe(epochs=50, batch=256, lr=0.1, nesterov=False, weight_decay=3e-4)

    def __init__(self, space: Space, options: PcDartsOptions, seed: int) -> None:
        space.mixture()  # raises where there is none
        self.groups = edge_groups(space)
        super().__init__(space, options, seed)

    @property
    def share(self) -> int:
        return int(self.options.share)

    def more_rows(self) -> list[int]:
        return [len(group) for group in self.groups]

    def edges(self) -> list[Tensor]:
        """For each group of edges softmax(β)."""
        first = len(self.space.choices)
        return [torch.softmax(self.logits[first + i, : len(group)], 0) for i, group in enumerate(self.groups)]

    def weights(self) -> dict[str, Tensor]:
        found = super().weights()
        for group, edges in zip(self.groups, self.edges(), strict=True):
            if group[0] in self.nested_members:
                found[self.nested_members[group[0]]] = edges
            else:
                for name, edge in zip(group, edges.unbind(0), strict=True):
                    found[name] = found[name] * edge
        return found

    @property
    def nested_members(self) -> dict[str, str]:
        """For the choice under each candidate of ``choose k of`` the sub-list."""
        return {name: outer for outer, inner in self.nested.items() for name in inner}

    def edge_strengths(self, sublist: str) -> Sequence[float]:
        group = tuple(self.nested[sublist])
        found: list[float] = self.edges()[self.groups.index(group)].tolist()
        return found


def edge_groups(space: Space) -> list[tuple[str, ...]]:
    """The choices that stand for the edges into one node: those under the candidates of a sub-list, and those whose
    outputs are added in one sum."""
    from nasdsl.searching.assign import nested_choices

    found: dict[tuple[str, ...], None] = {}
    for choice in space.choices:
        if choice.is_sublist and choice.low == choice.high:
            inner = nested_choices(space, choice)
            if inner is not None:
                found[tuple(inner)] = None
    taken = {name for group in found for name in group}
    asked = {v for choice in space.choices for v in choice.guard.support()}
    architecture = space.mixture()
    of = {step.id: step.choice for step in architecture.steps if step.operation == MIX}
    for step in architecture.steps:
        if step.operation == "sum":
            names = [of.get(id) for id in step.inputs]
            group = tuple(name for name in names if name is not None)
            # A choice that others rest on would weigh them too.
            free = all(space.choice(name).variables[0] not in asked for name in group)
            if len(group) == len(names) > 1 and len(set(group)) == len(group) and free:
                if not taken & set(group):
                    found[group] = None
                    taken |= set(group)
    return list(found)
