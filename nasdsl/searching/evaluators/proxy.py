"""What zero-cost proxies share: a fresh network of each genotype, and one minibatch.

Formulas are those of NASLib's ``predictors/utils/pruners/measures`` (Abdelfattah, Mehrotra, Dudziak & Lane,
"Zero-Cost Proxies for Lightweight NAS", ICLR 2021), which are not always those of the papers that they are named after.
Every genotype is given the same minibatch, and weights from the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from nasdsl.diagnostics import failure
from nasdsl.searching.evaluators.evaluator import Given
from nasdsl.space.choice import Genotype
from nasdsl.supernet.alone import Alone
from nasdsl.training.config import Config
from nasdsl.training.outputs import answer
from nasdsl.training.seeds import derive, generator, seeded
from nasdsl.training.split import Split
from nasdsl.training.tasks import Objective
from nasdsl.training.train import Evaluation


class ProxyOptions(Config):
    batch: int = Field(default=64, ge=2, description="examples of the one minibatch")


class Proxy:
    """A subclass says in :meth:`measure` what a network is worth: the larger, the better.

    With ``needs_gradient_of_inputs`` it raises NasError N965 for a task whose inputs are whole numbers.
    """

    Options: ClassVar[type[Config]] = ProxyOptions
    score_name: ClassVar[str] = "score"
    needs_gradient_of_inputs: ClassVar[bool] = False

    def __init__(self, given: Given, options: Any) -> None:
        self.given = given
        self.options = options
        half = given.weights
        self.batch = half.take(half.order(options.batch, generator(given.seed, "proxy"))[0])
        if self.needs_gradient_of_inputs and not all(x.is_floating_point() for x in self.batch.inputs):
            raise failure(
                "N965",
                f"this evaluator looks at how outputs change with the inputs, and task `{given.task.name}` gives tokens",
                "synflow, snip, grad_norm and fisher look at the weights",
            )

    def score(self, genotype: Genotype, budget: int = 0) -> Evaluation:
        network = Alone(self.given.space, genotype, seed=derive(self.given.seed, "weights"))
        network.to(self.batch.device)
        with seeded(self.given.seed, "dropout"):
            value = self.measure(network, self.batch, self.given.task.objective)
        if not math.isfinite(value):  # nothing to compare with
            value = math.nan
        return Evaluation(-value, value, len(self.batch))

    def measure(self, network: Alone, batch: Split, objective: Objective) -> float:
        """Larger is better; what is no number, or infinite, says that the network can't be scored."""
        raise NotImplementedError


def weighted(network: nn.Module) -> Iterator[tuple[nn.Module, Tensor]]:
    """The modules with a weight of two or more axes, and the weight: convolutions, linear layers, embeddings."""
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() > 1:
            yield module, weight


def backpropagated(network: nn.Module, batch: Split, objective: Objective) -> None:
    """Leaves the gradients of the task's loss on a minibatch in the weights."""
    network.zero_grad(set_to_none=True)
    network.train()
    loss = objective.loss(answer(objective, network(*batch.inputs)), batch.targets)
    if loss.requires_grad:
        loss.backward()
