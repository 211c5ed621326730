"""Text: words and bytes to successive segments, and the order in which streams go on."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from nasdsl.diagnostics import NasError
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.data.text import Streams, in_sequence, segments
from nasdsl.training.objectives import NextToken
from nasdsl.training.seeds import generator
from nasdsl.training.split import Split
from tests.training.data_files import load


def words_of(task: Any, split: Split) -> list[str]:
    return [task.labels[i] for i in split.stored[0].flatten().tolist()]


def write_parts(folder: Path) -> None:
    folder.mkdir()
    (folder / "my.train.txt").write_text("a b a\nb  a c\n" * 4)
    (folder / "my.valid.txt").write_text("a rare\nc a b\n")
    (folder / "my.test.txt").write_text("c c a\nb a a\n")


def test_every_line_ends_in_eos_and_targets_are_the_next_words(tmp_path: Path) -> None:
    write_parts(tmp_path / "t")
    task = load(tmp_path / "t", bptt=3)
    assert task.validation is not None
    assert words_of(task, task.test) == ["c", "c", "a", "<eos>", "b", "a"]
    assert words_of(task, task.validation) == ["a", "<unk>", "<eos>", "c", "a", "b"]
    targets = task.test.first_targets
    assert [task.labels[i] for i in targets.flatten().tolist()] == ["c", "a", "<eos>", "b", "a", "a"]
    assert task.sizes == {"vocab": 5} and sorted(task.labels) == ["<eos>", "<unk>", "a", "b", "c"]
    assert task.train.inputs[0].dtype == torch.int64
    assert task.halves(0) == (task.train, task.validation)


def test_a_small_vocabulary_keeps_the_frequent_words(tmp_path: Path) -> None:
    write_parts(tmp_path / "t")
    assert load(tmp_path / "t", bptt=3, vocabulary=3).labels == ("a", "b", "<unk>")


def test_penn_treebank_is_what_is_published(penn_treebank: Path) -> None:
    task = load(penn_treebank)
    assert task.summary.startswith("1 085 779 words")  # 929 589 + 73 760 + 82 430, with one <eos> a line
    assert task.sizes["vocab"] == 10_000
    assert task.validation is not None
    assert [len(s) for s in (task.train, task.validation, task.test)] == [
        (n - 1) // 35 for n in (929_589, 73_760, 82_430)
    ]


def test_one_text_is_cut_at_its_end_and_words_are_counted_before_it(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a b c d\n" * 18 + "late late late late\n" * 2)
    task = load(tmp_path / "one.txt", test=0.1, bptt=2)
    assert "late" not in task.labels and "<unk>" in task.labels
    assert "the last 10 of its 100 tokens" in task.notes[0]
    first, second = task.halves(3)
    assert first.rows is not None and second.rows is not None
    assert int(first.rows.max()) < int(second.rows.min())  # a text is cut in one piece


def test_bytes_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "some.bin").write_bytes(bytes(range(256)) * 4)
    task = load(tmp_path / "some.bin", kind="bytes", bptt=10, test=0.25)
    assert task.sizes == {"vocab": 256} and task.outputs.dims == (10, 256)  # type: ignore[union-attr]
    assert task.train.stored[0][0].tolist() == list(range(10))
    assert task.train.take(torch.tensor([1])).inputs[0].tolist() == [list(range(10, 20))]
    assert list(NextToken(bits=True).natural(-2.0)) == ["bits per byte"]


def test_streams_go_on_where_they_ended(tmp_path: Path) -> None:
    text = torch.arange(24, dtype=torch.int32).numpy()
    streams = segments("t", "training", text, DataSettings(bptt=2))
    carried = Streams(streams.stored, streams.targets, streams.views, continuous=True, carried=True)
    batches = [carried.take(indices) for indices in carried.order(3, generator(0))]
    assert len(batches) == 3
    for before, after in pairwise(batches):
        assert torch.equal(after.inputs[0][:, 0], before.first_targets[:, -1].long())
    first = carried.part(torch.arange(6))
    assert isinstance(first, Streams) and first.carried and len(first.order(3, generator(0))) == 2
    assert not torch.equal(torch.cat(streams.order(3, generator(0))), torch.arange(9))  # in any order without


def test_no_stream_is_longer_than_another() -> None:
    for count, streams in ((10, 3), (3, 3), (64, 7)):
        batches = in_sequence(count, streams, torch.device("cpu"))
        assert len(batches) == count // streams
        assert len(torch.cat(batches).unique()) == streams * (count // streams)


@pytest.mark.parametrize(
    ("files", "settings", "says"),
    [
        ({"test.txt": b"a b"}, {}, "no training text"),
        ({"train.txt": b"\xff\xfe a"}, {}, "not UTF-8: byte 0"),
        ({"train.txt": b"a b c", "test.txt": b"a"}, {}, "the training text of `t` has 4 tokens"),
        ({"train.txt": b"a b " * 50, "test.txt": b"a"}, {}, "the test text of `t` has 2 tokens"),
        ({"train.txt": b"a", "a.train.txt": b"b"}, {}, "several texts for the train part"),
    ],
)
def test_bad_text_gives_one_message(tmp_path: Path, files: Any, settings: Any, says: str) -> None:
    (tmp_path / "t").mkdir()
    for name, data in files.items():
        (tmp_path / "t" / name).write_bytes(data)
    with pytest.raises(NasError) as error:
        load(tmp_path / "t", **settings)
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == "N1011" and says in diagnostic.message


def test_a_zip_with_a_damaged_text(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as file:
        file.writestr("ptb.train.txt", "a b c " * 100)
    data = bytearray((tmp_path / "t.zip").read_bytes())
    data[100] ^= 0xFF
    (tmp_path / "t.zip").write_bytes(bytes(data))
    with pytest.raises(NasError) as error:
        load(tmp_path / "t.zip")
    assert error.value.diagnostics[0].code == "N1011"
