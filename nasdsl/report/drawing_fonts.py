"""How wide a text is, without a renderer: the advance widths of Helvetica, which Arial and Liberation Sans share.

A picture names these three fonts, so that boxes which are sized here fit their text wherever it is shown.
"""

from __future__ import annotations

FAMILY = "Helvetica, Arial, 'Liberation Sans', sans-serif"

# From the space to the tilde, in thousandths of the font size.
_REGULAR = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
    556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584,
)  # fmt: skip
_BOLD = (
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722, 611, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556, 333, 556, 611, 556, 611,
    556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389,
    280, 389, 584,
)  # fmt: skip
_OTHERS = {
    "→": 1000,
    "←": 1000,
    "×": 584,
    "Σ": 618,
    "…": 1000,
    "≤": 549,
    "·": 278,
    "−": 584,
    "–": 556,
    "’": 222,
}
# Wider than any letter of the Latin alphabet but W: what is not in the table had better have room.
_UNKNOWN = 900


def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width of a text in pixels.

    >>> round(text_width("conv 3×3", 11), 2)
    44.95
    """
    table = _BOLD if bold else _REGULAR
    total = 0
    for character in text:
        index = ord(character) - 32
        total += table[index] if 0 <= index < len(table) else _OTHERS.get(character, _UNKNOWN)
    return total * size / 1000
