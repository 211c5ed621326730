"""What a run's folder says, read without torch: configuration, events, versions, winner, and whether it goes on."""

from __future__ import annotations

import fcntl
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nasdsl.diagnostics import NasError, failure

State = Literal["running", "finished", "stopped", "new", "unreadable"]
"""``running``: a process holds it. ``stopped``: the same command goes on. ``new``: nothing has happened yet.
``unreadable``: its files are damaged, so that nothing else is known of it."""


@dataclass(frozen=True, eq=False)
class RunLog:
    """A run as it is now. ``trained`` is what training the winner came to, None where that wasn't done."""

    folder: Path
    config: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    versions: Mapping[str, Any]
    state: State
    changed: float
    trained: Mapping[str, Any] | None

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        """The events of a kind, in order."""
        return [event for event in self.events if event["event"] == kind]

    @property
    def start(self) -> Mapping[str, Any] | None:
        return next(iter(self.of("start")), None)

    @property
    def end(self) -> Mapping[str, Any] | None:
        return next(iter(self.of("end")), None)

    @property
    def epochs(self) -> tuple[int, int]:
        """Those that are done, and all."""
        done = self.of("epoch")
        wanted = self.config.get("search", {}).get("epochs", 0)
        return (done[-1]["epoch"] if done else 0), (self.start or {}).get("epochs", wanted)

    @property
    def best(self) -> float | None:
        """The best metric that was scored so far."""
        metrics = [event["metric"] for event in self.of("trial") if event["metric"] is not None]
        return max(metrics, default=None)


def read_run(folder: Path) -> RunLog:
    """The run in a folder. Raises NasError N937 where there is none, N1050 where its files can't be read."""
    config = folder / "config.toml"
    if not config.is_file():
        raise failure(
            "N937", f"`{folder}` is no run's folder: it has no config.toml", "`nasdsl search` makes one"
        )
    try:
        settings = tomllib.loads(config.read_text(encoding="utf-8"))
        events = tuple(_events(folder / "events.jsonl"))
        versions = _json(folder / "versions.json") or {}
        trained = _json(folder / "network" / "network.json")
    except (OSError, ValueError) as error:
        raise failure("N1050", f"the run in `{folder}` can't be read: {error}") from None
    return RunLog(folder, settings, events, versions, _state(folder, events), _changed(folder), trained)


def runs_in(folder: Path) -> list[RunLog]:
    """The runs in a folder and the folders of it, the one that changed last first; those that can't be read as such."""
    places = [
        folder,
        *sorted(p for p in folder.rglob("*") if p.is_dir() and len(p.relative_to(folder).parts) <= 3),
    ]
    found = [_readable(place) for place in places if (place / "config.toml").is_file()]
    return sorted(found, key=lambda run: -run.changed)


def _readable(folder: Path) -> RunLog:
    try:
        return read_run(folder)
    except NasError:
        return RunLog(folder, {}, (), {}, "unreadable", _changed(folder), None)


def _changed(folder: Path) -> float:
    files = (folder / "config.toml", folder / "events.jsonl")
    return max(file.stat().st_mtime for file in files if file.exists())


def _events(path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            return  # a line that is being written
        if isinstance(event, dict) and "event" in event:
            yield event


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else None


def _state(folder: Path, events: tuple[Mapping[str, Any], ...]) -> State:
    if any(event["event"] == "end" for event in events):
        return "finished"
    if _is_held(folder / ".lock"):
        return "running"
    return "stopped" if events else "new"


def _is_held(lock: Path) -> bool:
    """Whether a process works on the run. Looking doesn't take the lock from anybody."""
    if not lock.exists():
        return False
    try:
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_UN)
    except OSError:
        return True
    return False
