"""Shape rules: what they refuse and in which words, formulas over free sizes, the parts of axes, costs by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from nasdsl.operations import catalogue
from nasdsl.operations.example import decide, tokens
from nasdsl.space.diagram import Diagrams
from nasdsl.space.operation import ShapeError
from nasdsl.space.size import Size
from nasdsl.space.tensor import Part, Shape

CATALOGUE = catalogue(plugins=False)
T, S = Size.free("T"), Size.free("S")


def shape(*dims: Any) -> Shape:
    return Shape(dims)


REFUSED = [
    # conv and its like
    ("conv", [shape(128)], {"kernel": 3}, "needs channels and one to three axes, such as [C, H, W]; it was given [128]", "reshape"),
    ("conv", [shape()], {"channels": 4, "kernel": 3}, "it was given []", None),
    ("conv", [shape(1, 2, 3, 4, 5)], {"kernel": 3}, "one to three axes", None),
    ("conv", [tokens(3, 8, 8)], {"kernel": 3}, "needs a tensor of real numbers; it was given int[3, 8, 8]", "embedding"),
    ("conv", [shape(3, 8, 8)], {"kernel": 4}, "even kernel (4) at stride 1", "kernel = 5"),
    ("conv", [shape(3, 8, 8)], {"kernel": [3, 2], "stride": [2, 1]}, "even kernel (2) at stride 1", "kernel = 3"),
    ("conv", [shape(3, 8, 8)], {"kernel": [3, 3, 3]}, "lists 3 numbers; its input has 2 axes", None),
    ("conv", [shape(3, 8, 8)], {"kernel": 0}, "`kernel` of `conv` must be at least 1; it is 0", None),
    ("conv", [shape(3, 8, 8)], {"kernel": 3, "stride": -1}, "`stride` of `conv` must be at least 1; it is -1", None),
    ("conv", [shape(3, 8, 8)], {"kernel": Fraction(5, 2)}, "`kernel` of `conv` must be a whole number; it is 5/2", "round"),
    ("conv", [shape(3, 8, 8)], {"kernel": True}, "must be a whole number; it is True", None),
    ("conv", [shape(3, 8, 8)], {"kernel": 3, "channels": 8, "groups": 2}, "2 groups can't share the 3 input channels", "groups"),
    ("conv", [shape(4, 8, 8)], {"kernel": 3, "channels": 9, "groups": 2}, "the 9 output channels", "groups"),
    ("conv", [shape(T, 8)], {"kernel": 3}, "the first axis of [T, 8] sizes a weight of `conv`", "give the first axis a number"),
    ("conv", [shape(3, T)], {"kernel": 3, "channels": T}, "`channels` of `conv` must be a number; it is T", None),
    ("conv", [shape(3, 1, 1)], {"kernel": 2, "stride": 2}, "a window of 2 doesn't fit", "smaller kernel"),
    ("depthwise", [shape(4, 8)], {"kernel": 2}, "`depthwise` with an even kernel", "kernel = 3"),
    ("depthwise", [shape(T, 8)], {"kernel": 3}, "free dimension may not size a weight", None),
    ("maxpool", [shape(4, 8)], {"kernel": 2}, "`maxpool` with an even kernel", "stride = 2"),
    ("avgpool", [shape(4, 1)], {"kernel": 2, "stride": 2}, "doesn't fit: `avgpool` was given [4, 1]", None),
    ("avgpool", [shape(8)], {"kernel": 3}, "`avgpool` needs channels", None),
    ("global_avgpool", [shape(8)], {}, "`global_avgpool` needs channels", None),
    ("upsample", [shape(3, 4)], {"scale": 0}, "`scale` of `upsample` must be at least 1", None),
    ("shift", [shape(3, 4)], {"by": -1}, "`by` of `shift` must be at least 0", None),
    # dense
    ("linear", [tokens(T)], {"features": 8}, "real numbers; it was given int[T]", "embedding(vocab, features)"),
    ("linear", [shape(8, T)], {"features": 8}, "the last axis of [8, T] sizes a weight of `linear`", "give the last axis a number"),
    ("linear", [shape(8)], {"features": T}, "`features` of `linear` must be a number; it is T, which is free", None),
    ("linear", [shape(8)], {"features": Fraction(7, 2)}, "whole number; it is 7/2", "features = round"),
    ("linear", [shape()], {"features": 8}, "needs an axis of features", "reshape(x, [1])"),
    ("embedding", [shape(5)], {"vocab": 4, "features": 2}, "whole numbers, such as int[T]; it was given [5]", "int[T]"),
    ("unembed", [shape(5, 7)], {"vocab": 4, "features": 6}, "an embedding with 6 features", "linear(6)"),
    ("onehot", [shape(5)], {"classes": 4}, "`onehot` needs a tensor of whole numbers", None),
    # sizes
    ("flatten", [shape()], {}, "at least one axis", None),
    ("reshape", [shape(4, 3)], {"sizes": [5]}, "[4, 3] holds 12, but [5] would hold 5", None),
    ("reshape", [shape(T, 3)], {"sizes": [3, 3]}, "would hold 9", None),
    ("reshape", [shape(4)], {"sizes": [-2, -2]}, "`sizes` of `reshape` must be at least 1", None),
    ("reshape", [shape(T, S)], {"sizes": [S, T]}, "more than one", "keep the other free sizes"),
    # normalisation, activation
    ("batchnorm", [shape(T, 8)], {}, "the first axis of [T, 8]", "layernorm"),
    ("batchnorm", [shape()], {}, "needs channels", None),
    ("batchnorm", [tokens(8)], {}, "real numbers", None),
    ("layernorm", [shape(8, T)], {}, "the last axis", None),
    ("layernorm", [shape()], {}, "axis of features", None),
    ("dropout", [shape(8)], {"p": 1}, "is a probability", None),
    ("dropout", [shape(8)], {"p": Fraction(-1, 2)}, "it is -1/2", None),
    ("relu", [tokens(8)], {}, "`relu` needs a tensor of real numbers", "embedding"),
    ("softmax", [shape()], {}, "at least one axis", None),
    # tokens
    ("patchify", [shape(3, 8, 8)], {"patch": 3, "features": 4}, "patches of 3 x 3 don't fill [3, 8, 8]", "divides"),
    ("patchify", [shape(3, T, 8)], {"patch": 2, "features": 4}, "a free dimension may not size a weight", None),
    ("patchify", [shape(3, 8)], {"patch": 2, "features": 4}, "needs an image", None),
    ("attention", [shape(3, 8, 8)], {"heads": 2, "head_dim": 4}, "such as [T, D]; it was given [3, 8, 8]", "patchify"),
    ("attention", [shape(T, S)], {"heads": 2, "head_dim": 4}, "the last axis of [T, S]", None),
    ("attention", [shape(T, 8)], {"heads": 0, "head_dim": 4}, "`heads` of `attention` must be at least 1", None),
    ("mean_tokens", [shape(3, 8, 8)], {}, "needs tokens", "global_avgpool"),
    # reductions and arithmetic
    ("sum", [], {}, "a sum needs at least one tensor", None),
    ("sum", [shape(16, 8, 8), shape(16)], {}, "equally many axes; it was given [16, 8, 8] and [16]", "reshape(x, [16, 1, 1])"),
    ("sum", [shape(4, 8), shape(4, 9), shape(4, 8)], {}, "same shape; it was given [4, 8], [4, 9] and [4, 8]", None),
    ("sum", [shape(4, T), shape(4, 9)], {}, "a sum needs tensors of the same shape; it was given [4, T] and [4, 9]", None),
    ("sum", [tokens(4), tokens(4)], {}, "real numbers", None),
    ("mean", [shape(4)], {"divisor": 0}, "`divisor` of a mean must be at least 1", None),
    ("max", [shape(4), shape(5)], {}, "a max needs tensors of the same shape", None),
    ("concat", [], {}, "at least one tensor", None),
    ("concat", [shape(4, 8), shape(4, 9)], {}, "along axis 0 only; it was given [4, 8] and [4, 9]", None),
    ("concat", [shape(4), shape(4)], {"axis": 1}, "can't join along axis 1", None),
    ("concat", [shape(4), shape(4)], {"axis": -1}, "`axis` of `concat` must be at least 0", None),
    ("concat", [shape(4), tokens(4)], {}, "one kind of number; it was given [4] and int[4]", None),
    ("concat", [shape(4, 8), shape(4)], {}, "differ in size along axis 0 only", None),
    ("multiply", [shape(4), shape(5)], {}, "`*` needs tensors of the same shape", None),
    ("scale", [tokens(4)], {"number": 2}, "`*` needs a tensor of real numbers", None),
    ("with_number", [shape(4)], {"operator": "/", "number": 0}, "divided by zero", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "settings", "words", "mend"), REFUSED)
def test_refuses(
    name: str, inputs: list[Shape], settings: dict[str, Any], words: str, mend: str | None
) -> None:
    with pytest.raises(ShapeError) as caught:
        decide(CATALOGUE[name], inputs, **settings)
    assert words in caught.value.message
    if mend is not None:
        assert caught.value.help is not None and mend in caught.value.help


def made(name: str, *inputs: Shape, **settings: Any) -> str:
    return str(decide(CATALOGUE[name], inputs, **settings).output)


def test_free_sizes() -> None:
    assert made("conv", shape(3, T), channels=8, kernel=3) == "[8, T]"
    halved = decide(CATALOGUE["conv"], [shape(3, T)], channels=8, kernel=3, stride=2).output.dims[1]
    assert isinstance(halved, Size)
    assert [halved.at({"T": n}) for n in (1, 2, 5, 6)] == [1, 1, 3, 3]
    assert made("upsample", shape(3, T), scale=2) == "[3, 2*T]"
    assert made("flatten", shape(3, T, 2)) == "[6*T]"
    assert made("attention", shape(T, 8), heads=2, head_dim=4) == "[T, 8]"
    assert made("mean_tokens", shape(T, 8)) == "[8]"
    assert made("embedding", tokens(T), vocab=10, features=8) == "[T, 8]"
    assert made("concat", shape(T, 8), shape(3, 8)) == "[T + 3, 8]"
    assert made("concat", shape(T), shape(T)) == "[2*T]"
    assert made("sum", shape(T, 8), shape(1, 8)) == "[T, 8]"
    assert made("sum", shape(1, 8), shape(T, 1)) == "[T, 8]"
    assert made("reshape", shape(T, 6), sizes=[T, 2, 3]) == "[T, 2, 3]"
    assert made("reshape", shape(T, S, 6), sizes=[T, S, 2, 3]) == "[T, S, 2, 3]"


def test_reshape_keeps_free_sizes_in_their_place() -> None:
    reshape = CATALOGUE["reshape"]
    for inputs, dims, expected in [
        ([shape(T, 6)], [T, 2, 3], (0, 2, 3)),
        ([shape(T, 6)], [2, T, 3], (2, -1, 3)),
        ([shape(T, S, 6)], [T, 6, S], (0, 6, -1)),
        ([shape(6)], [6, 1, 1], (6, 1, 1)),
    ]:
        assert reshape.torch(decide(reshape, inputs, sizes=dims)).args == (expected,)


def test_whole_fractions_are_whole() -> None:
    assert made("linear", shape(8), features=Fraction(6, 2)) == "[3]"
    assert made("reshape", shape(8), sizes=[Fraction(8), 1]) == "[8, 1]"


def test_flops_are_formulas_too() -> None:
    def flops(name: str, *inputs: Shape, **settings: Any) -> str:
        return str(CATALOGUE[name].cost(decide(CATALOGUE[name], inputs, **settings)).flops)

    assert flops("conv", shape(3, T), channels=8, kernel=3) == "72*T"
    assert flops("linear", shape(T, 8), features=2) == "16*T"
    assert flops("attention", shape(T, 8), heads=2, head_dim=4) == "16*T*T + 256*T"


def test_costs_are_those_of_nas_bench_201() -> None:
    """The benchmark's own figures for the lightest and the heaviest cell (C = 16, N = 5, CIFAR-10).

    Its FLOPs are the multiply-adds of convolutions and of the dense layer, plus one for each of the 10 biases; norms,
    pools, activations and sums count nothing.
    """

    def network(*edge: int) -> tuple[int, Any]:
        params: int = 0
        flops: Any = 0

        def use(name: str, x: Shape, **settings: Any) -> Shape:
            nonlocal params, flops
            instance = decide(CATALOGUE[name], [x], **settings)
            cost = CATALOGUE[name].cost(instance)
            params, flops = params + cost.params, flops + cost.flops
            return instance.output

        x = use("batchnorm", use("conv", shape(3, 32, 32), channels=16, kernel=3))
        for stage in range(3):
            for _ in range(5 * 6):
                for kernel in edge:
                    use("batchnorm", use("conv", use("relu", x), kernel=kernel))
            if stage < 2:
                channels = 2 * x.dims[0]
                y = use("batchnorm", use("conv", x, channels=channels, kernel=3, stride=2))
                y = use("batchnorm", use("conv", y, kernel=3))
                use("conv", use("avgpool", x, kernel=2, stride=2), channels=channels, kernel=1)
                x = y
        use("linear", use("global_avgpool", use("batchnorm", x)), features=10)
        return params, flops

    assert network() == (73_306, 7_783_050 - 10)
    assert network(1) == (241_306, 31_376_010 - 10)
    assert network(3) == (1_531_546, 220_119_690 - 10)


# --- parts -----------------------------------------------------------------------------------------

table = Diagrams()
WIDTH = table.switch(0, [table.leaf(8), table.leaf(16)])
OTHER = table.switch(1, [table.leaf(2), table.leaf(4)])
A, B = Part(16, WIDTH), Part(4, OTHER)


def parts(name: str, inputs: list[tuple[Any, ...]], dims: list[tuple[Any, ...]], **settings: Any) -> Any:
    return CATALOGUE[name].parts(inputs, dims, **settings)


def test_concat_is_made_of_the_parts_of_all() -> None:
    found = parts(
        "concat", [((A,), None), (None, None), ((B,), None)], [(WIDTH, 5), (3, 5), (OTHER, 5)], axis=0
    )
    assert found == ((A, Part(3, 3), B), None)
    assert parts("concat", [(), ()], [(4, 5), (3, 5)], axis=0) == (None, None)
    assert parts("concat", [((A,), None), ()], [(WIDTH, 5), (T, 5)], axis=0) == (None, None)
    assert parts("concat", [((A,), None), ((A,), None)], [(WIDTH, 5), (WIDTH, 3)], axis=1) == ((A,), None)


def test_sums_keep_the_parts_of_what_is_not_stretched() -> None:
    for name in ("sum", "mean", "max", "multiply", "subtract", "divide"):
        assert parts(name, [(), ((A,), None)], [(1, 5), (WIDTH, 1)]) == ((A,), None)
        assert parts(name, [((A,), None), ((B,), None)], [(WIDTH, 5), (WIDTH, 5)]) == ((A,), None)


def test_tokens_and_pools_keep_the_parts_of_features() -> None:
    assert parts("mean_tokens", [(None, (A, B))], [(T, table.undefined)]) == ((A, B),)
    # Axis 0 stays axis 0: nothing to say.
    assert parts("global_avgpool", [((A,), None, None)], [(WIDTH, 5, 5)]) is None
    assert CATALOGUE["global_avgpool"].new_axes == ()


def test_flatten_repeats_parts() -> None:
    two, one = Part(4, 3), Part(2, 1)
    assert parts("flatten", [((two, one), None)], [(4, 5)]) == ((Part(20, 15), Part(10, 5)),)
    assert parts("flatten", [(None, (two,))], [(3, 3)]) == ((two,) * 3,)
    assert parts("flatten", [((A, B), None, None)], [(WIDTH, 1, 1)]) == ((A, B),)
    # A size that rests on choices isn't multiplied here; neither is a free one: the axis is then one part.
    assert parts("flatten", [((A,), None)], [(WIDTH, 5)]) is None
    assert parts("flatten", [((two,), None)], [(3, T)]) is None


def test_reshape_keeps_the_parts_of_axes_that_stay() -> None:
    assert parts("reshape", [((A, B),)], [(WIDTH,)], sizes=[WIDTH, 1, 1]) == ((A, B), None, None)
    assert parts("reshape", [(None, (A,))], [(4, WIDTH)], sizes=[2, 2, WIDTH]) == (None, None, (A,))
    assert parts("reshape", [((A,), None)], [(WIDTH, 4)], sizes=[4, WIDTH]) == (None, (Part(16, WIDTH),))
