"""The README says what is true: its spaces compile, its commands and its Python run, its tables hold."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nasdsl import pipeline, resources
from nasdsl.cli.app import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COUNTS = {
    name: int(count.replace(" ", ""))
    for name, count in re.findall(r"^\| `(\w+)` \|.*\| ([\d ]+) \|$", README, re.MULTILINE)
}


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


def run(line: str) -> str:
    """What a command prints on standard output; it has to end well."""
    program, *arguments = shlex.split(line, comments=True)
    assert program == "nasdsl", line
    result = CliRunner().invoke(app, arguments, prog_name="nasdsl")
    assert result.exit_code == 0, f"{line}\n{result.output}"
    return result.stdout


def test_the_table_of_spaces_is_whole() -> None:
    assert set(COUNTS) == {path.stem for path in resources.spaces().glob("*.nas")}


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_a_space_that_ships_has_the_count_of_the_table(name: str) -> None:
    assert pipeline.load(resources.spaces() / f"{name}.nas").count() == COUNTS[name]


def test_the_first_space_is_the_one_that_ships() -> None:
    assert blocks("nas")[0] == (resources.spaces() / "quickstart.nas").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", blocks("nas"))
def test_every_space_compiles(text: str) -> None:
    assert pipeline.loads(text).count() >= 1


def test_every_command_is_in_the_table() -> None:
    listed = re.findall(r"^\| `nasdsl (\w+)", README, re.MULTILINE)
    assert sorted(listed) == sorted(str(command.name) for command in app.registered_commands)


def test_what_is_linked_is_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_what_make_is_asked_for_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("block", blocks("console"))
def test_what_is_shown_is_what_is_printed(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    (tmp_path / "spaces").symlink_to(ROOT / "spaces")
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        # An ellipsis stands for lines that are left out.
        pattern = re.escape(shown.rstrip()).replace("…", "(?s:.*)")
        assert re.fullmatch(pattern, done.stdout.rstrip()), f"{command} prints\n{done.stdout}"


@pytest.mark.slow
def test_the_commands_and_the_python_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty folder with `mine.nas`, and in one epoch where something is trained."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.nas").write_text(blocks("nas")[0], encoding="utf-8")
    for block in blocks("sh"):
        for line in block.splitlines():
            if line.startswith(("nasdsl search", "nasdsl train")):
                run(line.partition("#")[0] + " --epochs 1")
            elif line.startswith("nasdsl "):
                run(line)
    short = {"epochs=30": "epochs=1", "epochs=20": "epochs=1"}
    namespace: dict[str, object] = {}
    for block in blocks("python"):
        for long, quick in short.items():
            block = block.replace(long, quick)
        exec(compile(block, "README.md", "exec"), namespace)
