"""A picture of a space, as data: what is drawn, before it is known where.

A picture has an overview, which is the macro structure of the network from input to output, and panels: a cell or an
operation that holds choices, drawn once, and the candidates that a choice picks from. :mod:`.drawing_structure` reads
it off a space, :mod:`.drawing_layout` finds a place for everything, :mod:`.drawing_svg` and :mod:`.drawing_graph`
write it down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Union

Style = Literal["plain", "bold", "muted", "choice", "chosen", "faint"]
"""How a piece of text looks: ``choice`` is open, ``chosen`` what an architecture took and ``faint`` what it left."""

State = Literal["", "chosen", "left"]
"""In a picture of an architecture: what it took, what it left; nothing where there is no choice."""


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of text in one style."""

    text: str
    style: Style = "plain"


Line = tuple[Run, ...]


def plain(line: Line) -> str:
    """The words of a line, without styles.

    >>> plain((Run("conv "), Run("3", "chosen"), Run("|5", "faint")))
    'conv 3|5'
    """
    return "".join(run.text for run in line)


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate of a choice, or one copy of a repeated operation."""

    label: Line
    text: Line = ()
    state: State = ""


@dataclass(eq=False, slots=True)
class Item:
    """A box of a panel.

    ======== =======================================================================================
    kind     what it stands for
    ======== =======================================================================================
    tensor   an input, an output, or a tensor that the author named
    fixed    operations without a choice, one line a pipeline
    use      a use of an ``op`` or ``cell`` that holds choices; its own panel shows them
    choice   a choice: its candidates are the rows, or ``stacked`` where they are listed elsewhere
    join     a sum, a product or another reduction of several tensors
    ======== =======================================================================================

    ``name`` is the tensor that comes out, ``times`` how often a repeated operation stands there, ``size`` the shape of
    what comes out, ``state`` says in a picture of an architecture whether it is in it, ``hint`` is shown on hovering.
    """

    id: str
    kind: Literal["tensor", "fixed", "use", "choice", "join"]
    lines: list[Line] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    name: str = ""
    times: Line = ()
    size: str = ""
    state: State = ""
    stacked: bool = False
    hint: str = ""


@dataclass(eq=False, slots=True)
class Link:
    """An arrow between two items; ``open`` where a choice decides whether it is there."""

    source: str
    target: str
    open: bool = False
    state: State = ""


@dataclass(eq=False)
class Panel:
    """A part of the picture with boxes and arrows: the overview, a cell, an operation."""

    title: str
    note: str
    items: list[Item]
    links: list[Link]


@dataclass(eq=False)
class Key:
    """A part of the picture that explains: the candidates of a choice with what each of them does."""

    title: str
    note: str
    rows: list[Row]


Part = Union[Panel, Key]


@dataclass(eq=False)
class Picture:
    """``title`` is the space's name; ``notes`` say how many architectures it has, or what one of them costs.

    ``is_architecture`` says that one is shown within its space.
    """

    title: str
    notes: list[str]
    overview: Panel
    parts: list[Part]
    is_architecture: bool = False

    def panels(self) -> list[Panel]:
        return [self.overview, *(part for part in self.parts if isinstance(part, Panel))]
