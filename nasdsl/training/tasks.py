"""Tasks: what is trained on. A task holds its data on the device, split once; the search never sees the test part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from nasdsl.diagnostics import failure
from nasdsl.space.space import Space
from nasdsl.space.tensor import Shape
from nasdsl.training.registry import Registry
from nasdsl.training.seeds import generator


@dataclass(frozen=True, eq=False)
class Split:
    """Examples: ``inputs`` [N, …] for each input of the network, ``targets`` [N, …]."""

    inputs: tuple[Tensor, ...]
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        return self.targets.device

    def take(self, indices: Tensor) -> Split:
        return Split(tuple(x[indices] for x in self.inputs), self.targets[indices])

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Split:
        """On another device, and real-valued inputs in another precision."""
        moved = tuple(x.to(device, dtype if x.is_floating_point() else None) for x in self.inputs)
        return Split(moved, self.targets.to(device))

    def channels_last(self) -> Split:
        """With images laid out as channels_last, which convolutions on the CPU like better."""
        laid = tuple(
            x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in self.inputs
        )
        return Split(laid, self.targets)

    def batches(self, size: int) -> Iterator[Split]:
        """In order, the last one as large as what is left."""
        for start in range(0, len(self), size):
            yield Split(
                tuple(x[start : start + size] for x in self.inputs), self.targets[start : start + size]
            )


def shuffled(count: int, size: int, random: torch.Generator, device: torch.device) -> list[Tensor]:
    """The indices of an epoch's batches. What is left over is not used this time, unless there is no full batch:
    batch norm should not see a batch of one."""
    order = torch.randperm(count, generator=random).to(device)
    return [order[i : i + size] for i in range(0, count - size + 1, size)] or [order]


class Objective(Protocol):
    """What a task wants of the outputs of a network."""

    name: str
    """What the metric is called; larger is better."""

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean over the batch."""
        ...

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A value an example: [N]."""
        ...


class Classification:
    """Cross-entropy; accuracy as a share of 1."""

    name = "accuracy"

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) == targets).to(torch.float32)


@dataclass(frozen=True)
class Normalisation:
    """How data as it is stored became the first input of the network: (x - mean) / std, a number a channel or one for
    all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Task:
    """``train`` is all that training and search may see; ``test`` is only reported on.

    ``shapes`` are those of the inputs without batch axis; ``outputs`` is the shape that the network has to give.
    ``normalisation`` is what was done to the data, so that an exported network can do it itself.
    """

    name: str
    summary: str
    train: Split
    test: Split
    shapes: tuple[Shape, ...]
    outputs: Shape
    objective: Objective
    labels: tuple[str, ...] = ()
    normalisation: Normalisation | None = None

    def halves(self, seed: int) -> tuple[Split, Split]:
        """The training part in two, stratified by class: for the weights, and for the architecture (or for ranking)."""
        first, second = stratified(self.train.targets.cpu(), 0.5, generator(seed, "halves"))
        device = self.train.device
        return self.train.take(first.to(device)), self.train.take(second.to(device))

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Task:
        train, test = self.train.to(device, dtype), self.test.to(device, dtype)
        return replace(self, train=train, test=test)

    def check(self, space: Space) -> None:
        """Raises NasError where the networks of a space can't be trained on this task, with what would make them fit:
        N912 for the inputs, N913 for the outputs."""
        nodes = [space.graph.node(i) for i in space.inputs]
        if len(nodes) != len(self.shapes):
            raise failure(
                "N912",
                f"task `{self.name}` has {len(self.shapes)} input(s), space `{space.name}` {len(nodes)}",
            )
        for node, shape in zip(nodes, self.shapes, strict=True):
            theirs = Shape(tuple(node.type.dims), node.type.dtype)  # type: ignore[arg-type]
            if not _fits(theirs, shape):
                raise failure(
                    "N912",
                    f"task `{self.name}` gives `{node.name}` as {shape}, but space `{space.name}` takes {theirs}",
                    f"declare it as `input {node.name}: {shape}`",
                    node.span,
                )
        for number, (name, output) in enumerate(space.outputs):
            node = space.graph.node(output)
            theirs = Shape(tuple(node.type.dims), node.type.dtype)  # type: ignore[arg-type]
            if not _fits(theirs, self.outputs):
                # Any output after the first is an auxiliary head (nasdsl.training.outputs).
                what = "as output" if number == 0 else f"as auxiliary output `{name}` too"
                raise failure(
                    "N913",
                    f"task `{self.name}` wants {self.outputs} {what}, but space `{space.name}` returns {theirs}",
                    _help_for_outputs(space, theirs, self.outputs),
                    node.span,
                )


