"""Which run a checkpoint is of: the entries of its configuration, and what is chosen in its space.

A run's folder says the same in files that people read; a checkpoint says it too, since files are moved between folders.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasdsl.diagnostics import failure
from nasdsl.searching.settings import CHANGEABLE, GROWING, SearchSettings
from nasdsl.space.space import Space
from nasdsl.training.config import write_toml


def belonging(settings: SearchSettings, space: Space) -> dict[str, str]:
    """What a run is known by: every entry that it can't go on without, and a digest of the choices of its space."""
    entries = entries_of(write_toml(settings))
    choices = json.dumps({choice.name: list(choice.labels) for choice in space.choices})
    digest = hashlib.blake2b(choices.encode(), digest_size=8).hexdigest()
    free = CHANGEABLE | GROWING
    return {key: value for key, value in entries.items() if key not in free} | {"choices": digest}


def check_belonging(path: Path, state: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    """Raises NasError N939 where the state of a checkpoint is that of a run with another :func:`belonging`."""
    kept: Mapping[str, str] = state.get("run", {})
    for key in dict.fromkeys([*wanted, *kept]):
        old, new = kept.get(key, "not set"), wanted.get(key, "not set")
        if old != new:
            words = (
                "its space has other choices"
                if key == "choices"
                else f"`{key}` is {old} there, and {new} here"
            )
            raise failure(
                "N939",
                f"checkpoint `{path}` belongs to another run: {words}",
                "remove it, or put back the one that was there: the run goes on from that, or else anew",
            )


def entries_of(text: str) -> dict[str, str]:
    """The entries of a TOML text that we wrote, as ``table.key``."""
    found: dict[str, str] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif line and not line.startswith("#"):
            key, _, value = line.partition(" = ")
            found[table + key] = value
    return found
