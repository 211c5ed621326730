"""Dense layers: they work on the last axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nasdsl.operations.example import Example, example, tokens
from nasdsl.operations.rules import entries, everything, floats, ints, part_of, weight_size, whole
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
from nasdsl.space.tensor import Shape


class Linear(Operation):
    """``linear(10)``: [..., D] to [..., features]."""

    name = "linear"
    summary = "a dense layer on the last axis"
    section = "dense"
    settings = (Setting("features", "int", elastic=True), Setting("bias", "bool", True))
    new_axes = (-1,)
    examples: ClassVar[tuple[Example, ...]] = (
        example([12], features=5),
        example([7, 12], features=4, bias=False),
        example([2, 3, 4], features=6),
    )
    elastic_examples: ClassVar[tuple[tuple[Example, Example], ...]] = (
        (example([7, 12], features=8), example([7, 5], features=3)),
        (example([12], features=8, bias=False), example([12], features=3, bias=False)),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats("`linear`", x)
        if not x.dims:
            raise ShapeError(
                f"`linear` needs an axis of features, such as [D]; it was given {x}",
                help="give the number an axis first: `reshape(x, [1])`",
            )
        weight_size("`linear`", x, -1)
        return Shape((*x.dims[:-1], whole("`linear`", "features", settings["features"])))

    def torch(self, instance: Instance) -> TorchCall:
        features = (instance.inputs[0].dims[-1], instance.output.dims[-1])
        return TorchCall(
            "module", "nn.Linear", features, {} if instance.settings["bias"] else {"bias": False}
        )

    def cost(self, instance: Instance) -> Cost:
        fan_in = weight_size("`linear`", instance.inputs[0], -1)
        features = weight_size("`linear`", instance.output, -1)
        weight = fan_in * features
        rows = entries(instance.output.dims[:-1])
        return Cost(params=weight + (features if instance.settings["bias"] else 0), flops=weight * rows)

    def held(self, instance: Instance) -> Held:
        return Held(inputs=(0,), for_weights=True)

    def slices(self, full: Instance, active: Instance) -> dict[str, tuple[Index, ...]]:
        """A weight [features, D]."""
        rows = leading(part_of(active.output_parts, -1), weight_size("`linear`", active.output, -1))
        fan_in = weight_size("`linear`", active.inputs[0], -1)
        columns = leading(part_of(active.parts[0] if active.parts else (), -1), fan_in)
        found: dict[str, tuple[Index, ...]] = {"weight": (rows, columns)}
        if active.settings["bias"]:
            found["bias"] = (rows,)
        return found


class Embedding(Operation):
    """``embedding(10000, 850)``: int[...] to [..., features]."""

    name = "embedding"
    summary = "a learned vector for each whole number below `vocab`"
    section = "dense"
    settings = (Setting("vocab", "int"), Setting("features", "int", elastic=True))
    new_axes = (-1,)
    examples: ClassVar[tuple[Example, ...]] = (
        example(tokens(5), vocab=4, features=6),
        example(tokens(), vocab=4, features=3),
    )
    elastic_examples: ClassVar[tuple[tuple[Example, Example], ...]] = (
        (example(tokens(5), vocab=4, features=6), example(tokens(5), vocab=4, features=4)),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        ints("`embedding`", x)
        whole("`embedding`", "vocab", settings["vocab"])
        return Shape((*x.dims, whole("`embedding`", "features", settings["features"])))

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("module", "nn.Embedding", (instance.settings["vocab"], instance.output.dims[-1]))

    def cost(self, instance: Instance) -> Cost:
        return Cost(params=instance.settings["vocab"] * instance.settings["features"])

    def held(self, instance: Instance) -> Held:
        return Held(inputs=(0,), for_weights=True)

    def slices(self, full: Instance, active: Instance) -> dict[str, tuple[Index, ...]]:
        """A weight [vocab, features]."""
        columns = leading(part_of(active.output_parts, -1), active.settings["features"])
        return {"weight": (everything(active.settings["vocab"]), columns)}


class Unembed(Operation):
    """``unembed(words)``: [..., features] to [..., vocab], a score for each entry of the embedding ``words``.

    It multiplies by the embedding's weight. ``vocab`` and ``features`` are the embedding's; the language fills them.
    """

    name = "unembed"
    summary = "scores for the entries of an embedding, from its weight"
    section = "dense"
    settings = (Setting("vocab", "int"), Setting("features", "int", elastic=True))
    new_axes = (-1,)
    borrows: ClassVar[str | None] = "weight"
    alone: ClassVar[str | None] = "scores"
    examples: ClassVar[tuple[Example, ...]] = (
        example([6], vocab=4, features=6),
        example([5, 6], vocab=4, features=6),
    )
    elastic_examples: ClassVar[tuple[tuple[Example, Example], ...]] = (
        (example([5, 6], vocab=4, features=6), example([5, 4], vocab=4, features=4)),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats("`unembed`", x)
        vocab = whole("`unembed`", "vocab", settings["vocab"])
        features = whole("`unembed`", "features", settings["features"])
        if not x.dims or x.dims[-1] != features:
            raise ShapeError(
                f"`unembed` of an embedding with {features} features needs them on the last axis; it was given {x}",
                help=f"bring the last axis to that size: `linear({features})`",
            )
        return Shape((*x.dims[:-1], vocab))

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("function", "F.linear")

    def cost(self, instance: Instance) -> Cost:
        rows = entries(instance.output.dims[:-1])
        return Cost(flops=instance.settings["vocab"] * instance.settings["features"] * rows)

    def held(self, instance: Instance) -> Held:
        return Held(inputs=(0,), for_weights=True)

    def slices(self, full: Instance, active: Instance) -> dict[str, tuple[Index, ...]]:
        """The embedding's weight [vocab, features]."""
        return {"weight": (everything(active.settings["vocab"]), everything(active.settings["features"]))}


class Scores(Unembed):
    """What ``unembed`` is where nothing else uses its embedding: [..., features] to [..., vocab], without a bias."""

    name = "scores"
    borrows = None
    alone = None
    internal = True

    def torch(self, instance: Instance) -> TorchCall:
        given = (instance.settings["features"], instance.settings["vocab"])
        return TorchCall("module", "nn.Linear", given, {"bias": False})

    def cost(self, instance: Instance) -> Cost:
        weights = instance.settings["vocab"] * instance.settings["features"]
        return Cost(params=weights, flops=super().cost(instance).flops)


class Onehot(Operation):
    """``onehot(10)``: int[...] to [..., classes], 1 at the number's place and 0 elsewhere."""

    name = "onehot"
    summary = "a 1 at the number's place, zeros elsewhere"
    section = "dense"
    settings = (Setting("classes", "int"),)
    new_axes = (-1,)
    examples: ClassVar[tuple[Example, ...]] = (example(tokens(5), classes=4), example(tokens(), classes=4))

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        ints("`onehot`", x)
        return Shape((*x.dims, whole("`onehot`", "classes", settings["classes"])))

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("function", "one_hot", (instance.output.dims[-1],))

    def held(self, instance: Instance) -> Held:
        # First a truth value for each entry.
        return Held(scratch=entries(instance.output.dims))
