"""Warnings: what is allowed and hardly meant, one test a rule, each with what looks like it and is fine."""

from __future__ import annotations

from nasdsl.language import lints
from tests.language.programs import space, warned


def examined(statements: str, *codes: str) -> list[str]:
    """The messages about a finished space."""
    found = lints.examine(space(statements))
    assert [d.code for d in found] == list(codes), found
    return [d.message for d in found]


def test_an_input_that_nothing_reads() -> None:
    (said,) = warned("return x", "N701", inputs="input x: [3]\ninput y: [3]")
    assert said.message == "the input `y` is never used"
    # What is returned is used, and what a candidate may read as well.
    warned("return x, y", inputs="input x: [3]\ninput y: [3]")
    warned("return x | y", inputs="input x: [3]\ninput y: [3]")


def test_a_definition_that_nothing_uses() -> None:
    (said,) = warned("op f = relu\ncell g = tanh\nreturn x -> g", "N702")
    assert said.message == "nothing uses the op `f`" and said.span is not None and said.span.text == "f"
    warned("shared f = conv(3, kernel = 1)\nreturn x", "N702")
    # A branch that isn't taken names it all the same.
    warned("op f = relu\nreturn if 1 == 2 then f(x) else x")


def test_an_import_that_nothing_uses() -> None:
    warned('from "lib/cifar.nas" import sep_conv\nspace s {\ninput x: [3, 8, 8]\nreturn x\n}', "N703")


def test_a_name_that_hides_an_operation() -> None:
    (said,) = warned("op relu = tanh\nreturn x -> relu", "N704")
    assert said.message == "the op `relu` hides the operation of that name"


def test_a_label_that_hides_an_operation() -> None:
    (said,) = warned("return x -> (tanh: relu | other: gelu)", "N705")
    assert said.span is not None and said.span.text == "tanh: relu"
    warned("return x -> (relu: relu -> batchnorm | tanh: tanh)")
    warned("op f = relu\nreturn x -> (f: gelu | g: f)", "N705")


def test_a_candidate_twice() -> None:
    (said,) = warned("return x -> (a: relu | b: tanh | c: relu)", "N706")
    assert said.message == "two candidates of this choice are the same, `relu`"
    # Two that differ in a setting are two.
    warned("return x -> (a: conv(kernel = 1) | b: conv(kernel = 3))")


def test_a_choice_that_changes_nothing() -> None:
    (said,) = examined("w = 8 | 16\nreturn x -> relu", "N707")
    assert said == "the choice `w` changes nothing"
    (said,) = examined("w = 8 | 16 | 24\nrequire w <= 16\nreturn x -> relu", "N707")
    assert "though a `require` asks for it" in said
    # A choice inside a tensor that nothing reads changes nothing either.
    examined("y = x -> conv(kernel = 1 | 3)\nreturn x -> relu", "N707")
    examined("w = 8 | 16\nreturn x -> conv(w, kernel = 1)")
    examined("d = 1 | 2\nreturn x -> repeat(relu, d)")


def test_architectures_that_ignore_their_input() -> None:
    examined("return sum(choose any of { x, relu(x) }) -> global_avgpool -> linear(3)", "N708")
    examined("return x -> relu -> zero -> (relu | gelu) -> global_avgpool -> linear(3)", "N708")
    # A `zero` that is chosen is there on purpose.
    examined("return x -> (zero | relu) -> global_avgpool -> linear(3)")
    # Where another way is open, or a `require` forbids it, nothing is said.
    examined("return (x -> (zero | relu)) + x")
    examined('y = x -> (zero | relu)\nrequire count("zero") == 0\nreturn y')
