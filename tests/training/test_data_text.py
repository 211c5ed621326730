"""Text: words and bytes to successive segments, and the order in which streams go on."""

from __future__ import annotations

import math
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasdsl import resources
from nasdsl.diagnostics import NasError
from nasdsl.exporting.source import write_source
from nasdsl.pipeline import load as load_space
from nasdsl.pipeline import loads
from nasdsl.supernet import Supernet
from nasdsl.training.assess import assess
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.data.text import Streams, in_sequence, segments
from nasdsl.training.objectives import NOTHING, NextToken
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import generator, initialise, seeded
from nasdsl.training.split import Split
from nasdsl.training.train import evaluate, fit
from tests.exporting.cases import read
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
    # Seven of the nine places are used; the last two are filled up, and nothing is to be told there.
    assert words_of(task, task.test)[:7] == ["c", "c", "a", "<eos>", "b", "a", "a"]
    assert (task.test.first_targets.flatten() == NOTHING).nonzero().flatten().tolist() == [7, 8]
    assert words_of(task, task.validation) == ["a", "<unk>", "<eos>", "c", "a", "b"]
    targets = task.test.first_targets
    assert [task.labels[i] for i in targets.flatten().tolist()[:7]] == [
        "c",
        "a",
        "<eos>",
        "b",
        "a",
        "a",
        "<eos>",
    ]
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
    parts = (task.train, task.validation, task.test)
    assert [len(s) for s in parts] == [(929_589 - 1) // 35, 73_759 // 35 + 1, 82_429 // 35 + 1]
    # Of the texts that are measured on, every token but the first is told.
    told = [float(NextToken().counts(part.targets).sum()) for part in parts[1:]]
    assert told == [73_759, 82_429]


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


@pytest.mark.parametrize("kind", ["words", "bytes"])
def test_the_perplexity_is_that_of_every_token(tmp_path: Path, kind: str) -> None:
    """A network that tells each token by the one before it alone gives the same whatever the segments are."""
    random = np.random.default_rng(0)
    words = random.choice(list("abcdefgh"), 423).tolist()
    (tmp_path / "one.txt").write_text(" ".join(words))
    networks = {}
    for bptt, batch in ((7, 2), (10, 512), (84, 1)):
        task = load(tmp_path / "one.txt", kind=kind, bptt=bptt)
        space = loads(
            "space s(vocab = 9) { input t: int[T]\n return t -> embedding(vocab, 6) -> linear(vocab) }",
            vocab=task.sizes["vocab"],
        )
        network = space.network({})
        initialise(network, 3)
        found = evaluate(network, task.test, task.objective, batch=batch)
        judged = assess(network, task.test, task.objective, batch=batch)
        assert (judged.metric, judged.loss) == pytest.approx((found.metric, found.loss), abs=1e-6)
        assert found.metric == pytest.approx(-found.loss, abs=1e-6)
        networks[bptt] = found.metric
    text = task.test.inputs[0].flatten()[: int(NextToken().counts(task.test.targets).sum())]
    told = task.test.first_targets.flatten()[: len(text)].long()
    with torch.no_grad():
        likelihood = network(text[None])[0].log_softmax(1).gather(1, told[:, None]).mean()
    assert list(networks.values()) == pytest.approx([float(likelihood)] * 3, abs=1e-5)
    assert len(text) == {"words": 85, "bytes": 169}[kind] - 1


def test_a_tied_language_model_starts_near_uniform_and_learns(tmp_path: Path) -> None:
    """The embedding is the output layer too: drawn as large as torch draws it, the first loss is in the tens."""
    random = np.random.default_rng(0)
    words = [f"w{i}" for i in range(40)]
    steps = np.cumsum(random.choice([1, 2], 3000)) % 40  # one of two words comes next
    (tmp_path / "one.txt").write_text(" ".join(words[i] for i in steps))
    task = load(tmp_path / "one.txt", bptt=16)
    vocab = task.sizes["vocab"]
    space = load_space(resources.spaces() / "decoder_lm.nas", vocab=vocab, layers=2, head_dim=8)
    uniform = math.log(vocab)
    for seed in range(3):
        genotype = space.sample(seed)
        network = space.network(genotype)
        initialise(network, seed)
        alone = evaluate(network, task.test, task.objective).loss
        supernet = Supernet(space, seed=seed)
        shared = evaluate(lambda x, s=supernet, g=genotype: s(x, genotype=g), task.test, task.objective).loss
        source = write_source(network.architecture, space.catalogue)
        with seeded(seed, "fresh"):
            exported = read(source).DecoderLm()
        fresh = evaluate(exported, task.test, task.objective).loss
        assert uniform - 0.2 < fresh < uniform + 0.8
        assert uniform - 0.2 < alone < uniform + 0.8 and uniform - 0.2 < shared < uniform + 0.8
    recipe = Recipe(optimizer="adam", lr=0.003, epochs=6, batch=16)
    fit(network, task, recipe, seed=0)
    assert evaluate(network, task.test, task.objective).loss < uniform - 1
