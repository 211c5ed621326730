"""Rules 10 to 15 of the language: sharing, sub-lists, loose ends, zero, elastic weights, sizes and `require`."""

from __future__ import annotations

import pytest

from nasdsl.diagnostics import NasError
from nasdsl.language.builder import GraphBuilder, Limits, Wrong
from nasdsl.operations import catalogue
from nasdsl.pipeline import SearchSpace
from tests.language.programs import errors, labels, names, refused, shape, space


def operations(found: SearchSpace) -> list[str]:
    return [node.operation for node in found.graph.all_nodes()]


def owners(found: SearchSpace, operation: str) -> list[int | None]:
    return [node.owner for node in found.graph.all_nodes() if node.operation == operation]


class TestSharing:
    """Rule 10."""

    def test_weights_belong_to_a_use(self) -> None:
        assert len(set(owners(space("op f = conv(kernel = 1)\nreturn x -> f -> f"), "conv"))) == 2

    def test_shared_makes_one_set(self) -> None:
        found = space("shared f = conv(kernel = 1) -> relu -> conv(kernel = 3)\nreturn x -> f -> f -> f")
        assert owners(found, "conv") == [1, 3, 1, 3, 1, 3]

    def test_each_time_it_is_executed(self) -> None:
        found = space("for i in 0..1 { shared f = conv(kernel = 1)\nx = x -> f -> f }\nreturn x")
        assert owners(found, "conv") == [1, 1, 3, 3]
        found = space("op g(y) { shared f = conv(kernel = 1)\nreturn y -> f -> f }\nreturn x -> g -> g")
        assert owners(found, "conv") == [1, 1, 3, 3]

    def test_handed_on(self) -> None:
        found = space(
            "op g(y, h: op) = h(y) + h(h(y))\nshared f = conv(kernel = 1)\nreturn x -> g(f) -> g(f)"
        )
        assert set(owners(found, "conv")) == {1}

    def test_its_choices_are_made_once(self) -> None:
        found = space("shared f = conv(kernel = 1 | 3) -> (relu | tanh)\nreturn x -> f -> f")
        assert names("shared f = conv(kernel = 1 | 3) -> (relu | tanh)\nreturn x -> f -> f") == [
            "f#1.kernel",
            "f#2",
        ]
        assert found.count() == 4

    def test_where_it_is_declared(self) -> None:
        found = space("shared f = conv(kernel = 1 | 3)\nreturn x -> (f | relu) -> (f | tanh)")
        assert found.count() == 8
        found = space("op g(y) { shared f = conv(kernel = 1 | 3)\nreturn f(y) }\nreturn x -> (g | relu)")
        assert found.count() == 3

    def test_within_shared_weights(self) -> None:
        body = "op g(y) { shared f = conv(kernel = 1 | 3)\nreturn y -> f -> f }\nshared w = g -> conv(kernel = 1)\nreturn x -> w -> w"
        found = space(body)
        assert owners(found, "conv") == [1, 1, 3, 1, 1, 3]
        assert found.count() == 2

    def test_a_side_that_only_one_use_takes(self) -> None:
        body = """
            c = 1 | 2
            op g(y) = if c == 1 then conv(kernel = 1)(y) else conv(kernel = 3)(conv(kernel = 3)(y))
            shared w = g -> conv(kernel = 5)
            z = if c == 2 then w(x) else x
            return z -> w"""
        kernels: dict[int | None, set[object]] = {}
        for node in space(body).graph.all_nodes():
            if node.operation == "conv":
                kernels.setdefault(node.owner, set()).add(node.settings["kernel"])
        assert all(len(sizes) == 1 for sizes in kernels.values()) and len(kernels) == 4

    def test_in_turns_and_copies(self) -> None:
        found = space(
            "shared w = repeat(conv(kernel = 1), 2) -> chain([conv(kernel = k) for k in [3, 3]])\nreturn x -> w -> w"
        )
        assert owners(found, "conv") == [1, 2, 3, 4] * 2
        found = space("op g(y) = sum(conv(kernel = 1)(t) for t in [y, y])\nshared w = g\nreturn x -> w -> w")
        assert owners(found, "conv") == [1, 2, 1, 2]

    def test_all_uses_have_the_same_input_shape(self) -> None:
        (said,) = refused(
            "shared f = conv(8, kernel = 1)\ny = x -> f -> conv(4, kernel = 1)\nreturn y -> «f»", "N306"
        )
        assert said.notes[0].span.text.startswith("shared f")
        space(
            "shared f = conv(8, kernel = 1)\nw = 4 | 8\ny = x -> conv(w, kernel = 1)\nreturn f(y) + f(relu(y))"
        )
        refused("shared f = linear(8)\nw = 4 | 8\nreturn f(linear(w)(x)) + «f(linear(4 | 8)(x))»", "N306")

    def test_unembed_reads_the_weights_and_is_no_use(self) -> None:
        found = space("shared w = embedding(10, 6)\nreturn x -> w -> unembed(w)", "input x: int[T]")
        assert owners(found, "unembed") == owners(found, "embedding") == [1]
        assert shape(found) == "[T, 10]"
        found = space(
            "shared w = embedding(10, 4 | 6)\nop head(y, e: op) = y -> unembed(e)\nreturn x -> w -> head(w)",
            "input x: int[T]",
        )
        assert found.count() == 2 and shape(found) == "[T, 10]"

    def test_unembed_without_its_embedding_keeps_the_weights(self) -> None:
        found = space(
            "shared w = embedding(10, 4)\na = w(x)\nb = onehot(4)(x)\ny = a | b\nreturn y -> linear(4) -> unembed(w)",
            "input x: int[T]",
        )
        with_it, without = found.architecture({"y": "a"}), found.architecture({"y": "b"})
        assert [step.operation for step in with_it.steps] == ["input", "embedding", "linear", "unembed"]
        assert [step.operation for step in without.steps] == ["input", "onehot", "linear", "scores"]
        # The weight is the same, and counted once.
        assert with_it.steps[-1].owner == without.steps[-1].owner == owners(found, "embedding")[0]
        assert found.measure({"y": "a"}).params == found.measure({"y": "b"}).params == 40 + 20
        assert (found.ranges().params.min, found.ranges().params.max) == (60, 60)

    def test_unembed_wants_an_embedding_that_was_used(self) -> None:
        tokens = "input x: int[T]"
        refused(
            "shared w = embedding(10, 6)\ny = embedding(10, 6)(x)\nreturn y -> «unembed(w)»",
            "N202",
            inputs=tokens,
        )
        refused("shared w = onehot(6)\nreturn x -> w -> «unembed(w)»", "N202", inputs=tokens)
        refused("op w = embedding(10, 6)\nreturn x -> w -> «unembed(w)»", "N202", inputs=tokens)
        refused(
            "shared w = embedding(10, 6)\nreturn x -> w -> linear(5) -> «unembed(w)»", "N301", inputs=tokens
        )

    def test_shared_with_a_cell_inside(self) -> None:
        found = space("cell act = relu | tanh\nshared w = conv(kernel = 1) -> act\nreturn x -> w -> act -> w")
        assert labels(found) == {"act": ("relu", "tanh")}

    def test_shared_inside_a_cell(self) -> None:
        found = space("cell c(y) { shared w = conv(kernel = 1 | 3)\nreturn y -> w -> w }\nreturn x -> c -> c")
        assert labels(found) == {"c.w.kernel": ("1", "3")}
        assert owners(found, "conv") == [1, 1, 3, 3]


