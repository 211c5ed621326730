"""What ``python -m benchmarks.gpu`` tells: one chance on a borrowed machine is not to be lost to the telling."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import Report, arguments, end_group, head, speed_of, verdict


def test_a_stage_writes_into_the_file_that_is_open(tmp_path: Path) -> None:
    path = tmp_path / "gpu.txt"
    path.write_text("of another day\n")
    ours = Report(path, afresh=True)
    ours.tell("begun")
    Report(path).tell("a stage")
    ours.tell("ended")
    assert path.read_text().splitlines() == ["begun", "a stage", "ended"]


def test_a_fault_is_told_with_where_it_was(tmp_path: Path) -> None:
    report = Report(tmp_path / "gpu.txt")
    try:
        raise ValueError("no such kernel")
    except ValueError:
        report.failed("a step")
    told = (tmp_path / "gpu.txt").read_text()
    assert "a step failed" in told and "no such kernel" in told and "test_benchmark_gpu.py" in told


def test_goals_are_judged(tmp_path: Path) -> None:
    found = {
        "plain module": 9.0,
        "weight step, static graph": 2.0,
        "GDAS pair, calls one by one": 12.0,
        "GDAS pair, static graph": 6.0,
    }
    verdict(found, Report(tmp_path / "gpu.txt"))
    told = (tmp_path / "gpu.txt").read_text().splitlines()
    assert "4.50 times as fast" in told[0] and told[0].endswith("(goal 3: met)")
    assert "19.5 minutes (goal 10: MISSED)" in told[1]
    assert "9.8 minutes (goal 10: met)" in told[2]  # 97 500 pairs of 6 ms
    assert "pays here: yes" in told[3]


def test_the_speed_of_a_search_is_that_of_its_epochs_but_for_the_first_of_a_process(tmp_path: Path) -> None:
    kinds = [("start", 0), ("epoch", 50), ("epoch", 54), ("resume", 90), ("epoch", 120), ("epoch", 124)]
    events = [{"event": kind, "seconds": at, "loss": 1.0, "metric": 0.5} for kind, at in kinds]
    events[0] |= {"epochs": 250, "steps": 400}
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    told = speed_of(file)
    assert "4 epochs are done" in told and "4.00 seconds each, 10.00 ms a pair" in told
    assert "all 250 take 16.7 minutes" in told


def test_a_stage_that_is_none_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--stages", "check,serch"])
    assert "no stage serch" in capsys.readouterr().err


def test_the_head_says_what_it_was_taken_on() -> None:
    assert "nothing is recorded" in head(arguments(["--device", "cpu"]))[-1]


def test_a_stage_out_of_time_ends_with_all_that_it_started(tmp_path: Path) -> None:
    inner = "import time, pathlib, os; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    process = subprocess.Popen([sys.executable, "-c", outer], cwd=tmp_path, start_new_session=True)
    written = tmp_path / "pid"
    while not written.exists() or not written.read_text():
        time.sleep(0.02)
    end_group(process, wait=5)
    assert process.returncode is not None
    until = time.monotonic() + 10
    while _runs(int(written.read_text())) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _runs(int(written.read_text()))


def _runs(pid: int) -> bool:
    """Whether a process is there and no corpse."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
