"""What a search does where a loss is no number, or where memory runs out."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl import resources
from nasdsl.diagnostics import NasError
from nasdsl.pipeline import load
from nasdsl.searching import Path, search
from nasdsl.searching.exhausted import is_out_of_memory, out_of_memory
from nasdsl.searching.search import Search
from nasdsl.searching.steps import Steps
from nasdsl.training.step import Stepper
from tests.searching.small import assert_same_run, events, settings, space, task


def too_fast(monkeypatch: pytest.MonkeyPatch, step: int, largest: float) -> None:
    """Weight steps from the given one on are poisoned while the learning rate is above ``largest``."""
    original = Stepper.step

    def poisoned(self: Stepper, passes: Any, number: int, rate: float) -> None:
        if number >= step and rate > largest:
            with torch.no_grad():
                self.parameters[0].fill_(float("nan"))
        original(self, passes, number, rate)

    monkeypatch.setattr(Stepper, "step", poisoned)


ROLLING = ("on_divergence=rollback", "search.schedule=constant", "search.epochs=3")


@pytest.mark.parametrize("strategy", ["gdas", "darts", "enas"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_run_rolls_back_to_its_last_checkpoint_and_goes_on_more_slowly(
    strategy: str, kept: bool, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_fast(monkeypatch, step=6, largest=0.05 / 4)
    told: list[dict[str, Any]] = []
    folder = tmp_path if kept else None
    result = search(space(), settings(strategy, *ROLLING), task=task(), folder=folder, on_event=told.append)
    back = [e for e in told if e["event"] == "rollback"]
    assert [(e["number"], e["factor"]) for e in back] == [(1, 0.5), (2, 0.25)]
    assert {e["step"] for e in back} == {4} and "at step 6" in back[0]["why"]
    assert [e["lr"] for e in told if e["event"] == "epoch"] == pytest.approx([0.05, 0.0125, 0.0125])
    assert all(bool(p.isfinite().all()) for p in result.supernet.parameters())
    if kept:
        # What the folder tells is what happened, the epoch that was taken back left out.
        names = [e["event"] for e in events(tmp_path)]
        assert names[:6] == ["start", "epoch", "rollback", "rollback", "epoch", "epoch"]


def test_in_the_first_epoch_a_run_rolls_back_to_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    too_fast(monkeypatch, step=1, largest=0.04)
    told: list[dict[str, Any]] = []
    search(space(), settings("gdas", *ROLLING), task=task(), on_event=told.append)
    assert [(e["number"], e["step"]) for e in told if e["event"] == "rollback"] == [(1, 0)]


def test_a_run_that_was_killed_after_a_rollback_ends_as_if_it_had_not_been(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_fast(monkeypatch, step=6, largest=0.05 / 2)
    search(space(), settings("gdas", *ROLLING), task=task(), folder=tmp_path / "whole")

    class Killed(BaseException):
        pass

    original = Search.roll_back
    for before in (True, False):

        def dying(self: Search, diverged: Any, before: bool = before) -> None:
            if before:
                raise Killed
            original(self, diverged)
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(Search, "roll_back", dying)
            with pytest.raises(Killed):
                search(space(), settings("gdas", *ROLLING), task=task(), folder=tmp_path / "parts")
    search(space(), settings("gdas", *ROLLING), task=task(), folder=tmp_path / "parts")
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize(("given", "times"), [(("on_divergence=stop",), 0), (("rollbacks=2",), 2)])
def test_it_stops_where_that_is_wanted_or_going_back_was_no_use(
    given: tuple[str, ...], times: int, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_fast(monkeypatch, step=5, largest=0.0)
    with pytest.raises(NasError) as error:
        search(space(), settings("gdas", *ROLLING, *given), task=task(), folder=tmp_path)
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == "N914" and "at step 5, genotype" in diagnostic.message
    assert [e["event"] for e in events(tmp_path)].count("rollback") == times


def test_a_run_that_diverged_can_be_resumed_with_other_orders(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_fast(monkeypatch, step=6, largest=0.05 / 2)
    with pytest.raises(NasError):
        search(space(), settings("gdas", *ROLLING[1:]), task=task(), folder=tmp_path)
    search(space(), settings("gdas", *ROLLING, "checkpoint_steps=3"), task=task(), folder=tmp_path)
    assert [e["event"] for e in events(tmp_path)].count("rollback") == 1
    assert 'on_divergence = "rollback"' in (tmp_path / "config.toml").read_text()


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["gpu", "python", "cpu"],
)
def test_out_of_memory_says_what_would_fit(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Steps.outputs

    def exhausted(self: Steps, path: Path, *inputs: Tensor) -> Any:
        original(self, path, *inputs)
        raise fault

    monkeypatch.setattr(Steps, "outputs", exhausted)
    with pytest.raises(NasError) as error:
        search(space(), settings("darts", "search.batch=16"), task=task())
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == "N989"
    assert "out of memory at step 0, with a batch of 16" in diagnostic.message
    assert diagnostic.help is not None
    assert "`-c search.ghosts=2` runs a batch in as many parts" in diagnostic.help
    assert "`-c search.batch=8`" in diagnostic.help


def test_other_faults_are_not_taken_for_it() -> None:
    assert not is_out_of_memory(RuntimeError("shapes don't agree"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_out_of_memory_says_so_where_candidates_computed_twice_would_take_less() -> None:
    larger = load(resources.spaces() / "nasbench201.nas", cells=1, size=4, channels=1)

    def help(*assignments: str) -> str:
        chosen = settings("darts", "search.batch=8192", *assignments)
        (found,) = out_of_memory(larger, task(), chosen, torch.device("cpu"), 3).diagnostics
        assert found.help is not None
        return found.help

    assert "`-c optimise.recompute=true` takes about" in help()
    assert "recompute" not in help("optimise.recompute=true") and "recompute" not in help(
        "optimise.ride=false"
    )


def test_out_of_memory_on_the_static_graph_says_what_paths_alone_would_take() -> None:
    larger = load(resources.spaces() / "nasbench201.nas", cells=1, size=4, channels=1)
    chosen = settings("gdas", "search.batch=8192", "optimise.static=on")
    (found,) = out_of_memory(larger, task(), chosen, torch.device("cpu"), 3, static=True).diagnostics
    assert "`-c optimise.static=off` runs paths alone and takes about" in str(found.help)
