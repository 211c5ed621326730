"""Zero-cost proxies against what can be worked out by hand, and networks that stand alone."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasdsl import resources
from nasdsl.diagnostics import NasError
from nasdsl.pipeline import load
from nasdsl.searching.contract import compiled, small_space, small_task
from nasdsl.searching.evaluators import EVALUATORS, Given
from nasdsl.searching.evaluators.fisher import information
from nasdsl.searching.evaluators.jacob_cov import SMALL, spread
from nasdsl.searching.evaluators.naswot import log_determinant
from nasdsl.searching.evaluators.proxy import ProxyOptions, weighted
from nasdsl.searching.evaluators.snip import Snip
from nasdsl.searching.evaluators.synflow import flows
from nasdsl.space.space import Space
from nasdsl.supernet.alone import Alone
from nasdsl.training.recipe import Recipe
from nasdsl.training.split import Split
from nasdsl.training.tasks import Classification, Task

PROXIES = ("synflow", "naswot", "jacob_cov", "grad_norm", "snip", "fisher")


def given(space: Space, task: Task | None = None, seed: int = 0) -> Given:
    task = small_task() if task is None else task
    return Given(space, task, *task.halves(seed), Recipe(epochs=3, batch=6, lr=0.05), seed)


def evaluator(name: str, space: Space, **options: Any) -> Any:
    kind = EVALUATORS.find(name)
    return kind(given(space), kind.Options(**options))


# --- synflow ------------------------------------------------------------------------------------------


def layers(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for a, b in pairwise(widths):
        parts += [nn.Linear(a, b, bias=False), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def test_the_flow_through_each_layer_is_that_of_the_whole_network() -> None:
    network = layers(4, 6, 5, 3)
    product = torch.ones(1, 4, dtype=torch.float64)
    for _, weight in weighted(network):
        product = product @ weight.detach().double().abs().T
    whole = float(product.sum())
    found = flows(network, [torch.zeros(2, 4)[:1]], Classification())
    assert found == pytest.approx([whole] * 3, rel=1e-12)
    assert sum(found) == pytest.approx(3 * whole, rel=1e-12)


def test_the_weights_come_back_bit_for_bit_and_norms_are_left_out() -> None:
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1))
    normed = nn.Sequential(plain[0], nn.BatchNorm2d(3), plain[1], plain[2])
    before = {name: value.clone() for name, value in normed.state_dict().items()}
    x = torch.zeros(1, 2, 5, 5)
    assert flows(normed, [x], Classification()) == flows(plain, [x], Classification())
    after = normed.state_dict()
    assert all(after[k].dtype == v.dtype and torch.equal(after[k], v) for k, v in before.items())
    assert all(p.grad is None for p in normed.parameters())
    assert normed.training and "forward" not in vars(normed[1])


# --- the others ---------------------------------------------------------------------------------------


def test_the_kernel_of_known_codes() -> None:
    codes = torch.tensor([[1, 0], [0, 1]], dtype=torch.bool)
    # b bᵀ + (1-b)(1-b)ᵀ is 2 on the diagonal, for two units agree with themselves, and 0 beside it.
    assert log_determinant([codes]) == pytest.approx(math.log(4))
    three = torch.tensor([[1, 1, 0], [1, 0, 0]], dtype=torch.bool)  # they agree in two of three
    assert log_determinant([three]) == pytest.approx(math.log(3 * 3 - 2 * 2))
    assert log_determinant([codes, three]) == pytest.approx(math.log(5 * 5 - 2 * 2))


def test_equal_inputs_make_it_singular_and_the_score_no_number() -> None:
    assert log_determinant([torch.tensor([[1, 0], [1, 0]], dtype=torch.bool)]) == -math.inf
    made = evaluator("naswot", small_space("candidates"))
    made.batch = Split((made.batch.inputs[0][:1].repeat(4, 1, 1, 1),), made.batch.targets[:4])
    assert math.isnan(made.score(small_space("candidates").sample(1)).metric)


def test_a_linear_network_has_one_gradient_for_all_examples() -> None:
    network, x = nn.Linear(5, 3), torch.randn(4, 5, requires_grad=True)
    (jacobian,) = torch.autograd.grad(network(x).sum(), x)
    torch.testing.assert_close(torch.corrcoef(jacobian), torch.ones(4, 4))
    # The eigenvalues of a matrix of ones are 4, 0, 0, 0.
    terms = [math.log(v + SMALL) + 1 / (v + SMALL) for v in (4, 0, 0, 0)]
    assert spread(jacobian) == pytest.approx(-sum(terms), rel=1e-4)
    apart = torch.eye(4, dtype=torch.float64) - 0.25
    assert spread(apart) > spread(jacobian)


def test_connection_sensitivity_is_the_gradient_of_masks() -> None:
    space, objective = small_space("candidates"), Classification()
    made: Snip = evaluator("snip", space)
    genotype = space.genotype({choice.name: "conv" for choice in space.choices})
    network = Alone(space, genotype, seed=3)
    value = made.measure(network, made.batch, objective)
    names = [name for name, p in network.named_parameters() if p.dim() > 1]
    masks = {name: torch.ones_like(network.get_parameter(name), requires_grad=True) for name in names}
    masked = {name: network.get_parameter(name).detach() * mask for name, mask in masks.items()}
    network.train()
    outputs = torch.func.functional_call(network, masked, made.batch.inputs)
    gradients = torch.autograd.grad(
        objective.loss(outputs, made.batch.targets), [masks[name] for name in names]
    )
    assert value == pytest.approx(sum(float(g.abs().sum()) for g in gradients), rel=1e-5)


def test_the_norm_of_the_gradient_is_summed_over_layers() -> None:
    space, objective = small_space("candidates"), Classification()
    made = evaluator("grad_norm", space)
    network = Alone(space, space.sample(0), seed=3)
    value = made.measure(network, made.batch, objective)
    weights = [p for p in network.parameters() if p.dim() > 1]
    found = torch.autograd.grad(objective.loss(network(*made.batch.inputs), made.batch.targets), weights)
    assert value == pytest.approx(sum(float(g.norm()) for g in found), rel=1e-5)


@pytest.mark.parametrize("channels", [1, -1])
def test_fisher_information_by_hand(channels: int) -> None:
    random = torch.Generator().manual_seed(0)
    a, g = (torch.randn(3, 4, 5, 5, generator=random) for _ in range(2))
    total = 0.0
    for c in range(a.shape[channels]):
        each = [
            float((a[n] * g[n]).select(channels - 1 if channels > 0 else channels, c).sum()) for n in range(3)
        ]
        total += 0.5 * sum(v * v for v in each) / 3
    assert float(information(a, g, channels)) == pytest.approx(total, rel=1e-5)


def test_fisher_sees_every_layer_once() -> None:
    space, objective = small_space("candidates"), Classification()
    made = evaluator("fisher", space)
    network = Alone(space, space.genotype({choice.name: "conv" for choice in space.choices}), seed=3)
    value = made.measure(network, made.batch, objective)
    seen: list[Tensor] = []
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for module in layers:
        module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    loss = objective.loss(network(*made.batch.inputs), made.batch.targets)
    gradients = torch.autograd.grad(loss, seen)
    assert len(seen) == len(layers) == 4  # three edges and the classifier
    total = sum(float(information(a.detach(), g, 1)) for a, g in zip(seen, gradients, strict=True))
    assert value == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_says_the_same_each_time_and_more_of_more(name: str) -> None:
    space = small_space("candidates")
    first, second = evaluator(name, space), evaluator(name, space)
    genotypes = space.sample(0, 8)
    torch.manual_seed(5)
    told = [first.score(g).metric for g in genotypes]
    again = [second.score(g).metric for g in reversed(genotypes)][::-1]
    assert [repr(v) for v in told] == [repr(v) for v in again]
    assert len({v for v in told if v == v}) > 2


def test_measures_are_scores() -> None:
    space = small_space("numbers")
    for genotype in space.sample(0, 4):
        measured = space.measure(genotype)
        assert evaluator("params", space).score(genotype).metric == measured.params
        assert evaluator("flops", space).score(genotype).metric == measured.flops


def test_training_learns_and_more_with_a_larger_budget() -> None:
    space = small_space("candidates")
    made = evaluator("train", space)
    genotype = space.genotype({choice.name: "conv" for choice in space.choices})
    few, many = made.score(genotype, 1), made.score(genotype, 12)
    assert many.loss < few.loss and many.metric > 0.6
    assert made.score(genotype, 1) == few
    assert made.budget == 5 and few.examples == len(small_task().halves(0)[1])


def test_training_that_diverges_has_no_score() -> None:
    space = small_space("candidates")
    about = given(space)
    kind = EVALUATORS.find("train")
    made = kind(
        Given(space, about.task, about.weights, about.held_out, Recipe(lr=1e30, clip=0), 0), kind.Options()
    )
    assert math.isnan(made.score(space.genotype({c.name: "conv" for c in space.choices}), 2).metric)


# --- what can't be scored -----------------------------------------------------------------------------


def test_a_space_without_relus_and_a_task_of_tokens_are_refused() -> None:
    plain = compiled(
        "space s() {\n  input x: [4, 5, 5]\n  return x -> (conv(kernel = 3) | identity) -> global_avgpool -> linear(3)\n}\n"
    )
    with pytest.raises(NasError, match="N965"):
        evaluator("naswot", plain)
    task = small_task()
    tokens = Split((torch.zeros(36, 4, dtype=torch.long),), task.train.targets)
    kind = EVALUATORS.find("jacob_cov")
    about = Given(plain, task, tokens, tokens, Recipe(), 0)
    with pytest.raises(NasError, match="N965"):
        kind(about, ProxyOptions())


# --- networks that stand alone ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("quickstart", {}), ("darts", {"layers": 3, "width": 4}), ("enas_rnn", {}), ("tabular_mlp", {}),
        ("mobilenet_small", {}), ("autoformer_tiny", {}), ("decoder_lm", {}),
    ],
)  # fmt: skip
def test_it_has_the_weights_of_its_architecture_and_no_others(name: str, parameters: dict[str, int]) -> None:
    space: Any = load(FilePath(resources.spaces()) / f"{name}.nas", **parameters)
    genotype = space.sample(3)
    network = Alone(space, genotype, seed=1)
    assert sum(p.numel() for p in network.parameters()) == space.measure(genotype).params
    again = Alone(space, genotype, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_it_computes_what_the_exported_network_does() -> None:
    space: Any = load(FilePath(resources.spaces()) / "quickstart.nas")
    for seed in range(4):
        genotype = space.sample(seed)
        alone, exported = Alone(space, genotype, seed=seed).eval(), space.network(genotype).eval()
        ours = {tuple(p.shape): [] for p in alone.parameters()}  # type: ignore[var-annotated]
        assert sorted(p.shape for p in alone.parameters()) == sorted(p.shape for p in exported.parameters())
        assert set(ours) == {tuple(p.shape) for p in exported.parameters()}
        x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            for module in (alone, exported):
                for p in module.parameters():  # the same whichever order they stand in
                    p.copy_(torch.linspace(-0.5, 0.5, p.numel()).view_as(p))
            y: Tensor = exported(x)
            torch.testing.assert_close(alone(x), y)
