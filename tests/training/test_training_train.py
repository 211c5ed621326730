from pathlib import Path

import pytest
import torch
from torch import nn

from nasdsl.diagnostics import NasError
from nasdsl.training.augment.crop import shift
from nasdsl.training.checkpoint import optimizer_tensors, read_checkpoint, restore_optimizer, write_checkpoint
from nasdsl.training.device import autocast, resolve_device
from nasdsl.training.optimizers import make_optimizer
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import generator, initialise
from nasdsl.training.tasks import Classification, Task, classification
from nasdsl.training.train import evaluate, fit


@pytest.fixture(scope="module")
def task() -> Task:
    random = generator(0)
    targets = torch.arange(3).repeat(40)
    images = torch.randn(120, 1, 4, 4, generator=random) + 2 * targets[:, None, None, None]
    return classification("blobs", "three blobs", images, targets)


def network(seed: int = 0) -> nn.Module:
    made = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(16, 3)
    )
    initialise(made, seed)
    return made


RECIPE = Recipe(epochs=3, batch=16, crop=1, smoothing=0.1)


def tensors(module: nn.Module) -> list[torch.Tensor]:
    return list(module.state_dict().values())


def test_it_learns_and_the_same_seed_gives_the_same_weights(task: Task):
    first, second, other = network(), network(), network()
    history = fit(first, task, Recipe(epochs=8, batch=16), seed=1)
    assert history[-1].loss < history[0].loss
    assert history[-1].lr < history[0].lr
    result = evaluate(first, task.test, task.objective)
    assert result.metric > 0.8
    assert result.examples == len(task.test)
    torch.manual_seed(99)  # nothing reads the global generator
    fit(second, task, Recipe(epochs=8, batch=16), seed=1)
    fit(other, task, Recipe(epochs=8, batch=16), seed=2)
    assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(other), strict=True))


def test_training_resumes_bit_for_bit(task: Task, tmp_path: Path):
    whole, parts = network(), network()
    expected = fit(whole, task, RECIPE, seed=1)
    path = tmp_path / "fit.safetensors"
    fit(parts, task, RECIPE, seed=1, checkpoint=path, stop=lambda: True)
    resumed = network(seed=7)  # what it starts from doesn't matter any more
    found = fit(resumed, task, RECIPE, seed=1, checkpoint=path)
    assert [e.loss for e in found] == [e.loss for e in expected]
    assert all(torch.equal(a, b) for a, b in zip(tensors(whole), tensors(resumed), strict=True))


def test_channels_last_learns_the_same_and_leaves_the_layout(task: Task):
    made = []
    for channels_last in (False, True):
        net = network().to(torch.float64)
        fit(net, task.to(dtype=torch.float64), RECIPE, seed=1, channels_last=channels_last)
        assert all(p.is_contiguous() for p in net.parameters())
        made.append(tensors(net))
    for a, b in zip(*made, strict=True):
        torch.testing.assert_close(a, b)


def test_divergence_is_noticed_at_its_step(task: Task):
    made = network()

    def poison(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        poison.calls += 1  # type: ignore[attr-defined]
        return output * float("nan") if poison.calls == 3 else output  # type: ignore[attr-defined]

    poison.calls = 0  # type: ignore[attr-defined]
    made.register_forward_hook(poison)
    with pytest.raises(NasError) as error:
        fit(made, task, RECIPE, seed=0)
    assert error.value.diagnostics[0].code == "N914"
    assert "at step 2" in error.value.diagnostics[0].message


def test_shifting_moves_images_by_whole_pixels_and_keeps_the_background():
    image = torch.full((1, 1, 5, 5), -2.0)
    image[0, 0, 2, 2] = 3.0
    seen = set()
    for seed in range(60):
        moved = shift(image, 1, generator(seed))
        (row, column) = (moved[0, 0] == 3.0).nonzero()[0].tolist()
        seen.add((row, column))
        assert int((moved == -2.0).sum()) == 24
    assert seen == {(r, c) for r in (1, 2, 3) for c in (1, 2, 3)}


def test_initialise_depends_on_the_seed_alone():
    a, b, c = network(0), network(0), network(1)
    assert torch.equal(a[0].weight, b[0].weight)  # type: ignore[index]
    assert not torch.equal(a[0].weight, c[0].weight)  # type: ignore[index]


def test_a_training_is_not_gone_on_with_by_another_network(task: Task, tmp_path: Path):
    path = tmp_path / "fit.safetensors"
    fit(network(), task, RECIPE, seed=1, checkpoint=path, stop=lambda: True)
    other = nn.Sequential(*network()[:5], nn.Linear(16, 3, bias=False))  # type: ignore[index]
    with pytest.raises(NasError) as error:
        fit(other, task, RECIPE, seed=1, checkpoint=path)
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == "N939"
    assert diagnostic.message == (
        f"checkpoint `{path}` holds the weights of another network: `5.bias` doesn't fit"
    )


def test_a_checkpoint_comes_back_and_a_damaged_one_is_refused(tmp_path: Path):
    path = tmp_path / "a" / "1.safetensors"
    write_checkpoint(path, {"w": torch.arange(6.0).reshape(2, 3)}, {"epoch": 3})
    found, state = read_checkpoint(path)
    assert torch.equal(found["w"], torch.arange(6.0).reshape(2, 3))
    assert state == {"epoch": 3}
    assert [p.name for p in path.parent.iterdir()] == ["1.safetensors"]
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(NasError) as error:
        read_checkpoint(path)
    assert error.value.diagnostics[0].code == "N935"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(NasError):
        read_checkpoint(path)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fused_steps_equal_plain_ones_also_where_gradients_are_missing(layout: torch.memory_format):
    recipe = Recipe(lr=0.1)
    made = []
    for fused in (True, False):
        torch.manual_seed(0)
        convs = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)]).to(memory_format=layout)  # type: ignore[call-overload]
        optimizer = (
            make_optimizer(recipe, convs.parameters())
            if fused
            else torch.optim.SGD(
                convs.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True, foreach=False
            )
        )
        for step in range(5):
            optimizer.zero_grad(set_to_none=True)
            x = convs[0](torch.randn(2, 3, 5, 5))
            (x if step < 2 else convs[1](x)).square().mean().backward()
            optimizer.step()
            if fused and step == 3:
                again = make_optimizer(recipe, convs.parameters())
                restore_optimizer(
                    again, {k: v.clone().contiguous() for k, v in optimizer_tensors(optimizer).items()}
                )
                optimizer = again
        made.append([p.detach() for p in convs.parameters()])
    for a, b in zip(*made, strict=True):
        torch.testing.assert_close(a, b)


def test_devices_and_precisions():
    assert resolve_device("cpu").type == "cpu"
    for bad in ("gpu", "cuda:x", "cuda:99"):
        with pytest.raises(NasError) as error:
            resolve_device(bad)
        assert error.value.diagnostics[0].code == "N900"
    with pytest.raises(NasError):
        autocast(torch.device("cpu"), "float23")
    with autocast(torch.device("cpu"), "bfloat16"):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16


def test_evaluation_is_the_mean_over_examples_whatever_the_batches(task: Task):
    made = network()
    large = evaluate(made, task.test, Classification(), batch=1000)
    small = evaluate(made, task.test, Classification(), batch=7)
    assert abs(large.loss - small.loss) < 1e-6
    assert large.metric == small.metric
    assert made.training
