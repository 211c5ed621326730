"""What a run came to: its space, its settings, its winner, and everything else that it scored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasdsl.cli.networks import SpaceReference, read_genotype, reference
from nasdsl.diagnostics import failure

if TYPE_CHECKING:
    from nasdsl.language.builder import Limits
    from nasdsl.searching import SearchSettings


@dataclass(frozen=True)
class Searched:
    """What a run searches, and how."""

    space: SpaceReference
    settings: SearchSettings


@dataclass(frozen=True)
class Finished(Searched):
    """What a run came to: the space that was searched, how, and the genotype that won."""

    genotype: Mapping[str, Any]


def read_settings(run: Path) -> SearchSettings:
    """What a run was made with. Raises NasError N937 where the folder is no run's."""
    from nasdsl.searching.settings import settings_type
    from nasdsl.training.config import validated

    config = run / "config.toml"
    if not config.is_file():
        raise failure(
            "N937", f"`{run}` is no run's folder: it has no config.toml", "`nasdsl search` makes one"
        )
    entries = _toml(config)
    return validated(
        settings_type(str(entries.get("strategy")), str(entries.get("evaluator") or "")), entries
    )


def read_search(run: Path, limits: Limits) -> Searched:
    """What a run's folder says of its search, which may go on. Raises NasError N937 where it is none."""
    settings = read_settings(run)
    return Searched(reference(run, settings.space, settings.parameters, limits), settings)


def read_winner(run: Path) -> Mapping[str, Any]:
    """The genotype that won. Raises NasError N937 where there is none yet."""
    if not (run / "genotype.json").is_file():
        raise failure(
            "N937",
            f"the search in `{run}` has no winner yet",
            "give the command that began it again: it goes on",
        )
    return read_genotype(str(run / "genotype.json"))


def read_run(run: Path, limits: Limits) -> Finished:
    """What a run's folder holds. Raises NasError N937 where it is none, or has no winner yet."""
    settings, winner = read_settings(run), read_winner(run)
    return Finished(reference(run, settings.space, settings.parameters, limits), settings, winner)


def read_ranked(run: Path) -> list[Mapping[str, Any]]:
    """The genotypes that a run scored, each once, the best in front; those that it names as finalists before all."""
    finalists, events = run / "finalists.json", run / "events.jsonl"
    found: list[Mapping[str, Any]] = []
    if finalists.is_file():
        entries = _json(finalists)
        found += [entry.get("genotype", entry) for entry in entries if isinstance(entry, dict)]
    scored = []
    if events.is_file():
        lines = events.read_text(encoding="utf-8").splitlines()
        scored = [event for event in map(_event, lines) if event.get("event") == "trial"]
    scored.sort(key=lambda event: (-_number(event["metric"]), _number(event["loss"])))
    found += [event["genotype"] for event in scored]
    unique = {json.dumps(genotype, sort_keys=True): genotype for genotype in reversed(found)}
    return list(reversed(unique.values()))


def _event(line: str) -> dict[str, Any]:
    # The last line may be cut off where the run was killed.
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _number(value: Any) -> float:
    """What is no number is worse than any."""
    return float(value) if isinstance(value, int | float) and value == value else float("-inf")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise failure("N938", f"`{path}` is damaged: {fault}") from None


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise failure("N938", f"`{path}` is damaged: {fault}") from None
