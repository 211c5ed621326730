"""Runs a :class:`~nasdsl.space.operation.TorchCall`, and writes it as source text: the two say the same."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
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


def write_module(call: TorchCall) -> str:
    """``nn.Conv2d(16, 32, 3, padding=1, bias=False)``."""
    return f"{_name(call.target)}({_write_arguments(call, [])})"


def write_call(call: TorchCall, inputs: Sequence[str]) -> str:
    """``torch.cat([a, b], 1)``, ``x.mean((2, 3))``, ``a + b``, ``1 - gate``.

    ``inputs`` are names, or other text that needs no brackets beside an operator.
    """
    if call.kind == "operator":
        if call.number_at is None:
            return f" {call.target} ".join(inputs)
        (number,) = call.args
        (x,) = inputs
        if call.number_at == "left":
            return f"{_write_value(number)} {call.target} {x}"
        return f"{x} {call.target} {_write_operand(number)}"
    if call.kind == "method":
        x, *others = inputs
        return f"{x}.{call.target}({_write_arguments(call, others)})"
    if call.kind == "function":
        given = [f"[{', '.join(inputs)}]"] if call.listed else list(inputs)
        return f"{_name(call.target)}({_write_arguments(call, given)})"
    raise TypeError(f"`{call.target}` is a module: the text of its use is the name that holds it")


def _arguments(call: TorchCall) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args = tuple(_plain(value) for value in call.args)
    return args, {name: _plain(value) for name, value in call.kwargs.items()}


def _plain(value: Any) -> Any:
    """Exact rationals become the numbers that torch takes."""
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value


def _name(target: str) -> str:
    # What is copied into exported code is known there by its own name.
    return target if is_torch(target) else target.rpartition(".")[2]


def _write_arguments(call: TorchCall, inputs: list[str]) -> str:
    words = inputs + [_write_value(value) for value in call.args]
    words += [f"{name}={_write_value(value)}" for name, value in call.kwargs.items()]
    return ", ".join(words)


def _write_value(value: Any) -> str:
    """A decimal where that is exact, else a quotient: ``0.1``, but ``(1 / 3)``."""
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        decimal = repr(float(value))
        return decimal if Fraction(decimal) == value else f"({value.numerator} / {value.denominator})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_write_value, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(_write_value, value))}]"
    return repr(value)


def _write_operand(value: Any) -> str:
    written = _write_value(value)
    return f"({written})" if written.startswith("-") else written
