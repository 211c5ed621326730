"""Rules 1 to 5 of the language: words, kinds, uses, arguments, guards."""

from __future__ import annotations

import pytest

from tests.language.programs import labels, names, refused, shape, space


class TestWords:
    """Rule 1. The grammar is tested with the parser; here, that precedence means what it says."""

    def test_keywords_end_at_a_word_boundary(self) -> None:
        assert shape(space("cells = 2\nifs = cells + 1\nreturn x -> conv(ifs, kernel = 1)")) == "[3, 8, 8]"

    @pytest.mark.parametrize(
        ("number", "value"),
        [
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("7 // 2 * 2", 6),
            ("2 - 1 - 1 + 4", 4),
            ("-2 + 5", 3),
            ("7 % 4 + 1", 4),
            ("if 1 == 1 and not 2 == 3 then 5 else 6", 5),
            ("if 1 > 2 or 3 in 1..3 then 4 else 2", 4),
            ("if true then 3 else 1 / 0", 3),
        ],
    )
    def test_precedence(self, number: str, value: int) -> None:
        assert shape(space(f"n = {number}\nreturn x -> conv(n, kernel = 1)")) == f"[{value}, 8, 8]"

    def test_branches_of_if_are_whole_pipes(self) -> None:
        found = space("return if 1 == 1 then x -> conv(4, kernel = 1) -> relu else x")
        assert shape(found) == "[4, 8, 8]"

    def test_alternatives_bind_loosest(self) -> None:
        assert labels(space("y = x -> relu -> tanh | x\nreturn y")) == {"y": ("x -> relu -> tanh", "x")}


class TestKinds:
    """Rule 2."""

    def test_the_six_kinds(self) -> None:
        found = space(
            """
            t = relu(x)
            n = 3/2
            b = n > 1
            s = "wide"
            l = [n, 2]
            op f = relu
            return if b and s == "wide" and len(l) == 2 then f(t) else t"""
        )
        assert shape(found) == "[8, 8, 8]"

    def test_arithmetic_takes_no_operations(self) -> None:
        refused("y = «relu» + tanh\nreturn x", "N210")
        refused("y = x * «relu»\nreturn x", "N210")
        refused("y = -«relu»\nreturn x", "N210")
        refused("y = x + («if 1 == 1 then relu else tanh»)\nreturn x", "N210")

    def test_arithmetic_takes_no_texts_and_no_truth(self) -> None:
        refused('y = x + «"a"»\nreturn x', "N210")
        refused("y = 1 + «true»\nreturn x", "N210")
        refused("y = 1 + («2 > 1»)\nreturn x", "N210")

    def test_candidates_are_of_one_kind(self) -> None:
        space("y = relu(x) | x\nw = 1 | 2\nreturn y -> (relu | tanh) -> conv(w, kernel = 1)")
        refused("y = x | «relu»\nreturn y", "N204")
        refused("y = x | «3»\nreturn y", "N204")
        refused("w = 3 | «relu»\nreturn x", "N204")
        refused("y = choose { x, «relu» }\nreturn y", "N204")

    def test_lists_texts_and_truth_are_not_chosen(self) -> None:
        refused("l = «[x]» | [x, x]\nreturn x", "N204")
        refused('s = «"a"» | "b"\nreturn x', "N204")
        refused("b = «true» | false\nreturn x", "N204")
        refused("l = «choose 1 of { x, relu(x) }» | [x]\nreturn x", "N204")

    def test_equals_names_no_operations(self) -> None:
        (said,) = refused("f = «relu -> tanh»\nreturn x -> f", "N201")
        assert "shared f = relu -> tanh" in (said.help or "")
        refused("f = «relu»\nreturn x", "N201")
        refused("f = «relu | tanh»\nreturn x", "N201")
        refused("f = «conv(8, kernel = 1)»\nreturn x", "N201")
        refused("f = «repeat(relu, 2)»\nreturn x", "N201")

    def test_shared_names_operations_alone(self) -> None:
        refused("shared f = «relu(x)»\nreturn x", "N201")
        refused("shared f = «3»\nreturn x", "N201")

    def test_both_sides_of_a_chosen_if_are_of_one_kind(self) -> None:
        space("c = 1 | 2\nreturn if c == 1 then relu(x) else x")
        refused("c = 1 | 2\ny = if c == 1 then x else «3»\nreturn y", "N204")
        refused("c = 1 | 2\ny = if c == 1 then x else «relu»\nreturn y", "N204")
        refused("c = 1 | 2\nl = if c == 1 then «[1]» else [2]\nreturn x", "N208")

    def test_a_known_if_may_have_sides_of_different_kinds(self) -> None:
        assert shape(space("n = if 1 == 1 then 4 else x\nreturn x -> conv(n, kernel = 1)")) == "[4, 8, 8]"


