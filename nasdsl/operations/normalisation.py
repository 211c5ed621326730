"""Normalisation and dropout."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from nasdsl.operations.example import Example, example
from nasdsl.operations.rules import entries, floats, part_of, weight_size
from nasdsl.space.operation import (
    FLOAT,
    Cost,
    Held,
    Index,
    Instance,
    Operation,
    Setting,
    ShapeError,
    TorchCall,
    leading,
)
from nasdsl.space.tensor import Shape


class BatchNorm(Operation):
    """``batchnorm``: [C, ...] to the same, each channel over the batch and up to three further axes."""

    name = "batchnorm"
    merges_with = ("conv", "depthwise")
    summary = "normalises each channel over the batch"
    section = "normalisation"
    passes_absence = True
    examples: ClassVar[tuple[Example, ...]] = (
        example([4]),
        example([4, 5]),
        example([4, 3, 5]),
        example([4, 2, 3, 5]),
    )
    elastic_examples: ClassVar[tuple[tuple[Example, Example], ...]] = (
        (example([8, 3, 5]), example([5, 3, 5])),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats("`batchnorm`", x)
        if not 1 <= len(x.dims) <= 4:
            raise ShapeError(
                f"`batchnorm` needs channels and up to three axes, such as [C, H, W]; it was given {x}"
            )
        if not isinstance(x.dims[0], int):
            raise ShapeError(
                f"the first axis of {x} would be the channels of `batchnorm`, and a free dimension may not size a weight",
                help="normalise the last axis: `layernorm`",
            )
        return x

    def torch(self, instance: Instance) -> TorchCall:
        channels, *sizes = instance.output.dims
        return TorchCall("module", f"nn.BatchNorm{max(1, len(sizes))}d", (channels,))

    def cost(self, instance: Instance) -> Cost:
        return Cost(params=2 * weight_size("`batchnorm`", instance.output, 0))

    def held(self, instance: Instance) -> Held:
        # The batch's mean and deviation of each channel.
        return Held(inputs=(0,), fixed=2 * FLOAT * weight_size("`batchnorm`", instance.output, 0))

    def slices(self, full: Instance, active: Instance) -> dict[str, tuple[Index, ...]]:
        channels = weight_size("`batchnorm`", active.output, 0)
        index = leading(part_of(active.parts[0] if active.parts else (), 0), channels)
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (index,))


class LayerNorm(Operation):
    """``layernorm``: [..., D] to the same, each position over its features."""

    name = "layernorm"
    summary = "normalises the last axis"
    section = "normalisation"
    examples: ClassVar[tuple[Example, ...]] = (example([6]), example([4, 6]), example([2, 3, 6]))
    elastic_examples: ClassVar[tuple[tuple[Example, Example], ...]] = ((example([4, 6]), example([4, 5])),)

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats("`layernorm`", x)
        if not x.dims:
            raise ShapeError(f"`layernorm` needs an axis of features, such as [D]; it was given {x}")
        weight_size("`layernorm`", x, -1)
        return x

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("module", "nn.LayerNorm", (instance.output.dims[-1],))

    def cost(self, instance: Instance) -> Cost:
        return Cost(params=2 * weight_size("`layernorm`", instance.output, -1))

    def held(self, instance: Instance) -> Held:
        # Mean and deviation of each position.
        moments = 2 * FLOAT * entries(instance.output.dims[:-1])
        return Held(inputs=(0,), extra=moments, scratch=moments)

    def slices(self, full: Instance, active: Instance) -> dict[str, tuple[Index, ...]]:
        features = weight_size("`layernorm`", active.output, -1)
        index = leading(part_of(active.parts[0] if active.parts else (), -1), features)
        return dict.fromkeys(("weight", "bias"), (index,))


class Dropout(Operation):
    """``dropout(0.1)``: while training, each entry is zero with probability p."""

    name = "dropout"
    summary = "zeroes each entry with probability `p` while training"
    section = "normalisation"
    settings = (Setting("p", "number"),)
    passes_absence = True
    examples: ClassVar[tuple[Example, ...]] = (
        example([6], p=Fraction(1, 10)),
        example([4, 3, 5], p=Fraction(1, 3)),
        example([4], p=0),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats("`dropout`", x)
        p = settings["p"]
        if isinstance(p, bool) or not isinstance(p, (int, Fraction)) or not 0 <= p < 1:
            raise ShapeError(
                f"`p` of `dropout` is a probability, from 0 up to but not including 1; it is {p}"
            )
        return x

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("module", "nn.Dropout", (instance.settings["p"],))

    def held(self, instance: Instance) -> Held:
        if instance.settings["p"] == 0:
            return Held(view=True)
        # A mask of real numbers, as torch makes it on the CPU.
        return Held(idle=True, extra=FLOAT * entries(instance.output.dims))
