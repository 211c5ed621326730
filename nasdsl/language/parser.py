"""Text to syntax tree.

``nas.lark`` is the grammar, ``grammar.py`` holds lark's tables for it; this file leads the tokens through
them and picks the parser up again after a fault, so that one run reports several.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lark import Token
from lark.exceptions import UnexpectedToken
from lark.parsers.lalr_analysis import Shift
from lark.parsers.lalr_parser_state import ParseConf, ParserState

from nasdsl.diagnostics import Diagnostic, NasError, Note, Source, Span
from nasdsl.language import brackets, grammar, syntax, syntax_errors, unreadable
from nasdsl.language.fault import MAX_COMPLAINTS, Complaint, Fault
from nasdsl.language.tokens import CLOSER, END, OPENER, Tokens, make
from nasdsl.language.tree_builder import TreeBuilder

NESTING = 200
CHAIN = 1000
# What one level of nesting puts on the parser's stack at most, with room to spare.
_STACK_A_LEVEL = 40
_PARTS_A_LEVEL = 5


def parse(source: Source, *, nesting: int = NESTING, chain: int | None = None) -> syntax.File:
    """The syntax tree of a source, or a :class:`NasError` with every fault of syntax that was found.

    ``nesting`` bounds brackets in brackets, bodies in bodies, `else if` after `else if` and the like;
    ``chain`` bounds every path from the root of the tree to a leaf, as in ``a + b + c + …``, and leaves room for
    what is nested.

    >>> parse(Source("mine.nas", "op act = relu | gelu")).items[0].name
    'act'
    """
    chain = chain if chain is not None else max(CHAIN, _PARTS_A_LEVEL * nesting)
    tokens, complaints = _readable_tokens(source)
    _check_brackets(tokens, nesting)
    if brackets.unmatched(tokens):
        tokens, said = brackets.repair(tokens)
        complaints += said
        if brackets.unmatched(tokens):
            # Too many to guess at; what a parser would say about them helps nobody.
            raise NasError(*[complaint.diagnostic for complaint in _first_a_line(complaints, [])])
    file, said = _Run(tokens, nesting).file()
    complaints = _first_a_line(complaints, said)
    if complaints or file is None:
        raise NasError(*[complaint.diagnostic for complaint in complaints])
    _check_depth(file, nesting, chain)
    return file


def parse_text(text: str, path: str = "<text>") -> syntax.File:
    """:func:`parse` for a text that is no file."""
    return parse(Source(path, text))


def parse_expression(text: str, path: str = "<expression>") -> syntax.Expression:
    """The tree of an expression that stands for itself; its places are those in ``op _ = text``."""
    (definition,) = parse(Source(path, f"op _ = {text}")).items
    assert isinstance(definition, syntax.Define) and isinstance(definition.body, syntax.Expression)
    return definition.body


def read_tokens(source: Source) -> Tokens:
    """The tokens of a source, closed by one for its end; what cannot be read is replaced or left out."""
    return _readable_tokens(source)[0]


def _readable_tokens(source: Source) -> tuple[Tokens, list[Complaint]]:
    idle = grammar.parser().parse_interactive(source.text)
    items, complaints = unreadable.readable(source, idle.lexer_thread.lex(idle.parser_state))
    length = len(source.text)
    line, column = source.position(length)
    if items and items[-1].line == line:
        line += 1  # The end of the text is never on the line of a token.
    return Tokens(source, [*items, make(END, "", length, length, line, column)]), complaints


# --- faults ---------------------------------------------------------------------------------------


class _Run:
    """One reading of the tokens, with the parser's stacks."""

    def __init__(self, tokens: Tokens, nesting: int) -> None:
        self.tokens = tokens
        self.nesting = nesting
        self.complaints: list[Complaint] = []
        lark = grammar.parser()
        callbacks = lark._parse_tree_builder.create_callback(TreeBuilder(tokens.source))
        self.table = lark.parse_interactive("").parser_state.parse_conf.parse_table
        self.state: ParserState[Any] = ParserState(ParseConf(self.table, callbacks, "start"), None)  # type: ignore[arg-type]

    def file(self) -> tuple[syntax.File | None, list[Complaint]]:
        index = 0
        file: Any = None
        last = len(self.tokens) - 1
        feed, items, stack = self.state.feed_token, self.tokens.items, self.state.state_stack
        while index <= last:
            before = tuple(stack)
            if len(before) > self.nesting * _STACK_A_LEVEL:
                # Not only a matter of taste: these copies are what makes very deep texts slow.
                place = self.tokens.span(index)
                raise NasError(_too_deep(place, f"this is nested more than {self.nesting} deep"))
            try:
                file = feed(items[index], index == last)
                index += 1
            except UnexpectedToken:
                fault = Fault(self.tokens, index, self._accepts(before))
                self.complaints.append(Complaint(syntax_errors.explain(fault)))
                if len(self.complaints) >= MAX_COMPLAINTS:
                    break
                index = self._resume(index)
        return (None if self.complaints else file), self.complaints

    def _accepts(self, stack: tuple[int, ...]) -> frozenset[str]:
        """The kinds of token that can be shifted from a stack of states."""
        terminals = [kind for kind in self.table.states[stack[-1]] if kind.isupper()]
        return frozenset(kind for kind in terminals if self._shifts(list(stack), kind))

    def _shifts(self, stack: list[int], kind: str) -> bool:
        states = self.table.states
        while (step := states[stack[-1]].get(kind)) is not None:
            action, target = step
            if action is Shift:
                return True
            size = len(target.expansion)
            if size:
                del stack[-size:]
            stack.append(states[stack[-1]][target.origin.name][1])
            if kind == END and stack[-1] == self.state.parse_conf.end_state:
                return True
        return False

    def _resume(self, fault: int) -> int:
        """Unwinds the parser to the body that the next statement stands in; the statement's first token."""
        tokens = self.tokens
        for index in range(fault, len(tokens) - 1):
            if not tokens.starts_line(index):
                continue
            kind, around = tokens.kind(index), self._bodies_around(index)
            if around is None:
                continue
            if kind == "RBRACE" or tokens.begins_statement(index):
                self._unwind(around)
                if self._shifts(list(self.state.state_stack), kind):
                    return index
                if index > fault:
                    # Reported in its own right.
                    return index
        return len(tokens)

    def _bodies_around(self, index: int) -> list[int] | None:
        """The braces of the bodies around a token, outermost first, or None inside any other bracket.

        A closing brace counts as inside the body that it closes.
        """
        around: list[int] = []
        opener = self.tokens.enclosing[index]
        if self.tokens.kind(index) == "RBRACE":
            opener = self.tokens.partner[index]
        while opener >= 0:
            if self.tokens.role(opener) != "body":
                return None
            around.append(opener)
            opener = self.tokens.enclosing[opener]
        return around[::-1]

    def _unwind(self, around: list[int]) -> None:
        """Pops the parser's stacks down to the innermost of these bodies, and opens those it never saw."""
        states, values = self.state.state_stack, self.state.value_stack
        seen = {id(value): position for position, value in enumerate(values)}
        keep, known = 0, 0
        for count, brace in enumerate(around, start=1):
            position = seen.get(id(self.tokens[brace]))
            if position is not None:
                keep, known = position + 1, count
        del states[keep + 1 :]
        del values[keep:]
        for brace in around[known:]:
            token = self.tokens[brace]
            header = self.tokens.headers.get(brace, "")
            words = {"SPACE": ("SPACE", "NAME"), "OP": ("OP", "NAME"), "CELL": ("OP", "NAME")}
            unknown = ("SPACE", "NAME") if brace == around[0] else ("IF", "NAME")
            for kind in words.get(header, unknown):
                if self._shifts(list(states), kind):
                    self.state.feed_token(Token.new_borrow_pos(kind, "_", token))
            if self._shifts(list(states), "LBRACE"):
                self.state.feed_token(token)


