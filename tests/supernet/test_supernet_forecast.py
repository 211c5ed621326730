"""The forecast of a step's activations against the tensors that torch makes in one, forward and backward."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasdsl import pipeline, resources
from nasdsl.space.choice import Taken
from nasdsl.space.memory import step_memory
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.forecast import _holds, _rides, forecast_mixture, forecast_paths, forecast_step
from nasdsl.supernet.lowering import lowered
from nasdsl.supernet.optimise import PLAIN, Optimisations

BATCH = 8


class Storages(TorchDispatchMode):
    """The most bytes of storages made under it at once."""

    def __init__(self, ignored: Iterable[Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in ignored}
        self.live = self.peak = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        results = function(*args, **(kwargs or {}))
        for tensor in results if isinstance(results, (tuple, list)) else (results,):
            if isinstance(tensor, Tensor):
                self.watch(tensor.untyped_storage())
        return results

    def watch(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self.forget, storage._cdata, storage.nbytes())

    def forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def load(name: str, **parameters: int) -> Space:
    return pipeline.load(resources.spaces() / f"{name}.nas", **parameters)


def measured(supernet: Supernet, inputs: Tensor, **how: Any) -> int:
    """Bytes of activations at once in a weight step; weights and their gradients are left out, the inputs are in."""
    parameters = list(supernet.parameters())
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    grads = [p.grad for p in parameters if p.grad is not None]
    with Storages([*parameters, *supernet.buffers(), *grads]) as storages:
        storages.watch(inputs.untyped_storage())
        outputs = supernet(inputs, **how)
        nn.functional.cross_entropy(outputs, torch.zeros(len(outputs), dtype=torch.long)).backward()
    return storages.peak


@pytest.mark.parametrize(
    "optimise",
    [
        PLAIN,
        Optimisations(),
        Optimisations(recompute=True),
        Optimisations(fuse="same"),
        Optimisations(fuse="padded"),
    ],
    ids=["plain", "optimised", "recomputed", "fused", "padded"],
)
@pytest.mark.parametrize("mixture", [False, True], ids=["path", "mixture"])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("nasbench201", {"width": 8, "cells": 1}), ("darts", {"width": 4, "layers": 3})],
)
def test_activations_of_a_weight_step(
    name: str, parameters: Mapping[str, int], mixture: bool, optimise: Optimisations
) -> None:
    space = load(name, **parameters)
    supernet = Supernet(space, optimise=optimise, affine=False, batch_norm="batch", channels_last=True)
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    genotype: Mapping[str, Taken] = space.sample(1)
    architecture = space.mixture() if mixture else space.architecture(genotype)
    even = {c.name: torch.full((len(c.labels),), 1 / len(c.labels)) for c in space.choices}
    how = {"mixture": even} if mixture else {"genotype": genotype}
    steps = lowered(architecture, space.catalogue, optimise, partial(_rides, space))
    forecast = step_memory(steps, partial(_holds, space.catalogue, optimise, True), batch=BATCH)
    assert forecast == pytest.approx(measured(supernet, images, **how), rel=0.03)


def test_weights_gradients_and_the_optimisers_state() -> None:
    space = load("nasbench201", width=8, cells=1)
    supernet = Supernet(space)
    genotype = space.sample(0)
    parameters = sum(p.numel() for p in supernet.parameters())
    used = sum(p.numel() for module in supernet.active(genotype) for p in module.parameters())
    found = forecast_step(space, space.architecture(genotype), batch=4, states=2)
    assert (found.weights, found.optimizer, found.gradients) == (4 * parameters, 8 * parameters, 4 * used)
    assert found.total == sum(found.as_json().values()) - found.as_json()["total"]


def test_a_mixture_takes_more_than_a_path_and_numbers_have_none() -> None:
    space = load("nasbench201", width=8, cells=1)
    blended = forecast_mixture(space, batch=4)
    assert blended is not None and blended.activations > 2 * forecast_paths(space, batch=4).activations
    assert forecast_mixture(load("quickstart"), batch=4) is None


def test_twice_the_batch_takes_twice_the_activations() -> None:
    space = load("darts", width=4, layers=3)
    paths = [forecast_paths(space, batch=batch).activations for batch in (16, 32)]
    assert paths[1] / paths[0] == pytest.approx(2, rel=0.01)


def test_free_dimensions_have_a_size() -> None:
    space = load("decoder_lm", layers=2, vocab=16)
    short, long = (forecast_paths(space, batch=2, free={"T": length}).activations for length in (8, 64))
    assert long > 7 * short
