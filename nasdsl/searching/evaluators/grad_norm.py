"""The norm of the gradient."""

from __future__ import annotations

from nasdsl.searching.evaluators.evaluator import EVALUATORS
from nasdsl.searching.evaluators.proxy import Proxy, backpropagated, weighted
from nasdsl.supernet.alone import Alone
from nasdsl.training.split import Split
from nasdsl.training.tasks import Objective


@EVALUATORS.add("grad_norm")
class GradNorm(Proxy):
    """Abdelfattah, Mehrotra, Dudziak & Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021: Σ ‖∂L/∂W‖ over the
    weights of all layers."""

    def measure(self, network: Alone, batch: Split, objective: Objective) -> float:
        backpropagated(network, batch, objective)
        return sum(float(weight.grad.norm()) for _, weight in weighted(network) if weight.grad is not None)
