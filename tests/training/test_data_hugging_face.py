"""Data sets of Hugging Face's library, written to local files by that library."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasdsl.diagnostics import NasError
from tests.training.data_files import labels, load, pictures

os.environ["HF_DATASETS_OFFLINE"] = "1"  # read on import
datasets = pytest.importorskip("datasets", reason="the package `datasets` isn't installed")


@pytest.fixture(autouse=True)
def _nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr("socket.socket.connect", refused)


def images(count: int, seed: int = 0) -> Any:
    """Noise 6x6 with the labels 0, 1, 2, 0, …, called ant, bee and cow."""
    features = datasets.Features(
        {
            "label": datasets.ClassLabel(names=["ant", "bee", "cow"]),
            "picture": datasets.Image(),
        }
    )
    pixels = pictures(count, (6, 6, 3), seed)
    found = {"picture": [Image.fromarray(x) for x in pixels], "label": labels(count).tolist()}
    return datasets.Dataset.from_dict(found, features=features)


def texts(count: int, **columns: Any) -> Any:
    return datasets.Dataset.from_dict(
        {"text": [f"word{i % 5} is here\nor there" for i in range(count)], **columns}
    )


def refused(path: Path, **settings: Any) -> tuple[str, str]:
    with pytest.raises(NasError) as error:
        load(path, **settings)
    (diagnostic,) = error.value.diagnostics
    return diagnostic.code, diagnostic.message


def test_a_saved_folder_keeps_its_splits(tmp_path: Path) -> None:
    splits = {"train": images(30), "validation": images(12, 1), "test": images(9, 2), "extra": images(3)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    task = load(tmp_path / "saved")
    assert task.validation is not None
    assert (len(task.train), len(task.validation), len(task.test)) == (30, 12, 9)
    assert np.array_equal(task.train.stored[0].numpy(), pictures(30, (6, 6, 3)))
    assert np.array_equal(task.test.stored[0].numpy(), pictures(9, (6, 6, 3), 2))
    assert task.validation.first_targets.tolist() == labels(12).tolist()
    assert task.labels == ("ant", "bee", "cow") and task.data.kind == "image"
    assert task.sizes == {"channels": 3, "size": 6, "classes": 3}
    assert task.notes == ("`saved`: its split `extra` isn't used",)
    # What the run records reads the same again.
    assert load(tmp_path / "saved", kind="image", fingerprint=task.data.fingerprint).data == task.data


def test_a_single_data_set_is_cut(tmp_path: Path) -> None:
    images(30).save_to_disk(tmp_path / "saved")
    task = load(tmp_path / "saved", colours="grey", size=4)
    assert (len(task.train), len(task.test)) == (24, 6) and task.shapes[0].dims == (1, 4, 4)


def test_parquet_files_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for name, some in {
        "train-00000-of-00002": 15,
        "train-00001-of-00002": 18,
        "test-00000-of-00001": 9,
    }.items():
        images(some).to_parquet(tmp_path / "hub" / "data" / f"{name}.parquet")
    task = load(tmp_path / "hub")
    assert (len(task.train), len(task.test)) == (33, 9)
    assert np.array_equal(task.train.stored[0][15:].numpy(), pictures(18, (6, 6, 3)))


def test_parquet_of_another_writer(tmp_path: Path) -> None:
    """Images as the library keeps them, but without the note that says so."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    def png(image: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        return file.getvalue()

    noise = pictures(30, (6, 6, 3))
    table = {
        "image": [{"bytes": png(x), "path": None} for x in noise],
        "label": ["xyz"[i % 3] for i in range(30)],
    }
    write_table(pa.table(table), tmp_path / "plain.parquet")
    task = load(tmp_path / "plain.parquet")
    stored = torch.cat([task.train.inputs[0], task.test.inputs[0]])
    assert stored.shape == (30, 3, 6, 6) and task.labels == ("x", "y", "z")


