"""The pages that ``nasdsl explain`` prints and the manual shows: whole, true, and in the words of a person.

That every code has a page, and that the programs on it do what they say, is in ``tests/cli/test_explain.py``.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from nasdsl.cli.app import app
from nasdsl.cli.explain import Explanation, explanations, page
from nasdsl.language.syntax_errors import TITLES

ROOT = Path(__file__).parent.parent.parent
PAGES = explanations()
COMMANDS = [entry for entry in PAGES.values() if entry.command]
# What a few lines can't show: 201 brackets, a table of a million rows, a second file.
WITHOUT_EXAMPLE = {"N006", "N307", "N603"}
# Said about a space that compiles, by a command.
SAID_LATER = {
    "N108",
    "N502",
    "N504",
    "N505",
    "N506",
    "N510",
    "N511",
    "N512",
    "N513",
    "N514",
    "N515",
    "N516",
    "N707",
    "N708",
}


def named(entry: Explanation) -> str:
    return entry.code


@pytest.mark.parametrize("entry", PAGES.values(), ids=named)
def test_a_page_has_an_example(entry: Explanation) -> None:
    if entry.code in WITHOUT_EXAMPLE:
        return
    assert entry.passes
    if entry.code[1] in "0123457" and len(entry.code) == 4 and entry.code not in SAID_LATER:
        assert entry.fails and not entry.command


@pytest.mark.parametrize("entry", PAGES.values(), ids=named)
def test_a_page_is_a_title_and_sentences(entry: Explanation) -> None:
    assert entry.title[0] in "`#" or entry.title[0].islower() or entry.title.split()[0].isupper()
    assert not entry.title.endswith(".")
    assert len(entry.title) <= 80
    assert entry.text.strip().endswith(".") or entry.code in WITHOUT_EXAMPLE
    assert max(map(len, page(entry).splitlines())) <= 120


def test_titles_tell_pages_apart() -> None:
    titles = [entry.title for entry in PAGES.values()]
    assert len(set(titles)) == len(titles)


def test_the_parser_calls_its_codes_as_the_pages_do() -> None:
    assert {code: PAGES[code].title for code in TITLES} == TITLES


@pytest.mark.parametrize("entry", [entry for entry in COMMANDS if entry.fails], ids=named)
def test_a_command_that_fails_gives_the_code(
    entry: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spaces").symlink_to(ROOT / "spaces")
    program, *arguments = shlex.split(entry.fails)
    assert program == "nasdsl"
    result = CliRunner().invoke(app, arguments, prog_name="nasdsl")
    assert result.exit_code != 0
    assert f"[{entry.code}]" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("entry", [entry for entry in COMMANDS if entry.passes], ids=named)
def test_a_command_that_passes_is_one(entry: Explanation) -> None:
    """Its options are those of the command; most would take long to run."""
    for command in entry.passes.strip().split(" && "):
        program, *arguments = [
            word for word in shlex.split(command) if "=" not in word or word.startswith("{")
        ] or [""]
        if program != "nasdsl":
            continue
        arguments = shlex.split(command)[shlex.split(command).index("nasdsl") + 1 :]
        group = typer.main.get_command(app)
        context = group.make_context("nasdsl", list(arguments))
        name, found, rest = group.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[attr-defined]
        found.make_context(name, rest, parent=context)


def test_a_code_of_the_manual_stands_in_the_part_of_its_stage() -> None:
    text = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    stages: list[str] = []
    for part in text.split("\n## ")[1:]:
        codes = [line[4:] for line in part.splitlines() if line.startswith("### N")]
        (stage,) = {code[:-2] for code in codes}
        stages.append(stage)
    assert len(set(stages)) == len(stages)
    assert set(stages) == {code[:-2] for code in PAGES}
