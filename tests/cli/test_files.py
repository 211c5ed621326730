"""Finding, reading and writing files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nasdsl import resources
from nasdsl.cli import files
from nasdsl.diagnostics import Diagnostic, NasError


def fault(call: object, *arguments: object, **named: object) -> Diagnostic:
    with pytest.raises(NasError) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    [diagnostic] = caught.value.diagnostics
    return diagnostic


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.nas"
    path.write_text("")
    assert files.find_space(str(path)) == path


@pytest.mark.parametrize("name", ["darts", "darts.nas"])
def test_a_space_that_ships_needs_no_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files.find_space(name) == resources.spaces() / "darts.nas"


def test_a_file_beside_comes_before_one_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("darts.nas").write_text("")
    assert files.find_space("darts.nas") == Path("darts.nas")


def test_every_space_that_ships_is_named() -> None:
    assert {"quickstart", "nasbench201", "darts", "ofa_mobilenetv3"} <= set(files.shipped_spaces())
    assert "cifar" not in files.shipped_spaces()


def test_a_missing_file_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_space.nas").write_text("")
    assert fault(files.find_space, "my_spaec.nas").help == "did you mean `my_space.nas`?"
    assert fault(files.find_space, "quikstart").help == "did you mean `quickstart`?"
    assert fault(files.find_space, "spaces/quickstart.nas").help == "did you mean `quickstart`?"
    assert "quickstart" in (fault(files.find_space, "something_else").help or "")
    # What lies in this folder is not what was meant in another one.
    missing = fault(files.find_space, "no/such/my_space.nas")
    assert missing.code == "N980"
    assert "no/such/my_space.nas" in missing.message
    assert missing.help == "there is no folder `no/such`"


def test_a_missing_run_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/mine", "runs/no_run"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.toml").write_text("")
    for name, help in (
        ("runs/mien", "did you mean `runs/mine`?"),
        ("runs/no_ru", "`nasdsl runs runs` lists those that there are"),
        ("rums/mine", "there is no folder `rums`"),
    ):
        missing = fault(files.check_run, name)
        assert (missing.code, missing.message, missing.help) == ("N980", f"no run `{name}`", help)
    for name in ("runs/mine", "quickstart", "runs/mine.nas"):
        files.check_run(name)


def test_a_folder_names_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.nas").write_text("")
    folder = fault(files.find_space, str(tmp_path))
    assert folder.code == "N981"
    assert "a.nas" in (folder.help or "")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", ""])
def test_names_that_no_file_can_have(name: str) -> None:
    assert fault(files.find_space, name).code in {"N980", "N981", "N982"}


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text("old")
    path.chmod(0o640)
    files.write_whole(path, "new\r\n")
    assert path.read_bytes() == b"new\r\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["graph.json"]


def test_writing_goes_through_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    files.write_whole(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = tmp_path / "mine.nas"
    space.write_text("space")
    assert "mkdir -p" in (fault(files.write_whole, tmp_path / "no" / "x.json", "").help or "")
    assert "is a folder" in fault(files.write_whole, tmp_path, "").message
    assert (
        "write over it" in fault(files.write_whole, tmp_path / "." / "mine.nas", "", not_over=space).message
    )

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert "no space left" in fault(files.write_whole, space, "new").message
    assert space.read_text() == "space"
    assert os.listdir(tmp_path) == ["mine.nas"]
