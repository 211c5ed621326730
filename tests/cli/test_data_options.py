"""``--data`` on the command line: sizes set to fit, a run that records its data, and what is said where they don't fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import nasdsl as package
from nasdsl.cli import finished
from nasdsl.cli.app import app
from nasdsl.diagnostics import NasError
from tests.training.data_files import labels, pictures

SPACE = """space small(channels = 3, size = 8, width = 4, classes = 10) {
  input image: [channels, size, size]
  op first = conv(width, kernel = 3) | conv(width, kernel = 1)
  return image -> first -> batchnorm -> relu -> global_avgpool -> linear(classes)
}
"""
QUICK = ("--strategy", "random", "-c", "search.epochs=1", "-c", "options.candidates=2", "--threads", "1")


def nasdsl(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="nasdsl")
    return result.exit_code, result.output


def done(*arguments: object) -> str:
    code, out = nasdsl(*arguments)
    assert code == 0, out
    return out


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.nas").write_text(SPACE)
    write_images(tmp_path)
    return tmp_path


def write_images(folder: Path, seed: int = 0) -> None:
    np.savez(folder / "grey.npz", x=pictures(120, (6, 6), seed), y=labels(120, 4))


def test_a_search_and_a_training_on_data_of_ones_own(here: Path) -> None:
    out = done("search", "small.nas", "--data", "grey.npz", *QUICK, "-o", "run")
    assert "set to fit `grey`: channels = 1, size = 6, classes = 4" in out
    assert "24 of 120 examples are kept" in out
    assert "no --data" not in out
    settings = finished.read_settings(here / "run")
    assert settings.task == "grey" and settings.data.path == str(here / "grey.npz")
    assert settings.data.kind == "image" and settings.data.fingerprint and settings.data.split
    assert settings.parameters == {"channels": 1, "size": 6, "width": 4, "classes": 4}
    # The same command finds its end; nothing has to be said again to train.
    assert "the run is in run" in done("search", "small.nas", "--data", "grey.npz", *QUICK, "-o", "run")
    assert "on 24 examples" in done("train", "run", "--epochs", 1, "--threads", 1)
    assert "on 24 examples" in done("evaluate", "run", "--threads", 1)


def test_changed_data_are_told(here: Path) -> None:
    done("search", "small.nas", "--data", "grey.npz", *QUICK, "-o", "run")
    write_images(here, seed=1)
    code, out = nasdsl("search", "small.nas", "--data", "grey.npz", *QUICK, "-o", "run")
    assert code == 1 and "N930" in out and "`data.fingerprint` was" in out
    code, out = nasdsl("train", "run", "--epochs", 1)
    assert code == 1 and "N917" in out and "has changed since the run began" in out
    done("train", "run", "--epochs", 1, "-c", "data.fingerprint=", "-c", "data.split=", "--threads", 1)


def test_an_export_finds_data_that_has_moved(here: Path) -> None:
    done("search", "small.nas", "--data", "grey.npz", *QUICK, "-o", "run")
    done("train", "run", "--epochs", 1, "--threads", 1)
    (here / "grey.npz").rename(here / "moved.npz")
    code, out = nasdsl("export", "run", "--format", "onnx")
    assert code == 1 and "N915" in out
    out = done("export", "run", "--format", "onnx", "--data", "moved.npz", "-c", "data.test=0.1")
    assert "batches of held-out inputs" in out and (here / "run" / "export" / "model.onnx").is_file()
    # A text has no data of its own; with some its network is compared and measured on it.
    sizes = [word for size in ("channels=1", "size=6", "classes=4") for word in ("--set", size)]
    one = '{"first": "conv(width, kernel = 1)"}'
    out = done("export", "small.nas", *sizes, "-g", one, "--data", "moved.npz", "-o", "fresh")
    assert "batches of held-out inputs" in out
    code, out = nasdsl("export", "small.nas", "-g", one, "--data", "moved.npz", "-o", "other")
    assert code == 1 and "N912" in out and "`--set size=6`" in " ".join(out.split())


def test_data_are_loaded_in_python_as_on_the_command_line(here: Path) -> None:
    task = package.load_data("grey.npz", test=0.1)
    assert (len(task.train), len(task.test)) == (108, 12)
    assert task.sizes == {"channels": 1, "size": 6, "classes": 4} and task.name == "grey"
    task.check(package.load("small.nas", **task.sizes))
    with pytest.raises(NasError, match="N920"):
        package.load_data("grey.npz", tests=0.1)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--set", "size=8"], "N912", "say `--set size=6`"),
        (["--set", "classes=3"], "N913", "say `--set classes=4`"),
        (["--task", "digits"], "N918", "task `digits` brings its own data"),
        (["--task", "imags"], "N910", "did you mean `image`?"),
        (["--task", "table"], "N916", "nothing that is known as `table`"),
        (["-c", "data.tests=0.1"], "N920", "did you mean `data.test`?"),
        (["-c", "data.test=1.5"], "N921", "less than 1"),
    ],
)
def test_what_does_not_fit_is_told(here: Path, arguments: list[str], code: str, says: str) -> None:
    ended, out = nasdsl("search", "small.nas", "--data", "grey.npz", *QUICK, "-o", "run", *arguments)
    assert ended == 1 and code in out and says in " ".join(out.split())
    assert not (here / "run").exists()


def test_the_first_space_takes_images_of_ones_own(here: Path) -> None:
    np.savez(here / "photos.npz", x=pictures(60, (12, 12, 3)), y=labels(60, 4))
    out = done("search", "quickstart", "--data", "photos.npz", *QUICK, "-o", "run")
    assert "set to fit `photos`: channels = 3, size = 12, classes = 4" in out


SERIES = """space series(channels = 1, size = 16, classes = 10) {
  input series: [channels, size]
  return series -> conv(4, kernel = 3|5) -> batchnorm -> relu -> flatten -> linear(classes)
}
"""


def test_series_set_their_channels_and_size_as_images_do(here: Path) -> None:
    (here / "series.nas").write_text(SERIES)
    random = np.random.default_rng(0)
    np.savez(here / "beats.npz", x=random.normal(size=(60, 3, 50)), y=labels(60, 4))
    ask = ("search", "series.nas", "--data", "beats.npz", *QUICK, "-o", "run")
    code, out = nasdsl(*ask, "--set", "size=40")
    assert code == 1 and "N912" in out and "say `--set size=50`" in " ".join(out.split())
    assert "set to fit `beats`: channels = 3, size = 50, classes = 4" in done(*ask)
    # A length that stays free needs nothing to be set for it.
    assert package.load_data("beats.npz").sizes == {"channels": 3, "size": 50, "classes": 4}
    speech = ("search", "speech_1d", "--set", "width=4", "--data", "beats.npz", *QUICK, "-o", "speech")
    assert "set to fit `beats`: channels = 3, classes = 4" in done(*speech)


def test_a_fixed_size_is_answered_with_both_ways_out(here: Path) -> None:
    (here / "fixed.nas").write_text(SPACE.replace("[channels, size, size]", "[1, 8, 8]"))
    ended, out = nasdsl("search", "fixed.nas", "--data", "grey.npz", *QUICK, "-o", "run")
    assert ended == 1 and "declare it as `input image: [1, 6, 6]`, or resize the images" in " ".join(
        out.split()
    )
    done("search", "fixed.nas", "--data", "grey.npz", *QUICK, "-o", "run", "-c", "data.size=8")


def test_a_near_name_is_offered(here: Path) -> None:
    ended, out = nasdsl("search", "small.nas", "--data", "gray.npz")
    assert ended == 1 and "N915" in out and "did you mean `grey.npz`?" in out
