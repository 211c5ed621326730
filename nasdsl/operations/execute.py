"""Runs a :class:`~nasdsl.space.operation.TorchCall`, and writes it as source text: the two say the same."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasdsl.operations import torch_code
from nasdsl.space.operation import TorchCall

_ROOTS = {"torch": torch, "nn": nn, "F": F}
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def resolve(target: str) -> Any:
    """The class or function behind a target.

    ``nn.Conv2d``, ``torch.cat`` and ``F.gelu`` are torch's, a target without a dot is defined in ``torch_code.py``, and
    any other is the full path of one in a plug-in's package.
    """
    if "." not in target:
        return getattr(torch_code, target)
    root, _, rest = target.partition(".")
    if root in _ROOTS:
        return operator.attrgetter(rest)(_ROOTS[root])
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def is_torch(target: str) -> bool:
    """Whether torch defines it; the source text of others is copied into exported code."""
    return target.partition(".")[0] in _ROOTS


def build_module(
    call: TorchCall, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> nn.Module:
    """The module of a call of kind ``module``, freshly initialised."""
    if call.kind != "module":
        raise TypeError(f"`{call.target}` is a {call.kind}, it has no module")
    args, kwargs = _arguments(call)
    # Modules of our own have no `device` of their own, so that exported code stays short.
    with torch.device(device if device is not None else torch.get_default_device()):
        module: nn.Module = resolve(call.target)(*args, **kwargs)
        reset_embeddings(module)
    return module if dtype is None else module.to(dtype)


EMBEDDED = 0.1


@torch.no_grad()
def reset_embeddings(module: nn.Module) -> None:
    """Draws embeddings from [-0.1, 0.1], as language models do (AWD-LSTM, DARTS). Torch's deviation of 1 gives logits in
    the tens where the embedding is the output layer too."""
    for inner in module.modules():
        if isinstance(inner, nn.Embedding):
            inner.weight.uniform_(-EMBEDDED, EMBEDDED)


def bind(call: TorchCall) -> Callable[..., Tensor]:
    """A callable that takes the input tensors one by one, for every kind but ``module``.

    All names are looked up here, none when it is called.
    """
    args, kwargs = _arguments(call)
    if call.kind == "operator":
        return _bind_operator(call, args)
    if call.kind == "function":
        function = resolve(call.target)
    elif call.kind == "method":
        function = getattr(Tensor, call.target)
    else:
        raise TypeError(f"`{call.target}` is a module: build it with build_module")
    if call.listed:
        return lambda *inputs: function(list(inputs), *args, **kwargs)
    if not args and not kwargs:
        bound: Callable[..., Tensor] = function
        return bound
    return lambda *inputs: function(*inputs, *args, **kwargs)


def _bind_operator(call: TorchCall, args: tuple[Any, ...]) -> Callable[..., Tensor]:
    function = _OPERATORS[call.target]
    if call.number_at is not None:
        (number,) = args
        if call.number_at == "left":
            return lambda x: function(number, x)
        return lambda x: function(x, number)

    def fold(first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first

    return fold


def _arguments(call: TorchCall) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args = tuple(_plain(value) for value in call.args)
    return args, {name: _plain(value) for name, value in call.kwargs.items()}


def _plain(value: Any) -> Any:
    """Exact rationals become the numbers that torch takes."""
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value
