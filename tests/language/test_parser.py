"""Text to tree: forms, places, doc comments, bounds, and that any text ends in a tree or a diagnostic."""

from __future__ import annotations

import json
import random
import time
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasdsl import resources
from nasdsl.diagnostics import NasError, Source, Span, render_all
from nasdsl.language import grammar, syntax
from nasdsl.language.parser import parse, parse_expression, parse_text
from nasdsl.language.syntax import Alternative, Binary, Call, Name, Number, Pipe, Quantity

SHIPPED = [
    Source(path.name, path.read_text(encoding="utf-8")) for path in sorted(resources.spaces().rglob("*.nas"))
]
NOWHERE = Span(Source("", ""), 0, 0)


def name(text: str) -> Name:
    return Name(NOWHERE, text)


def number(value: int) -> Number:
    return Number(NOWHERE, Fraction(value), str(value))


def codes(text: str) -> list[str]:
    with pytest.raises(NasError) as caught:
        parse_text(text)
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


# --- forms


@pytest.mark.parametrize("source", SHIPPED, ids=lambda source: source.path)
def test_shipped_spaces_parse(source: Source) -> None:
    assert parse(source).items


def test_the_grammar_is_strictly_lalr() -> None:
    pytest.importorskip("interegular")
    from lark import Lark

    grammar = (resources.grammars() / "nas.lark").read_text(encoding="utf-8")
    Lark(grammar, parser="lalr", lexer="basic", strict=True)


def test_the_tables_are_those_of_the_grammar() -> None:
    kept = json.loads((resources.grammars() / "nas.json").read_text(encoding="utf-8"))
    made = json.loads(grammar.tables())
    if kept["made"].split(",")[0] != made["made"].split(",")[0]:
        pytest.skip("another version of lark made the tables")
    assert kept["made"] == made["made"], "write them again: python -m nasdsl.language.grammar"
    # Lark numbers states and symbols anew each time.
    assert kept["data"]["options"] == made["data"]["options"]
    assert len(kept["data"]["parser"]["parser"]["states"]) == len(made["data"]["parser"]["parser"]["states"])


def test_tables_that_are_computed_parse_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "parser", grammar.computed)
    kept = [parse(source) for source in SHIPPED[:3]]
    monkeypatch.undo()
    assert kept == [parse(source) for source in SHIPPED[:3]]


def test_precedence_loosest_first() -> None:
    looser_first = ["a | b", "if c then a else b", "a -> b", "a or b", "a and b", "not a", "a < b", "a..b"]
    kinds = ["Alternatives", "IfExpression", "Pipe", "Logical", "Logical", "Not", "Compare", "Range"]
    assert [type(parse_expression(text)).__name__ for text in looser_first] == kinds
    assert parse_expression("a | b -> c or not d < e..f + g * -h(i)") == parse_expression(
        "a | (b -> (c or (not (d < (e..(f + (g * (-(h(i))))))))))"
    )


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("(x)", name("x")),
        ("(a, b)", syntax.Tuple(NOWHERE, (name("a"), name("b")))),
        ("a -> b -> c", Pipe(NOWHERE, (name("a"), name("b"), name("c")))),
        ("a - b - c", Binary(NOWHERE, "-", Binary(NOWHERE, "-", name("a"), name("b")), name("c"))),
        ("n[2..]", syntax.Rest(NOWHERE, name("n"), number(2))),
        ("n[i]", syntax.Index(NOWHERE, name("n"), name("i"))),
        ("any", name("any")),
        ("any(n)", Call(NOWHERE, name("any"), (syntax.Argument(NOWHERE, None, name("n")),))),
        ("[]", syntax.List(NOWHERE, ())),
    ],
)
def test_expressions(text: str, tree: syntax.Expression) -> None:
    assert parse_expression(text) == tree


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("choose { a }", None),
        ("choose any of { a }", Quantity(NOWHERE, None, None)),
        ("choose 2 of { a }", Quantity(NOWHERE, number(2), None)),
        ("choose 1..k of { a }", Quantity(NOWHERE, number(1), name("k"))),
    ],
)
def test_quantities(text: str, quantity: Quantity | None) -> None:
    choose = parse_expression(text)
    assert choose == syntax.Choose(NOWHERE, quantity, (Alternative(NOWHERE, None, name("a")),), ())


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.1", Fraction(1, 10)), ("5M", 5_000_000), ("1.5K", 1500), ("2e-3", Fraction(1, 500)), ("007", 7)],
)
def test_numbers_are_exact(text: str, value: Fraction) -> None:
    assert parse_expression(text) == Number(NOWHERE, Fraction(value), text)


