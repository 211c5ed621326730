"""The words of a text: what the parser reads, and what its messages look back and forward on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from lark import Token

from nasdsl.diagnostics import Source, Span

CLOSER = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
OPENER = {closer: opener for opener, closer in CLOSER.items()}
BRACKETS = {"LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]", "LBRACE": "{", "RBRACE": "}"}

# Words that begin a statement or a declaration.
STATEMENT_WORDS = ("cell", "for", "from", "if", "input", "op", "require", "return", "shared", "space")
KEYWORDS = frozenset(
    (
        *STATEMENT_WORDS,
        "and",
        "as",
        "choose",
        "else",
        "false",
        "import",
        "in",
        "not",
        "of",
        "or",
        "then",
        "true",
    )
)

# Token types a value can begin and end with.
VALUE_STARTS = frozenset(
    ("NAME", "NUMBER", "STRING", "TRUE", "FALSE", "CHOOSE", "LPAR", "LSQB", "NOT", "MINUS")
)
VALUE_ENDS = frozenset(("NAME", "NUMBER", "STRING", "TRUE", "FALSE", "RPAR", "RSQB", "RBRACE"))
# Operators that want a value on both sides.
OPERATORS = frozenset(("ARROW", "PLUS", "MINUS", "TIMES", "COMPARISON", "DOTS", "VBAR", "AND", "OR", "IN"))
END = "$END"


def make(kind: str, text: str, start: int, end: int, line: int, column: int) -> Token:
    """A token that is not in the text as such."""
    return Token(kind, text, start, line, column, line, column + end - start, end)


class Tokens:
    """The tokens of a text in their order, the last one being its end; brackets know their partners."""

    def __init__(self, source: Source, items: Iterable[Token]) -> None:
        self.source = source
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Token:
        return self.items[index]

    def kind(self, index: int) -> str:
        """The type of a token, and that of the end for every place outside the text."""
        return self.items[index].type if 0 <= index < len(self.items) else END

    def span(self, first: int, last: int | None = None) -> Span:
        """The place of a token, or from one token to another."""
        end = self.items[first if last is None else last]
        return Span(self.source, self.items[first].start_pos or 0, end.end_pos or 0)

    def after(self, index: int) -> Span:
        """The place right behind a token, where something is missing."""
        end = self.items[index].end_pos or 0 if index >= 0 else 0
        return Span(self.source, end, end)

    def line(self, index: int) -> int:
        return self.items[index].line or 0

    def starts_line(self, index: int) -> bool:
        return index == 0 or self.line(index - 1) < self.line(index)

    def indent(self, index: int) -> int:
        """The column in which the line of a token begins."""
        while not self.starts_line(index):
            index -= 1
        return self.items[index].column or 1

    @cached_property
    def partner(self) -> dict[int, int]:
        """The closing bracket of an opening one and the other way round; unmatched ones are left out."""
        partner: dict[int, int] = {}
        stack: list[int] = []
        for index, token in enumerate(self.items):
            kind = token.type
            if kind in CLOSER:
                stack.append(index)
            elif kind in OPENER and stack and self.items[stack[-1]].type == OPENER[kind]:
                opener = stack.pop()
                partner[opener], partner[index] = index, opener
        return partner

    @cached_property
    def enclosing(self) -> list[int]:
        """For each token the bracket that it stands in, or -1; a bracket stands outside itself."""
        enclosing: list[int] = []
        stack = [-1]
        for index in range(len(self.items)):
            if index in self.partner and self.partner[index] < index:
                stack.pop()
            enclosing.append(stack[-1])
            if index in self.partner and self.partner[index] > index:
                stack.append(index)
        return enclosing

    def before_in_bracket(self, index: int) -> Iterable[int]:
        """The tokens before ``index`` in the same bracket, nearest first; closed brackets are leapt over."""
        index -= 1
        while index >= 0:
            if index in self.partner:
                if self.partner[index] > index:
                    return
                index = self.partner[index]
            yield index
            index -= 1

    def after_in_bracket(self, index: int) -> Iterable[int]:
        """The tokens from ``index`` on in the same bracket; brackets are leapt over, their closing end too."""
        while index < len(self.items) - 1:
            if index in self.partner and self.partner[index] < index:
                return
            yield index
            index = self.partner.get(index, index) + 1

    # --- the roles of brackets

    @cached_property
    def headers(self) -> dict[int, str]:
        """For each opening brace the word it belongs to: SPACE, OP, CELL, FOR, IF, ELSE, CHOOSE, or nothing."""
        headers: dict[int, str] = {}
        words: list[list[str]] = [[]]
        for index, token in enumerate(self.items):
            kind = token.type
            if kind in _HEADER_WORDS:
                words[-1].append(kind)
            elif index in self.partner and self.partner[index] > index:
                if kind == "LBRACE":
                    headers[index] = words[-1].pop() if words[-1] else ""
                words.append([])
            elif index in self.partner:
                words.pop()
                if kind == "RBRACE" and headers[self.partner[index]] != "CHOOSE":
                    words[-1].clear()
        return headers

    def header_before(self, index: int) -> str:
        """The word that a brace before this token would belong to."""
        for i in self.before_in_bracket(index):
            if self.kind(i) in _HEADER_WORDS:
                return self.kind(i)
            if self.kind(i) == "LBRACE" and self.headers.get(i) != "CHOOSE":
                break
        return ""

    def role(self, opener: int) -> str:
        """What a bracket is: call, parameters, list, index, group, choice, body, or file (no bracket)."""
        if opener < 0:
            return "file"
        kind, previous = self.kind(opener), self.kind(opener - 1)
        if kind == "LBRACE":
            return "choice" if self.headers.get(opener) == "CHOOSE" else "body"
        if kind == "LSQB":
            typed = "COLON" in (previous, self.kind(opener - 2))
            return "index" if previous in VALUE_ENDS and not typed else "list"
        if previous == "NAME" and self.kind(opener - 2) in ("OP", "CELL", "SPACE"):
            return "parameters"
        return "call" if previous in VALUE_ENDS else "group"

    def begins_statement(self, index: int) -> bool:
        """Whether a statement or declaration begins with this token, as far as its neighbours show."""
        kind = self.kind(index)
        if kind == "IF":
            # `if … then …` goes on with an expression.
            for i in self.after_in_bracket(index + 1):
                if self.kind(i) in ("THEN", "LBRACE", "IF"):
                    return self.kind(i) != "THEN"
            return True
        if kind != "NAME":
            return kind.lower() in STATEMENT_WORDS
        # NAME = …, NAME[…] = …, NAME, NAME = …
        i = index + 1
        while True:
            if self.kind(i) == "LSQB" and i in self.partner:
                i = self.partner[i] + 1
            if self.kind(i) == "EQUAL":
                return True
            if self.kind(i) != "COMMA" or self.kind(i + 1) != "NAME":
                return False
            i += 2


_HEADER_WORDS = frozenset(("SPACE", "OP", "CELL", "FOR", "IF", "ELSE", "CHOOSE"))