class TestSublists:
    """Rule 11."""

    def test_counts(self) -> None:
        def count(quantity: str, n: int = 4) -> int:
            return space(
                f"return sum(choose {quantity} of {{ conv(kernel = 1)(x) for i in 1..{n} }} + [x])"
            ).count()

        assert [count(q) for q in ("1", "2", "4", "0", "1..2", "0..1", "2..9", "any")] == [
            4,
            6,
            1,
            1,
            10,
            5,
            11,
            16,
        ]
        assert count("any", 1) == 2 and count("1..2", 1) == 1

    def test_one_choice_in_candidate_order(self) -> None:
        found = space("n = choose 1..2 of { a: x, b: relu(x), c: tanh(x) }\nreturn sum(n)")
        (choice,) = found.choices
        assert (choice.name, choice.labels, choice.low, choice.high) == ("n", ("a", "b", "c"), 1, 2)

    def test_the_upper_end_is_cut(self) -> None:
        assert space("return sum(choose 1..5 of { x, relu(x) })").choices[0].high == 2

    def test_too_many(self) -> None:
        (said,) = refused("return sum(choose «3» of { x, relu(x) })", "N401")
        assert "choose 2 of" in (said.help or "")
        refused("return sum(choose «3..4» of { x, relu(x) })", "N401")
        refused("return sum(choose «2..1» of { x, relu(x) })", "N401")
        refused("return sum(choose «-1» of { x, relu(x) })", "N401")
        refused("return sum(choose «1» of { t for t in [] })", "N401")

    def test_any_of_nothing_is_empty(self) -> None:
        found = space(
            "n = choose any of { relu(t) for t in [] }\nreturn sum([x] + n) -> conv(len(n) + 1, kernel = 1)"
        )
        assert shape(found) == "[1, 8, 8]" and found.count() == 1

    def test_a_choice_of_nothing(self) -> None:
        refused("return «choose { t for t in [] }»", "N401")
        refused("return x -> («choose { f for f in [] }»)", "N401")

    def test_tensors_alone(self) -> None:
        refused("return sum(choose 1 of { «relu», tanh })", "N405")
        refused("return sum(choose 1 of { x, «3» })", "N405")

    def test_reduced_joined_mapped_measured(self) -> None:
        found = space(
            "n = choose 1..2 of { x, relu(x) }\nm = [conv(4, kernel = 1)(t) for t in n + [x]]\n"
            "return mean(m) -> conv(len(n), kernel = 1)"
        )
        assert shape(found) == "[1|2, 8, 8]"

    def test_mapped_under_its_guard(self) -> None:
        found = space("n = choose 1..2 of { x, relu(x) }\nreturn sum([conv(kernel = 1 | 3)(t) for t in n])")
        assert found.count() == 2 + 2 + 4

    def test_not_indexed_or_looped_over(self) -> None:
        start = "n = choose 1 of { x, relu(x) }\n"
        refused(f"{start}return «n[0]»", "N405")
        refused(f"{start}return sum(«n[0..]»)", "N405")
        refused(f"{start}for t in «n» {{ y = t }}\nreturn x", "N405")
        refused(f"{start}«n[0]» = x\nreturn x", "N405")
        refused(f"{start}return choose {{ t for t in «n» }}", "N405")
        refused(f"{start}a, b = «n»\nreturn a", "N201")
        refused(f"{start}y = if «n» == [x] then x else x\nreturn y", "N405")

    def test_an_empty_sum_or_mean_is_zero(self) -> None:
        for reduction in ("sum", "mean"):
            found = space(f"return {reduction}(choose any of {{ relu(x), tanh(x) }}) + x")
            assert found.count() == 4 and shape(found) == "[8, 8, 8]"
            empty = found.genotype({"choice": []})
            assert [step.operation for step in found.architecture(empty).steps] == ["input"]

    def test_a_concat_or_max_that_may_be_empty(self) -> None:
        for reduction in ("concat", "max"):
            (said,) = refused(f"return «{reduction}(choose any of {{ relu(x), tanh(x) }})»", "N404")
            assert said.message.endswith('where "relu(x)" not in choice and "tanh(x)" not in choice')
            space(f"return {reduction}(choose 1..2 of {{ relu(x), tanh(x) }})")
            space(f"return {reduction}((choose any of {{ relu(x) }}) + [x])")

    def test_reductions_of_an_empty_list(self) -> None:
        for reduction in ("sum", "mean", "concat"):
            refused(f"return «{reduction}([])»", "N404")
        refused("return «max([])»", "N404")

    def test_mean_divides_by_the_elements_chosen(self) -> None:
        found = space("return mean((choose any of { relu(x), zero(x) }) + [x])")
        for taken, divisor in (([], 1), (["relu(x)"], 2), (["zero(x)"], 2), (["relu(x)", "zero(x)"], 3)):
            steps = found.architecture(found.genotype({"choice": taken})).steps
            means = [step for step in steps if step.operation == "mean"]
            assert [step.instance.settings["divisor"] for step in means] == ([divisor] if divisor > 1 else [])

    def test_elements_have_equally_many_axes(self) -> None:
        refused("return «sum(choose 1 of { x, flatten(x) })»", "N302")


