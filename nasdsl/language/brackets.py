"""Brackets that do not match: where one is missing or too many, judged by the lines and their indentation.

A file whose brackets match is never looked at, however it is laid out. In one that does not match,
every place where the layout contradicts the brackets is a suspect; the repair of a suspect that
leaves the fewest brackets without a partner is taken, reported and applied, so that the parser
reads on as if the author had made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lark import Token

from nasdsl.diagnostics import Diagnostic, Note, Span
from nasdsl.language.fault import Complaint, mended
from nasdsl.language.tokens import BRACKETS, CLOSER, END, OPENER, OPERATORS, STATEMENT_WORDS, Tokens, make

MAX_REPAIRS = 20
_MAX_SUSPECTS = 40
# Tokens looked at in all; in a very large file the first suspect has to do.
_PATIENCE = 3_000_000
_HEADERS = frozenset((*(word.upper() for word in STATEMENT_WORDS), "ELSE", "CHOOSE"))


def unmatched(tokens: Tokens) -> int:
    """How many brackets are without a partner."""
    count = 0
    stack: list[str] = []
    open_ = dict.fromkeys(CLOSER, 0)
    for token in tokens.items:
        kind = token.type
        if kind in CLOSER:
            stack.append(kind)
            open_[kind] += 1
        elif kind in OPENER:
            if not open_[OPENER[kind]]:
                count += 1
                continue
            while (top := stack.pop()) != OPENER[kind]:
                open_[top] -= 1
                count += 1
            open_[top] -= 1
    return count + len(stack)


def repair(tokens: Tokens) -> tuple[Tokens, list[Complaint]]:
    """The tokens with matching brackets, and what had to be said about them."""
    complaints: list[Complaint] = []
    left = unmatched(tokens)
    patience = _PATIENCE
    while left and len(complaints) < MAX_REPAIRS:
        best: tuple[int, Tokens, _Suspect] | None = None
        for number, suspect in enumerate(_suspects(tokens)):
            candidate = suspect.repaired(tokens)
            rest = unmatched(candidate)
            if best is None or rest < best[0]:
                best = rest, candidate, suspect
            patience -= len(tokens)
            if rest == 0 or number > _MAX_SUSPECTS or patience < 0:
                break
        if best is None:
            break
        complaints.append(best[2].complaint(tokens))
        left, tokens = best[0], best[1]
    return tokens, complaints


@dataclass(frozen=True)
class _Suspect:
    """A place to insert (``kind`` before token ``index``) or to replace or drop (token ``index``)."""

    action: str  # insert, replace, drop
    index: int
    kind: str = ""
    opener: int | None = None

    def repaired(self, tokens: Tokens) -> Tokens:
        items = tokens.items
        if self.action == "drop":
            return Tokens(tokens.source, items[: self.index] + items[self.index + 1 :])
        if self.action == "replace":
            old = items[self.index]
            new = Token.new_borrow_pos(self.kind, BRACKETS[self.kind], old)
            return Tokens(tokens.source, [*items[: self.index], new, *items[self.index + 1 :]])
        before = items[self.index - 1]
        end = before.end_pos or 0
        new = make(self.kind, BRACKETS[self.kind], end, end, before.end_line or 0, before.end_column or 0)
        return Tokens(tokens.source, [*items[: self.index], new, *items[self.index :]])

    def complaint(self, tokens: Tokens) -> Complaint:
        if self.action == "insert":
            return self._missing(tokens)
        token, place = tokens[self.index], tokens.span(self.index)
        if self.action == "replace" and self.opener is not None:
            opener, closer = tokens[self.opener], BRACKETS[self.kind]
            return Complaint(
                Diagnostic(
                    "N002",
                    f"`{opener}` is closed by `{token}`",
                    place,
                    f"a `{closer}` belongs here",
                    (Note(tokens.span(self.opener), "this bracket opens here"),),
                    mended(place, closer),
                )
            )
        if token.type in CLOSER:
            first = Note(tokens.span(self.index - 1), "the first one")
            return Complaint(Diagnostic("N012", f"`{token}` stands twice", place, "once is enough", (first,)))
        partner = BRACKETS[OPENER[token.type]]
        return Complaint(
            Diagnostic(
                "N002",
                f"this `{token}` closes nothing",
                place,
                f"no open `{partner}` belongs to it",
                help=f"take it out, or write the `{partner}` that belongs to it",
            ),
            weak=True,
        )

    def _missing(self, tokens: Tokens) -> Complaint:
        text = BRACKETS[self.kind]
        if self.kind in CLOSER:
            place = tokens.after(self.index - 1)
            message = f"the body that ends with `{BRACKETS[CLOSER[self.kind]]}` has no `{text}`"
            return Complaint(
                Diagnostic(
                    "N002", message, place, f"`{text}` is missing here", help=mended(place, f" {text}")
                )
            )
        assert self.opener is not None
        place, help_ = tokens.after(self.index - 1), None
        new_line, one_line = (
            tokens.starts_line(self.index),
            tokens.line(self.opener) == tokens.line(self.index - 1),
        )
        if one_line:
            help_ = mended(place, text)
        elif new_line and tokens.kind(self.index) in ("RPAR", "RSQB"):
            start = tokens[self.index].start_pos or 0
            place = Span(tokens.source, start, start)
        elif new_line and self.kind == "RBRACE":
            place = _blank_line_after(place, tokens[self.index].start_pos or place.start)
            help_ = "close the body with `}` on a line of its own, below the word that opens it"
        return Complaint(
            Diagnostic(
                "N002",
                f"this `{tokens[self.opener]}` is never closed",
                place,
                f"`{text}` is missing here",
                (Note(tokens.span(self.opener), "this bracket opens here"),),
                help_,
            )
        )


def _blank_line_after(place: Span, limit: int) -> Span:
    """The empty line below a place, where a closing brace would stand, if there is one."""
    source = place.source
    number, _ = source.position(place.start)
    if number < len(source.line_starts) and not source.line(number + 1).strip():
        start = source.line_starts[number] + len(source.line(number + 1))
        if start <= limit:
            return Span(source, start, start)
    return place


@dataclass(frozen=True)
class _Open:
    index: int
    kind: str
    line: int
    indent: int


def _suspects(tokens: Tokens) -> Iterator[_Suspect]:
    """Those of the layout, each after the place on the same line at which the settings of a call end."""
    for suspect in _by_layout(tokens):
        arrow = _end_of_settings(tokens, suspect)
        if arrow is not None:
            yield replace(suspect, index=arrow)
        yield suspect


def _end_of_settings(tokens: Tokens, suspect: _Suspect) -> int | None:
    """The arrow in `conv(16, kernel = 3 -> relu`, before which the bracket was to be closed: what a setting is given, or
    a number, is piped into nothing."""
    opener = suspect.opener
    if suspect.action != "insert" or suspect.kind != "RPAR" or opener is None or opener == 0:
        return None
    if tokens.kind(opener - 1) != "NAME" or (
        opener > 1 and tokens.kind(opener - 2) in ("OP", "CELL", "SPACE")
    ):
        return None
    depth, setting = 0, False
    for index in range(opener + 1, suspect.index):
        kind = tokens.kind(index)
        if tokens.line(index) != tokens.line(opener):
            return None
        if kind == "ARROW" and not depth:
            return index if setting or tokens.kind(index - 1) == "NUMBER" else None
        depth += (kind in CLOSER) - (kind in OPENER)
        if not depth and kind in ("COMMA", "EQUAL"):
            setting = kind == "EQUAL"
    return None


def _by_layout(tokens: Tokens) -> Iterator[_Suspect]:
    stack: list[_Open] = []
    indent = 0
    for index, token in enumerate(tokens.items):
        kind = token.type
        if kind == END:
            break
        if tokens.starts_line(index):
            yield from _ends_of_line(tokens, index, stack)
            indent = token.column or 1
            while stack and stack[-1].indent >= indent and stack[-1].line < (token.line or 0):
                if kind in OPENER and stack[-1].kind == OPENER[kind] and stack[-1].indent == indent:
                    break
                if kind in OPENER and kind != "RBRACE" and stack[-1].kind == OPENER[kind]:
                    break
                # A line that stands as far to the left as the one that opened the bracket is outside it.
                yield _Suspect("insert", index, CLOSER[stack[-1].kind], stack[-1].index)
                stack.pop()
        if kind in CLOSER:
            if index > 0 and tokens.kind(index - 1) == kind and tokens.starts_line(index + 1):
                yield _Suspect("drop", index)
            stack.append(_Open(index, kind, token.line or 0, indent))
        elif kind in OPENER:
            yield from _closing(tokens, index, stack, indent)
    for left in reversed(stack):
        yield _Suspect("insert", len(tokens) - 1, CLOSER[left.kind], left.index)


def _ends_of_line(tokens: Tokens, index: int, stack: list[_Open]) -> Iterator[_Suspect]:
    """A round or square bracket left open by a line that reads as finished."""
    if not stack or index == 0:
        return
    yield from _open_parameters(tokens, index, stack)
    last, first = tokens.kind(index - 1), tokens.kind(index)
    header = len(stack) > 1 and stack[-2].kind != "LBRACE" and stack[-2].line == stack[-1].line
    if last == "LBRACE" and header and tokens.header_before(index - 1) != "CHOOSE":
        yield _Suspect("insert", index - 1, CLOSER[stack[-2].kind], stack[-2].index)
    if last in CLOSER or last in OPERATORS or last in ("COMMA", "EQUAL", "COLON"):
        return
    if first in OPENER or first == "COMMA":
        return
    top = stack[-1]
    if top.kind != "LBRACE" and top.line == tokens.line(index - 1):
        yield _Suspect("insert", index, CLOSER[top.kind], top.index)


def _open_parameters(tokens: Tokens, end: int, stack: list[_Open]) -> Iterator[_Suspect]:
    """`op name(x, stride = 1 = …` or `op name(x {`: parameters that run into the body."""
    for entry in stack[-2:]:
        definition = (
            tokens.kind(entry.index - 2) in ("OP", "CELL", "SPACE") and tokens.kind(entry.index - 1) == "NAME"
        )
        if entry.kind == "LPAR" and definition and entry.line == tokens.line(end - 1):
            bodies = [i for i in range(entry.index, end) if tokens.kind(i) == "EQUAL"][-1:]
            if tokens.kind(end - 1) == "LBRACE":
                bodies = [end - 1]
            for body in bodies:
                yield _Suspect("insert", body, "RPAR", entry.index)


def _closing(tokens: Tokens, index: int, stack: list[_Open], indent: int) -> Iterator[_Suspect]:
    kind, line = tokens.kind(index), tokens.line(index)
    opener = OPENER[kind]
    if stack and stack[-1].kind == opener:
        top = stack[-1]
        if kind == "RBRACE" and top.line != line:
            if tokens.starts_line(index) and top.indent < indent:
                yield from _missing_brace(tokens, index, top.index, indent)
                yield _Suspect("drop", index)
                return
            if not tokens.starts_line(index):
                yield _Suspect("drop", index)
        stack.pop()
        return
    if stack and stack[-1].line == line:
        yield _Suspect("replace", index, CLOSER[stack[-1].kind], stack[-1].index)
    depth = _innermost(stack, lambda entry: entry.kind == opener and (kind == "RBRACE" or entry.line == line))
    if depth is None and kind != "RBRACE":
        depth = _innermost(stack, lambda entry: entry.kind in (opener, "LBRACE"))
        if depth is not None and stack[depth].kind != opener:
            depth = None
    if depth is not None:
        top = stack[-1]
        end = index
        if top.line != line:
            # The bracket was to be closed on its own line.
            end = next(i for i in range(top.index, index + 1) if tokens.line(i) > top.line)
        yield _Suspect("insert", end, CLOSER[top.kind], top.index)
        yield _Suspect("drop", index)
        del stack[depth:]
        return
    if kind == "RBRACE" and tokens.starts_line(index):
        yield from _missing_brace(tokens, index, -1, indent)
    yield _Suspect("drop", index)


def _innermost(stack: list[_Open], wanted: Callable[[_Open], bool]) -> int | None:
    return next((depth for depth in range(len(stack) - 1, -1, -1) if wanted(stack[depth])), None)


def _missing_brace(tokens: Tokens, index: int, outer: int, indent: int) -> Iterator[_Suspect]:
    """The line above, as far in as the closing brace, that should have opened the body."""
    end = index
    for i in range(index - 1, outer, -1):
        if tokens.starts_line(i):
            first = tokens[i]
            if (first.column or 1) == indent and any(tokens.kind(j) in _HEADERS for j in range(i, end)):
                if tokens.kind(end - 1) != "LBRACE":
                    yield _Suspect("insert", end, "LBRACE")
                return
            if (first.column or 1) < indent:
                return
            end = i