def test_words_end_at_a_word_boundary() -> None:
    words = [
        "cells",
        "format",
        "inner",
        "ifs",
        "of_",
        "let",
        "params",
        "flops",
        "count",
        "orx",
        "choose1",
        "trueish",
    ]
    assert [parse_expression(word) for word in words] == [name(word) for word in words]


def test_else_if_nests() -> None:
    (define,) = parse_text("op f(x) { if a { y = 1 } else if b { y = 2 } else { y = 3 } return y }").items
    assert isinstance(define.body, tuple)
    outer = define.body[0]
    assert isinstance(outer, syntax.If)
    (inner,) = outer.otherwise
    assert isinstance(inner, syntax.If) and len(inner.otherwise) == 1


# --- places


def test_places_hold_exactly_the_text_of_a_node() -> None:
    text = 'from "a.nas" import b as c\nspace s(w = 1) {\n  y = (a + b) * f(x)[2..] -> (c | d)\n  return y, (y)\n}\n'
    tree = parse_text(text)
    (space,) = tree.items
    assert isinstance(space, syntax.Space)
    assign, back = space.body
    assert isinstance(assign, syntax.Assign) and isinstance(back, syntax.Return)
    (pipe,) = assign.values
    assert isinstance(pipe, Pipe)
    product = pipe.stages[0]
    assert isinstance(product, Binary)
    places = [
        tree.imports[0].path_span,
        tree.imports[0].names[0].span,
        space.name_span,
        space.parameters[0].span,
    ]
    places += [
        assign.span,
        pipe.span,
        product.span,
        product.left.span,
        product.right.span,
        pipe.stages[1].span,
    ]
    places += [back.span, back.values[1].span]
    assert [place.text for place in places] == [
        '"a.nas"',
        "b as c",
        "s",
        "w = 1",
        "y = (a + b) * f(x)[2..] -> (c | d)",
        "(a + b) * f(x)[2..] -> (c | d)",
        "(a + b) * f(x)[2..]",
        "a + b",
        "f(x)[2..]",
        "c | d",
        "return y, (y)",
        "y",
    ]
    assert space.span.text == text[text.index("space") : -1]


def nodes(node: syntax.Node) -> list[syntax.Node]:
    found = [node]
    for field in type(node).__dataclass_fields__:
        value = getattr(node, field)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, syntax.Node):
                found += nodes(child)
    return found


@pytest.mark.parametrize("source", SHIPPED, ids=lambda source: source.path)
def test_an_expression_is_where_it_says(source: Source) -> None:
    for node in nodes(parse(source)):
        assert node.span.source is source
        if isinstance(node, syntax.Expression) and not isinstance(node, syntax.Comprehension):
            assert parse_expression(node.span.text) == node


# --- doc comments


def test_doc_comments_stand_right_above() -> None:
    text = """
## one
##   two
op f = relu

## not of g

op g = relu
# plain
cell h = relu
## of the space
space s {
  ## of the input
  input x: [3]
  y = x ## not of k
  op k = relu
}
"""
    f, g, h, space = parse_text(text).items
    assert isinstance(space, syntax.Space)
    image, _, k = space.body
    assert isinstance(image, syntax.Input) and isinstance(k, syntax.Define)
    docs = [f.doc, g.doc, h.doc, space.doc, image.doc, k.doc]
    assert docs == ["one\ntwo", None, None, "of the space", "of the input", None]


