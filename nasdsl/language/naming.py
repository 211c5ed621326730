"""How choices get their names: the path of steps down to them (LANGUAGE.md, rule 7).

A step counts among its equals only once it holds a choice, so numbers are given late: when a choice is made, from the
top of the path down. What a cell's choices are called is kept a use: every use starts counting afresh, so the same
place in the cell's body gets the same key, and thereby the same choice.
"""

from __future__ import annotations

from collections.abc import Iterable

Key = tuple[tuple[str, int], ...]


class Step:
    """One step of a path: a name under a parent, numbered when the first choice is made below it."""

    __slots__ = ("_counts", "_key", "name", "parent")

    def __init__(self, parent: Step | None, name: str) -> None:
        self.parent = parent
        self.name = name
        self._counts: dict[str, int] = {}
        self._key: Key | None = () if parent is None else None

    @classmethod
    def root(cls, name: str) -> Step:
        """Where names begin: the space itself (with an empty name), or one use of a cell."""
        step = cls(None, name)
        if name:
            step._key = ((name, 1),)
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

    >>> readable([(("normal", 1), ("x2", 1)), (("normal", 1), ("x2", 2)), (("width", 1),)])
    {(('normal', 1), ('x2', 1)): 'normal.x2#1', (('normal', 1), ('x2', 2)): 'normal.x2#2', (('width', 1),): 'width'}
    """
    keys = list(keys)
    repeated = {(*key[:i], key[i][0]) for key in keys for i in range(len(key)) if key[i][1] > 1}

    def step(key: Key, i: int) -> str:
        name, number = key[i]
        return f"{name}#{number}" if (*key[:i], name) in repeated else name

    return {key: ".".join(step(key, i) for i in range(len(key))) for key in keys}
