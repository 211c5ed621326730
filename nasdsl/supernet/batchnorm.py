"""Batch norm in a supernet: whose statistics?

Running statistics of shared weights belong to no sub-network. Three policies are published, and each is explicit here:
statistics of the batch always (ENAS, GDAS: ``batch``), the running ones (``running``), and running ones that are
re-estimated for one genotype (:func:`recalibrate`: SPOS, OFA). Re-estimation starts afresh: going on with a moving
average would leak from one sub-network into the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasdsl.space.choice import Taken

if TYPE_CHECKING:
    from nasdsl.supernet.supernet import Supernet

Policy = Literal["batch", "running"]


def norms(module: nn.Module) -> list[_BatchNorm]:
    return [m for m in module.modules() if isinstance(m, _BatchNorm)]


def apply_policy(modules: Iterable[nn.Module], policy: Policy) -> None:
    """To be called after every switch between training and evaluation, which says how ``running`` is meant."""
    for norm in modules:
        if isinstance(norm, _BatchNorm):
            # Past `nn.Module.__setattr__`, which is slow.
            norm.__dict__["track_running_stats"] = policy == "running"
            if policy == "batch":
                norm.__dict__["training"] = True


def without_affine(module: nn.Module) -> None:
    """Takes scale and offset away, as in DARTS' and GDAS's searches."""
    for norm in norms(module):
        norm.affine = False
        norm.register_parameter("weight", None)
        norm.register_parameter("bias", None)


def recalibrate(
    supernet: Supernet, genotype: Mapping[str, Taken], batches: Iterable[Sequence[Tensor]]
) -> None:
    """Resets the running statistics of the genotype's batch norms and re-estimates them as the mean over ``batches``.

    Each batch is the sequence of the network's inputs, [N, …]. The statistics of other batch norms stay.
    """
    active = [norm for module in supernet.active(genotype) for norm in norms(module)]
    momenta = [norm.momentum for norm in active]
    counters = [norm.num_batches_tracked for norm in active]
    policy, was_training = supernet.batch_norm, supernet.training
    supernet.use_batch_norm("running")
    supernet.train()
    try:
        for norm in active:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches, each weighing the same
            # For that torch reads the counter at each call: on the host, so that nobody waits for a GPU.
            norm.num_batches_tracked = torch.zeros((), dtype=torch.long)
        with torch.no_grad():
            for inputs in batches:
                supernet(*inputs, genotype=genotype)
    finally:
        for norm, momentum, counter in zip(active, momenta, counters, strict=True):
            norm.momentum = momentum
            assert counter is not None
            norm.num_batches_tracked = counter.fill_(int(norm.num_batches_tracked or 0))
        supernet.use_batch_norm(policy)
        supernet.train(was_training)
