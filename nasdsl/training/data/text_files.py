"""Text files: ``train``, ``valid`` and ``test`` in a folder or a zip (``ptb.train.txt``, ``wiki.valid.tokens``), or one
file.

By words, as for Penn Treebank (Mikolov et al., 2010): words stand between white space, and every line ends in ``<eos>``.
By bytes: every byte is a token, line ends too.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from nasdsl.diagnostics import failure
from nasdsl.training.data.dataset import Array, TextData
from nasdsl.training.data.settings import DataSettings

SUFFIXES = (".txt", ".tokens", ".text", ".raw")
END, UNKNOWN = "<eos>", "<unk>"
PARTS = {"train": ("train",), "validation": ("valid", "val", "dev", "validation"), "test": ("test",)}


def recognises(path: Path) -> bool:
    """A text file, a folder of some, or a zip with some; not one that holds something else."""
    if path.is_dir():
        return any(p.suffix in SUFFIXES for p in path.iterdir())
    if path.suffix == ".zip":
        return zipfile.is_zipfile(path) and any(PurePosixPath(n).suffix in SUFFIXES for n in _names(path))
    return path.suffix in SUFFIXES


def read(path: Path, settings: DataSettings) -> TextData:
    """Raises NasError N1011 where there is no training text, or where it isn't UTF-8."""
    return from_texts(path, _texts(path), settings)


def from_texts(path: Path, texts: Mapping[str, bytes], settings: DataSettings) -> TextData:
    """The tokens of the text of each part; ``path`` is where they are from. Raises NasError N1011 as :func:`read`."""
    if settings.kind == "bytes":
        parts, notes = _cut(
            path, {part: np.frombuffer(data, np.uint8) for part, data in texts.items()}, settings
        )
        return TextData(parts["train"], parts.get("validation"), parts["test"], notes=notes)
    words, notes = _cut(path, {part: _words(path, part, data) for part, data in texts.items()}, settings)
    vocabulary = _vocabulary(words, settings.vocabulary)
    numbers = {word: i for i, word in enumerate(vocabulary)}
    unknown = numbers.get(UNKNOWN, 0)
    tokens = {
        part: np.fromiter((numbers.get(word, unknown) for word in found), np.int32, len(found))
        for part, found in words.items()
    }
    return TextData(tokens["train"], tokens.get("validation"), tokens["test"], vocabulary, notes)


T = TypeVar("T", bound="Array | list[str]")


def _cut(path: Path, parts: dict[str, T], settings: DataSettings) -> tuple[dict[str, T], tuple[str, ...]]:
    """The end of the training text becomes the test text where there is none, and this is said."""
    if "test" in parts:
        return parts, ()
    text = parts["train"]
    kept = len(text) - round(settings.test * len(text))
    note = f"`{path.name}` has no test text: the last {len(text) - kept} of its {len(text)} tokens are kept for it (data.test = {settings.test:g})"
    return {**parts, "train": text[:kept], "test": text[kept:]}, (note,)  # type: ignore[dict-item]


def _texts(path: Path) -> dict[str, bytes]:
    """The bytes of each part."""
    if path.is_file() and path.suffix != ".zip":
        return {"train": path.read_bytes()}
    if path.is_file():
        names = {name: _from_zip(path, name) for name in _names(path)}
    else:
        names = {p.name: p.read_bytes for p in sorted(path.iterdir()) if p.is_file()}
    read_file: dict[str, Callable[[], bytes]] = {
        name: call for name, call in names.items() if PurePosixPath(name).suffix in SUFFIXES
    }
    found: dict[str, bytes] = {}
    for part, words in PARTS.items():
        files = [name for name in read_file if _part_of(name) in words]
        if len(files) > 1:
            raise failure("N1011", f"`{path}` has several texts for the {part} part: {', '.join(files)}")
        if files:
            found[part] = read_file[files[0]]()
    if "train" in found:
        return found
    if not found and read_file:
        # Texts without such names are one text, in the order of their names.
        return {"train": b"\n".join(call() for call in read_file.values())}
    raise failure(
        "N1011", f"`{path}` has no training text", "its name has `train` in it, as in ptb.train.txt"
    )


def _part_of(name: str) -> str:
    """The word in a file's name that says which part it is.

    >>> _part_of("ptb/ptb.valid.txt"), _part_of("training_log.txt")
    ('valid', '')
    """
    words = re.split(r"[^a-z]+", PurePosixPath(name).stem.lower())
    known = [word for words_of in PARTS.values() for word in words_of]
    return next((word for word in words if word in known), "")


def _names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as file:
        return sorted(n for n in file.namelist() if not n.endswith("/") and not n.startswith("__MACOSX"))


def _from_zip(path: Path, name: str) -> Callable[[], bytes]:
    def call() -> bytes:
        try:
            with zipfile.ZipFile(path) as file:
                return file.read(name)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
            raise failure("N1011", f"`{name}` in `{path}` can't be read: {error}") from None

    return call


def _words(path: Path, part: str, data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise failure(
            "N1011",
            f"the {part} text of `{path}` is not UTF-8: byte {error.start}",
            "`--task bytes` takes any file",
        ) from None
    # Not splitlines: a word may hold a character that Unicode calls a line end.
    lines = text.removesuffix("\n").split("\n") if text else []
    return [word for line in lines for word in (*line.split(), END)]


def _vocabulary(parts: Mapping[str, Sequence[str]], largest: int) -> tuple[str, ...]:
    """The words of the training text, frequent ones first; `<unk>` is among them where any part needs it."""
    counts = Counter(parts["train"])
    if not counts:
        return (END,)
    ordered = [word for word, _ in counts.most_common()]  # equal ones in the order of the text
    needed = UNKNOWN in counts or any(word not in counts for found in parts.values() for word in set(found))
    if largest and len(ordered) > largest:
        ordered, needed = ordered[:largest], True
    if needed and UNKNOWN not in ordered:
        ordered = [*ordered[: largest - 1 if largest else None], UNKNOWN]
    return tuple(ordered)
