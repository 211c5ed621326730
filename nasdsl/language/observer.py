"""Who is told what happens while a space is elaborated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasdsl.language import syntax
from nasdsl.language.values import Definition, Names, Value

if TYPE_CHECKING:
    from nasdsl.diagnostics import Span
    from nasdsl.language.builder import ChoiceRecord
    from nasdsl.language.choices import Candidate
    from nasdsl.language.place import Place
    from nasdsl.space.graph import Scope


class Observer:
    """Listens to nothing; a subclass hears what it overrides.

    ``walks_every_use`` asks that no use is made again from an earlier one that it is like: what is not walked is not
    told either.
    """

    walks_every_use = False

    def choice_made(
        self,
        e: syntax.Expression,
        candidates: Sequence[Candidate],
        names: Names,
        place: Place,
        record: ChoiceRecord | None,
    ) -> None:
        """A choice among candidates; ``record`` is None where there is but one way, and ``candidates`` are then those
        that are taken."""

    def use_begins(
        self,
        callee: Definition,
        arguments: Sequence[syntax.Argument],
        names: Names,
        place: Place,
        scope: Scope,
        span: Span,
    ) -> None:
        """A use of a definition, before its arguments are bound. ``scope`` is its own; the rest says where it stands."""

    def use_bound(self, scope: Scope) -> None:
        """The arguments and defaults of the use with this scope are bound; its body comes next."""

    def copy_begins(self, operation: syntax.Expression, names: Names, place: Place, number: int) -> None:
        """The next copy of a ``repeat``; ``number`` counts from 1."""

    def turn_begins(
        self, iterable: syntax.Expression, position: int, values: Sequence[Value], names: Names
    ) -> None:
        """The next turn of a loop or a comprehension; ``position`` counts from 0, ``values`` are its variables'."""

    def condition_settled(self, e: syntax.Expression, names: Names, place: Place, holds: bool) -> None:
        """A condition that rests on no choice."""
