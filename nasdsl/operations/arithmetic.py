"""What the language makes of ``a * b``, ``a - b``, ``a / b`` and of arithmetic with numbers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from nasdsl.operations.example import Example, example
from nasdsl.operations.reductions import entrywise_parts
from nasdsl.operations.rules import entries, floats, stretched
from nasdsl.space.operation import FLOAT, Held, Instance, Operation, Setting, ShapeError, TorchCall
from nasdsl.space.tensor import Parts, Shape, SpaceDim


class _Binary(Operation):
    """Two tensors of equal sizes, or sizes 1 that stretch, as one."""

    section = "structure"
    inputs = ("a", "b")
    internal = True
    symbol: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]] = (
        example([4, 3, 5], [4, 3, 5]),
        example([4, 1, 1], [4, 3, 5]),
        example([6], [6]),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        return stretched(f"`{self.symbol}`", inputs)

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("operator", self.symbol)

    def parts(
        self, inputs: Sequence[tuple[Parts, ...]], dims: Sequence[tuple[SpaceDim, ...]], **settings: Any
    ) -> tuple[Parts, ...] | None:
        return entrywise_parts(inputs, dims)


class Multiply(_Binary):
    """``a * b``."""

    name = "multiply"
    summary = "the product of two tensors, entry by entry"
    symbol = "*"
    passes_absence = True

    def held(self, instance: Instance) -> Held:
        return Held(inputs=(0, 1), crosswise=True)


class Subtract(_Binary):
    """``a - b``."""

    name = "subtract"
    summary = "the difference of two tensors"
    symbol = "-"


class Divide(_Binary):
    """``a / b``."""

    name = "divide"
    summary = "the quotient of two tensors, entry by entry"
    symbol = "/"

    def held(self, instance: Instance) -> Held:
        return Held(inputs=(0, 1))


class Scale(Operation):
    """``2 * x``, ``x * 2`` and ``-x``."""

    name = "scale"
    summary = "a tensor times a number"
    section = "structure"
    settings = (Setting("number", "number", elastic=True),)
    passes_absence = True
    internal = True
    examples: ClassVar[tuple[Example, ...]] = (
        example([4, 3], number=Fraction(1, 5)),
        example([6], number=-1),
        example([6], number=Fraction(1, 3)),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats("`*`", x)
        return x

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("operator", "*", (instance.settings["number"],), number_at="left")


class WithNumber(Operation):
    """``1 - x``, ``x + 1``, ``x / 2``, ``1 / x``; ``side`` says where the number stands."""

    name = "with_number"
    summary = "a tensor plus, minus or over a number, or a number minus or over it"
    section = "structure"
    # The language fills all three, so the kinds of the two words are never asked for.
    settings = (
        Setting("operator", "number"),
        Setting("number", "number", elastic=True),
        Setting("side", "number", "right"),
    )
    internal = True
    examples: ClassVar[tuple[Example, ...]] = (
        example([4, 3], operator="-", number=1, side="left"),
        example([6], operator="+", number=Fraction(-1, 3)),
        example([6], operator="/", number=3),
        example([6], operator="/", number=Fraction(3, 2), side="left"),
        example([6], operator="-", number=Fraction(-1, 2)),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats(f"`{settings['operator']}`", x)
        if settings["operator"] == "/" and settings["side"] == "right" and settings["number"] == 0:
            raise ShapeError(f"{x} can't be divided by zero")
        return x

    def torch(self, instance: Instance) -> TorchCall:
        settings = instance.settings
        return TorchCall("operator", settings["operator"], (settings["number"],), number_at=settings["side"])

    def held(self, instance: Instance) -> Held:
        if (instance.settings["operator"], instance.settings["side"]) == ("/", "left"):
            # torch multiplies by the inverse, from which it takes the gradient.
            inverse = FLOAT * entries(instance.output.dims)
            return Held(extra=inverse, scratch=inverse)
        return Held()
