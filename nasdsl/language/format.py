"""Syntax tree to text: one layout, without options.

What the author decides stays: blank lines (one at most), the lines of a pipe, of alternatives and of
brackets that were opened at the end of a line, bodies of one statement on one line, and comments.
The rest follows from the tree: spaces, redundant brackets, indentation, the alignment of labels,
and breaks where a line would grow longer than :data:`WIDTH`.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from nasdsl.diagnostics import Source, Span
from nasdsl.language import syntax
from nasdsl.language.tree_builder import exact

WIDTH = 120
_STEP = 2


def format_file(tree: syntax.File, source: Source) -> str:
    """The text of a file in the one layout, with the comments of ``source`` at their places.

    ``source`` is what the tree was parsed from; a tree made otherwise has no comments to keep.

    >>> from nasdsl.language.parser import parse
    >>> source = Source("mine.nas", "op act=(relu)|gelu # two")
    >>> print(format_file(parse(source), source), end="")
    op act = relu | gelu  # two
    """
    with _room_for_deep_trees():
        return _Layout(tree, source).text()


def format_expression(expression: syntax.Expression) -> str:
    """An expression on one line.

    >>> from nasdsl.language.parser import parse_expression
    >>> format_expression(parse_expression("x->conv( 2 * C,kernel=3|5 )"))
    'x -> conv(2*C, kernel = 3|5)'
    """
    with _room_for_deep_trees():
        return _flat(expression)


def number_text(value: Fraction) -> str:
    """A number as it is written in the language: whole, decimal where that is exact, else a quotient.

    >>> number_text(Fraction(3)), number_text(Fraction(7, 2)), number_text(Fraction(1, 3))
    ('3', '3.5', '1/3')
    """
    if value.denominator == 1:
        return str(value.numerator)
    digits, rest = 0, value.denominator
    while rest % 10 == 0:
        digits, rest = digits + 1, rest // 10
    while rest % 5 == 0:
        digits, rest = digits + 1, rest // 5
    while rest % 2 == 0:
        digits, rest = digits + 1, rest // 2
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    scaled = str(abs(value.numerator) * 10**digits // value.denominator).rjust(digits + 1, "0")
    whole, decimals = scaled[:-digits], scaled[-digits:].rstrip("0")
    return f"{'-' if value < 0 else ''}{whole}.{decimals}"


@contextmanager
def _room_for_deep_trees() -> Iterator[None]:
    """The parser bounds the depth of a tree (1 000), but Python's own bound for recursion is no higher."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


# --- on one line ----------------------------------------------------------------------------------

# How tightly an expression binds, loosest first; an operand that binds looser stands in brackets.
_EXPRESSION, _PIPED, _OR, _AND, _NOT, _COMPARISON, _RANGE, _SUM, _PRODUCT, _UNARY, _POSTFIX = range(11)


def _level(node: syntax.Expression) -> int:
    match node:
        case syntax.Alternatives():
            return _EXPRESSION
        case syntax.Pipe() | syntax.IfExpression():
            return _PIPED
        case syntax.Logical(operator="or"):
            return _OR
        case syntax.Logical():
            return _AND
        case syntax.Not():
            return _NOT
        case syntax.Compare():
            return _COMPARISON
        case syntax.Range():
            return _RANGE
        case syntax.Binary(operator="+" | "-"):
            return _SUM
        case syntax.Binary():
            return _PRODUCT
        case syntax.Negate():
            return _UNARY
    return _POSTFIX


