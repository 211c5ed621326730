"""Plans put together from cells: the calls are those of a plan that knows of no cells."""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasdsl.diagnostics import NasError
from nasdsl.pipeline import loads
from nasdsl.space.cells import Use, find_uses
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet, cells
from nasdsl.supernet.cells import Answers, CellPlanner, Question
from nasdsl.supernet.node import NodeRun
from nasdsl.supernet.optimise import Optimisations
from nasdsl.supernet.plan import CellCall, Plan
from tests.supernet import small

TEXT = """
space small() {
  input image: [3, 8, 8]
  op edge =
    | none: zero
    | skip: identity
    | conv: relu -> conv(kernel = 3) -> batchnorm
    | pool: avgpool(3)
  CELL
  a = image -> conv(4, kernel = 3)
  BODY
  return z -> relu -> global_avgpool -> linear(4)
}
"""
MIX = """cell mix(x) {
    y = edge(x)
    return edge(x) + edge(y)
  }"""


def small_space(body: str, cell: str = MIX) -> Space:
    return loads(TEXT.replace("CELL", cell).replace("BODY", body))


def told(run: Any) -> Any:
    """What a call runs, by the modules and functions in it."""
    if isinstance(run, NodeRun):
        places = [(id(p.norm), p.coefficient, p.gate) for p in run.places]
        return (*places, run.gates, run.absent, run.choices)
    if isinstance(run, torch.nn.Module):
        return id(run)
    # A batch norm by a kernel of ours, and other functions with what they are bound to.
    bound = [cell.cell_contents for cell in getattr(run, "__closure__", None) or ()]
    return getattr(run, "__qualname__", repr(run)), tuple(map(told, bound))


def calls(plan: Plan) -> Counter[Any]:
    return Counter(told(call.bound.run) for call in plan.single_calls)


def planner(net: Supernet) -> CellPlanner:
    assert net._cells is not None
    return net._cells


def questions(space: Space, number: int) -> list[tuple[Any, tuple[str, ...], bool]]:
    gated = tuple(c.name for c in space.choices if c.kind == "tensor" and not c.is_sublist)
    return [
        (genotype, *options)
        for genotype in space.sample(5, number)
        for options in (((), False), (gated, False), (gated, True))
    ]


def assert_same_calls(net: Supernet, number: int) -> tuple[int, int]:
    """That plans by cells have the calls of others; how many genotypes were planned so, and how many were not."""
    planned = left = 0
    for genotype, gated, keep_absent in questions(net.space, number):
        found = planner(net).plan(genotype, gated, keep_absent)
        if found is None:
            left += 1
            continue
        planned += 1
        expected = net._plan(net.architecture(genotype, gated, keep_absent=keep_absent))
        assert calls(found) == calls(expected), genotype
        assert found.inputs == expected.inputs and found.shapes == expected.shapes
    return planned, left


SHIPPED = {
    "nasbench201": ({"cells": 2}, 6, 1),
    "darts": ({"layers": 7}, 7, 4),
    "darts_none": ({"layers": 7}, 7, 4),
    "gdas_frc": ({"cells": 2}, 4, 3),
    "enas_micro": ({"cells": 2}, 8, 4),
    "one_shot": ({}, 3, 2),
}
"""Spaces with cells, with the number of uses and of their kinds."""


@pytest.mark.parametrize("name", SHIPPED)
def test_the_calls_are_those_of_a_plan_without_cells(name: str) -> None:
    sizes, uses, kinds = SHIPPED[name]
    net = Supernet(small.load(name, **sizes), affine=False, batch_norm="batch", device="meta")
    found = planner(net).uses.values()
    assert (len(found), len({use.kind for use in found})) == (uses, kinds)
    planned, left = assert_same_calls(net, 25)
    assert planned > 3 * left


MEETING = """b = mix(a)
  c = mix(a)
  d = mix(b + c)
  e = mix(mix(d) + d)
  z = d + e"""
