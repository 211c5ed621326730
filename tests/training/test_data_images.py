"""Readers of images, against files written here and against what is published of the real ones."""

from __future__ import annotations

import pickle
import resource
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasdsl.diagnostics import NasError
from tests.training.data_files import (
    labels,
    load,
    pictures,
    write_cifar,
    write_cifar_100,
    write_folder,
    write_idx,
)


def raised(error: pytest.ExceptionInfo[NasError]) -> tuple[str, str]:
    (diagnostic,) = error.value.diagnostics
    return diagnostic.code, diagnostic.message


def as_read(task: Any) -> torch.Tensor:
    """All images as stored, training part first."""
    return torch.cat([task.train.stored[0], task.test.stored[0]])


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_keep_their_parts(tmp_path: Path, packed: bool) -> None:
    images = pictures(30, (5, 5))
    write_idx(tmp_path, "train", images[:21], labels(21), packed)
    write_idx(tmp_path, "t10k", images[21:], labels(9), packed)
    task = load(tmp_path)
    assert (len(task.train), len(task.test)) == (21, 9)
    assert np.array_equal(as_read(task).numpy()[..., 0], images)
    assert task.train.first_targets.tolist() == labels(21).tolist()
    assert task.sizes == {"channels": 1, "size": 5, "classes": 3}
    assert not task.notes


def test_fashion_mnist_is_what_is_published(fashion_mnist: Path) -> None:
    task = load(fashion_mnist)
    assert (len(task.train), len(task.test)) == (60_000, 10_000)
    assert torch.bincount(task.train.first_targets).tolist() == [6000] * 10
    assert task.normalisation is not None
    assert task.normalisation.mean[0] / 255 == pytest.approx(0.2860, abs=5e-5)
    assert task.normalisation.std[0] / 255 == pytest.approx(0.3530, abs=5e-5)
    few = task.train.take(torch.arange(0, 60_000, 60)).inputs[0]
    assert few.shape[1:] == (1, 28, 28) and abs(float(few.mean())) < 0.02 and abs(float(few.std()) - 1) < 0.02


@pytest.mark.parametrize("form", ["binary", "python", "python 3"])
def test_cifar_reads_the_same_in_both_layouts(tmp_path: Path, form: str) -> None:
    images = write_cifar(
        tmp_path / "c", binary=form == "binary", protocol=4 if form == "python 3" else 2, each=20
    )
    task = load(tmp_path / "c")
    assert np.array_equal(as_read(task).numpy(), images)
    assert (len(task.train), len(task.test)) == (100, 20)
    assert task.labels == tuple(f"kind{i}" for i in range(10))
    assert task.test.first_targets.tolist() == labels(20, 10).tolist()


@pytest.mark.parametrize("binary", [True, False])
def test_cifar_100_has_its_fine_labels(tmp_path: Path, binary: bool) -> None:
    images = write_cifar_100(tmp_path / "c", binary=binary)
    task = load(tmp_path / "c")
    assert np.array_equal(as_read(task).numpy(), images)
    assert (len(task.train), len(task.test)) == (300, 100)
    assert task.labels == tuple(f"kind{i}" for i in range(100)) and task.sizes["classes"] == 100
    assert task.test.first_targets.tolist() == list(range(100))


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    write_cifar(tmp_path / "c", binary=False)
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (touched,))

    (tmp_path / "c" / "data_batch_3").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}, protocol=2))
    with pytest.raises(NasError) as error:
        load(tmp_path / "c")
    code, message = raised(error)
    assert code == "N1006" and "data_batch_3" in message and "it wants to run" in message
    assert not touched.exists()


