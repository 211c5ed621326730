"""Folders of trained networks: what ``nasdsl train`` writes and ``nasdsl export`` reads.

======================= ========================================================================
``network.json``        what it is: space, parameters, genotype, task, recipe, seed, its scores
``weights.safetensors`` its weights, by the names of its plain torch module
``genotype.json``       its genotype alone, for ``-g``
``recipe.toml``         how it was trained, for ``-c``
``epochs.jsonl``        loss, metric, learning rate and seconds of each epoch
``space/``              the space's source and what it imports
======================= ========================================================================

A run's folder (:mod:`nasdsl.searching.run`) has the folder of its trained winner in ``network/``, and where several
candidates were trained, theirs in ``candidates/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasdsl.cli.spaces import read_space
from nasdsl.diagnostics import failure
from nasdsl.diagnostics.quantities import counted
from nasdsl.space.size import Rational, plain, whole

if TYPE_CHECKING:
    from nasdsl.exporting.network import Network
    from nasdsl.language.builder import Limits
    from nasdsl.pipeline import SearchSpace, Trained
    from nasdsl.training.data.settings import DataSettings
    from nasdsl.training.recipe import Recipe

NETWORK = "network.json"
WEIGHTS = "weights.safetensors"
FILES = (NETWORK, WEIGHTS, "genotype.json", "recipe.toml", "epochs.jsonl")
"""All but the space's source."""


@dataclass(frozen=True)
class SpaceReference:
    """A space by its file, so that another process can read it. ``name`` is which one, where the file has several."""

    file: Path
    name: str | None
    parameters: Mapping[str, Rational]
    limits: Limits

    def with_parameters(self, changed: Mapping[str, Rational]) -> SpaceReference:
        return replace(self, parameters={**self.parameters, **changed})

    def load(self) -> SearchSpace:

        return read_space(self.file, self.parameters, self.name, self.limits)


def read_genotype(given: str) -> Mapping[str, Any]:
    """A genotype as JSON, or the file that holds it. Raises NasError N988 where it is neither."""
    text, place = given.strip(), "the genotype"
    if not text.startswith("{"):
        from nasdsl.language.modules import read_source

        text, place = read_source(Path(given)).text.strip(), f"`{given}`"
    try:
        entries = json.loads(text)
    except ValueError as fault:
        several = text.count("\n") and all(line.startswith("{") for line in text.splitlines())
        help = "it holds several: take one line" if several else "`nasdsl sample` prints genotypes"
        raise failure("N988", f"{place} is not JSON: {fault}", help) from None
    if not isinstance(entries, dict) or not all(
        isinstance(taken, str) or (isinstance(taken, list) and all(isinstance(label, str) for label in taken))
        for taken in entries.values()
    ):
        raise failure(
            "N988",
            f"{place} is JSON, but no genotype",
            'a genotype is an object of choices and labels: {"width": "32", "edges": ["0", "2"]}',
        )
    return entries


def write_network(
    folder: Path,
    space: SearchSpace,
    trained: Trained,
    *,
    task: str,
    data: DataSettings,
    seed: int,
    recipe: Recipe,
    part: str = "test",
    job: str = "",
) -> None:
    """Writes a trained network, the weights first and what names them last. ``part`` says on which part it was scored:
    ``test``, or ``validation`` where it is one of several that are compared. ``job`` is the digest of what was asked for.
    """
    from safetensors.torch import save

    from nasdsl.searching.run import source_files, versions
    from nasdsl.training.checkpoint import write_durably, write_json
    from nasdsl.training.config import write_toml

    network = trained.network
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    device = next(iter(network.parameters())).device
    entries = {
        "space": space.name,
        "parameters": plain(space.parameters),
        "genotype": dict(network.genotype),
        "task": task,
        "data": data.model_dump(),
        "seed": seed,
        part: {"metric": trained.test.metric, "loss": trained.test.loss, "examples": trained.test.examples},
        "recipe": recipe.model_dump(),
        "versions": versions(device),
        "job": job,
    }
    for name, text in source_files(space).items():
        write_durably(folder / "space" / name, text.encode())
    write_durably(folder / WEIGHTS, save(tensors))
    write_json(folder / "genotype.json", entries["genotype"])
    write_durably(folder / "recipe.toml", write_toml(recipe, explained=True).encode())
    curve = "".join(json.dumps(asdict(epoch)) + "\n" for epoch in trained.epochs)
    write_durably(folder / "epochs.jsonl", curve.encode())
    write_json(folder / NETWORK, entries)


def add_test(folder: Path, metric: float, loss: float, examples: int) -> None:
    """Adds what a stored network scored on the test part."""
    from nasdsl.training.checkpoint import write_json

    entries = (about(folder) or {}) | {"test": {"metric": metric, "loss": loss, "examples": examples}}
    write_json(folder / NETWORK, entries)


def summary(folder: Path) -> str:
    """What a stored network is and scored, in a few words: ``tiny, 10 epochs, seed 0, held-out metric 0.9861``."""
    known = about(folder) or {}
    part = "held-out" if "test" in known else "validation"
    score = known.get("test") or known.get("validation") or {"metric": float("nan")}
    epochs = known.get("recipe", {}).get("epochs", "?")
    return f"{known.get('space')}, {counted(epochs, 'epoch')}, seed {known.get('seed')}, {part} metric {score['metric']:.4f}"


def about(folder: Path) -> dict[str, Any] | None:
    """What ``network.json`` says, or None where there is none that can be read."""
    try:
        entries = json.loads((folder / NETWORK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return entries if isinstance(entries, dict) else None


@dataclass(frozen=True)
class StoredNetwork:
    """A trained network, read back."""

    network: Network
    space: SearchSpace
    task: str
    data: DataSettings
    metric: float | None
    """On the test part; None where it was not scored there."""


def read_network(folder: Path, limits: Limits) -> StoredNetwork:
    """The network of a folder, or of a run's winner. Raises NasError N937 or N938 where there is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from nasdsl.training.data.settings import DataSettings

    if not (folder / NETWORK).is_file() and (folder / "network" / NETWORK).is_file():
        folder = folder / "network"
    if not (folder / NETWORK).is_file():
        run = (folder / "config.toml").is_file()
        help = f"`nasdsl train {folder}` trains the winner first" if run else "`nasdsl train` makes one"
        raise failure("N937", f"`{folder}` has no trained network", help)
    try:
        entries = json.loads((folder / NETWORK).read_text(encoding="utf-8"))
        space = reference(folder, entries["space"], entries["parameters"], limits).load()
        network = space.network(entries["genotype"])
        network.load_state_dict(load_file(folder / WEIGHTS))
        metric = entries["test"]["metric"] if "test" in entries else None
        data = DataSettings.model_validate(entries.get("data", {}))
        return StoredNetwork(network.eval(), space, entries["task"], data, metric)
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError) as fault:
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
        raise failure("N938", f"the network in `{folder}` is damaged: {reason}", "train it again") from None


def reference(folder: Path, name: str, parameters: Mapping[str, object], limits: Limits) -> SpaceReference:
    """The space that a folder keeps a copy of. Raises NasError N937 where there is none."""
    from nasdsl import pipeline

    values: dict[str, Rational] = {k: whole(Fraction(str(v))) for k, v in parameters.items()}
    for path in sorted((folder / "space").glob("*.nas")):
        if any(space.name == name for space in pipeline.read(path, limits).spaces):
            return SpaceReference(path, name, values, limits)
    raise failure("N937", f"`{folder}` has no copy of the space `{name}`")
