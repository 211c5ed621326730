"""Strategies that blend candidates, against closed forms and finite differences (ALGORITHMS.md, section 5)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl.diagnostics import NasError
from nasdsl.pipeline import loads
from nasdsl.searching import Path, search, settings_for
from nasdsl.searching.blending import Blending, BlendingOptions, never_mixed
from nasdsl.searching.darts import Darts, DartsOptions, mixed_product, unrolled_gradient
from nasdsl.searching.drnas import Drnas, DrnasOptions
from nasdsl.searching.pc_darts import PcDarts, PcDartsOptions
from nasdsl.searching.proxyless import Proxyless, ProxylessOptions
from nasdsl.searching.snas import Snas, SnasOptions
from nasdsl.searching.strategy import Bilevel, WeightSharing
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.partial import partial_channels
from nasdsl.training.tasks import Classification, Shape, Split, Task
from tests.searching.small import shipped

TOY = """
space toy() {
  input x: [1]
  op edge(x: [D]) = none: zero(x) | double: 2 * x | back: -1 * x
  n1 = edge(x)
  n2 = edge(x) + edge(n1)
  return n2
}
"""
X = torch.tensor([[0.7], [-1.3]], dtype=torch.float64)


@cache
def toy() -> Space:
    return loads(TOY)


def small(name: str) -> Space:
    sizes = {"nasbench201": {"width": 2, "cells": 1}, "darts": {"width": 2, "layers": 3}}
    return shipped(name, **sizes.get(name, {}))


def shaken(made: Any, seed: int = 0) -> Any:
    with torch.no_grad():
        random = torch.Generator().manual_seed(seed)
        made.logits += torch.randn(made.logits.shape, generator=random, dtype=torch.float64)
    return made


def toy_loss(target: float = 3.0) -> Callable[[Path], Tensor]:
    supernet = Supernet(toy(), dtype=torch.float64)

    def loss(path: Path) -> Tensor:
        outputs = supernet(
            X, genotype=path.genotype, gates=path.gates, mixture=path.mixture, among=path.among
        )
        assert isinstance(outputs, Tensor)
        return ((outputs - target * X) ** 2).mean()

    return loss


# --- DARTS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("xi", "fixed"), [(0.0, 2.0), (0.25, 4 / 3), (0.5, 1.0), (1.0, 2 / 3)])
def test_the_bilevel_toy_ends_where_it_should(xi: float, fixed: float) -> None:
    """L_val = αw - 2α + 1, L_train = (w - α)²: α* = 2 / (1 + 2ξ), and the true optimum is 1."""
    alpha = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([-2.0], dtype=torch.float64, requires_grad=True)

    def train() -> Tensor:
        return ((w - alpha) ** 2).sum()

    def validation() -> Tensor:
        return (alpha * w - 2 * alpha + 1).sum()

    for _ in range(700):
        _, gradient = unrolled_gradient(alpha, [w], train, validation, lr=xi)
        with torch.no_grad():
            alpha -= 0.1 * gradient
        (gw,) = torch.autograd.grad(train(), [w])
        with torch.no_grad():
            w -= 0.25 * gw
    assert float(alpha.detach()) == pytest.approx(fixed, abs=1e-5)


def quadratic(seed: int = 0) -> tuple[Tensor, list[Tensor], Callable[[], Tensor], Tensor]:
    """αᵀ M w + ½ wᵀ S w + cubic terms in α: quadratic in w, with ∇²_{α,w} = M."""
    random = torch.Generator().manual_seed(seed)
    matrix = torch.randn(3, 5, generator=random, dtype=torch.float64)
    s = torch.randn(5, 5, generator=random, dtype=torch.float64)
    alpha = torch.randn(3, generator=random, dtype=torch.float64, requires_grad=True)
    w = [torch.randn(n, generator=random, dtype=torch.float64, requires_grad=True) for n in (2, 3)]

    def loss() -> Tensor:
        whole = torch.cat(w)
        return alpha @ matrix @ whole + 0.5 * whole @ (s + s.T) @ whole + (alpha**3).sum()

    return alpha, w, loss, matrix


def test_the_product_by_finite_differences_is_exact_on_quadratics() -> None:
    alpha, w, loss, matrix = quadratic()
    random = torch.Generator().manual_seed(1)
    vector = [torch.randn(p.shape, generator=random, dtype=torch.float64) for p in w]
    before = [p.detach().clone() for p in w]
    found = mixed_product(alpha, w, loss, vector)
    torch.testing.assert_close(found, matrix @ torch.cat(vector), rtol=1e-9, atol=1e-9)
    for p, was in zip(w, before, strict=True):
        torch.testing.assert_close(p.detach(), was, rtol=0, atol=1e-14)
    # Weights without a gradient are left out; nothing at all is a zero.
    part = mixed_product(alpha, w, loss, [vector[0], None])
    torch.testing.assert_close(part, matrix[:, :2] @ vector[0], rtol=1e-9, atol=1e-9)
    assert mixed_product(alpha, w, loss, [None, None]).abs().max() == 0


def test_the_second_order_gradient_is_that_of_the_weights_one_step_ahead() -> None:
    alpha, w, train, _ = quadratic()
    random = torch.Generator().manual_seed(2)
    buffers = [torch.randn(p.shape, generator=random, dtype=torch.float64) for p in w]
    lr, momentum, decay = 0.03, 0.9, 0.01

    def validation_of(alpha: Tensor, w: list[Tensor]) -> Tensor:
        whole = torch.cat(w)
        return (whole.sin() * whole).sum() + (alpha.sum() * whole[0]) ** 2

    before = [p.detach().clone() for p in w]
    value, found = unrolled_gradient(
        alpha, w, train, lambda: validation_of(alpha, w),
        lr=lr, momentum=momentum, weight_decay=decay, buffers=buffers,
    )  # fmt: skip
    assert all(torch.equal(p, was) for p, was in zip(w, before, strict=True))
    steps = torch.autograd.grad(train(), w, create_graph=True)
    ahead = [p - lr * (g + decay * p + momentum * b) for p, g, b in zip(w, steps, buffers, strict=True)]
    loss = validation_of(alpha, ahead)
    (exact,) = torch.autograd.grad(loss, [alpha])
    torch.testing.assert_close(found, exact, rtol=1e-8, atol=1e-8)
    assert value == pytest.approx(float(loss.detach()))


def test_first_order_on_a_cell_is_the_gradient_of_the_loss() -> None:
    space = small("nasbench201")
    net = Supernet(space, dtype=torch.float64, batch_norm="batch")
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = shaken(Darts(space, DartsOptions(order="first"), 0))

    def loss(path: Path) -> Tensor:
        outputs = net(x, mixture=path.mixture)
        assert isinstance(outputs, Tensor)
        return (outputs**2).mean()

    assert not made.unrolled
    (found,) = torch.autograd.grad(loss(Path({}, mixture=made.weights())), [made.logits])
    step = 1e-6
    for row, k in ((0, 1), (2, 3), (5, 4)):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                made.logits[row, k] += sign * step
                ends.append(float(loss(Path({}, mixture=made.weights()))))
                made.logits[row, k] -= sign * step
        assert float(found[row, k]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-9)
    assert float(found.sum(1).abs().max()) < 1e-12
    assert float(found[~made.valid].abs().max()) == 0


def test_the_strongest_candidates_are_derived_and_none_never_is() -> None:
    space = small("darts")
    made = Darts(space, DartsOptions(), 0)
    outer = "normal.n[3]"
    labels = space.choice(f"{outer}.0").labels
    with torch.no_grad():
        made.logits.zero_()
        made.logits[made.rows[f"{outer}.0"], -1] = 9.0  # all but `none` is nothing there
        made.logits[made.rows[f"{outer}.0"], 3] = 2.0
        made.logits[made.rows[f"{outer}.1"], 0] = 0.5
        made.logits[made.rows[f"{outer}.2"], 5] = 1.0
    assert made.valid[made.rows[f"{outer}.0"], -1]
    genotype = made.derive()
    assert genotype is not None and space.genotype(genotype) == genotype
    assert genotype[outer] == ("1", "2")
    assert (genotype[f"{outer}.1"], genotype[f"{outer}.2"]) == (labels[0], labels[5])
    assert f"{outer}.0" not in genotype
    # Its weights have room for `none`.
    assert float(made.weights()[f"{outer}.0"].detach().sum()) < 0.01
    assert made.weights()[outer].tolist() == [1, 1, 1]
    plain = Darts(space, DartsOptions(search_none=False), 0)
    assert float(plain.weights()[f"{outer}.0"].sum()) == pytest.approx(1)
    # NAS-Bench-201 has a `none` of its own, which may be derived.
    other = Darts(small("nasbench201"), DartsOptions(), 0)
    assert not other.valid[:, -1].any()


def test_other_sub_lists_are_blended_and_derived_within_their_bounds() -> None:
    space = shipped("one_shot", cells=3)
    made = shaken(Darts(space, DartsOptions(), 0))
    choice = next(c for c in space.choices if c.pick == "1..2")
    assert all(0 < w < 1 for w in made.weights()[choice.name].tolist())
    genotype = made.derive()
    assert genotype is not None and space.genotype(genotype) == genotype


def data(count: int = 48) -> Task:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, 8, 8, generator=random)
    y = (x[:, 0].mean((1, 2)) > 0).long() + 2 * (x[:, 1].std((1, 2)) > 1).long()
    split = Split((x,), y)
    return Task(
        "few", "noise", split, split, (Shape((3, 8, 8)),), Shape((4,)), Classification(), tuple("abcd")
    )


SMALL = """
space tiny() {
  input image: [3, 8, 8]
  op edge = none: zero | skip: identity | conv: relu -> conv(kernel = 3) -> batchnorm | pool: avgpool(3)
  cell normal(x0) {
    x1 = edge(x0)
    return edge(x0) + edge(x1)
  }
  return image -> conv(4, kernel = 3) -> batchnorm -> normal -> normal -> global_avgpool -> linear(4)
}
"""

BLENDING = ["darts", "snas", "drnas", "pc_darts", "proxyless"]


@pytest.mark.parametrize("strategy", BLENDING)
def test_a_whole_search_moves_weights_and_architecture_each_in_its_own_step(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nasdsl.searching.steps import Steps

    space = loads(SMALL)
    assignments = ["search.epochs=2", "search.batch=8", "options.lr=0.05", "search.lr=0.05"]
    if strategy == "proxyless":
        assignments.append("options.every=2")
    if strategy == "pc_darts":
        assignments.append("options.warmup=0")
    steps: list[str] = []
    for name, letter in (("weight_step", "w"), ("architecture_step", "a")):
        original = getattr(Steps, name)

        def watched(
            self: Steps, *args: Any, letter: str = letter, original: Callable[..., None] = original
        ) -> None:
            weights = [p.detach().clone() for p in self.weights.parameters]
            logits = self.strategy.logits.detach().clone()  # type: ignore[attr-defined]
            original(self, *args)
            moved = not all(torch.equal(p, q) for p, q in zip(weights, self.weights.parameters, strict=True))
            learned = not torch.equal(logits, self.strategy.logits.detach())  # type: ignore[attr-defined]
            assert moved == (letter == "w")
            assert (
                learned == (letter == "a") or strategy == "proxyless"
            )  # not where all that is active is zero
            steps.append(letter)

        monkeypatch.setattr(Steps, name, watched)
    settings = settings_for(strategy, assignments=assignments, seed=0, channels_last=False)
    result = search(space, settings, task=data())
    assert space.genotype(result.genotype) == result.genotype
    assert "".join(steps) == {"proxyless": "wwa" * 3, "darts": "aw" * 6}.get(strategy, "aw" * 6)
    assert len(result.history) == 1
    again = search(space, settings, task=data())
    assert again.probabilities == result.probabilities


@pytest.mark.parametrize("strategy", BLENDING)
def test_a_space_of_numbers_is_refused_before_anything_is_built(strategy: str) -> None:
    from nasdsl.searching import STRATEGIES

    kind = STRATEGIES.find(strategy)
    with pytest.raises(NasError) as error:
        kind(shipped("quickstart"), kind.Options(), 0)
    assert error.value.diagnostics[0].code == "N506"
    made = kind(toy(), kind.Options(), 0)
    assert isinstance(made, WeightSharing) and isinstance(made, Bilevel)


@pytest.mark.parametrize("kind", [Darts, Snas, Drnas, Proxyless])
def test_they_find_what_blends_to_the_target(kind: type[Blending]) -> None:
    """Doubling on every edge gives 6x, more than any blend."""
    made = kind(toy(), kind.Options(lr=0.05), 0)
    loss = toy_loss(6.0)
    for step in range(150):
        made.start_epoch(step // 40, 10)
        made.paths()
        made.architecture_step(None, loss)  # type: ignore[arg-type]
    found = made.derive()
    assert found is not None
    # Where `none` is active, Proxyless learns nothing.
    assert set(found.values()) <= ({"double", "none"} if kind is Proxyless else {"double"})


def test_candidates_that_give_nothing_are_known() -> None:
    assert set(never_mixed(toy()).values()) == {frozenset({0})}
    assert set(never_mixed(small("nasbench201")).values()) == {frozenset({0})}
    assert set(never_mixed(small("darts")).values()) == {frozenset()}


def test_the_architecture_rests_during_warm_up() -> None:
    made = Darts(toy(), DartsOptions(warmup=2), 0)
    assert [(made.start_epoch(epoch, 4), made.learns)[1] for epoch in range(4)] == [False, False, True, True]


# --- SNAS ----------------------------------------------------------------------------------------------


def test_a_concrete_sample_is_uniform_when_hot_and_one_hot_when_cold() -> None:
    made = shaken(Snas(toy(), SnasOptions(), 0))
    made.logits.requires_grad_(False)
    noise = -(-made.uniform("gumbel").log()).log()
    made.temperature = 1e9
    valid = made.valid
    torch.testing.assert_close(made.concrete(noise)[valid], torch.full((9,), 1 / 3, dtype=torch.float64))
    made.temperature = 1e-4
    cold = made.concrete(noise)
    best = (made.log_probabilities() + noise).argmax(1)
    torch.testing.assert_close(cold.detach(), torch.nn.functional.one_hot(best, 4).double())
    made.temperature = 0.5
    assert float((made.concrete(noise).sum(1) - 1).abs().max()) < 1e-14


def test_the_gradient_through_a_concrete_sample_is_the_finite_difference() -> None:
    made = shaken(Snas(toy(), SnasOptions(), 0))
    made.temperature = 0.7
    noise = -(-made.uniform("gumbel").log()).log()
    loss = toy_loss()

    def value() -> Tensor:
        rows = made.concrete(noise).unbind(0)
        return loss(Path({}, mixture={c.name: rows[i][:3] for i, c in enumerate(toy().choices)}))

    (found,) = torch.autograd.grad(value(), [made.logits])
    for row in range(3):
        for k in range(3):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    made.logits[row, k] += sign * 1e-5
                    ends.append(float(value()))
                    made.logits[row, k] -= sign * 1e-5
            assert float(found[row, k]) == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)
    assert float(found.abs().max()) > 1e-3


def test_samples_are_fresh_each_step_and_the_temperature_falls() -> None:
    made = Snas(toy(), SnasOptions(), 0)
    first, second = made.paths()[0], made.paths()[0]
    assert first.mixture is not None and second.mixture is not None
    name = toy().choices[0].name
    assert not torch.equal(first.mixture[name], second.mixture[name])
    found = [made.start_epoch(epoch, 3)["temperature"] for epoch in range(3)]
    assert found == pytest.approx([1.0, math.sqrt(0.03), 0.03])


# --- DrNAS ---------------------------------------------------------------------------------------------


def test_at_zero_the_distribution_is_uniform_and_the_divergence_nothing() -> None:
    made = Drnas(toy(), DrnasOptions(), 0)
    with torch.no_grad():
        made.logits.zero_()
    assert torch.equal(made.of_group([0, 1, 2]), torch.ones(3, 3, dtype=torch.float64))
    assert float(made.divergence()) == pytest.approx(0, abs=1e-15)
    with torch.no_grad():
        made.logits[0, 0] = 1.0
    # KL(Dir(β) ‖ Dir(1)) = ln Γ(Σβ) - Σ ln Γ(β) - ln Γ(K) + Σ (β - 1)(ψ(β) - ψ(Σβ))
    beta = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
    closed = beta.sum().lgamma() - beta.lgamma().sum() - torch.tensor(3.0).double().lgamma()
    closed += ((beta - 1) * (beta.digamma() - beta.sum().digamma())).sum()
    assert float(made.divergence()) == pytest.approx(float(closed), rel=1e-12)
    assert made.penalty() is not None
    assert Drnas(toy(), DrnasOptions(regularisation="l2"), 0).penalty() is None


def test_dirichlet_samples_sum_to_one_and_average_to_their_mean() -> None:
    made = shaken(Drnas(small("darts"), DrnasOptions(), 0))
    total = torch.zeros_like(made.logits)
    draws = 700
    state = torch.get_rng_state()
    with torch.no_grad():
        for _ in range(draws):
            made.steps += 1
            total += made.blend()
    assert torch.equal(state, torch.get_rng_state())
    picked = [made.rows[c.name] for c in small("darts").choices if not c.is_sublist]
    assert float((total.sum(1)[picked] / draws - 1).abs().max()) < 1e-12
    assert float((total / draws - made.mean_weights())[picked].abs().max()) < 0.07
    assert float(total[~made.valid].abs().max()) == 0


def test_the_gradient_through_a_dirichlet_sample_is_that_of_the_mean_on_average() -> None:
    made = shaken(Drnas(toy(), DrnasOptions(), 0))
    values = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)
    (exact,) = torch.autograd.grad((made.mean_weights() * values).sum(), [made.logits])
    found = torch.zeros_like(made.logits)
    for _ in range(600):
        made.steps += 1
        found += torch.autograd.grad((made.blend() * values).sum(), [made.logits])[0] / 600
    assert float((found - exact).abs().max()) < 0.05
    assert float(exact.abs().max()) > 0.1


# --- PC-DARTS ------------------------------------------------------------------------------------------


def test_with_all_channels_and_equal_edges_it_is_darts_divided_by_the_edges() -> None:
    for name in ("nasbench201", "darts"):
        space = small(name)
        made = PcDarts(space, PcDartsOptions(share=1), 0)
        darts = Darts(space, DartsOptions(), 0)
        rows = len(space.choices)
        with torch.no_grad():
            random = torch.Generator().manual_seed(0)
            darts.logits += torch.randn(darts.logits.shape, generator=random, dtype=torch.float64)
            made.logits[:rows, : darts.logits.shape[1]] = darts.logits
            made.logits[rows:] = 0.3
        ours, theirs = made.weights(), darts.weights()
        divided = dict.fromkeys(ours, 1)
        for group in made.groups:
            outer = made.nested_members.get(group[0])
            divided |= dict.fromkeys(group if outer is None else [outer], len(group))
        assert sum(n > 1 for n in divided.values()) == {"nasbench201": 5, "darts": 10}[name]
        for choice, n in divided.items():
            torch.testing.assert_close(ours[choice] * n, theirs[choice], rtol=0, atol=1e-14)
    net = Supernet(small("nasbench201"), dtype=torch.float64, batch_norm="batch")
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    weights = PcDarts(small("nasbench201"), PcDartsOptions(share=1), 0).weights()
    assert torch.equal(net(x, mixture=weights, share=1), net(x, mixture=weights))  # type: ignore[arg-type]


SKIPS = """
space skips() {
  input x: [8, 4, 4]
  op edge = skip: identity | conv: relu -> conv(kernel = 3) -> batchnorm | pool: avgpool(3)
  return edge(x)
}
"""


def test_channels_that_pass_by_are_unchanged_but_for_the_shuffle() -> None:
    space = loads(SKIPS)
    net = Supernet(space, dtype=torch.float64, batch_norm="batch")
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    (choice,) = space.choices

    def run(*weights: float) -> Tensor:
        outputs = net(x, mixture={choice.name: torch.tensor(weights, dtype=torch.float64)}, share=4)
        assert isinstance(outputs, Tensor)
        return outputs

    shuffled = torch.nn.functional.channel_shuffle
    assert torch.equal(run(1, 0, 0), shuffled(x, 4))
    # The convolution is that of the leading slices.
    found = run(0, 1, 0)
    order = shuffled(torch.arange(8.0).view(1, 8, 1, 1), 4).flatten().long()
    back = torch.empty_like(found)
    back[:, order] = found
    assert torch.equal(back[:, 2:], x[:, 2:])
    conv = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    bias = None if conv.bias is None else conv.bias[:2]
    expected = torch.nn.functional.conv2d(x[:, :2].relu(), conv.weight[:2, :2], bias, padding=1)
    expected = torch.nn.functional.batch_norm(expected, None, None, training=True)
    torch.testing.assert_close(back[:, :2], expected)
    assert run(0.2, 0.3, 0.5).shape == x.shape


def test_partial_channels_fit_into_whole_networks_and_halve_where_candidates_do() -> None:
    space = shipped("darts", width=4, layers=3)
    net = Supernet(space, batch_norm="batch", affine=False)
    made = PcDarts(space, PcDartsOptions(share=4), 0)
    outputs = net(torch.randn(2, 3, 32, 32), mixture=made.weights(), share=4)
    assert isinstance(outputs, Tensor) and outputs.shape == (2, 10)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), [made.logits])
    assert float(gradient[: len(space.choices)].abs().max()) > 0
    assert float(gradient[len(space.choices) :].abs().max()) > 0
    parts = partial_channels(space.mixture(), 4, space.catalogue)
    blends = sum(s.operation == "mix" and s.choice is not None for s in space.mixture().steps)
    assert sum(step.operation == "rejoined channels" for step in parts.steps) == blends
    # What K doesn't divide stays whole.
    assert len(partial_channels(space.mixture(), 3, space.catalogue).steps) == len(space.mixture().steps)


def test_edges_weigh_in_where_candidates_are_derived() -> None:
    space = small("darts")
    made = PcDarts(space, PcDartsOptions(), 0)
    group = made.groups.index(tuple(made.nested["normal.n[3]"]))
    with torch.no_grad():
        made.logits.zero_()
        made.logits[made.rows["normal.n[3].0"], 1] = 0.5
        made.logits[len(space.choices) + group, :3] = torch.tensor([-2.0, 0.0, 1.0])
    genotype = made.derive()
    assert genotype is not None
    assert genotype["normal.n[3]"] == ("1", "2")
    assert made.start_epoch(14, 50) == {} and not made.learns
    assert made.start_epoch(15, 50) == {} and made.learns


# --- ProxylessNAS --------------------------------------------------------------------------------------


def test_probabilities_of_what_was_not_sampled_do_not_move() -> None:
    space = small("nasbench201")
    made = shaken(Proxyless(space, ProxylessOptions(lr=0.1), 0))
    for _ in range(5):
        made.steps += 1
        pairs = made.pairs()
        before = made.log_probabilities().detach().exp()
        gradients = {name: torch.arange(5, dtype=torch.float64) ** 2 for name in pairs}
        made.update(pairs, gradients)
        after = made.log_probabilities().detach().exp()
        for name, pair in pairs.items():
            row = made.rows[name]
            assert len(set(pair)) == 2
            others = [k for k in range(5) if k not in pair]
            torch.testing.assert_close(after[row, others], before[row, others], rtol=0, atol=1e-12)
            changed = not torch.equal(after[row, list(pair)], before[row, list(pair)])
            assert changed == (pair[0] != 0)  # 0 is `none`: active, it says nothing


def test_the_gradient_of_a_pair_is_the_published_sum() -> None:
    made = shaken(Proxyless(toy(), ProxylessOptions(), 0))
    seen: list[Tensor] = []
    made.descend = seen.append  # type: ignore[method-assign, assignment]
    pairs = {choice.name: (2, 1) for choice in toy().choices}
    of_gates = torch.tensor([0.0, 0.4, -1.1], dtype=torch.float64)
    made.update(pairs, dict.fromkeys(pairs, of_gates))
    (gradient,) = seen
    for row in range(3):
        p = torch.softmax(made.logits.detach()[row, [2, 1]], 0)
        g = of_gates[[2, 1]]
        for i, k in enumerate((2, 1)):
            expected = sum(float(g[j] * p[j] * (float(i == j) - p[i])) for j in range(2))
            assert float(gradient[row, k]) == pytest.approx(expected, abs=1e-15)
        assert float(gradient[row, 0]) == 0


def test_gates_get_the_inner_product_of_each_candidate_of_the_pair() -> None:
    made = shaken(Proxyless(toy(), ProxylessOptions(), 0))
    pairs = {choice.name: (1, 2) for choice in toy().choices}
    gates = made.gates(pairs)
    value = toy_loss()(Path({}, mixture=gates, among=pairs))
    found = torch.autograd.grad(value, list(gates.values()))
    # double, double, double: out = 2x + 2·2x = 6x, loss (6x - 3x)², δ = 2·3x / n
    delta = 2 * 3 * X / len(X)
    direct = [float((delta * k * X).sum()) for k in (2, -1)]
    second = [float((delta * k * 2 * X).sum()) for k in (2, -1)]
    by_name = dict(zip(gates, found, strict=True))
    through = [v for v in by_name.values() if float(v[1]) == pytest.approx(second[0])]
    assert len(through) == 2  # n1 and the edge behind it
    assert any(v[1:].tolist() == pytest.approx(direct) for v in by_name.values())
    assert all(float(v[0]) == 0 for v in by_name.values())


def test_weight_steps_run_one_path_and_every_fifth_is_followed_by_an_architecture_step() -> None:
    made = Proxyless(small("nasbench201"), ProxylessOptions(), 0)
    learned = []
    for _ in range(10):
        (path,) = made.paths()
        assert path.mixture is None
        assert made.space.genotype(path.genotype) == path.genotype
        learned.append(made.learns)
    assert learned == [False] * 4 + [True] + [False] * 4 + [True]
    lists = Proxyless(small("darts"), ProxylessOptions(), 0)
    (path,) = lists.paths()
    assert path.genotype["normal.n[3]"] == ("0", "1", "2")


def test_copies_share_nothing() -> None:
    made = shaken(Darts(toy(), DartsOptions(), 0))
    tensors, rest = made.state()
    other = Darts(toy(), DartsOptions(), 0)
    other.restore((copy.deepcopy(tensors), rest))
    assert torch.equal(other.logits, made.logits)
    assert issubclass(DartsOptions, BlendingOptions)