class TestUses:
    """Rule 3."""

    def test_a_number_is_decided_once_a_use(self) -> None:
        found = space(
            "op f(y, w: int) = y -> conv(w, kernel = 1) -> conv(w, kernel = 3)\nreturn x -> f(4 | 8) -> f(4 | 8)"
        )
        assert labels(found) == {"f#1.w": ("4", "8"), "f#2.w": ("4", "8")}
        assert found.count() == 4

    def test_a_tensor_is_decided_before_the_body(self) -> None:
        found = space("op twice(y) = y + relu(y)\nreturn twice(relu(x) | tanh(x))")
        assert labels(found) == {"choice": ("relu(x)", "tanh(x)")}

    def test_an_operation_is_a_template(self) -> None:
        found = space("op twice(y, f: op) = f(y) + f(y)\nreturn x -> twice(relu | tanh)")
        assert labels(found) == {"twice.f#1": ("relu", "tanh"), "twice.f#2": ("relu", "tanh")}

    def test_repeat_and_chain_make_a_use_a_copy(self) -> None:
        assert space("return x -> repeat(relu | tanh, 3)").count() == 8
        assert space("return x -> chain([relu | tanh, relu | tanh])").count() == 4

    def test_scan_makes_one_use(self) -> None:
        found = space(
            "op rnn(e, h: [D]) = tanh(linear(D)(e) + linear(D)(h)) | relu(linear(D)(e) + h)\nreturn x -> scan(rnn, state = [4])",
            inputs="input x: [T, 6]",
        )
        assert found.count() == 2 and shape(found) == "[T, 4]"

    def test_defaults_are_evaluated_a_use_after_inputs_and_dimensions(self) -> None:
        found = space(
            "op f(y: [C, H, W], w = 2*C, v = w + 1) = y -> conv(w, kernel = 1) -> conv(v, kernel = 1)\nreturn x -> f -> f(w = 3)"
        )
        assert [n.type.dims[0] for n in found.graph.all_nodes() if n.operation == "conv"] == [16, 17, 3, 4]

    def test_a_default_can_choose(self) -> None:
        found = space("op f(y, k = 1 | 3) = y -> conv(kernel = k)\nreturn x -> f -> f -> f(k = 5)")
        assert labels(found) == {"f#1.k": ("1", "3"), "f#2.k": ("1", "3")}


