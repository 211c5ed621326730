"""Folders of trained networks: what ``nasdsl train`` writes and ``nasdsl export`` reads.

======================= ========================================================================
``network.json``        what it is: space, parameters, genotype, task, recipe, seed, its score
``weights.safetensors`` its weights, by the names of its plain torch module
``space/``              the space's source and what it imports
======================= ========================================================================

A run's folder (:mod:`nasdsl.searching.run`) has the folder of its trained winner in ``network/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import failure
from nasdsl.space.choice import Genotype
from nasdsl.space.size import Rational, whole

if TYPE_CHECKING:
    from nasdsl.exporting.network import Network
    from nasdsl.language.builder import Limits
    from nasdsl.pipeline import SearchSpace, Trained
    from nasdsl.searching import SearchSettings
    from nasdsl.training.recipe import Recipe

NETWORK = "network.json"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Winner:
    """What a run came to: the space that was searched, how, and the genotype that won."""

    space: SearchSpace
    settings: SearchSettings
    genotype: Genotype


def read_winner(run: Path, limits: Limits) -> Winner:
    """The winner of a run's folder. Raises NasError N937 where there is none (yet)."""
    from nasdsl.searching import STRATEGIES
    from nasdsl.searching.settings import settings_type
    from nasdsl.training.config import validated

    config, genotype = run / "config.toml", run / "genotype.json"
    if not config.is_file():
        raise failure(
            "N937", f"`{run}` is no run's folder: it has no config.toml", "`nasdsl search` makes one"
        )
    if not genotype.is_file():
        raise failure(
            "N937",
            f"the search in `{run}` has no winner yet",
            "give the command that began it again: it goes on",
        )
    entries = _toml(config)
    settings = validated(settings_type(STRATEGIES.find(str(entries.get("strategy")))), entries)
    space = _load(run, settings.space, settings.parameters, limits)
    return Winner(space, settings, space.genotype(read_genotype(str(genotype))))


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
    folder: Path, space: SearchSpace, trained: Trained, *, task: str, seed: int, recipe: Recipe
) -> None:
    """Writes a trained network, the weights first and what names them last."""
    from safetensors.torch import save

    from nasdsl.searching.run import source_files, versions
    from nasdsl.training.checkpoint import write_whole

    network = trained.network
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    device = next(iter(network.parameters())).device
    about = {
        "space": space.name,
        "parameters": {k: v if isinstance(v, int) else str(v) for k, v in space.parameters.items()},
        "genotype": dict(network.genotype),
        "task": task,
        "seed": seed,
        "test": {"metric": trained.test.metric, "loss": trained.test.loss, "examples": trained.test.examples},
        "recipe": recipe.model_dump(),
        "versions": versions(device),
    }
    for name, text in source_files(space).items():
        write_whole(folder / "space" / name, text.encode())
    write_whole(folder / WEIGHTS, save(tensors))
    write_whole(folder / NETWORK, (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode())


@dataclass(frozen=True)
class StoredNetwork:
    """A trained network, read back."""

    network: Network
    space: SearchSpace
    task: str
    metric: float


def read_network(folder: Path, limits: Limits) -> StoredNetwork:
    """The network of a folder, or of a run's winner. Raises NasError N937 or N938 where there is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (folder / NETWORK).is_file() and (folder / "network" / NETWORK).is_file():
        folder = folder / "network"
    if not (folder / NETWORK).is_file():
        run = (folder / "config.toml").is_file()
        help = f"`nasdsl train {folder}` trains the winner first" if run else "`nasdsl train` makes one"
        raise failure("N937", f"`{folder}` has no trained network", help)
    try:
        about = json.loads((folder / NETWORK).read_text(encoding="utf-8"))
        space = _load(folder, about["space"], about["parameters"], limits)
        network = space.network(about["genotype"])
        network.load_state_dict(load_file(folder / WEIGHTS))
        return StoredNetwork(network.eval(), space, about["task"], about["test"]["metric"])
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError) as fault:
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
        raise failure("N938", f"the network in `{folder}` is damaged: {reason}", "train it again") from None


def _load(folder: Path, name: str, parameters: Mapping[str, object], limits: Limits) -> SearchSpace:
    """The space that a folder keeps a copy of."""
    from nasdsl import pipeline

    values: dict[str, Rational] = {k: whole(Fraction(str(v))) for k, v in parameters.items()}
    for path in sorted((folder / "space").glob("*.nas")):
        module = pipeline.read(path, limits)
        if any(space.name == name for space in module.spaces):
            return pipeline.elaborate(module, values, space=name, limits=limits)
    raise failure("N937", f"`{folder}` has no copy of the space `{name}`")


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise failure("N938", f"`{path}` is damaged: {fault}") from None
