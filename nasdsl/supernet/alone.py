"""One architecture with weights of its own: what is scored without a supernet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasdsl.operations.execute import bind, build_module
from nasdsl.operations.recurrent import Dropouts, Scanned, Scanning, States
from nasdsl.space.architecture import Step
from nasdsl.space.choice import Taken
from nasdsl.space.space import Space
from nasdsl.supernet.chance import seeded_with
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
        self._has_scans = any(step.body is not None for step in architecture.steps)
        with seeded_with(seed):
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
        return Observed(self, step, run)

    @property
    def has_scans(self) -> bool:
        """Whether it hands on states."""
        return self._has_scans

    def forward(
        self,
        *inputs: Tensor,
        states: States | None = None,
        dropouts: Dropouts = Dropouts(),  # noqa: B008
    ) -> Tensor | tuple[Tensor, ...] | tuple[Tensor | tuple[Tensor, ...], Scanned]:
        """The outputs; with ``states``, as :meth:`nasdsl.supernet.supernet.Supernet.forward` has it."""
        dtype = next((p.dtype for p in self.parameters()), torch.get_default_dtype())
        scanning = None if states is None else Scanning(states, dropouts)
        found = self._plan(inputs, Context({}, GATINGS["multiply"](), dtype, scanning=scanning))
        outputs = found if len(found) > 1 else found[0]
        return outputs if scanning is None else (outputs, scanning.scanned)


@dataclass(frozen=True, eq=False)
class Observed:
    """Runs a step (``full`` is its module, where it has one) where its network's observer sees it."""

    network: Alone
    step: Step
    full: Run

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self.network.observe is not None:
            self.network.observe(self.step, inputs)
        return self.full(*inputs)
