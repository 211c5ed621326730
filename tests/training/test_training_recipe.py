"""What each field of a recipe does, checked by arithmetic."""

import math

import pytest
import torch
from torch import nn

from nasdsl import pipeline
from nasdsl.exporting.network import drop_path
from nasdsl.training.average import MovingAverage
from nasdsl.training.optimizers import clip_gradients, decay_groups, make_optimizer
from nasdsl.training.outputs import first, training_loss
from nasdsl.training.recipe import Recipe
from nasdsl.training.schedule import drop_path_chance, learning_rate
from nasdsl.training.seeds import generator, seeded
from nasdsl.training.tasks import Classification, Task, classification
from nasdsl.training.train import evaluate, fit


def rates(recipe: Recipe, steps: int) -> list[float]:
    """At the start of each epoch, and after the last step."""
    return [learning_rate(recipe, epoch * steps, steps) for epoch in range(recipe.epochs)]


# --- schedules --------------------------------------------------------------------------------------


def test_the_cosine_goes_from_lr_to_lr_end():
    recipe = Recipe(epochs=4, lr=1.0, lr_end=0.2)
    expected = [0.2 + 0.4 * (1 + math.cos(math.pi * t / 4)) for t in range(4)]
    assert rates(recipe, 10) == pytest.approx(expected, abs=1e-12)
    assert learning_rate(recipe, 39, 10) == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi * 39 / 40)))


def test_linear_and_constant():
    assert rates(Recipe(epochs=4, lr=1.0, lr_end=0.2, schedule="linear"), 5) == pytest.approx(
        [1.0, 0.8, 0.6, 0.4]
    )
    assert rates(Recipe(epochs=3, lr=0.7, schedule="constant"), 5) == [0.7, 0.7, 0.7]


def test_steps_multiply_at_their_epochs():
    recipe = Recipe(epochs=6, lr=1.0, schedule="step", drops=(2, 4.5), drop=0.1)
    assert rates(recipe, 2) == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01])
    assert learning_rate(recipe, 8, 2) == pytest.approx(0.1)
    assert learning_rate(recipe, 9, 2) == pytest.approx(0.01)


def test_restarts_are_those_of_enas():
    # ENAS: T0 = 10, Tmul = 2, so that periods start at 0, 10, 30, 70, 150 and end with epoch 310.
    recipe = Recipe(epochs=310, lr=0.05, lr_end=0.0005, schedule="restarts", period=10, period_growth=2)
    found = rates(recipe, 3)
    assert [e for e in range(310) if found[e] == 0.05] == [0, 10, 30, 70, 150]
    for start, length in ((0, 10), (10, 20), (150, 160)):
        for passed in (0, 1, length // 2, length - 1):
            expected = 0.0005 + 0.5 * (0.05 - 0.0005) * (1 + math.cos(math.pi * passed / length))
            assert found[start + passed] == pytest.approx(expected, abs=1e-12)
    assert learning_rate(recipe, 929, 3) < 0.00051


def test_warmup_rises_and_the_schedule_begins_after_it():
    recipe = Recipe(epochs=5, lr=1.0, warmup=1)
    assert [learning_rate(recipe, step, 4) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert learning_rate(recipe, 4, 4) == 1.0
    assert learning_rate(recipe, 12, 4) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(epochs=20, warmup=2),
        Recipe(epochs=20, schedule="step", drops=(10, 15)),
        Recipe(epochs=20, schedule="restarts", period=4),
    ],
)
def test_another_number_of_epochs_stretches_the_whole_schedule(recipe: Recipe):
    longer = recipe.lasting(60)
    assert longer.epochs == 60
    # A third of the steps an epoch in three times the epochs: the same row of learning rates.
    assert [learning_rate(recipe, s, 6) for s in range(120)] == pytest.approx(
        [learning_rate(longer, s, 2) for s in range(120)]
    )
    assert recipe.lasting(20) is recipe


def test_drop_path_rises_linearly():
    recipe = Recipe(epochs=600, drop_path=0.2)
    assert drop_path_chance(recipe, 0) == 0
    assert drop_path_chance(recipe, 300) == pytest.approx(0.1)
    assert drop_path_chance(recipe, 599) == pytest.approx(0.2 * 599 / 600)


# --- optimisers -------------------------------------------------------------------------------------


