"""What an export is made from and what was asked of it: the same for every form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasdsl.exporting.cases import Case, make_cases
from nasdsl.exporting.network import Network
from nasdsl.exporting.onnx import OPSET
from nasdsl.exporting.program import Deployed, denormalise, export_program
from nasdsl.space.space import Space
from nasdsl.training.tasks import Task

FP32, FP16, INT8 = "fp32", "fp16", "int8"
PRECISIONS = (FP32, FP16, INT8)


@dataclass(frozen=True)
class Options:
    """What was asked for. ``with_preprocessing``, ``with_probabilities`` and ``top_k`` change the graphs of ONNX and
    pt2; ``precisions`` and ``opset`` the ONNX files. ``max_loss`` is in points, hundredths of the task's metric."""

    formats: tuple[str, ...]
    opset: int = OPSET
    with_preprocessing: bool = False
    with_probabilities: bool = False
    top_k: int | None = None
    precisions: tuple[str, ...] = (FP32,)
    max_loss: float = 1.0

    @property
    def bare(self) -> bool:
        """Whether the graph is the network and nothing else."""
        return not (self.with_preprocessing or self.with_probabilities or self.top_k)


@dataclass(frozen=True)
class About:
    """What is known of a network besides its numbers.

    ``preprocessing`` has ``mean`` and ``std``; ``weights`` says where the weights come from; ``real`` that there are
    real inputs to show.
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    preprocessing: Mapping[str, Any] | None = None
    weights: str | None = None
    real: bool = False


@dataclass(eq=False)
class Job:
    """One export. ``network`` is in eval mode and float32 on the CPU, ``inputs`` are a batch of what it takes;
    ``folder`` is where files are made before they are published."""

    network: Network
    inputs: tuple[Tensor, ...]
    options: Options
    about: About
    folder: Path
    task: Task | None = None
    space: Space | None = None

    @property
    def measured(self) -> bool:
        """Whether ONNX files are timed and run over the task."""
        return self.task is not None

    @cached_property
    def graph_inputs(self) -> tuple[Tensor, ...]:
        """The same inputs as the graphs of ONNX and pt2 take them: as stored, where the graph normalises them."""
        return self.as_stored(self.inputs) if self.options.with_preprocessing else self.inputs

    def as_stored(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Inputs of the network as they were before preprocessing, as far as that is known."""
        if self.about.preprocessing is None:
            return tuple(inputs)
        return (denormalise(inputs[0], self.about.preprocessing), *inputs[1:])

    @cached_property
    def deployed(self) -> nn.Module:
        """The network with what stands around it in the graphs."""
        if self.options.bare:
            return self.network
        return Deployed(
            self.network,
            (self.about.preprocessing or {}) if self.options.with_preprocessing else None,
            self.options.with_probabilities,
            self.options.top_k,
        ).eval()

    @cached_property
    def cases(self) -> list[Case]:
        """What the network gives."""
        return make_cases(self.network, self.inputs)

    @cached_property
    def graph_cases(self) -> list[Case]:
        """What the graphs have to give."""
        if self.options.bare:
            return self.cases
        return make_cases(self.network, self.graph_inputs, self.deployed)

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        return export_program(self.network, self.graph_inputs, self.deployed)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Of the graphs."""
        names = self.network.output_names
        if not self.options.top_k:
            return names
        return (names[0], "classes" if "classes" not in names else "top_classes", *names[1:])
