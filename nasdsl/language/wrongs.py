"""What goes wrong while a space is elaborated is kept, and put into words at the end.

Only then is it known what every choice is called, and which genotypes there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import Diagnostic, Note, Span
from nasdsl.language.builder import Wrong, type_text
from nasdsl.language.place import Body, Place
from nasdsl.language.stop import Stop
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import SELECT

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator


class Wrongs:
    """``stops`` are the faults so far, each with the body that it was found in."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.stops: list[tuple[Stop, Body]] = []
        self._doubts: list[tuple[Diagram, Span, Body, tuple[int, ...]]] = []

    def counts(self) -> tuple[int, int]:
        """How many faults and doubts there are so far."""
        return len(self.stops), len(self._doubts)

    def attempt(self, action: Callable[[], Any], body: Body) -> bool:
        """Runs it; where it stops, that is kept for the end. Says whether it went well."""
        try:
            action()
            return True
        except Stop as stop:
            if stop.for_good:
                raise
            self.report(stop, body)
            return False

    def report(self, stop: Stop, body: Body) -> None:
        """Keeps a fault for the end; a stop without words follows from one that was kept before."""
        if stop.diagnostic is not None:
            self.stops.append((stop, stop.body or body))

    def doubt(self, span: Span, body: Body, nodes: Sequence[int] = ()) -> None:
        """What is wrong for some choices only is judged when it is known which genotypes there are."""
        for diagram in self.builder.doubts:
            self._doubts.append((diagram, span, body, tuple(nodes)))
        self.builder.doubts.clear()

    def stop(self, wrong: Wrong, span: Span, place: Place, nodes: Sequence[int] = ()) -> Stop:
        """What the builder says is wrong, with its place and the smallest genotype that gets there."""
        path = self.elaborator.proof.smallest(place.guard, lambda leaf: leaf is True)
        notes = self.origins(nodes or wrong.nodes, span) if wrong.code.startswith("N3") else ()
        diagnostic = Diagnostic(wrong.code, wrong.message, span, "", notes, wrong.help)
        return Stop(diagnostic, {} if wrong.for_good else path, for_good=wrong.for_good)

    def origins(
        self, nodes: Sequence[int], span: Span, path: Mapping[int, int] | None = None
    ) -> tuple[Note, ...]:
        """Where the tensors that take part in a fault come from; of a choice, the candidate that ``path`` takes."""
        notes: list[Note] = []
        for id in dict.fromkeys(self._taken(node, path or {}) for node in nodes):
            found = self.builder.nodes[id].span
            if found is not None and found != span and all(note.span != found for note in notes):
                notes.append(Note(found, f"this is {type_text(self.builder.type_of(id))}"))
        return tuple(notes[:3])

    def _taken(self, node: int, path: Mapping[int, int]) -> int:
        """The candidate of a choice of tensors that the decisions of a path lead to; the node itself where none does."""
        while self.builder.nodes[node].operation == SELECT:
            for source, guard in self.builder.reads[node]:
                leaf = guard
                while not leaf.is_leaf and leaf.variable in path:
                    leaf = leaf.cases[path[leaf.variable]]
                if leaf is self.builder.table.true:
                    node = source
                    break
            else:
                return node
        return node

    def judge(self) -> None:
        """Puts what was found into words, now that every choice has its name."""
        for diagram, span, body, nodes in self._doubts:
            failure = self.elaborator.proof.failure(diagram)
            if failure is not None:
                found, path = failure
                notes = self.origins(nodes, span, path)
                diagnostic = Diagnostic(found.code, found.message, span, notes=notes, help=found.help)
                self.stops.append((Stop(diagnostic, path), body))
        said: set[tuple[str, Span | None]] = set()
        for stop, body in self.stops:
            diagnostic_ = stop.diagnostic
            assert diagnostic_ is not None
            # A cell that is used ten times would say the same thing ten times.
            key = (diagnostic_.code, diagnostic_.span)
            if key in said or diagnostic_.span in self.elaborator.resolution.failed:
                continue
            said.add(key)
            if stop.path:
                text = self.builder.where_text(stop.path)
                diagnostic_ = replace(diagnostic_, message=f"{diagnostic_.message}, where {text}")
            self.elaborator.findings.add(
                replace(diagnostic_, notes=(*diagnostic_.notes, *self._use_note(diagnostic_, body)))
            )
        if not self.elaborator.findings.errors and not self.elaborator.proof.satisfiable():
            self.elaborator.requirements.say_unsatisfiable()

    def _use_note(self, diagnostic: Diagnostic, body: Body) -> tuple[Note, ...]:
        """Which use of a definition a fault in its body is about: the innermost one in the file of the space."""
        if diagnostic.code[:2] != "N3" or diagnostic.span is None:
            return ()
        root = self.elaborator.root.scope.span
        home = root.source if root is not None else None
        at: Body | None = body
        while at is not None and at.use is not None and at.definition is not None:
            if at.use.source is home and at.use != diagnostic.span:
                return (Note(at.use, f"in this use of `{at.definition.name}`"),)
            at = at.outer
        return ()
