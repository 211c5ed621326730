"""Candidates that give nothing, whatever goes in."""

from __future__ import annotations

import torch
from torch import Tensor

from nasdsl.space.graph import SELECT
from nasdsl.space.space import Space


def zero_candidates(space: Space) -> Tensor:
    """[choices, K]: which candidates give nothing, whatever goes in."""
    graph = space.graph
    absent: dict[int, bool] = {}
    owner = {choice.index: choice for choice in space.choices}
    found = torch.zeros(
        len(space.choices), max((len(c.labels) for c in space.choices), default=0), dtype=torch.bool
    )
    for node in graph.all_nodes():
        edges = graph.reads(node.id)
        given = [absent[edge.source] for edge in edges if edge.source in absent]
        operation = space.catalogue.get(node.operation)
        if node.operation == "zero":
            absent[node.id] = True
        elif node.operation in (SELECT, "sum", "mean", "identity"):
            absent[node.id] = bool(given) and all(given)
        else:
            absent[node.id] = operation is not None and operation.passes_absence and any(given)
        if node.choice is not None:
            variable = owner[node.choice].variables[0]
            for edge in edges:
                for k in range(len(owner[node.choice].labels)):
                    if absent.get(edge.source) and (
                        space.table.restrict(edge.guard, variable, k) is not space.table.false
                    ):
                        found[node.choice, k] = True
    return found
