"""Where a search writes what it does: a run's folder, or nowhere."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

Kept = tuple[dict[str, Tensor], dict[str, Any]]
"""A state: tensors, and what JSON can hold."""


class Journal(Protocol):
    """Keeps events, states and files. :class:`~nasdsl.searching.run.Run` is the one that lasts."""

    @property
    def folder(self) -> Path | None: ...

    def event(self, event: Mapping[str, Any]) -> None: ...

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None: ...

    def load(self) -> Kept | None:
        """The state that was kept last; events after it are forgotten, for they come again."""
        ...

    def events_size(self) -> int:
        """Bytes of the events so far, by which :meth:`forget_events` drops those that came after."""
        ...

    def forget_events(self, size: int) -> None: ...

    def write(self, name: str, text: str) -> None: ...


class Unkept:
    """Stands in where nothing is to last. With ``remembers`` it has the latest state, to roll back to."""

    folder: Path | None = None

    def __init__(self, *, remembers: bool = False) -> None:
        self._remembers = remembers
        self._kept: Kept | None = None

    def event(self, event: Mapping[str, Any]) -> None: ...

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        if self._remembers:
            self._kept = {name: t.detach().clone() for name, t in tensors.items()}, copy.deepcopy(dict(state))

    def load(self) -> Kept | None:
        return self._kept

    def events_size(self) -> int:
        return 0

    def forget_events(self, size: int) -> None: ...

    def write(self, name: str, text: str) -> None: ...
