"""Other sizes for the same entries."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

from nasdsl.operations.example import Example, example, tokens
from nasdsl.operations.rules import entries, spatial, whole
from nasdsl.space.diagram import Diagram
from nasdsl.space.operation import FLOAT, Held, Instance, Operation, Setting, ShapeError, TorchCall
from nasdsl.space.size import Size
from nasdsl.space.tensor import Dim, Part, Parts, Shape, SpaceDim


class Upsample(Operation):
    """``upsample(2)``: [C, H, W] to [C, 2 H, 2 W]; each entry is repeated."""

    name = "upsample"
    summary = "repeats each entry `scale` times along each axis after the channels"
    section = "pooling, size"
    settings = (Setting("scale", "int"),)
    passes_absence = True
    examples: ClassVar[tuple[Example, ...]] = (
        example([4, 3, 5], scale=2),
        example([4, 5], scale=3),
        example([2, 3, 2, 4], scale=2),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        scale = whole("`upsample`", "scale", settings["scale"])
        sizes: list[Any] = [size * scale for size in spatial("`upsample`", x)]
        return Shape((x.dims[0], *sizes))

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("function", "F.interpolate", kwargs={"scale_factor": instance.settings["scale"]})


class Shift(Operation):
    """``shift(1)``: [C, H, W] to the same, moved up and left along every axis after the channels; zeros enter."""

    name = "shift"
    summary = "moves the entries up and left; zeros enter, the size is kept"
    section = "pooling, size"
    settings = (Setting("by", "int"),)
    passes_absence = True
    examples: ClassVar[tuple[Example, ...]] = (
        example([4, 5, 6], by=1),
        example([4, 3], by=2),
        example([2, 3, 4, 5], by=1),
        example([2, 1, 1], by=3),
        example([2, 3, 3], by=0),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        spatial("`shift`", x)
        whole("`shift`", "by", settings["by"], least=0)
        return x

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("function", "shift", (instance.settings["by"],))

    def held(self, instance: Instance) -> Held:
        # Each axis is padded in turn, and the output is a part of the last tensor that was padded.
        dims, by = instance.output.dims, instance.settings["by"]
        padded: list[Any] = [
            entries([size + by if other == axis else size for other, size in enumerate(dims)])
            for axis in range(1, len(dims))
        ]
        together = [a + b for a, b in pairwise(padded)] or padded
        most = max(together) if all(isinstance(size, int) for size in together) else together[-1]
        return Held(stored=padded[-1], scratch=FLOAT * (most - padded[-1]))


class Flatten(Operation):
    """``flatten``: [C, H, W] to [C * H * W]."""

    name = "flatten"
    summary = "all entries along one axis"
    section = "pooling, size"
    new_axes = (0,)
    examples: ClassVar[tuple[Example, ...]] = (example([4, 3, 5]), example([6]), example(tokens(2, 3)))

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        if not x.dims:
            raise ShapeError(
                f"`flatten` needs at least one axis; it was given {x}", help="give it one: `reshape(x, [1])`"
            )
        return Shape((entries(x.dims),), x.dtype)

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("method", "flatten", (1,))

    def held(self, instance: Instance) -> Held:
        return Held(view=True)

    def parts(
        self, inputs: Sequence[tuple[Parts, ...]], dims: Sequence[tuple[SpaceDim, ...]], **settings: Any
    ) -> tuple[Parts, ...] | None:
        """One axis made of parts: each part is repeated for what lies before it, and as many times as long for what
        lies behind it. Where sizes that rest on choices would have to be multiplied, the new axis is one part."""
        (axes,), (sizes,) = inputs, dims
        divided = [axis for axis, parts in enumerate(axes) if parts is not None]
        if len(divided) != 1:
            return None
        (axis,) = divided
        before, behind = prod_if_known(sizes[:axis]), prod_if_known(sizes[axis + 1 :])
        if before is None or behind is None:
            return None
        scaled = []
        for part in axes[axis] or ():
            if isinstance(part.size, int):
                scaled.append(Part(part.limit * behind, part.size * behind))
            elif behind == 1:
                scaled.append(part)
            else:
                return None
        return (tuple(scaled) * before,)


class Reshape(Operation):
    """``reshape(x, [C, 1, 1])``: the same entries in the same order under other sizes.

    At most one free size may be new; others stay where they were.
    """

    name = "reshape"
    summary = "the same entries in the same order under other sizes"
    section = "pooling, size"
    settings = (Setting("sizes", "dims", elastic=True),)
    examples: ClassVar[tuple[Example, ...]] = (
        example([6], sizes=[6, 1, 1]),
        example([4, 3, 5], sizes=[3, 20]),
        example(tokens(2, 3), sizes=[6]),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        dims: list[Dim] = [
            size if isinstance(size, Size) else whole("`reshape`", "sizes", size)
            for size in settings["sizes"]
        ]
        wanted = Shape(tuple(dims), x.dtype)
        have, want = entries(x.dims), entries(dims)
        if have != want:
            raise ShapeError(
                f"`reshape` keeps the number of entries: {x} holds {have}, but {wanted} would hold {want}"
            )
        if _as_axes(x.dims, dims).count(-1) > 1:
            raise ShapeError(
                f"`reshape` can find one free size by itself; in {wanted} from {x} there is more than one",
                help="keep the other free sizes where they are",
            )
        return wanted

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("function", "reshape", (_as_axes(instance.inputs[0].dims, instance.output.dims),))

    def held(self, instance: Instance) -> Held:
        return Held(view=True)

    def parts(
        self, inputs: Sequence[tuple[Parts, ...]], dims: Sequence[tuple[SpaceDim, ...]], **settings: Any
    ) -> tuple[Parts, ...] | None:
        """Axes that stay where they are keep their parts, counted from the first and from the last; others are made
        afresh, as one part."""
        (axes,), (old,) = inputs, dims
        new: list[SpaceDim] = list(settings["sizes"])
        found = [_one_part(size) for size in new]
        for axis in range(min(len(old), len(new))):
            if old[axis] != new[axis]:
                break
            found[axis] = axes[axis] if axes else None
        for axis in range(-1, -1 - min(len(old), len(new)), -1):
            if old[axis] != new[axis]:
                break
            found[axis] = axes[axis] if axes else None
        return tuple(found)


def _as_axes(old: Sequence[Dim], new: Sequence[Dim]) -> tuple[int, ...]:
    """Sizes as ``torch_code.reshape`` takes them: 0 keeps the free size in that place, -1 is what is left over."""
    axes = []
    for axis, size in enumerate(new):
        if isinstance(size, int):
            axes.append(size)
        else:
            axes.append(0 if axis < len(old) and old[axis] == size else -1)
    return tuple(axes)


def prod_if_known(sizes: Sequence[SpaceDim]) -> int | None:
    """The product of plain numbers; None where a size is free or rests on choices."""
    total = 1
    for size in sizes:
        if not isinstance(size, int):
            return None
        total *= size
    return total


def _one_part(size: SpaceDim) -> Parts:
    if not isinstance(size, Diagram):
        return None
    limits = [leaf for leaf in size.leaves() if isinstance(leaf, int)]
    return (Part(max(limits), size),) if limits else None
