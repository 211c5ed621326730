"""The step that all training shares: ghost batches, running statistics, sums, divergence."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from nasdsl.diagnostics import NasError
from nasdsl.training.recipe import Recipe
from nasdsl.training.step import Pass, Stepper
from nasdsl.training.tasks import Classification, Split
from nasdsl.training.watch import Diverged, Totals, Watch

CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(16, 3)
    ).double()


def batch(size: int = 12) -> Split:
    random = torch.Generator().manual_seed(1)
    images = torch.randn(size, 1, 4, 4, generator=random, dtype=torch.float64)
    return Split((images,), torch.randint(3, (size,), generator=random))


def stepper(module: nn.Module, size: int = 12, **recipe: object) -> Stepper:
    made = Recipe.model_validate({"lr": 0.1, "clip": 0, "momentum": 0, "weight_decay": 0} | recipe)
    return Stepper(module, made, Classification(), seed=0, device=CPU, batch=size)


def test_the_gradient_of_ghost_batches_is_the_mean_over_the_minibatch() -> None:
    """Sizes 3, 4, 3 of a batch of 10: each example weighs the same, and each part is normalised by itself."""
    module = network()
    module[3].p = 0.0  # type: ignore[union-attr]
    expected = copy.deepcopy(module)
    whole, bounds = batch(10), [0, 3, 6, 10]
    for start, end in pairwise(bounds):
        outputs = expected(whole.inputs[0][start:end])
        (nn.functional.cross_entropy(outputs, whole.targets[start:end], reduction="sum") / 10).backward()
    made = stepper(module, 10, ghosts=3)
    made.step([Pass(module, whole)], 0, 0.1)
    for p, q in zip(module.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q.detach() - 0.1 * q.grad)


def test_running_statistics_move_once_a_step_by_the_mean_of_the_parts() -> None:
    module = network()
    convolution, norm = module[0], module[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    whole = batch()
    with torch.no_grad():
        before = convolution(whole.inputs[0])
        means = torch.stack([part.mean((0, 2, 3)) for part in before.split(4)]).mean(0)
        variances = torch.stack([part.transpose(0, 1).flatten(1).var(1) for part in before.split(4)]).mean(0)
    stepper(module, ghosts=3).step([Pass(module, whole)], 0, 0.1)
    torch.testing.assert_close(norm.running_mean, 0.1 * means)
    torch.testing.assert_close(norm.running_var, 0.9 * torch.ones(4).double() + 0.1 * variances)


def test_dropout_is_a_matter_of_seed_step_and_part() -> None:
    """Whoever runs a part, and after whatever: it drops the same."""
    results = []
    for noise in (0, 1):
        module = network()
        made = stepper(module, ghosts=2)
        torch.manual_seed(noise)
        made.step([Pass(module, batch())], 5, 0.1)
        results.append([p.detach().clone() for p in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_penalties_and_weights_of_passes_act_on_the_gradient_alone() -> None:
    module = network().eval()
    made, whole = stepper(module), batch()
    loss = nn.functional.cross_entropy(module(whole.inputs[0]), whole.targets)
    norm = sum((p.square().sum() for p in module.parameters()), torch.zeros(()))
    expected = torch.autograd.grad(0.5 * (loss + norm), list(module.parameters()))
    before = [p.detach().clone() for p in module.parameters()]

    def penalty() -> Tensor:
        return sum((p.square().sum() for p in module.parameters()), torch.zeros(()))

    made.step([Pass(module, whole, 0.5, penalty)], 0, 0.1)
    for p, old, gradient in zip(module.parameters(), before, expected, strict=True):
        torch.testing.assert_close(p, old - 0.1 * gradient)
    totals = made.watch.totals()
    assert totals.loss == pytest.approx(float(loss)) and totals.steps == 1


def test_what_follows_the_weights_is_called_after_each_update() -> None:
    module = network()
    seen: list[Tensor] = []
    made = Stepper(
        module,
        Recipe(),
        Classification(),
        seed=0,
        device=CPU,
        batch=12,
        after=lambda: seen.append(module[5].bias.detach().clone()),  # type: ignore[union-attr]
    )
    for step in range(2):
        made.step([Pass(module, batch())], step, 0.1)
    assert len(seen) == 2 and not torch.equal(*seen)
    assert torch.equal(seen[1], module[5].bias)  # type: ignore[union-attr]


def test_in_half_precision_gradients_are_scaled_and_a_step_that_overflows_is_left_out() -> None:
    module = network().float()
    data = batch()
    whole = Split((data.inputs[0].float(),), data.targets)

    def made() -> Stepper:
        recipe = Recipe(clip=1.0)
        return Stepper(module, recipe, Classification(), seed=0, device=CPU, batch=12, precision="float16")

    half = made()
    before = [p.detach().clone() for p in module.parameters()]
    half.scaler.load_state_dict(half.scaler.state_dict() | {"scale": 2.0**40})
    half.step([Pass(module, whole)], 0, 0.1)
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))
    resumed = made()
    resumed.restore(half.tensors(1))
    assert resumed.scaler.get_scale() == half.scaler.get_scale() == 2.0**39
    resumed.scaler.load_state_dict(resumed.scaler.state_dict() | {"scale": 2.0**8})
    resumed.step([Pass(module, whole)], 1, 0.1)
    change = sum(float((p - q).square().sum()) for p, q in zip(module.parameters(), before, strict=True))
    # The gradient is clipped to norm 1 after it is scaled back; Nesterov's first step is 1.9 times that.
    assert 0 < change**0.5 <= 0.1 * 1.9 * 1.01
    assert all(p.dtype == torch.float32 for p in module.parameters())


def test_on_the_cpu_divergence_is_noticed_before_the_weights_move() -> None:
    module = network()
    made, before = stepper(module), [p.detach().clone() for p in module.parameters()]
    broken = Pass(lambda x: module(x) * float("nan"), batch(), detail=lambda: "genotype {}")
    with pytest.raises(Diverged) as error:
        made.step([broken], 7, 0.1)
    assert error.value.step == 7
    assert error.value.diagnostics[0].message == "training diverged: the loss is nan at step 7, genotype {}"
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))


def test_weights_that_are_no_numbers_are_not_kept() -> None:
    module = network()
    made = stepper(module)
    assert made.tensors(0)
    with torch.no_grad():
        module[5].bias[1] = float("inf")  # type: ignore[union-attr]
    with pytest.raises(Diverged) as error:
        made.tensors(3)
    assert "a weight is no number at step 3" in error.value.diagnostics[0].message


def test_elsewhere_a_watch_looks_every_so_often_and_names_the_first_step() -> None:
    watch = Watch(torch.device("meta"), every=5)
    one = torch.ones(())
    for step in range(4):
        watch.add(one / 0 if step >= 2 else one, one, step, lambda step=step: f"path {step}")  # type: ignore[misc]
    with pytest.raises(Diverged) as error:
        watch.add(one, one, 4)
    assert error.value.step == 2 and "path 2" in error.value.diagnostics[0].message


def test_sums_do_not_depend_on_when_one_looked() -> None:
    values = torch.rand(23, generator=torch.Generator().manual_seed(0))
    often, rarely = Watch(CPU), Watch(torch.device("meta"), every=7)
    for step, value in enumerate(values):
        for watch in (often, rarely):
            watch.add(value, value, step)
            watch.check(value, step)
        if step == 11:
            resumed = Watch(torch.device("meta"), every=7)
            resumed.start(rarely.totals())
            rarely = resumed
    assert often.totals() == rarely.totals()
    assert often.totals().steps == 23
    often.start()
    assert often.totals() == Totals()


def test_too_small_a_minibatch_for_so_many_ghosts_is_refused() -> None:
    with pytest.raises(NasError) as error:
        stepper(network(), 5, ghosts=3)
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == "N1040"
    assert "a minibatch of 5 is too small for 3 ghost batches" in diagnostic.message