class TestLooseEnds:
    """Rule 12."""

    def test_what_nothing_reads(self) -> None:
        found = space("n = [relu(x), tanh(x), gelu(x)]\ny = n[0] + n[1]\nreturn sum(unused(n)) + y")
        assert operations(found) == ["input", "relu", "tanh", "gelu", "sum", "sum", "sum"]
        assert [edge.source for edge in found.graph.reads(5)] == [3]

    def test_where_a_guard_holds(self) -> None:
        found = space("n = [relu(x), tanh(x)]\ny = choose { t for t in n }\nreturn sum(unused(n) + [y])")
        node = found.graph.node(found.outputs[0][1])
        guards = [edge.guard for edge in found.graph.reads(node.id)]
        assert [g.at([0]) for g in guards] == [False, True, True] and [g.at([1]) for g in guards] == [
            True,
            False,
            True,
        ]

    def test_through_zero_too(self) -> None:
        found = space("n = [relu(x), tanh(x)]\ny = zero(n[0])\nreturn sum(unused(n) + [y])")
        assert len(found.graph.reads(found.outputs[0][1])) == 2

    def test_whether_or_not_the_reader_is_read(self) -> None:
        found = space("n = [relu(x), tanh(x)]\ny = gelu(n[0])\nreturn sum(unused(n))")
        assert len(found.graph.reads(found.outputs[0][1])) == 1

    def test_in_the_same_body(self) -> None:
        found = space("op f(n) = mean(unused(n))\nn = [relu(x), tanh(x)]\ny = gelu(n[0])\nreturn f(n) + y")
        assert [len(found.graph.reads(n.id)) for n in found.graph.all_nodes() if n.operation == "mean"] == [2]

    def test_uses_inside_operations_count(self) -> None:
        found = space(
            "op f(y) = y -> relu -> tanh\nn = [relu(x), tanh(x)]\ny = f(n[1])\nreturn mean(unused(n))"
        )
        assert len(found.graph.reads(found.outputs[0][1])) == 1

    def test_kinds(self) -> None:
        refused("y = «unused([1, 2])»\nreturn x", "N201")
        refused("y = «unused(x)»\nreturn x", "N201")
        assert shape(space("n = [x]\nreturn n -> unused -> sum")) == "[8, 8, 8]"


