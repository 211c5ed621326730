"""Plans made step by step are put together from what was made before: the calls are those of a plan made anew."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest

from nasdsl.space.architecture import Architecture, Body, Segment, Step
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.node import Node
from nasdsl.supernet.optimise import Optimisations
from nasdsl.supernet.plan import Plan
from nasdsl.supernet.superposition import superposable
from tests.supernet import small
from tests.supernet.small import SHIPPED

LARGER = {
    "nasbench201": {"cells": 2},
    "darts": {"layers": 4},
    "ofa_mobilenetv3": {"size": 32, "classes": 10},
    "autoformer_tiny": {"size": 32},
}
"""Parts that repeat are what calls are remembered for."""

STEP_BY_STEP = Optimisations(cells=False)


@cache
def space_named(name: str) -> Space:
    return small.load(name, **LARGER.get(name, {}))


def forget(net: Supernet) -> None:
    for memory in (net._plans, net._made, net._bound, net.space.decider.steps, net.space.decider.static):
        memory.clear()


def told(step: Step) -> Any:
    """All that there is to a step, as plain data."""
    found: list[Any] = [
        type(step),
        step.id,
        step.operation,
        step.instance,
        step.inputs,
        step.scope,
        step.name,
    ]
    found += [step.owner, step.choice, step.candidate, step.weights, step.normalised]
    if isinstance(step.body, Body):
        found += [step.body.element, step.body.states, [told(inner) for inner in step.body.steps]]
        found += [step.body.new_states, step.body.output]
    if isinstance(step, Node):
        found += [(t.source, t.weight, t.gate, None if t.norm is None else told(t.norm)) for t in step.terms]
    if isinstance(step, Segment):
        found += [told(inner) for inner in step.steps]
    return found


def listed(plan: Plan) -> Any:
    calls = [(c.inputs, c.output, c.dead, c.bound.wants_context, len(c.bound.runs)) for c in plan.calls]
    return calls, plan.inputs, plan.outputs, plan.shapes, len(list(plan.runs))


def questions(space: Space) -> list[tuple[Any, dict[str, Any]]]:
    """Genotypes alone, with gates, and with several candidates at once."""
    gated = tuple(c.name for c in space.choices if c.kind == "tensor" and not c.is_sublist)
    free = superposable(space)
    found: list[tuple[Any, dict[str, Any]]] = []
    for seed, genotype in enumerate(space.sample(0, 3)):
        found += [
            (genotype, {}),
            (genotype, {"gated": gated}),
            (genotype, {"gated": gated, "keep_absent": True}),
        ]
        relaxed = {
            name: space.choice(name).labels[seed % 2 :] if name in free else taken
            for name, taken in genotype.items()
        }
        found.append((Genotype(relaxed), {"join": "mean"}))
    return found


def asked(net: Supernet, genotype: Any, options: dict[str, Any]) -> Any:
    architecture = net.architecture(genotype, **options)
    steps = net._lowered(architecture).steps
    plan = net.plan(genotype, **options)
    runs = [run if hasattr(run, "forward") else type(run) for run in plan.runs]
    return [told(step) for step in architecture.steps], [told(step) for step in steps], listed(plan), runs


@pytest.mark.parametrize(
    ("name", "recompute"), [*((name, False) for name in SHIPPED), ("nasbench201", True), ("darts", True)]
)
def test_what_is_remembered_is_what_would_be_made(name: str, recompute: bool) -> None:
    space = space_named(name)
    net = Supernet(space, device="meta", optimise=Optimisations(recompute=recompute, cells=False))
    made = [asked(net, *question) for question in questions(space)]
    for question, found in zip(questions(space), made, strict=True):
        forget(net)
        assert found == asked(net, *question)
    # The same in the other order, so that none rests on what came before it, and with little to remember by.
    for memory in (net._made, net._bound, space.decider.steps):
        memory.limit = 50
    for question, found in reversed([*zip(questions(space), made, strict=True)]):
        assert found == asked(net, *question)
    space.decider.steps.limit = 1 << 16


def test_plans_share_the_calls_that_they_have_in_common() -> None:
    space = space_named("nasbench201")
    net = Supernet(space, optimise=STEP_BY_STEP)
    names = [choice.name for choice in space.choices]
    first = dict.fromkeys(names, "nor_conv_3x3")
    plans = [net.plan(genotype) for genotype in (first, first | {names[-1]: "nor_conv_1x1"})]
    calls = [{id(call) for call in plan.calls} for plan in plans]
    # In each of six cells another ReLU, another convolution and another sum.
    assert len(calls[0] - calls[1]) == len(calls[1] - calls[0]) == 6 * 3
    assert len(calls[0] & calls[1]) == len(plans[0].calls) - 6 * 3


def test_a_copy_plans_by_itself() -> None:
    net = Supernet(space_named("nasbench201"), optimise=STEP_BY_STEP)
    genotype = net.space.sample(1)
    plan = net.plan(genotype)
    other = copy.deepcopy(net)
    assert not other._made and not other._bound
    found = other.plan(genotype)
    assert listed(found)[0] == listed(plan)[0]
    assert not {id(run) for run in plan.runs} & {id(run) for run in found.runs if hasattr(run, "forward")}


def test_an_architecture_keeps_its_steps_where_others_are_made() -> None:
    space = space_named("nasbench201")
    genotypes = space.sample(0, 2)
    before: list[Architecture] = [space.architecture(genotype) for genotype in genotypes]
    texts = [[told(step) for step in architecture.steps] for architecture in before]
    for genotype in space.sample(1, 20):
        space.architecture(genotype)
    assert texts == [[told(step) for step in architecture.steps] for architecture in before]
    again = space.architecture(genotypes[0])
    assert all(a is b for a, b in zip(before[0].steps, again.steps, strict=True))