def test_npz_takes_published_and_unpublished_parts_and_both_orders_of_axes(tmp_path: Path) -> None:
    images = pictures(40)
    np.savez(tmp_path / "whole.npz", x=images, y=labels(40))
    np.savez_compressed(
        tmp_path / "parts.npz",
        x_train=images[:30].transpose(0, 3, 1, 2),
        y_train=labels(30)[:, None],
        x_test=images[30:].transpose(0, 3, 1, 2),
        y_test=labels(10)[:, None],
    )
    whole, parts = load(tmp_path / "whole.npz"), load(tmp_path / "parts.npz")
    assert np.array_equal(as_read(parts).numpy(), images)
    assert len(whole.test) == 8 and "no test part: 8 of 40 examples" in whole.notes[0]
    assert whole.name == "whole" and parts.shapes[0].dims == (3, 8, 8)


def test_npy_files_are_mapped_and_not_loaded(tmp_path: Path) -> None:
    images = pictures(30)
    np.save(tmp_path / "x_train.npy", images)
    np.save(tmp_path / "y_train.npy", labels(30))
    task = load(tmp_path, memory=1e-6)
    assert task.room < images.nbytes
    rows = task.train.rows
    assert rows is not None
    taken = task.train.take(torch.tensor([3, 1]))
    assert np.array_equal(taken.stored[0].numpy(), images[rows[[3, 1]].numpy()])


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"cat": 10, "dog": 15})
    task = load(tmp_path / "photos")
    assert task.labels == ("cat", "dog") and task.shapes[0].dims == (3, 8, 8)
    assert (len(task.train), len(task.test)) == (20, 5)
    held_out = torch.bincount(task.test.first_targets)
    assert held_out.tolist() == [2, 3]


def test_every_image_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_folder(tmp_path / part, {"cat": 12, "dog": 4})
    bad = [tmp_path / "test" / "cat" / "00.png", tmp_path / "train" / "cat" / "00.png"]
    bad += [tmp_path / "train" / "dog" / "02.png"]
    for path in bad:
        path.write_bytes(b"no image")
    with pytest.raises(NasError) as error:
        load(tmp_path, memory=1e-9, cache=str(tmp_path / "cache"))
    assert {d.code for d in error.value.diagnostics} == {"N1001"}
    told = {d.message for d in error.value.diagnostics}
    assert told == {f"image `{path}` can't be read: it is no image" for path in bad}
    assert list((tmp_path / "cache").iterdir()) == []  # nothing is kept of a part with holes
    for path in (tmp_path / "train" / "cat").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(NasError) as error:
        load(tmp_path)
    assert len(error.value.diagnostics) == 11
    assert error.value.diagnostics[-1].message == "and so it is with 4 images more"


def test_more_classes_than_files_may_be_open(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"class{i:03}": 3 for i in range(60)})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 20, hard))
    try:
        assert len(load(tmp_path).labels) == 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_odd_about_a_folder_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"cat": 10, "dog": 15})
    (tmp_path / "photos" / "cow").mkdir()
    assert f"`{tmp_path / 'photos'}` has no images in `cow`: left out" in load(tmp_path / "photos").notes
    parts = tmp_path / "parts"
    write_folder(parts / "train", {"cat": 5, "cow": 5, "dog": 5})
    (parts / "test" / "cow").mkdir(parents=True)
    for name in ("cat", "dog"):
        (parts / "test" / name).mkdir()
    for i, name in enumerate(("cat", "dog", "dog")):
        text = (parts / "train" / name / f"0{i}.png").read_bytes()
        (parts / "test" / name / f"{i}.png").write_bytes(text)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(parts / "test" / "dog" / "new.png")
    assert load(parts).notes == (
        f"`{parts / 'test'}` has no images of the class `cow`",
        f"3 of 4 images of the test part are in the training part too, such as `{parts / 'test' / 'cat' / '0.png'}`: a "
        "score on them says little",
    )


def test_a_folder_with_parts_keeps_them_and_grey_stays_grey(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("val", 4), ("test", 3)):
        write_folder(tmp_path / part, {"a": count, "b": count}, mode="L")
    task = load(tmp_path)
    assert task.validation is not None
    assert (len(task.train), len(task.validation), len(task.test)) == (12, 8, 6)
    assert task.halves(5)[1] is task.validation
    assert task.shapes[0].dims == (1, 8, 8)
    assert load(tmp_path, colours="rgb").shapes[0].dims == (3, 8, 8)


