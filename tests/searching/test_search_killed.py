"""Killed at any moment, a run goes on and ends as if it had not been: with every strategy, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nasdsl.searching import STRATEGIES
from tests.searching.killing import ROOT, Server
from tests.searching.small import SOURCE, assert_same_run

EVERY = sorted(dict(STRATEGIES.items()))
KILLS = 5


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.mark.parametrize("strategy", EVERY)
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    strategy: str, server: Server, tmp_path: Path
) -> None:
    chance = random.Random(strategy)
    run = {"strategy": strategy, "assignments": ["checkpoint_steps=4"]}
    whole = server(folder=tmp_path / "whole", **run)
    assert whole["code"] == 0, whole
    kills = 0
    while kills < KILLS:
        folder = tmp_path / f"killed after {kills}"
        while True:
            if kills == KILLS - 1:
                found = server(folder=folder, seconds=chance.uniform(0.02, 0.3), **run)
            else:
                found = server(folder=folder, moment=chance.randint(1, whole["moments"] // 2), **run)
            if found["signal"] == 0:
                assert found["code"] == 0, found
                break  # it came to its end before
            assert found["signal"] == signal.SIGKILL
            kills += 1
            if kills == KILLS:
                break
        ended = server(folder=folder, **run)
        assert ended["code"] == 0, ended
        assert_same_run(folder, tmp_path / "whole")


@pytest.mark.parametrize("strategy", ["gdas", "enas", "spos"])
def test_a_run_that_is_asked_to_end_goes_on_as_if_it_had_not_been(
    strategy: str, server: Server, tmp_path: Path
) -> None:
    chance = random.Random(strategy)
    run = {"strategy": strategy, "assignments": []}
    whole = server(folder=tmp_path / "whole", **run)
    for number in (signal.SIGTERM, signal.SIGINT):
        moment = chance.randint(1, whole["moments"] // 3)
        found = server(folder=tmp_path / "parts", moment=moment, signal=number, **run)
        assert found["code"] == 1 and "the same command goes on" in found["said"], found
    assert server(folder=tmp_path / "parts", **run)["code"] == 0
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_command_that_is_killed_five_times_goes_on_when_it_is_typed_again(tmp_path: Path) -> None:
    """Each time at another moment after the start of the search, or before it."""
    (tmp_path / "digits.nas").write_text(
        SOURCE.replace("[1, 4, 4]", "[1, 8, 8]").replace("linear(2)", "linear(10)")
    )
    chance = random.Random(0)

    def command(folder: str) -> list[str]:
        given = ["search.epochs=4", "search.batch=128", "checkpoint_steps=2"]
        options = [word for text in given for word in ("-c", text)]
        return [
            sys.executable,
            "-m",
            "nasdsl",
            "search",
            "digits.nas",
            "--threads",
            "1",
            "-o",
            folder,
            *options,
        ]

    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command("whole"), cwd=tmp_path, env=environment, check=True, capture_output=True)
    events = tmp_path / "killed" / "events.jsonl"
    for lines in range(5):
        process = subprocess.Popen(
            command("killed"),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while process.poll() is None and not (events.exists() and events.read_bytes().count(b"\n") >= lines):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        _, said = process.communicate()
        assert process.returncode == -signal.SIGKILL, said
    subprocess.run(command("killed"), cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("strategy", ["gdas", "random"])
def test_a_full_disk_ends_a_run_with_a_word_and_leaves_what_was_there(
    strategy: str, server: Server, tmp_path: Path
) -> None:
    run = {"strategy": strategy, "assignments": ["checkpoint_steps=4"]}
    assert server(**run | {"folder": tmp_path / "whole"})["code"] == 0
    checkpoint = max((tmp_path / "whole" / "checkpoint").iterdir()).stat().st_size
    run["folder"] = tmp_path / "parts"
    full = []
    full.append(server(largest=100, **run))  # in the configuration
    assert server(moment=9, signal=signal.SIGKILL, **run)["signal"] == signal.SIGKILL
    full.append(server(largest=100, **run))  # in the first event
    full.append(server(largest=checkpoint // 2, **run))
    full.append(server(largest=checkpoint - 1, **run))  # in a later checkpoint, which has more to tell
    for found in full:
        assert found["code"] == 1 and "N936" in found["said"] and "can't write" in found["said"], found
    assert server(**run)["code"] == 0
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_two_processes_cannot_write_one_run_and_a_dead_one_holds_no_lock(
    server: Server, tmp_path: Path
) -> None:
    run = {"strategy": "gdas", "folder": tmp_path, "assignments": []}
    assert server(moment=9, signal=signal.SIGKILL, **run)["signal"] == signal.SIGKILL
    holder = server(moment=9, signal=signal.SIGSTOP, leave=True, **run)
    refused = server(**run)
    assert refused["code"] == 1 and "N931" in refused["said"]
    os.kill(holder["pid"], signal.SIGKILL)
    assert server(**run)["code"] == 0
