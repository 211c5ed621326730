"""Connection sensitivity."""

from __future__ import annotations

from nasdsl.searching.evaluators.evaluator import EVALUATORS
from nasdsl.searching.evaluators.proxy import Proxy, backpropagated, weighted
from nasdsl.supernet.alone import Alone
from nasdsl.training.split import Split
from nasdsl.training.tasks import Objective


@EVALUATORS.add("snip")
class Snip(Proxy):
    """Lee, Ajanthan & Torr, "SNIP: Single-shot Network Pruning Based on Connection Sensitivity", ICLR 2019; as a proxy
    Abdelfattah et al., ICLR 2021.

    Σ |∂L/∂m| over masks m = 1 that multiply each weight: Σ |w · ∂L/∂w|.
    """

    def measure(self, network: Alone, batch: Split, objective: Objective) -> float:
        backpropagated(network, batch, objective)
        return sum(
            float((weight.detach() * weight.grad).abs().sum())
            for _, weight in weighted(network)
            if weight.grad is not None
        )