def test_images_beside_a_table_of_labels(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    lines = ["file_name,label"]
    for i, image in enumerate(pictures(12, (6, 6, 3))):
        Image.fromarray(image).save(tmp_path / "train" / f"{i:02}.png")
        lines.append(f"{i:02}.png,{'cat' if i % 2 else 'dog'}")
    (tmp_path / "train" / "metadata.csv").write_text("\n".join(lines) + "\n")
    task = load(tmp_path, test=0.5)
    assert task.labels == ("cat", "dog") and len(task.train) + len(task.test) == 12


def test_text_without_labels_is_one_running_text(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": texts(20), "test": texts(10)}).save_to_disk(tmp_path / "saved")
    task = load(tmp_path / "saved", bptt=7)
    # A row is two lines of three and two words, and each line ends in <eos>: 7 tokens.
    assert len(task.train) == (20 * 7 - 1) // 7 and task.data.kind == "words"
    assert task.sizes == {"vocab": 5 + 4 + 1}
    assert load(tmp_path / "saved", kind="bytes", bptt=7).sizes == {"vocab": 256}


def test_text_with_labels_is_classified(tmp_path: Path) -> None:
    whose = ["mine" if i % 2 else "yours" for i in range(20)]
    datasets.DatasetDict({"train": texts(20, label=whose), "test": texts(10, label=whose[:10])}).save_to_disk(
        tmp_path / "saved"
    )
    task = load(tmp_path / "saved", bptt=6)
    assert task.shapes[0].dims == (6,) and task.shapes[0].dtype == "int" and task.data.kind == "texts"
    assert task.labels == ("mine", "yours") and task.sizes["vocab"] == 2 + 9 and task.sizes["classes"] == 2
    rows = task.train.inputs[0]
    assert rows.dtype == torch.int64 and (rows[:, :5] > 1).all() and (rows[:, 5] == 0).all()
    assert task.train.first_targets.tolist() == [1, 0] * 10
    assert len(load(tmp_path / "saved", kind="words", bptt=6, target="label").train) == (20 * 7 - 1) // 6
    assert int(load(tmp_path / "saved", bptt=6, vocabulary=4).train.inputs[0].max()) == 3


def test_numbers_and_words_are_a_table(tmp_path: Path) -> None:
    columns = {
        "length": [float(i) for i in range(20)],
        "sort": list("ab") * 10,
        "price": [i / 3 for i in range(20)],
    }
    datasets.Dataset.from_dict(columns).to_parquet(tmp_path / "goods.parquet")
    task = load(tmp_path / "goods.parquet", target="price")
    assert task.shapes[0].dims == (3,) and task.objective.name == "R2" and task.data.kind == "table"
    code, message = refused(tmp_path / "goods.parquet")
    assert code == "N1009" and "which column" in message


def test_what_nothing_can_be_made_of_is_told(tmp_path: Path) -> None:
    assert "no column `lable`" in refused_of(tmp_path / "a", images(9), target="lable")[1]
    unlabelled = datasets.DatasetDict({"train": images(9), "test": images(3)})
    unlabelled["test"] = unlabelled["test"].map(lambda _: {"label": -1})
    assert "of the test part has no `label`" in refused_of(tmp_path / "b", unlabelled)[1]
    both = datasets.Dataset.from_dict({"x": [[1, 2]] * 6, "label": [0, 1] * 3})
    assert "the column `x` holds" in refused_of(tmp_path / "c", both, kind="table")[1]
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and nothing more")
    assert refused(tmp_path / "d.parquet")[0] == "N1014"
    mixed = [Image.new("RGB", (4, 4 + i)) for i in range(6)]
    sizes = datasets.Dataset.from_dict({"image": mixed, "label": [0, 1] * 3}).cast_column(
        "image", datasets.Image()
    )
    assert refused_of(tmp_path / "e", sizes)[0] == "N1002"


def refused_of(path: Path, data: Any, **settings: Any) -> tuple[str, str]:
    data.save_to_disk(path)
    return refused(path, **settings)


def test_without_the_library_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images(9).save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(sys.modules, "datasets", None)
    code, message = refused(tmp_path / "saved")
    assert code == "N1012" and "isn't installed" in message