def test_scales_offsets_and_biases_are_told_from_matrices():
    made = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3), nn.LayerNorm(3)
    )
    parameters = list(made.parameters())
    (everything,) = decay_groups(Recipe(weight_decay=0.5), parameters)
    assert (len(everything["params"]), everything["weight_decay"]) == (8, 0.5)
    matrices, others = decay_groups(Recipe(weight_decay=0.5, decay="matrices"), parameters)
    assert [id(p) for p in matrices["params"]] == [id(made[0].weight), id(made[3].weight)]
    assert (matrices["weight_decay"], others["weight_decay"], len(others["params"])) == (0.5, 0.0, 6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_decay_shrinks_what_it_should_and_nothing_else(optimizer: str):
    recipe = Recipe(
        optimizer=optimizer, lr=0.1, weight_decay=0.3, decay="matrices", momentum=0.0, nesterov=False
    )
    matrix, bias = nn.Parameter(torch.full((2, 2), 2.0)), nn.Parameter(torch.full((2,), 2.0))
    made = make_optimizer(recipe, [matrix, bias])
    matrix.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    made.step()
    # The decay is part of the gradient, except in AdamW; Adam and RMSprop divide by its root mean square.
    decayed = {
        "sgd": 2 - 0.1 * 0.3 * 2,
        "adamw": 2 * (1 - 0.1 * 0.3),
        "adam": 2 - 0.1,
        "rmsprop": 2 - 0.1 / math.sqrt(0.001),
    }
    torch.testing.assert_close(matrix.detach(), torch.full((2, 2), decayed[optimizer]), rtol=1e-5, atol=0)
    assert torch.equal(bias.detach(), torch.full((2,), 2.0))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_a_weight_without_gradient_stays(optimizer: str):
    recipe = Recipe(optimizer=optimizer, lr=0.1, weight_decay=0.3)
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    made = make_optimizer(recipe, [used, unused])
    for _ in range(2):
        used.grad = torch.ones(2, 2)
        made.step()
    assert torch.equal(unused.detach(), torch.ones(2, 2))
    assert bool((used < 1).all())


def test_clipping_bounds_the_joint_norm():
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    clip_gradients([a, b], 0)
    assert a.grad[0] == 3
    clip_gradients([a, b], 1.0)
    torch.testing.assert_close(torch.cat([a.grad, b.grad]), torch.tensor([0.6, 0.0, 0.8]), rtol=1e-5, atol=0)


# --- the average of the weights ---------------------------------------------------------------------


def test_the_moving_average_has_its_closed_form():
    made = nn.Linear(1, 1, bias=False).double()
    decay, values = 0.9, [1.0, -2.0, 5.0, 3.0]
    with torch.no_grad():
        made.weight.fill_(7.0)
    average = MovingAverage(made, decay)
    for value in values:
        with torch.no_grad():
            made.weight.fill_(value)
        average.update(made)
    expected = decay**4 * 7.0 + sum((1 - decay) * decay ** (3 - i) * v for i, v in enumerate(values))
    average.put_into(made)
    assert made.weight.item() == pytest.approx(expected, abs=1e-12)


def blobs() -> Task:
    random = generator(0)
    targets = torch.arange(3).repeat(20)
    images = torch.randn(60, 1, 4, 4, generator=random) + 2 * targets[:, None, None, None]
    return classification("blobs", "three blobs", images, targets)


def test_fit_keeps_the_average_and_resumes_it(tmp_path):
    task = blobs()

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))

    recipe = Recipe(epochs=3, batch=16, ema=0.8)
    plain, averaged, parts = network(), network(), network()
    seen = []
    hook = plain.register_forward_pre_hook(lambda module, _: seen.append(module[0].weight.detach().clone()))
    fit(plain, task, recipe.model_copy(update={"ema": 0.0}), seed=1)
    hook.remove()
    fit(averaged, task, recipe, seed=1)
    shadow = seen[0]
    for weight in [*seen[1:], plain[0].weight.detach()]:  # type: ignore[index]
        shadow = 0.8 * shadow + 0.2 * weight
    torch.testing.assert_close(averaged[0].weight.detach(), shadow)  # type: ignore[index]
    path = tmp_path / "fit.safetensors"
    fit(parts, task, recipe, seed=1, checkpoint=path, stop=lambda: True)
    again = network()
    fit(again, task, recipe, seed=1, checkpoint=path)
    for a, b in zip(again.state_dict().values(), averaged.state_dict().values(), strict=True):
        assert torch.equal(a, b)


# --- drop-path --------------------------------------------------------------------------------------

