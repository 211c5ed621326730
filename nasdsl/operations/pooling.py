"""Pools: the largest or the average of a window, or of everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nasdsl.operations.example import Example, example
from nasdsl.operations.rules import each, entries, pads, slide, spatial, together
from nasdsl.space.operation import FLOAT, INT, Held, Instance, Operation, Setting, TorchCall
from nasdsl.space.tensor import Shape


class _Pool(Operation):
    """A window of ``kernel`` slides over one to three axes; padded like ``conv``."""

    section = "pooling, size"
    settings = (Setting("kernel", "ints"), Setting("stride", "ints", 1))
    passes_absence = True
    target: ClassVar[str]
    padded: ClassVar[dict[str, Any]] = {}
    """What torch is told besides, where there is padding."""
    examples: ClassVar[tuple[Example, ...]] = (
        example([4, 8, 8], kernel=3),
        example([4, 7, 9], kernel=[1, 3], stride=2),
        example([4, 9], kernel=2, stride=2),
        example([2, 4, 4, 6], kernel=3, stride=2),
        example([4, 8, 8], kernel=1, stride=2),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        axes = len(spatial(f"`{self.name}`", x))
        kernel = each(f"`{self.name}`", "kernel", settings["kernel"], axes)
        stride = each(f"`{self.name}`", "stride", settings["stride"], axes)
        return Shape((x.dims[0], *slide(f"`{self.name}`", x, kernel, stride, (1,) * axes)))

    def torch(self, instance: Instance) -> TorchCall:
        axes = len(instance.output.dims) - 1
        kernel = each(self.name, "kernel", instance.settings["kernel"], axes)
        stride = each(self.name, "stride", instance.settings["stride"], axes)
        padding = pads(kernel, (1,) * axes)
        kwargs: dict[str, Any] = {}
        # torch's own default is a stride as long as the kernel.
        if stride != kernel:
            kwargs["stride"] = together(stride)
        if any(padding):
            kwargs |= {"padding": together(padding), **self.padded}
        return TorchCall("function", self.target.format(axes), (together(kernel),), kwargs)


class MaxPool(_Pool):
    """``maxpool(3, stride = 2)``: [C, H, W] to [C, H', W']."""

    name = "maxpool"
    summary = "the largest entry of a window"
    target = "F.max_pool{}d"

    def torch(self, instance: Instance) -> TorchCall:
        call = super().torch(instance)
        length = instance.inputs[0].dims[-1]
        if call.target != "F.max_pool1d" or isinstance(length, int):
            return call
        given = {"stride": call.args[0], "padding": 0} | dict(call.kwargs)
        return TorchCall("function", "max_pool1d", call.args, given)

    def held(self, instance: Instance) -> Held:
        # Where in the input each entry was found.
        places = INT * entries(instance.output.dims)
        return Held(inputs=(0,), extra=places, scratch=places)


class AvgPool(_Pool):
    """``avgpool(3)``: [C, H, W] to [C, H', W']; the padding is left out of the average."""

    name = "avgpool"
    summary = "the average of a window, without the padding"
    target = "F.avg_pool{}d"
    padded: ClassVar[dict[str, Any]] = {"count_include_pad": False}
    examples = (
        *_Pool.examples,
        example([2, 4, 1, 6], kernel=3),
        example([2, 2, 1, 3], kernel=[5, 1, 3], stride=2),
    )

    def torch(self, instance: Instance) -> TorchCall:
        call = super().torch(instance)
        if call.target != "F.avg_pool3d" or "padding" not in call.kwargs:
            return call
        sizes = instance.inputs[0].dims[1:]
        kernel = each(self.name, "kernel", instance.settings["kernel"], 3)
        if all(isinstance(size, int) and size >= k for size, k in zip(sizes, kernel, strict=True)):
            return call
        # Torch wants a window that fits without the padding.
        stride = each(self.name, "stride", instance.settings["stride"], 3)
        return TorchCall(
            "function", "avg_pool3d", (kernel,), {"stride": stride, "padding": pads(kernel, (1,) * 3)}
        )

    def held(self, instance: Instance) -> Held:
        call = self.torch(instance)
        if call.target != "avg_pool3d":
            return Held(inputs=(0,))
        # The padded input, and beside it what counts the entries of each window.
        channels, *sizes = instance.inputs[0].dims
        padded = FLOAT * entries([n + 2 * p for n, p in zip(sizes, call.kwargs["padding"], strict=True)])
        counts = FLOAT * entries(instance.output.dims[1:])
        return Held(extra=channels * padded, fixed=counts, scratch=channels * padded, scratch_fixed=padded)


class _GlobalPool(Operation):
    section = "pooling, size"
    passes_absence = True
    target: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]] = (example([4, 8, 8]), example([4, 9]), example([2, 3, 4, 5]))

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        spatial(f"`{self.name}`", x)
        return Shape((x.dims[0],))

    def torch(self, instance: Instance) -> TorchCall:
        # The batch and the channels are the axes that stay.
        axes = tuple(range(2, len(instance.inputs[0].dims) + 1))
        return TorchCall("method", self.target, (axes[0] if len(axes) == 1 else axes,))


class GlobalAvgPool(_GlobalPool):
    """``global_avgpool``: [C, H, W] to [C]."""

    name = "global_avgpool"
    summary = "the average of each channel"
    target = "mean"


class GlobalMaxPool(_GlobalPool):
    """``global_maxpool``: [C, H, W] to [C]."""

    name = "global_maxpool"
    summary = "the largest entry of each channel"
    target = "amax"

    def held(self, instance: Instance) -> Held:
        return Held(inputs=(0,), output=True)
