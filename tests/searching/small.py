"""A search that takes a fraction of a second with any strategy: a space of two edges, and forty tiny images."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch

from nasdsl import resources
from nasdsl.pipeline import load, loads
from nasdsl.searching import STRATEGIES, SearchSettings, settings_for
from nasdsl.searching.strategy import trains_supernet
from nasdsl.space.space import Space
from nasdsl.training.checkpoint import read_checkpoint
from nasdsl.training.tasks import Task, classification

SOURCE = """
space small() {
  input image: [1, 4, 4]
  op edge(x: [C, H, W]) = a: x -> conv(C, kernel = 1) -> batchnorm | b: x -> relu | c: x -> dropout(0.2)
  cell normal(x0: [C, H, W]) {
    x1 = edge(x0)
    return edge(x0) + edge(x1)
  }
  return image -> conv(4, kernel = 3) -> batchnorm -> normal -> global_avgpool -> linear(2)
}
"""

EDGES = """
space edges() {
  input image: [1, 4, 4]
  op edge(x: [C, H, W]) =
    | NONE
    | conv1: x -> relu -> conv(C, kernel = 1) -> batchnorm
    | conv3: x -> relu -> conv(C, kernel = 3) -> batchnorm
    | pool: x -> avgpool(3)
  cell normal(x0: [C, H, W]) {
    x1 = edge(x0)
    return edge(x0) + edge(x1)
  }
  return image -> conv(4, kernel = 3) -> batchnorm -> normal -> normal -> global_avgpool -> linear(2)
}
"""
"""Edges with batch norms behind convolutions; ``NONE`` stands for one candidate more."""

QUICK = {
    "enas": ("options.updates=2", "options.samples=2", "options.hidden=8", "options.candidates=3"),
    "fair": ("options.population=3", "options.generations=2", "options.crossovers=1", "options.mutations=1"),
    "one_shot": ("options.ghosts=2", "options.candidates=3", "options.rate=0.5"),
    "pc_darts": ("options.warmup=0",),
    "proxyless": ("options.every=2",),
    "random": ("options.candidates=4",),
    "spos": ("options.population=3", "options.generations=2", "options.crossovers=1", "options.mutations=1"),
}
"""Settings with which a strategy's search is short."""


@cache
def space() -> Space:
    return loads(SOURCE)


@cache
def shipped(name: str, **parameters: int) -> Space:
    """A space that ships."""
    return load(resources.spaces() / f"{name}.nas", **parameters)


@cache
def task(dtype: torch.dtype = torch.float32) -> Task:
    random = torch.Generator().manual_seed(0)
    targets = torch.arange(2).repeat(40)
    images = torch.randn(80, 1, 4, 4, generator=random) + targets[:, None, None, None]
    return classification("small", "two kinds of noise", images, targets).to(dtype=dtype)


def settings(strategy: str, *assignments: str, seed: int = 0) -> SearchSettings:
    if trains_supernet(STRATEGIES.find(strategy)):
        evaluator, few = "", ["search.epochs=2", "search.batch=8", "search.lr=0.05"]
    else:
        evaluator = "train" if strategy == "successive_halving" else "synflow"
        few = ["evaluations=12", "training.epochs=2", "training.batch=16"]
    given = [*few, *QUICK.get(strategy, ()), *assignments]
    return settings_for(strategy, evaluator=evaluator, assignments=given, seed=seed, device="cpu")


def events(folder: Path) -> list[dict[str, Any]]:
    """All but the time stamps."""
    found = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for event in found:
        event.pop("seconds")
    return found


def ending(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The last state: every weight, what optimisers and the strategy remember, the history."""
    tensors, state = read_checkpoint(max((folder / "checkpoint").glob("*.safetensors")))
    for size in ("events_size", "ended_at"):  # of a file that has time stamps
        state.pop(size, None)
    state.pop("run")  # what is compared may be made with other entries
    return tensors, state


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Bit for bit: the same events, the same winner, the same state at the end."""
    assert events(ours) == events(theirs)
    assert (ours / "genotype.json").read_text() == (theirs / "genotype.json").read_text()
    assert (ours / "report.md").read_text() == (theirs / "report.md").read_text()
    (tensors, state), (others, other) = ending(ours), ending(theirs)
    assert state == other
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)