def test_see_through_pixels_are_white_and_sizes_can_be_brought_together(tmp_path: Path) -> None:
    write_folder(tmp_path / "p", {"a": 3, "b": 4}, size=(12, 6))
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "p" / "a" / "zz.png")
    with pytest.raises(NasError) as error:
        load(tmp_path / "p")
    code, message = raised(error)
    assert code == "N1002" and "zz.png" in message and "9 x 9" in message
    task = load(tmp_path / "p", size=6)
    everything = task.train.stored[0]  # a test part shares what is stored
    assert everything.shape == (8, 6, 6, 3)
    assert (everything[3] == 255).all()


def test_images_that_do_not_fit_in_memory_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "p", {"a": 6, "b": 6})
    cache = tmp_path / "cache"
    first = load(tmp_path / "p", memory=1e-6, cache=str(cache))
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr("nasdsl.training.data.folder._decoded", lambda *about: np.zeros((8, 8, 3), np.uint8))
    second = load(tmp_path / "p", memory=1e-6, cache=str(cache))
    assert torch.equal(first.train.stored[0], second.train.stored[0]) and second.train.stored[0].any()
    assert first.data.fingerprint == second.data.fingerprint
    (tmp_path / "p" / "a" / "00.png").write_bytes((tmp_path / "p" / "b" / "05.png").read_bytes())
    load(tmp_path / "p", memory=1e-6, cache=str(cache))
    assert len(list(cache.iterdir())) == 2  # other images are other data


def test_resizing_and_colours_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.full((20, 8, 8, 3), (255, 0, 0), np.uint8), y=labels(20))
    task = load(tmp_path / "x.npz", size=4, colours="grey")
    assert task.shapes[0].dims == (1, 4, 4)
    assert task.train.stored[0].unique().tolist() == [76]  # 0.299 of 255


# --- bad input ------------------------------------------------------------------------------------


def idx_folder(folder: Path) -> None:
    write_idx(folder, "train", pictures(20, (4, 4)), labels(20), packed=False)


def edit(path: Path, change: Any) -> None:
    path.write_bytes(change(path.read_bytes()))


def nothing(folder: Path) -> None: ...


def loose_images(folder: Path) -> None:
    Image.new("L", (4, 4)).save(folder / "01.png")
    Image.new("L", (4, 4)).save(folder / "02.png")


def empty_classes(folder: Path) -> None:
    (folder / "train" / "a").mkdir(parents=True)
    (folder / "train" / "loose.png").write_bytes(b"")
    write_folder(folder / "test", {"a": 3})


def one_class(folder: Path) -> None:
    write_folder(folder, {"cat": 5})


def few_of_a_class(folder: Path) -> None:
    write_folder(folder, {"cat": 5, "dog": 2})


def broken_image(folder: Path) -> None:
    write_folder(folder, {"cat": 5, "dog": 5})
    edit(folder / "dog" / "03.png", lambda data: data[:40])


def no_image(folder: Path) -> None:
    write_folder(folder, {"cat": 5, "dog": 5})
    edit(folder / "dog" / "03.png", lambda data: b"hello")


def new_class_in_test(folder: Path) -> None:
    write_folder(folder / "train", {"cat": 5, "dog": 5})
    write_folder(folder / "test", {"cow": 5})


def wrong_magic(folder: Path) -> None:
    idx_folder(folder)
    edit(folder / "train-images-idx3-ubyte", lambda data: b"\1" + data[1:])


def cut_off(folder: Path) -> None:
    idx_folder(folder)
    edit(folder / "train-images-idx3-ubyte", lambda data: data[:-7])


def cut_off_gzip(folder: Path) -> None:
    write_idx(folder, "train", pictures(20, (4, 4)), labels(20), packed=True)
    edit(folder / "train-images-idx3-ubyte.gz", lambda data: data[:-20])


