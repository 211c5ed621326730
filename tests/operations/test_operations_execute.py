"""Calls as data: run, and written as text."""

from __future__ import annotations

import inspect
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from nasdsl.operations import catalogue, torch_code
from nasdsl.operations.example import decide
from nasdsl.operations.execute import bind, build_module, is_torch, resolve
from nasdsl.space.operation import TorchCall
from nasdsl.space.size import Size
from nasdsl.space.tensor import Shape
from tests.operations.written import write_call, write_module

CATALOGUE = catalogue(plugins=False)


def call(name: str, *inputs: list[Any], **settings: Any) -> TorchCall:
    shapes = [Shape(tuple(dims)) for dims in inputs]
    return CATALOGUE[name].torch(decide(CATALOGUE[name], shapes, **settings))


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("nn.Conv2d(16, 32, 3, padding=1, bias=False)", call("conv", [16, 8, 8], channels=32, kernel=3)),
        ("nn.Conv2d(3, 3, 1, bias=False)", call("conv", [3, 8, 8], kernel=1)),
        ("nn.Conv2d(3, 3, (1, 7), padding=(0, 3), bias=False)", call("conv", [3, 8, 8], kernel=[1, 7])),
        (
            "nn.Conv2d(16, 16, 5, stride=2, padding=4, dilation=2, groups=16, bias=False)",
            call("depthwise", [16, 8, 8], kernel=5, stride=2, dilation=2),
        ),
        ("nn.Conv1d(4, 8, 3, padding=1, groups=2)", call("conv", [4, 9], channels=8, kernel=3, groups=2, bias=True)),
        ("nn.Linear(64, 10)", call("linear", [64], features=10)),
        ("nn.Linear(64, 10, bias=False)", call("linear", [64], features=10, bias=False)),
        ("nn.BatchNorm2d(16)", call("batchnorm", [16, 8, 8])),
        ("nn.BatchNorm1d(16)", call("batchnorm", [16])),
        ("nn.Dropout(0.1)", call("dropout", [8], p=Fraction(1, 10))),
        ("nn.Dropout((1 / 3))", call("dropout", [8], p=Fraction(1, 3))),
        ("Attention(192, heads=3, head_dim=64)", call("attention", [5, 192], heads=3, head_dim=64)),
        ("Patchify(3, 192, patch=16, tokens=196)", call("patchify", [3, 224, 224], patch=16, features=192)),
    ],
)  # fmt: skip
def test_modules_read_as_a_person_would_write_them(written: str, given: TorchCall) -> None:
    assert write_module(given) == written


@pytest.mark.parametrize(
    ("written", "given", "inputs"),
    [
        ("torch.relu(x)", call("relu", [4]), "x"),
        ("torch.softmax(x, -1)", call("softmax", [4]), "x"),
        ("F.max_pool2d(x, 3, stride=2, padding=1)", call("maxpool", [4, 8, 8], kernel=3, stride=2), "x"),
        (
            "F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)",
            call("avgpool", [4, 8, 8], kernel=3),
            "x",
        ),
        ("F.avg_pool2d(x, 2)", call("avgpool", [4, 8, 8], kernel=2, stride=2), "x"),
        ("F.max_pool1d(x, 3, stride=1, padding=1)", call("maxpool", [4, 8], kernel=3), "x"),
        ("max_pool1d(x, 3, stride=1, padding=1)", call("maxpool", [4, Size.free("T")], kernel=3), "x"),
        ("x.mean((2, 3))", call("global_avgpool", [4, 8, 8]), "x"),
        ("x.amax(2)", call("global_maxpool", [4, 8]), "x"),
        ("x.flatten(1)", call("flatten", [4, 8]), "x"),
        ("reshape(x, (4, 1, 1))", call("reshape", [4], sizes=[4, 1, 1]), "x"),
        ("reshape(x, (4,))", call("reshape", [2, 2], sizes=[4]), "x"),
        ("torch.cat([a, b], 1)", call("concat", [4], [4]), "a b"),
        ("a + b + c", call("sum", [4], [4], [4]), "a b c"),
        ("mean([a, b], 2)", call("mean", [4], [4]), "a b"),
        ("torch.maximum(a, b)", call("max", [4], [4]), "a b"),
        ("maximum([a, b, c])", call("max", [4], [4], [4]), "a b c"),
        ("gate * x", call("multiply", [4], [4]), "gate x"),
        ("a - b", call("subtract", [4], [4]), "a b"),
        ("0.2 * x", call("scale", [4], number=Fraction(1, 5)), "x"),
        ("(1 / 3) * x", call("scale", [4], number=Fraction(1, 3)), "x"),
        ("1 - gate", call("with_number", [4], operator="-", number=1, side="left"), "gate"),
        ("x / 2", call("with_number", [4], operator="/", number=2), "x"),
        ("x - (-0.5)", call("with_number", [4], operator="-", number=Fraction(-1, 2)), "x"),
        ("F.linear(x, weight)", call("unembed", [6], vocab=4, features=6), "x weight"),
    ],
)
def test_calls_read_as_a_person_would_write_them(written: str, given: TorchCall, inputs: str) -> None:
    assert write_call(given, inputs.split()) == written


