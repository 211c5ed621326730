"""Shapes as comments say them: a number where it is one in every use of a class, a parameter's name, or a letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasdsl.exporting.blueprint import Plan
from nasdsl.exporting.holes import walk
from nasdsl.exporting.parameters import CHANNELS
from nasdsl.exporting.sizes import size_words
from nasdsl.exporting.structure import Call, Loop, Scan, Structure, item_at

_LETTERS = {1: ("D",), 2: ("T", "D"), 3: ("C", "H", "W"), 4: ("C", "L", "H", "W")}
_LARGEST_RATIO = 64


class ShapeWords:
    """Writes the shapes of the tensors of one class."""

    def __init__(self, plan: Plan, structure: Structure) -> None:
        self.rows: dict[int, list[int]] = {}
        for i, id in enumerate(plan.pattern.reads):
            self.rows[id] = [use.reads[i] for use in plan.uses]
        for path, item in walk(plan.pattern.items):
            alike = [item_at(use.items, path) for use in plan.uses]
            columns = [self._made(other) for other in alike]
            for i, id in enumerate(columns[0] if alike[0] is item else self._made(item)):
                self.rows.setdefault(id, [column[i] for column in columns])
        self.structure = structure
        self.sizes = {tuple(p.values): p.name for p in plan.parameters if p.family == CHANNELS}
        self.letters: dict[str, tuple[Any, ...]] = {}
        for id in plan.pattern.reads:
            self.shape(id)

    @staticmethod
    def _made(item: Any) -> Sequence[int]:
        if isinstance(item, Scan):
            body = item.step.body
            assert body is not None
            return (item.step.id, body.element, *body.states)
        if isinstance(item, Loop):
            return item.makes
        return (item.step.id,) if isinstance(item, Call) else tuple(item.makes)

    def name(self, id: int) -> str | None:
        """The author's name for a tensor, in whatever body it was made; nothing where uses of the class differ in it."""
        names = {self.structure.names.get(other) for other in self.rows.get(id, [id])}
        return names.pop() if len(names) == 1 else None

    def shape(self, id: int) -> str:
        """``[N, 16, 32, 32]``, ``[N, channels, H, W]``; nothing where it is not known."""
        ids = self.rows.get(id)
        if ids is None:
            return ""
        rows = [self.structure.shapes[other].dims for other in ids]
        rank = len(rows[0])
        if any(len(row) != rank for row in rows):
            return ""
        letters = _LETTERS.get(rank, tuple(f"D{axis}" for axis in range(rank)))
        if rank == 2 and all(isinstance(row[0], int) and not isinstance(row[1], int) for row in rows):
            # A number of channels over a free length, and not a free number of tokens.
            letters = ("C", "L")
        dims = [self._dim(tuple(row[axis] for row in rows), letters[axis]) for axis in range(rank)]
        return f"[{', '.join(['N', *dims])}]"

    def _dim(self, values: tuple[Any, ...], letter: str) -> str:
        if all(value == values[0] for value in values):
            return size_words(values[0])
        numbers = all(isinstance(value, int) for value in values)
        # Heights and widths are never called after channels.
        if letter in ("C", "D") and numbers:
            for sizes, name in self.sizes.items():
                found = _relation(values, sizes, name)
                if found is not None:
                    return found
        base = self.letters.setdefault(letter, values)
        found = _relation(values, base, letter) if numbers else letter if base == values else None
        if found is not None:
            return found
        name = f"{letter}'"
        while self.letters.setdefault(name, values) != values:
            name += "'"
        return name


def _relation(values: Sequence[int], base: Sequence[Any], name: str) -> str | None:
    """
    >>> _relation((8, 16), (16, 32), "H"), _relation((8, 16), (8, 16), "H"), _relation((8, 16), (2, 4), "width")
    ('H / 2', 'H', '4 * width')
    """
    if not all(isinstance(size, int) for size in base):
        return None
    if tuple(values) == tuple(base):
        return name
    for factor in range(2, _LARGEST_RATIO + 1):
        if all(v == factor * b for v, b in zip(values, base, strict=True)):
            return f"{factor} * {name}"
        if all(factor * v == b for v, b in zip(values, base, strict=True)):
            return f"{name} / {factor}"
    return None
