"""DARTS: the continuous relaxation, by gradient descent on both levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nasdsl.searching.blending import Blending, BlendingOptions
from nasdsl.searching.strategy import STRATEGIES, Path
from nasdsl.supernet import Supernet
from nasdsl.training.config import Config


class DartsOptions(BlendingOptions):
    order: Literal["first", "second"] = Field(
        default="second",
        description="second looks a weight step ahead and costs about four times as much; first doesn't",
    )


@STRATEGIES.add("darts")
class Darts(Blending):
    """Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.

    Every candidate runs, blended with softmax(α). The architecture step descends, with Adam and on the half of the data
    that the weights don't see, the gradient of L_val(w'(α), α) with the weights one step of their own ahead,

        w' = w - η (∇_w L_train(w, α) + momentum · buffer + decay · w)
        g  = ∇_α L_val(w', α) - η (∇_α L_train(w⁺, α) - ∇_α L_train(w⁻, α)) / 2R
        w± = w ± R v,   v = ∇_w' L_val(w', α),   R = 0.01 / |v|

    (``order=second``); with ``order=first``, g = ∇_α L_val(w, α). In each minibatch it comes before the weight step, as
    in the released code. The strongest candidate of each choice wins; of ``choose k of`` the k whose inner choice has
    the strongest candidate, `none` apart.

    Settings are those of the paper's search. Known trouble: on NAS-Bench-201 both orders end in the cell of skips alone.

    The preset ``demo`` trains for 50 epochs at a learning rate of 0.1, architecture parameters at 3e-2, first order.
    """

    Options: ClassVar[type[Config]] = DartsOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": (*Blending.presets["demo"], "options.order=first"),
    }

    @property
    def unrolled(self) -> bool:
        return bool(self.options.order == "second")

    def unrolled_step(
        self,
        supernet: Supernet,
        training_loss: Callable[[Path], Tensor],
        loss: Callable[[Path], Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> float:
        self.steps += 1
        group = optimizer.param_groups[0]
        decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        parameters = [p for p in supernet.parameters() if p.requires_grad]
        buffers = [optimizer.state[p].get("momentum_buffer") for p in parameters]
        value, gradient = unrolled_gradient(
            self.logits,
            parameters,
            lambda: training_loss(Path({}, mixture=self.weights())),
            lambda: loss(Path({}, mixture=self.weights())),
            lr=group["lr"],
            momentum=group.get("momentum", 0.0),
            weight_decay=[decays[p] for p in parameters],
            buffers=buffers,
        )
        self.descend(gradient)
        return value


def unrolled_gradient(
    alpha: Tensor,
    parameters: Sequence[Tensor],
    training_loss: Callable[[], Tensor],
    validation_loss: Callable[[], Tensor],
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float | Sequence[float] = 0.0,
    buffers: Sequence[Tensor | None] = (),
) -> tuple[float, Tensor]:
    """L_val(w', α) and DARTS' second-order gradient of α; the parameters are as they were afterwards.

    Weights that the training loss doesn't use are left where they are, as the optimiser leaves them. ``weight_decay``
    is one for all parameters, or one for each.
    """
    decays = [weight_decay] * len(parameters) if isinstance(weight_decay, float) else weight_decay
    before = [p.detach().clone() for p in parameters]
    steps: Sequence[Tensor | None] = torch.autograd.grad(training_loss(), parameters, allow_unused=True)
    try:
        with torch.no_grad():
            for i, (p, step) in enumerate(zip(parameters, steps, strict=True)):
                if step is None:
                    continue
                step = step + decays[i] * p
                buffer = buffers[i] if buffers else None
                if buffer is not None:
                    step = step + momentum * buffer
                p.sub_(lr * step)
        loss = validation_loss()
        found: Sequence[Tensor | None] = torch.autograd.grad(loss, [alpha, *parameters], allow_unused=True)
        direct, *vector = found
        _put(parameters, before)
        implicit = mixed_product(alpha, parameters, training_loss, vector)
    finally:
        _put(parameters, before)
    if direct is None:
        direct = torch.zeros_like(alpha)
    return float(loss.detach()), direct - lr * implicit


def mixed_product(
    alpha: Tensor, parameters: Sequence[Tensor], loss: Callable[[], Tensor], vector: Sequence[Tensor | None]
) -> Tensor:
    """∇²_{α,w} L · v by central differences of ∇_α L along v, with a step of 0.01 / |v|; exact where L is quadratic in w."""
    there = [(p, v) for p, v in zip(parameters, vector, strict=True) if v is not None]
    norm = float(torch.stack([v.square().sum() for _, v in there]).sum().sqrt()) if there else 0.0
    if norm == 0.0:
        return torch.zeros_like(alpha)
    radius = 0.01 / norm
    gradients = []
    for scale in (radius, -2 * radius):
        with torch.no_grad():
            for p, v in there:
                p.add_(v, alpha=scale)
        (gradient,) = torch.autograd.grad(loss(), [alpha], allow_unused=True)
        gradients.append(torch.zeros_like(alpha) if gradient is None else gradient)
    with torch.no_grad():
        for p, v in there:
            p.add_(v, alpha=radius)
    above, below = gradients
    return (above - below) / (2 * radius)


def _put(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for p, value in zip(parameters, values, strict=True):
            p.copy_(value)
