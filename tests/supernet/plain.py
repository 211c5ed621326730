"""An architecture run step by step, with modules of its own and nothing of the supernet: what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nasdsl.operations.execute import bind, build_module
from nasdsl.space.architecture import ZEROS, Step
from nasdsl.space.choice import Taken
from nasdsl.space.space import Space


class Plain(nn.Module):
    """Weights by owner; every step of :meth:`Space.architecture` is run in order."""

    def __init__(self, space: Space, genotype: Mapping[str, Taken], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.catalogue = space.catalogue
        self.architecture = space.architecture(genotype)
        self.kind = dtype
        self.owned = nn.ModuleDict()
        self.steps: dict[str, Step] = {}
        self._make(self.architecture.steps)
        self.to(dtype)

    def _make(self, steps: Any) -> None:
        for step in steps:
            if step.body is not None:
                self._make(step.body.steps)
            elif step.operation in self.catalogue:
                operation = self.catalogue[step.operation]
                call = operation.torch(step.instance)
                key = str(step.id if step.owner is None else step.owner)
                if call.kind == "module" and operation.borrows is None and key not in self.owned:
                    self.owned[key] = build_module(call)
                    self.steps[key] = step

    def forward(self, *inputs: Tensor) -> Tensor:
        values = dict(zip(self.architecture.inputs, inputs, strict=True))
        self._run(self.architecture.steps, values)
        return values[self.architecture.outputs[0][1]]

    def _run(self, steps: Any, values: dict[int, Tensor]) -> None:
        for step in steps:
            given = [values[id] for id in step.inputs]
            if step.operation in ("input", "element", "state"):
                continue
            if step.operation == ZEROS:
                values[step.id] = torch.zeros((given[0].shape[0], *step.shape.dims), dtype=self.kind)
            elif step.body is not None:
                values[step.id] = self._scan(step, given[0], values)
            else:
                values[step.id] = self._call(step, given)

    def _call(self, step: Step, given: list[Tensor]) -> Tensor:
        operation = self.catalogue[step.operation]
        call = operation.torch(step.instance)
        key = str(step.id if step.owner is None else step.owner)
        if operation.borrows is not None:
            return bind(call)(*given, self.owned[key].get_parameter(operation.borrows))
        result: Tensor = self.owned[key](*given) if call.kind == "module" else bind(call)(*given)
        return result

    def _scan(self, step: Step, sequence: Tensor, values: dict[int, Tensor]) -> Tensor:
        body = step.body
        assert body is not None
        shapes = {inner.id: inner.shape.dims for inner in body.steps}
        states = [torch.zeros((len(sequence), *shapes[id]), dtype=self.kind) for id in body.states]
        outputs = []
        for t in range(sequence.shape[1]):
            inner = values | {body.element: sequence[:, t]} | dict(zip(body.states, states, strict=True))
            self._run(body.steps, inner)
            states = [inner[id] for id in body.new_states]
            outputs.append(inner[body.output])
        return torch.stack(outputs, 1)
