"""Fisher information of channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasdsl.searching.evaluators.evaluator import EVALUATORS
from nasdsl.searching.evaluators.proxy import Proxy, backpropagated, weighted
from nasdsl.supernet.alone import Alone
from nasdsl.training.split import Split
from nasdsl.training.tasks import Objective


@EVALUATORS.add("fisher")
class Fisher(Proxy):
    """Theis, Korshunova, Tejani & Huszár, "Faster Gaze Prediction with Dense Networks and Fisher Pruning", 2018; for
    architectures Turner et al., "BlockSwap", ICLR 2020, and Abdelfattah et al., ICLR 2021.

    For each channel c of what a convolution or linear layer gives, with a its activations and g their gradients,

        Δ_c = ½ · mean over examples of (Σ over places  a · g)²

    and the score is Σ Δ_c over all channels of all layers.
    """

    def measure(self, network: Alone, batch: Split, objective: Objective) -> float:
        seen: list[tuple[nn.Module, Tensor]] = []

        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            if output.requires_grad:
                output.retain_grad()
                seen.append((module, output))

        layers = [m for m, _ in weighted(network) if not isinstance(m, nn.Embedding)]
        hooks = [module.register_forward_hook(keep) for module in layers]
        try:
            backpropagated(network, batch, objective)
        finally:
            for hook in hooks:
                hook.remove()
        return sum(
            float(information(output.detach(), output.grad, channels=-1 if last(module) else 1))
            for module, output in seen
            if output.grad is not None
        )


def last(module: nn.Module) -> bool:
    """Whether a layer's channels are the last axis of what it gives."""
    return isinstance(module, nn.Linear)


def information(activations: Tensor, gradients: Tensor, channels: int) -> Tensor:
    """Σ_c ½ mean_n (Σ a · g)² of activations and gradients [N, …], with the axis of the channels."""
    product = torch.movedim(activations * gradients, channels, 1)  # [N, C, …]
    return 0.5 * product.reshape(*product.shape[:2], -1).sum(2).square().mean(0).sum()
