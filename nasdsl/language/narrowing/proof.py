"""The proof of a narrowed text: it is compiled, and its space compared with the original, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasdsl.diagnostics import Findings, Source
from nasdsl.language.elaborate import Elaborator
from nasdsl.language.modules import Loader, pick_space
from nasdsl.language.narrowing.decisions import Decisions
from nasdsl.language.narrowing.faults import Unequal
from nasdsl.language.narrowing.prepare import Prepared
from nasdsl.space.choice import Choice
from nasdsl.space.diagram import Diagram, Diagrams
from nasdsl.space.diff import decided_cases, outline
from nasdsl.space.space import Space


def verified(text: str, prepared: Prepared, decisions: Decisions, expected: int, home: Path) -> Space:
    """The space that a text describes, which is the original with the decisions made, of ``expected`` architectures.

    Raises Unequal where it is not, and NasError where the text doesn't compile.
    """
    space, setup = prepared.space, prepared.setup
    findings = Findings()
    module = Loader(findings, setup.limits.nesting).load(home, Source(str(home), text))
    findings.raise_if_any()
    elaborator = Elaborator(setup.catalogue, setup.limits)
    found = elaborator.space(module, pick_space(module, prepared.declaration.name), {})
    count = found.count()
    if count != expected:
        raise Unequal(f"{count} architectures would be left instead of {expected}")
    kept = [str(limit) for limit in space.limits if decisions.may_hold(limit.guard)]
    if kept != [str(limit) for limit in found.limits]:
        raise Unequal("other limits on measures would be left")
    table = Diagrams()
    left = decisions.open_choices()
    if [_form(c, decisions.labels(c)) for c in left] != [_form(c, c.labels) for c in found.choices]:
        raise Unequal("other choices would be left than those that are open")
    for old, new in zip(left, found.choices, strict=True):
        if old.index in decisions.kept and new.labels != decisions.labels(old):
            raise Unequal(f"the candidates of `{old.name}` would have other names")
    into: dict[int, tuple[int, int]] = {}
    cases: dict[int, list[Diagram]] = {}
    for old, new in zip(left, found.choices, strict=True):
        for before, after in zip(old.variables, new.variables, strict=True):
            into[before] = (after, found.arities[after])
    for variable, arity in enumerate(found.arities):
        cases[variable] = [table.equals(variable, case, arity) for case in range(arity)]
    # A choice that can't exist any more stands at its first candidate, as always.
    fixed = decisions.variables
    gone = {v: 0 for choice in space.choices for v in choice.variables if v not in into and v not in fixed}
    before_cases = decided_cases(space, table, {**fixed, **gone}, into)
    for before, allowed in decisions.left.items():
        if before in into:
            after, arity = into[before]
            places = {case: position for position, case in enumerate(allowed)}
            before_cases[before] = [
                table.equals(after, places[case], arity) if case in places else table.false
                for case in range(space.arities[before])
            ]
    if outline(space, table, before_cases) != outline(found, table, cases):
        raise Unequal("its networks would differ from those of the original")
    return found


def _form(choice: Choice, labels: Sequence[str]) -> tuple[int, str, bool]:
    return len(labels), choice.pick, choice.is_sublist
