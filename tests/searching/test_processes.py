"""Several processes: they give what one gives, and say how they ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nasdsl.searching.processes import in_processes

ROOT = Path(__file__).parents[2]
# A spawned process imports what it runs: the work stands in a module of its own.
WORK = """
import os, signal, time

def shared():
    return 10

def fails(shared, item):
    if item == 3:
        raise ValueError("three")
    return item

def dies(shared, item):
    os.kill(os.getpid(), signal.SIGKILL)

def waits(shared, item):
    open(f"{os.getpid()}.pid", "w").close()
    time.sleep(100)
"""
MAIN = """
from nasdsl.diagnostics import NasError
from nasdsl.diagnostics.foreign import of_theirs
from nasdsl.searching.processes import in_processes
import sys, work

if __name__ == "__main__":
    try:
        list(in_processes(work.fails, work.shared, range(6), 2))
    except ValueError as error:
        print(error)
        print(of_theirs(error).diagnostics[0].span)
    try:
        list(in_processes(work.dies, work.shared, range(6), 2))
    except NasError as error:
        print(error.diagnostics[0].code)
"""


def test_one_process_calls_what_is_shared_once() -> None:
    calls: list[str] = []
    found = in_processes(lambda shared, item: (shared, item), lambda: calls.append("made"), [1, 2, 3], 1)
    assert [item for _, item in found] == [1, 2, 3] and calls == ["made"]
    assert list(in_processes(lambda shared, item: item, lambda: calls.append("again"), [], 4)) == []
    assert calls == ["made"]


def test_several_processes_fail_and_die(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "main.py").write_text(MAIN)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    line = WORK.splitlines().index('        raise ValueError("three")') + 1
    assert result.stdout.splitlines() == ["three", f"work.py:{line}:9", "N1024"], result.stderr
    assert "Traceback" not in result.stderr


def test_ctrl_c_ends_all(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "main.py").write_text(
        "import signal, work\n"
        "from nasdsl.searching.processes import in_processes\n"
        "if __name__ == '__main__':\n"
        # As in a terminal: a shell starts what runs in the background with Ctrl-C ignored.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    list(in_processes(work.waits, work.shared, range(2), 2))\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    process = subprocess.Popen(
        [sys.executable, "main.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        while len(list(tmp_path.glob("*.pid"))) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert said.count("Traceback") == 1 and "KeyboardInterrupt" in said
    for file in tmp_path.glob("*.pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.stem), 0)
