"""Numbers as people read them, in messages and in what is printed."""

from __future__ import annotations


def grouped(number: int | str) -> str:
    """A whole number in groups of three.

    >>> grouped(1076746950455072400)
    '1 076 746 950 455 072 400'
    """
    return f"{int(number):,}".replace(",", " ")


def counted(count: int | str, what: str) -> str:
    """A number of things.

    >>> counted(1, "seed"), counted(3, "epoch")
    ('1 seed', '3 epochs')
    """
    return f"{count} {what}{'' if str(count) == '1' else 's'}"


def short(value: int | float) -> str:
    """A measure in three digits.

    >>> short(52_345_678), short(6_330), short(512)
    ('52.3 M', '6.33 k', '512')
    """
    for letter, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {letter}"
    return f"{value:g}"


def size_text(bytes: int) -> str:
    """
    >>> size_text(3_250_585), size_text(512), size_text(41_000_000_000)
    ('3.3 MB', '512 B', '41 GB')
    """
    for letter, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if bytes >= scale:
            return f"{bytes / scale:.0f} {letter}" if bytes >= 10 * scale else f"{bytes / scale:.1f} {letter}"
    return f"{bytes} B"


def duration(seconds: float) -> str:
    """Time as people say it.

    >>> duration(42), duration(125), duration(7384)
    ('42 s', '2 min 5 s', '2 h 3 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
