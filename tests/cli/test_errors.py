"""Every failure of a command becomes a message and an exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nasdsl.cli import errors
from nasdsl.diagnostics import failure


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        (failure("N123", "no such thing", help="try another"), 1, "error[N123]: no such thing"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), 1, "can't use `x.csv`: no such file"),
        (OSError(28, "No space left on device", "runs/a"), 1, "make room"),
        (MemoryError(), 1, "more memory than this machine has"),
        (ValueError("shape"), 70, "error[N999]: nasdsl stumbled over itself: ValueError: shape"),
        (RecursionError("too deep"), 70, "N999"),
    ],
)
def test_a_failure_is_a_message(
    fault: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise fault

    assert errors.run(fail) == code
    printed = capsys.readouterr()
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_a_fault_of_nasdsl_can_be_looked_into(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(errors.DEBUG, "1")

    def fail() -> None:
        raise ValueError("shape")

    assert errors.run(fail) == 70
    assert "Traceback" in capsys.readouterr().err


def test_an_exit_code_passes_through() -> None:
    assert errors.run(lambda: sys.exit(2)) == 2
    assert errors.run(sys.exit) == 0
    assert errors.run(lambda: None) == 0


def test_a_reader_that_goes_away_is_no_fault() -> None:
    program = (
        "from nasdsl.cli import errors; import sys; sys.exit(errors.run(lambda: print('x' * 1_000_000)))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == errors.BROKEN_PIPE
    process.stderr.close()
