"""The sandwich rule: what a step runs, who teaches whom, and that sub-networks get better by it."""

from __future__ import annotations

from pathlib import Path as FilePath

import pytest
import torch
from torch import nn

from nasdsl import resources
from nasdsl.diagnostics import NasError
from nasdsl.pipeline import load
from nasdsl.searching import search, settings_for
from nasdsl.searching.contract import small_space, small_task
from nasdsl.searching.sandwich import Sandwich, SandwichOptions
from nasdsl.space.space import Space
from nasdsl.training.distil import soft_targets
from nasdsl.training.objectives import Classification, NextToken, Regression, Several
from nasdsl.training.recipe import Recipe
from nasdsl.training.split import Split
from nasdsl.training.step import Pass, Stepper


def shipped(name: str, **parameters: int) -> Space:
    return load(FilePath(resources.spaces()) / f"{name}.nas", **parameters)


@pytest.mark.parametrize("name", ["mobilenet_small", "ofa_mobilenetv3", "quickstart"])
def test_a_step_has_the_largest_the_smallest_and_some_between(name: str) -> None:
    space = shipped(name)
    made = Sandwich(space, SandwichOptions(middle=3), 0)
    for _ in range(3):
        largest, smallest, *middle = made.paths()
        assert len(middle) == 3 and largest.teacher is None
        assert {path.teacher for path in (smallest, *middle)} == {0}
        assert {path.weight for path in (largest, smallest, *middle)} == {1.0}
        for path, wanted in ((largest, max), (smallest, min)):
            for choice_name, taken in path.genotype.items():
                choice = space.choice(choice_name)
                if choice.kind in ("number", "depth"):
                    assert choice.values[choice.labels.index(str(taken))] == wanted(choice.values)  # type: ignore[type-var]
        assert all(space.genotype(path.genotype) for path in middle)
        if name != "quickstart":
            big, small = (space.measure(path.genotype) for path in (largest, smallest))
            assert all(small.params <= space.measure(path.genotype).params <= big.params for path in middle)
    mean = Sandwich(space, SandwichOptions(middle=3, accumulate="mean", distil=False), 0).paths()
    assert {path.weight for path in mean} == {0.2} and {path.teacher for path in mean} == {None}


def test_a_pass_is_taught_by_an_earlier_one_without_a_gradient_for_it() -> None:
    torch.manual_seed(0)
    teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    both = nn.ModuleList([teacher, student])
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    batch = Split((x,), y)
    recipe = Recipe(lr=0.1, weight_decay=0.0, clip=0.0, batch=6)
    stepper = Stepper(both, recipe, Classification(), seed=0, device=torch.device("cpu"), batch=6)
    stepper.step([Pass(teacher, batch), Pass(student, batch, teacher=0)], 0, 0.0)
    found = [p.grad.clone() for p in both.parameters() if p.grad is not None]
    soft = teacher(x).softmax(1).detach()
    loss = nn.functional.cross_entropy(teacher(x), y) - (soft * student(x).log_softmax(1)).sum(1).mean()
    for mine, theirs in zip(found, torch.autograd.grad(loss, list(both.parameters())), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_soft_targets() -> None:
    outputs = torch.randn(4, 3, requires_grad=True)
    torch.testing.assert_close(soft_targets(Classification(), outputs), outputs.detach().softmax(1))
    assert torch.equal(soft_targets(Regression(), [outputs, outputs + 1]), outputs.detach())
    both = Several(("kind", "size"), (Classification(), Regression()), (1.0, 2.0))
    soft = soft_targets(both, [outputs, outputs + 1])
    torch.testing.assert_close(soft[0], outputs.detach().softmax(1))
    assert torch.equal(soft[1], outputs.detach() + 1)
    with pytest.raises(NasError, match="N967"):
        soft_targets(NextToken(), outputs)


def test_a_short_search() -> None:
    few = [
        "search.epochs=6", "search.batch=9", "options.population=4", "options.generations=2",
        "options.calibration=4",
    ]  # fmt: skip
    for about in ("numbers", "depths"):
        settings = settings_for("sandwich", preset="demo", assignments=few, device="cpu")
        found = search(small_space(about), settings, task=small_task())
        assert small_space(about).permits(found.genotype)
        assert found.best.metric > 0.4  # a third is chance
