"""Self-attention, however it was written: found by its scores, and proved by following where every entry goes.

Models write attention in many ways (one joined projection or three, heads split by ``view`` or ``chunk``, tokens first or
the batch first, ``scaled_dot_product_attention`` or two products and a softmax). What they share is

    softmax(Q Kᵀ · scale [causal]) V,    Q, K, V = moved entries of linear(x),    result = linear(moved entries)

Token numbers and row numbers are sent through the moves in place of data; they say which rows of the projections belong
to which head, so the weights of the language's ``attention`` are those rows, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from nasdsl.lifting.layout import moved, moves, numbered, origin
from nasdsl.lifting.trace import BATCH, Trace, arguments, operator, shape

PASSED = frozenset({"dropout", "dropout_"}) | frozenset(
    {"to", "_to_copy", "contiguous", "clone", "type_as", "float"}
)


@dataclass(frozen=True, eq=False)
class Attention:
    """``last`` gives what the language's ``attention`` would give of ``first``; nothing else reads ``inside``."""

    first: fx.Node
    last: fx.Node
    inside: frozenset[fx.Node]
    heads: int
    head_dim: int
    causal: bool
    weights: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class _Core:
    """softmax(query · keyᵀ · scale) · value; ``key`` is [..., d, T] where ``transposed``."""

    result: fx.Node
    query: fx.Node
    key: fx.Node
    value: fx.Node
    scale: float
    causal: bool
    transposed: bool


def find_attention(trace: Trace) -> list[Attention]:
    """Every self-attention of a trace that the language's ``attention`` can say."""
    found = []
    for node in trace.needed:
        core = _core(trace, node)
        attention = _attention(trace, core) if core is not None else None
        if attention is not None:
            found.append(attention)
    return found


# --- the scores -------------------------------------------------------------------------------------


def _core(trace: Trace, node: fx.Node) -> _Core | None:
    if node.op != "call_function":
        return None
    if operator(node) == "scaled_dot_product_attention":
        return _fused(trace, node)
    if operator(node) in ("matmul", "bmm") and len(node.all_input_nodes) == 2:
        return _written_out(trace, node)
    return None


def _fused(trace: Trace, node: fx.Node) -> _Core | None:
    given = arguments(node)
    query, key, value = given["query"], given["key"], given["value"]
    width = shape(query)[-1]
    scale = given["scale"] if given.get("scale") is not None else width**-0.5
    causal = bool(given["is_causal"])
    if given["attn_mask"] is not None:
        mask = trace.constants.get(given["attn_mask"])
        if mask is None or causal or not _is_causal(mask, shape(query)[-2]):
            return None
        causal = True
    return _Core(node, query, key, value, scale, causal, False)


def _written_out(trace: Trace, node: fx.Node) -> _Core | None:
    weights, value = node.args[0], node.args[1]
    assert isinstance(weights, fx.Node) and isinstance(value, fx.Node)
    softmax = _skip(weights)
    if operator(softmax) not in ("softmax", "_softmax") or softmax.op != "call_function":
        return None
    if arguments(softmax)["dim"] not in (-1, len(shape(softmax)) - 1):
        return None
    scale, causal = 1.0, False
    scores: Any = _skip(softmax.args[0])
    while scores.op == "call_function":
        name, given = operator(scores), scores.args
        number = given[1] if len(given) > 1 and isinstance(given[1], (int, float)) else None
        if name in ("mul", "mul_") and number is not None:
            scale, scores = scale * number, _skip(given[0])
        elif name in ("div", "div_") and number is not None:
            scale, scores = scale / number, _skip(given[0])
        elif name in ("masked_fill", "masked_fill_", "add", "add_", "where") and not causal:
            masked = _mask(trace, scores, shape(scores)[-1])
            if masked is None:
                return None
            causal, scores = True, _skip(masked)
        else:
            break
    if operator(scores) not in ("matmul", "bmm"):
        return None
    query, key = scores.args
    scale *= _scaled(trace, query)[0] * _scaled(trace, key)[0]
    return _Core(node, _scaled(trace, query)[1], _scaled(trace, key)[1], value, scale, causal, True)


def _skip(node: Any) -> Any:
    """Past dropout and copies."""
    while isinstance(node, fx.Node) and node.op == "call_function" and operator(node) in PASSED:
        node = node.args[0]
    return node


