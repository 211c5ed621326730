"""Images cut into tokens: a convolution whose stride is its kernel, moved to [T, D], with or without learned positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from nasdsl.lifting.layout import moved, moves, numbered
from nasdsl.lifting.trace import BATCH, Trace, arguments, operator, shape


@dataclass(frozen=True, eq=False)
class Patches:
    """``last`` gives what the language's ``patchify`` would give of ``first``."""

    first: fx.Node
    last: fx.Node
    inside: frozenset[fx.Node]
    patch: int
    weights: dict[str, Tensor]


def find_patches(trace: Trace) -> list[Patches]:
    """Every cut into patches of a trace."""
    found = []
    for node in trace.needed:
        if node.op == "call_function" and operator(node) == "conv2d":
            patches = _patches(trace, node)
            if patches is not None:
                found.append(patches)
    return found


def _patches(trace: Trace, node: fx.Node) -> Patches | None:
    given = arguments(node)
    weight = trace.constants[given["weight"]]
    patch = weight.shape[-1]
    windows = [list(weight.shape[2:]), [int(s) for s in given["stride"]]]
    plain = given["groups"] == 1 and set(given["padding"]) == {0} and set(given["dilation"]) == {1}
    if not plain or any(set(w) != {patch} for w in windows) or (patch == 1 and len(node.users) > 1):
        return None
    _, features, rows, columns = shape(node)
    tokens = rows * columns
    entries = numbered((BATCH, features, rows, columns))
    want = numbered((BATCH, features, tokens)).transpose(1, 2)
    last, inside = node, [node]
    while not (torch.equal(reached := moved(last, node, entries), want) and reached.shape == want.shape):
        users = list(last.users)
        if len(users) != 1 or not moves(users[0]):
            return None
        last = users[0]
        inside.append(last)
    positions = torch.zeros(tokens, features)
    users = list(last.users)
    if len(users) == 1 and operator(users[0]) == "add" and not users[0].kwargs:
        other = [trace.constants[n] for n in users[0].all_input_nodes if n in trace.constants]
        if len(other) == 1 and other[0].shape in ((1, tokens, features), (tokens, features)):
            positions, last = other[0].reshape(tokens, features), users[0]
            inside.append(last)
    bias = given["bias"]
    weights = {
        "project.weight": weight,
        "project.bias": trace.constants[bias] if bias is not None else weight.new_zeros(features),
        "positions": positions,
    }
    return Patches(given["input"], last, frozenset(inside), patch, weights)
