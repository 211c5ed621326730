"""From settings to a task: which format it is, what is in it, and what becomes of it.

path ──FORMATS──► reader ──► arrays with names ──► parts ──► task, with a record of what was read
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nasdsl.diagnostics import did_you_mean, failure
from nasdsl.training.data import cifar, csv_file, folder, hugging_face, idx, module, npz, text_files
from nasdsl.training.data.arrays import array_task
from nasdsl.training.data.cache import GB
from nasdsl.training.data.dataset import ArrayData, Data, ImageData, TableData, TextData
from nasdsl.training.data.images import image_task
from nasdsl.training.data.record import recorded
from nasdsl.training.data.settings import KINDS, DataSettings
from nasdsl.training.data.table import table_task
from nasdsl.training.data.text import text_task
from nasdsl.training.tasks import TASKS, Task, load_task


@dataclass(frozen=True)
class Format:
    """A way in which data is kept. ``kinds`` are those that it can be read as, the usual one first."""

    name: str
    kinds: Sequence[str]
    recognises: Callable[[Path], bool]
    read: Callable[[Path, DataSettings], Data]


FORMATS = (
    Format("IDX files of images and labels", ("image",), idx.recognises, idx.read),
    Format("CIFAR-10 or CIFAR-100", ("image",), cifar.recognises, cifar.read),
    Format(".npz or .npy arrays", ("image", "arrays"), npz.recognises, npz.read),
    Format("a csv table", ("table",), csv_file.recognises, csv_file.read),
    Format(
        "a data set of Hugging Face",
        ("image", "texts", "words", "bytes", "table"),
        hugging_face.recognises,
        hugging_face.read,
    ),
    Format("text files", ("words", "bytes"), text_files.recognises, text_files.read),
    Format("class folders of images", ("image",), folder.recognises, folder.read),
)
"""In the order in which they are tried."""


def task_for(task: str, data: DataSettings) -> Task:
    """The task of a configuration, on the CPU: that of the data where there is a path, else the one of that name.

    Raises NasError: N910 for an unknown task, N915 where there is nothing at the path, N916 where it is nothing that is
    known, N917 where it isn't what it was, N918 where task and data don't go together; and what readers raise.
    """
    if not data.path:
        if task in KINDS:
            raise failure(
                "N918", f"`--task {task}` is a kind of data: which?", "name a file or folder with `--data`"
            )
        return replace(load_task(task), name=task, data=data)
    if module.is_name(data.path):
        found = module.read(data.path)
        made = found if isinstance(found, Task) else array_task(name_of(data.path), found, data)
        kind = "module"
    else:
        path = Path(data.path).expanduser()
        reader = find_format(path, data)
        held = reader.read(path, data)
        kind = data.kind if data.kind != "auto" else held.kind
        made = _task(name_of(data.path), held, data)
    settings = data.model_copy(update={"path": _absolute(data.path), "kind": kind})
    return replace(made, data=recorded(made, settings), room=data.memory * GB)


def find_format(path: Path, data: DataSettings) -> Format:
    """The format of what is there, by looking at it.

    Raises NasError N915 where nothing is there, N916 where it is of no known format, or not of the kind that was named.
    """
    if not path.exists():
        near = (
            did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else None
        )
        raise failure(
            "N915", f"there is no `{path}`", near or "`--data` takes a file, a folder or module:function"
        )
    wanted = data.kind
    fitting = [f for f in FORMATS if wanted in ("auto", *f.kinds)]
    for found in fitting:
        if found.recognises(path):
            return found
    if wanted == "bytes" or (wanted == "words" and path.is_file()):
        return next(f for f in FORMATS if f.read is text_files.read)  # any file has bytes
    if wanted != "auto":
        known = ", ".join(f.name for f in fitting)
        raise failure(
            "N916",
            f"`{path}` holds nothing that is known as `{wanted}`",
            f"known are: {known}" if known else None,
        )
    help = "known are: " + ", ".join(f.name for f in FORMATS)
    if path.is_dir() and not any(path.iterdir()):
        raise failure("N916", f"`{path}` is empty", help)
    if folder.has_loose_images(path):
        raise failure("N916", f"`{path}` holds pictures, but no class folders", folder.LAYOUT)
    raise failure("N916", f"it isn't clear what `{path}` holds", help)


def _task(name: str, data: Data, settings: DataSettings) -> Task:
    if isinstance(data, ImageData):
        return image_task(name, data, settings)
    if isinstance(data, TextData):
        return text_task(name, data, settings)
    if isinstance(data, TableData):
        return table_task(name, data, settings)
    assert isinstance(data, ArrayData)
    return array_task(name, data, settings)


def name_of(path: str) -> str:
    """What a task of that data is called, also in the names of folders.

    >>> name_of("data/My photos/"), name_of("mnist.npz"), name_of("mine.tasks:voices")
    ('My-photos', 'mnist', 'voices')
    """
    last = path.partition(":")[2] if module.is_name(path) else Path(path).absolute().stem
    return re.sub(r"[^\w.-]+", "-", last) or "data"


def named(task: str | None, path: str | None) -> dict[str, str]:
    """The entries of :class:`DataSettings` that ``--task`` and ``--data`` stand for.

    Raises NasError N918 where the task brings data of its own, and N910 where it is neither a task nor a kind.
    """
    if not path:
        return {}
    if task is None:
        return {"path": path}
    if task in KINDS:
        return {"path": path, "kind": task}
    if task in TASKS or task in TASKS.unusable:
        raise failure("N918", f"task `{task}` brings its own data", "leave out `--task` or `--data`")
    known = [*KINDS, *TASKS]
    help = did_you_mean(task, known) or f"kinds of data: {', '.join(KINDS)}"
    raise failure("N910", f"unknown task `{task}`", TASKS.with_unusable(help))


def _absolute(path: str) -> str:
    return path if module.is_name(path) else str(Path(path).expanduser().absolute())