def _scaled(trace: Trace, node: Any) -> tuple[float, fx.Node]:
    """A query or key that was multiplied by a number first: the number, and what was multiplied."""
    if node.op == "call_function" and operator(node) in ("mul", "div") and len(node.args) == 2:
        number: Any = node.args[1]
        if isinstance(number, fx.Node) and number in trace.constants:
            number = trace.constants[number].item() if trace.constants[number].numel() == 1 else None
        if isinstance(number, (int, float)):
            return (number if operator(node) == "mul" else 1 / number), node.args[0]
    return 1.0, node


def _mask(trace: Trace, node: fx.Node, tokens: int) -> fx.Node | None:
    """The scores beneath a causal mask, whichever way it was applied."""
    nodes = [n for n in node.args if isinstance(n, fx.Node)]
    moving = [n for n in nodes if n not in trace.constants]
    if len(moving) != 1:
        return None
    probe = torch.zeros(shape(moving[0]))
    values: dict[fx.Node, Any] = {n: trace.constants[n] for n in nodes if n is not moving[0]}
    args = fx.map_arg(node.args, lambda n: probe if n is moving[0] else values[n])
    target: Any = node.target
    applied = target(*args, **node.kwargs)
    return moving[0] if _is_causal(applied, tokens) else None


def _is_causal(mask: Tensor, tokens: int) -> bool:
    """Whether a mask (true where one may look, or added to the scores) lets a token see itself and those before."""
    if mask.shape[-2:] != (tokens, tokens):
        return False
    seen = mask if mask.dtype == torch.bool else (mask == 0)
    hidden = seen.logical_not() if mask.dtype == torch.bool else mask <= -1e4
    lower = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    return bool((seen == lower).all()) and bool((hidden == ~lower).all())


# --- what goes in and comes out ---------------------------------------------------------------------


def _attention(trace: Trace, core: _Core) -> Attention | None:
    projections = [origin(node) for node in (core.query, core.key, core.value)]
    if any(p.op != "call_function" or operator(p) != "linear" for p in projections):
        return None
    before = [p.args[0] for p in projections]
    first = origin(before[0])  # type: ignore[arg-type]
    tokens_of = _tokens(first)
    if tokens_of is None or any(origin(x) is not first for x in before):  # type: ignore[arg-type]
        return None
    sides = []
    for node, projection in zip((core.query, core.key, core.value), projections, strict=True):
        transposed = core.transposed and node is core.key
        heads = _rows(node, projection, first, tokens_of, transposed)
        if heads is None:
            return None
        sides.append(heads)
    groups = sides[0].groups
    if any(side.groups != groups for side in sides) or shape(core.query)[-1] != shape(core.value)[-1]:
        return None
    after = _after(trace, core.result, groups, tokens_of, first)
    if after is None:
        return None
    last, out, bias = after
    width = int(sides[0].rows.shape[1])
    weights: dict[str, Tensor] = {}
    for name, side, projection in zip(("query", "key", "value"), sides, projections, strict=True):
        matrix, offset = _linear(trace, projection)
        taken = side.rows.reshape(-1)
        weights[f"{name}.weight"], weights[f"{name}.bias"] = matrix[taken].clone(), offset[taken].clone()
    # The language divides by the root of the head's width.
    factor = core.scale * math.sqrt(width)
    if not math.isclose(factor, 1.0, rel_tol=1e-9):
        weights["query.weight"] *= factor
        weights["query.bias"] *= factor
    weights["out.weight"], weights["out.bias"] = out, bias
    inside = frozenset(_between(first, last))
    return Attention(first, last, inside, int(sides[0].rows.shape[0]), width, core.causal, weights)


def _tokens(node: fx.Node) -> Tensor | None:
    """The number of the token at each place of a tensor [N, T, D]: 0, 1, … over N and T; None for other tensors."""
    sizes = shape(node)
    if len(sizes) != 3 or sizes[0] != BATCH:
        return None
    return numbered((sizes[0], sizes[1], 1)).expand(sizes).contiguous()


@dataclass(frozen=True, eq=False)
class _Heads:
    """``rows`` [heads, d] of a projection; ``groups`` says for each group of the scores its (example, head)."""

    groups: tuple[tuple[int, int], ...]
    rows: Tensor


