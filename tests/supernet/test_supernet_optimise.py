"""Every optimisation gives the outputs and gradients of the plain path, to 1e-12 in float64."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasdsl import resources
from nasdsl.pipeline import load, loads
from nasdsl.space.architecture import Architecture
from nasdsl.space.operation import TorchCall
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.batchnorm import Policy
from nasdsl.supernet.common import share_common
from nasdsl.supernet.inplace import RELU_IN_PLACE
from nasdsl.supernet.kernels import fast_norm, fast_pool
from nasdsl.supernet.node import Node
from nasdsl.supernet.optimise import PLAIN, Optimisations
from nasdsl.supernet.partial import FIRST, partial_channels
from tests.supernet import small

TINY: dict[str, dict[str, int]] = {
    "nasbench201": {"width": 3, "cells": 1, "size": 8},
    "darts": {"width": 2, "layers": 3, "size": 8},
    "one_shot": {"cells": 1, "blocks": 2, "size": 8},
}
ALL = Optimisations()
SWITCHES = {
    field.name: replace(PLAIN, **{field.name: True})
    for field in fields(Optimisations)
    if field.type == "bool"
} | {
    "all": ALL,
    "all and recompute": replace(ALL, recompute=True),
    "all and fused": replace(ALL, fuse="same"),
    "all and fused with zeros": replace(ALL, fuse="padded"),
    "all, fused and recompute": replace(ALL, fuse="padded", recompute=True),
}


@cache
def shipped(name: str) -> Space:
    return load(Path(resources.spaces()) / f"{name}.nas", **TINY.get(name, {}))


def image(size: int = 2) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, 8, 8, dtype=torch.float64, generator=random)


def soft(space: Space) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        choice.name: torch.softmax(
            torch.randn(len(choice.labels), generator=random, dtype=torch.float64), 0
        ).requires_grad_()
        for choice in space.choices
    }


def hard(space: Space, genotype: Any) -> dict[str, Tensor]:
    """One-hot at what is taken, for the choices of tensors that a genotype has."""
    found = {}
    for choice in space.choices:
        if choice.name in genotype and not choice.is_sublist and choice.kind != "number":
            gate = torch.zeros(len(choice.labels), dtype=torch.float64)
            gate[choice.labels.index(genotype[choice.name])] = 1
            found[choice.name] = gate.requires_grad_()
    return found


Pass = Callable[[Supernet], tuple[Tensor, dict[str, Tensor]]]
"""What a pass gives, and the tensors besides weights that have gradients after it."""


def results(optimise: Optimisations, space: Space, run: Pass, **options: Any) -> dict[str, Tensor]:
    """The output and every gradient of one pass, by name."""
    torch.manual_seed(0)
    net = Supernet(space, dtype=torch.float64, optimise=optimise, **options)
    with torch.no_grad():
        for parameter in net.parameters():  # scales and offsets that aren't ones and zeros
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    output, others = run(net)
    if output.requires_grad:
        (output * torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view_as(output)).sum().backward()
    found = {"output": output.detach()}
    named = [*net.named_parameters(), *others.items()]
    found |= {name: t.grad for name, t in named if t.grad is not None}
    return found | dict(net.named_buffers())


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-12, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


def blended(space: Space, **options: Any) -> Pass:
    def run(net: Supernet) -> tuple[Tensor, dict[str, Tensor]]:
        weights, x = soft(space), image().requires_grad_()
        output = net(x, mixture=weights, **options)
        return output, {**weights, "x": x}

    return run


def path(space: Space, seed: int, gating: str | None) -> Pass:
    def run(net: Supernet) -> tuple[Tensor, dict[str, Tensor]]:
        genotype = space.sample(seed)
        gates = {} if gating is None else hard(space, genotype)
        if gating == "multiply":
            gates = {n: (0.3 + 0.5 * g.detach()).requires_grad_() for n, g in gates.items()}
        x = image().requires_grad_()
        return net(x, genotype=genotype, gates=gates, gating=gating or "multiply"), {**gates, "x": x}

    return run


def frozen(run: Pass) -> Pass:
    def inside(net: Supernet) -> tuple[Tensor, dict[str, Tensor]]:
        for parameter in net.parameters():
            parameter.requires_grad_(False)
        return run(net)

    return inside


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("affine", [False, True])
def test_a_mixture_is_the_plain_one(switch: str, affine: bool) -> None:
    space = shipped("nasbench201")
    for run in (blended(space), frozen(blended(space))):
        compared = [
            results(o, space, run, batch_norm="batch", affine=affine) for o in (SWITCHES[switch], PLAIN)
        ]
        assert_equal(*compared)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("gating", [None, "multiply", "selected_only", "ones_for_others"])
def test_a_path_is_the_plain_one(switch: str, gating: str | None) -> None:
    space = shipped("nasbench201")
    for seed in (3, 4):
        whole = path(space, seed, gating)
        for run in (whole, frozen(whole)) if gating else (whole,):
            compared = [results(o, space, run, batch_norm="batch") for o in (SWITCHES[switch], PLAIN)]
            assert_equal(*compared)


@pytest.mark.parametrize("policy", ["batch", "running"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_all_together_in_other_spaces_formats_and_policies(policy: Policy, channels_last: bool) -> None:
    options: dict[str, Any] = {"batch_norm": policy, "channels_last": channels_last}
    for name in ("darts", "one_shot", "nasbench201"):
        space = shipped(name)
        for run in (blended(space), path(space, 2, "selected_only")):
            expected = results(PLAIN, space, run, **options)
            assert_equal(results(ALL, space, run, **options), expected)
            assert_equal(results(replace(ALL, recompute=True), space, run, **options), expected)
    space = shipped("nasbench201")
    run = blended(space, share=3)
    assert_equal(results(ALL, space, run, **options), results(PLAIN, space, run, **options))


def test_evaluation_is_the_plain_one() -> None:
    space = shipped("nasbench201")
    nets = [Supernet(space, dtype=torch.float64, optimise=o).eval() for o in (ALL, PLAIN)]
    for seed in range(5):
        with torch.no_grad():
            outputs = [net(image(), genotype=space.sample(seed)) for net in nets]
        torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gating", ["selected_only", "ones_for_others"])
def test_gates_where_every_edge_is_absent(gating: str) -> None:
    space = shipped("nasbench201")
    genotype = dict.fromkeys((c.name for c in space.choices), "none")

    def run(net: Supernet) -> tuple[Tensor, dict[str, Tensor]]:
        gates = hard(space, genotype)
        return net(image(), genotype=genotype, gates=gates, gating=gating), gates

    found = results(ALL, space, run, batch_norm="batch")
    assert_equal(found, results(PLAIN, space, run, batch_norm="batch"))


def test_one_edge_repeated_has_a_coefficient_each() -> None:
    space = loads("""
    space twice() {
      input x: [4]
      op pick(x: [D]) = a: tanh(x) | b: 2 * x
      return pick(x) + pick(x) + x
    }
    """)

    def run(net: Supernet) -> tuple[Tensor, dict[str, Tensor]]:
        weights = soft(space)
        x = torch.linspace(-1, 1, 8, dtype=torch.float64).view(2, 4).requires_grad_()
        return net(x, mixture=weights), {**weights, "x": x}

    assert_equal(results(ALL, space, run), results(PLAIN, space, run))


# --- what each of them does ---------------------------------------------------------------------------


def operations(architecture: Architecture) -> list[str]:
    return [step.operation for step in architecture.steps]


def test_common_parts_are_one_step() -> None:
    space = shipped("nasbench201")
    before = space.mixture()
    after = share_common(before, space.catalogue)
    # Three cells, in each three nodes that edges leave, and two ReLUs in each reduction, one at the end.
    assert operations(after).count("relu") == 3 * 3 + 2 * 2 + 1 < operations(before).count("relu")
    assert operations(after).count("conv") == operations(before).count("conv")


def test_partial_channels_share_them_and_what_reads_them() -> None:
    space = small.load("nasbench201")
    before = partial_channels(space.mixture(), 2, space.catalogue)
    after = Counter(operations(share_common(before, space.catalogue)))
    # Eighteen edges, which leave three nodes in each of three cells; a pool is also in each of two reductions.
    assert operations(before).count(FIRST) == 18 and after[FIRST] == 9
    assert after["relu"] == 9 + 2 * 2 + 1 and after["avgpool"] == 9 + 2


class Dispatched(TorchDispatchMode):
    """Counts operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.names[function.name()] += 1
        return function(*args, **(kwargs or {}))


