"""Did you mean …?"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate nearest to ``word``, or None where none is near."""
    options = list(dict.fromkeys(candidates))
    by_lower = {option.lower(): option for option in reversed(options)}
    if word.lower() in by_lower:
        return by_lower[word.lower()]
    matches = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """A help line, or None where nothing is near."""
    match = closest(word, candidates)
    return f"did you mean `{match}`?" if match else None
