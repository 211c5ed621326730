"""A table to a task: a row of numbers an example, of which everything was learnt from the training part alone.

A column of numbers is standardised; where a number is missing, the mean stands for it, and a column of its own says so.
A column of words becomes a column of 0 and 1 for each word, the rare ones together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.diagnostics.quantities import grouped
from nasdsl.space.tensor import Shape
from nasdsl.training.data.dataset import Array, TableData
from nasdsl.training.data.parts import check_classes, parts_of
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.objectives import Classification, Objective, Regression
from nasdsl.training.split import Split
from nasdsl.training.tasks import Normalisation, Task

MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}
WORDS = 50
"""Words of a column that get a column each; the rarer ones share one."""
CLASSES = 20
"""A target of so many whole numbers, or fewer, holds classes."""


def table_task(name: str, data: TableData, settings: DataSettings) -> Task:
    """Classification or regression, as the target is. Raises NasError: N1010 for a target that is missing or no number,
    N919 where there is one class or too little data."""
    tables = [t for t in (data.train, data.test, data.validation) if t is not None]
    raw = {column: [x for table in tables for x in table[column]] for column in data.train}
    ends = np.cumsum([0, *(len(table[data.target]) for table in tables)])
    goal = _goal(name, data.target, raw.pop(data.target), settings, int(ends[1]))
    rows = Split((torch.arange(int(ends[-1])),), goal.values, classes=len(goal.labels))
    split = [rows.between(int(a), int(b)) for a, b in pairwise(ends)]
    test = split[1] if data.test is not None else None
    validation = split[-1] if data.validation is not None else None
    parts = parts_of(name, split[0], test, validation, settings)
    training = parts.train.inputs[0].numpy()
    columns = [made for column, entries in raw.items() for made in _columns(column, entries, training)]
    notes = [note for column, entries in raw.items() for note in _notes(column, entries, training)]
    table = torch.from_numpy(
        np.stack([column.made for column in columns], 1).astype(np.float32)
    )  # [rows, columns]
    mean, deviation = (0.0, 1.0) if goal.labels else _statistics(goal.values[training])

    def filled(part: Split) -> Split:
        targets = part.first_targets
        targets = targets if goal.labels else (targets - mean) / deviation
        return replace(part, stored=(table[part.inputs[0]],), targets=targets, rows=None)

    seen = parts.changed(filled)
    objective: Objective = Classification() if goal.labels else Regression((deviation,))
    outputs = len(goal.labels) or 1
    what = f"{outputs} classes" if goal.labels else "a number"
    return Task(
        name,
        f"{grouped(len(table))} rows of {table.shape[1]} numbers; `{data.target}` is {what}",
        seen.train,
        seen.test,
        (Shape((table.shape[1],)),),
        Shape((outputs,)),
        objective,
        goal.labels,
        normalisation=Normalisation(tuple(c.mean for c in columns), tuple(c.deviation for c in columns)),
        target_normalisation=None if goal.labels else Normalisation((mean,), (deviation,)),
        columns=tuple(column.name for column in columns),
        input_names=("row",),
        sizes={"columns": table.shape[1], "classes": outputs},
        validation=seen.validation,
        notes=(*data.notes, *seen.notes, *notes),
    )


@dataclass(frozen=True)
class Goal:
    """The target column: class numbers [N] with ``labels``, or numbers [N, 1] without."""

    values: Tensor
    labels: tuple[str, ...]


def _goal(name: str, column: str, entries: Sequence[str], settings: DataSettings, training: int) -> Goal:
    missing = [i for i, entry in enumerate(entries) if entry.lower() in MISSING]
    if missing:
        raise failure(
            "N1010",
            f"row {missing[0] + 1} of `{name}` has no `{column}`, which is to be predicted ({len(missing)} rows in all)",
            "take these rows out",
        )
    numbers = [_number(entry) for entry in entries]
    numeric = all(number is not None and math.isfinite(number) for number in numbers)
    whole = numeric and all(float(number or 0).is_integer() for number in numbers)
    few = whole and len(set(numbers)) <= CLASSES
    if settings.classes == "yes" or (settings.classes == "auto" and (not numeric or few)):
        order = sorted(set(entries), key=(lambda x: (float(x), x)) if numeric else None)
        number_of = {label: i for i, label in enumerate(order)}
        values = np.array([number_of[entry] for entry in entries], np.int64)
        check_classes(name, values[:training], order)
        return Goal(torch.from_numpy(values), tuple(order))
    if not numeric:
        i = next(i for i, x in enumerate(numbers) if x is None or not math.isfinite(x))
        raise failure(
            "N1010",
            f"row {i + 1} of `{name}`: `{column}` is `{entries[i]}`, no number",
            "`-c data.classes=yes` predicts classes",
        )
    return Goal(torch.tensor(numbers, dtype=torch.float32)[:, None], ())


@dataclass(frozen=True, eq=False)
class Column:
    """Numbers [N] that the network reads: ``made`` is (number - mean) / deviation."""

    name: str
    made: Array
    mean: float = 0.0
    deviation: float = 1.0


def _columns(column: str, entries: Sequence[str], training: Array) -> list[Column]:
    """The columns of numbers [N] that one column of text becomes. Raises NasError N1010 for an infinite number."""
    absent = np.array([entry.lower() in MISSING for entry in entries])
    numbers = [None if gone else _number(entry) for entry, gone in zip(entries, absent, strict=True)]
    if all(gone or number is not None for number, gone in zip(numbers, absent, strict=True)):
        values = np.array([np.nan if x is None else x for x in numbers])
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            raise failure(
                "N1010", f"row {infinite[0] + 1}: `{column}` is `{entries[infinite[0]]}`, no finite number"
            )
        standard = _standardised(column, values, training)
        missing = Column(f"1 where {column} is missing", absent.astype(float))
        return [standard, missing] if absent[training].any() else [standard]
    counts = Counter(entries[i] for i in training)
    words = [word for word, _ in counts.most_common(WORDS)]
    array = np.array(entries, dtype=object)
    made = [Column(f"1 where {column} is {word}", (array == word).astype(float)) for word in sorted(words)]
    if len(counts) > len(words):
        rest = 1.0 - np.sum([one.made for one in made], axis=0)
        made.append(Column(f"1 where {column} is anything else", rest))
    return made


def _notes(column: str, entries: Sequence[str], training: Array) -> Iterator[str]:
    """What a person would want to know of how a column was read: numbers that became words because of a few entries
    among them, and a column more for those that are missing."""
    known = [i for i, entry in enumerate(entries) if entry.lower() not in MISSING]
    texts = [i for i in known if _number(entries[i]) is None]
    if texts and len(texts) < len(known) / 2:
        are = "is one entry that is none" if len(texts) == 1 else f"are {len(texts)} that are none, the first"
        yield (
            f"column `{column}` has {len(known) - len(texts)} numbers, and there {are}: `{entries[texts[0]]}` in row "
            f"{texts[0] + 1}; so all of it is read as words, a column for each"
        )
    elif not texts and any(entries[i].lower() in MISSING for i in training):
        yield (
            f"column `{column}` lacks {len(entries) - len(known)} of {len(entries)} entries: their mean stands for them, "
            "and a column more says where"
        )


def _standardised(column: str, values: Array, training: Array) -> Column:
    """Mean 0 and variance 1 over the training rows; what is missing becomes 0."""
    known = values[training]
    known = known[~np.isnan(known)]
    mean, deviation = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
    deviation = deviation or 1.0
    return Column(column, np.nan_to_num((values - mean) / deviation, nan=0.0), float(mean), float(deviation))


def _statistics(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std(correction=0)) or 1.0


def _number(entry: str) -> float | None:
    try:
        return float(entry)
    except ValueError:
        return None
