"""Tree to text: the shipped files are as formatted, trees and comments survive, twice is once."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nasdsl import resources
from nasdsl.diagnostics import Source
from nasdsl.language.format import format_expression, format_file, number_text
from nasdsl.language.parser import parse, parse_expression
from nasdsl.language.syntax import File
from tests.language import strategies

SHIPPED = sorted(resources.spaces().rglob("*.nas"))
# Trees are large: shrinking one takes minutes, reading one takes less.
quickly = settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def reformat(text: str) -> str:
    source = Source("<text>", text)
    return format_file(parse(source), source)


def comments(text: str) -> Counter[str]:
    found = re.findall(r'"[^"\r\n]*"|#[^\r\n]*', text)
    return Counter(comment.rstrip() for comment in found if comment.startswith("#"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_spaces_are_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert reformat(text) == text


@quickly
@given(strategies.files)
def test_a_made_tree_survives_formatting(tree: File) -> None:
    text = format_file(tree, strategies.NOWHERE.source)
    assert parse(Source("<text>", text)) == tree
    assert reformat(text) == text


@quickly
@given(st.data())
def test_any_spelling_of_a_tree_survives_formatting(data: st.DataObject) -> None:
    tree = data.draw(strategies.files)
    text = data.draw(strategies.spellings(format_file(tree, strategies.NOWHERE.source)))
    formatted = reformat(text)
    assert parse(Source("<text>", formatted)) == tree
    assert comments(formatted) == comments(text)
    assert reformat(formatted) == formatted


@quickly
@given(strategies.expressions)
def test_an_expression_survives_on_one_line(expression) -> None:
    text = format_expression(expression)
    assert "\n" not in text
    assert parse_expression(text) == expression


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("tanh", "tanh"),
        ("( 3.50 )", "3.50"),
        ("x->conv(2 * C,kernel=3 | 5)", "x -> conv(2*C, kernel = 3|5)"),
        ("16|24", "16 | 24"),
        ("n[ i - 1 ][2 ..]", "n[i-1][2..]"),
        ("0 .. i-1", "0..i-1"),
        ("(a|b)->(c->d)", "(a | b) -> (c -> d)"),
        ("(a+b)*c-(d-e)", "(a + b) * c - (d - e)"),
        ("choose{none:zero,identity,}", "choose { none: zero, identity }"),
        ("choose 1 .. 2 of{f(t)for t in n if t>1}", "choose 1..2 of { f(t) for t in n if t > 1 }"),
        ("if not(a and b)then c else(d|e)", "if not (a and b) then c else (d | e)"),
        ("-(-x)", "--x"),
    ],
)
def test_expressions(text: str, formatted: str) -> None:
    assert format_expression(parse_expression(text)) == formatted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(3), "3"),
        (Fraction(7, 2), "3.5"),
        (Fraction(1, 80), "0.0125"),
        (Fraction(1, 3), "1/3"),
        (Fraction(-3, 2), "-1.5"),
    ],
)
def test_numbers(value: Fraction, text: str) -> None:
    assert number_text(value) == text


def test_a_whole_file() -> None:
    assert (
        reformat("""\


# Head.
from  "lib/cifar.nas"  import sep_conv,dil_conv as dilated
## What it is.
op f( x:[C,H,W], # the input
     k:int=3 ) = relu # trailing
cell g(x){ # after the brace

  y=x   # one
      -> conv(3,kernel=3)   # two
      # between
      -> relu->gelu


  z = choose 2 of { a:relu(x), # first
    # before the second
    longer:gelu(x) # second
  } # behind
  if y==2{ a=1 # inner
  } else if y==3 { a=2 }
  else { a = 3 }
  for i in 1..3 { b=i }
  edge =
     | none:zero
     | skip_connect : identity # kept
  return y,z
  # end
}
# last
""")
        == """\
# Head.
from "lib/cifar.nas" import sep_conv, dil_conv as dilated

## What it is.
op f(
  x: [C, H, W],  # the input
  k: int = 3,
) = relu  # trailing
cell g(x) {  # after the brace
  y = x  # one
    -> conv(3, kernel = 3)  # two
    # between
    -> relu -> gelu

  z = choose 2 of {
    a:      relu(x),  # first
    # before the second
    longer: gelu(x),  # second
  }  # behind
  if y == 2 {
    a = 1  # inner
  } else if y == 3 { a = 2 } else { a = 3 }
  for i in 1..3 { b = i }
  edge =
    | none:         zero
    | skip_connect: identity  # kept
  return y, z
  # end
}
# last
"""
    )


def test_long_lines_break() -> None:
    words = " -> ".join(f"operation_{i}(channels, kernel = 3)" for i in range(6))
    text = reformat(f"op f = {words}\nop g = f({', '.join(f'argument_{i} = {i}' for i in range(12))})\n")
    assert (
        text
        == """\
op f = operation_0(channels, kernel = 3)
  -> operation_1(channels, kernel = 3) -> operation_2(channels, kernel = 3) -> operation_3(channels, kernel = 3)
  -> operation_4(channels, kernel = 3) -> operation_5(channels, kernel = 3)
op g = f(
  argument_0 = 0,
  argument_1 = 1,
  argument_2 = 2,
  argument_3 = 3,
  argument_4 = 4,
  argument_5 = 5,
  argument_6 = 6,
  argument_7 = 7,
  argument_8 = 8,
  argument_9 = 9,
  argument_10 = 10,
  argument_11 = 11,
)
"""
    )
    assert reformat(text) == text


def test_a_deep_tree_is_formatted() -> None:
    for text in ("[" * 199 + "]" * 199, "a + " * 900 + "a", "(a -> " * 199 + "b" + ")" * 199):
        expression = parse_expression(text)
        assert parse_expression(format_expression(expression)) is not None
        assert reformat(reformat(f"op f = {text}")) == reformat(f"op f = {text}")
