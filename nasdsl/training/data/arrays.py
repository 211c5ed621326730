"""Arrays of any shape to a task: several inputs and several outputs, by name.

Real inputs are standardised by the training part: a row of numbers column by column, anything with more axes by one
mean and one deviation. Whole inputs stay as they are (tokens, indices), but uint8 with three axes are images
[N, H, W, C]. A target of whole numbers [N] is a class, real ones [N] or [N, K] are numbers to predict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.diagnostics.quantities import grouped
from nasdsl.space.tensor import Shape
from nasdsl.training.data.dataset import Array, ArrayData, Examples, checked_labels
from nasdsl.training.data.images import statistics
from nasdsl.training.data.parts import check_classes, parts_of
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.data.text import Tokens
from nasdsl.training.device import sent
from nasdsl.training.objectives import Classification, Objective, Regression, Several
from nasdsl.training.split import Pixels, Split, View
from nasdsl.training.tasks import Normalisation, Task, sizes_of


@dataclass(frozen=True, eq=False)
class Standardised:
    """(x - mean) / deviation, of real numbers stored as they came; both [D], or [] for all."""

    mean: Tensor
    deviation: Tensor

    def __call__(self, stored: Tensor, layout: torch.memory_format) -> Tensor:
        mean, deviation = sent(self.mean, stored.device), sent(self.deviation, stored.device)
        x = (stored.to(torch.float32) - mean) / deviation
        return x.contiguous(memory_format=layout) if x.dim() == 4 else x


@dataclass(frozen=True)
class Goal:
    """One target: how many classes it has, or for numbers the statistics of the training part [K]."""

    classes: int
    shape: Shape
    mean: Tensor
    deviation: Tensor

    @property
    def objective(self) -> Objective:
        return Classification() if self.classes else Regression(tuple(self.deviation.tolist()))

    @property
    def normalisation(self) -> Normalisation | None:
        return None if self.classes else Normalisation(_tuple(self.mean), _tuple(self.deviation))

    def made(self, targets: Tensor) -> Tensor:
        return targets if self.classes else (targets - self.mean) / self.deviation


def array_task(name: str, data: ArrayData, settings: DataSettings) -> Task:
    """Raises NasError: N1004 for arrays that don't belong together, N1007 for labels that are none, N919 where there is
    one class or too little data."""
    there = [part for part in (data.train, data.test, data.validation) if part is not None]
    for part in there:
        _check(name, data.train, part)
    names = tuple(data.train.targets)
    classes = {n: _classes(name, n, [part.targets[n] for part in there]) for n in names}
    train, test, validation = (
        None if part is None else _split(name, part, classes)
        for part in (data.train, data.test, data.validation)
    )
    assert train is not None
    parts = parts_of(name, train, test, validation, settings)
    rows = parts.train.rows
    views = tuple(_view(x, rows) for x in train.stored)
    goals = [_target(n, classes[n], parts.train, i) for i, n in enumerate(names)]

    def finished(split: Split) -> Split:
        targets = split.targets if isinstance(split.targets, tuple) else (split.targets,)
        made = tuple(goal.made(t) for goal, t in zip(goals, targets, strict=True))
        return replace(split, views=views, targets=made[0] if len(made) == 1 else made)

    seen = parts.changed(finished)
    shapes = tuple(_shape(x) for x in seen.train.between(0, 1).inputs)
    single = len(names) == 1
    weights = [data.weights.get(n, 1.0) for n in names]
    sizes = sizes_of([d for d in shapes[0].dims if isinstance(d, int)]) if len(shapes) == 1 else {}
    if single:
        sizes |= {"classes": int(str(goals[0].shape.dims[0]))}
    labels = data.labels or tuple(map(str, range(goals[0].classes)))
    return Task(
        name,
        f"{grouped(len(seen.train) + len(seen.test))} examples of arrays",
        seen.train,
        seen.test,
        shapes,
        goals[0].shape if single else {n: goal.shape for n, goal in zip(names, goals, strict=True)},
        goals[0].objective if single else Several(names, [goal.objective for goal in goals], weights),
        labels if single else (),
        normalisation=_normalisation(views[0]) if len(views) == 1 else None,
        target_normalisation=goals[0].normalisation if single else None,
        input_names=tuple(data.train.inputs),
        sizes={**sizes, **data.sizes},
        validation=seen.validation,
        notes=(*data.notes, *seen.notes),
    )


def _check(name: str, train: Examples, part: Examples) -> None:
    for what, ours, theirs in (
        ("inputs", train.inputs, part.inputs),
        ("targets", train.targets, part.targets),
    ):
        if not ours or set(ours) != set(theirs):
            raise failure(
                "N1004", f"`{name}`: every part has the same {what}, and at least one: {sorted(ours)}"
            )
        for key, array in theirs.items():
            if array.ndim < 1 or array.shape[1:] != ours[key].shape[1:]:
                raise failure(
                    "N1004", f"`{name}`: `{key}` has the shapes {ours[key].shape} and {array.shape}"
                )
            if array.dtype.kind not in "iufb":
                raise failure("N1004", f"`{name}`: `{key}` holds {array.dtype}, no numbers")
            if array.dtype.kind == "f" and array.nbytes < 1e9 and not np.isfinite(array).all():
                raise failure("N1004", f"`{name}`: `{key}` has a number that is NaN or infinite")
            if len(array) != len(part):
                raise failure("N1007", f"`{name}`: `{key}` has {len(array)} examples, others {len(part)}")


def _classes(name: str, target: str, arrays: list[Array]) -> int:
    """How many classes a target has; 0 for numbers. Raises NasError N1007, N919."""
    if arrays[0].dtype.kind == "f":
        return 0
    labels = [checked_labels(array, len(array), None, f"`{name}`, {target}") for array in arrays]
    count = 1 + max(int(found.max(initial=0)) for found in labels)
    if count > max(1000, len(labels[0])):
        raise failure(
            "N1007",
            f"`{name}`: `{target}` has the class {count - 1}, but there are {len(labels[0])} examples",
            "numbers to predict are given as floats",
        )
    check_classes(name, labels[0], tuple(map(str, range(count))))
    return count


def _split(name: str, part: Examples, classes: Mapping[str, int]) -> Split:
    inputs = tuple(torch.from_numpy(_stored(x)) for x in part.inputs.values())
    targets = []
    for key, array in part.targets.items():
        if classes[key]:
            labels = checked_labels(array, len(array), classes[key], f"`{name}`, {key}")
            targets.append(torch.from_numpy(labels))
        else:
            numbers = torch.from_numpy(np.ascontiguousarray(array, np.float32))
            targets.append(numbers[:, None] if numbers.dim() == 1 else numbers)
    single = len(targets) == 1
    return Split(
        inputs,
        targets[0] if single else tuple(targets),
        classes=next(iter(classes.values())) if single else 0,
    )


def _stored(array: Array) -> Array:
    """Doubles take twice the memory for nothing, and torch has no unsigned numbers but bytes."""
    if array.dtype.kind == "f":
        return array if array.dtype == np.float32 else array.astype(np.float32)
    if array.dtype == np.uint8 and array.ndim == 4:
        return array
    return array.astype(np.int64) if array.dtype.kind in "ub" else array


def _view(stored: Tensor, rows: Tensor | None) -> View | None:
    if stored.dtype == torch.uint8:
        return Pixels(*statistics(stored.numpy(), rows))
    if not stored.is_floating_point():
        return Tokens()
    seen = stored if rows is None else stored[rows]
    axes = (0,) if stored.dim() == 2 else tuple(range(stored.dim()))
    seen = seen.to(torch.float64)
    mean, deviation = seen.mean(axes), seen.std(axes, correction=0)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return Standardised(mean.to(torch.float32), deviation.to(torch.float32))


def _normalisation(view: View | None) -> Normalisation | None:
    """Of what is stored, a byte of a picture being 0 to 255."""
    if isinstance(view, Pixels):
        return Normalisation(tuple(255 * m for m in view.mean), tuple(255 * d for d in view.deviation))
    if isinstance(view, Standardised):
        return Normalisation(_tuple(view.mean), _tuple(view.deviation))
    return None


def _tuple(values: Tensor) -> tuple[float, ...]:
    return tuple(values.flatten().tolist())


def _target(name: str, classes: int, train: Split, place: int) -> Goal:
    targets = train.targets if isinstance(train.targets, Tensor) else train.targets[place]
    if classes:
        return Goal(classes, Shape((classes,)), torch.zeros(()), torch.ones(()))
    mean, deviation = targets.mean(0), targets.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return Goal(0, Shape(tuple(targets.shape[1:])), mean, deviation)


def _shape(x: Tensor) -> Shape:
    return Shape(tuple(x.shape[1:]), "float" if x.is_floating_point() else "int")
