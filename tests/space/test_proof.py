"""The proof of a whole space against reality: random spaces, random genotypes, real tensors on torch's meta device.

If a space compiles, every architecture in it builds and runs, with the sizes that were inferred. If it is refused with a
genotype, that genotype really breaks. Counting agrees with listing, and guards with what is there.

400 spaces are drawn, and 8 000 with the profile `thorough`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nasdsl import pipeline, resources
from nasdsl.diagnostics import Findings, NasError, Severity, Source
from nasdsl.exporting.network import Network
from nasdsl.language.builder import Limits
from nasdsl.language.choices import Choices, Made
from nasdsl.language.elaborate import Elaborator
from nasdsl.language.modules import Loader, Module, pick_space
from nasdsl.language.observer import Observer
from nasdsl.operations import catalogue
from nasdsl.operations.execute import bind, build_module
from nasdsl.space import serialize
from nasdsl.space.architecture import ZEROS, Architecture, Step
from nasdsl.space.choice import Genotype, Taken
from nasdsl.space.decide import decided_shape
from nasdsl.space.size import Size
from nasdsl.space.space import Space
from nasdsl.space.tensor import Shape
from tests.space.random_spaces import programs

CATALOGUE = catalogue()
BATCH = 2
LIMITS = Limits(nodes=3_000, uses=3_000)


def read(text: str) -> Module:
    findings = Findings()
    module = Loader(findings).load(Path("random.nas"), Source("random.nas", text))
    findings.raise_if_any()
    return module


# --- running an architecture ----------------------------------------------------------------------


Free = Mapping[str, int]


def real(shape: Shape, free: Free) -> tuple[int, ...]:
    """A shape with a batch, and numbers for what is free."""
    return (BATCH, *(int(dim.at(free)) if isinstance(dim, Size) else dim for dim in shape.dims))


def tensor(shape: Shape, free: Free) -> torch.Tensor:
    dtype = torch.long if shape.dtype == "int" else torch.float
    return torch.empty(real(shape, free), device="meta", dtype=dtype)


class Run:
    """Runs the steps of an architecture one by one, and compares every tensor with the shape that was inferred."""

    def __init__(self, architecture: Architecture, free: Free) -> None:
        self.free = free
        self.values: dict[int, torch.Tensor] = {}
        self.modules: dict[int, nn.Module] = {}
        for step in architecture.steps:
            self.step(step)
        for _, output in architecture.outputs:
            assert output in self.values

    def step(self, step: Step) -> None:
        value = self.value(step)
        assert tuple(value.shape) == real(step.shape, self.free), (
            step.operation,
            step.instance,
            tuple(value.shape),
        )
        assert (value.dtype == torch.long) == (step.shape.dtype == "int"), (step.operation, value.dtype)
        self.values[step.id] = value

    def value(self, step: Step) -> torch.Tensor:
        if step.operation in ("input", "state", ZEROS):
            return tensor(step.shape, self.free)
        if step.operation == "element":
            return self.values[step.inputs[0]][:, 0]
        if step.body is not None:
            for inner in step.body.steps:
                self.step(inner)
            for state, new in zip(step.body.states, step.body.new_states, strict=True):
                assert self.values[state].shape == self.values[new].shape
            length = self.values[step.inputs[0]].shape[1]
            return torch.stack([self.values[step.body.output]] * length, 1)
        given = [self.values[id] for id in step.inputs]
        for inferred, actual in zip(step.instance.inputs, given, strict=True):
            assert real(inferred, self.free) == tuple(actual.shape), (
                step.operation,
                inferred,
                tuple(actual.shape),
            )
        operation = CATALOGUE[step.operation]
        call = operation.torch(step.instance)
        if call.kind == "module":
            key = step.owner if step.owner is not None else step.id
            fresh = build_module(call, "meta")
            module = self.modules.setdefault(key, fresh)
            sizes = [(name, p.shape) for name, p in fresh.named_parameters()]
            assert sizes == [(name, p.shape) for name, p in module.named_parameters()], step.operation
            return module(*given)
        if operation.borrows is not None:
            assert step.owner is not None
            return bind(call)(*given, getattr(self.modules[step.owner], operation.borrows))
        return bind(call)(*given)


def check_network(architecture: Architecture, free: Free) -> None:
    """The network that people get runs as well."""
    inputs = [tensor(architecture.step(id).shape, free) for id in architecture.inputs]
    with torch.device("meta"):
        outputs = Network(architecture, CATALOGUE)(*inputs)
    given = outputs if isinstance(outputs, tuple) else (outputs,)
    for (_, id), output in zip(architecture.outputs, given, strict=True):
        assert tuple(output.shape) == real(architecture.step(id).shape, free)


def check_genotype(space: Space, genotype: Genotype) -> Architecture:
    """A genotype of the space gives an architecture that runs and has the inferred shapes."""
    assert space.genotype(genotype) == genotype
    assignment = space.assignment(genotype)
    assert [c.name for c in space.choices if c.guard.at(assignment)] == list(genotype)
    architecture = space.architecture(genotype)
    # At the least sizes that a free dimension may have, and well beyond.
    Run(architecture, space.least)
    Run(architecture, {name: least + 6 for name, least in space.least.items()})
    for step in architecture.steps:
        if step.id >= 0:
            node = space.graph.node(step.id)
            assert node.guard.at(assignment), (step.operation, genotype)
    return architecture


# --- elaborating one genotype ---------------------------------------------------------------------


Ways = Mapping[Any, Taken | None]


class Decided(Choices):
    """Takes one way at each choice that it makes, so that shapes are inferred for a single architecture.

    ``ways`` are by key, since names are only known in the end; None for a choice that doesn't exist.
    """

    ways: Ways

    def _make(self, *arguments: Any, **keywords: Any) -> Made:
        made = super()._make(*arguments, **keywords)
        record = made.record
        if record is None or record.key not in self.ways:
            return made
        taken = self.ways[record.key]
        table = self.builder.table
        if record.low is None:
            taken = taken or record.labels[0]
            return Made(
                record, [table.true if label == taken else table.false for label in record.labels], made.step
            )
        if taken is not None:
            # A list that was chosen stays one, with a single value.
            for label, holds in zip(record.labels, made.holds, strict=True):
                condition = holds if label in taken else table.negate(holds)
                self.elaborator.proof.require(condition)
        return made


def decided(module: Module, ways: Ways) -> tuple[Space, list[int]]:
    """One architecture elaborated by itself, with the case of each of its variables."""
    elaborator = Elaborator(catalogue(), LIMITS)
    choices = Decided(elaborator)
    choices.ways = ways
    elaborator.choices = choices
    space = elaborator.space(module, pick_space(module), {})
    cases = [0] * len(space.arities)
    for key, record in elaborator.builder.choices.items():
        for label in ways.get(key) or ():
            if record.low is not None:
                cases[record.variables[record.labels.index(label)]] = 1
    return space, cases


def check_alone(module: Module, elaborator: Elaborator, space: Space, genotype: Genotype) -> None:
    """One architecture elaborated by itself has the shapes that the whole space says."""
    names = elaborator.builder.names()
    alone, cases = decided(module, {key: genotype.get(names[key]) for key in elaborator.builder.choices})
    assignment = space.assignment(genotype)
    for (name, whole), (other, single) in zip(space.outputs, alone.outputs, strict=True):
        assert name == other
        expected = decided_shape(space.graph.node(whole).type, assignment)
        assert decided_shape(alone.graph.node(single).type, cases) == expected


# --- counting -------------------------------------------------------------------------------------


def brute_force(space: Space) -> set[Genotype] | None:
    """Every genotype, by trying every way of every choice; None where there are too many."""
    options: list[list[Taken]] = []
    size = 1
    for choice in space.choices:
        if choice.low is None or choice.high is None:
            options.append(list(choice.labels))
        else:
            bits = product((False, True), repeat=len(choice.labels))
            taken = [tuple(label for label, b in zip(choice.labels, row, strict=True) if b) for row in bits]
            options.append([t for t in taken if choice.low <= len(t) <= choice.high])
        size *= len(options[-1])
        if size > 3_000:
            return None
    found = set()
    for row in product(*options):
        genotype = dict(zip((c.name for c in space.choices), row, strict=True))
        assignment = space.assignment(genotype)
        # A choice that doesn't exist is asked by no guard of one that does.
        existing = Genotype({c.name: genotype[c.name] for c in space.choices if c.guard.at(assignment)})
        if existing in found:
            continue
        own = space.assignment(existing)
        if all(constraint.at(own) for constraint in space.constraints):
            found.add(existing)
    return found


# --- the properties -------------------------------------------------------------------------------

seen = Counter[str]()


def test_what_compiles_runs_and_what_is_refused_breaks() -> None:
    seen.clear()
    check_random_space()
    # Enough of them compile, enough are refused for some architectures only, and enough can be listed.
    programs_made = seen["compiled"] + seen["refused"]
    assert seen["compiled"] >= 0.4 * programs_made, seen
    assert seen["broken"] >= 0.02 * programs_made, seen
    assert seen["counted"] >= 0.5 * seen["compiled"], seen


@settings(deadline=None, max_examples=4 * settings().max_examples, suppress_health_check=list(HealthCheck))
@given(programs(), st.integers(0, 2**31))
def check_random_space(text: str, seed: int) -> None:
    module = read(text)
    elaborator = Elaborator(catalogue(), LIMITS)
    space = elaborated(elaborator, module)
    anew = elaborated(walking_all(), module)
    if isinstance(space, NasError):
        seen["refused"] += 1
        assert str(space) == str(anew)
        check_refusal(module, elaborator, space)
        return
    seen["compiled"] += 1
    assert isinstance(anew, Space)
    assert serialize.write(space) == serialize.write(anew)
    drawn = dict.fromkeys([*space.sample(seed, 2), *space.sample(seed, 2, uniform=True)])
    for genotype in drawn:
        check_genotype(space, genotype)
        # A tensor that is chosen is read; one that is merely named isn't, and so may be a loose end.
        if "unused(" not in text:
            check_alone(module, elaborator, space, genotype)
        seen["genotypes"] += 1
    check_network(space.architecture(next(iter(drawn))), space.least)
    listed = brute_force(space)
    if listed is not None:
        seen["counted"] += 1
        assert space.count() == len(listed)
        assert set(drawn) <= listed


# What is wrong with shapes and sizes is wrong in an architecture; other messages are about the text.
SHAPES = ("N301", "N303")


def elaborated(elaborator: Elaborator, module: Module) -> Space | NasError:
    try:
        return elaborator.space(module, pick_space(module), {})
    except NasError as error:
        return error


class WalksAll(Observer):
    walks_every_use = True


def walking_all() -> Elaborator:
    """An elaborator that walks every use, also one that is like an earlier one."""
    elaborator = Elaborator(catalogue(), LIMITS)
    elaborator.observer = WalksAll()
    return elaborator


def check_refusal(module: Module, elaborator: Elaborator, error: NasError) -> None:
    """The genotype that a message names breaks, whatever the other choices take."""
    for stop, _ in elaborator.wrongs.stops:
        assert stop.diagnostic is not None
        if not stop.path and stop.diagnostic.code not in SHAPES:
            continue
        path = stop.path or {}
        ways: dict[Any, Taken | None] = {}
        for key, record in elaborator.builder.choices.items():
            if record.low is None or record.high is None:
                ways[key] = record.labels[path.get(record.variables[0], 0)]
                continue
            known = {label: path.get(v) for label, v in zip(record.labels, record.variables, strict=True)}
            inside = [label for label in record.labels if known[label] == 1]
            spare = [label for label in record.labels if known[label] is None]
            inside += spare[: max(0, record.low - len(inside))]
            ways[key] = tuple(label for label in record.labels if label in inside)
        if not meets_bounds(elaborator, ways):
            continue
        with pytest.raises(NasError) as caught:
            decided(module, ways)
        wanted = [d for d in error.diagnostics if d.severity is Severity.ERROR]
        again = {d.span for d in caught.value.diagnostics}
        assert again & {d.span for d in wanted}, (stop.diagnostic, caught.value)
        seen["broken"] += 1
        return


def meets_bounds(elaborator: Elaborator, ways: Ways) -> bool:
    """Whether a way meets every `require`: the message names a part of one that does, the rest is arbitrary here."""
    cases = [0] * len(elaborator.builder.arities)
    for key, record in elaborator.builder.choices.items():
        taken = ways[key]
        assert taken is not None
        if record.low is None:
            cases[record.variables[0]] = record.labels.index(taken)  # type: ignore[arg-type]
        else:
            for label in taken:
                cases[record.variables[record.labels.index(label)]] = 1
    return all(constraint.at(cases) for constraint in elaborator.proof.constraints)


SMALL: Mapping[str, Mapping[str, int]] = {
    "darts": {"layers": 3},
    "darts_none": {"layers": 3},
    "darts_rnn": {"hidden": 12, "embed": 12, "nodes": 4, "vocab": 20},
    "enas_rnn": {"hidden": 12, "embed": 12, "nodes": 5, "vocab": 20},
    "enas_micro": {"cells": 1, "nodes": 3},
    "hierarchical": {"depth": 2},
}


@pytest.mark.parametrize("path", sorted(resources.spaces().glob("*.nas")), ids=lambda path: path.stem)
def test_shipped_spaces(path: Path) -> None:
    space = pipeline.load(path, **SMALL.get(path.stem, {}))
    # Limits on measures say nothing about shapes, and few architectures may meet them.
    space = replace(space, limits=())
    for genotype in space.sample(0, 3):
        check_genotype(space, genotype)