def _first_a_line(earlier: list[Complaint], parser: list[Complaint]) -> list[Complaint]:
    """One complaint a line where both have something to say: a mended token is no fault of the next."""

    def line(complaint: Complaint) -> int:
        span = complaint.diagnostic.span
        return span.source.position(span.start)[0] if span else 0

    strong = {line(complaint): complaint for complaint in reversed(earlier) if not complaint.weak}
    kept = list(strong.values()) + [complaint for complaint in parser if line(complaint) not in strong]
    for complaint in earlier:
        if complaint.weak:
            rivals = [other for other in kept if line(other) == line(complaint)]
            if all(other.diagnostic.code == "N001" for other in rivals):
                kept = [other for other in kept if other not in rivals] + [complaint]
    return sorted(kept, key=lambda c: c.diagnostic.span.start if c.diagnostic.span else 0)


# --- depth ----------------------------------------------------------------------------------------


def _check_brackets(tokens: Tokens, nesting: int) -> None:
    stack: list[Token] = []
    for token in tokens.items:
        if token.type in CLOSER:
            stack.append(token)
            if len(stack) > nesting:
                place = Span(tokens.source, token.start_pos or 0, token.end_pos or 0)
                first = Span(tokens.source, stack[0].start_pos or 0, stack[0].end_pos or 0)
                raise NasError(
                    _too_deep(place, f"brackets stand in each other more than {nesting} deep", first)
                )
        elif token.type in OPENER and stack:
            stack.pop()


