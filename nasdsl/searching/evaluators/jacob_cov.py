"""Jacobian covariance."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nasdsl.searching.evaluators.evaluator import EVALUATORS
from nasdsl.searching.evaluators.proxy import Proxy
from nasdsl.supernet.alone import Alone
from nasdsl.training.outputs import total
from nasdsl.training.split import Split
from nasdsl.training.tasks import Objective

SMALL = 1e-5


@EVALUATORS.add("jacob_cov")
class JacobCov(Proxy):
    """The score of the first version of Mellor et al., "Neural Architecture Search without Training" (arXiv, June 2020),
    which Abdelfattah et al., ICLR 2021, call jacob_cov.

    J has for each example the gradient of the sum of its outputs by its input; v are the eigenvalues of the correlation
    of its rows:

        -Σ  log(v + k) + 1 / (v + k),        k = 1e-5

    which is largest where examples have uncorrelated gradients. A linear network has one gradient for all examples.
    """

    needs_gradient_of_inputs: ClassVar[bool] = True

    def measure(self, network: Alone, batch: Split, objective: Objective) -> float:
        network.train()
        inputs = [x.detach().clone().requires_grad_() for x in batch.inputs]
        outputs = total(objective, network(*inputs))
        if not outputs.requires_grad:
            return float("nan")
        found = [g for g in torch.autograd.grad(outputs, inputs, allow_unused=True) if g is not None]
        return spread(torch.cat([g.flatten(1) for g in found], 1)) if found else float("nan")


def spread(jacobian: Tensor) -> float:
    """The score of the rows of a Jacobian [N, inputs]."""
    values = torch.linalg.eigvalsh(torch.corrcoef(jacobian.to(torch.float64)))
    return -float((torch.log(values + SMALL) + 1 / (values + SMALL)).sum())
