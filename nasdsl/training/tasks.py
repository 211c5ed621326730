"""Tasks: what is trained on. A task holds its data on the device, split once; the search never sees the test part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Union

import torch
from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.space.space import Space
from nasdsl.space.tensor import Shape
from nasdsl.training.cuts import cut, stratified
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.fitting import check_inputs, check_output
from nasdsl.training.objectives import Classification, Objective, Several
from nasdsl.training.registry import Registry
from nasdsl.training.seeds import generator
from nasdsl.training.split import Split

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[tuple[int, ...], Any]

__all__ = [
    "TASKS",
    "Classification",
    "Normalisation",
    "Objective",
    "Split",
    "Task",
    "TaskBuilder",
    "classification",
    "load_task",
    "stratified",
]


@dataclass(frozen=True)
class Normalisation:
    """How data as it is stored became the first input of the network: (x - mean) / std, a number a channel or one for
    all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Task:
    """``train`` is all that training and search may see; ``test`` is only reported on.

    ``shapes`` are those of the inputs without batch axis; ``outputs`` is the shape that the network has to give, or
    those of several outputs by their names. ``input_names`` matter where there are several inputs.
    ``normalisation`` is what was done to the data, so that an exported network can do it itself; ``target_normalisation``
    the same of numbers to predict, whose network's output times std plus mean is in their own unit. ``columns`` says what
    each number of a row is, where the input is one of a table.

    ``sizes`` are the task's sizes by the names of the parameters that carry them in a space: ``classes``, ``channels``,
    ``size``, ``columns``, ``vocab``. ``validation`` is the part that the architecture is chosen on, where the data has
    one of its own; else it is cut from ``train`` as ``data`` says. ``room`` is how many bytes of data the device holds;
    ``notes`` is what a person should know about how the data was read.
    """

    name: str
    summary: str
    train: Split
    test: Split
    shapes: tuple[Shape, ...]
    outputs: Union[Shape, Mapping[str, Shape]]
    objective: Objective
    labels: tuple[str, ...] = ()
    normalisation: Normalisation | None = None
    input_names: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    validation: Split | None = None
    data: DataSettings = field(default_factory=DataSettings)
    room: float = float("inf")
    notes: tuple[str, ...] = ()
    target_normalisation: Normalisation | None = None
    columns: tuple[str, ...] = ()

    def halves(self, seed: int) -> tuple[Split, Split]:
        """What a search may see, in two parts that share no example: for the weights, and for the architecture (or for
        ranking). Data of the user's own is cut in the same way whatever the ``seed`` is."""
        if self.validation is not None:
            return self.train, self.validation
        own = bool(self.data.path)
        random = generator(self.data.seed if own else seed, "halves")
        first, second = cut(self.train, 1 - self.data.validation, random)
        device = self.train.device
        return self.train.part(first.to(device)), self.train.part(second.to(device))

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Task:
        return self.changed(lambda split: split.to(device, dtype, room=self.room))

    def check(self, space: Space) -> None:
        """Raises NasError where the networks of a space can't be trained on this task, with what would make them fit:
        N912 for the inputs, N913 for the outputs."""
        task = self.ordered(space)
        check_inputs(space, self.name, task.shapes, self.sizes, resizable=bool(self.data.path))
        if isinstance(task.outputs, Shape):
            for number, (name, _) in enumerate(space.outputs):
                # Any output after the first is an auxiliary head (nasdsl.training.outputs).
                what = "as output" if number == 0 else f"as auxiliary output `{name}` too"
                check_output(space, self.name, number, task.outputs, what)
            return
        if len(space.outputs) != len(task.outputs):
            names = ", ".join(f"`{name}`" for name in task.outputs)
            raise failure(
                "N913",
                f"task `{self.name}` wants the outputs {names}, space `{space.name}` has {len(space.outputs)}",
            )
        for number, (name, shape) in enumerate(task.outputs.items()):
            check_output(space, self.name, number, shape, f"as output `{name}`")

    def ordered(self, space: Space) -> Task:
        """The task with several inputs and outputs in the order of a space that has them by the same names; where it
        has other names they stay in the order that they have."""
        task = self
        inputs = [str(space.graph.node(i).name) for i in space.inputs]
        if len(inputs) > 1 and sorted(inputs) == sorted(self.input_names):
            places = [self.input_names.index(name) for name in inputs]
            shapes = tuple(self.shapes[i] for i in places)
            task = replace(
                task.changed(lambda s: s.with_inputs(places)), shapes=shapes, input_names=tuple(inputs)
            )
        names = [name for name, _ in space.outputs]
        if isinstance(self.outputs, Mapping) and sorted(names) == sorted(self.outputs):
            assert isinstance(self.objective, Several)
            places = [self.objective.names.index(name) for name in names]
            wanted = {name: self.outputs[name] for name in names}
            task = replace(
                task.changed(lambda s: s.with_targets(places)),
                outputs=wanted,
                objective=self.objective.ordered(names),
            )
        return task

    def changed(self, change: Callable[[Split], Split]) -> Task:
        """The task with all of its parts changed."""
        validation = None if self.validation is None else change(self.validation)
        return replace(self, train=change(self.train), test=change(self.test), validation=validation)


