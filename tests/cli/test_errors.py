"""Every failure of a command becomes a message and an exit code."""

from __future__ import annotations

import linecache
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasdsl.cli import errors
from nasdsl.diagnostics import failure


def raising(fault: BaseException) -> Callable[[], None]:
    """A function that raises it in a file of nasdsl."""
    names: dict[str, Any] = {"fault": fault}
    exec(compile("def fail(): raise fault", errors.__file__, "exec"), names)
    found: Callable[[], None] = names["fail"]
    return found


def through_ours(function: Callable[[], Any]) -> Callable[[], None]:
    """A function that calls it from a file of nasdsl."""
    names: dict[str, Any] = {"function": function}
    exec(compile("def call(): function()", errors.__file__, "exec"), names)
    found: Callable[[], None] = names["call"]
    return found


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
    assert errors.run(raising(fault)) == code
    printed = capsys.readouterr()
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_a_fault_of_nasdsl_can_be_looked_into(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(errors.DEBUG, "1")

    assert errors.run(raising(ValueError("shape"))) == 70
    assert "Traceback" in capsys.readouterr().err


MINE = """\
import json

def größe(words):
    return words["größe"] + json.loads("{")

def data():
    return größe({"größe": ""})
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            MINE,
            """\
mine.py:4:29: error[N990]: your `mine.py` raised JSONDecodeError: Expecting property name enclosed in double quotes: \
line 1 column 2 (char 1)
   4 |     return words["größe"] + json.loads("{")
     |                             ^^^^^^^^^^^^^^^
     = help: mend it there; NASDSL_DEBUG=1 shows the traceback
""",
        ),
        (
            "def data():\n    return open('nowhere.csv')\n",
            """\
mine.py:2:12: error[N990]: your `mine.py` raised FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.csv'
   2 |     return open('nowhere.csv')
     |            ^^^^^^^^^^^^^^^^^^^
     = help: mend it there; NASDSL_DEBUG=1 shows the traceback
""",
        ),
        (
            "def data(:\n    pass\n",
            """\
mine.py:1:10: error[N990]: your `mine.py` raised SyntaxError: invalid syntax
   1 | def data(:
     |          ^
     = help: mend it there; NASDSL_DEBUG=1 shows the traceback
""",
        ),
    ],
)
def test_what_a_users_own_function_raises_is_told_as_theirs(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nasdsl.training.data import module

    (tmp_path / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert errors.run(lambda: print(module.read("mine:data"))) == 1
    assert capsys.readouterr().err == said
    sys.modules.pop("mine", None)
    # What nasdsl itself finds wrong with what they give stays ours.
    (tmp_path / "mine.py").write_text("def data():\n    return 3\n# another length\n")
    linecache.checkcache()
    assert errors.run(lambda: print(module.read("mine:data"))) == 1
    assert "error[N1013]" in capsys.readouterr().err
    sys.modules.pop("mine", None)


def test_a_function_that_was_named_is_the_users_wherever_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nasdsl.training.data import module

    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "their_data.py").write_text("def data():\n    return 1 / 0\n")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    assert errors.run(lambda: print(module.read("their_data:data"))) == 1
    assert (
        "their_data.py:2:12: error[N990]: your `their_data.py` raised ZeroDivisionError"
        in capsys.readouterr().err
    )
    # Reached in another way it is a library's, which nasdsl uses.
    found = sys.modules.pop("their_data").data
    assert errors.run(through_ours(found)) == 70


def test_code_that_a_library_wrote_elsewhere_is_the_librarys(tmp_path: Path) -> None:
    path = tmp_path / "generated.py"
    path.write_text("def run():\n    return 1 / 0\n")
    for name, code in (("pydantic.compiled", 70), ("generated", 1)):
        names: dict[str, Any] = {"__name__": name}
        exec(compile(path.read_text(), str(path), "exec"), names)
        assert errors.run(through_ours(names["run"])) == code


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
