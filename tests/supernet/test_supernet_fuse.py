"""Fused candidates give what they give one by one, to 1e-12 in float64, with fewer calls."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl.pipeline import loads
from nasdsl.space.choice import Choice
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.fuse import PART, Fused
from nasdsl.supernet.optimise import Fusion, Optimisations
from nasdsl.supernet.partial import partial_channels
from nasdsl.supernet.superposition import follow_superposed, superposable
from tests.supernet import small
from tests.supernet.test_supernet_optimise import Pass, assert_equal, results, soft

UNFUSED = Optimisations()
LEVELS: tuple[Fusion, ...] = ("same", "padded")


def image() -> Tensor:
    """Enough of it that batch norms of the last cells have more than a few numbers to go by."""
    return torch.randn(4, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def assert_the_same(space: Space, run: Pass, **options: Any) -> None:
    expected = results(UNFUSED, space, run, **options)
    for level in LEVELS:
        assert_equal(results(replace(UNFUSED, fuse=level), space, run, **options), expected)


def fused_steps(space: Space, level: Fusion = "padded", share: int = 1) -> list[Fused]:
    net = Supernet(space, affine=False, optimise=Optimisations(fuse=level))
    steps = net._lowered(partial_channels(space.mixture(), share, space.catalogue)).steps
    return [step for step in steps if isinstance(step, Fused)]


def giving(space: Space, x: Tensor, how: Callable[[], dict[str, Any]]) -> Pass:
    """The outputs of a pass, with the gradients of what was given and of mixture weights."""

    def run(net: Supernet) -> tuple[Tensor, dict[str, Tensor]]:
        given, said = x.clone().requires_grad_(), how()
        output = net(given, **said)
        return output, {"x": given, **said.get("mixture", {})}

    return run


def superposed(space: Space, seed: int) -> Any:
    """Any candidates of the choices that may hold several."""
    draw, free, path = random.Random(seed), superposable(space), space.sample(seed)

    def decide(choice: Choice) -> tuple[int, ...]:
        if choice.name in free:
            count = len(choice.labels)
            return tuple(draw.sample(range(count), draw.randint(1, count)))
        taken = path.get(choice.name, choice.labels[0])
        return tuple(choice.labels.index(label) for label in ((taken,) if isinstance(taken, str) else taken))

    return follow_superposed(space, decide)


@pytest.mark.parametrize(
    ("name", "count", "affine"),
    [("nasbench201", 9, True), ("darts", 39, False), ("one_shot", 23, True), ("enas_macro", 18, False)],
)
def test_spaces_that_ship(name: str, count: int, affine: bool) -> None:
    space = small.load(name, size=16)
    assert len(fused_steps(space)) == count
    options: dict[str, Any] = {"affine": affine, "batch_norm": "batch"}
    assert_the_same(space, giving(space, image(), lambda: {"mixture": soft(space)}), **options)
    several = superposed(space, 1)
    assert_the_same(space, giving(space, image(), lambda: {"genotype": several, "join": "mean"}), **options)


@pytest.mark.parametrize("channels_last", [False, True])
def test_partial_channels_and_running_statistics(channels_last: bool) -> None:
    space = small.load("nasbench201", size=16)
    assert fused_steps(space, share=2)
    run = giving(space, image(), lambda: {"mixture": soft(space), "share": 2})
    assert_the_same(space, run, channels_last=channels_last, batch_norm="running")
    for affine in (False, True):
        assert_the_same(space, run, channels_last=channels_last, batch_norm="batch", affine=affine)


# --- random spaces ------------------------------------------------------------------------------------


def candidates(draw: random.Random, axes: int) -> Iterator[str]:
    """Some that differ in kernels, in what follows, or in nothing but their weights."""
    word, bias, dilation = (
        draw.choice(["conv", "depthwise"]),
        draw.choice(["", ", bias = true"]),
        draw.choice([1, 2]),
    )
    tail = draw.choice(["", " -> batchnorm", " -> silu -> conv(kernel = 3) -> batchnorm -> relu"])
    tail += draw.choice(["", " -> depthwise(3) -> gelu -> batchnorm"])
    for _ in range(draw.randint(2, 4)):
        kernel = draw.choice([1, 3, 3, 5])
        sizes = [kernel] * (axes - 1) + [draw.choice([kernel, 3])]
        own = tail if draw.random() < 0.8 else " -> batchnorm"
        yield f"{word}(kernel = {sizes}, dilation = {dilation}{bias}){own}"


def random_space(seed: int) -> Space:
    """Three nodes, each of which adds edges from all before it."""
    draw = random.Random(seed)
    axes = draw.choice([1, 2, 2])
    ops = [*candidates(draw, axes), "identity", "avgpool(3, stride = 1)"]
    return loads(f"""
    space drawn() {{
      input image: [3, {", ".join(["8"] * axes)}]
      op edge = {" | ".join(f"e{i}: {text}" for i, text in enumerate(ops))}
      x = image -> conv(6, kernel = 1)
      a = edge(x)
      b = edge(x) + edge(a)
      c = edge(x) + edge(a) + edge(b)
      return {draw.choice(["c + b", "concat(a, b, c)"])} -> relu -> global_avgpool -> linear(10)
    }}
    """)


@pytest.mark.parametrize("seed", range(12))
def test_random_spaces(seed: int) -> None:
    space = random_space(seed)
    axes = len(space.graph.node(space.inputs[0]).type.dims) - 1
    drawn = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 3, *[8] * axes, generator=drawn, dtype=torch.float64)
    options: dict[str, Any] = {"batch_norm": ("batch", "running")[seed % 2], "affine": seed % 3 > 0}
    assert fused_steps(space)
    assert_the_same(space, giving(space, x, lambda: {"mixture": soft(space)}), **options)
    several = superposed(space, seed)
    assert_the_same(space, giving(space, x, lambda: {"genotype": several, "join": "mean"}), **options)
    assert_the_same(space, giving(space, x, lambda: {"genotype": space.sample(seed)}), **options)


@pytest.mark.parametrize("before", ["tanh", "sigmoid", "relu", "gelu"])
def test_a_relu_leaves_alone_what_the_backward_pass_of_an_activation_reads(before: str) -> None:
    row = f"conv(kernel = 3) -> {before} -> relu -> batchnorm"
    space = loads(f"""
    space drawn() {{
      input image: [3, 16, 16]
      op edge = a: {row} | b: {row} | skip: identity
      a = image -> conv(6, kernel = 1) -> edge
      return a -> global_avgpool -> linear(10)
    }}
    """)
    assert fused_steps(space)
    assert_the_same(space, giving(space, image(), lambda: {"mixture": soft(space)}), batch_norm="batch")


def test_running_statistics_of_a_shared_batch_norm_move_in_the_order_of_the_text() -> None:
    space = loads("""
    space drawn() {
      input image: [3, 16, 16]
      shared e = conv(6, kernel = 3) -> batchnorm
      x = image -> conv(6, kernel = 1)
      a = e(x) + (x -> (conv(6, kernel = 3) | identity) -> batchnorm)
      c = e(a) + e(x)
      return a + c -> relu -> global_avgpool -> linear(10)
    }
    """)
    for genotype in space.sample(0, 4):
        run = giving(space, image(), lambda genotype=genotype: {"genotype": genotype})
        assert_the_same(space, run, batch_norm="running")


# --- what it does -------------------------------------------------------------------------------------


def test_a_node_of_nasbench201_is_left_by_one_convolution() -> None:
    space = small.load("nasbench201")
    padded, same = fused_steps(space, "padded"), fused_steps(space, "same")
    # In each of three cells the edges 0 -> 1, 2, 3, then 1 -> 2, 3, then 2 -> 3, each with a 3 x 3 and a 1 x 1.
    assert [step.ends for step in padded] == 3 * [(2, 2, 2), (2, 2), (2,)]
    assert [step.ends for step in same] == 3 * [(1, 1, 1), (1, 1, 1), (1, 1), (1, 1)]
    assert all([stage[0].operation for stage in step.stages] == ["conv", "batchnorm"] for step in padded)
    net = Supernet(space, affine=False, optimise=Optimisations(fuse="padded"))
    operations = Counter(step.operation for step in net._lowered(space.mixture()).steps)
    # The stem's and those of the reductions are by themselves; a part for each node that a step leads to.
    assert operations["conv"] == 1 + 2 * 3 and operations[PART] == 3 * 6


def test_separable_convolutions_are_fused_to_their_ends() -> None:
    steps = fused_steps(small.load("darts"), "same")
    words = {" ".join(stage[0].operation for stage in step.stages) for step in steps}
    dilated = "depthwise conv batchnorm"
    assert {dilated, f"{dilated} relu {dilated}"} <= words
    # The first two nodes of a cell are left by four edges.
    assert max(len(step.ends) for step in steps) == 4


def test_weights_keep_their_names_and_unused_ones_have_no_gradient() -> None:
    space = small.load("nasbench201")
    plain, fused = (Supernet(space, optimise=Optimisations(fuse=level)) for level in ("off", "padded"))
    assert plain.state_dict().keys() == fused.state_dict().keys()
    fused.load_state_dict(plain.state_dict())
    genotype = space.genotype({choice.name: "nor_conv_3x3" for choice in space.choices})
    for net in (plain, fused):
        net.use_batch_norm("batch")
        net(torch.randn(2, 3, 32, 32), genotype=genotype).sum().backward()
    names = [{name for name, p in net.named_parameters() if p.grad is None} for net in (plain, fused)]
    assert names[0] == names[1] != set()


def test_paths_are_fused_and_their_steps_remembered() -> None:
    space = small.load("nasbench201")
    net = Supernet(space, batch_norm="batch", optimise=Optimisations(fuse="padded"))
    genotype = space.genotype({choice.name: "nor_conv_3x3" for choice in space.choices})
    first, second = (net._lowered(space.architecture(genotype)).steps for _ in range(2))
    assert (
        [step for step in first if isinstance(step, Fused)]
        == [s for s in second if isinstance(s, Fused)]
        != []
    )


def test_rows_beside_it_are_compiled() -> None:
    torch._dynamo.reset()
    space = random_space(0)
    run = giving(space, image()[..., :8, :8], lambda: {"mixture": soft(space)})
    found = results(Optimisations(fuse="same", compile="eager"), space, run, batch_norm="batch")
    assert_equal(found, results(UNFUSED, space, run, batch_norm="batch"))
    torch._dynamo.reset()


def test_in_bfloat16_it_rounds_little_more_than_without() -> None:
    space = small.load("nasbench201")
    weights = {name: w.detach().float() for name, w in soft(space).items()}
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    exact = Supernet(space, batch_norm="batch", affine=False)(x, mixture=weights)
    errors = []
    for level in ("off", *LEVELS):
        net = Supernet(
            space, batch_norm="batch", affine=False, channels_last=True, optimise=Optimisations(fuse=level)
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = net(x, mixture=weights)
        output.float().sum().backward()
        errors.append(float((output.float() - exact).detach().norm()))
    assert 0 < max(errors) < 1.5 * errors[0]
