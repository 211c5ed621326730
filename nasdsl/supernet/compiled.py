"""Regional compilation: each candidate goes through ``torch.compile`` by itself, once, whatever paths are run.

A *chain* is a row of operations in which each reads the one before and nobody else does: ``relu -> depthwise -> conv ->
batchnorm``. Chains with the same operations and sizes share their compiled code; weights are inputs of it. Plans call
compiled chains, and are never compiled themselves, so that a new genotype compiles nothing that was run before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor

from nasdsl.space.architecture import Architecture, Step, readers

CHAIN = "chain"

Backend = str | Callable[..., Any]
"""What ``torch.compile`` takes: ``inductor``, ``aot_eager``, or a function."""


@dataclass(frozen=True, eq=False)
class Chain(Step):
    """A step of operation :data:`CHAIN`: its ``steps``, one after the other."""

    steps: tuple[Step, ...] = ()


def join_chains(architecture: Architecture, compiles: Callable[[Step], bool]) -> Architecture:
    """The same architecture with chains as steps. ``compiles(step)`` says whether a step may be in one."""
    read = readers(architecture)
    steps: dict[int, Step] = {}
    for step in architecture.steps:
        if step.body is not None or len(step.inputs) != 1 or not compiles(step):
            steps[step.id] = step
            continue
        before = steps.get(step.inputs[0])
        if isinstance(before, Chain) and read[before.id] == 1:
            del steps[before.id]
            row = (*before.steps, step)
        else:
            row = (step,)
        steps[step.id] = Chain(
            step.id, CHAIN, replace(step.instance, inputs=row[0].instance.inputs), row[0].inputs,
            step.scope, step.name, steps=row,
        )  # fmt: skip
    return replace(architecture, steps=tuple(steps.values()))


class Compiler:
    """Compiles chains, and remembers them for all plans of a supernet."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._found: dict[tuple[int, ...], Callable[[Tensor], Tensor]] = {}
        self._codes: dict[str, CodeType] = {}

    def chain(self, chain: Chain, runs: Sequence[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
        key = tuple(step.id for step in chain.steps)
        found = self._found.get(key)
        if found is None:
            function = _one_after_the_other(runs)
            # torch keeps compiled variants by code object, and gives up after some: so each kind has one of its own.
            kind = repr([(step.operation, step.instance.settings, step.shape) for step in chain.steps])
            code = self._codes.setdefault(
                kind, function.__code__.replace(co_name=f"chain_{len(self._codes)}")
            )
            own = FunctionType(code, function.__globals__, code.co_name, None, function.__closure__)
            found = self._found[key] = torch.compile(own, backend=self.backend)
        return found


def _one_after_the_other(runs: Sequence[Callable[[Tensor], Tensor]]) -> FunctionType:
    rows = list(runs)

    def run(x: Tensor) -> Tensor:
        for row in rows:
            x = row(x)
        return x

    assert isinstance(run, FunctionType)
    return run
