"""Searches and trainings on a GPU: the numbers of the CPU, and nobody waits in a step who needn't.

Most run on a device that is pretended (:mod:`tests.pretended`), those marked ``gpu`` on a real one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl.diagnostics import NasError
from nasdsl.pipeline import loads
from nasdsl.searching import STRATEGIES, search
from nasdsl.searching.interrupt import Stop
from nasdsl.searching.journal import Unkept
from nasdsl.searching.search import Search, SearchResult
from nasdsl.searching.steps import Steps
from nasdsl.searching.strategy import trains_supernet
from nasdsl.space.space import Space
from nasdsl.supernet.graphs import Captured, Pool
from nasdsl.training.objectives import Classification
from nasdsl.training.recipe import Recipe
from nasdsl.training.train import evaluate, fit
from tests.pretended import Broken, Machine, bare, pretended_gpu
from tests.searching.small import EDGES, assert_same_run, settings, task

CUDA = torch.device("cuda")
STATIC, CALLS = "optimise.static=on", "optimise.static=off"
STRATEGY_NAMES = sorted(name for name in STRATEGIES if trains_supernet(STRATEGIES.find(name)))
CASES: list[tuple[str, tuple[str, ...]]] = [
    *((name, (CALLS,)) for name in STRATEGY_NAMES),
    ("gdas", (CALLS, "options.estimator=ones_for_others", "search.ghosts=3")),
    ("gdas", (STATIC,)),
    ("gdas", (STATIC, "options.estimator=ones_for_others", "search.ghosts=3")),
    ("advantage", (STATIC, "options.warmup=0.0")),
    ("fair", (STATIC, "batch_norm=batch")),
    ("darts", ("options.order=first", "optimise.recompute=true", "channels_last=false")),
    ("random", (CALLS, "search.crop=1", "search.flip=true", "search.cutout=2", "search.mixup=0.2")),
]
LABELS = [" ".join((name, *(a.partition(".")[2] for a in assignments))) for name, assignments in CASES]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def edges() -> Space:
    return loads(EDGES.replace("NONE", "skip: x -> identity"))


def run(device: str, strategy: str, assignments: Sequence[str], precision: str = "float32") -> SearchResult:
    chosen = settings(strategy, "search.epochs=1", *assignments)
    chosen = chosen.model_copy(update={"device": device, "precision": precision})
    return search(edges(), chosen, task=task(torch.get_default_dtype()))


def assert_alike(ours: SearchResult, theirs: SearchResult, tolerance: float) -> None:
    assert ours.genotype == theirs.genotype
    assert ours.supernet is not None and theirs.supernet is not None
    for own, other in zip(ours.supernet.parameters(), theirs.supernet.parameters(), strict=True):
        torch.testing.assert_close(bare(own).detach().cpu(), other.detach(), rtol=tolerance, atol=tolerance)
    for name, row in theirs.probabilities.items():
        assert ours.probabilities[name] == pytest.approx(row, rel=tolerance, abs=tolerance)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("strategy", "assignments"), CASES, ids=LABELS)
def test_a_search_is_the_one_of_the_cpu(strategy: str, assignments: tuple[str, ...]) -> None:
    with pretended_gpu() as machine:
        found = run("cuda", strategy, assignments)
        assert bool(machine.recorded) == (STATIC in assignments)
    assert_alike(found, run("cpu", strategy, (*assignments, "optimise.kernels=false")), 1e-12)


@pytest.mark.gpu
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("strategy", "assignments"), CASES, ids=LABELS)
def test_a_search_on_a_real_device_is_the_one_of_the_cpu(
    strategy: str, assignments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    assert_alike(run("cuda", strategy, assignments), run("cpu", strategy, assignments), 1e-6)


@pytest.mark.parametrize(
    ("strategy", "assignments", "precision"),
    [
        ("gdas", (CALLS,), "bfloat16"),
        ("gdas", (STATIC,), "bfloat16"),
        ("gdas", (STATIC,), "float16"),
        ("darts", ("options.order=first",), "float16"),
    ],
)
def test_fewer_bits_lead_about_there(strategy: str, assignments: tuple[str, ...], precision: str) -> None:
    with pretended_gpu():
        found = run("cuda", strategy, assignments, precision)
    expected = run("cpu", strategy, assignments)
    assert found.best.loss == pytest.approx(expected.best.loss, abs=0.05)


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process, which records anew, with momenta and the scale of its gradients as they were."""

    def go(folder: Path) -> None:
        chosen = settings("gdas", STATIC, "checkpoint_steps=3")
        chosen = chosen.model_copy(update={"device": "cuda", "precision": "float16"})
        with pretended_gpu():
            search(edges(), chosen, task=task(), folder=folder)

    go(tmp_path / "whole")
    step = Steps.weight_step

    def stopped(self: Steps, batch: Any, number: int, rate: float) -> None:
        if number == 5:
            raise KeyboardInterrupt
        step(self, batch, number, rate)

    with monkeypatch.context() as patched:
        patched.setattr(Steps, "weight_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "parts")
    go(tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


# --- waiting ------------------------------------------------------------------------------------------


def waits_of_steps(
    machine: Machine, strategy: str, *assignments: str
) -> tuple[Counter[str], Counter[str], Search]:
    """Of four weight steps and of four architecture steps, after two of each."""
    chosen = settings(strategy, "search.batch=16", *assignments)
    made = Search(edges(), task().to(CUDA), chosen, CUDA, Unkept(), lambda event: None, Stop())
    made.strategy.start_epoch(0, 2)
    order = made.batches.order("weights", made.batches.weights, 0)
    found: list[Counter[str]] = []
    for kind in ("weights", "architecture"):
        for step in range(6):
            if step == 2:
                machine.waits.clear()
            batch = made.batches.weights.take(order[0])
            if kind == "weights":
                made.steps.weight_step(batch, step, 0.1)
            elif made.strategy.learns:
                made.steps.architecture_step(batch, step, batch, 0.1)
        found.append(machine.waits.copy())
    return found[0], found[1], made


@pytest.mark.parametrize(
    ("strategy", "assignments", "most"),
    [
        ("random", (STATIC,), 0),
        ("spos", ("search.crop=1", "search.flip=true"), 0),
        ("one_shot", (), 0),
        ("gdas", (CALLS,), 2),  # the gradient of the logits, and the loss
        ("gdas", (STATIC, "search.crop=1", "search.cutout=2"), 2),
        ("darts", ("options.order=first",), 2),
    ],
)
def test_weight_steps_wait_for_nothing_and_architecture_steps_for_the_gradient(
    strategy: str, assignments: tuple[str, ...], most: int
) -> None:
    with pretended_gpu() as machine:
        weights, architecture, made = waits_of_steps(machine, strategy, *assignments)
        assert made.steps.weights.watch.totals().steps == 6
    assert not weights
    assert sum(architecture.values()) <= 4 * most


@pytest.mark.parametrize("switch", [CALLS, STATIC])
def test_one_that_waits_is_caught(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = Classification.metric

    def asks(self: Classification, outputs: Tensor, targets: Tensor) -> Tensor:
        assert float(outputs.sum().item()) < 1e9
        return metric(self, outputs, targets)

    monkeypatch.setattr(Classification, "metric", asks)
    with pretended_gpu() as machine:
        if switch == STATIC:
            with pytest.raises(NasError) as caught:
                waits_of_steps(machine, "random", switch)
            (found,) = caught.value.diagnostics
            assert found.code == "N969" and "_local_scalar_dense" in found.message
        else:
            weights, _, _ = waits_of_steps(machine, "random", switch)
            assert list(weights.values()) == [4] and "test_search_gpu.py" in next(iter(weights))


def test_statistics_are_estimated_again_without_waiting_at_each_norm() -> None:
    with pretended_gpu() as machine:
        chosen = settings("spos")
        made = Search(edges(), task().to(CUDA), chosen, CUDA, Unkept(), lambda event: None, Stop())
        machine.waits.clear()
        made.scorer.calibrate(edges().sample(0))
        assert not [
            why for why in machine.waits if "copy from the host" not in why
        ]  # the order of the examples
        norms = [m for m in made.supernet.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert {norm.num_batches_tracked.device.type for norm in norms} == {"cuda"}  # type: ignore[union-attr]


def test_training_waits_no_more_for_more_steps() -> None:
    found: list[int] = []
    for batch in (32, 8):
        with pretended_gpu() as machine:
            held = task().to(CUDA)
            network = edges().network(edges().sample(0)).to(CUDA)  # type: ignore[attr-defined]
            machine.waits.clear()
            recipe = Recipe(epochs=1, batch=batch, crop=1, flip=True, mixup=0.2, smoothing=0.1, ema=0.9)
            fit(network, held, recipe, seed=0, channels_last=True)
            found.append(machine.waits.total())
            assert evaluate(network, held.test, held.objective).metric > 0.2
    assert found[0] == found[1]


# --- recording ----------------------------------------------------------------------------------------


def test_a_recording_takes_what_was_copied_in_and_nothing_else() -> None:
    rate = 1.0
    with pretended_gpu():
        weight = torch.ones(3, device=CUDA)

        def double(x: Tensor) -> list[Tensor]:
            return [x * weight * rate]

        captured = Captured(double, [torch.zeros(3)], Pool(CUDA))
        rate = 2.0
        weight.fill_(3)
        (found,) = captured(torch.full((3,), 2.0).pin_memory())
        assert bare(found).tolist() == [6.0] * 3  # the new weight, but the rate that it was recorded with


@pytest.mark.parametrize("what", ["from the host", "of the host", "kept"])
def test_what_cant_be_recorded_is_caught(what: str) -> None:
    kept: list[Tensor] = []
    with pretended_gpu():
        ours = torch.ones(2)

        def step(x: Tensor) -> list[Any]:
            if what == "from the host":
                return [x + torch.tensor([1.0, 2.0], device=CUDA)]
            if what == "of the host":
                return [x + ours.to(x, non_blocking=True)]
            if len(kept) < 4:  # made anew until it was recorded
                kept.append(torch.zeros(2, device=CUDA))
            kept[-1].add_(x)
            return [kept[-1] * 1]

        if what == "kept":
            pool = Pool(CUDA)
            captured = Captured(step, [ours], pool)
            Captured(lambda x: [x * 2], [ours], pool)(ours)
            (found,) = captured(ours)
            assert bare(found).tolist() == [1.0, 1.0]  # and not 2, as if it had been kept from call to call
        else:
            with pytest.raises(Broken):
                Captured(step, [ours], Pool(CUDA))
