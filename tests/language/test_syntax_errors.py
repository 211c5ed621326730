"""What is said where a text does not parse: codes, places, words and several messages a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.mutations import mutants, outcome, shipped_sources
from nasdsl.diagnostics import Diagnostic, NasError, render
from nasdsl.language import syntax_errors
from nasdsl.language.parser import parse_text


def faults(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(NasError) as caught:
        parse_text(text)
    return caught.value.diagnostics


def said(text: str) -> str:
    (fault,) = faults(text)
    return render(fault)


# Text, code, the text under the carets, a part of the message, a part of the help.
CASES = [
    ("op f = conv(3) relu", "N003", "relu", "`conv(3)` and `relu`", "conv(3) -> relu"),
    ("op f = conv(3, kernel 3)", "N003", "3", "`kernel` and `3`", "conv(3, kernel = 3)"),
    ("op f = conv(8 kernel = 3)", "N003", "kernel", "`8` and `kernel`", "conv(8, kernel = 3)"),
    ("op f(x) { prev cur = x, x return x }", "N003", "cur", "`prev` and `cur`", "prev, cur = x, x"),
    ("op f(x y) = x", "N003", "y", "`x` and `y`", "op f(x: y) = x"),
    ("op f = n [a, b]", "N003", "[", "`n` and `[a, b]`", "n([a, b])"),
    ("op f =\n  | a: b\n  c: d\n  | e: f", "N003", "c", "`|` is missing before the candidate `c`", "| c: d"),
    ("op f = (a -> b\nop g = c", "N002", "", "this `(` is never closed", "op f = (a -> b)"),
    (
        "op f = conv(16, kernel = k -> batchnorm -> relu",
        "N002",
        "",
        "this `(` is never closed",
        "op f = conv(16, kernel = k) -> batchnorm -> relu",
    ),
    ("op f = conv(16 -> g(relu)\nop g = c", "N002", "", "never closed", "op f = conv(16) -> g(relu)"),
    ("op f = g(h(2, k = 3) -> relu\nop g = c", "N002", "", "never closed", "op f = g(h(2, k = 3) -> relu)"),
    ("op f = a)", "N002", ")", "this `)` closes nothing", "take it out"),
    ("op f = [a)", "N002", ")", "`[` is closed by `)`", "op f = [a]"),
    ("op f(x)\n  return x\n}", "N002", "", "has no `{`", "op f(x) {"),
    ("op f(x) {\n  return x\n", "N002", "", "this `{` is never closed", "on a line of its own"),
    ("op f = 'relu'", "N004", "'relu'", 'strings stand between `"`', '"relu"'),
    ('from "a.nas import b', "N004", '"a.nas import b', "this string does not end", '"a.nas" import b'),
    ("op f = a.b", "N004", ".", "there are no attributes", ""),
    ("op f = 3x", "N005", "3x", "`x` is glued to the number `3`", "`3*x`"),
    ("op f = 5m", "N005", "5m", "`m` is glued", "`5M`"),
    ("op f = .5", "N005", ".5", "a number begins with a digit", "op f = 0.5"),
    ("op f = 1_000", "N005", "1_000", "digits are not grouped", "1000"),
    ("op in = relu", "N007", "in", "`in` is a keyword", "`in_`"),
    ("op f(x) {\n  if = 3\n  return x\n}", "N007", "if", "`if` is a keyword", "`if_`"),
    ("op f(x) {\n  for = 3\n  return x\n}", "N007", "for", "`for` is a keyword", "`for_`"),
    ("op f(x) {\n  y := x\n  return y\n}", "N011", ":=", "`:=` is written `=`", "y = x"),
    ("op f(for) = relu", "N007", "for", "`for` is a keyword", "`for_`"),
    ("op f = g(of = 3)", "N007", "of", "`of` is a keyword", "`of_`"),
    ("op f = a < b < c", "N008", "<", "comparisons do not chain", "a < b and b < c"),
    ("op f = g(none: zero)", "N008", "none:", "a label stands only before a candidate", "none = 3"),
    ('op f = a\nfrom "a.nas" import b', "N008", "from", "imports stand before", "to the top"),
    ("return x", "N008", "return", "at the level of the file", "`space`, `op` and `cell`"),
    ("op f(x) { input y: [3] return y }", "N008", "input", "`input` cannot stand here", ""),
    ("op f = a then b", "N008", "then", "this `then` has no `if`", "if … then"),
    ("op f = x +", "N009", "", "a value is missing after `+`", ""),
    ("op f =", "N009", "", "the value of `f` is missing", ""),
    ("op = relu", "N009", "=", "the name of the operation is missing", "`op name`"),
    ("op f = [t for t n]", "N009", "n", "`in` is missing", "[t for t in n]"),
    ("op f = choose 2 { a, b }", "N009", "{", "`of` is missing", "choose 2 of { a, b }"),
    ("op f = choose { }", "N009", "{ }", "no candidates", "choose {"),
    ("op f = if a then b", "N009", "", "`else` is missing", "if … then … else"),
    ("op f = if a b else c", "N009", "b", "`then` is missing", "if a then b else c"),
    ("op f(x) { return }", "N009", "return", "`return` has no value", "return y"),
    ("f(x) { return x }", "N009", "f", "`space`, `op` or `cell` is missing", "op f(x) {"),
    ("op f(x) { i in 1..3 { y = i } return y }", "N009", "i", "`for` or `if` is missing", "for i in 1..3"),
    ("from lib import f", "N009", "lib", "wants a path", '"lib.nas"'),
    ('from "a.nas" f', "N009", "f", "`import` is missing", '"a.nas" import f'),
    ("op f(x) {\n  conv(x)\n  return x\n}", "N010", "conv", "neither names nor returns", "y = conv"),
    ("op f(x) {\n  retrun x\n}", "N011", "retrun", "no word of the language", "`return`"),
    ("spcae s { return a }", "N011", "spcae", "no word of the language", "`space`"),
    ("op f = a || b", "N011", "||", "`||` is written `or`", "a or b"),
    ("op f = a && b", "N011", "&&", "`&&` is written `and`", "a and b"),
    ("op f = a → b", "N011", "→", "`→` is written `->`", "a -> b"),
    ("op f = x**2", "N011", "**", "no power operator", "x*x"),
    ("op f(x) { x += 1 return x }", "N011", "+=", "there is no `+=`", "x = x + 1"),
    ("op f(x) { let y = 3 return y }", "N011", "let", "`let` is no word", "`x = 3`"),
    ("op f(x) { for i in 1..3: y = i }", "N011", ":", "a body stands between", "for i in 1..3 {"),
    ("op f(x) { if x = 3 { y = 2 } return y }", "N011", "=", "`==` compares", "if x == 3"),
    ("op f = a -> -> b", "N012", "->", "`->` stands twice", "a -> b"),
    ("op op f = a", "N012", "op", "`op` stands twice", "op f = a"),
    ("op f = g(a,, b)", "N012", ",", "`,` stands twice", "g(a, b)"),
    ("op f(x) { if a then x = 1 return x }", "N013", "then", "an `if` statement has braces", "if … {"),
    (
        "op f(x) = { relu -> tanh }",
        "N001",
        "{",
        "what follows `=` stands without braces",
        "take the braces away",
    ),
    ("op f = { a, b }", "N009", "{", "`choose` is missing", "choose {"),
    ("op f(x: 3) = a", "N009", "3", "a type is missing", "a default follows `=`: `x = 3`"),
    ("op f = if a { b } else { c }", "N013", "{", "an `if` in an expression has no braces", "then"),
]


@pytest.mark.parametrize(("text", "code", "place", "message", "help"), CASES, ids=[case[0] for case in CASES])
def test_messages(text: str, code: str, place: str, message: str, help: str) -> None:
    (fault,) = faults(text)
    assert fault.span is not None
    assert (fault.code, fault.span.text) == (code, place)
    assert message in fault.message
    assert help in (fault.help or "")


def test_every_code_has_a_title() -> None:
    folder = Path(syntax_errors.__file__).parent
    names = ("parser", "brackets", "unreadable", "syntax_errors")
    used = {
        code
        for name in names
        for code in re.findall(r'"(N\d{3,4})"', (folder / f"{name}.py").read_text("utf-8"))
    }
    assert used == set(syntax_errors.TITLES)


def test_four_faults_in_one_run() -> None:
    text = """\
