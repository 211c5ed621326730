"""Operations on each entry by itself, and those that do nothing or remove everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nasdsl.operations.example import Example, example, tokens
from nasdsl.operations.rules import floats
from nasdsl.space.operation import Held, Instance, Operation, ShapeError, TorchCall
from nasdsl.space.tensor import Shape


class _Activation(Operation):
    """[...] to the same."""

    section = "activation"
    target: ClassVar[str]
    args: ClassVar[tuple[Any, ...]] = ()
    keeps: ClassVar[Held] = Held(output=True)
    """torch takes the gradient from the output, or from the input."""
    examples: ClassVar[tuple[Example, ...]] = (example([6]), example([4, 3, 5]))

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats(f"`{self.name}`", x)
        return x

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("function", self.target, self.args)

    def held(self, instance: Instance) -> Held:
        return self.keeps


class Relu(_Activation):
    """max(x, 0)."""

    name = "relu"
    merges_with = ("conv", "depthwise")
    summary = "max(x, 0)"
    target = "torch.relu"
    passes_absence = True


class Tanh(_Activation):
    """The hyperbolic tangent."""

    name = "tanh"
    summary = "the hyperbolic tangent"
    target = "torch.tanh"


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    name = "sigmoid"
    summary = "1 / (1 + exp(-x))"
    target = "torch.sigmoid"


class Gelu(_Activation):
    """x times the normal distribution function of x."""

    name = "gelu"
    summary = "x times the normal distribution function of x"
    target = "F.gelu"
    keeps = Held(inputs=(0,))


class Silu(_Activation):
    """x times its sigmoid."""

    name = "silu"
    summary = "x times its sigmoid"
    target = "F.silu"
    keeps = Held(inputs=(0,))


class Hardswish(_Activation):
    """x * clip(x + 3, 0, 6) / 6."""

    name = "hardswish"
    summary = "x * clip(x + 3, 0, 6) / 6"
    target = "F.hardswish"
    keeps = Held(inputs=(0,))


class Softmax(_Activation):
    """Positive entries that add up to 1 along the last axis."""

    name = "softmax"
    summary = "probabilities along the last axis"
    target = "torch.softmax"
    args = (-1,)

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        if not x.dims:
            raise ShapeError(f"`softmax` needs at least one axis; it was given {x}")
        return super().shape(inputs, **settings)


class Identity(Operation):
    """Its input, unchanged. An architecture drops it, so torch never runs it."""

    name = "identity"
    summary = "its input, unchanged"
    section = "activation"
    passes_absence = True
    examples: ClassVar[tuple[Example, ...]] = (example([6]), example([4, 3, 5]), example(tokens(3)))

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        return inputs[0]

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("module", "nn.Identity")

    def held(self, instance: Instance) -> Held:
        return Held(view=True)


class Zero(Operation):
    """The absence of a tensor that keeps its shape. An architecture drops it, so torch never runs it."""

    name = "zero"
    summary = "the absence of a tensor"
    section = "activation"
    passes_absence = True
    examples: ClassVar[tuple[Example, ...]] = (example([6]), example([4, 3, 5]), example(tokens(3)))

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        return inputs[0]

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("function", "torch.zeros_like")