# --- bounds


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "op f = " + "[" * 201 + "]" * 201,
        "op f(x) { " + "for i in n { " * 201 + "}" * 202,
        "op f = " + "-" * 100_000 + "x",
        "op f = " + "not " * 100_000 + "x",
        "op f = " + "if a then b else " * 20_000 + "c",
        "op f(x) { if a { } " + "else if a { } " * 20_000 + "}",
        "op f = a" + "(b)" * 300,
        "op f = " + "a + " * 2_000 + "a",
        "op f = " + "a and " * 2_000 + "a",
    ],
    ids=lambda text: f"{text[:12]}…",
)
def test_too_deep_is_one_message_at_once(text: str) -> None:
    start = time.process_time()
    assert codes(text) == ["N006"]
    assert time.process_time() - start < 3


def test_deep_and_long_enough() -> None:
    parse_text("op f = " + "[" * 199 + "]" * 199)
    parse_text("op f = " + "a + " * 900 + "a")
    for sign in ("->", "|"):
        assert isinstance(parse_expression(f"a {sign} " * 3_000 + "a"), Pipe | syntax.Alternatives)
    parse_text("op f = [" + "a, " * 20_000 + "]")


def test_bounds_move() -> None:
    deep = Source("deep.nas", "op f = " + "[" * 300 + "]" * 300)
    assert parse(deep, nesting=400).items
    with pytest.raises(NasError, match="N006"):
        parse(Source("", "op f = [[1]]"), nesting=1)
    calls = Source("deep.nas", "op f = " + "relu(" * 900 + "x" + ")" * 900)
    assert parse(calls, nesting=1_000).items


# --- any text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\ufeff",
        "\ufeffop f = relu",
        "op f = relu\r\nop g = gelu\r\n",
        "op\tf\t=\trelu",
        "# only",
        "## only\n",
    ],
)
def test_odd_texts_that_parse(text: str) -> None:
    parse_text(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("\x00", "N004"),
        ("op f = \x00relu", "N004"),
        ('op f = "abc', "N004"),
        ('from "a.nas import b', "N004"),
        ("op größe = relu", "N004"),
        ("op f =\u00a0relu", "N004"),
        ("op f = 3x", "N005"),
        ("op f = 1e999999999", "N005"),
        ("op f = " + "1" * 5_000, "N005"),
    ],
)
def test_odd_texts_that_do_not(text: str, code: str) -> None:
    assert codes(text)[0] == code


def check(text: str) -> None:
    found = None
    try:
        parse_text(text)
    except NasError as error:
        found = error.diagnostics
    if found is None:
        return
    assert found and render_all(found)
    for diagnostic in found:
        assert diagnostic.span is not None
        assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text)


anything = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
WORDS = """
space op cell input for in if else then return require shared from import as choose of and or not true x y conv
3 2.5 5M 3x .5 "a" "b ( ) [ ] { } , : = | -> + - * // == <= < .. ~ é → ** && # ##
"""
words = st.sampled_from([*WORDS.split(), "\n", "\n"])


@anything
@given(st.text())
def test_any_text_ends_in_a_tree_or_a_diagnostic(text: str) -> None:
    check(text)


@anything
@given(st.lists(words).map(" ".join))
def test_any_words_end_in_a_tree_or_a_diagnostic(text: str) -> None:
    check(text)


@anything
@given(st.sampled_from(SHIPPED), st.randoms(use_true_random=False))
def test_any_mutant_of_a_space_ends_in_a_tree_or_a_diagnostic(source: Source, chance: random.Random) -> None:
    text = source.text
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.randint(0, 12))
        piece = chance.choice(["", text[start:end] * 2, chance.choice("(){}[],:=|->+\n\x00é\"'# 3x")])
        text = text[:start] + piece + text[end:]
    check(text)