class TaskBuilder(Protocol):
    """Makes a task on the CPU. Its docstring's first line says what it is."""

    def __call__(self) -> Task: ...


TASKS: Registry[TaskBuilder] = Registry("task", "nasdsl.tasks", "N910", ("__call__",))
"""Tasks by name; other packages add theirs under the entry-point group ``nasdsl.tasks``."""


def load_task(name: str, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Task:
    """The task of that name, on a device. Raises NasError N910 for an unknown one."""
    return TASKS.find(name)().to(device, dtype)


@TASKS.add("digits")
def digits() -> Task:
    """1 797 handwritten digits, 8x8 grey values, bundled with scikit-learn (Alpaydin & Kaynak, 1998).

    A fifth of each class is the test part, by a seed of its own, so that it is the same in every run. Grey values
    0..16 are shifted and scaled to mean 0 and variance 1 over the training part. Raises NasError N911 without
    scikit-learn.
    """
    rows = torch.from_numpy(_digits())
    inputs = rows[:, :-1].to(torch.float32).view(-1, 1, 8, 8)
    targets = rows[:, -1].to(torch.int64)
    return classification("digits", "1 797 handwritten digits, 8x8", inputs, targets, test_share=0.2)


def _digits() -> Numbers:
    """[1797, 65]: 64 grey values and a class a row. Importing scikit-learn for them would take a second, so its file is
    read, where it is found."""
    import numpy as np

    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise failure(
            "N911", "task `digits` needs scikit-learn, which bundles its images", "pip install scikit-learn"
        )
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        rows: Numbers = np.loadtxt(file, delimiter=",")
        return rows
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.column_stack([images, labels])


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
        Split((inputs[kept],), targets[kept], classes=classes),
        Split((inputs[held_out],), targets[held_out], classes=classes),
        (Shape(tuple(inputs.shape[1:])),),
        Shape((classes,)),
        Classification(),
        tuple(labels) or tuple(map(str, range(classes))),
        Normalisation((float(mean),), (float(deviation),)),
        sizes=sizes_of(tuple(inputs.shape[1:])) | {"classes": classes},
    )


def sizes_of(shape: Sequence[int]) -> dict[str, int]:
    """The sizes of an input by the names of parameters: images [C, H, W], series [C, L], rows [columns].

    >>> sizes_of((3, 32, 32)), sizes_of((3, 32, 48)), sizes_of((3, 50)), sizes_of((30,))
    ({'channels': 3, 'size': 32}, {'channels': 3, 'height': 32, 'breadth': 48}, {'channels': 3, 'size': 50}, {'columns': 30})
    """
    match tuple(shape):
        case (columns,):
            return {"columns": columns}
        case (channels, length):
            return {"channels": channels, "size": length}
        case (channels, height, width):
            # `width` is the width of the network in every space.
            sides = {"size": height} if height == width else {"height": height, "breadth": width}
            return {"channels": channels, **sides}
        case _:
            return {}
