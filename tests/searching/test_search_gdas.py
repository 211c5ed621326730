"""GDAS against its closed form, on a DAG of three edges and on real cells (ALGORITHMS.md, section 5)."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl.pipeline import loads
from nasdsl.searching import Path, is_connected
from nasdsl.searching.contract import small_space
from nasdsl.searching.gdas import Gdas, GdasOptions, nested_choices, within_bounds
from nasdsl.searching.history import History, Trial
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.gates import multiply
from nasdsl.supernet.plan import Context
from tests.searching import fixture
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


def strategy(space: Space, seed: int = 0, **options: Any) -> Gdas:
    made = Gdas(space, GdasOptions(**options), seed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.logits += torch.randn(made.logits.shape, generator=random, dtype=torch.float64)
    return made


def squared(outputs: Tensor) -> Tensor:
    return ((outputs - 0.4) ** 2).mean()


def published_b(x: Tensor, gate: Tensor, k: int) -> Tensor:
    return x * gate[k] + sum(gate[j] for j in range(len(gate)) if j != k)


CASES = [
    ("toy", "selected_only"),
    ("toy", "ones_for_others"),
    ("cell", "selected_only"),
    ("cell", "ones_for_others"),
]


@pytest.mark.parametrize(("which", "estimator"), CASES)
@pytest.mark.parametrize("tau", [10.0, 0.7])
def test_the_gradient_of_the_logits_is_the_closed_form_and_the_finite_difference(
    which: str, estimator: str, tau: float
) -> None:
    space = toy() if which == "toy" else shipped("nasbench201", width=2, cells=1)
    x = (
        X
        if which == "toy"
        else torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )
    supernet = Supernet(space, dtype=torch.float64, batch_norm="batch")
    made = strategy(space, estimator=estimator)
    made.tau = tau
    noise = made.gumbel()
    while which == "toy" and not is_connected(space.architecture(made.sample(noise).genotype)):
        noise = made.gumbel()
    sample = made.sample(noise)
    p, hard = sample.soft.detach(), sample.hard.detach()

    # One-hot forward, exactly.
    assert torch.equal(hard.sum(1), torch.ones(len(hard), dtype=torch.float64))
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(hard.argmax(1), p.argmax(1))

    outputs = supernet(x, genotype=sample.genotype, gates=made.gates(sample), gating=estimator)
    (found,) = torch.autograd.grad(squared(outputs), made.logits)

    # h, the gradient of the hard sample, by the published formulas.
    published = multiply if estimator == "selected_only" else published_b
    keep = estimator == "ones_for_others"

    def loss(gates: Tensor) -> Tensor:
        by_name = {c.name: gates[i, : len(c.labels)] for i, c in enumerate(space.choices)}
        # Absence has to stay visible for the published formula too.
        plan = supernet.plan(sample.genotype, tuple(by_name), keep_absent=keep)
        (y,) = plan((x,), Context(by_name, published, torch.float64))
        return squared(y)

    leaf = hard.clone().requires_grad_()
    (h,) = torch.autograd.grad(loss(leaf), leaf, allow_unused=True)
    closed = p * (h - (p * h).sum(1, keepdim=True)) / tau
    torch.testing.assert_close(found, closed, rtol=1e-9, atol=1e-12)
    assert float(found.abs().max()) > 1e-6
    # Σ_k g_k = 0 for each choice.
    assert float(found.sum(1).abs().max()) < 1e-14

    # Straight through: the hard value stays, the soft one moves.
    def surrogate(logits: Tensor) -> Tensor:
        with torch.no_grad():
            before = made.logits.clone()
            made.logits.copy_(logits)
            soft = made.sample(noise).soft.detach()
            made.logits.copy_(before)
        return loss(hard + soft - p).detach()

    step = 1e-5
    numeric = torch.zeros_like(found)
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            shift = torch.zeros_like(found)
            shift[i, j] = step
            base = made.logits.detach()
            numeric[i, j] = (surrogate(base + shift) - surrogate(base - shift)) / (2 * step)
    torch.testing.assert_close(found, numeric, rtol=0, atol=2e-9)


def test_selected_only_says_nothing_of_a_choice_whose_candidate_is_absent() -> None:
    made = strategy(toy())
    noise = torch.zeros(3, 3, dtype=torch.float64)
    noise[:, 0] = 100.0  # `none` on every edge
    sample = made.sample(noise)
    outputs = Supernet(toy(), dtype=torch.float64)(
        X, genotype=sample.genotype, gates=made.gates(sample), gating="selected_only"
    )
    assert not outputs.requires_grad  # type: ignore[union-attr]
    before = made.logits.detach().clone()
    value = made.architecture_step(None, lambda path: squared(outputs))  # type: ignore[arg-type]
    assert math.isfinite(value)
    # Weight decay alone moved it.
    assert (made.logits.detach() - before).abs().max() <= 3e-4 + 1e-9


def test_hard_samples_are_drawn_with_the_probabilities_of_the_logits_at_every_temperature() -> None:
    counts = []
    draws = 4000
    for tau in (10.0, 1.0, 0.1):
        made = strategy(toy(), seed=3)
        made.tau = tau
        total = torch.zeros(3, 3, dtype=torch.float64)
        with torch.no_grad():
            for _ in range(draws):
                total += made.sample().hard
        counts.append(total)
    # The same noise gives the same candidates, whatever the temperature.
    assert torch.equal(counts[0], counts[1]) and torch.equal(counts[0], counts[2])
    expected = made.log_probabilities().detach().exp() * draws
    chi_squared = float(((counts[0] - expected) ** 2 / expected).sum())
    assert chi_squared < 22.5  # 6 degrees of freedom, one in a thousand


def test_the_temperature_goes_from_10_to_a_tenth_in_a_straight_line() -> None:
    made = strategy(toy())
    taus = [made.start_epoch(epoch, 5)["tau"] for epoch in range(5)]
    assert taus == pytest.approx([10, 7.525, 5.05, 2.575, 0.1])
    assert made.tau == taus[-1]
    assert made.start_epoch(0, 1)["tau"] == pytest.approx(0.1)


def test_the_score_function_gradient_of_a_number_is_exact_on_average() -> None:
    space = loads("space s() { input x: [2]\n n = 1 | 2 | 5\n return x * n }")
    assert [c.kind for c in space.choices] == ["number"]
    losses = [0.3, -0.4, 1.1]
    for baseline in (None, 0.0, 5.0):
        made = strategy(space)
        p = made.log_probabilities().detach().exp()[0]
        found = torch.zeros(1, 3, dtype=torch.float64)
        for k in range(3):
            noise = torch.zeros(1, 3, dtype=torch.float64)
            noise[0, k] = 100.0
            gradient = torch.zeros(1, 3, dtype=torch.float64)
            made.baseline = losses[0] if baseline is None else baseline
            made.add_score(gradient, made.sample(noise), losses[k])
            found += p[k] * gradient
        leaf = made.logits.detach().clone().requires_grad_()
        expectation = (torch.softmax(leaf, 1)[0] * torch.tensor(losses, dtype=torch.float64)).sum()
        (exact,) = torch.autograd.grad(expectation, leaf)
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)


def test_the_first_loss_is_its_own_baseline_and_the_next_moves_it() -> None:
    space = loads("space s() { input x: [2]\n n = 1 | 2 | 5\n return x * n }")
    made = strategy(space, baseline_decay=0.9)
    gradient = torch.zeros(1, 3, dtype=torch.float64)
    made.add_score(gradient, made.sample(), 2.0)
    assert gradient.abs().max() == 0
    made.add_score(gradient, made.sample(), 3.0)
    assert made.baseline == pytest.approx(2.1)
    assert gradient.abs().max() > 0


def test_numbers_have_no_gate_and_choices_under_a_false_guard_are_not_sampled() -> None:
    space = shipped("ofa_mobilenetv3")
    made = strategy(space)
    for _ in range(5):
        sample = made.sample()
        assert space.assignment(sample.genotype)
        assert set(made.gates(sample)) == {c.name for c in space.choices if c.kind == "depth"}
        for choice in space.choices:
            assert (choice.name in sample.genotype) == bool(
                choice.guard.at(space.assignment(sample.genotype))
            )


def test_a_choice_of_k_is_searched_with_every_candidate_on_and_derived_by_its_inner_choice() -> None:
    space = shipped("darts", width=2, layers=3)
    made = strategy(space, search_none=False)
    outer = space.choice("normal.n[3]")
    assert nested_choices(space, outer) == ["normal.n[3].0", "normal.n[3].1", "normal.n[3].2"]
    (path,) = made.paths()
    assert path.genotype["normal.n[3]"] == ("0", "1", "2")
    assert "normal.n[3].1" in path.genotype
    supernet = Supernet(space)
    x = torch.randn(2, 3, 32, 32)
    sample = made.sample()
    outputs = supernet(x, genotype=sample.genotype, gates=made.gates(sample), gating="selected_only")
    (gradient,) = torch.autograd.grad(outputs.sum(), made.logits)  # type: ignore[union-attr]
    touched = {c.name for c, g in zip(space.choices, gradient, strict=True) if float(g.abs().max()) > 0}
    assert {"normal.n[3].0", "normal.n[3].1", "normal.n[3].2"} <= touched
    # The most decided inner choices win, in candidate order.
    with torch.no_grad():
        made.logits.zero_()
        made.logits[made.rows["normal.n[3].2"], 4] = 3.0
        made.logits[made.rows["normal.n[3].0"], 1] = 2.0
        made.logits[made.rows["normal.n[3].1"], 0] = 1.0
    genotype = made.derive()
    assert genotype is not None
    assert genotype["normal.n[3]"] == ("0", "2")
    assert genotype["normal.n[3].2"] == space.choice("normal.n[3].2").labels[4]
    assert "normal.n[3].1" not in genotype
    assert space.genotype(genotype) == genotype


@pytest.mark.parametrize(("name", "parameters"), [("enas_macro", {"layers": 4}), ("one_shot", {"cells": 3})])
def test_other_sub_lists_are_drawn_within_their_bounds_and_learned_by_the_score(
    name: str, parameters: Any
) -> None:
    space = shipped(name, **parameters)
    made = strategy(space)
    assert not made.nested
    for i in range(20):
        sample = made.sample()
        assert space.genotype(sample.genotype) == sample.genotype
        gradient = torch.zeros_like(made.logits)
        made.add_score(gradient, sample, float(i))
    sublists = [c for c in space.choices if c.is_sublist]
    assert all(float(gradient[made.rows[c.name]].abs().max()) > 0 for c in sublists)
    genotype = made.derive()
    assert genotype is not None and space.genotype(genotype) == genotype


def test_bounds_take_the_likeliest() -> None:
    space = shipped("one_shot", cells=3)
    choice = next(c for c in space.choices if c.pick == "1..2" and len(c.labels) > 2)
    assert within_bounds(choice, [-1.0, -0.5, -2.0]) == (1,)
    assert within_bounds(choice, [1.0, 0.5, 2.0]) == (0, 2)
    assert within_bounds(choice, [1.0, -0.5, -2.0]) == (0,)


def test_what_is_required_is_kept_to_while_searching_and_deriving() -> None:
    space = loads(TOY.replace("  n1 =", '  require count("none") <= 1\n  n1 ='))
    made = strategy(space)
    with torch.no_grad():
        made.logits.zero_()
        made.logits[:, 0] = 2.0  # everything would be `none`
        made.logits[1, 0] = 1.9
    for _ in range(30):
        assert sum(v == "none" for v in made.sample().genotype.values()) <= 1
    genotype = made.derive()
    assert genotype is not None
    assert sorted(genotype.values()).count("none") == 1
    # Of those that may be, a likeliest one: the weakest `none` is given up, and one of the others.
    best = max(made.log_likelihood(space.sample(seed)) for seed in range(200))
    assert made.log_likelihood(genotype) == pytest.approx(best)


def test_likeliest_candidates_win_and_are_proposed_once() -> None:
    made = strategy(shipped("quickstart"))
    genotype = made.propose(History())
    assert genotype is not None
    for name, ps in made.probabilities().items():
        assert sum(ps) == pytest.approx(1)
        if name in genotype:
            assert genotype[name] == shipped("quickstart").choice(name).labels[ps.index(max(ps))]
    assert made.propose(History([Trial(genotype, 0.5, 1.0)])) is None


def test_adam_moves_the_logits_towards_the_better_candidate() -> None:
    made = Gdas(toy(), GdasOptions(lr=0.05), 0)
    supernet = Supernet(toy(), dtype=torch.float64)
    target = (
        3.0 * X
    )  # double on the direct edge, and a double reversed on none: 2x + ... ; 4x - x = 3x is nearest

    def loss(path: Path) -> Tensor:
        outputs = supernet(X, genotype=path.genotype, gates=path.gates, gating=path.gating)
        assert isinstance(outputs, Tensor)
        return ((outputs - target) ** 2).mean()

    for step in range(600):
        made.start_epoch(step // 30, 20)
        made.architecture_step(supernet, loss)
    found = made.derive()
    assert found is not None
    losses = {g.text: float(loss(Path(g))) for g in (toy().sample(seed) for seed in range(300))}
    assert len(losses) == 27
    better = sum(value < float(loss(Path(found))) - 1e-9 for value in losses.values())
    assert better <= 3  # random would leave 13 better ones on average


def test_none_takes_a_share_in_the_search_and_is_never_derived() -> None:
    space = small_space("edges")
    made = Gdas(space, GdasOptions(), 0)
    inner = [name for names in made.nested.values() for name in names]
    assert made.with_none == set(inner) and made.valid.shape[1] == 4  # three operations and `none`
    edges, outer = made.nested["n[3]"], "n[3]"
    with torch.no_grad():
        for name in edges:
            made.logits[made.rows[name], -1] = math.log(2)  # `none` is as likely as two others: 2 of 5
    drawn = [made.sample() for _ in range(400)]
    left_out = sum(name not in sample.taken for sample in drawn for name in edges) / (400 * len(edges))
    assert abs(left_out - 2 / 5) < 3 * math.sqrt(2 / 5 * 3 / 5 / (400 * len(edges)))
    for sample in drawn:
        members = sample.genotype[outer]
        assert isinstance(members, tuple)
        assert [f"{outer}.{label}" in sample.genotype for label in ("0", "1", "2")] == [
            label in members for label in ("0", "1", "2")
        ]
    with torch.no_grad():
        for name in inner:
            made.logits[made.rows[name], -1] = 10.0
    found = made.propose(History())
    assert found is not None and space.permits(found)
    without = Gdas(space, GdasOptions(search_none=False), 0)
    assert not without.with_none and without.valid.shape[1] == 3
    assert all(set(edges) <= set(without.sample().taken) for _ in range(20))
    # Where there is a candidate that gives nothing already, none is added.
    assert not Gdas(fixture.space(), GdasOptions(), 0).with_none


def test_an_edge_without_an_operation_teaches_nothing_and_the_others_do() -> None:
    space = small_space("edges")
    made = Gdas(space, GdasOptions(lr=0.1, weight_decay=0, tau_start=1.0, beta1=0.0), 0)
    supernet = Supernet(space, dtype=torch.float64, affine=False, batch_norm="batch")
    x = torch.randn(4, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    edges = made.nested["n[3]"]
    with torch.no_grad():
        made.logits[made.rows[edges[0]], -1] = 50.0
        made.logits[[made.rows[edge] for edge in edges[1:]], -1] = -50.0
    before = made.logits.detach().clone()

    def loss(path: Path) -> Tensor:
        found = supernet(x, genotype=path.genotype, gates=path.gates, gating=path.gating)
        assert isinstance(found, Tensor)
        return found.square().sum()

    made.architecture_step(supernet, loss)
    moved = (made.logits.detach() - before).abs().amax(1)
    assert float(moved[made.rows[edges[0]]]) == 0
    assert all(float(moved[made.rows[edge]]) > 0 for edge in edges[1:])
