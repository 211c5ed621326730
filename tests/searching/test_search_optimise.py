"""The switches of the table ``optimise``: they change what a search costs, and not what comes out of it."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl.diagnostics import NasError
from nasdsl.searching import SearchSettings, search
from nasdsl.searching.forecast import forecast_search
from nasdsl.searching.search import sharing_strategy
from nasdsl.supernet.optimise import Optimisations
from tests.searching.small import settings, space, task


@cache
def usual(strategy: str) -> Any:
    return outcome(settings(strategy))


def outcome(chosen: SearchSettings) -> tuple[dict[str, Tensor], dict[str, list[float]], dict[str, Any]]:
    """The weights, the probabilities, and the winner of a search in float64."""
    found = search(space(), chosen, task=task(torch.float64))
    assert found.supernet is not None
    return found.supernet.state_dict(), dict(found.probabilities), dict(found.genotype)


def assert_usual(chosen: SearchSettings) -> None:
    """The same as without any switch."""
    (weights, probabilities, winner), (others, other, their) = outcome(chosen), usual(chosen.strategy)
    assert winner == their and probabilities.keys() == other.keys()
    for name, value in others.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-12, atol=1e-12, msg=name)
    for name, row in other.items():
        assert probabilities[name] == pytest.approx(row, abs=1e-12)


SWITCHES = ["share=false", "ride=false", "in_place=false", "kernels=false"]
SWITCHES += ["fuse=same", "fuse=padded", "recompute=true", "compile=eager"]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("strategy", ["gdas", "darts"])
def test_a_switch_changes_no_result(strategy: str, switch: str) -> None:
    torch._dynamo.reset()
    assert_usual(settings(strategy, f"optimise.{switch}"))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("strategy", ["one_shot", "pc_darts", "drnas"])
def test_fusing_changes_no_result_where_several_candidates_run(strategy: str) -> None:
    assert_usual(settings(strategy, "optimise.fuse=padded"))


def test_what_is_set_is_told_at_the_start() -> None:
    told: list[dict[str, Any]] = []
    search(space(), settings("random"), task=task(), on_event=told.append)
    assert "optimise" not in told[0]
    chosen = settings("random", "optimise.recompute=true", "optimise.share=false")
    search(space(), chosen, task=task(), on_event=told.append)
    starts = [event for event in told if event["event"] == "start"]
    assert starts[1]["optimise"] == {"share": False, "recompute": True}


@pytest.mark.parametrize(
    ("assignments", "says"),
    [
        (["optimise.compile=inductr"], "torch has no backend `inductr`"),
        (["optimise.compile=cudagraphs"], "this search runs on `cpu`"),
        (["optimise.recompute=true", "optimise.ride=false"], "leave `optimise.ride` on"),
        (["optimise.fuse=same", "optimise.ride=false"], "leave `optimise.ride` on"),
        (["optimise.fuse=padded", "optimise.recompute=true"], "set one of them"),
    ],
)
def test_what_cant_be_had_is_said_before_there_is_a_folder(
    assignments: list[str], says: str, tmp_path: Any
) -> None:
    with pytest.raises(NasError) as caught:
        search(space(), settings("gdas", *assignments), task=task(), folder=tmp_path / "run")
    (found,) = caught.value.diagnostics
    assert found.code == "N968" and says in f"{found.message} {found.help}"
    assert not (tmp_path / "run").exists()


def test_a_backend_that_fails_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()

    def broken(graph: Any, inputs: Any) -> Any:
        raise OSError("no compiler here")

    # The package has a function of the module's name.
    module = sys.modules["nasdsl.searching.search"]
    monkeypatch.setattr(module, "usable", lambda settings, device: Optimisations(compile=broken))
    with pytest.raises(NasError) as caught:
        search(space(), settings("gdas", "optimise.compile=inductor"), task=task())
    assert [d.code for d in caught.value.diagnostics] == ["N968"]
    assert "`optimise.compile=inductor` can't compile this space here" in caught.value.diagnostics[0].message
    torch._dynamo.reset()


@pytest.mark.parametrize("strategy", ["gdas", "darts"])
def test_forecasts_know_the_switches(strategy: str) -> None:
    def total(*assignments: str) -> int:
        chosen = settings(strategy, *assignments)
        return forecast_search(space(), chosen, task(), sharing_strategy(space(), chosen)).activations

    # A path of so small a space gains nothing.
    assert total("optimise.recompute=true") < total("optimise.in_place=false") or strategy == "gdas"
    assert total("optimise.compile=inductor") == total("optimise.in_place=false")
