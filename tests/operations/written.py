"""Calls as text, written the plainest way: what an operation says of itself is read, and run again, from that."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from nasdsl.operations.execute import is_torch
from nasdsl.space.operation import TorchCall


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