class TestZero:
    """Rule 13: `zero` is the absence of a tensor; how absence spreads is tested with the space."""

    def test_it_keeps_shape_and_kind(self) -> None:
        assert shape(space("return x -> zero")) == "[8, 8, 8]"
        assert space("return x -> zero", "input x: int[T]").shape(1) == (["T"], "int")


class TestElasticWeights:
    """Rule 14."""

    def test_parts(self) -> None:
        found = space(
            "w = 4 | 6\nv = 2 | 8\ny = concat([conv(w, kernel = 1)(x), conv(v, kernel = 1)(x)])\nreturn y -> batchnorm"
        )
        parts = found.graph.node(found.outputs[0][1]).type.parts
        assert parts[0] is not None and [part.limit for part in parts[0]] == [6, 8]
        assert shape(found) == "[6|12|8|14, 8, 8]"

    def test_an_element_that_may_be_missing_is_a_part_that_may_be_empty(self) -> None:
        found = space(
            "y = concat(choose 1..2 of { conv(4, kernel = 1)(x), conv(6, kernel = 1)(x) })\nreturn y -> relu"
        )
        parts = found.graph.node(found.outputs[0][1]).type.parts
        assert parts[0] is not None and [p.limit for p in parts[0]] == [4, 6]
        assert parts[1] is parts[2] is None

    def test_kernels_have_one_parity(self) -> None:
        space("return x -> conv(kernel = 3 | 5 | 7)")
        space("return x -> conv(kernel = 2 | 4, stride = 2)")
        refused("return x -> conv(kernel = «3 | 4», stride = 2)", "N209")

    def test_groups_divide_every_width(self) -> None:
        space("w = 4 | 8\nreturn x -> conv(w, kernel = 1) -> conv(w, kernel = 3, groups = w)")
        (said,) = refused(
            "w = 4 | 6\nreturn x -> conv(w, kernel = 1) -> «conv(8, kernel = 3, groups = 4)»", "N301"
        )
        assert said.message.endswith('where w == "6"')

    def test_an_even_kernel_at_stride_1(self) -> None:
        refused("return x -> «conv(8, kernel = 4)»", "N301")
        refused("return x -> «avgpool(2)»", "N301")
        space("return x -> avgpool(2, stride = 2)")

    def test_a_list_of_kernels_is_without_choices(self) -> None:
        assert shape(space("return x -> conv(4 | 8, kernel = [1, 7])")) == "[4|8, 8, 8]"
        refused("return x -> conv(kernel = «[3 | 5, 1]»)", "N209")

    def test_sizes_of_a_reshape(self) -> None:
        found = space(
            "w = 4 | 8\nreturn x -> conv(w, kernel = 1) -> reshape([w * 8, 8]) -> reshape([w, 4, 16])"
        )
        assert shape(found) == "[4|8, 4, 16]"
        refused("w = 4 | 8\nreturn x -> conv(w, kernel = 1) -> «reshape([8, 8, 8])»", "N301")


