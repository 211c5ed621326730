"""Inputs that an export is checked on, and what the network makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import torch
from torch import Tensor, nn

from nasdsl.diagnostics import failure
from nasdsl.exporting.network import Network
from nasdsl.exporting.program import Deployed

Outputs = tuple[Tensor, ...]
# A batch of each input: the one there is, all in their order, or by name.
SampleInputs = Union[Tensor, Sequence[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Case:
    """Inputs of one batch size and length, and what the network makes of them.

    Where the second output is the classes of the best ``scores``, those of all classes are here: [N, ..., classes].
    """

    inputs: Outputs
    outputs: Outputs
    scores: Tensor | None = None

    @property
    def words(self) -> str:
        return ", ".join(str(tuple(x.shape)) for x in self.inputs)


def make_cases(network: Network, inputs: Sequence[Tensor], reference: nn.Module | None = None) -> list[Case]:
    """The inputs at several batch sizes, and at three lengths, even and odd ones, where a dimension is free.

    ``reference`` says what is right, the network itself unless something stands around it.
    """
    given = reference if reference is not None else network
    batch = inputs[0].shape[0]
    batches = [tuple(x[:size] for x in inputs) for size in sorted({1, min(3, batch), batch})]
    cases = [_case(given, batch) for batch in batches]
    for length in (lambda n: n - 1, lambda n: -(-n // 2)):
        shorter = _shortened(network, batches[-1], length)
        if shorter is None:
            continue
        try:
            cases.append(_case(given, shorter))
        except RuntimeError:
            # The dimension has a least size, and this is below it.
            pass
    return cases


def _case(module: nn.Module, inputs: Outputs) -> Case:
    scores = None
    if isinstance(module, Deployed) and module.top_k is not None:
        (scores,) = outputs_of(module.scores, inputs)
    return Case(inputs, outputs_of(module, inputs), scores)


def _shortened(network: Network, inputs: Outputs, length: Callable[[int], int]) -> Outputs | None:
    """The inputs with every free dimension at the ``length`` that follows from its size; None where none is shorter, or
    one is gone."""
    found = []
    for shape, x in zip(network.input_shapes, inputs, strict=True):
        for axis, dim in enumerate(shape.dims, 1):
            if not isinstance(dim, int):
                x = x.narrow(axis, 0, length(x.shape[axis]))
        # Strides decide which kernels torch takes, and those the last digit.
        found.append(x.clone(memory_format=torch.contiguous_format))
    shorter = any(a.shape != b.shape for a, b in zip(found, inputs, strict=True))
    return tuple(found) if shorter and all(x.numel() for x in found) else None


def outputs_of(module: Callable[..., Any], inputs: Sequence[Tensor]) -> Outputs:
    """What a module makes of inputs, without gradients; a tuple also of one output."""
    with torch.no_grad():
        return as_tuple(module(*inputs))


def as_tuple(outputs: Any) -> Outputs:
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


# --- inputs -----------------------------------------------------------------------------------------


def random_inputs(network: Network, batch: int = 8, length: int = 16, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs of the right shapes and kinds; free dimensions have the given length."""
    generator = torch.Generator().manual_seed(seed)
    inputs = []
    for id, shape in zip(network.architecture.inputs, network.input_shapes, strict=True):
        sizes = [batch, *(dim if isinstance(dim, int) else length for dim in shape.dims)]
        if shape.dtype == "int":
            readers = [step for step in network.architecture.steps if id in step.inputs]
            limits = [step.instance.settings.get(name) for step in readers for name in ("vocab", "classes")]
            inputs.append(
                torch.randint(0, min((n for n in limits if n), default=2), sizes, generator=generator)
            )
        else:
            inputs.append(torch.randn(sizes, generator=generator))
    return tuple(inputs)


def ordered_inputs(network: Network, given: SampleInputs) -> tuple[Tensor, ...]:
    """The sample inputs in the network's order. Raises NasError (N960) where they don't fit its inputs."""
    if isinstance(given, Tensor):
        inputs: tuple[Tensor, ...] = (given,)
    elif isinstance(given, Mapping):
        missing = [name for name in network.input_names if name not in given]
        if missing:
            raise failure("N960", f"the sample inputs have no `{missing[0]}`")
        inputs = tuple(given[name] for name in network.input_names)
    else:
        inputs = tuple(given)
    if len(inputs) != len(network.input_names):
        raise failure(
            "N960", f"`{network.space_name}` has {len(network.input_names)} inputs, {len(inputs)} were given"
        )
    for name, shape, x in zip(network.input_names, network.input_shapes, inputs, strict=True):
        sizes = x.shape[1:]
        fits = len(sizes) == len(shape.dims) and all(
            not isinstance(dim, int) or dim == size for dim, size in zip(shape.dims, sizes, strict=True)
        )
        if not fits or (shape.dtype == "int") == x.is_floating_point():
            raise failure(
                "N960",
                f"`{name}` is {shape} for each example; a batch of {x.dtype} {list(sizes)} was given".replace(
                    "torch.", ""
                ),
            )
        if not x.shape[0]:
            raise failure("N960", f"the batch of `{name}` is empty: nothing could be checked")
    return tuple(x.detach().cpu().clone(memory_format=torch.contiguous_format) for x in inputs)
