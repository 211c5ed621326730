"""Fixes choices of a space, or leaves them some of their candidates, and writes the smaller space as text that reads like the original.

Where every walk through a place of the text decides alike, the place is edited: ``16 | 24 | 32`` becomes ``24``.
Where walks differ, the text is specialised: a definition is written once for each way in which its uses are decided, or
its candidate is put where it was used; a loop is written out, turn by turn. Nothing is taken on trust: the text is
compiled, and its space is compared with the original under the same decisions, node by node.

``trace.py`` notes which places made which choices, ``decisions.py`` knows what is fixed, ``walks.py`` what that means
for each walk through a place, ``writer.py`` writes the text, ``unused.py`` takes away what nothing uses any more, and
``proof.py`` compares; ``flat.py`` writes one architecture tensor by tensor where the text can't say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nasdsl.diagnostics import NasError, failure
from nasdsl.language.narrowing import flat
from nasdsl.language.narrowing.decisions import Decisions, Kept, Wish
from nasdsl.language.narrowing.faults import Unequal, Untraceable, cannot
from nasdsl.language.narrowing.prepare import Prepared, Setup, prepare
from nasdsl.language.narrowing.proof import verified
from nasdsl.language.narrowing.writer import Writer
from nasdsl.space.space import Space

__all__ = ["Kept", "Narrowed", "Prepared", "Setup", "narrow", "prepare"]


@dataclass(frozen=True)
class Narrowed:
    """The text of a smaller space, and the space. ``flat`` says that it is written node by node."""

    text: str
    space: Space
    flat: bool


def narrow(prepared: Prepared, wishes: Mapping[str, Wish], home: Path) -> Narrowed:
    """The space with choices fixed, or with the candidates that are :class:`Kept`. ``home`` is where the text will stand: its imports are looked up from there.

    Raises NasError for a choice or candidate that is not there (N801, N804, N805), where nothing is left (N620), and
    where the text can't say it (N621, N622).
    """
    space = prepared.space
    decisions = Decisions(space, wishes)
    expected = decisions.count()
    if expected == 0:
        raise failure(
            "N620",
            f"no architecture of `{space.name}` has these candidates",
            "they break a `require`, or one of them rules another out: fix fewer",
        )
    try:
        text = Writer(prepared, decisions).text()
        return Narrowed(text, verified(text, prepared, decisions, expected, home), flat=False)
    except (Untraceable, Unequal, NasError) as reason:
        if expected != 1:
            raise cannot(reason, home) from None
        first = reason
    try:
        text = flat.write(space, decisions.assignment(), prepared.declaration)
        return Narrowed(text, verified(text, prepared, decisions, expected, home), flat=True)
    except (flat.Unwritable, Unequal, NasError):
        raise cannot(first, home) from None