"""Uses that read one tensor, hand on what they are given, and meet in sums."""


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("ride", [True, False])
def test_what_uses_have_in_common_and_where_they_meet_is_seen(share: bool, ride: bool) -> None:
    optimise = Optimisations(share=share, ride=ride)
    space = small_space(MEETING)
    net = Supernet(space, affine=False, batch_norm="batch", device="meta", optimise=optimise)
    assert len(planner(net).uses) == 5
    planned, left = assert_same_calls(net, 100)
    assert planned > 0 and left > 0


OPERATIONS = [
    "relu",
    "identity",
    "edge",
    "edge",
    "batchnorm",
    "conv(kernel = 3)",
    "conv(kernel = 1) -> batchnorm",
    "(relu | tanh | zero)",
    "(relu -> avgpool(3) | skip: identity | conv(kernel = 1))",
    "repeat(edge, 2)",
]


@st.composite
def cells_at_random(draw: st.DrawFn) -> str:
    """A space whose cell and whose network are wired at random."""

    def wiring(names: list[str], new: str, operations: list[str], number: int) -> list[str]:
        lines = []
        for k in range(number):
            terms = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
            lines.append(f"{new}{k} = " + " + ".join(apply(term, operations) for term in terms))
            names.append(f"{new}{k}")
        return lines

    def apply(term: str, operations: list[str]) -> str:
        operation = draw(st.sampled_from(operations))
        if operation == "mix":
            other = draw(st.sampled_from(["a", term]))
            return f"mix({term}, {other})"
        return f"({term} -> {operation})"

    inside = wiring(["x", "y"], "c", OPERATIONS, draw(st.integers(1, 3)))
    outside = wiring(["a"], "o", ["mix", "mix", "relu", "identity", "edge"], draw(st.integers(1, 4)))
    last = outside[-1].split(" = ")[0]
    cell = "\n    ".join(["cell mix(x, y) {", *inside, f"return {inside[-1].split(' = ')[0]}\n  }}"])
    return TEXT.replace("CELL", cell).replace("BODY", "\n  ".join([*outside, f"z = {last}"]))


@given(cells_at_random())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_the_calls_are_the_same_in_spaces_at_random(text: str) -> None:
    try:
        space = loads(text)
    except NasError:
        return  # a choice that decides nothing, say
    optimise = Optimisations(share=len(text) % 2 == 0, ride=len(text) % 3 > 0)
    net = Supernet(space, affine=False, batch_norm="batch", device="meta", optimise=optimise)
    if net._cells is not None and space.choices:
        assert_same_calls(net, 4)


def found(text_or_space: str | Space) -> list[str]:
    """The definitions whose uses can be decided by themselves, one a use."""
    space = loads(text_or_space) if isinstance(text_or_space, str) else text_or_space
    return [scope_of(space, use) for use in find_uses(space.decider)]


def scope_of(space: Space, use: Use) -> str:
    cells = [scope for scope in space.graph.node(use.first).scope.path() if scope.kind == "cell"]
    nodes = [node for node in space.graph.all_nodes() if use.first <= node.id < use.end]
    return next(
        cell.definition for cell in reversed(cells) if all(cell in node.scope.path() for node in nodes)
    )


def test_a_cell_around_others_is_one_where_it_is_used_again() -> None:
    stage = MIX + "\n  cell stage(x) = x -> mix -> mix"
    assert found(small_space("b = stage(a)\n  z = stage(b)", stage)) == ["stage", "stage"]
    assert found(small_space("z = stage(a)", stage)) == ["mix", "mix"]


