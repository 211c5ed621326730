"""What architectures come to when each is trained by itself: a table like those that benchmarks publish, for any space.

Each architecture is trained from scratch on the half of the training part that a search trains its weights on, once a
seed; told are its metric on the other half (``valid``) and on the test part (``test``).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nasdsl.diagnostics import failure
from nasdsl.operations import catalogue
from nasdsl.searching.processes import in_processes
from nasdsl.searching.table import read_columns
from nasdsl.space import serialize
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet.alone import Alone
from nasdsl.training.checkpoint import write_durably
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import derive
from nasdsl.training.tasks import Task
from nasdsl.training.train import evaluate, fit


@dataclass(frozen=True)
class Row:
    """An architecture with its metric for each seed: on the held-out half, and on the test part."""

    genotype: Genotype
    valid: tuple[float, ...]
    test: tuple[float, ...]
    params: int
    flops: int


@dataclass(frozen=True)
class Setup:
    """What every process needs; called, it reads the space."""

    space: str
    task: Task
    recipe: Recipe
    seeds: int

    def __call__(self) -> tuple[Space, Setup]:
        return serialize.read(self.space, catalogue()), self


def tabulate(
    space: Space,
    task: Task,
    recipe: Recipe,
    path: Path,
    *,
    count: int,
    seeds: int = 1,
    seed: int = 0,
    workers: int = 1,
    on_row: Callable[[int, Row], None] = lambda done, row: None,
) -> int:
    """Trains ``count`` different architectures, drawn uniformly, and writes their table; says how many rows it has.

    The table grows row by row, each time written whole, and the same call goes on with those that are not in it yet.
    Where a space has fewer architectures, all are trained. Raises NasError N945 where ``path`` holds something else,
    N970 where it has other columns.
    """
    task.check(space)
    wanted = draw(space, count, seed)
    rows = _read(path, space, wanted, seeds) if path.exists() else {}
    left = [genotype for genotype in wanted if genotype.text not in rows]
    setup = Setup(serialize.write(space), task, recipe, seeds)
    for row in in_processes(_train, setup, left, workers):
        rows[row.genotype.text] = row
        ordered = [rows[g.text] for g in wanted if g.text in rows]
        write_durably(path, as_csv(space, ordered).encode())
        on_row(len(ordered), row)
    return len(rows)


def _read(path: Path, space: Space, wanted: Sequence[Genotype], seeds: int) -> dict[str, Row]:
    """The rows of a table that was begun."""
    valid, test = (read_columns(path, space, begin) for begin in ("valid_", "test_"))
    if any(len(v) != seeds for v in valid.values()) or any(len(t) != seeds for t in test.values()):
        raise failure(
            "N970", f"`{path}` has other columns than a table of {seeds} training seeds", "name another file"
        )
    return {g.text: _row(space, g, valid[g.text], test[g.text]) for g in wanted if g.text in valid}


def _row(space: Space, genotype: Genotype, valid: tuple[float, ...], test: tuple[float, ...]) -> Row:
    measures = space.measure(genotype)
    flops = measures.flops if isinstance(measures.flops, int) else 0
    return Row(genotype, valid, test, measures.params, flops)


def draw(space: Space, count: int, seed: int) -> list[Genotype]:
    """Different genotypes, every architecture equally likely; all there are where there are no more."""
    count = min(count, space.count())
    found: dict[str, Genotype] = {}
    number = 0
    while len(found) < count:
        (genotype,) = space.sample(derive(seed, "tabulate", number), 1, uniform=True)
        found.setdefault(genotype.text, genotype)
        number += 1
    return list(found.values())


def _train(setup: tuple[Space, Setup], genotype: Genotype) -> Row:
    space, about = setup
    task, recipe = about.task, about.recipe
    weights, held_out = task.halves(0)
    valid, test = [], []
    for seed in range(about.seeds):
        network = Alone(space, genotype, seed=derive(seed, "weights"))
        fit(network, replace(task, train=weights), recipe, seed=seed, channels_last=True)
        valid.append(evaluate(network, held_out, task.objective).metric)
        test.append(evaluate(network, task.test, task.objective).metric)
    return _row(space, genotype, tuple(valid), tuple(test))


def as_csv(space: Space, rows: Sequence[Row]) -> str:
    """In the layout of :mod:`nasdsl.searching.table`."""
    seeds = len(rows[0].valid) if rows else 0
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [choice.name for choice in space.choices]
    columns = [f"{part}_{i + 1}" for i in range(seeds) for part in ("valid", "test")]
    writer.writerow([*names, *columns, "params", "flops"])
    for row in rows:
        results = [f"{v:.6f}" for pair in zip(row.valid, row.test, strict=True) for v in pair]
        writer.writerow([*_labels(row.genotype, names), *results, row.params, row.flops])
    return stream.getvalue()


def _labels(genotype: Mapping[str, object], names: Sequence[str]) -> list[str]:
    found = (genotype.get(name, "") for name in names)
    return [" ".join(map(str, taken)) if isinstance(taken, tuple) else str(taken) for taken in found]
