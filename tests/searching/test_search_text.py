"""Searches on text: the state of the streams goes on from genotype to genotype, and through a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nasdsl import resources
from nasdsl.pipeline import load
from nasdsl.searching import search, settings_for
from nasdsl.searching.minibatches import Minibatches
from nasdsl.searching.steps import Steps
from tests.searching.small import assert_same_run
from tests.training.test_carried import text

RNN = {"hidden": 6, "embed": 6, "nodes": 2, "vocab": 7}


@pytest.mark.parametrize("strategy", ["gdas", "enas", "darts", "fair", "one_shot"])
def test_a_run_stopped_within_an_epoch_ends_as_one_that_was_not(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = load(Path(resources.spaces()) / "darts_rnn.nas", **RNN)
    quick: dict[str, tuple[str, ...]] = {
        "enas": ("options.updates=1", "options.samples=2", "options.hidden=4", "options.candidates=2"),
        "fair": (
            "options.population=2",
            "options.generations=1",
            "options.crossovers=1",
            "options.mutations=0",
        ),
        "one_shot": ("options.ghosts=2", "options.candidates=2"),
    }
    settings = settings_for(
        strategy,
        assignments=[
            "search.epochs=2", "search.batch=8", "search.lr=1", "search.dropout_hidden=0.2",
            "search.slowness=0.1", "checkpoint_steps=1", *quick.get(strategy, ()),
        ],
        seed=0,
        device="cpu",
    )  # fmt: skip
    whole = tmp_path / "whole"
    search(space, settings, task=text(), folder=whole)

    original, seen, states = Steps.minibatch_step, {"calls": 0}, []

    def stopping(self: Steps, *args: Any) -> None:
        seen["calls"] += 1
        if seen["calls"] == 3:
            raise RuntimeError("the power is gone")
        original(self, *args)
        states.append(dict(self.weights.carried.tensors()))

    monkeypatch.setattr(Steps, "minibatch_step", stopping)
    parts = tmp_path / "parts"
    with pytest.raises(RuntimeError, match="power"):
        search(space, settings, task=text(), folder=parts)
    assert states[-1] and any(bool(t.abs().sum() > 0) for t in states[-1].values())
    search(space, settings, task=text(), folder=parts)
    assert_same_run(whole, parts)


def test_the_halves_keep_states_of_their_own_and_each_pass_starts_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = load(Path(resources.spaces()) / "darts_rnn.nas", **RNN)
    settings = settings_for("gdas", assignments=["search.epochs=1", "search.batch=5"], seed=0, device="cpu")
    begun: list[tuple[bool, bool]] = []
    original = Steps.start_streams

    def seen(self: Steps, *, weights: bool, held_out: bool) -> None:
        begun.append((weights, held_out))
        original(self, weights=weights, held_out=held_out)
        if weights:
            assert not self.weights.carried.tensors()
        if held_out:
            assert not self.held_out.tensors()
        else:
            ours, theirs = self.weights.carried.tensors(), self.held_out.tensors()
            assert ours.keys() == theirs.keys() and not all(torch.equal(ours[k], theirs[k]) for k in ours)

    monkeypatch.setattr(Steps, "start_streams", seen)
    task = text()
    search(space, settings, task=task)
    assert task.validation is not None
    steps, other = len(task.train) // 5, len(task.validation) // 5
    assert begun == [(i == 0, i % other == 0) for i in range(steps)]


def test_without_scans_a_text_is_shuffled() -> None:
    settings = settings_for("random", assignments=["search.batch=20"], seed=0, device="cpu")
    orders = []
    for carried in (True, False):
        batches = Minibatches(text(), settings, torch.device("cpu"), carried=carried)
        orders.append(batches.order("weights", batches.weights, 0))
    assert [b.tolist() for b in orders[0][:2]] == [list(range(s, 124, 6))[:20] for s in (0, 1)]
    assert orders[1][0].tolist() != sorted(orders[1][0].tolist())
