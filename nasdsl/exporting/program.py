"""A network as a ``torch.export`` program: what ``.pt2`` files hold and ONNX is made from."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasdsl.diagnostics import failure
from nasdsl.exporting.network import Network
from nasdsl.space.tensor import Shape


class Deployed(nn.Module):
    """A network with what surrounds it in use: its input normalised, its scores turned into probabilities, the best
    ``top_k`` of them with their class numbers."""

    def __init__(
        self,
        network: Network,
        preprocessing: Mapping[str, Any] | None = None,
        probabilities: bool = False,
        top_k: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.probabilities = probabilities
        self.top_k = top_k
        self.normalised = preprocessing is not None
        if preprocessing is not None:
            rank = len(network.input_shapes[0].dims)
            for name in ("mean", "std"):
                self.register_buffer(name, _per_channel(preprocessing, name, rank))

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        scores, others = self._scored(inputs)
        if self.top_k is not None:
            best = scores.topk(self.top_k, -1)
            return (best.values, best.indices, *others)
        return (scores, *others) if others else scores

    def scores(self, *inputs: Tensor) -> Tensor:
        """The first output before all but the best are dropped."""
        return self._scored(inputs)[0]

    def _scored(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        first, *others = inputs
        if self.normalised:
            first = (first - self.get_buffer("mean")) / self.get_buffer("std")
        output = self.network(first, *others)
        scores, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, ())
        return (scores.softmax(-1) if self.probabilities else scores), rest


def denormalise(x: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """A batch of normalised inputs [N, ...] as they were before."""
    mean, std = (_per_channel(preprocessing, name, x.dim() - 1) for name in ("mean", "std"))
    return x * std + mean


def _per_channel(preprocessing: Mapping[str, Any], name: str, rank: int) -> Tensor:
    """A number for each channel, or one for all, that combines with a batch of inputs."""
    if name not in preprocessing:
        raise failure(
            "N956",
            f"the preprocessing has no `{name}`, so it can't be put into the graph",
            help='give it as {"mean": [...], "std": [...]}, one number a channel or one for all',
        )
    values = torch.as_tensor(preprocessing[name], dtype=torch.float32).flatten()
    return values.reshape(-1, *[1] * (rank - 1)) if rank else values


def export_program(
    network: Network, inputs: Sequence[Tensor], module: nn.Module | None = None
) -> torch.export.ExportedProgram:
    """The program of a network, its batch axis and its free dimensions free.

    ``inputs`` are real ones to trace it with; ``module`` is what is exported where something stands around the network
    (:class:`Deployed`). The network must be in eval mode. Raises NasError (N957) where torch can't keep an axis free.
    """
    module = network if module is None else module
    examples = tuple(_at_least_two(x) for x in inputs)
    axes = tuple(_free_axes(shape) for shape in network.input_shapes)
    with torch.no_grad(), network.scanning(), quiet():
        try:
            return torch.export.export(module.eval(), examples, dynamic_shapes=(axes,))
        except (torch._dynamo.exc.UserError, RuntimeError) as error:
            raise failure(
                "N957",
                f"torch can't export `{network.space_name}` with its batch and free dimensions free: {_first_line(error)}",
                help="give the inputs sizes that every batch can have, or write the free dimensions as numbers",
            ) from error


def _at_least_two(x: Tensor) -> Tensor:
    # torch takes an axis of size 1 to be 1 for ever.
    return x if x.shape[0] > 1 else torch.cat([x, x])


def _free_axes(shape: Shape) -> dict[int, Any]:
    free = [axis for axis, dim in enumerate(shape.dims, 1) if not isinstance(dim, int)]
    return dict.fromkeys([0, *free], torch.export.Dim.DYNAMIC)


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def write_pt2(program: torch.export.ExportedProgram, path: Path) -> None:
    """Saves a program, to be loaded with ``torch.export.load(path).module()``."""
    with quiet():
        torch.export.save(program, path)


def read_pt2(path: Path) -> nn.Module:
    """The module of a saved program."""
    with quiet():
        module: nn.Module = torch.export.load(path).module()
    return module


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps torch's exporters from talking about what they found missing (torchvision) or will change one day."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
