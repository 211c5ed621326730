"""Transformers: images as sequences of tokens, and attention among tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nasdsl.operations.example import Example, example
from nasdsl.operations.rules import entries, everything, floats, part_of, weight_size, whole
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
from nasdsl.space.tensor import Part, Parts, Shape, SpaceDim


class Patchify(Operation):
    """``patchify(16, 192)``: [C, H, W] to [T, features], T = (H // patch) * (W // patch).

    Each patch is projected, with a bias, and a learned vector for its position is added.
    """

    name = "patchify"
    summary = "an image as a sequence of tokens: projected patches plus learned positions"
    section = "tokens"
    settings = (Setting("patch", "int"), Setting("features", "int", elastic=True))
    new_axes = (0, 1)
    examples: ClassVar[tuple[Example, ...]] = (
        example([3, 8, 12], patch=4, features=6),
        example([1, 4, 4], patch=1, features=2),
    )
    elastic_examples: ClassVar[tuple[tuple[Example, Example], ...]] = (
        (example([3, 8, 8], patch=4, features=6), example([2, 8, 8], patch=4, features=5)),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats("`patchify`", x)
        if len(x.dims) != 3:
            raise ShapeError(f"`patchify` needs an image, such as [C, H, W]; it was given {x}")
        patch = whole("`patchify`", "patch", settings["patch"])
        features = whole("`patchify`", "features", settings["features"])
        _, height, width = x.dims
        if not all(isinstance(size, int) for size in x.dims):
            raise ShapeError(
                f"`patchify` learns a vector for each position of {x}, and a free dimension may not size a weight",
                help="give height and width a number",
            )
        assert isinstance(height, int) and isinstance(width, int)
        if height % patch or width % patch:
            raise ShapeError(
                f"patches of {patch} x {patch} don't fill {x}",
                help="take a `patch` that divides height and width",
            )
        return Shape(((height // patch) * (width // patch), features))

    def torch(self, instance: Instance) -> TorchCall:
        tokens, features = instance.output.dims
        channels = instance.inputs[0].dims[0]
        kwargs = {"patch": instance.settings["patch"], "tokens": tokens}
        return TorchCall("module", "Patchify", (channels, features), kwargs)

    def cost(self, instance: Instance) -> Cost:
        tokens, features = (weight_size("`patchify`", instance.output, axis) for axis in (0, 1))
        weight = features * weight_size("`patchify`", instance.inputs[0], 0) * instance.settings["patch"] ** 2
        return Cost(params=weight + features + tokens * features, flops=weight * tokens)

    def held(self, instance: Instance) -> Held:
        # The patches, before the positions are added.
        return Held(inputs=(0,), for_weights=True, scratch=FLOAT * entries(instance.output.dims))

    def slices(self, full: Instance, active: Instance) -> dict[str, tuple[Index, ...]]:
        """A projection [features, C, patch, patch] with its bias, and positions [T, features]."""
        tokens, features = (weight_size("`patchify`", active.output, axis) for axis in (0, 1))
        channels = weight_size("`patchify`", active.inputs[0], 0)
        window = everything(active.settings["patch"])
        rows = leading(part_of(active.output_parts, 1), features)
        columns = leading(part_of(active.parts[0] if active.parts else (), 0), channels)
        return {
            "project.weight": (rows, columns, window, window),
            "project.bias": (rows,),
            "positions": (everything(tokens), rows),
        }


class Attention(Operation):
    """``attention(heads = 3, head_dim = 64)``: [T, D] to the same.

    Queries, keys and values for each head, scaled dot products, and a projection back, all four with a bias. Where
    ``causal``, a token sees itself and those before it.
    """

    name = "attention"
    summary = "multi-head self-attention over [T, D]"
    section = "tokens"
    settings = (
        Setting("heads", "int", elastic=True),
        Setting("head_dim", "int", elastic=True),
        Setting("causal", "bool", False),
    )
    examples: ClassVar[tuple[Example, ...]] = (
        example([5, 12], heads=3, head_dim=4),
        example([5, 6], heads=2, head_dim=4, causal=True),
        example([1, 6], heads=1, head_dim=2),
    )
    elastic_examples: ClassVar[tuple[tuple[Example, Example], ...]] = (
        (example([5, 12], heads=4, head_dim=4), example([5, 9], heads=3, head_dim=2)),
        (example([5, 12], heads=4, head_dim=4), example([5, 12], heads=2, head_dim=4)),
    )

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats("`attention`", x)
        if len(x.dims) != 2:
            raise ShapeError(
                f"`attention` needs tokens with features, such as [T, D]; it was given {x}",
                help="make an image a sequence first: `patchify(patch, features)`"
                if len(x.dims) == 3
                else None,
            )
        weight_size("`attention`", x, -1)
        whole("`attention`", "heads", settings["heads"])
        whole("`attention`", "head_dim", settings["head_dim"])
        return x

    def torch(self, instance: Instance) -> TorchCall:
        kwargs = {name: instance.settings[name] for name in ("heads", "head_dim")}
        if instance.settings["causal"]:
            kwargs["causal"] = True
        return TorchCall("module", "Attention", (instance.output.dims[-1],), kwargs)

    def cost(self, instance: Instance) -> Cost:
        features = weight_size("`attention`", instance.output, -1)
        inner = instance.settings["heads"] * instance.settings["head_dim"]
        tokens: Any = instance.output.dims[0]
        weight = 4 * features * inner
        # Besides the projections, queries times keys and probabilities times values.
        return Cost(params=weight + 3 * inner + features, flops=weight * tokens + 2 * tokens * tokens * inner)

    def held(self, instance: Instance) -> Held:
        # Queries, keys, values and what is mixed of them; for each head and token the logarithm of a sum, which goes
        # before the output is there.
        heads, tokens = instance.settings["heads"], instance.output.dims[0]
        mixed: Any = FLOAT * 4 * heads * instance.settings["head_dim"]
        sums = FLOAT * heads
        output = FLOAT * weight_size("`attention`", instance.output, -1)
        return Held(
            inputs=(0,),
            for_weights=True,
            extra=tokens * (mixed + sums),
            scratch=tokens * (mixed + max(0, sums - output)),
        )

    def slices(self, full: Instance, active: Instance) -> dict[str, tuple[Index, ...]]:
        """Projections [heads * head_dim, D] and back [D, heads * head_dim]: the leading heads, and of each the leading
        ``head_dim``."""
        heads, head_dim = active.settings["heads"], active.settings["head_dim"]
        stored = full.settings["head_dim"]
        inner = leading((Part(stored, head_dim),) * heads, heads * head_dim)
        features = weight_size("`attention`", active.inputs[0], -1)
        outer = leading(part_of(active.parts[0] if active.parts else (), -1), features)
        found: dict[str, tuple[Index, ...]] = {}
        for name in ("query", "key", "value"):
            found[f"{name}.weight"] = (inner, outer)
            found[f"{name}.bias"] = (inner,)
        found["out.weight"] = (outer, inner)
        found["out.bias"] = (outer,)
        return found


class MeanTokens(Operation):
    """``mean_tokens``: [T, D] to [D]."""

    name = "mean_tokens"
    summary = "the average of the tokens"
    section = "tokens"
    examples: ClassVar[tuple[Example, ...]] = (example([5, 6]),)

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        (x,) = inputs
        floats("`mean_tokens`", x)
        if len(x.dims) != 2:
            raise ShapeError(
                f"`mean_tokens` needs tokens with features, such as [T, D]; it was given {x}",
                help="average an image with `global_avgpool`" if len(x.dims) == 3 else None,
            )
        return Shape((x.dims[1],))

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("method", "mean", (1,))

    def parts(
        self, inputs: Sequence[tuple[Parts, ...]], dims: Sequence[tuple[SpaceDim, ...]], **settings: Any
    ) -> tuple[Parts, ...] | None:
        return (part_of(inputs[0], 1),)