def _too_deep(place: Span, message: str, first: Span | None = None) -> Diagnostic:
    notes = (Note(first, "the outermost one"),) if first else ()
    help_ = "give the inner parts names on lines of their own, or move the bound: `--limit nesting=1000`"
    return Diagnostic("N006", message, place, "this is one too many", notes, help_)


# What holds other things inside itself, in the eyes of someone who reads the text.
_NESTS = (
    syntax.Tuple,
    syntax.List,
    syntax.Call,
    syntax.Index,
    syntax.Choose,
    syntax.Negate,
    syntax.Not,
    syntax.IfExpression,
    syntax.For,
    syntax.If,
    syntax.Define,
    syntax.Space,
)


_LEAVES = frozenset(
    (
        "span",
        "name_span",
        "path_span",
        "operator_span",
        "name",
        "label",
        "doc",
        "text",
        "operator",
        "kind",
        "path",
    )
)
# The fields of each kind of node that may hold nodes.
_CHILDREN = {
    kind.__name__: tuple(f.name for f in fields(kind) if f.name not in _LEAVES)
    for kind in vars(syntax).values()
    if isinstance(kind, type) and issubclass(kind, syntax.Node)
}


def _check_depth(file: syntax.File, nesting: int, chain: int) -> None:
    """Bounds every path through the tree, so that whoever walks it by recursion comes back."""
    pending: list[tuple[syntax.Node, int, int]] = [(file, 0, 0)]
    while pending:
        node, nested, depth = pending.pop()
        nested += isinstance(node, _NESTS)
        depth += 1
        if nested > nesting:
            raise NasError(_too_deep(node.span, f"this is nested more than {nesting} deep"))
        if depth > chain:
            raise NasError(_too_deep(node.span, f"this expression has more than {chain} parts in a row"))
        for name in _CHILDREN[type(node).__name__]:
            value = getattr(node, name)
            for child in value if isinstance(value, tuple) else (value,):
                if isinstance(child, syntax.Node):
                    # A level takes a character at least, and a character makes three nodes at most.
                    length = child.span.end - child.span.start
                    if nested + length > nesting or depth + 3 * length > chain:
                        pending.append((child, nested, depth))
