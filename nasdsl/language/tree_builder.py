"""Syntax tree nodes from what a rule of the grammar matched."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from lark import Token

from nasdsl.diagnostics import Source, Span
from nasdsl.language import syntax

_SUFFIXES = {"K": 10**3, "M": 10**6, "G": 10**9}


@lru_cache(maxsize=4096)
def exact(text: str) -> Fraction:
    """The value of a number as written.

    >>> exact("0.1"), exact("1.5K"), exact("2e-3")
    (Fraction(1, 10), Fraction(1500, 1), Fraction(1, 500))
    """
    if text.isdigit():
        return Fraction(int(text))
    return Fraction(text.rstrip("KMG")) * _SUFFIXES.get(text[-1], 1)


class Body(NamedTuple):
    """The statements between braces."""

    statements: tuple[syntax.Statement, ...]
    end: int


class Items(NamedTuple):
    """What stands between commas."""

    items: tuple[Any, ...]
    start: int
    end: int


class TreeBuilder:
    """One method a rule of ``nas.lark``, named after it; ``c`` are the tokens and nodes it matched.

    lark looks the methods up by name, so a rule without one shows in the first test.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        # Brackets that only group leave no node, but what holds the group begins or ends with them.
        # The node is kept beside its extent so that its id stays its own.
        self._grouped: dict[int, tuple[int, int, Any]] = {}

    # --- places

    def _start(self, child: Any) -> int:
        if type(child) is Token:
            return child.start_pos or 0
        if self._grouped and id(child) in self._grouped:
            return self._grouped[id(child)][0]
        start: int = child.start if type(child) is Items else child.span.start
        return start

    def _end(self, child: Any) -> int:
        if type(child) is Token:
            return child.end_pos or 0
        if self._grouped and id(child) in self._grouped:
            return self._grouped[id(child)][1]
        end: int = child.end if type(child) in (Items, Body) else child.span.end
        return end

    def _place(self, c: list[Any]) -> Span:
        return Span(self.source, self._start(c[0]), self._end(c[-1]))

    def _token(self, token: Token) -> Span:
        return Span(self.source, token.start_pos or 0, token.end_pos or 0)

    # --- atoms

    def number(self, c: list[Any]) -> syntax.Number:
        text = str(c[0])
        return syntax.Number(self._token(c[0]), exact(text), text)

    def string(self, c: list[Any]) -> syntax.String:
        return syntax.String(self._token(c[0]), str(c[0])[1:-1])

    def boolean(self, c: list[Any]) -> syntax.Boolean:
        return syntax.Boolean(self._token(c[0]), c[0] == "true")

    def name(self, c: list[Any]) -> syntax.Name:
        return syntax.Name(self._token(c[0]), str(c[0]))

    def group(self, c: list[Any]) -> syntax.Expression:
        expression: syntax.Expression = c[1]
        self._grouped[id(expression)] = (c[0].start_pos, c[2].end_pos, expression)
        return expression

    def tuple_(self, c: list[Any]) -> syntax.Tuple:
        return syntax.Tuple(self._place(c), _nodes(c))

    def list_(self, c: list[Any]) -> syntax.List:
        return syntax.List(self._place(c), _nodes(c))

    def list_comprehension(self, c: list[Any]) -> syntax.List:
        return syntax.List(self._place(c), (self._comprehension(c[1:-1]),))

    def _comprehension(self, c: list[Any]) -> syntax.Comprehension:
        return syntax.Comprehension(self._place(c), c[0], tuple(c[1:]))

    def clause(self, c: list[Any]) -> syntax.Clause:
        # for targets in iterable (if condition)
        return syntax.Clause(self._place(c), c[1].items, c[3], c[5] if len(c) > 4 else None)

    def quantity(self, c: list[Any]) -> syntax.Quantity:
        value, span = c[0], self._place(c[:1])
        if isinstance(value, syntax.Name) and value.name == "any":
            return syntax.Quantity(span, None, None)
        if isinstance(value, syntax.Range):
            return syntax.Quantity(span, value.low, value.high)
        return syntax.Quantity(span, value, None)

    def choose(self, c: list[Any]) -> syntax.Choose:
        quantity = c[1] if isinstance(c[1], syntax.Quantity) else None
        items = self._candidates(c[3:] if quantity else c[2:])
        return syntax.Choose(self._place(c), quantity, items, ())

    def choose_comprehension(self, c: list[Any]) -> syntax.Choose:
        quantity = c[1] if isinstance(c[1], syntax.Quantity) else None
        candidate, *clauses = c[3:-1] if quantity else c[2:-1]
        return syntax.Choose(self._place(c), quantity, self._candidates([candidate]), tuple(clauses))

    # --- operators

    def labelled(self, c: list[Any]) -> syntax.Alternative:
        return syntax.Alternative(self._place(c), str(c[0]), c[2])

    def _candidates(self, c: list[Any]) -> tuple[syntax.Alternative, ...]:
        return tuple(
            node if type(node) is syntax.Alternative else syntax.Alternative(self._place([node]), None, node)
            for node in _nodes(c)
        )

    def alternatives(self, c: list[Any]) -> syntax.Alternatives:
        items = self._candidates(c)
        return syntax.Alternatives(items[0].span.to(items[-1].span), items)

    def if_expression(self, c: list[Any]) -> syntax.IfExpression:
        # if condition then value else value
        return syntax.IfExpression(self._place(c), c[1], c[3], c[5])

    def pipe(self, c: list[Any]) -> syntax.Pipe:
        return syntax.Pipe(self._place(c), tuple(c[::2]))

    def disjunction(self, c: list[Any]) -> syntax.Logical:
        return syntax.Logical(self._place(c), str(c[1]), c[0], c[2])

    conjunction = disjunction

    def not_(self, c: list[Any]) -> syntax.Not:
        return syntax.Not(self._place(c), c[1])

    def comparison(self, c: list[Any]) -> syntax.Compare:
        return syntax.Compare(self._place(c), str(c[1]), c[0], c[2])

    def range_(self, c: list[Any]) -> syntax.Range:
        return syntax.Range(self._place(c), c[0], c[2])

    def sum_(self, c: list[Any]) -> syntax.Binary:
        return syntax.Binary(self._place(c), str(c[1]), c[0], c[2], self._token(c[1]))

    product = sum_

    def negate(self, c: list[Any]) -> syntax.Negate:
        return syntax.Negate(self._place(c), c[1])

    def call(self, c: list[Any]) -> syntax.Call:
        return syntax.Call(self._place(c), c[0], _nodes(c[1:]))

    def keyword(self, c: list[Any]) -> syntax.Argument:
        return syntax.Argument(self._place(c), str(c[0]), c[2], self._token(c[0]))

    def positional(self, c: list[Any]) -> syntax.Argument:
        return syntax.Argument(self._place(c), None, c[0])

    def generator(self, c: list[Any]) -> syntax.Argument:
        return syntax.Argument(self._place(c), None, self._comprehension(c))

    def index(self, c: list[Any]) -> syntax.Index:
        return syntax.Index(self._place(c), c[0], c[2])

    def rest(self, c: list[Any]) -> syntax.Rest:
        return syntax.Rest(self._place(c), c[0], c[2])

    # --- statements

    def target(self, c: list[Any]) -> syntax.Target:
        return syntax.Target(self._place(c), str(c[0]), c[2] if len(c) > 1 else None)

    def _items(self, c: list[Any]) -> Items:
        return Items(_nodes(c), self._start(c[0]), self._end(c[-1]))

    targets = expressions = parameters = dimensions = _items

    def assign(self, c: list[Any]) -> syntax.Assign:
        return syntax.Assign(self._place(c), c[0].items, c[2].items)

    def shared(self, c: list[Any]) -> syntax.Shared:
        return syntax.Shared(self._place(c), str(c[1]), c[3])

    def block(self, c: list[Any]) -> Body:
        return Body(_nodes(c), c[-1].end_pos)

    def for_(self, c: list[Any]) -> syntax.For:
        return syntax.For(self._place(c), c[1].items, c[3], c[4].statements)

    def if_(self, c: list[Any]) -> syntax.If:
        # if condition body (else body-or-if)
        otherwise: tuple[syntax.Statement, ...] = ()
        if len(c) > 3:
            otherwise = c[4].statements if type(c[4]) is Body else (c[4],)
        return syntax.If(self._place(c), c[1], c[2].statements, otherwise)

    def return_(self, c: list[Any]) -> syntax.Return:
        return syntax.Return(self._place(c), c[1].items)

    def require(self, c: list[Any]) -> syntax.Require:
        return syntax.Require(self._place(c), c[1])

    # --- declarations

    def type_(self, c: list[Any]) -> syntax.Type:
        name = str(c[0]) if type(c[0]) is Token else None
        dimensions = c[-1].items if type(c[-1]) is Items else None
        return syntax.Type(self._place(c), name, dimensions)

    def parameter(self, c: list[Any]) -> syntax.Parameter:
        # name (: type) (= default)
        declared = c[2] if len(c) > 2 and type(c[2]) is syntax.Type else None
        default = c[-1] if isinstance(c[-1], syntax.Expression) else None
        return syntax.Parameter(self._place(c), str(c[0]), declared, default)

    def input_(self, c: list[Any]) -> syntax.Input:
        return syntax.Input(self._place(c), str(c[1]), c[3], self._doc(c[0]))

    def define(self, c: list[Any]) -> syntax.Define:
        parameters = c[2].items if type(c[2]) is Items else ()
        body = c[-1].statements if type(c[-1]) is Body else c[-1]
        name, doc = self._token(c[1]), self._doc(c[0])
        return syntax.Define(self._place(c), str(c[0]), str(c[1]), parameters, body, name, doc)

    def space(self, c: list[Any]) -> syntax.Space:
        parameters = c[2].items if type(c[2]) is Items else ()
        body = tuple(node for node in c[3:] if isinstance(node, syntax.Statement))
        return syntax.Space(self._place(c), str(c[1]), parameters, body, self._token(c[1]), self._doc(c[0]))

    def imported(self, c: list[Any]) -> syntax.Imported:
        return syntax.Imported(self._place(c), str(c[0]), str(c[2]) if len(c) > 1 else None)

    def import_(self, c: list[Any]) -> syntax.Import:
        return syntax.Import(self._place(c), str(c[1])[1:-1], _nodes(c), self._token(c[1]))

    def start(self, c: list[Any]) -> syntax.File:
        imports = tuple(node for node in c if type(node) is syntax.Import)
        return syntax.File(Span(self.source, 0, len(self.source.text)), imports, tuple(c[len(imports) :]))

    def _doc(self, token: Token) -> str | None:
        """The text of the ``##`` lines right above the line that starts with ``token``."""
        number, column = self.source.position(token.start_pos or 0)
        if self.source.line(number)[: column - 1].strip():
            return None
        lines: list[str] = []
        while number > 1:
            number -= 1
            line = self.source.line(number).strip()
            if not line.startswith("##"):
                break
            lines.append(line[2:].strip())
        return "\n".join(reversed(lines)) if lines else None


def _nodes(c: list[Any]) -> tuple[Any, ...]:
    return tuple([node for node in c if type(node) is not Token])
