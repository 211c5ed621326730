"""Elastic weights: which entries of the largest one a smaller use takes (rule 14), drawn at random.

The meaning, besides the sizes: a smaller use computes what the largest one computes where the entries that it lacks
are zeros.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasdsl.operations import catalogue
from nasdsl.operations.conv import Conv
from nasdsl.operations.example import decide
from nasdsl.operations.execute import build_module
from nasdsl.operations.rules import centre
from nasdsl.space.operation import Index, Instance, Operation, ShapeError, leading
from nasdsl.space.tensor import Part, Shape

CATALOGUE = catalogue(plugins=False)
quick = settings(max_examples=15, deadline=None)


def positions(index: Index, size: int) -> Tensor:
    return torch.arange(size)[index if isinstance(index, slice) else list(index)]


def cut(weight: Tensor, indices: tuple[Index, ...]) -> Tensor:
    for axis, index in enumerate(indices):
        weight = weight.index_select(axis, positions(index, weight.shape[axis]))
    return weight


def pair(operation: Operation, full: Instance, active: Instance) -> tuple[nn.Module, nn.Module]:
    """The stored module, and the active one with its slices, in evaluation."""
    large, small = build_module(operation.torch(full)), build_module(operation.torch(active))
    for parameter in large.parameters():
        nn.init.normal_(parameter)
    for name, buffer in large.named_buffers():
        if name.startswith("running"):
            buffer.uniform_(0.5, 2)
    indices = operation.slices(full, active)
    small.load_state_dict({name: cut(w, indices.get(name, ())) for name, w in large.state_dict().items()})
    return large.eval(), small.eval()


def spread(x: Tensor, index: Index, size: int, axis: int = 1) -> Tensor:
    """x at its places in a longer axis, zeros elsewhere."""
    shape = list(x.shape)
    shape[axis] = size
    return torch.zeros(shape).index_copy(axis, positions(index, size), x)


@st.composite
def divided(draw: st.DrawFn, most: int = 3) -> tuple[Part, ...]:
    """The parts of an axis, each with an active size."""
    parts = []
    for _ in range(draw(st.integers(1, most))):
        limit = draw(st.integers(1, 5))
        parts.append(Part(limit, draw(st.integers(1, limit))))
    return tuple(parts)


def sizes(parts: tuple[Part, ...]) -> tuple[int, int]:
    return sum(part.limit for part in parts), sum(int(part.size) for part in parts)  # type: ignore[arg-type]


def cut_kernels(large: nn.Module, indices: tuple[Index, ...]) -> None:
    """Zeros around the centre of the stored kernel."""
    weight: Any = large.weight
    kept = torch.zeros_like(weight)
    window = (slice(None), slice(None), *indices[2:])
    kept[window] = weight[window]
    weight.data = kept


kernels = st.sampled_from([(3, 1), (5, 3), (7, 3), (5, 5), (3, 3)])


@quick
@given(divided(), st.integers(1, 6), st.integers(1, 6), kernels, st.sampled_from([1, 2]), st.booleans())
def test_conv_takes_the_parts_of_its_input(
    parts: tuple[Part, ...], stored: int, channels: int, kernel: tuple[int, int], stride: int, bias: bool
) -> None:
    stored = max(stored, channels)
    conv = CATALOGUE["conv"]
    (limit, size), (large_kernel, small_kernel) = sizes(parts), kernel
    options = {"stride": stride, "bias": bias}
    full = decide(conv, [Shape((limit, 8, 9))], channels=stored, kernel=large_kernel, **options)
    active = decide(conv, [Shape((size, 8, 9))], channels=channels, kernel=small_kernel, **options)
    active = replace(
        active, parts=((parts, None, None),), output_parts=((Part(stored, channels),), None, None)
    )
    large, small = pair(conv, full, active)
    cut_kernels(large, conv.slices(full, active)["weight"])
    x = torch.randn(2, size, 8, 9)
    torch.testing.assert_close(small(x), large(spread(x, leading(parts, size), limit))[:, :channels])


@quick
@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 3), st.integers(0, 2), kernels)
def test_grouped_conv_takes_the_leading_channels_of_each_group(
    groups: int, inside: int, more_in: int, outside: int, more_out: int, kernel: tuple[int, int]
) -> None:
    conv = CATALOGUE["conv"]
    wide, narrow = groups * (inside + more_in), groups * inside
    many, few = groups * (outside + more_out), groups * outside
    full = decide(conv, [Shape((wide, 7))], channels=many, kernel=kernel[0], groups=groups)
    active = decide(conv, [Shape((narrow, 7))], channels=few, kernel=kernel[1], groups=groups)
    large, small = pair(conv, full, active)
    cut_kernels(large, conv.slices(full, active)["weight"])
    x = torch.randn(2, narrow, 7)
    taken = leading((Part(inside + more_in, inside),) * groups, narrow)
    made = leading((Part(outside + more_out, outside),) * groups, few)
    torch.testing.assert_close(small(x), cut(large(spread(x, taken, wide)), (slice(None), made)))


@quick
@given(divided(), kernels)
def test_depthwise_takes_the_parts_of_its_input_however_it_is_written(
    parts: tuple[Part, ...], kernel: tuple[int, int]
) -> None:
    limit, size = sizes(parts)
    x = torch.randn(2, size, 6, 6)
    taken = leading(parts, size)
    for name in ("depthwise", "conv"):
        operation = CATALOGUE[name]
        # As in a mobile block, where the groups are the chosen width.
        wide, narrow = ({"groups": n} if name == "conv" else {} for n in (limit, size))
        full = decide(operation, [Shape((limit, 6, 6))], kernel=kernel[0], **wide)
        active = decide(operation, [Shape((size, 6, 6))], kernel=kernel[1], **narrow)
        of_output = operation.parts([(parts, None, None)], [active.inputs[0].dims], **active.settings)
        assert of_output in (None, (parts, None, None))
        assert of_output or 0 not in operation.new_axes
        active = replace(active, parts=((parts, None, None),), output_parts=(parts, None, None))
        large, small = pair(operation, full, active)
        cut_kernels(large, operation.slices(full, active)["weight"])
        torch.testing.assert_close(small(x), cut(large(spread(x, taken, limit)), (slice(None), taken)))


@quick
@given(st.data())
def test_chosen_groups_are_cut_from_one_weight(data: st.DataObject) -> None:
    conv = CATALOGUE["conv"]
    assert isinstance(conv, Conv)
    widths = data.draw(st.lists(st.sampled_from([4, 8, 12]), min_size=1, unique=True))
    groups = data.draw(st.lists(st.sampled_from([1, 2, 4]), min_size=1, unique=True))
    uses = [decide(conv, [Shape((w, 5))], channels=8, kernel=3, groups=g) for w in widths for g in groups]
    largest = decide(conv, [Shape((max(widths), 5))], channels=8, kernel=3, groups=max(groups))
    full = conv.stored(largest, uses)
    for active in uses:
        parts = ((Part(max(widths), active.inputs[0].dims[0]),), None)
        _, small = pair(conv, full, replace(active, parts=(parts,)))
        assert small(torch.randn(2, *active.inputs[0].dims)).shape[1] == 8


@quick
@given(divided(), divided(), st.booleans())
def test_linear_takes_parts_on_both_sides(
    parts: tuple[Part, ...], made: tuple[Part, ...], bias: bool
) -> None:
    linear = CATALOGUE["linear"]
    (limit, size), (most, features) = sizes(parts), sizes(made)
    full = decide(linear, [Shape((3, limit))], features=most, bias=bias)
    active = decide(linear, [Shape((3, size))], features=features, bias=bias)
    active = replace(active, parts=((None, parts),), output_parts=(None, made))
    large, small = pair(linear, full, active)
    x = torch.randn(2, 3, size)
    expected = large(spread(x, leading(parts, size), limit, axis=2))
    torch.testing.assert_close(small(x), expected.index_select(2, positions(leading(made, features), most)))


@quick
@given(divided())
def test_batchnorm_takes_the_parts_of_its_input(parts: tuple[Part, ...]) -> None:
    batchnorm = CATALOGUE["batchnorm"]
    limit, size = sizes(parts)
    full, active = (decide(batchnorm, [Shape((channels, 4, 4))]) for channels in (limit, size))
    active = replace(active, parts=((parts, None, None),))
    large, small = pair(batchnorm, full, active)
    x = torch.randn(2, size, 4, 4)
    taken = leading(parts, size)
    torch.testing.assert_close(small(x), cut(large(spread(x, taken, limit)), (slice(None), taken)))


@quick
@given(divided(), st.integers(1, 3), st.integers(0, 2), st.integers(1, 4))
def test_attention_takes_the_leading_heads(
    parts: tuple[Part, ...], heads: int, more: int, head_dim: int
) -> None:
    attention = CATALOGUE["attention"]
    limit, size = sizes(parts)
    full = decide(attention, [Shape((4, limit))], heads=heads + more, head_dim=head_dim)
    active = decide(attention, [Shape((4, size))], heads=heads, head_dim=head_dim)
    active = replace(active, parts=((None, parts),))
    large: Any
    large, small = pair(attention, full, active)
    # The heads that are not there say nothing.
    large.out.weight.data[:, heads * head_dim :] = 0
    x = torch.randn(2, 4, size)
    taken = leading(parts, size)
    expected = large(spread(x, taken, limit, axis=2)).index_select(2, positions(taken, limit))
    torch.testing.assert_close(small(x), expected)


def test_attention_takes_the_leading_part_of_each_head() -> None:
    attention = CATALOGUE["attention"]
    full = decide(attention, [Shape((4, 6))], heads=3, head_dim=4)
    active = decide(attention, [Shape((4, 6))], heads=2, head_dim=2)
    found = attention.slices(full, active)
    assert found["query.weight"] == ((0, 1, 4, 5), slice(0, 6))
    assert found["out.weight"] == (slice(0, 6), (0, 1, 4, 5))


@quick
@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 5), st.integers(0, 3))
def test_patchify_takes_leading_features(channels: int, more_in: int, features: int, more_out: int) -> None:
    patchify = CATALOGUE["patchify"]
    full = decide(patchify, [Shape((channels + more_in, 4, 6))], patch=2, features=features + more_out)
    active = decide(patchify, [Shape((channels, 4, 6))], patch=2, features=features)
    large, small = pair(patchify, full, active)
    x = torch.randn(2, channels, 4, 6)
    expected = large(spread(x, slice(0, channels), channels + more_in))[:, :, :features]
    torch.testing.assert_close(small(x), expected)


def test_centre_of_a_kernel() -> None:
    assert centre("`conv`", 7, 7) == slice(0, 7)
    assert centre("`conv`", 4, 2) == slice(1, 3)
    with pytest.raises(ShapeError, match="no centre"):
        centre("`conv`", 7, 4)
    with pytest.raises(ShapeError, match="larger"):
        centre("`conv`", 3, 5)


def test_an_operation_without_weights_has_no_slices() -> None:
    relu = CATALOGUE["relu"]
    instance = decide(relu, [Shape((3,))])
    with pytest.raises(TypeError, match="no elastic weights"):
        relu.slices(instance, instance)