class TestArguments:
    """Rule 4."""

    def test_inputs_and_settings(self) -> None:
        definition = "op f(a, b: [C, H, W], w: int, g: op, k = 1) = g(a + b) -> conv(w, kernel = k)\n"
        for call in (
            "f(x, x, 4, relu)",
            "f(x, x, w = 4, g = relu)",
            "(x, x) -> f(4, relu)",
            "x -> f(x, 4, relu, 3)",
            "x -> f(4, x, relu, k = 3)",
            "f(4, relu)(x, x)",
            "f(a = x, b = x, w = 4, g = relu)",
        ):
            assert shape(space(f"{definition}return {call}")) == "[4, 8, 8]", call

    def test_a_missing_input(self) -> None:
        (said,) = refused("op f(a, b) = a + b\nreturn «f(x)»", "N202")
        assert "(a, b) -> f" in (said.help or "")
        refused("op f(a, b) = a + b\nreturn x -> «f»", "N202")

    def test_too_many_inputs(self) -> None:
        refused("op f(a, b) = a + b\nreturn x -> «f(x, x)»", "N203")
        refused("return «relu(x, x)»", "N203")
        refused("op f = «relu»\nreturn f(x, x)", "N203")

    def test_a_missing_setting(self) -> None:
        (said,) = refused("op f(y, k: int) = y -> conv(kernel = k)\nreturn «f(x)»", "N202")
        assert "f(k = …)" in (said.help or "")
        refused("return x -> «conv(8)»", "N202")

    def test_too_many_settings(self) -> None:
        refused("op f(y, k = 1) = y -> conv(kernel = k)\nreturn x -> f(1, «2»)", "N203")
        refused("return x -> relu(«3»)", "N203")
        refused("return x -> linear(1, true, «3»)", "N203")

    def test_a_setting_twice(self) -> None:
        refused("return x -> linear(1, «features = 3»)", "N203")
        refused("op f(y, k = 1) = y\nreturn x -> f(k = 1, «k = 2»)", "N203")
        refused("return x -> repeat(relu, 2, «depth = 3»)", "N203")

    def test_an_unknown_setting(self) -> None:
        (said,) = refused("return x -> conv(8, «kernl» = 3)", "N106")
        assert said.help == "did you mean `kernel`?"
        refused("op f(y, k = 1) = y\nreturn x -> f(«j» = 2)", "N106")
        refused("return x -> repeat(relu, «depht» = 2)", "N106")
        refused("return sum([x], «axis» = 1)", "N106")

    def test_an_input_that_was_meant_to_be_a_setting(self) -> None:
        (said,) = refused("op f(y, v) = y\nreturn (x, x) -> f(«16»)", "N203")
        assert said.message == "`f` takes no settings"
        (said,) = refused("op f(y, width) = conv(4, kernel = 1)(y)\nreturn x -> «f(16)»", "N202")
        assert "takes 2 tensors" in said.message
        assert "write `width: int` to make it a setting" in (said.help or "")

    def test_a_size_of_an_input_without_a_pattern(self) -> None:
        (said,) = refused("op f(y, k = «C») = conv(k, kernel = 3)(y)\nreturn f(x)", "N101")
        assert said.help == "the sizes of an input get names in its pattern, such as `x: [C, H, W]`"

    def test_numbers_are_no_inputs(self) -> None:
        refused("op f(y) = relu(y)\nreturn «f(y = 3)»", "N201")
        refused("op f(y) = relu(y)\nreturn 3 -> «f»", "N201")
        refused("return 3 -> «relu»", "N201")

    def test_tensors_are_no_settings(self) -> None:
        refused("op f(y, k = 1) = y -> conv(kernel = k)\nreturn x -> f(k = «relu(x)»)", "N205")
        refused("return x -> conv(8, kernel = «x»)", "N205")

    def test_operations_and_settings(self) -> None:
        refused("op f(y, k = 1) = y -> conv(kernel = k)\nreturn x -> f(«relu»)", "N205")
        refused("op f(y, g: op) = g(y)\nreturn x -> f(«3»)", "N205")
        refused("op f(y, k: int) = y\nreturn x -> f(«relu»)", "N205")
        refused("return x -> conv(«relu», kernel = 1)", "N205")

    def test_types(self) -> None:
        refused("op f(y, k: int) = y\nreturn x -> f(«1/2»)", "N205")
        refused("op f(y, k: bool) = y\nreturn x -> f(«1»)", "N205")
        refused("op f(y, k: int = «0.5») = y\nreturn x -> f", "N205")
        refused("op f(y, k: «itn») = y\nreturn x -> f(1)", "N101")
        space("op f(y, k: int, b: bool, n: number) = y\nreturn x -> f([1, 7], 2 > 1, 0.5)")

    def test_a_dimension_named_twice_is_equal_in_both(self) -> None:
        definition = "op f(a: [C, H, W], b: [C, H, W]) = a + b\n"
        space(f"{definition}return f(x, relu(x))")
        refused(f"{definition}return «f(x, conv(4, kernel = 1)(x))»", "N305")

    def test_dimensions_that_rest_on_choices_are_compared_in_every_architecture(self) -> None:
        definition = "op f(a: [C, H, W], b: [C, H, W]) = a + b\nw = 4 | 8\n"
        space(f"{definition}y = x -> conv(w, kernel = 1)\nreturn f(y, y -> conv(w, kernel = 3))")
        (said,) = refused(
            f"{definition}v = 4 | 8\nreturn «f(conv(w, kernel = 1)(x), conv(v, kernel = 1)(x))»", "N305"
        )
        assert said.message.endswith('where w == "4" and v == "8"')

    def test_dimensions_are_computed(self) -> None:
        definition = "op f(a: [C, H, W], b: [2*C, H, 8]) = a\n"
        space(f"{definition}return f(x, conv(16, kernel = 1)(x))")
        refused(f"{definition}return «f(x, x)»", "N305")

    def test_the_rank_and_kind_of_an_input(self) -> None:
        refused("op f(a: [C]) = a\nreturn «f(x)»", "N305")
        refused("op f(a: int[T]) = a -> onehot(3)\nreturn «f(x)»", "N305")
        refused("op f(a: [C]) = a\nreturn «f([x])»", "N305")

    def test_lists_of_tensors_are_inputs(self) -> None:
        assert (
            shape(space("op f(n, w: int) = sum(n) -> conv(w, kernel = 1)\nreturn f([x, relu(x)], 4)"))
            == "[4, 8, 8]"
        )
        assert shape(space("op f(n) = concat(n)\nreturn [x, x] -> f")) == "[16, 8, 8]"
        refused("op f(n) = sum(n)\nreturn «f(n = [1, 2])»", "N201")

    def test_what_is_piped_comes_first(self) -> None:
        found = space("op f(a, b) = a - b\nreturn relu(x) -> f(x)")
        node = next(n for n in found.graph.all_nodes() if n.operation == "subtract")
        assert [found.graph.node(e.source).operation for e in found.graph.reads(node.id)] == ["relu", "input"]

    def test_a_pipe_without_a_tensor_is_an_operation(self) -> None:
        assert shape(space("op f = relu -> conv(4, kernel = 1)\nreturn x -> (f -> relu)")) == "[4, 8, 8]"
        refused("return x -> («x -> relu»)", "N201")

    def test_forms_take_their_tensor_either_way(self) -> None:
        for call in (
            "x -> repeat(relu, 2)",
            "repeat(x, relu, 2)",
            "repeat(relu, 2)(x)",
            "chain(x, [relu, tanh])",
        ):
            assert shape(space(f"return {call}")) == "[8, 8, 8]", call


