"""Things that can be named and that others may add to: a clash is an error, an unknown name gets the nearest one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from nasdsl.diagnostics import Diagnostic, NasError, Severity, did_you_mean, failure

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Entries by name. Those of other packages come from the entry-point ``group``, loaded at the first look.

    ``code`` is that of the error for an unknown name, and ``wants`` what every entry has as attributes. A package that
    can't be loaded, or brings something without them, takes nothing from the others:
    :attr:`warnings` has it (N902), and asking for its name is an error. Raises NasError N902, at each look, where a
    package brings a name that is taken.
    """

    def __init__(self, kind: str, group: str, code: str, wants: Sequence[str] = ()) -> None:
        self.kind = kind
        self.group = group
        self.code = code
        self.wants = wants
        self._entries: dict[str, T] = {}
        self._unusable: dict[str, Diagnostic] = {}
        self._loaded = False

    def add(self, name: str) -> Callable[[T], T]:
        """A decorator. Raises ValueError where the name is taken."""

        def register(entry: T) -> T:
            self._put(name, entry)
            return entry

        return register

    def find(self, name: str) -> T:
        """The entry. Raises NasError: with the nearest name and the packages that might have brought it, or N902 where it
        is one that can't be used."""
        if name in self.unusable:
            raise NasError(self.unusable[name])
        if name not in self._entries:
            help = (
                did_you_mean(name, [*self._entries, *self._unusable])
                or f"there are: {', '.join(sorted(self._entries))}"
            )
            raise failure(self.code, f"unknown {self.kind} `{name}`", self.with_unusable(help))
        return self._entries[name]

    @property
    def unusable(self) -> Mapping[str, Diagnostic]:
        """By name, why what a package brings can't be had."""
        self._load()
        return self._unusable

    def with_unusable(self, help: str) -> str:
        """A help line about an unknown name, and one for each package that may be why it is unknown."""
        return "\n".join([help, *(f"besides, {d.message}" for d in self.warnings)])

    @property
    def warnings(self) -> list[Diagnostic]:
        """Of each package that brings what can't be used, why."""
        return [replace(found, severity=Severity.WARNING) for found in self.unusable.values()]

    def _put(self, name: str, entry: T) -> None:
        if name in self._entries:
            raise ValueError(f"{self.kind} `{name}` is already defined: {self._entries[name]!r}")
        self._entries[name] = entry

    def _load(self) -> None:
        if self._loaded:
            return
        found: dict[str, T] = {}
        for point in sorted(entry_points(group=self.group), key=lambda point: (point.name, point.value)):
            self._plug_in(point, found)
        self._entries |= found
        self._loaded = True

    def _plug_in(self, point: EntryPoint, found: dict[str, T]) -> None:
        origin = f"the plug-in `{point.name} = {point.value}`"
        if point.name in self._entries or point.name in found:
            raise failure(
                "N902",
                f"{origin} clashes: {self.kind} `{point.name}` is there already",
                f"rename the {self.kind} or uninstall its package",
            )
        try:
            loaded = point.load()
        except Exception as error:
            # Whatever a foreign package raises, the person at the keyboard needs to know which one it was.
            self._unusable[point.name] = Diagnostic(
                "N902",
                f"{origin} can't be loaded: {type(error).__name__}: {error}",
                help="mend or uninstall its package",
            )
            return
        lacks = [name for name in self.wants if not hasattr(loaded, name)]
        if lacks:
            self._unusable[point.name] = Diagnostic(
                "N902",
                f"{origin} is no {self.kind}: it has no `{lacks[0]}`",
                help=f"every {self.kind} has {', '.join(self.wants)}",
            )
        else:
            found[point.name] = loaded

    def __getitem__(self, name: str) -> T:
        self._load()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._entries)

    def __len__(self) -> int:
        self._load()
        return len(self._entries)