def test_modules_are_built_where_they_are_wanted() -> None:
    given = call("attention", [5, 8], heads=2, head_dim=4)
    built = build_module(given, device="meta", dtype=torch.bfloat16)
    assert {p.device.type for p in built.parameters()} == {"meta"}
    assert {p.dtype for p in built.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in build_module(given).parameters()} == {torch.get_default_dtype()}


def test_a_seed_settles_the_weights() -> None:
    given = call("patchify", [3, 8, 8], patch=4, features=6)
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_module(given).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_kinds_are_not_mixed_up() -> None:
    with pytest.raises(TypeError, match="build_module"):
        bind(call("linear", [4], features=2))
    with pytest.raises(TypeError, match="name that holds it"):
        write_call(call("linear", [4], features=2), ["x"])
    with pytest.raises(TypeError, match="has no module"):
        build_module(call("relu", [4]))


def test_the_sum_of_one_is_itself() -> None:
    x = torch.randn(2, 4)
    assert bind(call("sum", [4]))(x) is x
    assert write_call(call("sum", [4]), ["x"]) == "x"


def test_sums_are_added_in_order() -> None:
    terms = [torch.tensor([x]) for x in (1e8, -1e8, 1.0)]
    assert bind(call("sum", [1], [1], [1]))(*terms).item() == 1.0
    assert bind(call("mean", [1], [1], [1]))(*terms).item() == torch.tensor(1 / 3).item()


def test_where_targets_come_from() -> None:
    assert resolve("nn.Conv2d") is nn.Conv2d
    assert resolve("Attention") is torch_code.Attention
    # A plug-in's own, by its full path; exported code knows it by its name alone.
    assert resolve("fractions.Fraction") is Fraction
    assert not is_torch("Attention") and not is_torch("fractions.Fraction") and is_torch("F.gelu")
    assert write_module(TorchCall("module", "package.layers.Swirl", (3,))) == "Swirl(3)"


def test_causal_attention_sees_no_later_token() -> None:
    attention = build_module(call("attention", [5, 8], heads=2, head_dim=4, causal=True)).eval()
    x = torch.randn(2, 5, 8)
    later = x.clone()
    later[:, 3:] += 1
    torch.testing.assert_close(attention(x)[:, :3], attention(later)[:, :3])
    assert not torch.allclose(attention(x)[:, 3:], attention(later)[:, 3:])


def test_shift_is_that_of_factorized_reduction() -> None:
    x = torch.randn(2, 3, 5, 4)
    shifted = bind(call("shift", [3, 5, 4], by=1))(x)
    assert torch.equal(shifted[:, :, :-1, :-1], x[:, :, 1:, 1:])
    assert not shifted[:, :, -1].any() and not shifted[:, :, :, -1].any()


def test_averages_leave_the_padding_out() -> None:
    assert torch.equal(
        bind(call("avgpool", [1, 4, 4], kernel=3))(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4)
    )


def test_an_absent_term_counts_in_a_mean() -> None:
    assert bind(call("mean", [1], [1], divisor=4))(torch.tensor([3.0]), torch.tensor([5.0])).item() == 2


def test_one_hot_is_torchs() -> None:
    x = torch.randint(4, (2, 5))
    assert torch.equal(torch_code.one_hot(x, 4), nn.functional.one_hot(x, 4).float())


def test_free_lengths_are_pooled_as_fixed_ones() -> None:
    x = torch.randn(2, 4, 9)
    for options in ({"kernel": 3}, {"kernel": 2, "stride": 2}, {"kernel": 5, "stride": 3}):
        free = call("maxpool", [4, Size.free("T")], **options)
        assert torch.equal(bind(free)(x), bind(call("maxpool", [4, 9], **options))(x))


def own() -> list[Any]:
    members = vars(torch_code).values()
    return [m for m in members if getattr(m, "__module__", "") == torch_code.__name__]


@pytest.mark.parametrize("member", own(), ids=lambda member: member.__name__)
def test_torch_code_can_be_copied_piece_by_piece(member: Any) -> None:
    """Exported code takes single classes and functions: each needs the three imports of the file and nothing else."""
    imports = "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor, nn\n"
    assert imports in inspect.getsource(torch_code)
    names: dict[str, Any] = {"__name__": "copied"}
    exec(imports + inspect.getsource(member), names)
    assert member.__doc__
    for other in own():
        if other is not member:
            assert other.__name__ not in names
    operations = [(operation, example) for operation in CATALOGUE.values() for example in operation.examples]
    free = [call("maxpool", [4, Size.free("T")], kernel=3)]
    calls = [operation.torch(decide(operation, e.inputs, **e.settings)) for operation, e in operations] + free
    assert any(given.target == member.__name__ for given in calls), "no example uses it"
