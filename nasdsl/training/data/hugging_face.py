"""Data sets of Hugging Face's library ``datasets``, from local files: nothing is fetched, and no code of theirs is run.

===================================================== =======================================================
on the disk                                           written by
===================================================== =======================================================
a folder with ``dataset_dict.json`` or ``state.json`` ``save_to_disk``
``.parquet`` files: one, a folder, one with ``data/`` ``to_parquet``, or as the Hub keeps data sets
images beside a ``metadata.csv`` or ``.jsonl``        people, as the library's builder ``imagefolder`` reads them
===================================================== =======================================================

What the data is follows from the features of its columns: with an image, images; with text, labelled texts where there
is a label, else one running text; numbers and words alone are a table.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nasdsl.diagnostics import NasError, did_you_mean, failure
from nasdsl.training.data import text_files
from nasdsl.training.data.cache import room_for
from nasdsl.training.data.dataset import Array, ArrayData, Data, Examples, ImageData, Images, TableData
from nasdsl.training.data.pictures import channels_of, pixels
from nasdsl.training.data.settings import DataSettings

SAVED = ("dataset_dict.json", "state.json")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
LABELS = ("label", "labels", "target", "class", "fine_label", "y")
TEXTS = ("text", "sentence", "content", "document", "review", "tokens")
PADDING, UNKNOWN = "<pad>", "<unk>"

Columns = Mapping[str, Any]
"""The data set of each part, as the library has it."""


def recognises(path: Path) -> bool:
    if path.is_file():
        return path.suffix == ".parquet"
    return any((path / name).is_file() for name in SAVED) or bool(_parquet(path)) or _has_metadata(path)


def read(path: Path, settings: DataSettings) -> Data:
    """Raises NasError: N1012 where the library isn't installed, N1014 for files that it can't read and for columns that
    nothing can be made of, N1009 where it isn't clear which column is to be predicted; N1001, N1002 for images."""
    parts, notes = _named(path, _loaded(path))
    kind = settings.kind if settings.kind != "auto" else _kind(parts["train"].features, settings)
    if kind == "image":
        return _images(path, parts, settings, notes)
    if kind == "table":
        return _table(path, parts, settings, notes)
    column = _text_column(path, parts["train"].features, settings)
    if kind == "texts":
        return _labelled(path, parts, column, settings, notes)
    texts = {part: "\n".join(found[column]).encode() for part, found in parts.items()}
    return text_files.from_texts(path, texts, settings.model_copy(update={"kind": kind}))


# --- files -------------------------------------------------------------------------------------------


def _library(path: Path) -> Any:
    # Read when the library is imported; it would ask the Hub for news otherwise.
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import datasets
    except ImportError:
        raise failure(
            "N1012",
            f"`{path}` is a data set of Hugging Face, and the package `datasets` isn't installed",
            'pip install "nasdsl[datasets]"',
        ) from None
    return datasets


def _loaded(path: Path) -> Mapping[str, Any]:
    """The splits by the names that they have. Raises NasError N1012, N1014."""
    library = _library(path)
    try:
        if path.is_dir() and any((path / name).is_file() for name in SAVED):
            found = library.load_from_disk(str(path))
            return found if isinstance(found, library.DatasetDict) else {str(found.split or "train"): found}
        if path.is_file() or _parquet(path):
            files = [path] if path.is_file() else _parquet(path)
            return {name: _from_parquet(library, some) for name, some in _by_part(path, files).items()}
        library.disable_progress_bars()
        with tempfile.TemporaryDirectory() as cache:
            found = library.load_dataset(
                "imagefolder", data_dir=str(path), cache_dir=cache, keep_in_memory=True
            )
            return dict(found)
    except NasError:
        raise
    except Exception as error:  # of the library, of pyarrow, of pandas: any
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise failure("N1014", f"`{path}` can't be read as a data set: {reason}") from None


def _parquet(path: Path) -> list[Path]:
    for pattern in ("*.parquet", "data/*.parquet", "*/*.parquet"):
        if found := sorted(file for file in path.glob(pattern) if file.name not in METADATA):
            return found
    return []


def _has_metadata(path: Path) -> bool:
    return any((folder / name).is_file() for folder in (path, *path.glob("*/")) for name in METADATA)


