"""``nasdsl explain``: what a diagnostic code means, with an example that fails and one that passes."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from nasdsl.diagnostics import did_you_mean, failure

CODES = Path(__file__).with_name("codes.toml")


@dataclass(frozen=True)
class Explanation:
    """What a code means. ``fails`` and ``passes`` are ``.nas`` texts, or a command line where ``command`` is set."""

    code: str
    title: str
    text: str
    fails: str = ""
    passes: str = ""
    command: bool = False


@cache
def explanations() -> dict[str, Explanation]:
    """Every code that nasdsl prints, in order."""
    entries = tomllib.loads(CODES.read_text(encoding="utf-8"))
    return {
        code: Explanation(code, **entry)
        for code, entry in sorted(entries.items(), key=lambda entry: int(entry[0][1:]))
    }


def command(
    code: Annotated[
        str | None,
        typer.Argument(metavar="CODE", help="As a message shows it: N105. Without it, all are listed."),
    ] = None,
) -> None:
    """Explain a diagnostic code, with an example that fails and one that passes.

    Every message of nasdsl has one, in square brackets.

    Examples:

        nasdsl explain N105
        nasdsl explain
    """
    known = explanations()
    if code is None:
        for entry in known.values():
            print(f"{entry.code}  {entry.title}")
        return
    wanted = code.strip().upper()
    if wanted.isdigit():
        wanted = f"N{wanted}"
    if wanted not in known:
        help = did_you_mean(wanted, known) or "`nasdsl explain` lists them"
        raise failure("N987", f"no diagnostic has the code `{code[:40]}`", help=help)
    print(page(known[wanted]))


def page(entry: Explanation) -> str:
    """The explanation as text."""
    parts = [f"{entry.code}: {entry.title}", entry.text.strip()]
    if entry.fails:
        parts.append("This fails:\n\n" + _indent(entry.fails))
    if entry.passes:
        parts.append(("This passes:" if entry.fails else "To try:") + "\n\n" + _indent(entry.passes))
    return "\n\n".join(parts)


def _indent(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").splitlines())
