"""One architecture with weights of its own: what is scored without a supernet."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from nasdsl.operations.execute import bind, build_module
from nasdsl.space.architecture import Step
from nasdsl.space.choice import Taken
from nasdsl.space.space import Space
from nasdsl.supernet.gates import GATINGS
from nasdsl.supernet.names import module_names, put
from nasdsl.supernet.plan import Context, Run, make_plan

Observer = Callable[[Step, tuple[Tensor, ...]], None]
"""Is told, before an operation runs, its step and what it is given."""


class Alone(nn.Module):
    """The sub-network of a genotype, its weights drawn anew from ``seed`` at the size that it uses.

    Takes [N, …] for each input of the space and gives its output, or a tuple of several. ``observe`` sees what the operations are given.
    """

    def __init__(self, space: Space, genotype: Mapping[str, Taken], *, seed: int = 0) -> None:
        super().__init__()
        self.space = space
        self.observe: Observer | None = None
        self.weights = nn.Module()
        self._modules_of: dict[int, nn.Module] = {}
        architecture = space.architecture(genotype)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._plan = make_plan(architecture, self._bind)
        nodes = [space.graph.node(owner) for owner in sorted(self._modules_of)]
        names = module_names(nodes)
        for node in nodes:
            put(self.weights, names[node.id], self._modules_of[node.id])

    def _bind(self, step: Step) -> Run:
        operation = self.space.catalogue[step.operation]
        call = operation.torch(step.instance)
        owner = step.id if step.owner is None else step.owner
        if operation.borrows is not None:
            function, module, name = bind(call), self._modules_of[owner], operation.borrows
            return lambda *inputs: function(*inputs, module.get_parameter(name))
        if call.kind != "module":
            return self._observed(step, bind(call))
        if owner not in self._modules_of:
            self._modules_of[owner] = build_module(call)
        return self._observed(step, self._modules_of[owner])

    def _observed(self, step: Step, run: Run) -> Run:
        def observed(*inputs: Tensor) -> Tensor:
            if self.observe is not None:
                self.observe(step, inputs)
            return run(*inputs)

        return observed

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        dtype = next((p.dtype for p in self.parameters()), torch.get_default_dtype())
        outputs = self._plan(inputs, Context({}, GATINGS["multiply"](), dtype))
        return outputs if len(outputs) > 1 else outputs[0]
