"""Calls that an operation gives as examples of itself: the contract tests run every one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nasdsl.space.operation import REQUIRED, Instance, Operation
from nasdsl.space.tensor import Dim, Shape


class Example(NamedTuple):
    """A call with the shapes of its inputs and the settings that are not left at their defaults."""

    inputs: tuple[Shape, ...]
    settings: Mapping[str, Any]


def example(*inputs: Sequence[Dim] | Shape, **settings: Any) -> Example:
    """``example([16, 8, 8], kernel=3)``."""
    return Example(tuple(x if isinstance(x, Shape) else Shape(tuple(x)) for x in inputs), settings)


def tokens(*dims: Dim) -> Shape:
    """``int[T]``."""
    return Shape(dims, "int")


def decide(operation: Operation, inputs: Sequence[Shape], **settings: Any) -> Instance:
    """The instance of a call with plain values, its defaults filled in.

    Raises :class:`~nasdsl.space.operation.ShapeError` where the shape rule says no, TypeError where a setting is
    missing or unknown.
    """
    known = {setting.name for setting in operation.settings}
    unknown = settings.keys() - known
    if unknown:
        raise TypeError(f"`{operation.name}` has no setting {', '.join(sorted(unknown))}")
    complete: dict[str, Any] = {}
    for setting in operation.settings:
        if setting.name in settings:
            complete[setting.name] = settings[setting.name]
        elif setting.default is REQUIRED:
            raise TypeError(f"`{operation.name}` needs `{setting.name}`")
        elif setting.default == "C" and inputs and inputs[0].dims:
            complete[setting.name] = inputs[0].dims[0]
        else:
            complete[setting.name] = setting.default
    for name, value in operation.defaults(inputs, **complete).items():
        if name not in settings:
            complete[name] = value
    return Instance(tuple(inputs), complete, operation.shape(inputs, **complete))
