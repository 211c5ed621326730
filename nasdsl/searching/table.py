"""Tabular benchmarks: what every architecture of a space came to, looked up instead of trained.

A table is a CSV file with a line of column names. Which architecture a row is about, its columns say in one of two ways:

- ``arch``: a string of NAS-Bench-201, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``, whose operations are the choices of the
  space in their order.
- a column for each choice of the space, under its name, with the label of the candidate taken; the labels of a sub-list
  with a space between them, and nothing where the choice doesn't exist in the row's architecture.

Of the other columns, one is what strategies see (``search``) and one what is reported of the winner (``report``): by
default the first whose name begins with ``valid`` and the last that begins with ``test``. Larger is better in both.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasdsl.diagnostics import NasError, did_you_mean, failure
from nasdsl.space.choice import Genotype, Taken
from nasdsl.space.space import Space

ARCH = "arch"
_NB201 = re.compile(r"\|(?:[^|~+]+~\d+\|)+(?:\+\|(?:[^|~+]+~\d+\|)+)*")


@dataclass(frozen=True, eq=False)
class Table:
    """For the text of each genotype what strategies see of it, and what is reported."""

    name: str
    search_column: str
    report_column: str
    search: Mapping[str, float]
    report: Mapping[str, float]

    def __len__(self) -> int:
        return len(self.search)

    @property
    def optimum(self) -> float:
        """The largest reported value."""
        return max(self.report.values())

    def missing(self, genotype: Genotype) -> Exception:
        """NasError N946, to be raised where the table has no row for a genotype."""
        return failure(
            "N946",
            f"table `{self.name}` has no row for {genotype.text}",
            "a tabular benchmark holds every architecture of its space; a `require` can narrow the space to the table",
        )


def read_table(path: Path, space: Space, *, search: str = "", report: str = "") -> Table:
    """The table of a space. Raises NasError N945 where it can't be read or is about another space."""
    columns, rows = _read(path)
    search = _column(path, columns, search, "search", [c for c in columns if c.startswith("valid")][:1])
    report = _column(path, columns, report, "report", [c for c in columns if c.startswith("test")][-1:])
    seen: dict[str, float] = {}
    told: dict[str, float] = {}
    for line, row, genotype in _genotypes(path, columns, rows, space):
        seen[genotype.text], told[genotype.text] = _numbers(path, line, row, (search, report))
    return Table(path.name, search, report, seen, told)


def read_columns(path: Path, space: Space, begin: str) -> dict[str, tuple[float, ...]]:
    """For the text of each genotype the columns whose names begin so, in their order (one for each training seed).

    Raises NasError N945 where there is none, and as :func:`read_table` does.
    """
    columns, rows = _read(path)
    names = [c for c in columns if c.startswith(begin) and c not in {choice.name for choice in space.choices}]
    if not names:
        raise failure(
            "N945", f"`{path}` has no column that begins with `{begin}`", f"there are: {', '.join(columns)}"
        )
    return {
        genotype.text: _numbers(path, line, row, names)
        for line, row, genotype in _genotypes(path, columns, rows, space)
    }


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = list(reader.fieldnames or ())
            rows = list(reader)
    except OSError as error:
        raise failure("N945", f"can't read `{path}`: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise failure("N945", f"`{path}` is no CSV file: {error}") from None
    if not rows:
        raise failure("N945", f"`{path}` has no rows")
    return columns, rows


def _genotypes(
    path: Path, columns: Sequence[str], rows: Sequence[dict[str, str]], space: Space
) -> Iterator[tuple[int, dict[str, str], Genotype]]:
    """Each line's number, its entries, and the genotype that it is about. Those that a ``require`` of the space leaves
    out are passed over."""
    plain = all(choice.name in columns for choice in space.choices)
    if not plain and ARCH not in columns:
        absent = next(choice.name for choice in space.choices if choice.name not in columns)
        raise failure(
            "N945",
            f"`{path}` has no column `{absent}`, which space `{space.name}` chooses, and no column `{ARCH}` either",
            f"there are: {', '.join(columns)}",
        )
    found = False
    for line, row in enumerate(rows, 2):
        entries = _plain(space, row) if plain else _nasbench201(path, line, space, row[ARCH])
        genotype = _genotype(path, line, space, entries)
        if genotype is not None:
            found = True
            yield line, row, genotype
    if not found:
        raise failure("N945", f"`{path}` has no row that every `require` of space `{space.name}` holds for")


def _numbers(path: Path, line: int, row: Mapping[str, str], names: Sequence[str]) -> tuple[float, ...]:
    try:
        return tuple(float(row[name]) for name in names)
    except (ValueError, TypeError):
        said = " and ".join(f"`{name}`" for name in names)
        raise failure("N945", f"`{path}`, line {line}: {said} must be numbers") from None


def _column(path: Path, columns: Sequence[str], asked: str, role: str, default: Sequence[str]) -> str:
    """The column to ``search`` by or to ``report``: the one that was asked for, or else the one that is usual."""
    there = f"there are: {', '.join(columns)}"
    if asked and asked not in columns:
        raise failure("N945", f"`{path}` has no column `{asked}`", did_you_mean(asked, columns) or there)
    if not asked and not default:
        what, usual = {
            "search": ("to search by", "first that begins with `valid`"),
            "report": ("to report of winners", "last that begins with `test`"),
        }[role]
        raise failure(
            "N945",
            f"`{path}` doesn't say which column {what}: that is the {usual}, and it has none",
            f"name one with --{role}-column; {there}",
        )
    return asked or default[0]


def _genotype(path: Path, line: int, space: Space, entries: Mapping[str, Taken]) -> Genotype | None:
    """What a line is about; None where it breaks a ``require``."""
    try:
        return space.genotype(entries)
    except NasError as fault:
        first = fault.diagnostics[0]
        if first.code == "N806":
            return None
        raise failure("N945", f"`{path}`, line {line}: {first.message}", first.help) from None


def _plain(space: Space, row: Mapping[str, str]) -> dict[str, Taken]:
    found: dict[str, Taken] = {}
    for choice in space.choices:
        entry = (row[choice.name] or "").strip()
        if choice.is_sublist and (entry or choice.low == 0):
            found[choice.name] = tuple(entry.split())
        elif entry:
            found[choice.name] = entry
    # An empty sub-list and one that doesn't exist look alike in the file.
    assignment = space.assignment({name: t for name, t in found.items() if _known(space, name, t)})
    return {n: t for n, t in found.items() if t != () or space.choice(n).guard.at(assignment)}


def _known(space: Space, name: str, taken: Taken) -> bool:
    labels = (taken,) if isinstance(taken, str) else taken
    return set(labels) <= set(space.choice(name).labels)


def _nasbench201(path: Path, line: int, space: Space, text: str) -> dict[str, Taken]:
    """The choices of a NAS-Bench-201 string.

    Its edges are written node by node, and of a node from the first input on: that is the order of the choices.
    """
    operations = [edge.partition("~")[0] for node in text.split("+") for edge in node.strip("|").split("|")]
    if not _NB201.fullmatch(text) or len(operations) != len(space.choices):
        raise failure(
            "N945",
            f"`{path}`, line {line}: `{text}` does not describe an architecture of space `{space.name}`",
            f"it has {len(space.choices)} choices; NAS-Bench-201 has six, as space `nasbench201`",
        )
    return dict(zip((choice.name for choice in space.choices), operations, strict=True))