class TestSizesAndRequire:
    """Rule 15."""

    @pytest.mark.parametrize(
        ("number", "message"),
        [
            ("0 | 4", 'at least 1; it is 0, where w == "0"'),
            ("2 - (1 | 2 | 3)", 'at least 1; it is 0, where w == "2"'),
        ],
    )
    def test_every_size_is_at_least_1(self, number: str, message: str) -> None:
        (said,) = refused(f"w = {number}\nreturn x -> «conv(w, kernel = 1)»", "N301")
        assert said.message.endswith(message)

    def test_every_size_is_whole(self) -> None:
        refused("w = 3 | 4\nreturn x -> conv(«w / 2», kernel = 1)", "N205")
        refused("return x -> conv(«7 / 2», kernel = 1)", "N205")
        assert shape(space("return x -> conv(8 / 2, kernel = 1) -> conv(0.5 * 6, kernel = 1)")) == "[3, 8, 8]"

    def test_the_smallest_genotype_that_breaks_it(self) -> None:
        body = """
            a = 1 | 2 | 3
            b = 2 | 4
            y = x -> (one: conv(8 * a, kernel = 1) | two: conv(6 * b, kernel = 1))
            return y -> «conv(8, kernel = 1, groups = 8)»"""
        (said,) = refused(body, "N301")
        assert said.message.endswith('where b == "2" and y == "two"')
        assert said.notes[0].span.text == "conv(6 * b, kernel = 1)"  # the candidate that breaks it

    def test_candidates_agree_in_rank_and_kind(self) -> None:
        (said,) = refused("y = x | «flatten(x)»\nreturn y", "N302")
        assert said.notes[0].span.text == "x"
        refused("return x -> (identity | «onehot(3)»)", "N302", inputs="input x: int[T]")
        refused("return x -> «repeat(flatten, 0 | 1)»", "N302")

    def test_sizes_that_differ_are_expressions(self) -> None:
        found = space(
            "y = x -> (conv(4, kernel = 1) | conv(6, kernel = 1, stride = 2))\nreturn y -> conv(3, kernel = 1)"
        )
        assert shape(found) == "[3, 8|4, 8|4]"

    def test_candidates_give_equally_many_tensors(self) -> None:
        refused("op two(y) { return y, y }\na, b = x -> (two | «relu»)\nreturn a", "N204")

    def test_free_dimensions_size_no_weight(self) -> None:
        for use in ("linear(3)", "layernorm"):
            refused(f"return x -> «{use}»", "N301", inputs="input x: [4, T]")
        refused("return x -> «batchnorm»", "N301", inputs="input x: [T]")
        refused("return x -> «conv(T, kernel = 1)»", "N301", inputs="input x: [4, T]")

    def test_free_dimensions_are_computed_with(self) -> None:
        found = space(
            "return x -> conv(4, kernel = 3, stride = 2) -> avgpool(4, stride = 2) -> upsample(2)",
            "input x: [3, T]",
        )
        assert shape(found).startswith("[4, ")
        assert shape(space("return concat([x, x], axis = 1)", "input x: [3, T]")) == "[3, 2*T]"

    def test_free_sizes_are_whole(self) -> None:
        assert shape(space("return x -> reshape([3 * T])", "input x: [3, T]")) == "[3*T]"
        refused("return x -> reshape(«[6, T / 2]»)", "N205", inputs="input x: [3, T]")
        refused("w = «7 // T»\nreturn x", "N208", inputs="input x: [3, T]")

    def test_free_dimensions_get_the_least_bound(self) -> None:
        halve = "conv(3, kernel = 4, stride = 2)"
        assert space(f"return x -> {halve} -> {halve}", "input x: [3, T]").least == {"T": 4}
        assert space(f"return x -> ({halve} | relu)", "input x: [3, T]").least == {"T": 2}
        assert space(f"return x -> {halve}, u -> relu", "input x: [3, T]\ninput u: [U]").least == {
            "T": 2,
            "U": 1,
        }

    def test_free_dimensions_are_not_compared(self) -> None:
        refused("y = if «T > 3» then x else relu(x)\nreturn y", "N208", inputs="input x: [3, T]")
        refused("y = if «T == 3» then x else relu(x)\nreturn y", "N208", inputs="input x: [3, T]")
        refused("w = 1 | 2\ny = if «T > w» then x else relu(x)\nreturn y", "N208", inputs="input x: [3, T]")
        refused("return «x * T»", "N208", inputs="input x: [3, T]")
        refused("return x -> conv(«max(T, 3)», kernel = 1)", "N208", inputs="input x: [3, T]")

    def test_too_many_rows(self) -> None:
        body = "n = [x]\nfor i in 1..14 { w = 1 | 1 + 7 * i * i\nn[i] = conv(w, kernel = 1)(x) }\nreturn «concat(n)»"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("nasdsl.language.builder.ROWS", 2_000)
            (said,) = refused(body, "N307")
            # Where the sizes share their choices, only making the table tells.
            entangled = "a = 0 | 1 | 3 | 7 | 12\nb = 20 * a + (1 | 2 | 4 | 8)\nc = 90 * b + (1 | 2 | 3)\nw = «b * c * (1 | 9 | 70)»"
            patch.setattr("nasdsl.language.builder.ROWS", 200)
            refused(f"{entangled}\nreturn x -> conv(w, kernel = 1)", "N307")
        assert "width = 16 | 24" in (said.help or "")

    def test_too_many_rows_are_known_beforehand(self) -> None:
        builder = GraphBuilder(catalogue())
        numbers = []
        for i in range(7):
            builder.arities.append(11)
            numbers.append(builder.table.node(i, [builder.table.leaf(100**i * k) for k in range(11)]))

        def never(*_: int) -> int:
            raise AssertionError("a row was made")

        with pytest.raises(Wrong) as caught:
            builder.tabulate(never, *numbers)
        assert caught.value.code == "N307"

    def test_require_is_assumed_while_shapes_are_proved(self) -> None:
        body = "w = 4 | 6\ng = 1 | 4\n{}\ny = x -> conv(w, kernel = 1) -> {}\n{}\nreturn y"
        use = "conv(12, kernel = 1, groups = g)"
        condition = "require w % g == 0"
        refused(body.format("", f"«{use}»", ""), "N301")
        for found in (space(body.format(condition, use, "")), space(body.format("", use, condition))):
            assert found.count() == 3

    def test_require_and_what_it_forbids(self) -> None:
        body = "a = 1 | 2\nb = 1 | 2 | 3\nrequire a * b <= 3 and a != b\nreturn x -> conv(a, kernel = 1) -> conv(b, kernel = 1)"
        assert space(body).count() == 3  # (1, 2), (1, 3), (2, 1)

    def test_require_over_a_sublist(self) -> None:
        found = space(
            "n = choose any of { x, relu(x), tanh(x) }\nrequire len(n) >= 1 and len(n) != 2\nreturn concat(n)"
        )
        assert found.count() == 3 + 1

    def test_require_over_labels(self) -> None:
        body = 'op edge = none: zero | skip: identity\ny = edge(x) + edge(x) + edge(x)\nrequire count("none") <= 1\nreturn y'
        assert space(body).count() == 1 + 3

    def test_a_label_of_a_sublist_or_a_cell_counts_once(self) -> None:
        body = 'cell act = a: relu | b: tanh\nn = choose any of { a: x, c: relu(x) }\nrequire count("a") == 1\nreturn sum(n + [x]) -> act -> act'
        assert space(body).count() == 2 + 2

    def test_count_of_an_unknown_label(self) -> None:
        (said,) = refused(
            'y = x -> (none: zero | skip: identity)\nrequire count(«"nnoe"») <= 1\nreturn y', "N107"
        )
        assert said.help == "did you mean `none`?"

    def test_measures_and_count_stand_in_require(self) -> None:
        refused("y = «params»\nreturn x", "N503")
        refused('y = count(«"a"»)\nreturn x', "N503")
        refused("require «params» + 1 <= 5\nreturn x", "N210")
        refused("w = 1 | 2\nrequire params <= «w»\nreturn x", "N503")
        refused("require «params <= 5» or 1 > 2\nreturn x", "N503")

    def test_limits_on_measures(self) -> None:
        found = space(
            "require params <= 5K and 3 < flops\nrequire 1M >= flops\nreturn x -> conv(8, kernel = 3)"
        )
        assert [str(limit) for limit in found.limits] == ["params <= 5000", "flops > 3", "flops <= 1000000"]

    def test_a_require_that_nothing_can_meet(self) -> None:
        refused("w = 4 | 8\nrequire «w > 8»\nreturn x -> conv(w, kernel = 1)", "N501")
        refused("require «1 > 2»\nreturn x", "N501")
        refused("n = choose 1..2 of { x, relu(x) }\nrequire «len(n) == 0»\nreturn sum(n)", "N501")

    def test_requires_that_can_not_be_met_together(self) -> None:
        (said,) = refused(
            "a = 1 | 2\nb = 1 | 2\nrequire a > b\nrequire «b > a»\nreturn x -> conv(a * b, kernel = 1)",
            "N501",
        )
        assert [note.span.text for note in said.notes] == ["a > b"]

    def test_a_condition_is_true_or_false(self) -> None:
        refused("require «3»\nreturn x", "N201")
        refused("require «x»\nreturn x", "N201")

    def test_require_inside_a_candidate(self) -> None:
        body = "op f(y, w: int) { require w < 8\nreturn y -> conv(w, kernel = 1) }\nreturn x -> (a: f(4 | 8) | b: relu)"
        assert space(body).count() == 2


