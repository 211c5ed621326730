"""What is known of a tensor before any network is built: its kind of number and its sizes.

Batch axes are never counted: the image ``[3, 32, 32]`` is a batch of such images when it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from nasdsl.space.diagram import Diagram
from nasdsl.space.size import Size

# A size in one architecture: a number, or a formula over free dimensions.
Dim = Union[int, Size]
# A size over the whole space: a diagram where it rests on choices.
SpaceDim = Union[int, Size, Diagram]


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor of one architecture. ``dtype`` is ``float`` or ``int``."""

    dims: tuple[Dim, ...]
    dtype: str = "float"

    def __str__(self) -> str:
        return ("int" if self.dtype == "int" else "") + "[" + ", ".join(map(str, self.dims)) + "]"


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of an axis that is sliced by itself: the leading ``size`` of ``limit`` stored channels."""

    limit: int
    size: SpaceDim


# The parts that an axis is made of; None where it is never sliced.
Parts = Union[tuple[Part, ...], None]


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor of the whole space: sizes that may rest on choices, and the parts of each axis."""

    dims: tuple[SpaceDim, ...]
    dtype: str = "float"
    parts: tuple[Parts, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def is_static(self) -> bool:
        return not any(isinstance(dim, Diagram) for dim in self.dims)