def _flat(
    node: syntax.Expression, level: int = _EXPRESSION, inside: bool = False, tight: bool = False
) -> str:
    """``node`` on one line, where an operand of ``level`` is wanted.

    ``inside`` brackets, numbers to choose from stand close (``3|5``); ``tight`` are sums in indices
    and ranges (``n[i-1]``, ``0..i-1``).
    """
    own = _level(node)
    if own < level:
        return f"({_flat(node, _EXPRESSION, inside=True)})"
    match node:
        case syntax.Number():
            return node.text if node.text and exact(node.text) == node.value else number_text(node.value)
        case syntax.String():
            return f'"{node.value}"'
        case syntax.Boolean():
            return "true" if node.value else "false"
        case syntax.Name():
            return node.name
        case syntax.Tuple():
            return f"({_flat_items(node.items)})"
        case syntax.List():
            return f"[{_flat_items(node.items)}]"
        case syntax.Comprehension():
            clauses = " ".join(_flat_clause(clause) for clause in node.clauses)
            return f"{_flat(node.element, inside=True)} {clauses}"
        case syntax.Call():
            arguments = ", ".join(_flat_argument(argument) for argument in node.arguments)
            return f"{_flat(node.function, _POSTFIX, inside)}({arguments})"
        case syntax.Index():
            return f"{_flat(node.value, _POSTFIX, inside)}[{_flat(node.index, inside=True, tight=True)}]"
        case syntax.Rest():
            return (
                f"{_flat(node.value, _POSTFIX, inside)}[{_flat(node.start, _SUM, inside=True, tight=True)}..]"
            )
        case syntax.Negate():
            return f"-{_flat(node.operand, _UNARY, inside, tight)}"
        case syntax.Binary():
            return _flat_binary(node, own, inside, tight)
        case syntax.Range():
            return f"{_flat(node.low, _SUM, inside, True)}..{_flat(node.high, _SUM, inside, True)}"
        case syntax.Compare():
            return f"{_flat(node.left, _RANGE, inside)} {node.operator} {_flat(node.right, _RANGE, inside)}"
        case syntax.Not():
            return f"not {_flat(node.operand, _NOT, inside)}"
        case syntax.Logical():
            first, rest = _spine(node)
            parts = [_flat(first, own, inside)]
            parts += [f"{operator} {_flat(operand, own + 1, inside)}" for operator, operand in rest]
            return " ".join(parts)
        case syntax.Pipe():
            return " -> ".join(_flat(stage, _OR, inside) for stage in node.stages)
        case syntax.IfExpression():
            return (
                f"if {_flat(node.condition, _OR, inside)} then {_flat(node.then, _PIPED, inside)} "
                f"else {_flat(node.otherwise, _PIPED, inside)}"
            )
        case syntax.Alternatives():
            close = inside and all(a.label is None and isinstance(a.value, syntax.Number) for a in node.items)
            return ("|" if close else " | ").join(_flat_alternative(item, inside) for item in node.items)
        case syntax.Choose():
            items = ", ".join(_flat_alternative(item, True) for item in node.items)
            clauses = "".join(f" {_flat_clause(clause)}" for clause in node.clauses)
            return f"{_choose_head(node)} {{ {items}{clauses} }}"
    raise TypeError(f"no expression: {node!r}")


def _spine(
    node: syntax.Binary | syntax.Logical,
) -> tuple[syntax.Expression, list[tuple[str, syntax.Expression]]]:
    """``a + b - c`` as a and the pairs (+, b), (-, c): chains are long, recursion is not."""
    level = _level(node)
    rest: list[tuple[str, syntax.Expression]] = []
    first: syntax.Expression = node
    while isinstance(first, syntax.Binary | syntax.Logical) and _level(first) == level:
        rest.append((first.operator, first.right))
        first = first.left
    return first, rest[::-1]


def _flat_binary(node: syntax.Binary, own: int, inside: bool, tight: bool) -> str:
    first, rest = _spine(node)
    text = _flat(first, own, inside, tight)
    left: syntax.Expression | None = first
    for operator, operand in rest:
        right = _flat(operand, own + 1, inside, tight)
        factor = operator == "*" and isinstance(left, syntax.Number) and isinstance(operand, syntax.Name)
        text += f"{operator}{right}" if tight or factor else f" {operator} {right}"
        left = None
    return text


def _flat_items(items: Sequence[syntax.Expression]) -> str:
    return ", ".join(_flat(item, inside=True) for item in items)


def _flat_clause(clause: syntax.Clause) -> str:
    condition = "" if clause.condition is None else f" if {_flat(clause.condition, _OR, inside=True)}"
    return f"for {_targets(clause.targets)} in {_flat(clause.iterable, _OR, inside=True)}{condition}"


def _flat_argument(argument: syntax.Argument) -> str:
    name = "" if argument.name is None else f"{argument.name} = "
    return name + _flat(argument.value, inside=True)


def _flat_alternative(item: syntax.Alternative, inside: bool) -> str:
    return ("" if item.label is None else f"{item.label}: ") + _flat(item.value, _PIPED, inside)


def _choose_head(node: syntax.Choose) -> str:
    quantity = node.quantity
    if quantity is None:
        return "choose"
    if quantity.low is None:
        return "choose any of"
    low = _flat(quantity.low, _SUM, tight=True)
    high = "" if quantity.high is None else f"..{_flat(quantity.high, _SUM, tight=True)}"
    return f"choose {low}{high} of"


