"""What decisions mean for each walk through a place of the text: which happened, and which are decided alike."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasdsl.diagnostics import Span
from nasdsl.language import syntax
from nasdsl.language.narrowing.decisions import Decisions, Kept
from nasdsl.language.narrowing.trace import Called, Event, Key, Site, Trace, Use, key_of

Decision = Hashable
"""A label, a tuple of labels of a sub-list, the candidates that are kept, or None where a choice stays open."""
Signature = frozenset[tuple[Key, tuple[tuple[Key, int], ...], Any]]


@dataclass(frozen=True)
class Context:
    """For which uses and turns a text is written; ``words`` stand for loop variables and settings that are written out.

    With ``exact`` conditions that are known are taken out.
    """

    uses: frozenset[int]
    turns: Mapping[Key, int] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False


class Walks:
    """The events of a trace that decisions leave alive.

    ``root`` is the walk through the space's own body; ``variants`` has, for each definition in use (by the identity of
    its syntax), the ways in which its uses are decided. ``whole`` says that every choice is decided: then even places
    with one way left are written out.
    """

    def __init__(self, trace: Trace, decisions: Decisions) -> None:
        self.trace = trace
        self.decisions = decisions
        assert trace.root is not None
        self.root = trace.root
        self.uses = [*trace.uses, self.root]
        self._by_use: dict[int, list[Event]] = {}
        tables: tuple[Mapping[Key, Sequence[Event]], ...] = (trace.sites, trace.calls)
        for table in tables:
            for events in table.values():
                for event in events:
                    self._by_use.setdefault(id(event.use), []).append(event)
        self._signatures: dict[int, Signature] = {}
        self.variants = self._variants()
        self.whole = all(
            not (decision is None or isinstance(decision, Kept))
            for decision in map(self.decision, self._live_sites())
        )

    def alive(self, event: Event) -> bool:
        return self.decisions.may_hold(event.guard)

    def decision(self, site: Site) -> Decision:
        """What was decided there: labels, or those that are kept; None where the choice is open, or where there was none."""
        if site.record is None:
            return None
        index = site.record.index
        return self.decisions.kept.get(index, self.decisions.taken.get(index))

    def _live_sites(self) -> Iterator[Site]:
        for events in self.trace.sites.values():
            for event in events:
                if event.record is not None and self.alive(event):
                    yield event

    def signature(self, use: Use) -> Signature:
        """How a use is decided: what its own places decide, and those of the uses in it."""
        found = self._signatures.get(id(use))
        if found is None:
            entries: set[tuple[Key, tuple[tuple[Key, int], ...], Any]] = set()
            for event in self._by_use.get(id(use), ()):
                if not self.alive(event):
                    continue
                turns = tuple(sorted(event.turns.items()))
                value: Any = self.decision(event) if isinstance(event, Site) else None
                if isinstance(event, Called):
                    value = self.signature(event.target) or None
                if value is not None:
                    entries.add((event.key, turns, value))
            found = self._signatures[id(use)] = frozenset(entries)
        return found

    def _variants(self) -> dict[int, set[Signature]]:
        """For each definition in use, the ways in which its uses are decided."""
        found: dict[int, set[Signature]] = {}
        stack, seen = [self.root], {id(self.root)}
        while stack:
            use = stack.pop()
            if use.definition is not None:
                found.setdefault(id(use.definition.syntax), set()).add(self.signature(use))
            for event in self._by_use.get(id(use), ()):
                if isinstance(event, Called) and id(event.target) not in seen and self.alive(event):
                    seen.add(id(event.target))
                    stack.append(event.target)
        return found

    def events(self, table: Mapping[Key, Sequence[Any]], key: Key, context: Context) -> list[Any]:
        """What is alive of the events at a place, in the uses and turns that a text is written for."""
        return [
            event
            for event in table.get(key, ())
            if id(event.use) in context.uses
            and all(context.turns.get(loop, at) == at for loop, at in event.turns.items())
            and self.alive(event)
        ]

    def differs(self, loop: syntax.For | syntax.Comprehension | syntax.Choose, context: Context) -> bool:
        """Whether turns of a loop are decided differently, so that it has to be written out."""
        clauses = (
            (loop.iterable,) if isinstance(loop, syntax.For) else tuple(c.iterable for c in loop.clauses)
        )
        return any(self.differs_over(key_of(e.span), loop.span, context) for e in clauses)

    def differs_over(self, loop: Key, inside: Span, context: Context) -> bool:
        """Whether some place within a span is decided differently in different turns of one loop around it."""
        seen: dict[tuple[Key, tuple[tuple[Key, int], ...]], Any] = {}
        for table in (self.trace.sites, self.trace.calls):
            for key in table:
                if key[0] != inside.source.path or not inside.start <= key[1] <= key[2] <= inside.end:
                    continue
                for event in self.events(table, key, context):
                    if loop not in event.turns:
                        continue
                    rest = tuple(sorted((k, v) for k, v in event.turns.items() if k != loop))
                    value = self._value(event)
                    if seen.setdefault((key, rest), value) != value:
                        return True
        return False

    def _value(self, event: Event) -> Any:
        if isinstance(event, Site):
            return self.decision(event)
        assert isinstance(event, Called)
        return self.signature(event.target)
