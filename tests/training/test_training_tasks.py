from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nasdsl.diagnostics import NasError
from nasdsl.space.size import Size
from nasdsl.space.tensor import TensorType
from nasdsl.training import tasks
from nasdsl.training.cuts import stratified
from nasdsl.training.registry import Registry
from nasdsl.training.seeds import generator
from nasdsl.training.split import shuffled
from nasdsl.training.tasks import TASKS, load_task


def space(image: tuple[Any, ...], outputs: tuple[Any, ...], **parameters: int) -> Any:
    """As much of a space as a task looks at."""
    nodes = [
        SimpleNamespace(name="image", type=TensorType(image), span=None),
        SimpleNamespace(name="logits", type=TensorType(outputs), span=None),
    ]
    graph = SimpleNamespace(node=nodes.__getitem__)
    return SimpleNamespace(
        name="mine", graph=graph, inputs=(0,), outputs=(("logits", 1),), parameters=parameters
    )


def test_digits_are_all_there_stratified_and_standardised():
    task = load_task("digits")
    assert len(task.train) + len(task.test) == 1797
    assert abs(len(task.test) - 1797 / 5) < 1
    counts = torch.bincount(task.test.targets) / torch.bincount(
        torch.cat([task.train.targets, task.test.targets])
    )
    assert ((counts - 0.2).abs() < 0.005).all()
    images = task.train.inputs[0]
    assert images.shape[1:] == (1, 8, 8)
    assert abs(float(images.mean())) < 1e-5
    assert abs(float(images.std()) - 1) < 1e-5


def test_a_task_knows_how_its_inputs_were_normalised():
    from sklearn.datasets import load_digits

    task = load_task("digits")
    assert task.normalisation is not None
    (mean,), (std,) = task.normalisation.mean, task.normalisation.std
    grey = task.test.inputs[0] * std + mean
    assert torch.allclose(grey, grey.round(), atol=1e-4)
    stored = {image.tobytes() for image in load_digits().images.astype("uint8")}
    assert all(image.numpy().astype("uint8").tobytes() in stored for image in grey[:, 0].round())


def test_the_digits_are_those_of_scikit_learn_wherever_its_file_is(tmp_path, monkeypatch):
    from sklearn.datasets import load_digits

    read = tasks._digits()
    images, labels = load_digits(return_X_y=True)
    assert (read[:, :-1] == images).all() and (read[:, -1] == labels).all()
    elsewhere = ModuleSpec("sklearn", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(tasks, "find_spec", lambda name: elsewhere)
    assert (tasks._digits() == read).all()
    monkeypatch.setattr(tasks, "find_spec", lambda name: None)
    with pytest.raises(NasError, match="needs scikit-learn") as raised:
        load_task("digits")
    assert raised.value.diagnostics[0].code == "N911"


def test_the_test_part_is_always_the_same_and_the_halves_depend_on_the_seed_only():
    first, second = load_task("digits"), load_task("digits")
    assert torch.equal(first.test.inputs[0], second.test.inputs[0])
    a, b = first.halves(3)
    again, _ = second.halves(3)
    other, _ = first.halves(4)
    assert torch.equal(a.targets, again.targets) and torch.equal(a.inputs[0], again.inputs[0])
    assert not torch.equal(a.inputs[0], other.inputs[0])
    assert len(a) + len(b) == len(first.train) and abs(len(a) - len(b)) <= 1


def test_no_example_is_in_two_parts():
    targets = torch.tensor([0, 1, 2] * 7)
    first, second = stratified(targets, 0.5, generator(0))
    assert sorted(torch.cat([first, second]).tolist()) == list(range(21))
    assert abs(len(first) - len(second)) <= 1


def test_batches_are_full_and_cover_each_example_at_most_once():
    batches = shuffled(70, 32, generator(0), torch.device("cpu"))
    assert [len(b) for b in batches] == [32, 32]
    assert len(torch.cat(batches).unique()) == 64
    assert [len(b) for b in shuffled(5, 32, generator(0), torch.device("cpu"))] == [5]


@pytest.mark.parametrize(
    ("image", "outputs", "parameters", "code", "help"),
    [
        ((3, 32, 32), (10,), {}, "N912", "declare it as `input image: [1, 8, 8]`"),
        ((1, 8, 8), (100,), {"width": 100, "classes": 100}, "N913", "say `--set classes=10`"),
        ((1, 8, 8), (7,), {"labels": 7}, "N913", "say `--set labels=10`"),
        ((1, 8, 8), (7,), {}, "N913", "let the space return [10]"),
    ],
)
def test_a_space_that_does_not_fit_is_told_how_to(
    image: Any, outputs: Any, parameters: Any, code: str, help: str
):
    with pytest.raises(NasError) as error:
        load_task("digits").check(space(image, outputs, **parameters))
    (diagnostic,) = error.value.diagnostics
    assert (diagnostic.code, diagnostic.help) == (code, help)


def test_a_space_that_fits_passes_also_with_free_sizes():
    task = load_task("digits")
    task.check(space((1, 8, 8), (10,)))
    task.check(space((1, Size.free("H"), Size.free("W")), (10,)))


def test_an_unknown_task_gets_the_nearest_name():
    with pytest.raises(NasError) as error:
        load_task("digit")
    assert error.value.diagnostics[0].code == "N910"
    assert error.value.diagnostics[0].help == "did you mean `digits`?"


def test_a_clash_of_names_is_an_error():
    registry: Registry[int] = Registry("thing", "nasdsl.no-such-group", "N910")
    registry.add("a")(1)
    with pytest.raises(ValueError) as error:
        registry.add("a")(2)
    assert "already defined" in str(error.value)
    assert "digits" in TASKS
