"""The grammar as a parser: lark's tables for ``nas.lark``, computed once and kept beside it.

    python -m nasdsl.language.grammar     # after a change of the grammar: writes grammars/nas.json

Computing them takes lark as long as all else that ``nasdsl check`` does. It is done at the start where the tables that
are kept were made by another version of lark, or from another grammar.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from typing import Any

import lark
from lark import Lark, Token

from nasdsl import resources

# What lark asks for when it loads tables, and does not keep with them.
_GIVEN_AT_LOADING = ("postlex",)


class _KeepBadTokens:
    """Keeps the terminals that no rule takes, which lark would drop from the grammar."""

    always_accept = ("BAD_NUMBER", "BAD_NAME", "BAD_STRING", "BAD_CHARACTER")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@cache
def parser() -> Lark:
    """The parser of ``.nas`` files, from the kept tables where they fit."""
    kept = resources.grammars() / "nas.json"
    if kept.is_file():
        found = json.loads(kept.read_text(encoding="utf-8"), object_hook=_numbered)
        if found["made"] == _made():
            loaded: Lark = Lark._load_from_dict(found["data"], found["memo"], postlex=_KeepBadTokens())
            return loaded
    return computed()


def _made() -> str:
    """What the tables rest on."""
    return f"lark {lark.__version__}, grammar {sha256(_text().encode()).hexdigest()}"


def _text() -> str:
    return (resources.grammars() / "nas.lark").read_text(encoding="utf-8")


def computed() -> Lark:
    """The parser, from the grammar's text."""
    # The basic lexer: words are reserved everywhere, so a token is the same in every context.
    return Lark(
        _text(),
        parser="lalr",
        lexer="basic",
        keep_all_tokens=True,
        maybe_placeholders=False,
        postlex=_KeepBadTokens(),
    )


def tables() -> str:
    """What is kept: the grammar's tables as JSON."""
    saved = io.BytesIO()
    computed().save(saved, _GIVEN_AT_LOADING)
    # Plain lists and numbers; lark itself would keep them as a pickle.
    found = pickle.loads(saved.getvalue())
    return json.dumps({"made": _made(), **found}, separators=(",", ":"), sort_keys=True) + "\n"


def _numbered(entries: dict[str, Any]) -> dict[Any, Any]:
    """JSON has text alone as keys; lark's are numbers as well."""
    return {int(key) if key.isdigit() else key: value for key, value in entries.items()}


if __name__ == "__main__":
    (resources.grammars() / "nas.json").write_text(tables(), encoding="utf-8")
