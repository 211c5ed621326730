"""The manual says what is true: its spaces compile, its mistakes fail as it says, its Python and its commands run.

A fenced block says by its first line what it is:

============================ ===========================================================================
``nas``                      a file: its spaces compile without a warning; definitions alone are read
``nas body``                 the inside of a space with the inputs of ``BODY``
``nas bad N301``             fails with this code alone, or these (also ``nas bad N301 body``)
``nas file=mine.nas``        also saved beside the page's later blocks
``python``                   runs, after the blocks before it
``console``                  each line after ``$`` runs and prints what follows; ``…`` stands for anything
``console norun``            the commands are read, not run
``… from=tests/plugin/a.py`` not run here: stands so in that file, which has tests of its own
============================ ===========================================================================
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from nasdsl import pipeline
from nasdsl.diagnostics import Findings, NasError, Severity, Source
from nasdsl.language.modules import Loader

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GENERATED = ("operations.md", "diagnostics.md")
PAGES = sorted(path for path in DOCS.glob("*.md") if path.name not in GENERATED)

BODY = """\
space example(width = 16, classes = 10) {{
  input image: [3, 32, 32]
  input tokens: int[T]
  input vector: [64]
  input sequence: [T, 64]
{}
}}
"""


class Block(NamedTuple):
    page: str
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    @property
    def file(self) -> str | None:
        return next((mark.removeprefix("file=") for mark in self.marks if mark.startswith("file=")), None)

    @property
    def origin(self) -> str | None:
        return next((mark.removeprefix("from=") for mark in self.marks if mark.startswith("from=")), None)

    @property
    def program(self) -> str:
        return BODY.format(self.text.rstrip("\n")) if "body" in self.marks else self.text

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(path.name, line, match[1], tuple(match[2].split()), match[3])


BLOCKS = [block for path in PAGES for block in blocks_of(path)]
PROGRAMS = [block for block in BLOCKS if block.language == "nas"]
FROM_OPERATIONS = [block for block in blocks_of(DOCS / "operations.md") if block.language == "nas"]


def codes(program: str) -> list[str]:
    """The errors of a program; of one that compiles, its warnings."""
    try:
        if re.search(r"^space ", program, re.MULTILINE):
            return [d.code for d in pipeline.loads(program).warnings]
        findings = Findings()
        Loader(findings).load(Path.cwd() / "text.nas", Source("<text>", program))
        findings.raise_if_any()
        return []
    except NasError as fault:
        return [d.code for d in fault.diagnostics if d.severity is Severity.ERROR]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the spaces that ship, as in a checkout."""
    (tmp_path / "spaces").symlink_to(ROOT / "spaces")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize("block", [*PROGRAMS, *FROM_OPERATIONS], ids=str)
def test_programs_do_what_the_page_says(block: Block, folder: Path) -> None:
    for earlier in PROGRAMS:
        if earlier.page == block.page and earlier.line < block.line and earlier.file:
            (folder / earlier.file).write_text(earlier.text, encoding="utf-8")
    found = codes(block.program)
    if "bad" in block.marks:
        assert found == [mark for mark in block.marks if re.fullmatch(r"N\d{3,4}", mark)]
    elif "body" in block.marks:
        # Not every fragment reads every input, nor uses every definition.
        assert [code for code in found if not code.startswith("N7")] == []
    else:
        assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_python_and_commands_run(page: Path, folder: Path) -> None:
    names: dict[str, object] = {}
    for block in blocks_of(page):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        if block.language == "python" and "norun" not in block.marks and block.origin is None:
            script = folder / "block.py"
            script.write_text("\n" * block.line + block.text, encoding="utf-8")
            names = runpy.run_path(str(script), init_globals=names)
        elif block.language == "console":
            for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
                if "norun" in block.marks:
                    is_a_command(command)
                else:
                    prints(command, shown, block)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.origin], ids=str)
def test_what_is_shown_of_a_file_stands_in_it(block: Block) -> None:
    assert block.origin is not None
    assert block.text in (ROOT / block.origin).read_text(encoding="utf-8")


def prints(command: str, shown: str, block: Block) -> None:
    done = subprocess.run(
        ["bash", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    # An ellipsis stands for what is left out, within a line or whole lines.
    pattern = re.escape(shown.rstrip()).replace("…", "(?s:.*)")
    assert re.fullmatch(pattern, done.stdout.rstrip()), f"{block}: {command} prints\n{done.stdout}"


def is_a_command(line: str) -> None:
    """A command of nasdsl with options that it has."""
    from nasdsl.cli.app import app

    program, *arguments = shlex.split(line, comments=True)
    if program != "nasdsl":
        return
    group = typer.main.get_command(app)
    context = group.make_context("nasdsl", list(arguments))
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[attr-defined]
    assert command is not None
    command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_up_to_date(name: str, bless: bool) -> None:
    generate = runpy.run_path(str(DOCS / "generate.py"))
    text = generate["PAGES"][name]()
    if bless:
        (DOCS / name).write_text(text, encoding="utf-8")
    assert (DOCS / name).read_text(encoding="utf-8") == text, "run: python docs/generate.py"


def test_every_form_of_the_language_is_in_the_catalogue() -> None:
    from nasdsl.language.elaborate import BUILTINS

    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    for name in BUILTINS:
        assert re.search(rf"`{name}\(", page), name


@pytest.mark.parametrize("page", [*PAGES, *(DOCS / name for name in GENERATED)], ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    ):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings
            }, target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_lines_are_not_wider_than_the_code(page: Path) -> None:
    data = False  # inside a block of ``text``, whose lines are as wide as they are
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        data = line == "```text" or (data and line != "```")
        assert len(line) <= 120 or data or line.startswith("|"), f"{page.name}:{number}"
