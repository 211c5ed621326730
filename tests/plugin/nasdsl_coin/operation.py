"""An operation: every entry times one half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nasdsl.operations.example import Example, example
from nasdsl.space.operation import Instance, Operation, TorchCall
from nasdsl.space.tensor import Shape


class HalveValues(Operation):
    """``halve_values``: [...] to the same, each entry times one half."""

    name = "halve_values"
    summary = "each entry times one half"
    section = "activation"
    passes_absence = True
    examples: ClassVar[tuple[Example, ...]] = (example([4, 3]),)

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        return x

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("function", "torch.mul", (0.5,))
