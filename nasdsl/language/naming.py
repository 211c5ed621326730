"""How choices get their names: the path of steps down to them (LANGUAGE.md, rule 7).

A step counts among its equals only once it holds a choice, so numbers are given late: when a choice is made, from the
top of the path down. A cell's choices are named from the cell: every use starts counting afresh, so the same place in
the cell's body gets the same key, and thereby the same choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Union


@dataclass(frozen=True, slots=True)
class CellName:
    """The first step of a cell's choices. Two cells of one name are told apart by ``file`` and where they stand."""

    name: str
    file: str
    position: int


# A step below another: its name, and which of its equals it is, counted from 1.
Numbered = tuple[str, int]
Key = tuple[Union[CellName, Numbered], ...]


class Step:
    """One step of a path: a name under a parent, numbered when the first choice is made below it."""

    __slots__ = ("_counts", "_key", "name", "parent")

    def __init__(self, parent: Step | None, name: str) -> None:
        self.parent = parent
        self.name = name
        self._counts: dict[str, int] = {}
        self._key: Key | None = () if parent is None else None

    @classmethod
    def space(cls) -> Step:
        """Where the names of a space begin."""
        return cls(None, "")

    @classmethod
    def cell(cls, name: CellName) -> Step:
        """Where the names of a cell's choices begin, in one of its uses."""
        step = cls(None, name.name)
        step._key = (name,)
        return step

    def key(self) -> Key:
        """The steps with their numbers. Asking for it is what counts a step."""
        if self._key is None:
            assert self.parent is not None
            above = self.parent.key()
            number = self.parent._counts.get(self.name, 0) + 1
            self.parent._counts[self.name] = number
            self._key = (*above, (self.name, number))
        return self._key


def readable(keys: Iterable[Key]) -> dict[Key, str]:
    """The name of each key: steps joined by dots, with a number only where a step has equals.

    >>> readable([(("a", 1), ("x2", 1)), (("a", 1), ("x2", 2)), (("width", 1),)])
    {(('a', 1), ('x2', 1)): 'a.x2#1', (('a', 1), ('x2', 2)): 'a.x2#2', (('width', 1),): 'width'}
    """
    keys = list(keys)
    repeated: set[Sequence[object]] = set()
    cells: dict[str, dict[CellName, None]] = {}
    for key in keys:
        for i, step in enumerate(key):
            if isinstance(step, CellName):
                cells.setdefault(step.name, {})[step] = None
                # What uses of the cell are given is named from the use: always with a number, since the plain name
                # is the cell's.
                repeated.add((*key[:i], step.name))
            elif step[1] > 1:
                repeated.add((*key[:i], step[0]))
    plain = {cell: word for same in cells.values() for cell, word in _cell_words(list(same)).items()}

    def word(key: Key, i: int) -> str:
        step = key[i]
        if isinstance(step, CellName):
            return plain[step]
        name, number = step
        return f"{name}#{number}" if (*key[:i], name) in repeated else name

    return _unique({key: ".".join(word(key, i) for i in range(len(key))) for key in keys})


def _cell_words(cells: Sequence[CellName]) -> Mapping[CellName, str]:
    """What each of several cells of one name is called: with its file, where that is needed to tell them apart."""
    if len(cells) == 1:
        return {cells[0]: cells[0].name}
    stems = Counter(PurePath(cell.file).stem for cell in cells)
    words: dict[CellName, str] = {}
    for cell in cells:
        stem = PurePath(cell.file).stem
        if stems[stem] == 1:
            words[cell] = f"{cell.name}@{stem}"
        else:
            at = sorted((other.file, other.position) for other in cells if PurePath(other.file).stem == stem)
            words[cell] = f"{cell.name}@{stem}#{at.index((cell.file, cell.position)) + 1}"
    return words


def _unique(names: dict[Key, str]) -> dict[Key, str]:
    """Labels are any text, so two paths could read the same: the later one is marked."""
    taken: set[str] = set()
    for key, name in names.items():
        marked, n = name, 1
        while marked in taken:
            n += 1
            marked = f"{name}~{n}"
        taken.add(marked)
        names[key] = marked
    return names
