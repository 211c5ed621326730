"""Small data sets in the formats that people have, written for a test."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nasdsl.training.data.build import task_for
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.tasks import Task


def load(path: Path | str, **settings: Any) -> Task:
    return task_for("digits", DataSettings(path=str(path), **settings))


def pictures(count: int, shape: tuple[int, ...] = (8, 8, 3), seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def labels(count: int, classes: int = 3) -> np.ndarray[Any, Any]:
    return np.arange(count) % classes


def write_idx(
    folder: Path, start: str, images: np.ndarray[Any, Any], numbers: np.ndarray[Any, Any], packed: bool
) -> None:
    for name, array in ((f"{start}-images-idx3-ubyte", images), (f"{start}-labels-idx1-ubyte", numbers)):
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        data = head + array.astype(np.uint8).tobytes()
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)


def write_cifar(folder: Path, each: int = 6, *, binary: bool, protocol: int = 2) -> np.ndarray[Any, Any]:
    """Five batches and a test batch of noise; gives all images [N, 32, 32, 3]."""
    folder.mkdir()
    images = pictures(6 * each, (32, 32, 3))
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    numbers = labels(each, 10) if each >= 10 else labels(each, 2)
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        rows = planes[i * each : (i + 1) * each]
        if binary:
            records = np.concatenate([numbers[:, None].astype(np.uint8), rows], 1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
        else:
            entries = {b"data": rows, b"labels": numbers.tolist(), b"batch_label": b"one"}
            (folder / name).write_bytes(pickle.dumps(entries, protocol=protocol))
    names = [f"kind{i}" for i in range(10)]
    if binary:
        (folder / "batches.meta.txt").write_text("\n".join(names) + "\n")
    else:
        (folder / "batches.meta").write_bytes(
            pickle.dumps({b"label_names": [n.encode() for n in names]}, protocol=2)
        )
    return images


def write_cifar_100(folder: Path, *, binary: bool) -> np.ndarray[Any, Any]:
    """Noise with three examples of a class to train on and one to test on; gives all images [N, 32, 32, 3]."""
    folder.mkdir()
    images = pictures(400, (32, 32, 3))
    planes = images.transpose(0, 3, 1, 2).reshape(400, -1)
    fine = labels(400, 100)
    coarse = (fine * 7) % 20
    names = [f"kind{i}" for i in range(100)]
    for name, some in (("train", slice(0, 300)), ("test", slice(300, 400))):
        if binary:
            columns = [coarse[some, None].astype(np.uint8), fine[some, None].astype(np.uint8), planes[some]]
            (folder / f"{name}.bin").write_bytes(np.concatenate(columns, 1).tobytes())
        else:
            entries = {
                b"filenames": [b"a.png"] * len(fine[some]),
                b"fine_labels": fine[some].tolist(),
                b"coarse_labels": coarse[some].tolist(),
                b"data": planes[some],
            }
            (folder / name).write_bytes(pickle.dumps(entries, protocol=2))
    if binary:
        (folder / "fine_label_names.txt").write_text("\n".join(names) + "\n")
    else:
        (folder / "meta").write_bytes(
            pickle.dumps({b"fine_label_names": [n.encode() for n in names]}, protocol=2)
        )
    return images


def write_folder(
    folder: Path, classes: dict[str, int], size: tuple[int, int] = (8, 8), mode: str = "RGB"
) -> None:
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            colour = tuple([(40 * number + i) % 256] * len(Image.new(mode, (1, 1)).getbands()))
            Image.new(mode, size, colour if len(colour) > 1 else colour[0]).save(
                folder / name / f"{i:02}.png"
            )