class TestSmallPrint:
    def test_one_return_last(self) -> None:
        refused("«return x»\ny = x\nreturn y", "N206")
        refused("if 1 == 1 { «return x» }\nreturn x", "N206")
        refused("«y = x»", "N206")
        refused("op f(y) { «z = y» }\nreturn x", "N206")
        refused("«op f(y) {}»\nreturn x", "N206")
        refused("«space s { input x: [3] }»", "N206")

    def test_several_outputs_are_named_by_their_variables(self) -> None:
        assert [n for n, _ in space("a = relu(x)\nb = tanh(x)\nreturn a, b").outputs] == ["a", "b"]
        assert [n for n, _ in space("a = relu(x)\nreturn a, x -> tanh").outputs] == ["a", "output_2"]
        assert [n for n, _ in space("return relu(x)").outputs] == ["output"]
        assert [n for n, _ in space("op f(y) { a = relu(y)\nreturn a, tanh(y) }\nreturn f(x)").outputs] == [
            "a",
            "output_2",
        ]
        refused("a = relu(x)\nreturn a, «a»", "N206")

    def test_a_space_returns_tensors(self) -> None:
        refused("return «3»", "N206")
        refused("return «relu»", "N206")
        refused("return x, «[x]»", "N206")

    def test_an_op_gives_tensors(self) -> None:
        refused("op f(y) = «3»\nreturn f(x)", "N206")
        refused("op f(y) { «return [y]» }\nreturn f(x)", "N206")
        refused("op f(y) = «relu»\nreturn f(x)", "N201")

    def test_a_tuple_only_feeds_and_unpacks(self) -> None:
        assert shape(space("a, b = x, relu(x)\nreturn (a, b) -> concat")) == "[16, 8, 8]"
        assert shape(space("op two(y) { return y, tanh(y) }\nreturn x -> two -> concat")) == "[16, 8, 8]"
        refused("«y = (x, x)»\nreturn x", "N201")
        refused("op two(y) { return y, y }\n«y = two(x)»\nreturn x", "N201")
        refused("op two(y) { return y, y }\na, b, c = «two(x)»\nreturn a", "N201")
        refused("a, b = «x»\nreturn a", "N201")
        refused("«a, b, c = x, x»\nreturn a", "N201")
        refused("op two(y) { return y, y }\nop f(y) { return «two(y)», y }\nreturn f(x) -> concat", "N206")

    def test_ranges(self) -> None:
        assert shape(space("return x -> conv(len(2..5) + len(3..2) + len(1..-5), kernel = 1)")) == "[4, 8, 8]"
        refused("l = 0..«1/2»\nreturn x", "N205")

    def test_indices_and_slices(self) -> None:
        start = "n = [1, 2, 3]\n"
        assert (
            shape(
                space(
                    f"{start}return x -> conv(n[2] + len(n[1..2]) + len(n[1..]) + len(n[3..]) + len(n[2..1]), kernel = 1)"
                )
            )
            == "[7, 8, 8]"
        )
        for place in ("n[«3»]", "n[«-1»]", "n[«len(n)»]"):
            refused(f"{start}w = {place}\nreturn x", "N207")
        for place in ("«n[1..3]»", "«n[-1..2]»", "«n[4..]»", "«n[5..4]»"):
            refused(f"{start}w = {place}\nreturn x", "N207")
        refused(f"{start}w = n[«1/2»]\nreturn x", "N205")
        refused("w = «x»[0]\nreturn x", "N201")

    def test_assigning_items(self) -> None:
        assert (
            shape(space("n = [1]\nn[1] = 2\nn[0] = 5\nreturn x -> conv(n[0] + n[1], kernel = 1)"))
            == "[7, 8, 8]"
        )
        refused("n = [1]\n«n[2]» = 2\nreturn x", "N207")
        refused("n = [1]\n«n[-1]» = 2\nreturn x", "N207")
        refused("«n[0]» = 2\nreturn x", "N201")
        refused("n = 3\n«n[0]» = 2\nreturn x", "N201")

    def test_lists_are_joined(self) -> None:
        assert shape(space("n = [x] + [relu(x), x]\nreturn concat(n + n)")) == "[48, 8, 8]"
        refused("n = «[x] + x»\nreturn x", "N201")
        refused("n = «[x] * 2»\nreturn x", "N201")

    def test_powers_of_ten(self) -> None:
        found = space("require params <= 5K and params <= 2M and params <= 1G\nreturn x")
        assert [limit.bound for limit in found.limits] == [5_000, 2_000_000, 1_000_000_000]

    def test_numbers_are_exact(self) -> None:
        assert shape(space("return x -> conv((0.1 + 0.2) * 10, kernel = 1)")) == "[3, 8, 8]"
        assert shape(space("n = 1 / 3\nreturn x -> conv(n * 9, kernel = 1)")) == "[3, 8, 8]"
        assert (
            shape(space("return x -> conv(-7 // 2 + 10, kernel = 1) -> conv(-7 % 5, kernel = 1)"))
            == "[3, 8, 8]"
        )
        assert (
            shape(space("return x -> conv(round(5/2) + round(7/3) + min(3, 2) + max(1, 4), kernel = 1)"))
            == "[11, 8, 8]"
        )
        assert shape(space("return x -> conv(max([1, 4]) + min(2..5), kernel = 1)")) == "[6, 8, 8]"

    def test_division_by_zero(self) -> None:
        for operator in ("/", "//", "%"):
            refused(f"n = «1 {operator} 0»\nreturn x", "N205")
        (said,) = refused("d = 0 | 2\nreturn x -> conv(«8 // d», kernel = 1)", "N205")
        assert said.message == 'a division by zero, where d == "0"'
        space("d = 0 | 2\nreturn x -> (if d == 0 then relu else conv(8 // d, kernel = 1))")

    def test_comparing(self) -> None:
        refused("y = if «x» == x then x else x\nreturn y", "N201")
        refused('y = if «3 == "a"» then x else x\nreturn y', "N201")
        refused('y = if «"a"» < "b" then x else x\nreturn y', "N201")
        refused("y = if 1 in «3» then x else x\nreturn y", "N201")
        refused("y = if «3» then x else x\nreturn y", "N201")
        space(
            'y = if "a" == "a" and [1, 2] == [1, 2] and 1 in [3, 1] and not 2 in [3] then x else foo\nop foo = relu\nreturn y'
        )

    def test_chosen_numbers_in_lists(self) -> None:
        found = space(
            "w = 1 | 2\ny = if w in [2, 3] then relu(x) else tanh(x)\nz = if [w, 1] == [2, 1] then relu(y) else tanh(y)\nreturn z"
        )
        assert found.count() == 2

    def test_a_choice_with_one_value_is_none(self) -> None:
        assert names("y = x -> (choose { only: conv(kernel = 1 | 3) })\nreturn y") == ["y.only.kernel"]
        assert names("w = choose { k for k in [4] }\nreturn x -> conv(w, kernel = 1)") == []

    def test_defaults_read_earlier_parameters(self) -> None:
        assert (
            shape(space("op f(y, a = 2, b = a * 2) = y -> conv(b, kernel = 1)\nreturn x -> f(3)"))
            == "[6, 8, 8]"
        )
        refused("op f(y, a = «b», b = 2) = y\nreturn x", "N102")

    def test_parameters_of_the_space(self) -> None:
        body = "space s(a = 2, b = a * 2) { input x: [b, 4]\nreturn x -> conv(a, kernel = 1) }"
        assert shape(space(body)) == "[2, 4]" and shape(space(body, a=3)) == "[3, 4]"
        assert errors(body, c=3)[0].code == "N108"
        refused("space s(«a») { input x: [3]\nreturn x }", "N202")
        refused('space s(«a = "x"») { input x: [3]\nreturn x }', "N205")
        assert shape(space("space s(a) { input x: [a]\nreturn x }", a=3)) == "[3]"

    def test_inputs(self) -> None:
        refused("space s { input x: «int»\nreturn x }", "N305")
        refused("space s { input x: [«width»]\nreturn x }", "N101")
        refused("space s { input x: [«0»]\nreturn x }", "N205")
        refused("space s { input x: [T, «2 * T»]\nreturn x }", "N305")
        assert shape(space("space s { input a: [T, 3]\ninput b: [T, 3]\nreturn a + b }")) == "[T, 3]"

    def test_repeat(self) -> None:
        assert operations(space("return x -> repeat(relu, 0)")) == ["input", "identity"]
        assert space("return x -> repeat(relu, 0 | 1)").count() == 2
        refused("return x -> repeat(relu, «-1»)", "N205")
        refused("return x -> repeat(relu, «1/2»)", "N205")
        refused("return x -> repeat(«3», 2)", "N201")
        refused("return x -> «repeat(relu)»", "N202")

    def test_chain(self) -> None:
        assert operations(space("return x -> chain([])")) == ["input"]
        refused("return x -> chain(«relu»)", "N201")
        refused("return x -> chain(«[3]»)", "N201")

    def test_scan(self) -> None:
        start = "op one(e, h: [D]) = tanh(linear(D)(e) + h)\nop two(e, h) { g = one(e, h)\nreturn g -> linear(3), g }\n"
        assert shape(space(f"{start}return x -> scan(one, state = [4])", "input x: [T, 6]")) == "[T, 4]"
        assert shape(space(f"{start}return x -> scan(two, state = [4])", "input x: [T, 6]")) == "[T, 3]"
        lstm = "op cell2(e, h: [D], c: [D]) { d = c + linear(D)(e)\ng = tanh(d) * h\nreturn g, g, d }\n"
        assert (
            shape(space(f"{lstm}return x -> scan(cell2, state = [[4], [4]])", "input x: [T, 6]")) == "[T, 4]"
        )
        refused(
            "op f(e, h) = linear(5)(e)\nreturn x -> «scan(f, state = [4])»", "N303", inputs="input x: [T, 6]"
        )
        refused(
            "op f(e, h) { return e, h, h }\nreturn x -> scan(«f», state = [4])",
            "N206",
            inputs="input x: [T, 6]",
        )
        refused("op f(e, h) = h\nreturn x -> scan(f, state = «4»)", "N205", inputs="input x: [T, 6]")

    def test_bounds(self) -> None:
        refused("return x -> repeat(relu, «10000000000»)", "N604")
        refused("n = «0..10000000000»\nreturn x", "N604")
        refused("n = [1]\nfor i in 0..60 { n = «n + n» }\nreturn x", "N604")
        refused("w = 7\nfor i in 0..60 { w = «w * w» }\nreturn x", "N604")
        refused("op f(y, d: int) = if d == 0 then y else «f(y, d - 1)»\nreturn f(x, 250)", "N605")

    def test_bounds_on_what_is_made(self) -> None:
        few = Limits(nodes=100, uses=100, length=100)
        refused("for i in 0..20 { for j in «0..20» { w = 1 } }\nreturn x", "N604", limits=few)
        refused("l = [i for i in 0..20 for j in «0..20»]\nreturn x", "N604", limits=few)
        refused("op f = repeat(«relu», 20)\nreturn x -> repeat(f, 20) -> relu", "N604", limits=few)
        refused("for i in 0..60 { y = x + x\nx = «y + y» }\nreturn x", "N604", limits=few)


def test_no_error_is_an_empty_message() -> None:
    with pytest.raises(NasError) as caught:
        space("return foo")
    assert "error[N101]: unknown name `foo`" in str(caught.value)