TWO = """
space two(classes = 3) {
  input x: [1, 4, 4]
  y = x -> conv(2, kernel = 3)
  z = sum(choose 2 of { (conv: conv(kernel = 1) | skip: identity | zero: zero)(t) for t in [y, y -> relu] })
  return z -> global_avgpool -> linear(classes)
}
"""


def test_drop_path_drops_whole_examples_and_keeps_the_mean():
    with seeded(3, "dropout"):
        dropped = drop_path(torch.ones(4000, 2, 3), 0.25)
    values = dropped.flatten(1)
    assert torch.equal(values, values[:, :1].expand_as(values))
    assert sorted(values.unique().tolist()) == pytest.approx([0.0, 4 / 3])
    # Four standard deviations of the share that stays.
    assert abs(float((values[:, 0] > 0).double().mean()) - 0.75) < 4 * math.sqrt(0.25 * 0.75 / 4000)


def test_only_candidates_are_dropped_and_only_in_training():
    space = pipeline.loads(TWO)
    for genotype in space.sample(0, 40):
        net = space.network(genotype)
        taken = [value for name, value in genotype.items() if isinstance(value, str)]
        sums = [s for s in net.architecture.steps if s.operation == "sum"]
        if not sums:
            continue
        assert len(net.paths.get(sums[0].id, ())) == taken.count("conv")
        x = torch.randn(8, 1, 4, 4)
        net.drop_path = 0.9
        net.eval()
        before = net(x)
        net.drop_path = 0.0
        assert torch.equal(net.train()(x), before)
        net.drop_path = 0.9
        changed = not torch.equal(net(x), before)
        assert changed == bool(net.paths)


def test_the_paths_of_darts_are_its_edges_without_identities():
    from nasdsl.resources import spaces

    space = pipeline.load(f"{spaces()}/darts.nas", layers=3, width=4)
    for genotype in space.sample(1, 5):
        net = space.network(genotype)
        ops = {name: taken for name, taken in genotype.items() if isinstance(taken, str)}
        reductions = sum(1 for name in ops if "reduction" in name)
        assert 0 < reductions < len(ops)
        dropped = sum(len(paths) for paths in net.paths.values())
        # Layers 1 and 2 of three are reductions. Every node adds two edges: 4 nodes x 2 edges x 3 layers.
        identities = 0
        for step in net.architecture.steps:
            if step.operation == "sum":
                identities += len(step.inputs) - len(net.paths.get(step.id, ()))
        skips = {
            kind: sum(taken == "skip_connect" for name, taken in ops.items() if kind in name)
            for kind in ("normal", "reduction")
        }
        assert dropped + identities == 24
        assert skips["normal"] <= identities <= skips["normal"] + 2 * skips["reduction"]


# --- auxiliary heads --------------------------------------------------------------------------------

TWO_HEADS = """
space heads(classes = 3, width = 2 | 4) {
  input x: [1, 4, 4]
  y = x -> conv(4, kernel = 3) -> relu
  aux = y -> global_avgpool -> linear(classes)
  logits = y -> conv(width, kernel = 3) -> global_avgpool -> linear(classes)
  return logits, aux
}
"""


def test_auxiliary_outputs_count_with_their_weight_in_training_alone():
    objective = Classification()
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    targets = torch.tensor([0, 1, 2, 0, 1])
    recipe = Recipe(auxiliary=0.4, smoothing=0.1)
    expected = objective.loss(a, targets, 0.1) + 0.4 * objective.loss(b, targets, 0.1)
    torch.testing.assert_close(training_loss(objective, (a, b), targets, recipe), expected)
    assert torch.equal(training_loss(objective, (a, b), targets, Recipe()), objective.loss(a, targets))
    assert first((a, b)) is a


def test_a_space_with_an_auxiliary_head_is_trained_and_evaluated_by_its_first_output():
    task, space = blobs(), pipeline.loads(TWO_HEADS.replace("width = 2 | 4", "width = 2"))
    task.check(space)
    heads = {}
    for auxiliary in (0.0, 0.4):
        net = space.network(space.sample(0))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.fill_(0.1)
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        fit(net, task, Recipe(epochs=1, batch=16, auxiliary=auxiliary, weight_decay=0.0), seed=0)
        moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
        heads[auxiliary] = moved
        result = evaluate(net, task.test, task.objective)
        with torch.no_grad():
            logits = net.eval()(*task.test.inputs)[0]
        assert result.metric == pytest.approx(float((logits.argmax(1) == task.test.targets).double().mean()))
    assert heads[0.0] < heads[0.4]