def test_what_rests_on_more_than_its_own_choices_is_no_cell_by_itself() -> None:
    assert found(small_space("b = mix(a)\n  z = mix(b)")) == ["mix", "mix"]
    # Sizes that are chosen, weights that are shared, and several tensors that are read outside.
    chosen = TEXT.replace("conv(4, kernel = 3)\n", "conv(4 | 8, kernel = 3)\n")
    assert found(chosen.replace("CELL", MIX).replace("BODY", "b = mix(a)\n  z = mix(b)")) == []
    assert found(small_space("shared same = mix\n  b = same(a)\n  z = same(b)")) == []
    two = "cell two(x) {\n    y = edge(x)\n    return y, edge(y)\n  }"
    assert found(small_space("b, c = two(a)\n  z = b + c", two)) == []
    for name in ("enas_rnn", "darts_rnn", "quickstart"):
        assert found(small.load(name)) == []


def test_uses_in_a_depth_that_is_chosen() -> None:
    """The same is decided alike at every depth, also where the first use that was asked of is not there."""
    space = small_space("z = repeat(mix, 1 | 2 | 3)(a)")
    net = Supernet(space, affine=False, batch_norm="batch", device="meta")
    assert len(planner(net).uses) == 3 and len({use.kind for use in planner(net).uses.values()}) == 1
    planned, _ = assert_same_calls(net, 60)
    assert planned > 60


def test_what_was_worked_out_is_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "LIMIT", 100)
    net = Supernet(small.load("nasbench201", cells=2), affine=False, batch_norm="batch", device="meta")
    most = 0
    for genotype in net.space.sample(0, 60):
        net.plan(genotype)
        most = max(most, sum(map(len, planner(net).calls_of.values())))
    assert 60 < most < 200
    assert_same_calls(net, 10)


def test_that_genotypes_cannot_be_planned_by_cells_is_kept_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cells, "LIMIT", 100)
    cell = "cell two(x) = (edge(x) -> batchnorm) + (x -> conv(kernel = 1) -> batchnorm)"
    around = " -> ".join(["a", *["(relu | tanh | avgpool(3))"] * 5])
    # The sum outside takes in those of both uses.
    net = Supernet(small_space(f"z = two({around}) + two(a)", cell), batch_norm="batch", device="meta")
    most = 0
    for genotype in net.space.sample(0, 300):
        assert planner(net).plan(genotype, (), False) is None
        most = max(most, answers_in(planner(net).answers))
    assert 60 < most < 200


def answers_in(found: Answers) -> int:
    return sum(1 + (answers_in(a.answers) if isinstance(a, Question) else 0) for a in found.values())


def test_what_a_use_has_read_is_gone() -> None:
    net = Supernet(small_space("b = mix(a)\n  z = mix(b)"), batch_norm="batch").requires_grad_(False)
    # The first convolution of a use reads its input and nobody else does, the second what that became.
    genotype = {"mix.y": "conv", "mix.#1": "none", "mix.#2": "conv"}
    genotype = dict(zip([choice.name for choice in net.space.choices], genotype.values(), strict=True))
    plan = net.plan(genotype)
    uses = [call for call in plan.calls if isinstance(call, CellCall)]
    assert len(uses) == 2 and all(use.dead == use.inputs for use in uses)
    convolutions = [run for run in plan.runs if isinstance(run, torch.nn.Conv2d)]
    read: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def watch(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        alive.append(sum(tensor() is not None for tensor in read))
        read.append(weakref.ref(inputs[0]))

    for convolution in convolutions[1:]:  # the first one's is the caller's
        convolution.register_forward_pre_hook(watch)
    net(torch.randn(2, 3, 8, 8), genotype=genotype)
    assert alive == [0] * 4


def test_a_copy_plans_by_itself() -> None:
    net = Supernet(small.load("nasbench201", cells=2))
    genotype = net.space.sample(1)
    plan = net.plan(genotype)
    other = copy.deepcopy(net)
    assert "_cells" not in vars(other)
    again = other.plan(genotype)
    assert len(list(again.runs)) == len(list(plan.runs))
    modules = {id(module) for module in other.modules()}
    assert all(id(run) in modules for run in again.runs if isinstance(run, torch.nn.Module))
