"""Several processes train one supernet as one process does that runs all their ghost batches."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nasdsl.searching import STRATEGIES
from nasdsl.searching.strategy import trains_supernet
from nasdsl.training.checkpoint import read_checkpoint
from tests.searching.killing import Server
from tests.searching.small import EDGES, events

SHARING = sorted(name for name, kind in STRATEGIES.items() if trains_supernet(kind))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def difference(ours: Path, theirs: Path) -> float:
    """The largest, over all weights, running statistics and probabilities. The winners are the same."""
    (tensors, about), (others, other) = read_checkpoint(ours), read_checkpoint(theirs)
    assert about["genotype"] == other["genotype"]
    assert tensors.keys() == others.keys() and about["probabilities"].keys() == other["probabilities"].keys()
    pairs = [(tensors[name], others[name]) for name in tensors]
    for name, values in about["probabilities"].items():
        pairs.append((torch.tensor(values), torch.tensor(other["probabilities"][name])))
    return max(float((a - b).abs().max()) for a, b in pairs)


def codes(answers: list[dict[str, Any]]) -> list[int]:
    return [answer["code"] for answer in answers]


def test_two_processes_are_one_with_two_ghost_batches_within_rounding(server: Server, tmp_path: Path) -> None:
    """With every strategy that trains a supernet, in float64; and the two hold the same bits."""
    two = server(ranks=2, folder=tmp_path / "two", strategies=SHARING, assignments=[])
    assert codes(two) == [0, 0], two
    ghosts = ["search.ghosts=2"]
    one = server(ranks=1, folder=tmp_path / "one", strategies=SHARING, assignments=ghosts)
    assert codes(one) == [0], one
    plain = server(ranks=1, folder=tmp_path / "plain", strategies=["gdas"], assignments=[])
    assert codes(plain) == [0], plain
    for strategy in SHARING:
        assert difference(tmp_path / f"two/{strategy}.0", tmp_path / f"two/{strategy}.1") == 0
        assert difference(tmp_path / f"two/{strategy}.0", tmp_path / f"one/{strategy}.0") < 1e-10
        ours, theirs = events(tmp_path / "two" / strategy), events(tmp_path / "one" / strategy)
        assert [e["event"] for e in ours] == [e["event"] for e in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a.keys() == b.keys() and a.get("loss") == pytest.approx(b.get("loss"), abs=1e-10)
    # Ghost batches are something else than one batch, so this can fail.
    weights = [read_checkpoint(tmp_path / f"{run}/gdas.0")[0] for run in ("one", "plain")]
    assert max(float((weights[0][n] - weights[1][n]).abs().max()) for n in weights[0]) > 1e-4


def test_two_processes_on_the_static_graph_are_one_off_it(server: Server, tmp_path: Path) -> None:
    given: dict[str, Any] = {"strategies": ["gdas"], "source": EDGES.replace("NONE", "none: zero(x)")}
    two = server(ranks=2, folder=tmp_path / "two", assignments=["optimise.static=on"], **given)
    assert codes(two) == [0, 0], two
    one = server(ranks=1, folder=tmp_path / "one", assignments=["search.ghosts=2"], **given)
    assert codes(one) == [0], one
    assert difference(tmp_path / "two/gdas.0", tmp_path / "two/gdas.1") == 0
    assert difference(tmp_path / "two/gdas.0", tmp_path / "one/gdas.0") < 1e-10


def test_a_dead_process_ends_the_run_and_what_was_kept_is_whole(server: Server, tmp_path: Path) -> None:
    run: dict[str, Any] = {
        "ranks": 2,
        "strategies": ["gdas"],
        "assignments": ["checkpoint_steps=2", "search.epochs=4"],
    }
    assert codes(server(folder=tmp_path / "whole", **run)) == [0, 0]
    for rank, step in ((1, 5), (0, 10)):
        ended = server(folder=tmp_path / "parts", fault=f"{rank}:{step}:dies", **run)
        assert ended[rank]["signal"] == signal.SIGKILL
        other = ended[1 - rank]
        assert other["code"] == 1 and "N1041" in other["said"], other
        assert "another process of this run has ended" in other["said"]
    assert codes(server(folder=tmp_path / "parts", **run)) == [0, 0]
    assert events(tmp_path / "parts" / "gdas") == events(tmp_path / "whole" / "gdas")
    assert difference(tmp_path / "parts/gdas.0", tmp_path / "whole/gdas.0") == 0


def test_with_another_number_of_processes_a_run_goes_on_and_says_so(server: Server, tmp_path: Path) -> None:
    run = {"folder": tmp_path, "strategies": ["gdas"], "assignments": ["checkpoint_steps=2"]}
    assert server(ranks=2, fault="1:5:dies", **run)[1]["signal"] == signal.SIGKILL
    (found,) = server(ranks=1, **run)
    assert found["code"] == 0
    assert found["warned"] == [["N933", "`ranks` was 2 when the run began and is 1 now: results may differ"]]


def test_who_does_not_answer_in_time_has_ended(server: Server, tmp_path: Path) -> None:
    run = {"folder": tmp_path, "strategies": ["gdas"], "assignments": []}
    first, second = server(ranks=2, fault="1:2:hangs", timeout=2, **run)
    assert first["code"] == second["code"] == 1
    assert "N1041" in first["said"] and "N1041" in second["said"]


def test_processes_that_come_to_differ_say_so(server: Server, tmp_path: Path) -> None:
    run = {"folder": tmp_path, "strategies": ["gdas"], "assignments": []}
    ended = server(ranks=2, fault="1:2:differs", **run)
    assert codes(ended) == [1, 1]
    assert all("N1042" in answer["said"] for answer in ended)
