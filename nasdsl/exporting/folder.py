"""The folder of an export: files appear in it all at once, and nothing that somebody else wrote is replaced."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nasdsl.diagnostics import failure

MARK = "Exported by nasdsl"
"""Stands in the README of a folder that is one of ours."""

SOURCE, WEIGHTS, PT2 = "model.py", "weights.safetensors", "model.pt2"
ONNX, ONNX_FP16, ONNX_INT8 = "model.onnx", "model.fp16.onnx", "model.int8.onnx"
TEXT, TEXT_WEIGHTS = "architecture.nas", "architecture.safetensors"
HUB = "hub"
METRICS, README, EXAMPLE = "metrics.json", "README.md", "example.npz"
OURS = (
    SOURCE, WEIGHTS, ONNX, ONNX_FP16, ONNX_INT8, PT2, TEXT, TEXT_WEIGHTS, HUB, METRICS, EXAMPLE, README,
)  # fmt: skip


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` to make files in. They are moved there where nothing is raised, else removed.

    In a folder that holds other things only files of an earlier export are replaced. Raises NasError (N961) where
    something else would be.
    """
    _may_write(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".tmp", dir=folder.parent))
    try:
        yield work
        for path in work.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        _publish(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def is_export(folder: Path) -> bool:
    readme = folder / README
    return readme.is_file() and MARK in readme.read_text(encoding="utf-8", errors="replace")


def _may_write(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise failure("N961", f"`{folder}` is a file, not a folder")
    if not folder.is_dir() or is_export(folder):
        return
    foreign = [name for name in OURS if (folder / name).exists()]
    if foreign:
        raise failure(
            "N961",
            f"`{folder / foreign[0]}` is not from an export, and would be overwritten",
            help="export into another folder, or move the file away",
        )


def _publish(work: Path, folder: Path) -> None:
    """Moves the finished files to where they belong: the whole folder at once where it is new."""
    work.chmod(0o755)
    if not folder.exists() or not any(folder.iterdir()):
        if folder.exists():
            folder.rmdir()
        work.replace(folder)
        return
    made = {path.name for path in work.iterdir()}
    for name in OURS:
        # A form of an earlier network beside this one's would be taken for it.
        if name not in made or (folder / name).is_dir():
            _remove(folder / name)
        if name in made:
            (work / name).replace(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