class TestGuards:
    """Rule 5."""

    def test_what_is_in_a_candidate_exists_with_it(self) -> None:
        found = space("y = x -> (a: conv(kernel = 1 | 3) | b: relu)\nreturn y")
        assert found.count() == 3
        assert names("y = x -> (a: conv(kernel = 1 | 3) | b: relu)\nreturn y") == ["y", "y.a.kernel"]

    def test_what_is_assigned_outside_a_candidate_is_decided_outside(self) -> None:
        assert space("k = 1 | 3\ny = x -> (a: conv(kernel = k) | b: relu)\nreturn y").count() == 4

    def test_a_sublist_guards_its_candidates(self) -> None:
        found = space("return sum(choose 1 of { a: x -> (relu | tanh), b: x })")
        assert found.count() == 3

    def test_a_chosen_if_guards_its_sides(self) -> None:
        found = space("c = 1 | 2\nreturn if c == 1 then x -> (relu | tanh) else x -> (relu | tanh | gelu)")
        assert found.count() == 5

    def test_copies_below_the_chosen_depth_exist(self) -> None:
        assert space("return x -> repeat(relu | tanh, 1 | 3)").count() == 2 + 8

    def test_a_node_is_checked_only_where_its_guard_holds(self) -> None:
        space(
            "w = 6 | 8\nreturn x -> conv(w, kernel = 1) -> (if w == 8 then conv(8, kernel = 1, groups = 4) else conv(8, kernel = 1))"
        )
        refused("w = 6 | 8\nreturn x -> conv(w, kernel = 1) -> «conv(8, kernel = 1, groups = 4)»", "N301")

    def test_a_side_that_is_never_taken_is_not_in_the_space(self) -> None:
        found = space("c = 1 | 2\nreturn if c > 3 then x -> flatten -> linear(8) else x")
        assert shape(found) == "[8, 8, 8]"