def test_a_nodes_coefficients_are_made_once_for_all_its_terms() -> None:
    """Weights of a strategy are float64: on a GPU each that is rounded, or spread over channels, by itself is a launch."""
    space = small.load("nasbench201")
    net = Supernet(space, affine=False, batch_norm="batch", optimise=Optimisations(kernels=False))
    weights = {name: w.detach() for name, w in soft(space).items()}
    images = torch.randn(2, 3, 32, 32)
    net(images, mixture=weights)
    with Dispatched() as found:
        net(images, mixture=weights).sum().backward()
    # Three nodes of a cell have weights, which three cells share.
    assert found.names["aten::_to_copy"] == 3
    # They are spread in the forward pass, and again in the backward pass.
    assert found.names["aten::clone"] == 2 * 9


def test_a_node_is_one_call_with_the_batch_norms_in_it() -> None:
    space = shipped("nasbench201")
    net = Supernet(space, affine=False, batch_norm="batch")
    plan = net._mixture_plan({})
    kept = net._lowered(space.mixture()).steps
    nodes = [step for step in kept if isinstance(step, Node) and len(step.terms) > 2]
    assert len(nodes) == 9
    assert sorted(len(node.terms) for node in nodes) == [4] * 3 + [8] * 3 + [12] * 3
    assert all(sum(term.norm is not None for term in node.terms) == len(node.terms) // 2 for node in nodes)
    assert len(plan.calls) == len(kept) - 1  # the input is no call
    in_place = [step for step in kept if step.operation == RELU_IN_PLACE]
    assert in_place


def test_a_graph_keeps_inputs_of_batch_norms_and_nothing_for_a_sum() -> None:
    """What is saved for the backward pass of a mixture, in elements, against what the formula says."""
    space = shipped("nasbench201")
    net = Supernet(space, affine=False, batch_norm="batch", dtype=torch.float64)
    weights = {name: w.detach() for name, w in soft(space).items()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = net(image(), mixture=weights)
    large = sorted(size for size in saved.values() if size >= 2 * 3 * 8 * 8)
    # In the first cell: 3 ReLUs, 12 convolutions' outputs. Images of 3 channels are as large, and so is the stem's output.
    assert large.count(2 * 3 * 8 * 8) <= 3 + 12 + 1 + 1 + 3
    assert output.requires_grad


def test_recomputed_candidates_are_not_kept() -> None:
    space = shipped("nasbench201")
    weights = {name: w.detach() for name, w in soft(space).items()}
    kept = []
    for optimise in (ALL, replace(ALL, recompute=True)):
        net = Supernet(space, affine=False, batch_norm="batch", dtype=torch.float64, optimise=optimise)
        alive = weakref.WeakSet[Tensor]()

        def remember(module: nn.Module, given: Any, output: Tensor, alive: Any = alive) -> None:
            alive.add(output)

        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(remember)
        output = net(image(), mixture=weights)
        kept.append(len(alive))
        del output
    # 12 convolutions in each of three cells, the stem's, and two in each of two reductions (a third is added as it is);
    # recomputed, only the stem's.
    assert kept == [3 * 12 + 1 + 2 * 2, 1]


@pytest.mark.parametrize("shape", [(4, 3, 6, 5), (4, 3, 7), (2, 3, 2, 4, 3)])
@pytest.mark.parametrize("affine", [False, True])
def test_the_fast_batch_norm_has_the_gradients_of_torchs(shape: tuple[int, ...], affine: bool) -> None:
    kind = {4: nn.BatchNorm2d, 3: nn.BatchNorm1d, 5: nn.BatchNorm3d}[len(shape)]
    norm = kind(3, affine=affine, track_running_stats=False).double()
    x = (10 + torch.randn(shape, dtype=torch.float64)).requires_grad_()
    results = []
    for function in (fast_norm(norm), norm):
        output = function(x)
        wanted = [x, *norm.parameters()]
        results.append([output.detach(), *torch.autograd.grad((output**3).sum(), wanted)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(fast_norm(norm), x)
    assert torch.autograd.gradgradcheck(fast_norm(norm), x, atol=1e-4)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_fast_pool_is_torchs(size: int, layout: torch.memory_format) -> None:
    options = {"stride": 1, "padding": size // 2, "count_include_pad": False}

    def pool(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, size, **options)

    fast = fast_pool(TorchCall("function", "F.avg_pool2d", (size,), options), pool)
    assert fast is not pool
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    torch.testing.assert_close(fast(x), pool(x), rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(fast, x)
    for other in ({**options, "stride": 2}, {**options, "padding": 0}, {"stride": 1, "padding": 1}):
        assert fast_pool(TorchCall("function", "F.avg_pool2d", (size,), other), pool) is pool


def test_in_bfloat16_a_pool_is_off_by_some_roundings_and_a_network_by_little_more_than_the_plain_one() -> (
    None
):
    x = torch.randn(4, 3, 9, 8).contiguous(memory_format=torch.channels_last)
    options = {"stride": 1, "padding": 1, "count_include_pad": False}

    def pool(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, 3, **options)

    fast = fast_pool(TorchCall("function", "F.avg_pool2d", (3,), options), pool)
    rounded = x.bfloat16()
    # Four roundings, each by half of the last of eight bits.
    torch.testing.assert_close(fast(rounded).float(), pool(rounded.float()), rtol=4 * 2**-9, atol=4 * 2**-9)

    space = shipped("nasbench201")
    errors = []
    exact = Supernet(space, batch_norm="batch", affine=False)(image(16).float(), genotype=space.sample(7))
    for optimise in (ALL, PLAIN):
        net = Supernet(space, batch_norm="batch", affine=False, channels_last=True, optimise=optimise)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            errors.append(
                float((net(image(16).float(), genotype=space.sample(7)).float() - exact).detach().norm())
            )
    ours, plain = errors
    assert 0 < ours < 1.5 * plain


def test_candidates_are_compiled_once_whatever_paths_are_run() -> None:
    torch._dynamo.reset()
    space = shipped("nasbench201")
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(len(inputs))
        return graph.forward

    nets = [
        Supernet(space, dtype=torch.float64, batch_norm="batch", optimise=o)
        for o in (replace(ALL, compile=backend), PLAIN)
    ]
    for seed in range(6):
        run = path(space, seed, None)
        found = []
        for net in nets:
            net.zero_grad()
            output, others = run(net)
            (output**2).sum().backward()
            found.append([output.detach(), others["x"].grad])
        torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)
    before = len(graphs)
    for seed in range(6):
        path(space, seed, None)(nets[0])
    assert len(graphs) == before
    # Paths that weren't run before compile what is new in them, and no more.
    assert nets[0]._compiler is not None
    for seed in range(6, 12):
        before, known = len(graphs), len(nets[0]._compiler._codes)
        path(space, seed, None)(nets[0])
        assert len(graphs) - before <= 2 * (len(nets[0]._compiler._codes) - known)
    # Far fewer than paths times chains: a kind of chain is compiled once for all cells, edges and genotypes.
    kinds = len(nets[0]._compiler._codes) if nets[0]._compiler else 0
    assert 0 < kinds <= len(graphs) <= 2 * kinds
    torch._dynamo.reset()
