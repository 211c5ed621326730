"""Random syntax: trees that the parser could have made, and texts that spell the same tree differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from nasdsl.diagnostics import Source, Span
from nasdsl.language import syntax
from nasdsl.language.parser import read_tokens
from nasdsl.language.tokens import KEYWORDS
from nasdsl.language.tree_builder import exact

NOWHERE = Span(Source("<made>", ""), 0, 0)

Expressions = st.SearchStrategy[syntax.Expression]

names = st.one_of(
    st.sampled_from(
        ["x", "y", "n", "C", "conv", "relu", "any", "count", "let", "cells", "inner", "_", "a_b1"]
    ),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,30}", fullmatch=True),
).filter(lambda name: name not in KEYWORDS)
strings = st.text(
    st.characters(codec="utf-8", exclude_characters='"\r\n', exclude_categories=["Cs"]), max_size=8
)
number_texts = st.one_of(
    st.integers(0, 9999).map(str),
    st.sampled_from(["0.1", "3.5", "5M", "2K", "1G", "1e3", "2.5e-3", "007", "1.50"]),
)
operators = {
    "sum": st.sampled_from(["+", "-"]),
    "product": st.sampled_from(["*", "/", "//", "%"]),
    "comparison": st.sampled_from(["==", "!=", "<=", ">=", "<", ">", "in"]),
}


def _number(text: str) -> syntax.Number:
    return syntax.Number(NOWHERE, exact(text), text)


atoms: Expressions = st.one_of(
    names.map(lambda name: syntax.Name(NOWHERE, name)),
    number_texts.map(_number),
    strings.map(lambda text: syntax.String(NOWHERE, text)),
    st.booleans().map(lambda value: syntax.Boolean(NOWHERE, value)),
)


def _some(items: st.SearchStrategy[Any], low: int, high: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, min_size=low, max_size=high).map(tuple)


def _node(kind: Callable[..., Any], *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(*parts).map(lambda values: kind(NOWHERE, *values))


def targets(inner: Expressions) -> st.SearchStrategy[tuple[syntax.Target, ...]]:
    return _some(_node(syntax.Target, names, st.none() | inner), 1, 3)


def _clauses(inner: Expressions) -> st.SearchStrategy[tuple[syntax.Clause, ...]]:
    return _some(_node(syntax.Clause, targets(inner), inner, st.none() | inner), 1, 2)


def _alternatives(
    inner: Expressions, low: int, high: int
) -> st.SearchStrategy[tuple[syntax.Alternative, ...]]:
    return _some(_node(syntax.Alternative, st.none() | names, inner), low, high)


def _quantities(inner: Expressions) -> st.SearchStrategy[syntax.Quantity | None]:
    # `any` says something else there, and a range is two numbers.
    single = inner.filter(lambda e: not isinstance(e, syntax.Range) and getattr(e, "name", "") != "any")
    return st.one_of(
        st.none(),
        st.just(syntax.Quantity(NOWHERE, None, None)),
        single.map(lambda low: syntax.Quantity(NOWHERE, low, None)),
        st.tuples(inner, inner).map(lambda ends: syntax.Quantity(NOWHERE, *ends)),
    )


def _larger(inner: Expressions) -> Expressions:
    comprehensions = _node(syntax.Comprehension, inner, _clauses(inner))
    arguments = _node(syntax.Argument, st.none() | names, inner) | _node(
        syntax.Argument, st.none(), comprehensions
    )
    return st.one_of(
        _node(syntax.Tuple, _some(inner, 2, 3)),
        _node(syntax.List, _some(inner, 0, 4)),
        _node(syntax.List, comprehensions.map(lambda item: (item,))),
        _node(syntax.Call, inner, _some(arguments, 0, 3)),
        _node(syntax.Index, inner, inner),
        _node(syntax.Rest, inner, inner),
        _node(syntax.Negate, inner),
        _node(syntax.Binary, operators["sum"], inner, inner),
        _node(syntax.Binary, operators["product"], inner, inner),
        _node(syntax.Range, inner, inner),
        _node(syntax.Compare, operators["comparison"], inner, inner),
        _node(syntax.Not, inner),
        _node(syntax.Logical, st.sampled_from(["and", "or"]), inner, inner),
        _node(syntax.Pipe, _some(inner, 2, 5)),
        _node(syntax.IfExpression, inner, inner, inner),
        _node(syntax.Alternatives, _alternatives(inner, 2, 4)),
        _node(syntax.Choose, _quantities(inner), _alternatives(inner, 1, 3), st.just(())),
        _node(syntax.Choose, _quantities(inner), _alternatives(inner, 1, 1), _clauses(inner)),
    )


expressions: Expressions = st.recursive(atoms, _larger, max_leaves=12)

types = st.one_of(
    _node(syntax.Type, names | st.sampled_from(["op", "cell"]), st.none()),
    _node(syntax.Type, st.none() | names, _some(expressions, 0, 3)),
)
parameters = _some(_node(syntax.Parameter, names, st.none() | types, st.none() | expressions), 0, 4)
_values = _some(expressions, 1, 2)
_simple = st.one_of(
    _node(syntax.Assign, targets(expressions), _values),
    _node(syntax.Shared, names, expressions),
    _node(syntax.Return, _values),
    _node(syntax.Require, expressions),
)


def _blocks(inner: st.SearchStrategy[syntax.Statement]) -> st.SearchStrategy[syntax.Statement]:
    body = _some(inner, 0, 3)
    return st.one_of(
        _node(syntax.For, targets(expressions), expressions, body),
        _node(syntax.If, expressions, body, body),
    )


statements = st.recursive(_simple, _blocks, max_leaves=4)
bodies = _some(statements, 0, 3)
definitions = st.builds(
    lambda kind, name, given, body: syntax.Define(NOWHERE, kind, name, given, body, NOWHERE),
    st.sampled_from(["op", "cell"]),
    names,
    parameters,
    expressions | bodies,
)
inputs = _node(syntax.Input, names, types)
spaces = st.builds(
    lambda name, given, body: syntax.Space(NOWHERE, name, given, body, NOWHERE),
    names,
    parameters,
    _some(st.one_of(inputs, definitions, statements), 0, 5),
)
imports = st.builds(
    lambda path, imported: syntax.Import(NOWHERE, path, imported, NOWHERE),
    strings,
    _some(_node(syntax.Imported, names, st.none() | names), 1, 4),
)
files = st.builds(
    lambda head, items: syntax.File(NOWHERE, head, items),
    _some(imports, 0, 2),
    _some(spaces | definitions, 0, 3),
)


@st.composite
def spellings(draw: st.DrawFn, text: str) -> str:
    """The same tokens with other spaces, line breaks and comments between them."""
    source = Source("<text>", text)
    tokens = read_tokens(source)
    gap = st.sampled_from(
        [" ", " ", " ", "  ", "\n", "\n\n\n", "\t", " # a comment\n", "\n## text\n", "\r\n"]
    )
    gaps = draw(st.lists(gap, min_size=len(tokens), max_size=len(tokens)))
    parts = [tokens.span(i).text for i in range(len(tokens) - 1)]
    return gaps[-1] + "".join(part + space for part, space in zip(parts, gaps, strict=False))
