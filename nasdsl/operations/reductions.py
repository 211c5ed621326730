"""A list of tensors as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nasdsl.operations.example import Example, example, tokens
from nasdsl.operations.rules import entries, listed, stretched, whole
from nasdsl.space.operation import FLOAT, Held, Instance, Operation, Setting, ShapeError, TorchCall
from nasdsl.space.tensor import Part, Parts, Shape, SpaceDim

_ENTRYWISE = (
    example([4, 3, 5], [4, 3, 5], [4, 3, 5]),
    example([4, 3, 5], [4, 1, 1]),
    example([1, 6], [4, 1]),
    example([6]),
)


class _Entrywise(Operation):
    """Tensors of equal sizes, or sizes 1 that stretch, as one."""

    section = "structure"
    inputs = ("tensors",)
    variadic = True
    words: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]] = _ENTRYWISE

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        return stretched(self.words, inputs)

    def parts(
        self, inputs: Sequence[tuple[Parts, ...]], dims: Sequence[tuple[SpaceDim, ...]], **settings: Any
    ) -> tuple[Parts, ...] | None:
        return entrywise_parts(inputs, dims)


class Sum(_Entrywise):
    """``sum(list)`` and ``a + b``: entries added in the order of the list. Absent tensors are left out."""

    name = "sum"
    summary = "the sum of a list of tensors"
    words = "a sum"

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("operator", "+")

    def held(self, instance: Instance) -> Held:
        return Held(
            view=len(instance.inputs) == 1,
            scratch=_partial(instance, len(instance.inputs) - 1),
            passes=tuple(i for i, x in enumerate(instance.inputs) if x.dims == instance.output.dims),
        )


class Mean(_Entrywise):
    """``mean(list)``: the sum divided by how many tensors were chosen, an absent one counting as zeros.

    Absent tensors may be left out of the inputs: ``divisor`` remembers how many there were. Exported code says
    ``mean([a, b], 2)``, a function of two lines.
    """

    name = "mean"
    summary = "the average of a list of tensors"
    words = "a mean"
    # Filled when an architecture is decided.
    settings = (Setting("divisor", "int", None),)
    examples: ClassVar[tuple[Example, ...]] = (*_ENTRYWISE, example([6], [6], divisor=3))

    def defaults(self, inputs: Sequence[Shape], **settings: Any) -> dict[str, Any]:
        return {"divisor": len(inputs)}

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        if settings.get("divisor") is not None:
            whole("a mean", "divisor", settings["divisor"])
        return stretched(self.words, inputs)

    def torch(self, instance: Instance) -> TorchCall:
        divisor = instance.settings.get("divisor") or len(instance.inputs)
        return TorchCall("function", "mean", (divisor,), listed=True)

    def held(self, instance: Instance) -> Held:
        return Held(scratch=_partial(instance, len(instance.inputs)))


class Max(_Entrywise):
    """``max(list)``: the largest of the entries in each place. Absent tensors count as zeros."""

    name = "max"
    summary = "the largest entry in each place of a list of tensors"
    words = "a max"

    def torch(self, instance: Instance) -> TorchCall:
        if len(instance.inputs) == 2:
            return TorchCall("function", "torch.maximum")
        return TorchCall("function", "maximum", listed=True)

    def held(self, instance: Instance) -> Held:
        count = len(instance.inputs)
        kept = sum(_running(instance)[:-1])
        return Held(
            view=count == 1,
            inputs=tuple(range(count)) if count > 1 else (),
            extra=kept,
            scratch=_partial(instance, count - 1),
        )


class Concat(Operation):
    """``concat(list, axis = 0)``: joined along one axis, which is counted without the batch."""

    name = "concat"
    summary = "a list of tensors joined along an axis, the channels by default"
    section = "structure"
    inputs = ("tensors",)
    variadic = True
    settings = (Setting("axis", "int", 0),)
    examples: ClassVar[tuple[Example, ...]] = (
        example([4, 3, 5], [2, 3, 5], [1, 3, 5]),
        example([4, 3], [4, 2], axis=1),
        example([6]),
        example(tokens(2), tokens(3)),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        if not inputs:
            raise ShapeError("a concat needs at least one tensor")
        first = inputs[0]
        axis = whole("`concat`", "axis", settings["axis"], least=0)
        if axis >= len(first.dims):
            raise ShapeError(
                f"`concat` can't join along axis {axis} (counted from 0): it was given {listed(inputs)}"
            )
        for other in inputs[1:]:
            if other.dtype != first.dtype:
                raise ShapeError(
                    f"`concat` needs tensors of one kind of number; it was given {listed(inputs)}"
                )
            if _without(other, axis) != _without(first, axis) or len(other.dims) != len(first.dims):
                raise ShapeError(
                    f"`concat` needs tensors that differ in size along axis {axis} only; it was given {listed(inputs)}"
                )
        joined: Any = sum((shape.dims[axis] for shape in inputs[1:]), first.dims[axis])
        return Shape((*first.dims[:axis], joined, *first.dims[axis + 1 :]), first.dtype)

    def torch(self, instance: Instance) -> TorchCall:
        # torch counts the batch.
        return TorchCall("function", "torch.cat", (instance.settings["axis"] + 1,), listed=True)

    def parts(
        self, inputs: Sequence[tuple[Parts, ...]], dims: Sequence[tuple[SpaceDim, ...]], **settings: Any
    ) -> tuple[Parts, ...] | None:
        """The joined axis is made of the parts of all."""
        axis = settings["axis"]
        joined: list[Part] = []
        divided = False
        for parts, sizes in zip(inputs, dims, strict=True):
            size, of_input = sizes[axis], parts[axis] if parts else None
            if of_input is not None:
                divided = True
                joined.extend(of_input)
            elif isinstance(size, int):
                joined.append(Part(size, size))
            else:
                # A free size has no end that a part could start after.
                return tuple(
                    inputs[0][other] if inputs[0] and other != axis else None for other in range(len(sizes))
                )
        found: list[Parts] = list(inputs[0]) if inputs[0] else [None] * len(dims[0])
        found[axis] = tuple(joined) if divided else None
        return tuple(found)


def _running(instance: Instance) -> list[Any]:
    """Bytes of each result on the way, when tensors are joined one after another."""
    shapes = instance.inputs
    return [FLOAT * entries(stretched("a sum", shapes[:n]).dims) for n in range(2, len(shapes) + 1)]


def _partial(instance: Instance, results: int) -> Any:
    """Bytes of the result before the last one, where there are several."""
    if results < 2:
        return 0
    running = _running(instance) or [FLOAT * entries(instance.output.dims)]
    return running[results - 2] if results - 2 < len(running) else running[-1]


def _without(shape: Shape, axis: int) -> tuple[Any, ...]:
    return shape.dims[:axis] + shape.dims[axis + 1 :]


def entrywise_parts(
    inputs: Sequence[tuple[Parts, ...]], dims: Sequence[tuple[SpaceDim, ...]]
) -> tuple[Parts, ...] | None:
    """Each axis keeps the parts of the first input that isn't stretched along it."""
    found: list[Parts] = []
    for axis in range(len(dims[0])):
        source = next((i for i, sizes in enumerate(dims) if sizes[axis] != 1), 0)
        found.append(inputs[source][axis] if inputs[source] else None)
    return tuple(found)