def _fits(theirs: Shape, ours: Shape) -> bool:
    """Whether sizes agree where both are numbers; a free dimension takes any."""
    if theirs.dtype != ours.dtype or len(theirs.dims) != len(ours.dims):
        return False
    pairs = zip(theirs.dims, ours.dims, strict=True)
    return all(a == b or not isinstance(a, int) or not isinstance(b, int) for a, b in pairs)


def _help_for_outputs(space: Space, theirs: Shape, wanted: Shape) -> str:
    """A parameter of the space that carries the size which is wrong, if one does; ``classes`` before any other."""
    for has, want in zip(theirs.dims, wanted.dims, strict=False):
        if has != want:
            named = [name for name, value in space.parameters.items() if value == has]
            for name in sorted(named, key=lambda n: n != "classes"):
                return f"say `--set {name}={want}`"
    return f"let the space return {wanted}"


def stratified(targets: Tensor, share: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices in two parts, the first with ``share`` of every class (rounded by turns, so that the sizes come out)."""
    first: list[Tensor] = []
    second: list[Tensor] = []
    owed = 0.0
    for label in targets.unique():
        members = (targets == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=random)]
        owed += share * len(members)
        count = min(len(members), max(0, round(owed)))
        owed -= count
        first.append(members[:count])
        second.append(members[count:])
    return torch.cat(first).sort().values, torch.cat(second).sort().values


class TaskBuilder(Protocol):
    """Makes a task on the CPU. Its docstring's first line says what it is."""

    def __call__(self) -> Task: ...


TASKS: Registry[TaskBuilder] = Registry("task", "nasdsl.tasks", "N910")
"""Tasks by name; other packages add theirs under the entry-point group ``nasdsl.tasks``."""


def load_task(name: str, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Task:
    """The task of that name, on a device. Raises NasError N910 for an unknown one."""
    return TASKS.find(name)().to(device, dtype)


@TASKS.add("digits")
def digits() -> Task:
    """1 797 handwritten digits, 8x8 grey values, bundled with scikit-learn (Alpaydin & Kaynak, 1998).

    A fifth of each class is the test part, by a seed of its own, so that it is the same in every run. Grey values
    0..16 are shifted and scaled to mean 0 and variance 1 over the training part.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise failure(
            "N911", "task `digits` needs scikit-learn, which bundles its images", "pip install scikit-learn"
        ) from None
    images, labels = load_digits(return_X_y=True)
    inputs = torch.from_numpy(images).to(torch.float32).view(-1, 1, 8, 8)
    targets = torch.from_numpy(labels).to(torch.int64)
    return classification("digits", "1 797 handwritten digits, 8x8", inputs, targets, test_share=0.2)


def classification(
    name: str,
    summary: str,
    inputs: Tensor,
    targets: Tensor,
    *,
    test_share: float = 0.2,
    labels: Sequence[str] = (),
) -> Task:
    """A task of images [N, C, H, W] (or anything else real-valued) with class numbers [N].

    The test part is stratified and always the same; inputs are standardised by mean and deviation of the training part.
    """
    held_out, kept = stratified(targets, test_share, generator(0, "test part"))
    mean, deviation = inputs[kept].mean(), inputs[kept].std()
    inputs = (inputs - mean) / deviation
    classes = int(targets.max()) + 1
    return Task(
        name,
        summary,
        Split((inputs[kept],), targets[kept]),
        Split((inputs[held_out],), targets[held_out]),
        (Shape(tuple(inputs.shape[1:])),),
        Shape((classes,)),
        Classification(),
        tuple(labels) or tuple(map(str, range(classes))),
        Normalisation((float(mean),), (float(deviation),)),
    )
