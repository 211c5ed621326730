"""Choices and genotypes: where a space branches, and which way an architecture goes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Union

from nasdsl.diagnostics import Span
from nasdsl.space.diagram import Diagram

# The candidate that a choice took: its label, or the labels of a sub-list in candidate order.
Taken = Union[str, tuple[str, ...]]


@dataclass(eq=False)
class Choice:
    """A place where the space branches.

    ``low`` and ``high`` bound how many candidates a sub-list takes; both are None where one is picked. A picked choice
    has one variable, with a case a candidate; a sub-list has a variable a candidate, whose case 1 says that it is in.
    ``kind`` is ``tensor``, ``number`` or ``depth``; ``values`` are the numbers of a chosen number or depth, as far as
    they don't rest on other choices.
    """

    index: int
    name: str
    labels: tuple[str, ...]
    guard: Diagram
    variables: tuple[int, ...]
    kind: Literal["tensor", "number", "depth"]
    span: Span
    low: int | None = None
    high: int | None = None
    values: tuple[object, ...] = ()

    @property
    def is_sublist(self) -> bool:
        return self.low is not None

    @property
    def pick(self) -> str:
        """``1``, ``2``, ``1..2`` or ``any``: how many candidates are taken, as the language writes it."""
        if self.low is None:
            return "1"
        if self.low == self.high:
            return str(self.low)
        if self.low == 0 and self.high == len(self.labels):
            return "any"
        return f"{self.low}..{self.high}"

    def cases(self, taken: Taken) -> list[tuple[int, int]]:
        """What its variables come to where it takes a label, or the labels of a sub-list: ``(variable, case)``."""
        if isinstance(taken, str):
            return [(self.variables[0], self.labels.index(taken))]
        return [(v, int(label in taken)) for v, label in zip(self.variables, self.labels, strict=True)]


class Genotype(Mapping[str, Taken]):
    """The candidates chosen, as data: immutable, keys in elaboration order, equal genotypes are equal text.

    >>> Genotype({"normal.x1": "conv", "skips": ("0", "2")}).text
    '{"normal.x1": "conv", "skips": ["0", "2"]}'
    """

    __slots__ = ("_entries", "_text")

    def __init__(self, entries: Mapping[str, Taken]) -> None:
        self._entries = dict(entries)
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The genotype as JSON on one line."""
        if self._text is None:
            self._text = json.dumps(self._entries, ensure_ascii=False)
        return self._text

    def __getitem__(self, name: str) -> Taken:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Genotype) and self._entries == other._entries

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Genotype({self._entries!r})"
