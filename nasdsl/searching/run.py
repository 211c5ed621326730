"""The folder of a run, made for people to look into.

================== ============================================================================
``config.toml``    the configuration as used, each entry explained
``space/``         the space's source and what it imports; the table of latencies, where there is one
``versions.json``  versions, threads, device, number of processes and seed
``events.jsonl``   what happened, one JSON object a line (see :mod:`nasdsl.searching.events`)
``checkpoint/``    the state to resume from: safetensors, named by step, the last two
``genotype.json``  the winner
``report.md``      what came out, on a page
================== ============================================================================
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import IO, Any

import torch
from torch import Tensor

from nasdsl import resources
from nasdsl.diagnostics import Diagnostic, NasError, Severity, failure
from nasdsl.searching.belonging import belonging, check_belonging, entries_of
from nasdsl.searching.kept_space import is_kept
from nasdsl.searching.settings import CHANGEABLE, GROWING, SearchSettings, grows
from nasdsl.space.space import Space
from nasdsl.training.checkpoint import read_checkpoint, read_json, write_checkpoint, write_durably, write_json
from nasdsl.training.config import write_toml

FORMAT = 2


class Run:
    """An open run folder. One process at a time may hold it."""

    def __init__(
        self, folder: Path, lock: IO[str], belonging: Mapping[str, str], warn: Callable[[Diagnostic], None]
    ) -> None:
        self.folder = folder
        self._belonging = belonging
        self._lock = lock
        self._warn = warn
        self._events: IO[bytes] | None = None

    @staticmethod
    def open(
        folder: Path,
        settings: SearchSettings,
        space: Space,
        *,
        device: torch.device,
        ranks: int = 1,
        warn: Callable[[Diagnostic], None] = lambda diagnostic: None,
    ) -> Run:
        """Makes the folder, or takes up an existing one.

        Raises NasError: N930 where the folder holds a run of another configuration or space, N931 where another
        process works in it, N932 where it holds something else, N938 where its files are damaged.
        """
        folder.mkdir(parents=True, exist_ok=True)
        config, sources = write_toml(settings, explained=True), source_files(space)
        if not (folder / "config.toml").exists():
            strange = [
                p.name for p in folder.iterdir() if p.name not in (".lock", "space", ".config.toml.part")
            ]
            if strange:
                raise failure(
                    "N932", f"`{folder}` is no run folder: it holds `{strange[0]}`", "name another folder"
                )
        lock = open(folder / ".lock", "a")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise failure(
                "N931", f"another process is working on the run in `{folder}`", "name another folder"
            ) from None
        run = Run(folder, lock, belonging(settings, space), warn)
        try:
            if (folder / "config.toml").exists():
                run._compare(config, grown=bool(settings.evaluator))
                run._compare_space(sources, space, settings)
            else:
                run._begin(config, sources)
            run._versions(versions(device) | {"ranks": ranks, "seed": settings.seed})
        except BaseException:
            run.close()
            raise
        return run

    def _begin(self, config: str, sources: Mapping[str, str]) -> None:
        shutil.rmtree(self.folder / "space", ignore_errors=True)
        for name, text in sources.items():
            write_durably(self.folder / "space" / name, text.encode())
        # Last, for it says that the folder is a run's.
        write_durably(self.folder / "config.toml", config.encode())

    def _compare(self, config: str, grown: bool) -> None:
        """``grown`` says that more may be asked for than before."""
        there = self._config()
        if there != config:
            old, new = entries_of(there), entries_of(config)
            differ = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
            grew = {
                key
                for key in GROWING & old.keys()
                if grown and old[key].isdigit() and grows(key, int(old[key]), int(new[key]))
            }
            fixed = [key for key in differ if key not in CHANGEABLE | grew]
            if not fixed:
                write_durably(self.folder / "config.toml", config.encode())
                return
            first = fixed[0]
            words = f"`{first}` was {old.get(first, 'not set')}, and is {new.get(first, 'not set')} now"
            more = f" ({len(differ) - 1} more differ)" if len(differ) > 1 else ""
            raise failure(
                "N930",
                f"`{self.folder}` holds a run of another configuration: {words}{more}",
                f"{'it may be more; else ' if grown and first in GROWING else ''}name another folder, or remove that one",
            )

    def _compare_space(self, sources: Mapping[str, str], space: Space, settings: SearchSettings) -> None:
        """Texts that say the same otherwise, with other comments for example, are of the same space."""
        there = self.folder / "space"
        changed = [name for name, text in sources.items() if _text_of(there / name) != text]
        texts = [name for name in changed if name.endswith(".nas")]
        if len(texts) < len(changed) or (texts and not is_kept(there, space, settings)):
            name = next((name for name in changed if name not in texts), changed[0])
            raise failure(
                "N930",
                f"`{self.folder}` holds a run of another space: `{name}` has changed",
                f"name another folder, or remove that one; `nasdsl diff` compares with the text in {there}",
            )

    def _config(self) -> str:
        """The configuration that the folder has. Raises NasError N938 where it is no TOML any more."""
        path = self.folder / "config.toml"
        try:
            text = path.read_text(encoding="utf-8")
            tomllib.loads(text)
        except ValueError as error:
            raise failure(
                "N938", f"`{path}` is damaged: {error}", "put back what was there, or name another folder"
            ) from None
        return text

    def _versions(self, now: Mapping[str, Any]) -> None:
        path = self.folder / "versions.json"
        if path.exists():
            before = read_json(path)
            for key, value in now.items():
                if before.get(key) != value:
                    message = f"`{key}` was {before.get(key)} when the run began and is {value} now: results may differ"
                    self._warn(Diagnostic("N933", message, severity=Severity.WARNING))
        else:
            write_json(path, now)

    # --- events ----------------------------------------------------------------------------------

    def event(self, event: Mapping[str, Any]) -> None:
        """Adds a line to ``events.jsonl``. Raises NasError N936 where it can't be written."""
        if self._events is None:
            self._events = open(self.folder / "events.jsonl", "ab")  # noqa: SIM115
        try:
            self._events.write((json.dumps(event, ensure_ascii=False) + "\n").encode())
            self._events.flush()
        except OSError as error:
            raise failure("N936", f"can't write `{self.folder / 'events.jsonl'}`: {error.strerror}") from None

    def events_size(self) -> int:
        path = self.folder / "events.jsonl"
        return path.stat().st_size if path.exists() else 0

    # --- checkpoints -----------------------------------------------------------------------------

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Writes the state after a step, and drops all but the last two."""
        if self._events is not None:
            os.fsync(self._events.fileno())
        path = self.folder / "checkpoint" / f"{step:08}.safetensors"
        write_checkpoint(
            path, tensors, {**state, "run": dict(self._belonging), "events_size": self.events_size()}
        )
        for old in self._checkpoints()[:-2]:
            old.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The latest state that is whole, or None; events after it are forgotten, for they will come again.

        A damaged checkpoint is passed over with a warning (N934) that says which one is used. Raises NasError N935
        where there are some and none is whole, N939 where one is another run's.
        """
        found = self._checkpoints()
        damage: list[Diagnostic] = []
        for path in reversed(found):
            try:
                tensors, state = read_checkpoint(path)
            except NasError as error:
                damage += error.diagnostics
                continue
            for diagnostic in damage:
                message = f"{diagnostic.message}; going on from `{path.name}`"
                self._warn(Diagnostic("N934", message, severity=Severity.WARNING))
            check_belonging(path, state, self._belonging)
            self.forget_events(state["events_size"])
            return tensors, state
        if damage:
            raise NasError(*damage)
        self.forget_events(0)
        return None

    def _checkpoints(self) -> list[Path]:
        return sorted((self.folder / "checkpoint").glob("*.safetensors"))

    def forget_events(self, size: int) -> None:
        """Drops the events after the first ``size`` bytes."""
        path = self.folder / "events.jsonl"
        if path.exists() and path.stat().st_size > size:
            with open(path, "r+b") as file:
                file.truncate(size)

    # --- results ---------------------------------------------------------------------------------

    def write(self, name: str, text: str) -> None:
        """A file of the folder, whole or not at all."""
        write_durably(self.folder / name, text.encode())

    def close(self) -> None:
        """Gives the folder free for other processes."""
        if self._events is not None:
            with suppress(OSError):  # what a full disk didn't take was said when it was written
                self._events.close()
            self._events = None
        self._lock.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def _text_of(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def source_files(space: Space) -> dict[str, str]:
    """The space's sources by the names that imports know them by, so that the copy compiles by itself."""
    paths = list(space.sources)
    if not paths:
        return {}
    root = PurePath(paths[0])
    bases = [root.parent, PurePath(resources.spaces())]
    names: dict[str, str] = {}
    for path in paths:
        name = PurePath(path).name if path == paths[0] else _relative(PurePath(path), bases)
        names[name] = space.sources[path]
    if space.clock is not None:
        names["latency.json"] = space.clock.table.as_text()
    return names


def _relative(path: PurePath, bases: list[PurePath]) -> str:
    for base in bases:
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return path.name if path.is_absolute() or ".." in path.parts else str(path)


def versions(device: torch.device) -> dict[str, Any]:
    """What could make a difference between two runs."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "format": FORMAT,
        "nasdsl": _version("nasdsl"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": _version("numpy"),
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