def no_labels(folder: Path) -> None:
    idx_folder(folder)
    (folder / "train-labels-idx1-ubyte").unlink()


def fewer_labels(folder: Path) -> None:
    write_idx(folder, "train", pictures(20, (4, 4)), labels(19), packed=False)


def cifar_cut_off(folder: Path) -> None:
    folder.rmdir()
    write_cifar(folder, binary=True)
    edit(folder / "data_batch_2.bin", lambda data: data[:-100])


def cifar_wrong_label(folder: Path) -> None:
    folder.rmdir()
    write_cifar(folder, binary=True)
    edit(folder / "data_batch_2.bin", lambda data: b"\x0a" + data[1:])


def cifar_missing_batch(folder: Path) -> None:
    folder.rmdir()
    write_cifar(folder, binary=True)
    (folder / "data_batch_4.bin").unlink()


def cifar_no_pickle(folder: Path) -> None:
    folder.rmdir()
    write_cifar(folder, binary=False)
    edit(folder / "data_batch_2", lambda data: data[:1000])


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (nothing, "N916", "is empty"),
        (loose_images, "N916", "holds pictures, but no class folders"),
        (empty_classes, "N1000", "no class folders with images"),
        (one_class, "N919", "one class, `cat`"),
        (few_of_a_class, "N919", "class `dog` of `data` has 2 examples"),
        (broken_image, "N1001", "03.png"),
        (no_image, "N1001", "it is no image"),
        (new_class_in_test, "N1000", "the class `cow`"),
        (wrong_magic, "N1003", "is no IDX file: it starts with 01 00 08 03"),
        (cut_off, "N1003", "is cut off: 329 bytes, where its head says 336"),
        (cut_off_gzip, "N1003", "can't be read"),
        (no_labels, "N915", "no labels of it"),
        (fewer_labels, "N1007", "20 examples, but 19 labels"),
        (cifar_cut_off, "N1005", "no multiple of a record's 3073"),
        (cifar_wrong_label, "N1007", "label 10 is out of range: there are 10 classes"),
        (cifar_missing_batch, "N915", "has no `data_batch_4.bin`"),
        (cifar_no_pickle, "N1006", "is no pickle of plain arrays"),
    ],
)
def test_bad_images_give_one_message(tmp_path: Path, make: Any, code: str, says: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    with pytest.raises(NasError) as error:
        load(folder)
    found, message = raised(error)
    assert found == code and says in message


@pytest.mark.parametrize(
    ("arrays", "code", "says"),
    [
        ({"images": pictures(9)}, "N1004", "has the arrays images"),
        ({"x": pictures(9), "y": labels(8)}, "N1007", "9 examples, but 8 targets"),
        ({"x": pictures(9), "y": labels(9) - 1}, "N1007", "label -1 is out of range"),
        ({"x": pictures(9), "y": labels(9) + 0.5}, "N1007", "no whole numbers"),
        ({"x": pictures(9), "y": np.array([object()] * 9)}, "N1004", "pickled arrays"),
        ({"x": pictures(9), "y": np.array(["a"] * 9)}, "N1004", "no numbers"),
        ({"x": pictures(9, (8, 8, 5)), "y": labels(9)}, "N1004", "no axis of 1 or 3 channels"),
        (
            {
                "x_train": pictures(9),
                "y_train": labels(9),
                "x_test": pictures(9, (4, 4, 3)),
                "y_test": labels(9),
            },
            "N1004",
            "inputs of the test part have the shape [9, 4, 4, 3]",
        ),
    ],
)
def test_bad_arrays_give_one_message(tmp_path: Path, arrays: Any, code: str, says: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(NasError) as error:
        load(tmp_path / "x.npz")
    found, message = raised(error)
    assert found == code and says in message


def test_a_file_that_is_no_npz_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\3\4 something")
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as file:
        file.writestr("x.npy", "hello")
    for name in ("x.npz", "y.npz"):
        with pytest.raises(NasError) as error:
            load(tmp_path / name)
        assert raised(error)[0] == "N1004"
