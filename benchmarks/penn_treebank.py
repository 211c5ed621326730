"""A language model searched for on a part of Penn Treebank, beside a plain LSTM.

The first 39 970 words (1 142 segments) of each part of the text, the 2 000 most frequent ones by name, so that
perplexities can't be compared with published ones. `darts_rnn` with 8 nodes and 64 features is searched with GDAS; its
winner, and a plain LSTM with about as many parameters, are trained from scratch with the same recipe, from two seeds. The
network of the space is run through the command line.

    python -m benchmarks.penn_treebank ptb.zip     # prints, and writes results/penn_treebank.txt; about 5 minutes
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks._timing import machine
from nasdsl.operations.recurrent import Dropouts, Scanned, Scanning, States
from nasdsl.training.data.build import task_for
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import seeded
from nasdsl.training.train import evaluate, fit

SEEDS = (0, 1)
DATA = {"tokens": 39_970, "vocabulary": 2_000}
SPACE = {"hidden": 64, "embed": 64, "nodes": 8, "vocab": DATA["vocabulary"]}
TRAINING = {
    "batch": 20, "optimizer": "sgd", "lr": 20.0, "schedule": "cosine", "lr_end": 1.0, "momentum": 0.0, "nesterov": False,
    "weight_decay": 8e-7, "clip": 0.25, "dropout_embedding": 0.1, "dropout_input": 0.2, "dropout_hidden": 0.1,
    "dropout_output": 0.2, "slowness": 1e-3,
}  # fmt: skip
"""DARTS' recipe of Penn Treebank with smaller dropouts, for smaller networks, and a schedule for few epochs."""
SEARCH = {**TRAINING, "epochs": 6}
FINAL = {**TRAINING, "epochs": 15, "asgd": 3}


class PlainLSTM(nn.Module):
    """Embedding, one LSTM layer (Hochreiter & Schmidhuber, 1997), and the embedding again as output layer, with the
    dropouts and the carried state of a network of a space."""

    has_scans = True

    def __init__(self, vocabulary: int, features: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, features)
        self.of_input = nn.Linear(features, 4 * features)
        self.of_state = nn.Linear(features, 4 * features, bias=False)
        nn.init.uniform_(self.words.weight, -0.1, 0.1)

    def forward(
        self, tokens: Tensor, states: States, dropouts: Dropouts | None = None
    ) -> tuple[Tensor, Scanned]:
        """[N, T] to [N, T, V]."""
        scanning = Scanning(states, dropouts or Dropouts())
        x = scanning.read(scanning.embedded(tokens, self.words(tokens), self.words.num_embeddings))
        h, c = scanning.start(0, [x.new_zeros(x.shape[0], x.shape[2])] * 2)
        outputs = []
        for of_input in self.of_input(x).unbind(1):
            gates = of_input + self.of_state(scanning.hidden(0, h))
            read, forget, value, write = gates.chunk(4, 1)
            c = forget.sigmoid() * c + read.sigmoid() * value.tanh()
            h = write.sigmoid() * c.tanh()
            outputs.append(h)
        output = scanning.end(0, [h, c], torch.stack(outputs, 1), is_last=True)
        return F.linear(output, self.words.weight), scanning.scanned


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def plain(count: int) -> int:
    """The features with which the LSTM has as nearly as can be ``count`` parameters."""
    return min(range(8, 300), key=lambda d: abs(size(PlainLSTM(DATA["vocabulary"], d)) - count))


def run(*words: str) -> str:
    """Runs nasdsl, and gives what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "nasdsl", *words], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"nasdsl {' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def said(table: str, entries: Mapping[str, object]) -> list[str]:
    """Entries of a table of the configuration as options of the command line."""
    return [word for key, value in entries.items() for word in ("-c", f"{table}{key}={json.dumps(value)}")]


def searched(data: Path, folder: Path) -> list[tuple[float, float]]:
    """Searches, trains the winner from each seed; validation and test loss of each."""
    sizes = [word for name, value in SPACE.items() for word in ("--set", f"{name}={value}")]
    run("search", "darts_rnn", "--data", str(data), "--strategy", "gdas", *sizes, *said("data.", DATA),
        *said("search.", SEARCH), "-c", "options.lr=0.003", "-o", str(folder))  # fmt: skip
    found = []
    for seed in SEEDS:
        network = folder.parent / f"seed-{seed}"
        run("train", str(folder), "--seed", str(seed), *said("", FINAL), "-o", str(network))
        last = json.loads((network / "epochs.jsonl").read_text().splitlines()[-1])
        test = json.loads(run("evaluate", str(network), "--json"))
        found.append((last["validation"], test["loss"]))
    return found


def compared(data: Path, features: int) -> list[tuple[float, float]]:
    """The same of the LSTM."""
    task = task_for("", DataSettings(path=str(data), **DATA))
    found = []
    for seed in SEEDS:
        with seeded(seed, "weights"):
            model = PlainLSTM(DATA["vocabulary"], features)
        last = fit(model, task, Recipe(**FINAL), seed=seed)[-1]
        assert last.validation is not None
        found.append((last.validation, evaluate(model, task.test, task.objective).loss))
    return found


def row(name: str, parameters: int, found: Sequence[tuple[float, float]], seconds: float) -> str:
    validation, test = zip(*found, strict=True)
    told = "".join(f"{math.exp(loss):>9.1f}" for loss in (*validation, *test))
    return f"{name:<34}{parameters:>9}{told}{seconds:>9.0f}"


def cpu() -> float:
    """Of this process and those that it ran."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main(data: Path) -> None:
    torch.set_num_threads(1)
    began = cpu()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "run"
        ours = searched(data, folder)
        between = cpu()
        genotype = (folder / "genotype.json").read_text().strip()
        count = sum(x.numel() for x in load_file(folder.parent / "seed-0" / "weights.safetensors").values())
    features = plain(count)
    theirs = compared(data, features)
    heads = "".join(f"{part + ' ' + str(seed):>9}" for part in ("valid.", "test") for seed in SEEDS)
    lines = [
        *machine(),
        "",
        f"Penn Treebank, the first {DATA['tokens']} words of each part, vocabulary {DATA['vocabulary']}; state carried, 35 words a segment",
        f"search: darts_rnn {SPACE}, GDAS, {SEARCH['epochs']} epochs; training: {FINAL['epochs']} epochs of one recipe",
        "perplexities by seed; seconds of CPU, of the searched network with its search",
        "",
        f"{'':<34}{'params':>9}{heads}{'CPU s':>9}",
        row("darts_rnn, winner of GDAS", count, ours, between - began),
        row(
            f"plain LSTM, {features} features",
            size(PlainLSTM(DATA["vocabulary"], features)),
            theirs,
            cpu() - between,
        ),
        "",
        f"recipe: {FINAL}",
        f"winner: {' '.join(genotype.split())}",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (Path(__file__).parent / "results" / "penn_treebank.txt").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
