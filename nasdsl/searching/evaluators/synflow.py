"""Synaptic flow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasdsl.searching.evaluators.evaluator import EVALUATORS
from nasdsl.searching.evaluators.proxy import Proxy, weighted
from nasdsl.supernet.alone import Alone
from nasdsl.training.outputs import total
from nasdsl.training.split import Split
from nasdsl.training.tasks import Objective

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


@EVALUATORS.add("synflow")
class Synflow(Proxy):
    """Tanaka, Kunin, Yamins & Ganguli, "Pruning Neural Networks without Any Data by Iteratively Conserving Synaptic
    Flow", NeurIPS 2020; as a proxy Abdelfattah et al., ICLR 2021.

    With all parameters replaced by their absolute values, ones for an input and R the sum of the outputs,

        Σ over weights  θ · ∂R/∂θ

    in double precision, norms left out. It looks at no data. The score is the logarithm, log(1 + Σ), for the sum spans
    many orders of magnitude.
    """

    def measure(self, network: Alone, batch: Split, objective: Objective) -> float:
        inputs = [x[:1] for x in batch.inputs]
        return math.log1p(sum(flows(network, inputs, objective)))


def flows(network: nn.Module, inputs: Sequence[Tensor], objective: Objective) -> list[float]:
    """Σ |θ| · ∂R/∂|θ| of each weight with two or more axes. The network is as it was afterwards, bit for bit."""
    tensors = [*network.parameters(), *network.buffers()]
    before = [t.detach().clone() for t in tensors]
    was_training = network.training
    try:
        with torch.no_grad():
            network.to(torch.float64)
            for parameter in network.parameters():
                parameter.abs_()
        network.zero_grad(set_to_none=True)
        network.eval()
        with passed_by(network):
            ones = [
                torch.ones_like(x, dtype=torch.float64 if x.is_floating_point() else x.dtype) for x in inputs
            ]
            flow = total(objective, network(*ones))
            if flow.requires_grad:
                flow.backward()
        return [
            float((weight.detach() * weight.grad).sum()) if weight.grad is not None else 0.0
            for _, weight in weighted(network)
        ]
    finally:
        network.zero_grad(set_to_none=True)
        network.train(was_training)
        dtypes = {t.dtype for t in before if t.is_floating_point()}
        if len(dtypes) == 1:
            network.to(dtypes.pop())
        with torch.no_grad():
            for tensor, value in zip([*network.parameters(), *network.buffers()], before, strict=True):
                tensor.copy_(value)


def identity(input: Tensor) -> Tensor:
    return input


@contextmanager
def passed_by(network: nn.Module) -> Iterator[None]:
    """Inside the block norms give back what they are given."""
    norms = [module for module in network.modules() if isinstance(module, NORMS)]
    for norm in norms:
        norm.forward = identity  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
