"""Rules 6 to 9 of the language: cells, names, what may be chosen, scope."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasdsl import pipeline
from nasdsl.diagnostics import NasError
from tests.language.programs import errors, labels, names, refused, shape, space


class TestCells:
    """Rule 6."""

    def test_choices_are_made_once_for_all_uses(self) -> None:
        found = space("cell act = relu | gelu\nreturn x -> act -> act -> act")
        assert labels(found) == {"act": ("relu", "gelu")} and found.count() == 2

    def test_each_use_has_its_own_weights(self) -> None:
        found = space("cell c = conv(kernel = 1 | 3)\nreturn x -> c -> c")
        assert [n.owner for n in found.graph.all_nodes() if n.operation == "conv"] == [1, 2]

    def test_named_from_the_cell_wherever_it_is_used(self) -> None:
        body = """
            cell inner = relu | gelu
            cell outer(y) { z = inner(y) + (tanh(y) | y)
              return z }
            op f = outer
            y = x -> f -> repeat(f, 2)
            return y"""
        assert names(body) == ["inner", "outer.z"]

    def test_guards_are_joined_by_or(self) -> None:
        found = space("cell act = relu | gelu\nop f = a: act | b: tanh\nreturn x -> f -> f")
        # 2 · 2 ways, and the cell's choice exists in three of them.
        assert names("cell act = relu | gelu\nop f = a: act | b: tanh\nreturn x -> f -> f") == [
            "f#1",
            "act",
            "f#2",
        ]
        assert found.count() == 1 + 3 * 2
        assert sorted(len(found.genotype_of(a)) for a in ({0: 1, 1: 0, 2: 1}, {0: 1, 1: 0, 2: 0})) == [2, 3]

    def test_two_uses_must_have_the_same_candidates(self) -> None:
        body = """
            cell pick(n) = choose {{ t for t in n }}
            return {} + {}"""
        space(body.format("pick([x, x])", "pick([x, relu(x)])"))
        (said,) = refused(
            "cell pick(n) = «choose { t for t in n }»\nreturn pick([x, x]) + pick([x, x, x])", "N403"
        )
        assert [note.span.text for note in said.notes] == ["pick([x, x, x])", "pick([x, x])"]
        assert "the candidates 0, 1 and 2" in said.notes[0].text

    def test_two_uses_must_choose_equally_many(self) -> None:
        refused(
            "cell pick(n, k: int) = sum(«choose k of { t for t in n }»)\nreturn pick([x, x, x], 1) + pick([x, x, x], 2)",
            "N403",
        )

    def test_a_cell_may_use_others_but_not_itself(self) -> None:
        (said,) = refused("cell c(d: int) = if d == 0 then relu else «c(d - 1)»\nreturn x -> c(2)", "N605")
        assert "inside itself" in said.message
        refused(
            "cell c(d: int) = if d == 0 then relu else f(d - 1)\nop f(d: int) = «c(d)»\nreturn x -> c(2)",
            "N605",
        )

    def test_a_cell_within_what_it_is_given(self) -> None:
        refused("cell c(y, f: op) = f(y) | y\nop g = «c(f = relu)»\nreturn c(x, f = g)", "N605")

    def test_arguments_are_decided_by_each_use(self) -> None:
        found = space("cell c(k: int) = conv(kernel = k) | relu\nreturn x -> c(1 | 3) -> c(3 | 5)")
        assert labels(found) == {"c#1.k": ("1", "3"), "c": ("conv(kernel = k)", "relu"), "c#2.k": ("3", "5")}

    def test_a_default_belongs_to_the_cell(self) -> None:
        found = space("cell c(k = 1 | 3) = conv(kernel = k)\nreturn x -> c -> c -> c(5 | 7)")
        assert labels(found) == {"c.k": ("1", "3"), "c#1.k": ("5", "7")}

    def test_values_that_differ_from_use_to_use(self) -> None:
        found = space(
            "cell c(y: [C, H, W]) { w = half: C // 2 | full: C\nreturn y -> conv(w, kernel = 1) -> conv(2 * C, kernel = 1) }\n"
            "return x -> c -> c"
        )
        assert labels(found) == {"c.w": ("half", "full")}
        assert found.choices[0].values == ()
        assert [str(n.type.dims[0]) for n in found.graph.all_nodes() if n.operation == "conv"][1] == "16"


class TestNames:
    """Rule 7."""

    def test_an_assignment_names_the_uses_in_it(self) -> None:
        body = "op edge = relu | tanh\ny = edge(x)\nz = edge(y) + edge(x)\nreturn z"
        assert names(body) == ["y", "z#1", "z#2"]

    def test_a_target_that_two_statements_assign_names_nothing(self) -> None:
        body = "op edge = relu | tanh\ny = edge(x)\ny = edge(y)\nreturn y"
        assert names(body) == ["edge#1", "edge#2"]

    def test_a_list_and_its_items_are_two_targets(self) -> None:
        body = "op edge = relu | tanh\nn = [edge(x)]\nn[1] = edge(n[0])\nreturn n[1]"
        assert names(body) == ["n", "n[1]"]

    def test_items_are_named_by_their_index(self) -> None:
        body = "op edge = relu | tanh\nn = [x]\nfor i in 1..2 { n[i] = edge(n[i-1]) }\nreturn n[2]"
        assert names(body) == ["n[1]", "n[2]"]

    def test_names_in_a_loop_have_its_values(self) -> None:
        body = "op edge = relu | tanh\nfor i in 2..3 { y = edge(x)\nx = y }\nreturn x"
        assert names(body) == ["y[2]", "y[3]"]
        body = "op edge = relu | tanh\nfor i, k in [(1, 5), (2, 6)] { for j in [x] { y = edge(j)\nx = y } }\nreturn x"
        assert names(body) == ["y[1][5][0]", "y[2][6][0]"]

    def test_the_loops_of_the_body_around_do_not_count(self) -> None:
        body = "op f(y) { z = relu(y) | tanh(y)\nreturn z }\nfor i in 0..1 { x = f(x) }\nreturn x"
        assert names(body) == ["x[0].z", "x[1].z"]

    def test_a_tuple_keeps_the_names_of_its_uses(self) -> None:
        body = "op two(y) { return relu(y) | y, tanh(y) }\na, b = two(x)\nreturn a + b"
        assert names(body) == ["two.choice"]
        assert names("op edge = relu | tanh\na, b = edge(x), edge(x)\nreturn a + b") == ["a", "b"]

    def test_otherwise_a_use_has_the_name_of_what_is_used(self) -> None:
        body = (
            "op f(g: op) = g -> conv(kernel = 1 | 3)\nreturn x -> f(relu | tanh) -> f(conv(kernel = 1 | 3))"
        )
        assert names(body) == ["f#1.g", "f#1.conv.kernel", "f#2.g.kernel", "f#2.conv.kernel"]

    def test_a_bare_choice(self) -> None:
        assert names("return x -> conv((1 | 2) * 4, kernel = 1) -> (relu | tanh)") == [
            "conv.channels",
            "choice",
        ]

    def test_a_number_by_its_name(self) -> None:
        assert names("w = (1 | 2) * 4\nreturn x -> conv(w, kernel = 1)") == ["w"]

    def test_a_candidate_gives_its_label(self) -> None:
        body = """
            op f = a: conv(kernel = 1 | 3) | b: conv(kernel = 1 | 3) -> conv(kernel = 1 | 3) | conv(5, kernel = 1)
            return x -> f -> conv(4, kernel = 1)"""
        assert names(body) == ["f", "f.a.kernel", "f.b.conv#1.kernel", "f.b.conv#2.kernel"]

    def test_a_label_stands_for_the_one_use_of_a_tensor(self) -> None:
        body = """
            op g = conv(kernel = 1 | 3)
            y = a: x -> g | b: g(x) | c: g(g(x)) | d: x -> g -> g
            return y"""
        assert names(body) == [
            "y", "y.a.conv.kernel", "y.b.conv.kernel",
            "y.c.g#1.conv.kernel", "y.c.g#2.conv.kernel", "y.d.g#1.conv.kernel", "y.d.g#2.conv.kernel",
        ]  # fmt: skip

    def test_a_choice_in_a_candidate(self) -> None:
        assert names("y = a: (relu(x) | tanh(x)) | b: x\nreturn y") == ["y", "y.a.choice"]

    def test_an_op_whose_body_is_a_choice_adds_nothing(self) -> None:
        assert names("op f = relu | tanh\nop g = f\nreturn x -> f -> g") == ["f", "g.f"]
        assert names("op f(y) = relu(y) | y\nreturn x -> f") == ["f"]
        assert names("op f(y, n = 1) = if n == 1 then (relu(y) | y) else y\nreturn x -> f") == ["f"]
        assert names("op f = choose { g for g in [relu, tanh] }\nreturn x -> f") == ["f"]

    def test_a_chosen_if_is_not_a_choice(self) -> None:
        body = "op f(y, w: int) = if w == 1 then (relu(y) | y) else (tanh(y) | y)\nreturn x -> f(1 | 2)"
        assert names(body) == ["f.w", "f.choice#1", "f.choice#2"]

    def test_repeat_and_its_depth(self) -> None:
        body = "op f = conv(kernel = 1 | 3)\nop stage = f -> repeat(f, 1 | 2)\nreturn x -> stage -> stage"
        assert names(body) == [
            "stage#1.f.conv.kernel", "stage#1.repeat.depth", "stage#1.repeat.f#1.conv.kernel", "stage#1.repeat.f#2.conv.kernel",
            "stage#2.f.conv.kernel", "stage#2.repeat.depth", "stage#2.repeat.f#1.conv.kernel", "stage#2.repeat.f#2.conv.kernel",
        ]  # fmt: skip

    def test_chain_adds_nothing(self) -> None:
        assert names("op f = relu | tanh\nreturn x -> chain([f, f])") == ["f#1", "f#2"]

    def test_steps_count_from_those_that_hold_choices(self) -> None:
        body = "op f(g: op) = g\nreturn x -> f(relu) -> f(relu | tanh) -> f(gelu)"
        assert names(body) == ["f.g"]

    def test_labels_as_written_or_as_formatted(self) -> None:
        found = space("y = x -> (one: relu | conv( 8,kernel=3 ) | repeat(relu,2))\nreturn y")
        assert labels(found)["y"] == ("one", "conv(8, kernel = 3)", "repeat(relu, 2)")

    def test_labels_of_a_comprehension(self) -> None:
        def candidates(text: str) -> tuple[str, ...]:
            return next(iter(labels(space(f"n = [x, x]\ny = choose {{ {text} }}\nreturn y")).values()))

        assert candidates("conv(kernel = k)(x) for k in [3, 5]") == ("3", "5")
        assert candidates("conv(kernel = k)(t) for k in [3, 5] for t in n") == ("0", "1", "2", "3")
        both = candidates("conv(kernel = k, bias = b == 1)(x) for k in [3, 5] for b in 0..1")
        assert both == ("3,0", "3,1", "5,0", "5,1")
        assert candidates("relu(t) for t in n") == ("0", "1")
        assert candidates("f(x) for f in [relu, tanh]") == ("relu", "tanh")
        assert candidates('relu(x) for s in ["a", "b"]') == ("a", "b")
        assert candidates("conv(kernel = k)(x) for k in 1..5 if k % 2 == 1") == ("1", "3", "5")
        assert candidates("x * p for p in [1/2, 1/3, 2]") == ("0.5", "1/3", "2")

    def test_a_label_in_a_comprehension(self) -> None:
        refused("y = choose { «a: relu(t)» for t in [x, x] }\nreturn y", "N402")

    def test_labels_are_unique(self) -> None:
        (said,) = refused("y = x -> (relu | tanh | «relu»)\nreturn y", "N402")
        assert said.notes[0].span.text == "relu" and said.help is not None and "other: relu" in said.help
        refused("y = x -> (a: relu | a: «tanh»)\nreturn y", "N402")
        refused("y = «choose { conv(kernel = k)(x) for k in [1, 1] }»\nreturn y", "N402")

    def test_a_definition_keeps_its_name_under_an_alias(self) -> None:
        body = """
            from "lib/mobile.nas" import mbconv as block
            space s { input x: [8, 8, 8]
            return x -> block(8, kernel = 3 | 5, expand = 1) }"""
        assert all(name.startswith("mbconv.") for name in names(body))

    def test_two_cells_of_one_name_are_told_apart_by_their_file(self, tmp_path: Path) -> None:
        for file in ("a", "b"):
            (tmp_path / f"{file}.nas").write_text("cell act = relu | tanh\n")
        main = tmp_path / "main.nas"
        main.write_text(
            'from "a.nas" import act as one\nfrom "b.nas" import act as two\ncell act = gelu | silu\n'
            "space s { input x: [4]\nreturn x -> one -> two -> act }\n"
        )
        assert [c.name for c in pipeline.load(main).choices] == ["act@a", "act@b", "act@main"]
        main.write_text('from "a.nas" import act as one\nspace s { input x: [4]\nreturn x -> one -> one }\n')
        assert [c.name for c in pipeline.load(main).choices] == ["act"]

    def test_cells_of_one_name_in_one_file(self) -> None:
        body = """
            cell act = relu | tanh
            op old = act
            space s { input x: [4]
            cell act = gelu | silu
            return x -> old -> act }"""
        assert names(body) == ["act@test#1", "act@test#2"]

    def test_shared_operations_are_named_where_they_are_declared(self) -> None:
        body = "op f(y, g: op) = g(y)\nshared w = conv(kernel = 1 | 3)\ny = x -> f(w) -> w\nreturn y"
        assert names(body) == ["w.kernel"]
        assert names("for i in 1..2 { shared w = relu | tanh\nx = x -> w -> w }\nreturn x") == [
            "w[1]",
            "w[2]",
        ]

    def test_an_edit_in_another_body_changes_no_name(self) -> None:
        body = "op f = {}\nop g = relu | tanh\ny = x -> f -> g -> g\nreturn y"
        before, after = names(body.format("identity")), names(body.format("(relu | tanh) -> (relu | tanh)"))
        assert before == ["y#1", "y#2"]
        assert after == ["y#1.choice#1", "y#1.choice#2", "y#2", "y#3"]


class TestChosenAndStatic:
    """Rule 8."""

    def test_elastic_settings(self) -> None:
        for use in (
            "conv(4 | 8, kernel = 3)",
            "conv(kernel = 3 | 5)",
            "conv(kernel = 1, groups = 1 | 2)",
            "depthwise(3 | 5)",
        ):
            assert space(f"return x -> {use}").count() == 2
        for use in ("linear(3 | 4)", "attention(1 | 2, 4)", "attention(2, 2 | 4)"):
            assert space(f"return x -> {use}", "input x: [6, 8]").count() == 2
        assert space("return x -> embedding(10, 3 | 4)", "input x: int[T]").count() == 2

    @pytest.mark.parametrize(
        "use",
        [
            "conv(8, kernel = 3, stride = «1 | 2»)",
            "conv(8, kernel = 3, dilation = «1 | 2»)",
            "maxpool(«3 | 5»)",
            "avgpool(3, stride = «1 | 2»)",
            "upsample(«1 | 2»)",
            "shift(«1 | 2»)",
            "dropout(«0.1 | 0.2»)",
            "conv(8, kernel = «[1, 3 | 5]»)",
        ],
    )
    def test_other_settings_are_static(self, use: str) -> None:
        refused(f"return x -> {use}", "N209")

    def test_by_way_of_a_name_or_an_op(self) -> None:
        refused("k = 3 | 5\nreturn x -> maxpool(«k»)", "N209")
        refused("op f(y, k: int) = y -> maxpool(«k»)\nreturn x -> f(3 | 5)", "N209")

    def test_arithmetic_comparison_and_if(self) -> None:
        found = space("w = 4 | 8\nv = if w >= 8 then w // 2 else w * 2\nreturn x -> conv(v, kernel = 1)")
        assert shape(found) == "[8|4, 8, 8]"

    def test_static_places(self) -> None:
        start = "w = 0 | 1\nn = [x, x]\n"
        refused(f"{start}return n[«w»]", "N208")
        refused(f"{start}return sum(n[«w»..])", "N208")
        refused(f"{start}for i in 0..«w» {{ x = relu(x) }}\nreturn x", "N208")
        refused(f"{start}if «w == 1» {{ x = relu(x) }}\nreturn x", "N208")
        refused(f"{start}return sum([t for t in n if «w == 1»])", "N208")
        refused(f"{start}return sum(choose «w» of {{ t for t in n }})", "N208")
        refused(f"{start}return concat(n, axis = «w»)", "N208")
        refused(f"{start}n[«w»] = x\nreturn x", "N208")

    def test_inputs_and_parameters_are_static(self) -> None:
        refused("space s { input x: [«8 | 16»]\nreturn x }", "N208")
        refused("space s(«w = 8 | 16») { input x: [8]\nreturn x }", "N208")
        refused("return x -> scan(f, state = «[4 | 8]»)\nop f(e, h) = h", "N208", inputs="input x: [T, 4]")

    def test_recursion_is_static(self) -> None:
        assert (
            space(
                "op f(d: int) = if d == 0 then relu else (f(d - 1) | f(d - 1) -> tanh)\nreturn x -> f(2)"
            ).count()
            == 4
        )
        assert (
            space("op f(d: int) = if d == 0 then relu else tanh -> f(d - 1)\nreturn x -> f(3)").count() == 1
        )

    def test_recursion_under_a_chosen_condition(self) -> None:
        body = "op f(y, d: int, w: int) = if w == 1 then relu(y) else «f(y, d - 1, w)»\nreturn f(x, 3, 1 | 2)"
        (said,) = refused(body, "N605")
        assert "chosen condition" in said.message

    def test_recursion_without_end(self) -> None:
        (said,) = refused("op f = relu -> «f»\nreturn x -> f", "N605")
        assert "count down" in (said.help or "")


class TestScope:
    """Rule 9."""

    def test_a_body_is_one_scope(self) -> None:
        found = space(
            "if 1 == 1 { w = 4 } else { w = 8 }\nfor i in 0..1 { y = x -> conv(w + i, kernel = 1) }\nreturn y"
        )
        assert shape(found) == "[5, 8, 8]"

    def test_loop_variables_end_with_their_loop(self) -> None:
        refused("for i in 0..1 { y = x }\nreturn x -> conv(«i», kernel = 1)", "N102")
        assert shape(space("i = 4\nfor i in 0..1 { y = x }\nreturn x -> conv(i, kernel = 1)")) == "[4, 8, 8]"
        refused("l = [i for i in 0..1]\nreturn x -> conv(«i», kernel = 1)", "N101")

    def test_definitions_see_each_other_in_any_order(self) -> None:
        space("op f = g -> relu\nop g = tanh\nreturn x -> f")
        space("op f = g\nspace s { input x: [3]\nop h = f\nreturn x -> h }\nop g = relu")

    def test_definitions_read_numbers_and_lists_around_them(self) -> None:
        found = space(
            "w = 4 | 6\nks = [1, 3]\nop f = chain([conv(w, kernel = k) for k in ks])\nreturn x -> f"
        )
        assert labels(found) == {"w": ("4", "6")}
        space("space s(width = 4) { input x: [4, T, 4]\nop f = conv(width, kernel = 1)\nreturn x -> f }")
        space("op f = reshape([4, T])\nreturn x -> f -> reshape([4, T, 1])", "input x: [4, T, 1]")

    def test_but_no_tensors(self) -> None:
        refused("op f(y) = y + «x»\nreturn x -> f", "N103")
        refused("z = relu(x)\nop f(y) = y + «z»\nreturn x -> f", "N103")
        refused("n = [[x]]\nop f(y) = y + sum(«n»[0])\nreturn x -> f", "N103")

    def test_and_nothing_rebound(self) -> None:
        refused("w = 4\nop f = conv(«w», kernel = 1)\ny = x -> f\nw = 8\nreturn y", "N103")
        refused(
            "space s(w = 4) { input x: [4, 4]\nop f = conv(«w», kernel = 1)\ny = x -> f\nw = 2 * w\nreturn y }",
            "N103",
        )
        refused("op f = conv(«i», kernel = 1)\nfor i in [4] { x = f(x) }\nreturn x", "N103")
        refused("op f = conv(«l»[0], kernel = 1)\nl = [4]\nl[0] = 8\nreturn x -> f", "N103")

    def test_a_name_that_is_assigned_later(self) -> None:
        (said,) = refused("y = relu(«z»)\nz = x\nreturn y", "N102")
        assert said.notes[0].span.text == "z"
        refused("y = x -> f\nop f = conv(«w», kernel = 1)\nw = 4\nreturn y", "N102")
        refused("if 1 > 2 { w = 4 }\nreturn x -> conv(«w», kernel = 1)", "N102")

    def test_a_loop_reads_what_an_earlier_turn_assigned(self) -> None:
        space("for i in 0..2 { y = if i == 0 then x else relu(last)\nlast = y }\nreturn y")
        refused("for i in 0..2 { y = relu(«last»)\nlast = y }\nreturn x", "N102")

    def test_lists_are_values(self) -> None:
        found = space("a = [x]\nb = a\nb[1] = relu(x)\nreturn sum(a) + sum(b)")
        assert [n.operation for n in found.graph.all_nodes()].count("relu") == 1
        assert len(found.graph.reads(2)) == 1

    def test_names_are_resolved_in_branches_that_are_not_taken(self) -> None:
        refused("if 1 > 2 { y = «foo»(x) }\nreturn x", "N105")
        refused("y = if 1 > 2 then «foo» else x\nreturn y", "N101")
        refused("for i in 0..-1 { y = «foo» }\nreturn x", "N101")

    def test_and_in_definitions_that_nobody_uses(self) -> None:
        refused("op f = relu -> «rleu»\nreturn x", "N105")
        refused("op f(y) { z = «w»\nreturn z }\nreturn x", "N101")
        refused("op f(y) = y -> conv(8, «kernl» = 3)\nreturn x", "N106")

    def test_kinds_and_shapes_are_checked_where_code_is_elaborated(self) -> None:
        space("op f(y) = y + relu\nif 1 > 2 { y = conv(8)(x) + 3 }\nreturn x")

    def test_several_errors_in_a_run(self) -> None:
        refused("y = «foo»\nz = x -> «bar»\nop f = «baz»\nw = x -> conv(«relu», kernel = 3)\nreturn x",
                "N101", "N105", "N105", "N205")  # fmt: skip

    def test_a_failed_name_causes_no_second_message(self) -> None:
        refused("y = «foo»(x)\nz = y + relu(y)\nn = [z]\nn[1] = z\nreturn sum(n)", "N105")
        refused("y = «foo»(x)\nz = linear(3)(y)\nreturn z", "N105")
        refused("w = «foo»\nop f = conv(w, kernel = 3)\nreturn x -> f -> repeat(f, w)", "N101")
        refused("k = 1 + «relu»\nfor i in 0..k { y = x }\nreturn y", "N210")
        refused("op f = «foo»\nreturn x -> f -> f -> repeat(f, 3)", "N105")
        refused("op f(y) { z = y -> conv(«relu», kernel = 3)\nreturn z }\nreturn x -> f -> f", "N205")

    def test_defined_twice(self) -> None:
        refused("op f = relu\nop «f» = tanh\nreturn x -> f", "N109")
        refused("op f(y, «y») = y\nreturn x", "N109")
        refused("op f = relu\n«f» = 3\nreturn x", "N109")
        refused("op f(y: [C, «k»], k: int) = y\nreturn x", "N109")
        refused("space s { input x: [8]\n«input x: [8]»\nreturn x }", "N109")

    def test_imports_and_definitions_clash(self) -> None:
        refused(
            'from "lib/cifar.nas" import sep_conv\nop «sep_conv» = relu\nspace s { input x: [8]\nreturn x }',
            "N109",
        )

    def test_a_user_may_shadow_what_ships(self) -> None:
        found = space("op relu = tanh\nreturn x -> relu")
        assert [n.operation for n in found.graph.all_nodes()] == ["input", "tanh"]
        assert [w.code for w in found.warnings] == ["N704"]

    def test_did_you_mean(self) -> None:
        assert errors("y = rleu(x)\nreturn y")[0].help == "did you mean `relu`?"
        assert errors("width = 3\nreturn x -> conv(widht, kernel = 1)")[0].help == "did you mean `width`?"
        assert errors("op edge(y) = y\nreturn egde(x)")[0].help == "did you mean `edge`?"


def test_a_broken_import_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "lib.nas").write_text("op f = relu ->\n")
    main = tmp_path / "main.nas"
    main.write_text('from "lib.nas" import f\nspace s { input x: [4]\nreturn x -> f -> f }\n')
    with pytest.raises(NasError) as caught:
        pipeline.load(main)
    assert len(caught.value.diagnostics) == 1
