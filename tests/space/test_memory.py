"""Activation memory of operations and architectures, against the tensors that torch really makes and keeps."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from nasdsl import pipeline, resources
from nasdsl.operations import catalogue
from nasdsl.operations.example import Example, decide
from nasdsl.operations.execute import bind, build_module
from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.graph import Scope
from nasdsl.space.memory import memory, training_memory
from nasdsl.space.operation import Catalogue, Cost, Instance, Operation
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.optimise import PLAIN

CATALOGUE = catalogue(plugins=False)
CALLS = [
    pytest.param(operation, example, id=f"{name}-{i}")
    for name, operation in CATALOGUE.items()
    for i, example in enumerate(operation.examples)
]
SMALL: dict[str, dict[str, Any]] = {
    "nasbench201": {"width": 4, "cells": 1},
    "darts": {"width": 2, "layers": 3},
    "enas_micro": {"width": 2, "cells": 1},
    "decoder_lm": {"layers": 2, "vocab": 16},
    "enas_rnn": {"hidden": 6, "embed": 6, "nodes": 5, "vocab": 11},
    "darts_rnn": {"hidden": 6, "embed": 6, "nodes": 4, "vocab": 11},
    "mobilenet_small": {"size": 16},
    "ofa_mobilenetv3": {},
    "speech_1d": {"channels": 8, "width": 16},
    "hierarchical": {},
    "quickstart": {},
    "tabular_mlp": {},
    "autoformer_tiny": {},
}


class Live(TorchDispatchMode):
    """The most bytes that tensors made under it hold at once, each storage counted once."""

    def __init__(self, given: Iterable[Tensor], ignored: Iterable[Tensor]) -> None:
        super().__init__()
        self.held: dict[int, int] = {}
        self.known = {tensor.untyped_storage()._cdata for tensor in ignored}
        self.live = self.peak = 0
        for tensor in given:
            self.watch(tensor)
        self.peak = self.live

    def watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.known:
            self.held.setdefault(key, 0)
            if self.held[key] == 0:
                self.live += storage.nbytes()
            self.held[key] += 1
            weakref.finalize(tensor, self.forget, key, storage.nbytes())

    def forget(self, key: int, size: int) -> None:
        self.held[key] -= 1
        if self.held[key] == 0:
            self.live -= size

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        results = function(*args, **(kwargs or {}))
        for tensor in results if isinstance(results, (tuple, list)) else (results,):
            if isinstance(tensor, Tensor):
                self.watch(tensor)
        self.peak = max(self.peak, self.live)
        return results


def live_bytes(run: Callable[[], Any], given: Iterable[Tensor], ignored: Iterable[Tensor]) -> int:
    with torch.no_grad(), Live(given, ignored) as live:
        run()
    return live.peak


def saved_bytes(run: Callable[[], Any], ignored: Iterable[Tensor]) -> int:
    """What autograd keeps while it runs, each storage once, weights and buffers left out."""
    kept: dict[int, Tensor] = {}
    known = {tensor.untyped_storage().data_ptr() for tensor in ignored}

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    found = sum(t.untyped_storage().nbytes() for p, t in kept.items() if p not in known)
    del result
    return found


def one_step(operation: Operation, example: Example) -> tuple[Architecture, Any, list[Tensor]]:
    """An operation as an architecture, as a module or function, and its weights."""
    instance = decide(operation, example.inputs, **example.settings)
    scope = Scope(0, "space", "s", "s", None, None)
    ids = tuple(range(len(instance.inputs)))
    inputs = [
        Step(i, "input", Instance((), {}, x), (), scope) for i, x in zip(ids, instance.inputs, strict=True)
    ]
    call = operation.torch(instance)
    weights: list[Tensor] = []
    run: Any
    if call.kind == "module":
        run = build_module(call)
        weights = [*run.parameters(), *run.buffers()]
    else:
        run = bind(call)
    if operation.borrows is not None:
        weight = torch.randn(instance.settings["vocab"], instance.settings["features"]).requires_grad_()
        weights = [weight]
        plain = run
        run = lambda *xs: plain(*xs, weight)  # noqa: E731
    step = Step(len(ids), operation.name, instance, ids, scope, owner=len(ids) if weights else None)
    return Architecture("s", {}, (*inputs, step), ids, (("y", step.id),)), run, weights


@pytest.mark.parametrize(("operation", "example"), CALLS)
def test_one_operation_evaluated(operation: Operation, example: Example) -> None:
    architecture, run, weights = one_step(operation, example)
    inputs = tensors(architecture, 3)
    if hasattr(run, "eval"):
        run.eval()
    found = live_bytes(lambda: run(*inputs), inputs, weights)
    assert memory(architecture, CATALOGUE, batch=3) == found


def free_dimensions(architecture: Architecture) -> set[str]:
    dims = [dim for id in architecture.inputs for dim in architecture.step(id).shape.dims]
    return {name for dim in dims if not isinstance(dim, int) for name in dim.names()}


class Given(Operation):
    """What a layer before gives: it has weights, and keeps nothing."""

    name = "given"

    def shape(self, inputs: Any, **settings: Any) -> Any:
        raise NotImplementedError

    def torch(self, instance: Instance) -> Any:
        raise NotImplementedError

    def cost(self, instance: Instance) -> Cost:
        return Cost(params=1)


@pytest.mark.parametrize("wants_gradient", [True, False])
@pytest.mark.parametrize(("operation", "example"), CALLS)
def test_one_operation_trained(operation: Operation, example: Example, wants_gradient: bool) -> None:
    architecture, run, weights = one_step(operation, example)
    inputs = tensors(architecture, 3)
    if wants_gradient:
        # A step before it that has weights makes the inputs want gradients.
        for tensor in inputs:
            if tensor.is_floating_point():
                tensor.requires_grad_()
        architecture = with_gradients(architecture)
    known = Catalogue([*CATALOGUE.values(), Given()])
    assert training_memory(architecture, known, batch=3) == saved_bytes(lambda: run(*inputs), weights)


def tensors(architecture: Architecture, batch: int, length: int = 7) -> list[Tensor]:
    made = []
    for id in architecture.inputs:
        shape = architecture.step(id).shape
        dims = [dim if isinstance(dim, int) else length for dim in shape.dims]
        made.append(
            torch.randint(0, 4, (batch, *dims)) if shape.dtype == "int" else torch.randn(batch, *dims)
        )
    return made


def with_gradients(architecture: Architecture) -> Architecture:
    """The same behind steps that have weights, so that the inputs of its last step want gradients; these steps keep
    nothing of their own."""
    *inputs, last = architecture.steps
    before = []
    for step in inputs:
        if step.shape.dtype == "float":
            step = Step(step.id, Given.name, step.instance, (), step.scope, owner=step.id)
        before.append(step)
    return Architecture("s", {}, (*before, last), (), architecture.outputs)


@cache
def space_named(name: str) -> Space:
    return pipeline.load(resources.spaces() / f"{name}.nas", **SMALL[name])


@pytest.mark.parametrize("name", SMALL)
def test_architectures_of_shipped_spaces(name: str) -> None:
    space = space_named(name)
    supernet = Supernet(space, optimise=PLAIN)
    batch, length = 2, 5
    for genotype in space.sample(0, 3):
        architecture = space.architecture(genotype)
        free = dict.fromkeys(free_dimensions(architecture), length)
        inputs = tensors(architecture, batch, length)
        weights = [*supernet.parameters(), *supernet.buffers()]
        run = partial(supernet, *inputs, genotype=genotype)
        supernet.train()
        kept = saved_bytes(run, weights)
        assert training_memory(architecture, CATALOGUE, batch=batch, free=free) == kept
        supernet.eval()
        live = live_bytes(run, inputs, weights)
        assert memory(architecture, CATALOGUE, batch=batch, free=free) == live
