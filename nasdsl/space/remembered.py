"""What was made once and may be asked for again, within bounds."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(dict[K, V]):
    """Results by what they were made from. At ``limit`` entries it forgets all of them, and starts again.

    A copy starts with nothing: what it would be asked for are copies too.

    >>> squares = Remembered[int, int](limit=2)
    >>> [squares.keep(n, n * n) for n in (1, 2, 3)], dict(squares)
    ([1, 4, 9], {3: 9})
    """

    def __init__(self, limit: int = 1 << 16) -> None:
        super().__init__()
        self.limit = limit

    def keep(self, key: K, value: V) -> V:
        if len(self) >= self.limit:
            self.clear()
        self[key] = value
        return value

    def __reduce__(self) -> tuple[type[Remembered[K, V]], tuple[int]]:
        return type(self), (self.limit,)
