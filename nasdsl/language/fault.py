"""What the rules of :mod:`nasdsl.language.syntax_errors` look at, and how their help lines show a line mended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from lark import Token

from nasdsl.diagnostics import Diagnostic, Span
from nasdsl.language.tokens import END, VALUE_ENDS, Tokens

# Beyond this many the rest of the messages helps nobody.
MAX_COMPLAINTS = 100


@dataclass(frozen=True)
class Complaint:
    """A diagnostic; a weak one gives way to what the parser says about the same line."""

    diagnostic: Diagnostic
    weak: bool = False


def mended(place: Span, replacement: str, lead: str = "write") -> str:
    """A help line with the line of ``place`` as it should be: ``replacement`` instead of the place.

    >>> from nasdsl.diagnostics import Source
    >>> source = Source("s.nas", "  y = conv(3 stride = 2)")
    >>> mended(Span(source, 12, 12), ",")
    'write `y = conv(3, stride = 2)`'
    """
    source = place.source
    number, column = source.position(place.start)
    line = source.line(number)
    before = line[: column - 1].lstrip()
    after = _COMMENT.sub("", line[column - 1 + place.end - place.start :]).rstrip()
    if before.endswith(" "):
        replacement = replacement.lstrip(" ")
    if after.startswith(" "):
        replacement = replacement.rstrip(" ")
    text = before + replacement + after
    if len(text) > _LONG:
        start = max(0, len(before) - _LONG // 2)
        start = text.find(" ", start) + 1 if start else 0
        end = start + _LONG
        text = ("… " if start else "") + text[start:end].rstrip() + (" …" if end < len(text) else "")
    return f"{lead} `{text}`"


_LONG = 90
_COMMENT = re.compile(r'\s#(?=[^"]*$).*$')


@dataclass(frozen=True)
class Fault:
    """The token at ``index``, which the parser cannot take, and the kinds of token it could have taken."""

    tokens: Tokens
    index: int
    accepts: frozenset[str]

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def kind(self) -> str:
        return self.tokens.kind(self.index)

    @property
    def previous(self) -> str:
        """The kind of the token before."""
        return self.tokens.kind(self.index - 1)

    @property
    def next(self) -> str:
        return self.tokens.kind(self.index + 1)

    @property
    def place(self) -> Span:
        return self.tokens.span(self.index)

    @property
    def before(self) -> Span:
        return self.tokens.span(self.index - 1) if self.index else self.place

    @property
    def gap(self) -> Span:
        """Where something is missing between the token before and this one."""
        return self.tokens.after(self.index - 1)

    @property
    def new_line(self) -> bool:
        return self.kind == END or self.tokens.starts_line(self.index)

    @property
    def wants_value(self) -> bool:
        return "CHOOSE" in self.accepts

    @property
    def after_value(self) -> bool:
        return self.previous in VALUE_ENDS and not self.wants_value and not self.after_body

    @property
    def after_body(self) -> bool:
        """Whether the token before closes a body."""
        opener = self.tokens.partner.get(self.index - 1, -1)
        return self.previous == "RBRACE" and self.tokens.role(opener) == "body"

    @cached_property
    def opener(self) -> int:
        """The bracket around the token, or -1; a closing bracket is inside what it closes."""
        partner = self.tokens.partner.get(self.index, self.index)
        return partner if partner < self.index else self.tokens.enclosing[self.index]

    @cached_property
    def inside(self) -> str:
        """What the bracket around the token is: call, parameters, list, index, group, choice, body or file."""
        return self.tokens.role(self.opener)

    @cached_property
    def head(self) -> int:
        """The token that begins the statement (or the part of a bracket) with the fault."""
        head = self.index
        for i in self.tokens.before_in_bracket(self.index):
            kind = self.tokens.kind(i)
            if kind == "RBRACE" and self.inside in ("body", "file"):
                break
            if kind == "LBRACE" and self.tokens.role(i) == "body":
                break
            head = i
            if self.tokens.starts_line(i) and self.tokens.begins_statement(i):
                break
        return head

    def text(self, index: int | None = None) -> str:
        token = self.token if index is None else self.tokens[index]
        return "the end of the file" if token.type == END else f"`{token}`"

    def comes(self, *kinds: str) -> bool:
        """Whether one of these follows on the line, in the same bracket."""
        line = self.tokens.line(self.index)
        for i in self.tokens.after_in_bracket(self.index):
            if self.tokens.line(i) > line:
                return False
            if self.tokens.kind(i) in kinds:
                return True
        return False

    def stands(self, *kinds: str, since: tuple[str, ...] = ()) -> int | None:
        """The nearest earlier token of these kinds in the same bracket and statement, up to one of ``since``."""
        for i in self.tokens.before_in_bracket(self.index):
            if self.tokens.kind(i) in kinds:
                return i
            if self.tokens.kind(i) in since or i == self.head:
                return None
        return None

    def operand_before(self) -> str:
        """The text of the value that ends right before the token."""
        last = first = self.index - 1
        while self.tokens.kind(first) in ("RPAR", "RSQB", "RBRACE") and first in self.tokens.partner:
            first = self.tokens.partner[first]
            if self.tokens.kind(first - 1) in VALUE_ENDS and self.tokens.kind(first) != "LBRACE":
                first -= 1
        return shortened(self.tokens.span(first, last))

    def operand_here(self) -> str:
        """The text of the value that begins with the token."""
        last = self.index
        if self.kind in ("LPAR", "LSQB", "LBRACE"):
            last = self.tokens.partner.get(last, last)
        while self.tokens.kind(last + 1) in ("LPAR", "LSQB") and last + 1 in self.tokens.partner:
            if self.tokens.kind(last) not in VALUE_ENDS:
                break
            last = self.tokens.partner[last + 1]
        return shortened(self.tokens.span(self.index, last))


def shortened(place: Span) -> str:
    text = " ".join(place.text.split())
    return text if len(text) <= 28 else f"{text[:26].rstrip()}…"