def _by_part(path: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by the split that their name or that of their folder says: ``train-00000-of-00002.parquet``,
    ``test/0000.parquet``; those that say none are the training part."""
    known = {word for words in PARTS.values() for word in words}
    found: dict[str, list[Path]] = {}
    for file in files:
        folder = file.parent.name if file.parent != path else ""
        words = [word for name in (file.stem, folder) for word in re.split(r"[^a-z]+", name.lower())]
        found.setdefault(next((word for word in words if word in known), "train"), []).append(file)
    return found


def _from_parquet(library: Any, files: Sequence[Path]) -> Any:
    from pyarrow import concat_tables, types
    from pyarrow.parquet import read_table

    data = library.Dataset(concat_tables([read_table(file) for file in files]))
    for field in data.data.schema:
        plain = type(data.features[field.name]).__name__ not in ("Image", "Audio")
        if plain and types.is_struct(field.type) and {f.name for f in field.type} == {"bytes", "path"}:
            data = data.cast_column(field.name, library.Image())  # written by something else than the library
    return data


def _named(path: Path, splits: Mapping[str, Any]) -> tuple[Columns, tuple[str, ...]]:
    """The splits as parts. The only one is the training part, whatever it is called; others are left out, and said."""
    if len(splits) == 1:
        parts = {"train": next(iter(splits.values()))}
        left: list[str] = []
    else:
        part_of = {word: part for part, words in PARTS.items() for word in words}
        parts = {part_of[name]: data for name, data in splits.items() if name in part_of}
        left = [name for name in splits if name not in part_of]
    if "train" not in parts or not len(parts["train"]):
        listed = ", ".join(f"`{name}`" for name in splits)
        raise failure("N1014", f"`{path}` has no training part: its splits are {listed or 'none'}")
    for part, data in parts.items():
        lacking = [name for name in parts["train"].features if name not in data.features]
        if lacking:
            raise failure("N1014", f"`{path}`: the {part} part lacks the column `{lacking[0]}`")
    notes = tuple(f"`{path.name}`: its split `{name}` isn't used" for name in left)
    return parts, notes


# --- columns -----------------------------------------------------------------------------------------


def _kind(features: Mapping[str, Any], settings: DataSettings) -> str:
    if any(_is(feature, "Image") for feature in features.values()):
        return "image"
    strings = [name for name, feature in features.items() if _is_string(feature) and name != settings.target]
    label = _label_column(features, settings)
    alone = len(strings) == 1 and set(features) <= {strings[0], label}
    if not alone and not any(name in TEXTS for name in strings):
        return "table"
    return "texts" if label else "words"


def _is(feature: Any, name: str) -> bool:
    return type(feature).__name__ == name


def _is_string(feature: Any) -> bool:
    return _is(feature, "Value") and feature.dtype in ("string", "large_string")


def _label_column(features: Mapping[str, Any], settings: DataSettings) -> str:
    """The column to predict: that of the settings, or the only one of classes, or one with a usual name; else empty."""
    if settings.target:
        return settings.target
    classes = [name for name, feature in features.items() if _is(feature, "ClassLabel")]
    if len(classes) == 1:
        return classes[0]
    return next((name for name in LABELS if name in (classes or features)), "")


def _target(path: Path, features: Mapping[str, Any], settings: DataSettings) -> str:
    """Raises NasError N1009 where it isn't clear which column is to be predicted, or where it isn't there."""
    column = _label_column(features, settings)
    listed = ", ".join(f"`{name}`" for name in list(features)[:20])
    if not column:
        raise failure(
            "N1009",
            f"which column of `{path}` is to be predicted?",
            f"say `--target {list(features)[-1]}`; there are {listed}",
        )
    if column not in features:
        help = did_you_mean(column, list(features)) or f"there are {listed}"
        raise failure("N1009", f"`{path}` has no column `{column}`", help)
    return column


def _text_column(path: Path, features: Mapping[str, Any], settings: DataSettings) -> str:
    target = _label_column(features, settings)
    strings = [name for name, feature in features.items() if _is_string(feature) and name != target]
    column = next((name for name in TEXTS if name in strings), strings[0] if len(strings) == 1 else "")
    if not column:
        found = f"several columns of text: {', '.join(strings)}" if strings else "no column of text"
        raise failure("N1014", f"`{path}` has {found}", "the one to read is called `text`")
    return column


def _classes(path: Path, parts: Columns, settings: DataSettings) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Class numbers [N] of each part, and the names of the classes that occur. Raises NasError N1009, N1014."""
    features = parts["train"].features
    column = _target(path, features, settings)
    feature = features[column]
    if not _is(feature, "ClassLabel") and not _is(feature, "Value"):
        raise failure("N1014", f"`{path}`: `{column}` holds {type(feature).__name__}, which is no class")
    entries = {part: list(found[column]) for part, found in parts.items()}
    for part, found in entries.items():
        gone = next((i for i, x in enumerate(found) if x is None or x == -1), None)
        if gone is not None:
            raise failure(
                "N1014",
                f"`{path}`: example {gone + 1} of the {part} part has no `{column}`",
                "splits without labels can't be used: save the data set without them",
            )
        if any(isinstance(x, float) for x in found):
            raise failure("N1014", f"`{path}`: `{column}` holds real numbers, which are no classes")
    seen = sorted({x for found in entries.values() for x in found})
    number_of = {x: i for i, x in enumerate(seen)}
    names = [feature.int2str(x) if _is(feature, "ClassLabel") else str(x) for x in seen]
    numbers = {part: np.array([number_of[x] for x in found], np.int64) for part, found in entries.items()}
    return numbers, tuple(names)


# --- kinds -------------------------------------------------------------------------------------------


def _images(path: Path, parts: Columns, settings: DataSettings, notes: tuple[str, ...]) -> ImageData:
    columns = [name for name, feature in parts["train"].features.items() if _is(feature, "Image")]
    if len(columns) != 1:
        listed = ", ".join(columns) or "none"
        raise failure("N1014", f"`{path}`: one column of images is wanted, and there are: {listed}")
    numbers, names = _classes(path, parts, settings)
    train = parts["train"]
    some = [
        _picture(path, train, columns[0], int(i)) for i in np.unique(numbers["train"], return_index=True)[1]
    ]
    channels = channels_of({picture.mode for picture in some}, settings)
    size = (settings.size, settings.size) if settings.size else (some[0].height, some[0].width)
    read_parts = {
        part: Images(
            _decoded(path, part, found, columns[0], (len(found), *size, channels), settings), numbers[part]
        )
        for part, found in parts.items()
    }
    return ImageData(
        read_parts["train"], read_parts.get("test"), names, read_parts.get("validation"), notes=notes
    )


def _decoded(
    path: Path, part: str, data: Any, column: str, shape: tuple[int, ...], settings: DataSettings
) -> Array:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    with room_for(shape, settings, path, part, files) as room:
        for i in range(shape[0] if room.empty else 0):
            try:
                image = pixels(_picture(path, data, column, i), shape[3], settings.size)
            except (OSError, SyntaxError, ValueError) as error:
                raise failure("N1001", f"image {i + 1} of the {part} part of `{path}`: {error}") from None
            if image.shape != shape[1:]:
                raise failure(
                    "N1002",
                    f"images have different sizes: number {i + 1} of the {part} part of `{path}` is {image.shape[0]} x {image.shape[1]}, others {shape[1]} x {shape[2]}",
                    "say `-c data.size=64`, or another size that all are brought to",
                )
            room.array[i] = image
    return room.array


def _picture(path: Path, data: Any, column: str, i: int) -> Image.Image:
    """Raises NasError N1001 where it can't be opened."""
    try:
        image = data[i][column]
    except Exception as error:
        raise failure("N1001", f"image {i + 1} of `{path}` can't be read: {error}") from None
    if not isinstance(image, Image.Image):
        raise failure("N1001", f"example {i + 1} of `{path}` has no image")
    return image


def _table(path: Path, parts: Columns, settings: DataSettings, notes: tuple[str, ...]) -> TableData:
    features = parts["train"].features
    target = _target(path, features, settings)
    odd = next(
        (name for name, f in features.items() if not _is(f, "Value") and not _is(f, "ClassLabel")), None
    )
    if odd is not None:
        raise failure(
            "N1014",
            f"`{path}`: the column `{odd}` holds {type(features[odd]).__name__}, neither a number nor a word",
            f"take it out: `dataset.remove_columns({odd!r})`",
        )
    if len(features) < 2:
        raise failure("N1014", f"`{path}` has no column beside `{target}` to predict it from")

    def rows(data: Any) -> dict[str, list[str]]:
        return {name: [_entry(features[name], x) for x in data[name]] for name in features}

    tables = {part: rows(data) for part, data in parts.items()}
    return TableData(tables["train"], tables.get("test"), target, tables.get("validation"), notes)


def _entry(feature: Any, value: Any) -> str:
    """A value as a table has it: text, empty where there is none."""
    if value is None or (_is(feature, "ClassLabel") and value < 0):
        return ""
    return str(feature.int2str(value)) if _is(feature, "ClassLabel") else str(value)


def _labelled(
    path: Path, parts: Columns, column: str, settings: DataSettings, notes: tuple[str, ...]
) -> ArrayData:
    """Texts of ``bptt`` words each, [N, T]: longer ones are cut off, shorter ones filled up with 0."""
    numbers, names = _classes(path, parts, settings)
    counts = Counter(word for text in parts["train"][column] for word in (text or "").split())
    room = settings.vocabulary - 2 if settings.vocabulary else None
    words = [word for word, _ in counts.most_common(None if room is None else max(0, room))]
    vocabulary = [PADDING, UNKNOWN, *(word for word in words if word not in (PADDING, UNKNOWN))]
    number_of = {word: i for i, word in enumerate(vocabulary)}

    def tokens(texts: Sequence[str | None]) -> Array:
        rows = np.zeros((len(texts), settings.bptt), np.int64)
        for row, text in zip(rows, texts, strict=True):
            found = [number_of.get(word, 1) for word in (text or "").split()[: settings.bptt]]
            row[: len(found)] = found
        return rows

    examples = {
        part: Examples({"tokens": tokens(found[column])}, {"label": numbers[part]})
        for part, found in parts.items()
    }
    return ArrayData(
        examples["train"],
        examples.get("test"),
        examples.get("validation"),
        labels=names,
        sizes={"vocab": len(vocabulary)},
        kind="texts",
        notes=notes,
    )
