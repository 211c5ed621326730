"""Convolutions over one, two or three axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, ClassVar

from nasdsl.operations.example import Example, example
from nasdsl.operations.rules import (
    centre,
    each,
    entries,
    everything,
    pads,
    part_of,
    slide,
    spatial,
    together,
    weight_size,
    whole,
)
from nasdsl.space.operation import (
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
from nasdsl.space.tensor import Part, Parts, Shape, SpaceDim


class Conv(Operation):
    """``conv(32, kernel = 3)``: [C, H, W] to [channels, H', W'].

    Zeros pad both sides by dilation * (kernel - 1) // 2, so an odd kernel at stride 1 keeps the size.
    """

    name = "conv"
    summary = "a convolution over one, two or three axes; an odd kernel at stride 1 keeps the size"
    section = "convolution"
    settings = (
        Setting("channels", "int", "C", elastic=True),
        Setting("kernel", "ints", elastic=True),
        Setting("stride", "ints", 1),
        Setting("dilation", "ints", 1),
        Setting("groups", "int", 1, elastic=True),
        Setting("bias", "bool", False),
    )
    passes_absence = True
    new_axes = (0,)
    examples: ClassVar[tuple[Example, ...]] = (
        example([3, 8, 8], channels=16, kernel=3),
        example([4, 9, 7], kernel=[1, 7], stride=[1, 2]),
        example([4, 9], kernel=5, stride=2, dilation=2, bias=True),
        example([4, 8, 6], channels=6, kernel=4, stride=2, groups=2),
        example([2, 4, 5, 6], channels=4, kernel=3),
    )
    elastic_examples: ClassVar[tuple[tuple[Example, Example], ...]] = (
        (
            example([8, 6, 6], channels=12, kernel=7, bias=True),
            example([5, 6, 6], channels=3, kernel=3, bias=True),
        ),
        (
            example([8, 6, 6], channels=12, kernel=3, groups=4),
            example([4, 6, 6], channels=8, kernel=3, groups=4),
        ),
        (example([8, 6], channels=8, kernel=5, groups=8), example([6, 6], channels=6, kernel=3, groups=6)),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        axes = len(spatial("`conv`", x))
        kernel, stride, dilation = _window("`conv`", settings, axes)
        fan_in = weight_size("`conv`", x, 0)
        channels = whole("`conv`", "channels", settings["channels"])
        groups = whole("`conv`", "groups", settings["groups"])
        for size, what in ((fan_in, "input"), (channels, "output")):
            if size % groups:
                raise ShapeError(
                    f"{groups} groups can't share the {size} {what} channels of `conv` evenly; it was given {x}",
                    help="take a `groups` that divides both channels",
                )
        return Shape((channels, *slide("`conv`", x, kernel, stride, dilation)))

    def torch(self, instance: Instance) -> TorchCall:
        settings = instance.settings
        fan_in, channels = instance.inputs[0].dims[0], instance.output.dims[0]
        kwargs = {"groups": settings["groups"]} if settings["groups"] != 1 else {}
        return _call((fan_in, channels), instance, kwargs)

    def cost(self, instance: Instance) -> Cost:
        return _cost(instance, weight_size("`conv`", instance.inputs[0], 0) // instance.settings["groups"])

    def held(self, instance: Instance) -> Held:
        return Held(inputs=(0,), for_weights=True)

    def slices(self, full: Instance, active: Instance) -> dict[str, tuple[Index, ...]]:
        """A weight [channels, C // groups, *kernel].

        With a fixed number of groups each group takes its leading channels, out and in. Where the groups are chosen
        (as many as there are channels, in an elastic depthwise convolution) the leading rows are taken.
        """
        groups, stored = active.settings["groups"], weight_size("`conv`", full.output, 0)
        fan_in, channels = weight_size("`conv`", active.inputs[0], 0), weight_size("`conv`", active.output, 0)
        rows = leading(part_of(active.output_parts, 0), channels)
        columns = everything(fan_in // groups)
        if groups == full.settings["groups"] and groups > 1:
            rows = leading((Part(stored // groups, channels // groups),) * groups, channels)
        elif groups == full.settings["groups"]:
            parts = part_of(active.parts[0] if active.parts else (), 0)
            # Where groups are chosen, too few columns may be stored to keep the parts apart (see `stored`).
            if parts is not None and sum(part.limit for part in parts) <= weight_size(
                "`conv`", full.inputs[0], 0
            ):
                columns = leading(parts, fan_in)
        return _slices("`conv`", full, active, rows, columns)

    def stored(self, largest: Instance, decided: Sequence[Instance]) -> Instance:
        """Where the groups are chosen, a weight [most channels, most channels a group, *largest kernel].

        Neither the most groups nor the fewest give that weight, so it is the one of a single group; :meth:`slices`
        takes it as ``full``.
        """
        if len({instance.settings["groups"] for instance in decided}) < 2:
            return largest
        fan_in = max(instance.inputs[0].dims[0] // instance.settings["groups"] for instance in decided)
        inputs = (Shape((fan_in, *largest.inputs[0].dims[1:])),)
        return replace(largest, inputs=inputs, settings={**largest.settings, "groups": 1})

    def parts(
        self, inputs: Sequence[tuple[Parts, ...]], dims: Sequence[tuple[SpaceDim, ...]], **settings: Any
    ) -> tuple[Parts, ...] | None:
        # A group a channel mixes nothing: every channel stays in its part.
        if settings["groups"] == dims[0][0] == settings["channels"]:
            return inputs[0]
        return None


class Depthwise(Operation):
    """``depthwise(3)``: [C, H, W] to [C, H', W'], each channel convolved by itself, padded like ``conv``."""

    name = "depthwise"
    summary = "a convolution of each channel by itself"
    section = "convolution"
    settings = (
        Setting("kernel", "ints", elastic=True),
        Setting("stride", "ints", 1),
        Setting("dilation", "ints", 1),
        Setting("bias", "bool", False),
    )
    passes_absence = True
    examples: ClassVar[tuple[Example, ...]] = (
        example([4, 8, 8], kernel=3),
        example([3, 9], kernel=5, dilation=2, bias=True),
        example([2, 4, 4, 6], kernel=[3, 1, 3], stride=2),
    )
    elastic_examples: ClassVar[tuple[tuple[Example, Example], ...]] = (
        (example([8, 6, 6], kernel=5, bias=True), example([3, 6, 6], kernel=3, bias=True)),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        axes = len(spatial("`depthwise`", x))
        kernel, stride, dilation = _window("`depthwise`", settings, axes)
        channels = weight_size("`depthwise`", x, 0)
        return Shape((channels, *slide("`depthwise`", x, kernel, stride, dilation)))

    def torch(self, instance: Instance) -> TorchCall:
        channels = instance.output.dims[0]
        return _call((channels, channels), instance, {"groups": channels} if channels != 1 else {})

    def cost(self, instance: Instance) -> Cost:
        return _cost(instance, 1)

    def held(self, instance: Instance) -> Held:
        return Held(inputs=(0,), for_weights=True)

    def slices(self, full: Instance, active: Instance) -> dict[str, tuple[Index, ...]]:
        """A weight [C, 1, *kernel]."""
        channels = weight_size("`depthwise`", active.inputs[0], 0)
        rows = leading(part_of(active.parts[0] if active.parts else (), 0), channels)
        return _slices("`depthwise`", full, active, rows, everything(1))


Window = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _window(name: str, settings: Any, axes: int) -> Window:
    kernel, stride, dilation = (each(name, s, settings[s], axes) for s in ("kernel", "stride", "dilation"))
    return kernel, stride, dilation


def _call(channels: tuple[Any, Any], instance: Instance, kwargs: dict[str, Any]) -> TorchCall:
    settings, axes = instance.settings, len(instance.output.dims) - 1
    kernel, stride, dilation = _window("conv", settings, axes)
    wanted: dict[str, Any] = {
        "stride": (together(stride), 1),
        "padding": (together(pads(kernel, dilation)), 0),
        "dilation": (together(dilation), 1),
    }
    given = {name: value for name, (value, default) in wanted.items() if value != default} | kwargs
    if not settings["bias"]:
        given["bias"] = False
    return TorchCall("module", f"nn.Conv{axes}d", (*channels, together(kernel)), given)


def _cost(instance: Instance, fan_in: int) -> Cost:
    channels, *sizes = instance.output.dims
    assert isinstance(channels, int)
    kernel = each("conv", "kernel", instance.settings["kernel"], len(sizes))
    weight = channels * fan_in * prod(kernel)
    bias = channels if instance.settings["bias"] else 0
    return Cost(params=weight + bias, flops=weight * entries(sizes))


def _slices(
    name: str, full: Instance, active: Instance, rows: Index, columns: Index
) -> dict[str, tuple[Index, ...]]:
    axes = len(active.output.dims) - 1
    stored = each(name, "kernel", full.settings["kernel"], axes)
    kernel = each(name, "kernel", active.settings["kernel"], axes)
    window = (centre(name, large, small) for large, small in zip(stored, kernel, strict=True))
    found: dict[str, tuple[Index, ...]] = {"weight": (rows, columns, *window)}
    if active.settings["bias"]:
        found["bias"] = (rows,)
    return found