def _targets(targets: Sequence[syntax.Target]) -> str:
    return ", ".join(
        target.name
        if target.index is None
        else f"{target.name}[{_flat(target.index, inside=True, tight=True)}]"
        for target in targets
    )


def _type(type_: syntax.Type) -> str:
    dimensions = "" if type_.dimensions is None else f"[{_flat_items(type_.dimensions)}]"
    return (type_.name or "") + dimensions


def _parameter(parameter: syntax.Parameter) -> str:
    declared = "" if parameter.type is None else f": {_type(parameter.type)}"
    default = "" if parameter.default is None else f" = {_flat(parameter.default, inside=True)}"
    return parameter.name + declared + default


# --- over several lines ---------------------------------------------------------------------------


class _Comment(NamedTuple):
    start: int
    end: int
    text: str


class _Brace(NamedTuple):
    opens: int
    closes: int


_COMMENT = re.compile(r"#[^\r\n]*")
_LEXEMES = re.compile(r'"[^"\r\n]*"|#[^\r\n]*|[{}]')
# What may stand between the end of something and a comment that belongs to its line.
_LINE_END = re.compile(r"[ \t,(){}\[\]=:|]*\Z")
_ITEM_END = re.compile(r"[ \t,]*\Z")


class _Layout:
    """Writes the lines of a file from top to bottom, taking up comments as it passes them."""

    def __init__(self, tree: syntax.File, source: Source) -> None:
        self.tree = tree
        self.text_of_source = source.text if tree.span.source is source else ""
        self.lines: list[str] = []
        self.comments: list[_Comment] = []
        self.braces: list[_Brace] = []
        stack: list[int] = []
        for match in _LEXEMES.finditer(self.text_of_source):
            if match[0].startswith("#"):
                self.comments.append(_Comment(match.start(), match.end(), match[0].rstrip()))
            elif match[0] == "{":
                stack.append(match.start())
            elif match[0] == "}":
                self.braces.append(_Brace(stack.pop(), match.start()))
        self.braces.sort()
        self.taken = 0

    def text(self) -> str:
        statements: list[syntax.Node] = [*self.tree.imports, *self.tree.items]
        self._statements(statements, 0, len(self.text_of_source), top=True)
        return "".join(f"{line}\n" for line in self.lines)

    # --- the source

    def _known(self, span: Span) -> bool:
        return bool(self.text_of_source) and span.source is self.tree.span.source

    def _broken_between(self, left: int, right: int) -> bool:
        return "\n" in self.text_of_source[left:right] or "\r" in self.text_of_source[left:right]

    def _broken(self, before: Span, after: Span) -> bool:
        """Whether the author broke the line between two places."""
        return self._known(before) and self._known(after) and self._broken_between(before.end, after.start)

    def _on_new_line(self, first: Span) -> bool:
        """Whether the author broke the line before the first thing in a bracket, or after a sign."""
        if not self._known(first):
            return False
        return self.text_of_source[: first.start].rstrip(" \t(").endswith(("\n", "\r"))

    def _body_brace(self, after: int, body: Sequence[syntax.Node]) -> _Brace | None:
        """The braces of the body whose header ends at ``after``."""
        if not self.text_of_source:
            return None
        index = bisect_left(self.braces, _Brace(after, 0))
        return self.braces[index] if index < len(self.braces) else None

    # --- comments

    def _pending(self, before: int) -> _Comment | None:
        if self.taken < len(self.comments) and self.comments[self.taken].start < before:
            return self.comments[self.taken]
        return None

    def _holds_comment(self, span: Span) -> bool:
        if not self._known(span):
            return False
        index = bisect_left(self.comments, (span.start,))
        return index < len(self.comments) and self.comments[index].start < span.end

    def _flush(self, before: Span | int, indent: int) -> None:
        """The comments up to a place, on lines of their own."""
        if isinstance(before, Span):
            if not self._known(before):
                return
            before = before.start
        while comment := self._pending(before):
            self.lines.append(" " * indent + comment.text)
            self.taken += 1

    def _trail(self, place: Span | int, line_end: re.Pattern[str] = _LINE_END) -> int:
        """The comment that follows a place on its line goes to the end of the last line written."""
        if isinstance(place, Span):
            if not self._known(place):
                return 0
            place = place.end
        comment = self._pending(len(self.text_of_source))
        if comment is None or comment.start < place:
            return place
        between = self.text_of_source[place : comment.start]
        if not line_end.match(between):
            return place
        self.lines[-1] += f"  {comment.text}"
        self.taken += 1
        return comment.end

    def _trail_opening(self, before: Span | int) -> None:
        """The comment behind what opens a bracket or a body, before its first part, goes to the line written last."""
        if isinstance(before, Span):
            if not self._known(before):
                return
            before = before.start
        comment = self._pending(before)
        if comment is None:
            return
        line = max(
            self.text_of_source.rfind("\n", 0, comment.start),
            self.text_of_source.rfind("\r", 0, comment.start),
        )
        if self.text_of_source[line + 1 : comment.start].strip():
            self.lines[-1] += f"  {comment.text}"
            self.taken += 1

    # --- statements

    def _statements(
        self, statements: Sequence[syntax.Node], indent: int, end: int, top: bool = False
    ) -> None:
        """Statements with the comments and the blank lines between them, up to the offset ``end``."""
        first = len(self.lines)
        last = -1
        previous: syntax.Node | None = None
        for statement in statements:
            known = self._known(statement.span)
            if isinstance(previous, syntax.Import) and not isinstance(statement, syntax.Import):
                self._blank()
            if known:
                last = self._comments_before(statement.span.start, indent, last, first)
            if len(self.lines) > first and self._parted(last, previous, statement, top):
                self._blank()
            at = len(self.lines)
            self._statement(statement, indent)
            if known:
                # What stands where no line ends goes above the statement.
                while comment := self._pending(statement.span.end):
                    self.lines.insert(at, " " * indent + comment.text)
                    at += 1
                    self.taken += 1
                last = self._trail(statement.span.end)
            previous = statement
        self._comments_before(end, indent, last, first)

    def _comments_before(self, place: int, indent: int, last: int, first: int) -> int:
        while comment := self._pending(place):
            if len(self.lines) > first and last >= 0 and self._blank_between(last, comment.start):
                self._blank()
            self.lines.append(" " * indent + comment.text)
            self.taken += 1
            last = comment.end
        return last

    def _blank_between(self, left: int, right: int) -> bool:
        return len(re.findall(r"\r\n|\n|\r", self.text_of_source[left:right])) > 1

    def _parted(self, last: int, previous: syntax.Node | None, statement: syntax.Node, top: bool) -> bool:
        """Whether a blank line stands before a statement."""
        if self._known(statement.span):
            return last >= 0 and self._blank_between(last, statement.span.start)
        return previous is not None and top and not isinstance(statement, syntax.Import)

    def _blank(self) -> None:
        if self.lines and self.lines[-1]:
            self.lines.append("")

    def _statement(self, node: syntax.Node, indent: int) -> None:
        lead = " " * indent
        match node:
            case syntax.Import():
                self._import(node)
            case syntax.Space():
                self._space(node)
            case syntax.Define():
                self._define(node, indent)
            case syntax.Input():
                self.lines.append(f"{lead}input {node.name}: {_type(node.type)}")
            case syntax.Assign():
                self._values(f"{lead}{_targets(node.targets)} = ", node.values, indent)
            case syntax.Shared():
                self._emit(f"{lead}shared {node.name} = ", node.value, "", indent)
            case syntax.Return():
                self._values(f"{lead}return ", node.values, indent)
            case syntax.Require():
                self._emit(f"{lead}require ", node.condition, "", indent, _OR)
            case syntax.For():
                self._emit(f"{lead}for {_targets(node.targets)} in ", node.iterable, " {", indent, _PIPED)
                self._body(node.body, node.iterable.span.end, indent)
            case syntax.If():
                self._if(node, lead, indent)
            case _:
                raise TypeError(f"no statement: {node!r}")

    def _import(self, node: syntax.Import) -> None:
        names = [name.name if name.alias is None else f"{name.name} as {name.alias}" for name in node.names]
        line = f'from "{node.path}" import {names[0]}'
        for name in names[1:]:
            if len(f"{line}, {name}") > WIDTH:
                self.lines.append(f"{line},")
                line = " " * _STEP + name
            else:
                line += f", {name}"
        self.lines.append(line)

    def _space(self, node: syntax.Space) -> None:
        end = self._header(f"space {node.name}", node.name_span, node.parameters, " {", 0)
        self._body(node.body, end, 0, may_join=False)

    def _header(
        self, head: str, name: Span, parameters: Sequence[syntax.Parameter], suffix: str, indent: int
    ) -> int:
        """``op name(…)`` with what follows; the offset where it ends in the source."""
        texts = [_parameter(parameter) for parameter in parameters]
        flat = f"{' ' * indent}{head}" + (f"({', '.join(texts)})" if texts else "")
        end = parameters[-1].span.end if parameters else name.end
        opened = bool(parameters) and self._on_new_line(parameters[0].span)
        commented = self._known(name) and self._holds_comment(Span(name.source, name.end, end))
        if not parameters or not (opened or commented or len(flat + suffix) > WIDTH):
            self.lines.append(flat + suffix)
            return end
        self.lines.append(f"{' ' * indent}{head}(")
        self._trail_opening(parameters[0].span)
        for parameter, text in zip(parameters, texts, strict=True):
            self._flush(parameter.span, indent + _STEP)
            self.lines.append(f"{' ' * (indent + _STEP)}{text},")
            self._trail(parameter.span, _ITEM_END)
        self.lines.append(f"{' ' * indent}){suffix}")
        return end

    def _define(self, node: syntax.Define, indent: int) -> None:
        head = f"{node.kind} {node.name}"
        if isinstance(node.body, tuple):
            end = self._header(head, node.name_span, node.parameters, " {", indent)
            self._body(node.body, end, indent)
            return
        body = node.body
        end = self._header(head, node.name_span, node.parameters, " =", indent)
        header = self.lines[-1]
        if isinstance(body, syntax.Alternatives):
            self.lines.pop()
            self._emit(f"{header} ", body, "", indent)
            return
        below = self._on_new_line(body.span)
        flat = _flat(body)
        if not below and not self._wants_break(body) and len(f"{header} {flat}") > WIDTH:
            # A body that fits a line of its own is easier to read there than broken.
            below = indent + _STEP + len(flat) <= WIDTH or not isinstance(
                body, syntax.Pipe | syntax.Call | syntax.Choose
            )
        if below:
            self._trail_opening(body.span)
            self._flush(body.span, indent + _STEP)
            self._emit(" " * (indent + _STEP), body, "", indent + _STEP)
        else:
            self.lines.pop()
            self._emit(f"{header} ", body, "", indent)

    def _if(self, node: syntax.If, prefix: str, indent: int) -> None:
        self._emit(f"{prefix}if ", node.condition, " {", indent, _OR)
        brace = self._body_brace(node.condition.span.end, node.then) if self._known(node.span) else None
        joined = self._body(node.then, node.condition.span.end, indent)
        if not node.otherwise:
            return
        only = node.otherwise[0]
        before = self.lines.pop()
        if len(node.otherwise) == 1 and isinstance(only, syntax.If):
            # `else { if … }` is the same tree as `else if …`.
            self._if(only, f"{before} else ", indent)
            return
        self.lines.append(f"{before} else {{")
        self._body(node.otherwise, brace.closes + 1 if brace else 0, indent, may_join=joined)

    def _body(self, body: Sequence[syntax.Statement], after: int, indent: int, may_join: bool = True) -> bool:
        """The statements of a body behind a header that ends with ``{``; whether it went on one line."""
        brace = self._body_brace(after, body) if all(self._known(s.span) for s in body) else None
        if not body and (brace is None or not self._pending(brace.closes)):
            self.lines[-1] += "}"
            return True
        if may_join and brace and len(body) == 1 and not self._broken_between(brace.opens, brace.closes):
            if self._join(body[0], indent):
                return True
        if brace:
            self._trail_opening(body[0].span if body else brace.closes)
        self._statements(body, indent + _STEP, brace.closes if brace else 0)
        self.lines.append(" " * indent + "}")
        return False

    def _join(self, statement: syntax.Statement, indent: int) -> bool:
        """``{ statement }`` on the line of the header, where it fits."""
        if isinstance(statement, syntax.For | syntax.If | syntax.Define):
            return False
        at = len(self.lines)
        self._statement(statement, indent)
        if len(self.lines) > at + 1:
            del self.lines[at:]
            return False
        line = f"{self.lines[at - 1]} {self.lines[at].strip()} }}"
        del self.lines[at:]
        if len(line) > WIDTH:
            return False
        self.lines[-1] = line
        return True

    def _values(self, prefix: str, values: Sequence[syntax.Expression], indent: int) -> None:
        for number, value in enumerate(values):
            last = number == len(values) - 1
            if number:
                prefix = self.lines.pop() + " "
                flat = _flat(value)
                fits_below = indent + _STEP + len(flat) < WIDTH
                if len(prefix + flat) >= WIDTH and fits_below and not self._wants_break(value):
                    self.lines.append(prefix.rstrip())
                    prefix = " " * (indent + _STEP)
            self._emit(prefix, value, "" if last else ",", indent)

    # --- expressions

    def _wants_break(self, node: syntax.Expression) -> bool:
        """Whether the author laid an expression out over several lines, at places that keep them."""
        if self._known(node.span) and not self._broken_between(node.span.start, node.span.end):
            return False
        match node:
            case syntax.Alternatives(items=items):
                parts: list[syntax.Node] = list(items)
                if self._any_break(parts) or self._leading_break(items[0]):
                    return True
                return any(self._wants_break(item.value) for item in items)
            case syntax.Pipe(stages=stages):
                return self._staged(stages) or any(self._wants_break(stage) for stage in stages)
            case syntax.Choose(items=items):
                return (
                    self._on_new_line(items[0].span)
                    or self._holds_comment(node.span)
                    or any(self._wants_break(item.value) for item in items)
                )
            case syntax.List(items=items) | syntax.Tuple(items=items):
                if not items:
                    return False
                opened = self._on_new_line(items[0].span) or self._holds_comment(node.span)
                return opened or any(self._wants_break(item) for item in items)
            case syntax.Call(arguments=arguments):
                if not arguments:
                    return self._wants_break(node.function)
                opened = self._on_new_line(arguments[0].span)
                inner = Span(node.span.source, node.function.span.end, node.span.end)
                return (
                    opened
                    or self._holds_comment(inner)
                    or any(self._wants_break(argument.value) for argument in arguments)
                    or self._wants_break(node.function)
                )
            case syntax.IfExpression():
                return any(self._wants_break(part) for part in (node.condition, node.then, node.otherwise))
            case syntax.Comprehension():
                return self._wants_break(node.element)
            case syntax.Binary() | syntax.Logical():
                first, rest = _spine(node)
                return self._wants_break(first) or any(self._wants_break(operand) for _, operand in rest)
            case syntax.Compare(left=left, right=right):
                return self._wants_break(left) or self._wants_break(right)
            case syntax.Not(operand=operand) | syntax.Negate(operand=operand):
                return self._wants_break(operand)
        return False

    def _broken_at(self, sign: str, before: Span, after: Span) -> bool:
        """Whether the author broke the line at the sign between two parts, not in the brackets around one."""
        if not (self._known(before) and self._known(after)):
            return False
        between = _COMMENT.sub("", self.text_of_source[before.end : after.start])
        left, _, right = between.partition(sign)
        around = left + right.partition("(")[0]
        return "\n" in around or "\r" in around

    def _staged(self, stages: Sequence[syntax.Expression]) -> bool:
        return any(self._broken_at("->", a.span, b.span) for a, b in pairwise(stages))

    def _any_break(self, parts: Sequence[syntax.Node]) -> bool:
        return any(self._broken(a.span, b.span) for a, b in pairwise(parts))

    def _leading_break(self, first: syntax.Alternative) -> bool:
        """Whether the author began alternatives on a line of their own, with a ``|``."""
        if not self._known(first.span):
            return False
        before = self.text_of_source[: first.span.start].rstrip(" \t")
        return before.endswith("|") and before[:-1].rstrip(" \t").endswith(("\n", "\r"))

    def _emit(
        self,
        prefix: str,
        node: syntax.Expression,
        suffix: str,
        indent: int,
        level: int = _EXPRESSION,
        inside: bool = False,
    ) -> None:
        """``prefix``, an expression and ``suffix`` on as many lines as needed; ``indent`` is the first one's."""
        if not self._wants_break(node):
            line = f"{prefix}{_flat(node, level, inside)}{suffix}"
            if len(line) <= WIDTH:
                self.lines.append(line)
                return
        if _level(node) < level:
            self._emit(f"{prefix}(", node, f"){suffix}", indent, inside=True)
            return
        match node:
            case syntax.Alternatives():
                self._alternatives(prefix, node, suffix, indent, inside)
            case syntax.Pipe():
                self._pipe(prefix, node, suffix, indent, inside)
            case syntax.Choose():
                self._choose(prefix, node, suffix, indent)
            case syntax.List(items=items) if items:
                self._bracket(f"{prefix}[", items, f"]{suffix}", indent, node.span)
            case syntax.Tuple(items=items):
                self._bracket(f"{prefix}(", items, f"){suffix}", indent, node.span)
            case syntax.Call(arguments=arguments) if arguments:
                self._call(prefix, node, suffix, indent, inside)
            case syntax.Call(function=function):
                self._emit(prefix, function, f"(){suffix}", indent, _POSTFIX, inside)
            case syntax.IfExpression():
                self._if_expression(prefix, node, suffix, indent, inside)
            case syntax.Binary() | syntax.Logical():
                self._chain(prefix, node, suffix, indent, inside)
            case syntax.Compare(operator=operator):
                self._emit(prefix, node.left, f" {operator}", indent, _RANGE, inside)
                self._emit(self.lines.pop() + " ", node.right, suffix, indent, _RANGE, inside)
            case syntax.Not(operand=operand):
                self._emit(f"{prefix}not ", operand, suffix, indent, _NOT, inside)
            case syntax.Negate(operand=operand):
                self._emit(f"{prefix}-", operand, suffix, indent, _UNARY, inside)
            case _:
                self.lines.append(f"{prefix}{_flat(node, level, inside)}{suffix}")

    def _alternatives(
        self, prefix: str, node: syntax.Alternatives, suffix: str, indent: int, inside: bool
    ) -> None:
        """One candidate a line, labels and values in columns."""
        self.lines.append(prefix.rstrip())
        self._trail_opening(node.items[0].span)
        width = self._label_width(node.items)
        for number, item in enumerate(node.items):
            last = number == len(node.items) - 1
            self._flush(item.span, indent + _STEP)
            lead = f"{' ' * (indent + _STEP)}| {self._label(item, width)}"
            self._emit(lead, item.value, suffix if last else "", indent + _STEP, _PIPED, inside)
            if not last:
                self._trail(item.span)

    def _label_width(self, items: Sequence[syntax.Alternative]) -> int:
        return max((len(item.label) + 2 for item in items if item.label is not None), default=0)

    def _label(self, item: syntax.Alternative, width: int) -> str:
        return "" if item.label is None else f"{item.label}:".ljust(width)

    def _pipe(self, prefix: str, node: syntax.Pipe, suffix: str, indent: int, inside: bool) -> None:
        """The head, and the rest below it; the author's lines are kept, and broken where they are too long."""
        stages = node.stages
        authored = self._staged(stages)
        below = indent + _STEP
        for number, stage in enumerate(stages):
            end = suffix if number == len(stages) - 1 else ""
            if number == 0:
                self._emit(prefix, stage, end, indent, _OR, inside)
                continue
            text = _flat(stage, _OR, inside)
            new_line = self._broken_at("->", stages[number - 1].span, stage.span)
            if (
                not authored
                and number == 1
                and prefix.strip()
                and self._too_long(prefix, node, suffix, inside)
            ):
                new_line = True
            wants_break = self._wants_break(stage)
            if not new_line and not wants_break and len(f"{self.lines[-1]} -> {text}{end}") > WIDTH:
                new_line = True
            if new_line:
                if self._known(stage.span):
                    self._trail(stages[number - 1].span)
                    self._flush(stage.span, below)
                self._emit(f"{' ' * below}-> ", stage, end, below, _OR, inside)
            else:
                line = self.lines.pop()
                at = len(line) - len(line.lstrip())
                self._emit(f"{line} -> ", stage, end, at, _OR, inside)

    def _too_long(self, prefix: str, node: syntax.Pipe, suffix: str, inside: bool) -> bool:
        return len(f"{prefix}{_flat(node, _PIPED, inside)}{suffix}") > WIDTH and not self._wants_break(node)

    def _choose(self, prefix: str, node: syntax.Choose, suffix: str, indent: int) -> None:
        below = indent + _STEP
        self.lines.append(f"{prefix}{_choose_head(node)} {{")
        self._trail_opening(node.items[0].span)
        if node.clauses:
            item = node.items[0]
            self._flush(item.span, below)
            self._emit(
                " " * below + self._label(item, 0).ljust(self._label_width(node.items)),
                item.value,
                "",
                below,
                _PIPED,
                True,
            )
            self._trail(item.span)
            self._clauses(node.clauses, below)
        else:
            width = self._label_width(node.items)
            for item in node.items:
                self._flush(item.span, below)
                self._emit(f"{' ' * below}{self._label(item, width)}", item.value, ",", below, _PIPED, True)
                self._trail(item.span, _ITEM_END)
        self._flush(self._inner_end(node.span), below)
        self.lines.append(f"{' ' * indent}}}{suffix}")

    def _inner_end(self, span: Span) -> int:
        return span.end if self._known(span) else 0

    def _clauses(self, clauses: Sequence[syntax.Clause], indent: int, end: str = "") -> None:
        for number, clause in enumerate(clauses):
            self._flush(clause.span, indent)
            last = end if number == len(clauses) - 1 else ""
            self.lines.append(" " * indent + _flat_clause(clause) + last)
            self._trail(clause.span, _ITEM_END)

    def _bracket(
        self, prefix: str, items: Sequence[syntax.Expression], suffix: str, indent: int, span: Span
    ) -> None:
        """``[``, an item a line, ``]``."""
        below = indent + _STEP
        self.lines.append(prefix)
        self._trail_opening(items[0].span)
        for item in items:
            self._flush(item.span, below)
            if isinstance(item, syntax.Comprehension):
                self._comprehension(item, below)
                continue
            self._emit(" " * below, item, ",", below, inside=True)
            self._trail(item.span, _ITEM_END)
        self._flush(self._inner_end(span), below)
        self.lines.append(" " * indent + suffix)

    def _comprehension(self, node: syntax.Comprehension, indent: int, end: str = "") -> None:
        self._emit(" " * indent, node.element, "", indent, inside=True)
        self._trail(node.element.span)
        self._clauses(node.clauses, indent, end)

    def _call(self, prefix: str, node: syntax.Call, suffix: str, indent: int, inside: bool) -> None:
        self._emit(prefix, node.function, "(", indent, _POSTFIX, inside)
        arguments = node.arguments
        only = arguments[0].value
        opened = self._on_new_line(arguments[0].span)
        commented = self._holds_comment(arguments[0].span.to(node.span)) and not self._wants_break(only)
        if not (len(arguments) > 1 or opened or commented or isinstance(only, syntax.Comprehension)):
            # The brackets of a single argument open and close with it: `sum(choose { ⏎ … ⏎ })`.
            line = self.lines.pop()
            name = f"{arguments[0].name} = " if arguments[0].name else ""
            self._emit(f"{line}{name}", only, f"){suffix}", indent, inside=True)
            return
        below = indent + _STEP
        self._trail_opening(arguments[0].span)
        for argument in arguments:
            self._flush(argument.span, below)
            if isinstance(argument.value, syntax.Comprehension):
                self._comprehension(argument.value, below, "," if len(arguments) > 1 else "")
                continue
            name = f"{argument.name} = " if argument.name else ""
            self._emit(f"{' ' * below}{name}", argument.value, ",", below, inside=True)
            self._trail(argument.span, _ITEM_END)
        self._flush(self._inner_end(node.span), below)
        self.lines.append(f"{' ' * indent}){suffix}")

    def _if_expression(
        self, prefix: str, node: syntax.IfExpression, suffix: str, indent: int, inside: bool
    ) -> None:
        head = (
            f"{prefix}if {_flat(node.condition, _OR, inside)} then {_flat(node.then, _PIPED, inside)} else "
        )
        plain = not self._wants_break(node.condition) and not self._wants_break(node.then)
        below_already = self._broken_at("else", node.then.span, node.otherwise.span)
        if plain and not below_already and len(head) < WIDTH and self._wants_break(node.otherwise):
            self._emit(head, node.otherwise, suffix, indent, _PIPED, inside)
            return
        below = indent + _STEP
        self._emit(f"{prefix}if ", node.condition, "", indent, _OR, inside)
        self._emit(f"{' ' * below}then ", node.then, "", below, _PIPED, inside)
        self._emit(f"{' ' * below}else ", node.otherwise, suffix, below, _PIPED, inside)

    def _chain(
        self, prefix: str, node: syntax.Binary | syntax.Logical, suffix: str, indent: int, inside: bool
    ) -> None:
        """``a`` and below it ``+ b``, ``- c``, where they do not fit one line."""
        own = _level(node)
        first, rest = _spine(node)
        below = indent + _STEP
        self._emit(prefix, first, "", indent, own, inside)
        for number, (operator, operand) in enumerate(rest):
            end = suffix if number == len(rest) - 1 else ""
            line = self.lines[-1]
            flat = f"{operator} {_flat(operand, own + 1, inside)}{end}"
            if len(f"{line} {flat}") > WIDTH >= below + len(flat) and not self._wants_break(operand):
                self._emit(f"{' ' * below}{operator} ", operand, end, below, own + 1, inside)
            else:
                self.lines.pop()
                at = len(line) - len(line.lstrip())
                self._emit(f"{line} {operator} ", operand, end, at, own + 1, inside)
