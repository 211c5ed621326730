"""Takes away the definitions and imports that a narrowed text does not use any more."""

from __future__ import annotations

import re

from nasdsl.diagnostics import Source
from nasdsl.language import syntax
from nasdsl.language.format import format_file
from nasdsl.language.modules import Module
from nasdsl.language.narrowing.tree import names_in, walk


def tidy(text: str, path: str, before: Module) -> str:
    """The canonical layout, without definitions and imports that nothing uses any more."""
    from nasdsl.language.parser import parse

    while True:
        source = Source(path, text)
        tree = parse(source)
        cut = _unused(tree, before)
        if not cut:
            return format_file(tree, source)
        for start, end in sorted(cut, reverse=True):
            text = text[:start] + text[end:]


def _unused(tree: syntax.File, before: Module) -> list[tuple[int, int]]:
    """The places of definitions and imports that were used before and are not any more."""
    once = {node.name for item in before.tree.items for node in walk(item) if isinstance(node, syntax.Name)}
    bodies: list[tuple[syntax.Define, set[str]]] = []
    used: set[str] = set()
    for item in tree.items:
        for node in item.body if isinstance(item, syntax.Space) else (item,):
            if isinstance(node, syntax.Define):
                bodies.append((node, names_in(node)))
            else:
                used |= names_in(node)
        if isinstance(item, syntax.Space):
            for parameter in item.parameters:
                used |= names_in(parameter)
    for define, names in bodies:
        # Its own name in its own body is no use of it.
        used |= names - {define.name}
    found: list[tuple[int, int]] = []
    text = tree.span.source.text
    for define, _ in bodies:
        if define.name not in used and define.name in once:
            found.append((_with_comments(text, define.span.start), define.span.end))
    for statement in tree.imports:
        kept = [n for n in statement.names if (n.alias or n.name) in used or (n.alias or n.name) not in once]
        if len(kept) == len(statement.names):
            continue
        if not kept:
            end = statement.span.end
            found.append((statement.span.start, end + (text[end : end + 1] == "\n")))
            continue
        for name in statement.names:
            if name not in kept:
                start, end = name.span.start, name.span.end
                after = re.match(r"\s*,\s*", text[end:])
                ahead = re.search(r",\s*$", text[:start])
                if after is not None:
                    end += after.end()
                elif ahead is not None:
                    start = ahead.start()
                found.append((start, end))
                break
    return found


def _with_comments(text: str, start: int) -> int:
    """Where the comments right above a definition begin: they are about it."""
    begin = text.rfind("\n", 0, start) + 1
    while begin > 0:
        above = text.rfind("\n", 0, begin - 1) + 1
        line = text[above : begin - 1].strip()
        if not line.startswith("#") or above == 0:
            break
        begin = above
    return begin
