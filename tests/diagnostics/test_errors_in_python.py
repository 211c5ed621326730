"""An error that reaches Python code says what the command line says of it: the place, the line and the help."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import nasdsl
from nasdsl.cli.app import app

TEXTS = {
    "place and help": "space a {\n  input x: [4]\n  return x -> linera(2)\n}\n",
    "two errors": "space a {\n  input x: [4]\n  return x -> linera(2) -> rleu\n}\n",
    "notes": "space a {\n  input x: [4, 8]\n  y = x -> transpose(1, 2)\n  return x + y\n}\n",
    "syntax": "space a {\n  input x: [4]\n  return x -> linear(2 -> relu\n}\n",
    "several lines of help": "op f = relu\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_its_text_is_what_check_prints(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.nas").write_text(text)
    with pytest.raises(nasdsl.NasError) as caught:
        nasdsl.load("a.nas")
    printed = CliRunner().invoke(app, ["compile", "a.nas"]).stderr
    assert str(caught.value) == printed.rstrip("\n")
    assert "\033" not in str(caught.value)


def test_a_traceback_ends_with_place_and_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.nas").write_text(TEXTS["place and help"])
    try:
        nasdsl.load("a.nas")
    except nasdsl.NasError as error:
        lines = "".join(traceback.format_exception(error)).splitlines()
    assert [line.rstrip() for line in lines[-4:]] == [
        f"{nasdsl.NasError.__module__}.NasError: a.nas:3:15: error[N105]: unknown operation `linera`",
        "   3 |   return x -> linera(2)",
        "     |               ^^^^^^ not defined here, nor imported",
        "     = help: did you mean `linear`?",
    ]


def unknown_strategy() -> object:
    return nasdsl.search(nasdsl.load("quickstart.nas"), strategy="gads")


def unknown_choice() -> object:
    return nasdsl.load("quickstart.nas").network({"widht": "16"})


@pytest.mark.parametrize(
    ("wrong", "help"), [(unknown_strategy, "did you mean `gdas`?"), (unknown_choice, "did you mean `width`?")]
)
def test_what_is_wrong_with_no_text_has_its_help(
    wrong: Callable[[], object], help: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent.parent / "spaces")
    with pytest.raises(nasdsl.NasError) as caught:
        wrong()
    assert f"= help: {help}" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