def _rows(
    node: fx.Node, projection: fx.Node, first: fx.Node, tokens: Tensor, transposed: bool
) -> _Heads | None:
    before: Any = projection.args[0]
    outputs = shape(projection)[-1]
    which = moved(before, first, tokens)
    if not bool((which == which[..., :1]).all()):
        return None
    entries = which[..., :1] * outputs + torch.arange(outputs)
    reached = moved(node, projection, entries)
    if transposed:
        reached = reached.transpose(-1, -2)
    reached = reached.reshape(-1, *reached.shape[-2:])  # [groups, T, d]
    count = shape(first)[1]
    token, row = reached // outputs, reached % outputs
    example = token[:, 0, 0] // count
    expected = example[:, None] * count + torch.arange(count)
    if not bool((token == expected[:, :, None]).all()) or not bool((row == row[:, :1]).all()):
        return None
    seen: dict[int, int] = {}
    groups: list[tuple[int, int]] = []
    heads: dict[int, Tensor] = {}
    for group, number in enumerate(example.tolist()):
        head = seen.get(number, 0)
        seen[number] = head + 1
        groups.append((number, head))
        if not torch.equal(heads.setdefault(head, row[group, 0]), row[group, 0]):
            return None
    if len(set(seen.values())) != 1 or len(seen) != BATCH:
        return None
    return _Heads(tuple(groups), torch.stack([heads[h] for h in range(len(heads))]))


def _after(
    trace: Trace, result: fx.Node, groups: tuple[tuple[int, int], ...], tokens: Tensor, first: fx.Node
) -> tuple[fx.Node, Tensor, Tensor] | None:
    """The last node of an attention, and the weight and bias of the projection back."""
    sizes = shape(result)
    count, width = sizes[-2], sizes[-1]
    heads = len(groups) // BATCH
    inner = heads * width
    owners = torch.tensor(groups)
    token = owners[:, 0, None, None] * count + torch.arange(count)[:, None]
    column = owners[:, 1, None, None] * width + torch.arange(width)
    entries = (token * inner + column).reshape(sizes)
    want = numbered((BATCH, count, 1))
    node = result
    while True:
        reached = moved(node, result, entries)
        if reached.shape == (BATCH, count, inner) and torch.equal(
            reached // inner, want.expand(reached.shape)
        ):
            break
        following = _only_user(node)
        if following is None or not moves(following):
            break
        node = following
    projection = _only_user(node)
    while projection is not None and moves(projection):
        node, projection = projection, _only_user(projection)
    reached = moved(node, result, entries)
    if reached.shape[-1] != inner or not bool((reached // inner == reached[..., :1] // inner).all()):
        return None
    columns = reached % inner
    if not bool((columns == columns.reshape(-1, inner)[0]).all()):
        return None
    order = columns.reshape(-1, inner)[0]
    if projection is None or projection.op != "call_function" or operator(projection) != "linear":
        return None
    matrix, offset = _linear(trace, projection)
    if matrix.shape[0] != shape(first)[-1]:
        return None
    weight = torch.empty_like(matrix)
    weight[:, order] = matrix
    # From here on tokens are followed until they lie as they came in.
    which = (reached[..., :1] // inner).expand(*reached.shape[:-1], matrix.shape[0]).contiguous()
    last = projection
    while True:
        lying = moved(last, projection, which)
        if lying.shape == tokens.shape and torch.equal(lying, tokens):
            return last, weight, offset
        following = _only_user(last)
        if following is None or not moves(following):
            return None
        last = following


def _linear(trace: Trace, projection: fx.Node) -> tuple[Tensor, Tensor]:
    given = arguments(projection)
    weight = trace.constants[given["weight"]]
    bias = given["bias"]
    return weight, trace.constants[bias] if bias is not None else weight.new_zeros(weight.shape[0])


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _between(first: fx.Node, last: fx.Node) -> Iterator[fx.Node]:
    """The nodes on the ways from ``first`` to ``last``, without ``first``."""
    above: set[fx.Node] = set()
    stack = [last]
    while stack:
        node = stack.pop()
        if node is first or node in above or node.op != "call_function":
            continue
        above.add(node)
        stack.extend(node.all_input_nodes)
    return iter(above)
