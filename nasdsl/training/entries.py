"""The entries of a TOML file, each with the place where it stands, so that a message can point at it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasdsl.diagnostics import Source, Span, failure

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_KEY = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_TABLE = re.compile(rf"\s*\[\s*({_KEY})\s*\]")
_ENTRY = re.compile(rf"\s*({_KEY})\s*=")
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True)
class Entry:
    """``key = value``, the key with its tables: ``training.lr``. ``span`` is where the key stands, None for an
    assignment on the command line."""

    key: str
    value: Any
    span: Span | None = None


def read_entries(path: Path) -> list[Entry]:
    """The entries of a TOML file in their order. Raises NasError N923 where it can't be read or is not TOML."""
    try:
        source = Source(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise failure("N923", f"can't read `{path}`: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise failure("N923", f"`{path}` is not text in UTF-8 (byte {error.start})") from None
    try:
        tables = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        text = str(error)
        words = _AT.sub("", text)
        raise failure(
            "N923", f"`{path}` is not TOML: {words[:1].lower()}{words[1:]}", None, _place(source, text)
        ) from None
    places = _places(source)
    return [Entry(key, value, _nearest(places, key)) for key, value in _flat(tables)]


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _places(source: Source) -> dict[str, Span]:
    """Where each key stands that begins a line, and each table. (A line inside a text of several lines may be taken for
    one; then a message points there, no more.)"""
    found: dict[str, Span] = {}
    prefix = ""
    for number, start in enumerate(source.line_starts, 1):
        line = source.line(number)
        if match := _TABLE.match(line):
            prefix = _plain(match[1]) + "."
            found.setdefault(prefix[:-1], Span(source, start + match.start(1), start + match.end(1)))
        elif match := _ENTRY.match(line):
            span = Span(source, start + match.start(1), start + match.end(1))
            found.setdefault(prefix + _plain(match[1]), span)
    return found


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _nearest(places: Mapping[str, Span], key: str) -> Span | None:
    """That of the key, or of the inline table that it stands in."""
    while key and key not in places:
        key = key.rpartition(".")[0]
    return places.get(key)


def _place(source: Source, message: str) -> Span:
    match = _AT.search(message)
    if match is None or match[1] is None:
        return Span(source, len(source.text), len(source.text))
    start = source.line_starts[int(match[1]) - 1] + int(match[2]) - 1
    return Span(source, start, min(start + 1, len(source.text)))
