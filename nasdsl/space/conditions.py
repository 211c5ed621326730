"""Guards as text, in the language's own syntax: ``normal.x1 == "conv3x3" and "0" in skips``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nasdsl.space.choice import Choice
from nasdsl.space.diagram import Diagram


def condition_text(choices: Sequence[Choice], path: Mapping[int, int]) -> str:
    """What is decided on a path, as a conjunction."""
    owners = {variable: choice for choice in choices for variable in choice.variables}
    return " and ".join(_is(owners[v], v, [case]) for v, case in sorted(path.items()))


def guard_text(choices: Sequence[Choice], guard: Diagram) -> str | None:
    """The condition under which a guard holds; None where it always does, ``false`` where it never does."""
    owners = {variable: choice for choice in choices for variable in choice.variables}
    if guard.is_leaf:
        return None if guard.value else "false"

    def text(d: Diagram, loose: bool) -> str:
        """``loose`` says whether an ``or`` may stand here without brackets."""
        groups: dict[int, tuple[Diagram, list[int]]] = {}
        for case, below in enumerate(d.cases):
            groups.setdefault(id(below), (below, []))[1].append(case)
        terms = []
        for below, cases in groups.values():
            if below.is_leaf and not below.value:
                continue
            own = _is(owners[d.variable], d.variable, cases)
            terms.append(own if below.is_leaf else f"{own} and {text(below, False)}")
        if len(terms) == 1:
            return terms[0]
        joined = " or ".join(terms)
        return joined if loose else f"({joined})"

    return text(guard, True)


def _is(choice: Choice, variable: int, cases: list[int]) -> str:
    if choice.is_sublist:
        label = choice.labels[variable - choice.variables[0]]
        return f'"{label}" {"in" if cases == [1] else "not in"} {choice.name}'
    if len(cases) == 1:
        return f'{choice.name} == "{choice.labels[cases[0]]}"'
    missing = [case for case in range(len(choice.labels)) if case not in cases]
    if len(missing) == 1:
        return f'{choice.name} != "{choice.labels[missing[0]]}"'
    return f"{choice.name} in [" + ", ".join(f'"{choice.labels[case]}"' for case in cases) + "]"
