"""The supernet against networks, over random genotypes of every space that ships."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import pytest
import torch
from torch import Tensor

from nasdsl.exporting.network import Network, network
from nasdsl.space.architecture import Step
from nasdsl.space.choice import Genotype, Taken
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet, recalibrate
from nasdsl.supernet.elastic import Sliced
from tests.supernet import small
from tests.supernet.small import SHIPPED


@cache
def space_named(name: str) -> Space:
    return small.load(name)


def examples(space: Space, seed: int = 0, batch: int = 3, length: int = 8) -> tuple[Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    made = []
    for node in space.inputs:
        found = space.graph.node(node).type
        dims = [dim if isinstance(dim, int) else length for dim in found.dims]
        if found.dtype == "int":
            made.append(torch.randint(0, 8, (batch, *dims), generator=random))
        else:
            made.append(torch.randn(batch, *dims, generator=random, dtype=torch.float64))
    return tuple(made)


def with_weights_of(supernet: Supernet, space: Space, genotype: Mapping[str, Taken]) -> Network:
    return network(space, genotype).to(torch.float64).inherit(supernet.weights_of)


def steps_with_weights(steps: Sequence[Step], seen: set[int]) -> Iterator[Step]:
    """One step for each owner of weights."""
    for step in steps:
        if step.body is not None:
            yield from steps_with_weights(step.body.steps, seen)
        elif step.owner is not None and step.owner not in seen:
            seen.add(step.owner)
            yield step


def gradients(supernet: Supernet, plain: Network) -> Iterator[tuple[Tensor | None, Tensor | None, float]]:
    """For each weight of the network: its gradient there, in the supernet, and what the supernet has in all."""
    for step in steps_with_weights(plain.architecture.steps, set()):
        module = plain.module_of(step)
        if module is None or supernet.space.catalogue[step.operation].borrows is not None:
            continue
        run = supernet._bind(step)
        for name, parameter in module.named_parameters():
            full = (run.full if isinstance(run, Sliced) else run).get_parameter(name)  # type: ignore[attr-defined]
            if full.grad is None:
                yield parameter.grad, None, 0.0
            elif isinstance(run, Sliced) and name in run.cuts:
                yield parameter.grad, run.cuts[name].take(full.grad), float(full.grad.abs().sum())
            else:
                yield parameter.grad, full.grad, float(full.grad.abs().sum())


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_sub_network_computes_what_its_network_computes(name: str) -> None:
    space = space_named(name)
    supernet = Supernet(space, seed=1, dtype=torch.float64)
    for seed in range(2 if name in ("ofa_mobilenetv3", "autoformer_tiny") else 5):
        genotype = space.sample(seed)
        supernet.zero_grad(set_to_none=True)
        plain = with_weights_of(supernet, space, genotype)
        # In train mode, with gradients. Dropout would draw different masks unless seeded alike.
        inputs = examples(space, seed)
        torch.manual_seed(seed)
        found = supernet(*inputs, genotype=genotype)
        torch.manual_seed(seed)
        expected = plain(*inputs)
        close(found, expected)
        for outputs in (found, expected):
            if outputs.requires_grad:
                (outputs**2).mean().backward()
        total = 0.0
        for own, shared, everything in gradients(supernet, plain):
            assert (own is None) == (shared is None)
            if own is not None and shared is not None:
                close(shared, own)
                assert everything == pytest.approx(float(own.abs().sum()), rel=1e-9, abs=1e-12)
                total += everything
        # Nothing else got a gradient.
        assert sum(float(p.grad.abs().sum()) for p in supernet.parameters() if p.grad is not None) == (
            pytest.approx(total, rel=1e-9, abs=1e-12)
        )
        # The running statistics moved alike, as evaluation shows.
        supernet.eval()
        plain.eval()
        with torch.no_grad():
            close(supernet(*inputs, genotype=genotype), plain(*inputs))
        supernet.train()


@pytest.mark.parametrize("name", SHIPPED)
def test_it_stores_what_the_space_says_and_every_name_once(name: str) -> None:
    space = space_named(name)
    supernet = Supernet(space)
    assert sum(p.numel() for p in supernet.parameters()) == space.ranges().supernet_params
    names = list(supernet.state_dict())
    assert len(names) == len(set(names))
    assert all(name.startswith("weights.") for name in names)


def test_free_sizes_are_free() -> None:
    tried = 0
    for name in SHIPPED:
        space = space_named(name)
        types = [space.graph.node(node).type for node in space.inputs]
        if all(isinstance(dim, int) for found in types for dim in found.dims):
            continue
        supernet = Supernet(space, dtype=torch.float64).eval()
        for length in (8, 12, 16):
            inputs = examples(space, length=length)
            plain = with_weights_of(supernet, space, space.sample(0)).eval()
            close(supernet(*inputs, genotype=space.sample(0)), plain(*inputs))
        tried += 1
    assert tried >= 2


def quickstart() -> Space:
    return space_named("quickstart")


def test_the_seed_alone_decides_the_weights() -> None:
    a, b, c = (Supernet(quickstart(), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Supernet(quickstart(), seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_plans_are_cached_and_the_oldest_is_dropped() -> None:
    supernet = Supernet(quickstart(), plans=2)
    first, second, third = (quickstart().sample(seed) for seed in (0, 1, 3))
    assert len({first.text, second.text, third.text}) == 3
    plan = supernet.plan(first)
    assert supernet.plan(dict(first)) is plan
    supernet.plan(second)
    supernet.plan(first)
    supernet.plan(third)
    assert supernet.plan(first) is plan
    assert len(supernet._plans) == 2


def test_a_copy_runs_with_weights_of_its_own() -> None:
    space = quickstart()
    supernet = Supernet(space, dtype=torch.float64)
    genotype = space.sample(0)
    (x,) = examples(space)
    supernet.eval()
    before = supernet(x, genotype=genotype)
    twin = copy.deepcopy(supernet)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.zero_()
    assert torch.equal(twin(x, genotype=genotype), before)


def test_weights_go_out_and_come_back() -> None:
    space = quickstart()
    a, b = Supernet(space, seed=0), Supernet(space, seed=1)
    b.load_state_dict(a.state_dict())
    (x,) = (x.float() for x in examples(space))
    assert torch.equal(a.eval()(x, genotype=space.sample(0)), b.eval()(x, genotype=space.sample(0)))


def test_batch_statistics_are_those_of_the_batch_and_leave_no_trace() -> None:
    space = space_named("nasbench201")
    supernet = Supernet(space, dtype=torch.float64, batch_norm="batch", affine=False)
    state = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    genotype = space.sample(1)
    (x,) = examples(space)
    trained = supernet(x, genotype=genotype)
    supernet.eval()
    assert torch.equal(supernet(x, genotype=genotype), trained)
    assert all(torch.equal(state[name], tensor) for name, tensor in supernet.state_dict().items())
    assert not any("batchnorm" in name and name.endswith("weight") for name in state)
    supernet.use_batch_norm("running")
    assert not torch.allclose(supernet(x, genotype=genotype), trained)


def test_a_network_gets_the_affine_part_back() -> None:
    space = space_named("nasbench201")
    supernet = Supernet(space, dtype=torch.float64, affine=False)
    genotype = space.sample(1)
    plain = with_weights_of(supernet, space, genotype)
    (x,) = examples(space)
    close(supernet(x, genotype=genotype), plain(x))


def elastic_genotypes() -> list[Genotype]:
    space = quickstart()
    return [
        space.genotype(
            {
                "width": width,
                "repeat.depth": "2",
                "normal.b": "conv3x3",
                "normal.c#1": "conv1x1",
                "normal.c#2": "skip",
            }
        )
        for width in ("16", "32")
    ]


def test_recalibration_starts_afresh_and_averages_over_the_batches() -> None:
    space = quickstart()
    supernet = Supernet(space, dtype=torch.float64)
    batches = [examples(space, seed, batch=8) for seed in range(3)]
    for genotype in elastic_genotypes():
        # What ran before must not matter.
        for seed in range(4):
            supernet(*examples(space, seed), genotype=space.sample(seed))
        recalibrate(supernet, genotype, batches)
        assert supernet.training
        plain = with_weights_of(supernet, space, genotype)
        norms = [m for m in plain.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        found = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]  # type: ignore[union-attr]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        with torch.no_grad():
            for inputs in batches:
                plain(*inputs)
        for norm, (mean, variance) in zip(norms, found, strict=True):
            close(mean, norm.running_mean)  # type: ignore[arg-type]
            close(variance, norm.running_var)  # type: ignore[arg-type]


def test_gates_of_one_change_nothing_and_have_the_gradient_of_a_factor() -> None:
    space = quickstart()
    supernet = Supernet(space, dtype=torch.float64)
    (genotype, _) = elastic_genotypes()
    (x,) = examples(space)
    plain = supernet(x, genotype=genotype)

    def loss(values: Tensor, gating: str = "multiply") -> Tensor:
        gates = {
            "normal.b": torch.eye(5, dtype=torch.float64)[3] * values[0],
            "normal.c#1": torch.eye(5, dtype=torch.float64)[2] * values[1],
            "repeat.depth": torch.eye(3, dtype=torch.float64)[1] * values[2],
        }
        outputs = supernet(x, genotype=genotype, gates=gates, gating=gating)
        if gating != "multiply" or bool((values == 1).all()):
            close(outputs, plain)
        result: Tensor = (outputs[:, 0] ** 2).mean()
        return result

    ones = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad(loss(ones), ones)
    (riding,) = torch.autograd.grad(loss(ones, "selected_only"), ones)
    close(riding, exact)
    assert float(exact[1].abs()) > 1e-9 and float(exact[2].abs()) > 1e-9
    step = 1e-6
    for i in range(3):
        shift = torch.eye(3, dtype=torch.float64)[i] * step
        numeric = (loss(ones.detach() + shift) - loss(ones.detach() - shift)) / (2 * step)
        assert float(exact[i]) == pytest.approx(float(numeric.detach()), abs=1e-7)


def test_ones_for_others_reaches_the_gate_of_an_absent_candidate() -> None:
    space = quickstart()
    supernet = Supernet(space, dtype=torch.float64)
    genotype = space.genotype(
        {"width": "16", "repeat.depth": "1", "normal.b": "none", "normal.c#1": "skip", "normal.c#2": "skip"}
    )
    (x,) = examples(space)
    found = {}
    for gating in ("selected_only", "ones_for_others"):
        gate = torch.eye(5, dtype=torch.float64)[0].requires_grad_()
        outputs = supernet(x, genotype=genotype, gates={"normal.b": gate}, gating=gating)
        close(outputs, supernet(x, genotype=genotype))
        (found[gating],) = torch.autograd.grad((outputs**2).mean(), gate, allow_unused=True)
    assert found["selected_only"] is None
    assert found["ones_for_others"][0] == 0
    assert (found["ones_for_others"][1:] != 0).all()
    assert len(found["ones_for_others"][1:].unique()) == 1


def test_frozen_weights_want_no_gradient_and_get_their_wish_back() -> None:
    space = quickstart()
    supernet = Supernet(space)
    (x,) = (x.float() for x in examples(space))
    with supernet.frozen():
        assert not supernet(x, genotype=space.sample(0)).requires_grad
    assert all(p.requires_grad for p in supernet.parameters())


def test_channels_last_computes_the_same() -> None:
    space = space_named("nasbench201")
    plain, other = (
        Supernet(space, dtype=torch.float64),
        Supernet(space, dtype=torch.float64, channels_last=True),
    )
    (x,) = examples(space)
    for seed in range(3):
        close(other(x, genotype=space.sample(seed)), plain(x, genotype=space.sample(seed)))