space s(width = 8) {
  input image: [3, 32, 32]
  op edge =
    | none: zero
    | skip identity
    | conv: conv(3 kernel = 3)

  cell normal(x0) {
    x1 = edge(x0)
    for i 1..3 { x2 = edge(x1) }
    x3 = edge(x0) + + edge(x1)
    return x3
  }

  y = image -> conv(width, kernel = 3
  return y -> normal
}
"""
    lines = [fault.span.source.position(fault.span.start)[0] for fault in faults(text) if fault.span]
    assert lines == [5, 10, 11, 15]


def test_a_broken_header_hides_nothing_in_its_body() -> None:
    text = "cell normal(x0 {\n  for in 1..3 {\n    y = 3 4\n  }\n  return\n}\nop f = a b\n"
    lines = [fault.span.source.position(fault.span.start)[0] for fault in faults(text) if fault.span]
    assert lines == [1, 2, 3, 5, 7]


def test_a_second_place_shows_the_open_bracket() -> None:
    assert (
        said("op f(x) {\n  y = sum(choose 2 of {\n    a, b\n  }\n  return y\n}")
        == """\
<text>:4:4: error[N002]: this `(` is never closed
   4 |   }
     |    ^ `)` is missing here
   2 |   y = sum(choose 2 of {
     |          - this bracket opens here"""
    )


def test_the_indentation_tells_where_a_brace_is_missing() -> None:
    text = "cell f(x) {\n  for i in 1..3 {\n    if i == 2 {\n      y = i\n  }\n  return y\n}\n"
    (fault,) = faults(text)
    assert fault.span is not None
    assert fault.span.source.position(fault.span.start)[0] == 4
    assert fault.notes[0].span.text == "{"
    assert fault.notes[0].span.source.position(fault.notes[0].span.start)[0] == 3


def test_messages_are_bounded() -> None:
    assert len(faults("op f = a b\n" * 5_000)) <= 100


def test_mutants_of_the_shipped_spaces() -> None:
    """A sample of ``benchmarks/mutations.py``, which counts 99.9 %."""
    every = [mutant for source in shipped_sources() for mutant in mutants(source)]
    outcomes = [outcome(mutant) for mutant in every[:: len(every) // 400]]
    rejected = [result for result in outcomes if result.error is not None]
    assert len(rejected) > 300
    assert sum(result.hit for result in rejected) >= 0.95 * len(rejected)
    for result in rejected:
        assert result.error is not None
        for diagnostic in result.error.diagnostics:
            words = " ".join([diagnostic.message, diagnostic.label, diagnostic.help or ""])
            # No terminal of the grammar, only words as they are written.
            assert not re.search(r"\b[A-Z]{3,}\b", re.sub(r"`[^`]*`", "", words))
            assert not re.search(
                r"`(arrow|vbar|dots|plus|minus|times|equal|comma|colon|[lr](par|sqb|brace))`", words
            )
