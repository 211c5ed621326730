"""What a torch module computes, as calls of the language's operations: the stage between trace and text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from torch import Tensor

Setting = int | bool | Fraction | tuple[int, ...]

INPUT = "input"
SUM = "sum"
"""``a + b``. Its operands are the calls's inputs."""
ARITHMETIC = {SUM: "+", "subtract": "-", "multiply": "*", "divide": "/"}
"""Operations that are written between their operands; one may be a number, the setting ``left`` or ``right``."""


class Place(NamedTuple):
    """A module that a call stands in: the name of its attribute in the module around it, and its class."""

    attribute: str
    kind: str


@dataclass(frozen=True, eq=False)
class Call:
    """One use of an operation on tensors.

    ``settings`` are all of them, by name. ``shape`` is that of the result without its batch axis. ``weights`` are the
    tensors that the operation's own torch module wants, by the names it has for them. ``path`` are the modules around
    it from the outermost in; ``name`` is that of a network input.
    """

    operation: str
    inputs: tuple[Call, ...]
    settings: Mapping[str, Setting]
    shape: tuple[int, ...]
    path: tuple[Place, ...]
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    name: str | None = None
    whole_numbers: bool = False
