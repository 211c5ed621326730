"""Tables from csv: one file, or a folder with ``train.csv`` and ``test.csv`` (and ``val.csv``).

The first line names the columns. The separator is whichever of comma, semicolon and tab the first line has most of.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from nasdsl.diagnostics import did_you_mean, failure
from nasdsl.training.data.dataset import TableData
from nasdsl.training.data.settings import DataSettings

SUFFIXES = (".csv", ".tsv")
PARTS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}


def recognises(path: Path) -> bool:
    return path.suffix in SUFFIXES if path.is_file() else path.is_dir() and _find(path, "train") is not None


def read(path: Path, settings: DataSettings) -> TableData:
    """Raises NasError: N1008 for a file that is no table, N1009 for a target that is none of its columns."""
    if path.is_file():
        table = read_table(path)
        return TableData(table, None, _target(path, table, settings))
    files = {part: _find(path, part) for part in PARTS}
    tables = {part: read_table(file) for part, file in files.items() if file is not None}
    for part, table in tables.items():
        missing = [name for name in tables["train"] if name not in table]
        if missing:
            raise failure(
                "N1008", f"`{files[part]}` lacks the column `{missing[0]}` that the training part has"
            )
    target = _target(path, tables["train"], settings)
    return TableData(tables["train"], tables.get("test"), target, tables.get("validation"))


def _find(folder: Path, part: str) -> Path | None:
    files = (folder / f"{name}{suffix}" for name in PARTS[part] for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _target(path: Path, table: Mapping[str, Sequence[str]], settings: DataSettings) -> str:
    columns = list(table)
    listed = ", ".join(f"`{name}`" for name in columns[:20]) + (", …" if len(columns) > 20 else "")
    if not settings.target:
        raise failure(
            "N1009",
            f"which column of `{path}` is to be predicted?",
            f"say `--target {columns[-1]}`; there are {listed}",
        )
    if settings.target not in table:
        help = did_you_mean(settings.target, columns) or f"there are {listed}"
        raise failure("N1009", f"`{path}` has no column `{settings.target}`", help)
    if len(columns) < 2:
        raise failure("N1008", f"`{path}` has no column beside `{settings.target}` to predict it from")
    return settings.target


def read_table(path: Path) -> dict[str, list[str]]:
    """The columns of a file by name, as text without white space around it. Raises NasError N1008."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise failure("N1008", f"`{path}` can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise failure("N1008", f"`{path}` is not UTF-8: byte {error.start}") from None
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    try:
        names = [name.strip() for name in next(rows, [])]
        if not any(names):
            raise failure("N1008", f"`{path}` is empty", "its first line names the columns")
        twice = [name for i, name in enumerate(names) if name in names[:i] or not name]
        if twice:
            what = f"the column `{twice[0]}` twice" if twice[0] else "a column without a name"
            raise failure("N1008", f"`{path}` has {what}", "its first line names the columns")
        columns: list[list[str]] = [[] for _ in names]
        for row in rows:
            if not row:
                continue
            if len(row) != len(names):
                raise failure(
                    "N1008",
                    f"line {rows.line_num} of `{path}` has {len(row)} entries, where there are {len(names)} columns",
                )
            for column, entry in zip(columns, row, strict=True):
                column.append(entry.strip())
    except csv.Error as error:
        raise failure("N1008", f"line {rows.line_num} of `{path}` can't be read: {error}") from None
    if not columns[0]:
        raise failure("N1008", f"`{path}` has no rows under its first line")
    return dict(zip(names, columns, strict=True))
