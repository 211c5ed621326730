"""Where the elaborator stands while it walks the tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

from nasdsl.diagnostics import Span
from nasdsl.language import syntax
from nasdsl.language.naming import Step
from nasdsl.space.diagram import Diagram, Diagrams
from nasdsl.space.graph import Scope

Slot = Literal["", "choice", "use"]


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """The space, or one use of a definition: what stays the same while its body is walked.

    ``first`` is the first node of the body, for ``unused``; ``unique`` are the targets that one statement assigns.
    ``definition`` and ``use`` say what is used, and where; ``under_if`` whether a chosen ``if`` lies between this use
    and the body around it, in which a recursive use would never end.
    """

    scope: Scope
    first: int = 0
    unique: frozenset[tuple[str, bool]] = frozenset()
    outer: Body | None = None
    definition: syntax.Define | None = None
    use: Span | None = None
    nesting: int = 0
    open: frozenset[int] = frozenset()
    under_if: bool = False

    @property
    def under_if_somewhere(self) -> bool:
        """Whether a chosen ``if`` lies between this body and the space."""
        return self.under_if or (self.outer is not None and self.outer.under_if_somewhere)


@dataclass(slots=True, eq=False)
class SharedUse:
    """One use of a shared operation: what it makes is kept in ``made``, under the path that led there."""

    made: dict[object, object]
    counts: Counter[Hashable] = field(default_factory=Counter)

    def key(self, *path: Hashable) -> Hashable:
        """The same for the same spot in every use."""
        self.counts[path] += 1
        return (*path, self.counts[path])


class Place:
    """Where the elaborator stands: under which guard, in which use, and what the next choice would be called.

    ========== ==================================================================================================
    guard      where the nodes made here exist
    decided    where the choices made here exist: those of a shared operation are made where it is declared
    step       the path of names down to here
    target     the name that uses and choices directly in this expression get, of the assignment around it
    slot       whether ``step`` itself names the next ``choice`` (the body of an ``op`` is a choice) or the next
               ``use`` (a candidate is a single use)
    loops      the values of the loops around, in this body
    under_if   whether a chosen ``if`` lies around, in this body
    region     the scan that this runs in
    shared     the use of shared weights that this belongs to, and ``trail`` the turns and uses that led here from it
    ========== ==================================================================================================
    """

    __slots__ = (
        "body", "decided", "guard", "loops", "region", "shared", "slot", "step", "target", "trail", "under_if",
    )  # fmt: skip

    def __init__(self, guard: Diagram, step: Step, body: Body) -> None:
        self.guard = guard
        self.decided = guard
        self.step = step
        self.body = body
        self.target: str | None = None
        self.slot: Slot = ""
        self.loops: tuple[str, ...] = ()
        self.under_if = False
        self.region: int | None = None
        self.shared: SharedUse | None = None
        self.trail: tuple[Hashable, ...] = ()

    def but(self, **changes: Any) -> Place:
        """The same place, but for what is named."""
        new = Place.__new__(Place)
        new.guard, new.decided, new.step, new.body = self.guard, self.decided, self.step, self.body
        new.target, new.slot, new.loops, new.under_if = self.target, self.slot, self.loops, self.under_if
        new.region, new.shared, new.trail = self.region, self.shared, self.trail
        for name, value in changes.items():
            setattr(new, name, value)
        return new

    def plain(self) -> Place:
        """The same place, past the point where a slot could be taken."""
        return self.but(slot="") if self.slot else self

    def bare(self) -> Place:
        """The same place, where nothing gives a name."""
        return self.but(slot="", target=None) if self.slot or self.target is not None else self

    def under(self, table: Diagrams, condition: Diagram) -> Place:
        """Where the condition holds besides."""
        if condition is table.true:
            return self
        guard = table.both(self.guard, condition)
        decided = guard if self.decided is self.guard else table.both(self.decided, condition)
        return self.but(guard=guard, decided=decided)

    def turn(self, *path: Hashable) -> Place:
        """One of several turns, candidates or uses: told apart only where weights are shared."""
        return self if self.shared is None else self.but(trail=(*self.trail, *path))
