"""From torch's operators to calls of the language's operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, fx

from nasdsl.diagnostics import NasError, failure
from nasdsl.lifting.attention import Attention, find_attention
from nasdsl.lifting.call import INPUT, SUM, Call, Place, Setting
from nasdsl.lifting.layout import COPIES, RESHAPES
from nasdsl.lifting.patches import Patches, find_patches
from nasdsl.lifting.trace import BATCH, Trace, arguments, in_place, operator, shape


class Unliftable(Exception):
    """An operator, or an argument of one, that the language has no word for."""


Rule = Callable[["Translator", fx.Node, dict[str, Any]], Call]
RULES: dict[str, Rule] = {}
"""How each of torch's operators is said, by its name."""

EPSILON = 1e-5
"""What the language's normalisations add to a variance."""


def translate(trace: Trace) -> list[Call]:
    """The outputs of a module, as calls. Raises NasError N1085 with all that the language can't say."""
    return Translator(trace).outputs()


class Translator:
    """One trace under translation; ``calls`` has the call of each node that was translated."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.calls: dict[fx.Node, Call] = {}
        self.path: tuple[Place, ...] = ()
        self.attentions = {found.last: found for found in find_attention(trace)}
        self.patches = {found.last: found for found in find_patches(trace)}
        regions: list[Attention | Patches] = [*self.attentions.values(), *self.patches.values()]
        self.inside = {node for region in regions for node in region.inside}

    def outputs(self) -> list[Call]:
        self._all_liftable()
        return [self.calls[node] for node in self.trace.outputs]

    def _all_liftable(self) -> None:
        problems: dict[str, list[str]] = {}
        spoilt: set[fx.Node] = set()
        for node in self.trace.needed:
            try:
                if any(n in spoilt for n in node.all_input_nodes) and node.op == "call_function":
                    # What follows is not understood either, unless it has a word of its own that is missing too.
                    spoilt.add(node)
                    if operator(node) in RULES or node in self.inside or operator(node) in COPIES | RESHAPES:
                        continue
                self._node(node)
            except Unliftable as reason:
                spoilt.add(node)
                problems.setdefault(str(reason), []).append(self.trace.where(node))
        for node, name in self._shared():
            problems.setdefault(f"`{name}` is used more than once", []).append(self.trace.where(node))
        if problems:
            raise NasError(*(self._problem(reason, where) for reason, where in problems.items()))

    def _shared(self) -> list[tuple[fx.Node, str]]:
        """Uses of a parameter after its first one: each use in the language has weights of its own."""
        needed = set(self.trace.needed)
        found = []
        for tensor, name in self.trace.names.items():
            if name in self.trace.parameters:
                users = [node for node in tensor.users if node in needed]
                found += [(node, name) for node in users[1:]]
        return found

    def _problem(self, reason: str, where: list[str]) -> Any:
        places = list(dict.fromkeys(where))
        more = f" and {len(places) - 3} more places" if len(places) > 3 else ""
        said = ", ".join(f"`{place}`" for place in places[:3]) + more
        error = failure(
            "N1085",
            f"`{type(self.trace.module).__name__}` can't be lifted: {reason} (in {said})",
            "`docs/operations.md` has what the language knows; a new operation comes from a Python package",
        )
        return error.diagnostics[0]

    def _node(self, node: fx.Node) -> None:
        if node in self.trace.inputs:
            whole = not node.meta["val"].dtype.is_floating_point
            name = self.trace.inputs[node]
            self.calls[node] = Call(INPUT, (), {}, shape(node)[1:], (), name=name, whole_numbers=whole)
        elif node.op != "call_function" or node in self.trace.constants:
            if node in self.trace.outputs:
                raise Unliftable("an output that rests on no input")
        elif node in self.attentions:
            self.calls[node] = self._attention(self.attentions[node])
        elif node in self.patches:
            self.calls[node] = self._patches(self.patches[node])
        elif node not in self.inside:
            rule = RULES.get(operator(node))
            if rule is None:
                raise Unliftable(f"torch's `{operator(node)}` has no word in the language")
            self.path = self.trace.path(node)
            self.calls[node] = rule(self, node, arguments(node))
            if in_place(node):
                self.calls[node.all_input_nodes[0]] = self.calls[node]

    def _attention(self, found: Attention) -> Call:
        self.path = self._common(found.inside)
        settings: dict[str, Setting] = {
            "heads": found.heads,
            "head_dim": found.head_dim,
            "causal": found.causal,
        }
        return self.make("attention", [found.first], settings, shape(found.last), found.weights)

    def _patches(self, found: Patches) -> Call:
        self.path = self._common(found.inside)
        features = shape(found.last)[-1]
        settings: dict[str, Setting] = {"patch": found.patch, "features": features}
        return self.make("patchify", [found.first], settings, shape(found.last), found.weights)

    def _common(self, nodes: frozenset[fx.Node]) -> tuple[Place, ...]:
        """The modules that all of some nodes stand in."""
        paths = [self.trace.path(node) for node in nodes if node not in self.trace.constants]
        common = paths[0]
        for path in paths[1:]:
            same = [a for a, b in zip(common, path, strict=False) if a == b]
            common = common[: len(same)] if common[: len(same)] == path[: len(same)] else ()
        return common

    def make(
        self,
        operation: str,
        inputs: list[fx.Node | Call],
        settings: dict[str, Setting],
        sizes: tuple[int, ...],
        weights: dict[str, Tensor] | None = None,
    ) -> Call:
        """A call at the present place; ``sizes`` are with the batch axis."""
        if sizes[:1] != (BATCH,):
            raise Unliftable(f"a tensor {list(sizes)} that has lost its batch axis")
        given = tuple(x if isinstance(x, Call) else self.value(x) for x in inputs)
        return Call(operation, given, settings, tuple(sizes[1:]), self.path, weights or {})

    def value(self, node: Any) -> Call:
        if not isinstance(node, fx.Node):
            raise Unliftable(f"`{node}` in the place of a tensor")
        if node in self.trace.constants:
            name = self.trace.names.get(node, "a constant tensor")
            raise Unliftable(f"`{name}`, a tensor of the module that no operation owns,")
        return self.calls[node]

    def weight(self, node: Any) -> Tensor:
        found = self.trace.constants.get(node) if isinstance(node, fx.Node) else None
        if found is None:
            raise Unliftable("a weight that is computed from the input")
        return found


def rule(*names: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


# --- convolution, dense -----------------------------------------------------------------------------


@rule("conv1d", "conv2d", "conv3d")
def _conv(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    weight = t.weight(given["weight"])
    axes = weight.dim() - 2
    kernel = tuple(weight.shape[2:])
    stride, dilation = _each(given["stride"], axes), _each(given["dilation"], axes)
    wanted = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    padding = given["padding"]
    if padding == "same" and all(k % 2 for k in kernel):
        padding = wanted
    _same_padding("a convolution", padding, wanted, axes)
    if all(s == 1 for s in stride) and any(k % 2 == 0 for k in kernel):
        raise Unliftable(f"a convolution with the even kernel {_text(kernel)} at stride 1")
    channels, groups = weight.shape[0], int(given["groups"])
    settings: dict[str, Setting] = {
        "kernel": _one(kernel),
        "stride": _one(stride),
        "dilation": _one(dilation),
        "bias": given["bias"] is not None,
    }
    weights = {"weight": weight}
    if given["bias"] is not None:
        weights["bias"] = t.weight(given["bias"])
    if groups == channels == t.value(given["input"]).shape[0] and groups > 1:
        return t.make("depthwise", [given["input"]], settings, shape(node), weights)
    settings = {"channels": channels, **settings, "groups": groups}
    return t.make("conv", [given["input"]], settings, shape(node), weights)


@rule("linear")
def _linear(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    weights = {"weight": t.weight(given["weight"])}
    if given["bias"] is not None:
        weights["bias"] = t.weight(given["bias"])
    settings: dict[str, Setting] = {
        "features": weights["weight"].shape[0],
        "bias": given["bias"] is not None,
    }
    return t.make("linear", [given["input"]], settings, shape(node), weights)


@rule("embedding")
def _embedding(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    weight = t.weight(given["weight"])
    settings: dict[str, Setting] = {"vocab": weight.shape[0], "features": weight.shape[1]}
    return t.make("embedding", [given["indices"]], settings, shape(node), {"weight": weight})


# --- normalisation ----------------------------------------------------------------------------------


@rule("batch_norm")
def _batch_norm(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    if given["running_mean"] is None:
        raise Unliftable("a batch norm without running statistics")
    mean, variance = t.weight(given["running_mean"]), t.weight(given["running_var"])
    weights = {
        "weight": torch.ones_like(mean) if given["weight"] is None else t.weight(given["weight"]),
        "bias": torch.zeros_like(mean) if given["bias"] is None else t.weight(given["bias"]),
        "running_mean": mean,
        # Another epsilon is the same as another variance, as long as the running ones are used.
        "running_var": variance + (given["eps"] - EPSILON),
    }
    return t.make("batchnorm", [given["input"]], {}, shape(node), weights)


@rule("layer_norm")
def _layer_norm(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    features = list(given["normalized_shape"])
    if len(features) != 1:
        raise Unliftable(f"a layer norm over several axes {features}")
    ones = torch.ones(features)
    weights = {
        "weight": ones if given["weight"] is None else t.weight(given["weight"]),
        "bias": torch.zeros_like(ones) if given["bias"] is None else t.weight(given["bias"]),
    }
    return t.make("layernorm", [given["input"]], {}, shape(node), weights)


@rule("dropout", "dropout_", "feature_dropout")
def _dropout(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    if given["p"] == 0:
        return t.value(given["input"])
    return t.make("dropout", [given["input"]], {"p": _exact(given["p"])}, shape(node))


# --- pooling, size ----------------------------------------------------------------------------------


@rule("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d")
def _pool(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    x = t.value(given.get("self", given.get("input")))
    axes = len(x.shape) - 1
    kernel = _each(given["kernel_size"], axes)
    stride = _each(given["stride"] or kernel, axes)
    padding = _each(given["padding"], axes)
    average = operator(node).startswith("avg")
    sizes = x.shape[1:]
    if average and kernel == sizes and not any(padding):
        return _global_average(t, x, shape(node), keep=True)
    if given["ceil_mode"]:
        raise Unliftable("a pool with ceil_mode")
    if any(d != 1 for d in _each(given.get("dilation", 1), axes)):
        raise Unliftable("a dilated pool")
    if average and any(padding) and given["count_include_pad"]:
        raise Unliftable("an average that counts the padding (count_include_pad=True)")
    _same_padding("a pool", padding, tuple((k - 1) // 2 for k in kernel), axes)
    settings: dict[str, Setting] = {"kernel": _one(kernel), "stride": _one(stride)}
    return t.make("avgpool" if average else "maxpool", [x], settings, shape(node))


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def _adaptive(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    x = t.value(given["self"])
    if x.shape[1:] == shape(node)[2:]:
        return x
    if any(size != 1 for size in shape(node)[2:]):
        raise Unliftable(f"an adaptive pool to {_text(shape(node)[2:])}")
    return _global_average(t, x, shape(node), keep=True)


@rule("mean")
def _mean(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    x = t.value(given["self"])
    rank = len(x.shape) + 1
    axes = sorted(axis % rank for axis in given.get("dim") or range(rank))
    if axes == list(range(2, rank)) and rank > 2:
        return _global_average(t, x, shape(node), keep=bool(given["keepdim"]))
    if axes == [1] and rank == 3 and not given["keepdim"]:
        return t.make("mean_tokens", [x], {}, shape(node))
    raise Unliftable(f"a mean over the axes {axes} of {rank}")


def _global_average(t: Translator, x: Call, sizes: tuple[int, ...], *, keep: bool) -> Call:
    flat = t.make("global_avgpool", [x], {}, (BATCH, x.shape[0]))
    return t.make("reshape", [flat], {"sizes": tuple(sizes[1:])}, sizes) if keep else flat


@rule("amax")
def _amax(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    x = t.value(given["self"])
    rank = len(x.shape) + 1
    if sorted(axis % rank for axis in given["dim"]) != list(range(2, rank)) or given["keepdim"]:
        raise Unliftable("a maximum over some axes")
    return t.make("global_maxpool", [x], {}, shape(node))


@rule(*RESHAPES)
def _reshape(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    x = t.value(next(iter(given.values())))
    sizes = shape(node)
    while x.operation in ("reshape", "flatten"):
        (x,) = x.inputs
    if sizes[1:] == x.shape:
        return x
    if len(sizes) == 2:
        return t.make("flatten", [x], {}, sizes)
    return t.make("reshape", [x], {"sizes": tuple(sizes[1:])}, sizes)


@rule(*COPIES)
def _copy(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    return t.value(next(iter(given.values())))


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def _upsample(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    x = t.value(given["input"])
    factors = {Fraction(after, before) for after, before in zip(shape(node)[2:], x.shape[1:], strict=True)}
    factor = factors.pop()
    if factors or factor.denominator != 1:
        raise Unliftable("an upsampling by unequal or broken factors")
    return t.make("upsample", [x], {"scale": factor.numerator}, shape(node))


@rule("cat", "concat")
def _concat(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    axis = given["dim"] % len(shape(node))
    if axis == 0:
        raise Unliftable("a concatenation along the batch")
    return t.make("concat", list(given["tensors"]), {"axis": axis - 1}, shape(node))


# --- entry by entry ---------------------------------------------------------------------------------


def _entrywise(name: str) -> Rule:
    def apply(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
        return t.make(name, [next(iter(given.values()))], {}, shape(node))

    return apply


for _torch_name, _name in {
    "relu": "relu",
    "relu_": "relu",
    "tanh": "tanh",
    "tanh_": "tanh",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    "silu": "silu",
    "silu_": "silu",
    "hardswish": "hardswish",
    "hardswish_": "hardswish",
}.items():
    RULES[_torch_name] = _entrywise(_name)


@rule("gelu")
def _gelu(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    if given["approximate"] != "none":
        raise Unliftable(f"gelu approximated by {given['approximate']}")
    return t.make("gelu", [given["self"]], {}, shape(node))


@rule("softmax")
def _softmax(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    if given["dim"] not in (-1, len(shape(node)) - 1):
        raise Unliftable("a softmax over another axis than the last")
    return t.make("softmax", [given["self"]], {}, shape(node))


@rule("hardtanh", "hardtanh_", "relu6", "clamp", "clamp_")
def _hardtanh(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    low, high = (given.get(a, given.get(b)) for a, b in (("min_val", "min"), ("max_val", "max")))
    if low == 0 and high is None:
        return t.make("relu", [given["self"]], {}, shape(node))
    if low != 0 or high is None:
        raise Unliftable(f"values cut off at {low} and {high}")
    return _relu_up_to(t, t.value(given["self"]), _exact(high), shape(node))


@rule("hardsigmoid", "hardsigmoid_")
def _hardsigmoid(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    sizes = shape(node)
    with_place = _at(t, "hard_sigmoid")
    shifted = _number(t, SUM, t.value(given["self"]), "right", Fraction(3), sizes)
    result = _number(t, "divide", _relu_up_to(t, shifted, Fraction(6), sizes), "right", Fraction(6), sizes)
    t.path = with_place
    return result


@rule("leaky_relu", "leaky_relu_")
def _leaky(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    sizes, x = shape(node), t.value(given["self"])
    with_place = _at(t, "leaky_relu")
    negative = t.make("relu", [_number(t, "multiply", x, "left", Fraction(-1), sizes)], {}, sizes)
    slope = _number(t, "multiply", negative, "left", _exact(given["negative_slope"]), sizes)
    result = t.make("subtract", [t.make("relu", [x], {}, sizes), slope], {}, sizes)
    t.path = with_place
    return result


def _relu_up_to(t: Translator, x: Call, top: Fraction, sizes: tuple[int, ...]) -> Call:
    """relu(x) - relu(x - top), in an operation of its own."""
    before = _at(t, "relu6" if top == 6 else "clipped_relu")
    over = t.make("relu", [_number(t, "subtract", x, "right", top, sizes)], {}, sizes)
    result = t.make("subtract", [t.make("relu", [x], {}, sizes), over], {}, sizes)
    t.path = before
    return result


def _at(t: Translator, name: str) -> tuple[Place, ...]:
    """Goes into an operation that torch has as one and the language says in several; returns where it was."""
    before = t.path
    number = sum(1 for call in t.calls.values() if call.path[: len(before)] == before)
    t.path = (*before, Place(f"{name}_{number}", name))
    return before


@rule("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "rsub", "neg")
def _arithmetic(t: Translator, node: fx.Node, given: dict[str, Any]) -> Call:
    if given.get("alpha", 1) != 1:
        raise Unliftable("a sum with a factor (alpha)")
    if given.get("rounding_mode") is not None:
        raise Unliftable("a division that rounds")
    name = operator(node).rstrip("_")
    if name == "neg":
        return _number(t, "multiply", t.value(given["self"]), "left", Fraction(-1), shape(node))
    operation = {"add": SUM, "sub": "subtract", "rsub": "subtract", "mul": "multiply", "div": "divide"}[name]
    left, right = given["self"], given["other"]
    if name == "rsub":
        left, right = right, left
    numbers = [_scalar(t, value) for value in (left, right)]
    if numbers[1] is not None:
        return _number(t, operation, t.value(left), "right", numbers[1], shape(node))
    if numbers[0] is not None:
        return _number(t, operation, t.value(right), "left", numbers[0], shape(node))
    return t.make(operation, [left, right], {}, shape(node))


def _scalar(t: Translator, value: Any) -> Fraction | None:
    if isinstance(value, fx.Node):
        constant = t.trace.constants.get(value)
        if not isinstance(constant, Tensor) or constant.numel() != 1:
            return None
        value = constant.item()
    return _exact(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _number(
    t: Translator, operation: str, x: Call, side: str, number: Fraction, sizes: tuple[int, ...]
) -> Call:
    return t.make(operation, [x], {side: number}, sizes)


# --- numbers ----------------------------------------------------------------------------------------


def _exact(value: float) -> Fraction:
    """The number that an author wrote: 0.1 is 1/10."""
    return Fraction(repr(value))


def _each(value: Any, axes: int) -> tuple[int, ...]:
    values = [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
    return tuple(values * axes if len(values) == 1 else values)


def _one(values: tuple[int, ...]) -> Setting:
    return values[0] if len(set(values)) == 1 else values


def _same_padding(what: str, padding: Any, wanted: tuple[int, ...], axes: int) -> None:
    given = padding if isinstance(padding, str) else _each(padding, axes)
    if given != wanted:
        raise Unliftable(f"{what} with padding {_text(given)}, where the language pads {_text(wanted)}")


def _text(values: Any) -> str:
    return str(values if isinstance(values, str) else _one(tuple(values)))
