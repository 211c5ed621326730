"""Things that can be named and that others may add to: a clash is an error, an unknown name gets the nearest one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from nasdsl.diagnostics import did_you_mean, failure

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Entries by name. Those of other packages come from the entry-point ``group``, loaded at the first look.

    ``code`` is that of the error for an unknown name. Raises NasError N902, at the first look, where a package brings a
    name that is taken, or something that can't be loaded.
    """

    def __init__(self, kind: str, group: str, code: str) -> None:
        self.kind = kind
        self.group = group
        self.code = code
        self._entries: dict[str, T] = {}
        self._loaded = False

    def add(self, name: str) -> Callable[[T], T]:
        """A decorator. Raises ValueError where the name is taken."""

        def register(entry: T) -> T:
            self._put(name, entry)
            return entry

        return register

    def find(self, name: str) -> T:
        """The entry. Raises NasError with the nearest name."""
        self._load()
        if name not in self._entries:
            help = did_you_mean(name, self._entries) or f"there are: {', '.join(sorted(self._entries))}"
            raise failure(self.code, f"unknown {self.kind} `{name}`", help)
        return self._entries[name]

    def _put(self, name: str, entry: T) -> None:
        if name in self._entries:
            raise ValueError(f"{self.kind} `{name}` is already defined: {self._entries[name]!r}")
        self._entries[name] = entry

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for point in sorted(entry_points(group=self.group), key=lambda point: (point.name, point.value)):
            self._plug_in(point)

    def _plug_in(self, point: EntryPoint) -> None:
        origin = f"the plug-in `{point.name} = {point.value}`"
        if point.name in self._entries:
            raise failure(
                "N902",
                f"{origin} clashes: {self.kind} `{point.name}` is there already",
                f"rename the {self.kind} or uninstall its package",
            )
        try:
            self._entries[point.name] = point.load()
        except Exception as error:
            # Whatever a foreign package raises, the person at the keyboard needs to know which one it was.
            raise failure(
                "N902",
                f"{origin} can't be loaded: {type(error).__name__}: {error}",
                "mend or uninstall its package",
            ) from error

    def __getitem__(self, name: str) -> T:
        self._load()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._entries)

    def __len__(self) -> int:
        self._load()
        return len(self._entries)
