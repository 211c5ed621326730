"""Checks that several shape rules share, each in words about tensors."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import Any

from nasdsl.space.operation import Index, ShapeError
from nasdsl.space.size import Size
from nasdsl.space.tensor import Dim, Parts, Shape


def listed(shapes: Sequence[Shape]) -> str:
    """``[3, 8] and [3, 9]``."""
    words = [str(shape) for shape in shapes]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def floats(name: str, *shapes: Shape) -> None:
    """Refuses tensors of whole numbers, such as tokens."""
    for shape in shapes:
        if shape.dtype != "float":
            raise ShapeError(
                f"{name} needs a tensor of real numbers; it was given {shape}",
                help="turn whole numbers into features first: `embedding(vocab, features)` or `onehot(classes)`",
            )


def ints(name: str, shape: Shape) -> None:
    """Refuses anything but a tensor of whole numbers."""
    if shape.dtype != "int":
        raise ShapeError(
            f"{name} needs a tensor of whole numbers, such as int[T]; it was given {shape}",
            help="declare the input so: `input tokens: int[T]`",
        )


def whole(name: str, setting: str, value: Any, least: int = 1) -> int:
    """A setting that has to be a whole number."""
    if isinstance(value, Size):
        raise ShapeError(f"`{setting}` of {name} must be a number; it is {value}, which is free")
    if isinstance(value, Fraction) and value.denominator == 1:
        value = value.numerator
    if isinstance(value, Fraction):
        raise ShapeError(
            f"`{setting}` of {name} must be a whole number; it is {value}",
            help=f"round it: `{setting} = round(…)`, or divide with `//`",
        )
    if isinstance(value, bool) or not isinstance(value, int):
        raise ShapeError(f"`{setting}` of {name} must be a whole number; it is {value}")
    if value < least:
        raise ShapeError(f"`{setting}` of {name} must be at least {least}; it is {value}")
    return value


def each(name: str, setting: str, value: Any, axes: int) -> tuple[int, ...]:
    """A setting that is one whole number for all axes, or a list with one for each."""
    if not isinstance(value, (list, tuple)):
        return (whole(name, setting, value),) * axes
    if len(value) != axes:
        raise ShapeError(
            f"`{setting}` of {name} lists {len(value)} numbers; its input has {axes} axes after the channels"
        )
    return tuple(whole(name, setting, one) for one in value)


def together(values: Sequence[int]) -> int | tuple[int, ...]:
    """As a person would write it: one number where the axes agree."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def entries(dims: Sequence[Dim]) -> Any:
    """How many entries a tensor with these sizes holds: a number, or a formula over free dimensions."""
    return prod(dims)


def weight_size(name: str, shape: Shape, axis: int) -> int:
    """A size of the input that sizes a weight, which a free dimension may not do."""
    dim = shape.dims[axis]
    if not isinstance(dim, int):
        place = "first" if axis == 0 else "last"
        raise ShapeError(
            f"the {place} axis of {shape} sizes a weight of {name}, and a free dimension may not size a weight",
            help=f"give the {place} axis a number",
        )
    return dim


def spatial(name: str, shape: Shape) -> tuple[Dim, ...]:
    """The axes after the channels, one to three of them."""
    floats(name, shape)
    if not 2 <= len(shape.dims) <= 4:
        mend = None
        if len(shape.dims) == 1:
            mend = "give the features axes first: `reshape(x, [C, 1, 1])`"
        raise ShapeError(
            f"{name} needs channels and one to three axes, such as [C, H, W]; it was given {shape}", help=mend
        )
    return shape.dims[1:]


def pads(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Zeros on both sides of each axis: with an odd kernel at stride 1 the size is kept."""
    return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))


def slide(
    name: str, shape: Shape, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[Dim, ...]:
    """The sizes that are left when a window slides over the axes after the channels."""
    sizes: list[Dim] = []
    for size, k, s, d, p in zip(
        shape.dims[1:], kernel, stride, dilation, pads(kernel, dilation), strict=True
    ):
        if k % 2 == 0 and s == 1:
            raise ShapeError(
                f"{name} with an even kernel ({k}) at stride 1 can't keep the size of {shape}",
                help=f"take an odd kernel (`kernel = {k + 1}`) or a stride (`stride = 2`)",
            )
        slid: Any = (size + (2 * p - d * (k - 1) - 1)) // s + 1
        if isinstance(slid, int) and slid < 1:
            raise ShapeError(
                f"a window of {k} doesn't fit: {name} was given {shape}", help="take a smaller kernel"
            )
        sizes.append(slid)
    return tuple(sizes)


def stretched(name: str, shapes: Sequence[Shape]) -> Shape:
    """The shape of tensors combined entry by entry: equal sizes, or 1s that stretch."""
    if not shapes:
        raise ShapeError(f"{name} needs at least one tensor")
    floats(name, *shapes)
    ranks = {len(shape.dims) for shape in shapes}
    if len(ranks) > 1:
        largest = max(shapes, key=lambda shape: len(shape.dims))
        smallest = min(shapes, key=lambda shape: len(shape.dims))
        ones = [*smallest.dims, *[1] * (len(largest.dims) - len(smallest.dims))]
        raise ShapeError(
            f"{name} needs tensors with equally many axes; it was given {listed(shapes)}",
            help=f"give the smaller one axes of size 1: `reshape(x, [{', '.join(map(str, ones))}])`",
        )
    dims: list[Dim] = []
    for sizes in zip(*(shape.dims for shape in shapes), strict=True):
        longer = [size for size in sizes if size != 1]
        if any(size != longer[0] for size in longer):
            raise ShapeError(f"{name} needs tensors of the same shape; it was given {listed(shapes)}")
        dims.append(longer[0] if longer else 1)
    return Shape(tuple(dims))


def part_of(parts: Sequence[Parts], axis: int) -> Parts:
    """The parts of one axis, where parts are known at all."""
    return parts[axis] if parts else None


def centre(name: str, stored: int, kernel: int) -> slice:
    """Which entries of a stored kernel a smaller one takes: those in the middle.

    >>> centre("`conv`", 7, 3)
    slice(2, 5, None)
    """
    if (stored - kernel) % 2:
        raise ShapeError(
            f"the kernels of {name} are chosen from one weight, and {kernel} has no centre in {stored}",
            help="choose among odd kernels only, or among even ones only",
        )
    if kernel > stored:
        raise ShapeError(f"a kernel of {kernel} is larger than the stored one of {name}, {stored}")
    start = (stored - kernel) // 2
    return slice(start, start + kernel)


def everything(size: int) -> Index:
    return slice(0, size)
