"""Neural architecture search without training: how differently a network's units fire."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.searching.evaluators.evaluator import EVALUATORS, Given
from nasdsl.searching.evaluators.proxy import Proxy, ProxyOptions
from nasdsl.space.architecture import Step
from nasdsl.supernet.alone import Alone
from nasdsl.training.split import Split
from nasdsl.training.tasks import Objective

FIRING = frozenset({"relu", "gelu", "silu", "hardswish"})
"""Operations whose units are on above zero. The paper has ReLU alone."""


@EVALUATORS.add("naswot")
class Naswot(Proxy):
    """Mellor, Turner, Storkey & Crowley, "Neural Architecture Search without Training", ICML 2021.

    Each example has a code b, whether each ReLU unit is on. With one row b for each example of the minibatch,

        K = Σ over ReLUs  b bᵀ + (1 - b)(1 - b)ᵀ,        score = log |det K|

    the larger, the better the examples are told apart. Where two examples have the same code K is singular, and the
    architecture can't be scored. Ours: other activations that are on above zero (gelu, silu, hardswish) have codes too.
    Raises NasError N965 for a space without any.
    """

    def __init__(self, given: Given, options: ProxyOptions) -> None:
        super().__init__(given, options)
        if not any(node.operation in FIRING for node in given.space.graph.all_nodes()):
            raise failure(
                "N965",
                f"naswot looks at which ReLU units are on, and space `{given.space.name}` has none",
                "synflow, snip, grad_norm and fisher need none",
            )

    def measure(self, network: Alone, batch: Split, objective: Objective) -> float:
        codes: list[Tensor] = []

        def observe(step: Step, inputs: tuple[Tensor, ...]) -> None:
            if step.operation in FIRING:
                codes.append((inputs[0] > 0).flatten(1))

        network.train()
        network.observe = observe
        with torch.no_grad():
            network(*batch.inputs)
        network.observe = None
        return log_determinant(codes) if codes else float("nan")


def log_determinant(codes: Sequence[Tensor]) -> float:
    """log |det Σ (b bᵀ + (1 - b)(1 - b)ᵀ)| of codes [N, units]; minus infinity where it is singular."""
    kernel = torch.zeros(len(codes[0]), len(codes[0]), dtype=torch.float64, device=codes[0].device)
    for code in codes:
        on = code.to(torch.float64)
        kernel += on @ on.T + (1 - on) @ (1 - on).T
    # Exactly singular where two rows are the same; rounding would make a large negative number of it.
    if len(kernel.unique(dim=0)) < len(kernel):
        return float("-inf")
    return float(torch.linalg.slogdet(kernel).logabsdet)
