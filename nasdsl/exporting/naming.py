"""What classes are called: after their definition, and variants of one after what only they do."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nasdsl.exporting.holes import is_activation, walk
from nasdsl.exporting.names import class_name, free, snake_case
from nasdsl.exporting.structure import Call, Loop, Use
from nasdsl.operations.execute import is_torch

if TYPE_CHECKING:
    from nasdsl.exporting.blueprint import Plan

_MOST_TRAITS = 3


def name_classes(plans: Sequence[Plan], plan_of: Mapping[Use, Plan]) -> None:
    """Names classes and functions; ``plans`` have those inside before those around them, the space's own last."""
    taken = {"Tensor", "Path"} | _helper_names(plans)
    *inner, top = plans
    groups: dict[str, list[Plan]] = defaultdict(list)
    for plan in inner:
        groups[class_name(plan.definition)].append(plan)
    names: dict[Plan, str] = {}
    for base, variants in groups.items():
        found = _traits(variants, plan_of)
        clash = found is None or any(traits and base + "".join(traits) in groups for traits in found)
        for number, plan in enumerate(variants, 1):
            if clash or found is None:
                names[plan] = f"{base}{number}"
            else:
                plan.traits = found[number - 1]
                names[plan] = base + "".join(plan.traits)
    for plan in inner:
        name = names[plan]
        plan.name = free(snake_case(name) if plan.is_function else name, taken)
        taken.add(plan.name)
    wanted = class_name(top.definition)
    top.name = wanted if wanted not in taken else free(f"{wanted}Network", taken)


def _traits(variants: Sequence[Plan], plan_of: Mapping[Use, Plan]) -> list[tuple[str, ...]] | None:
    """For each variant of a definition a few words that tell it from the others; None where none are found."""
    if len(variants) == 1:
        return [()]
    deeds = [_counted(_deeds(plan.pattern, plan_of)) for plan in variants]
    once = [[deed for deed in mine if deed[1] == 1] for mine in deeds]
    for described in (_unique(once), _optional(once), _unique(deeds), _optional(deeds)):
        if len(set(described)) == len(described) and all(len(words) <= _MOST_TRAITS for words in described):
            return described
    return None


def _unique(deeds: Sequence[Sequence[tuple[str, int]]]) -> list[tuple[str, ...]]:
    """The first thing that only this variant does; nothing for one that does nothing of its own."""
    found = []
    for mine in deeds:
        others = {deed for other in deeds if other is not mine for deed in other}
        found.append(tuple(deed[0] for deed in mine if deed not in others)[:1])
    return found


def _optional(deeds: Sequence[Sequence[tuple[str, int]]]) -> list[tuple[str, ...]]:
    """All that it does and not every variant does."""
    common = set.intersection(*(set(mine) for mine in deeds))
    return [tuple(dict.fromkeys(deed[0] for deed in mine if deed not in common)) for mine in deeds]


def _counted(deeds: Iterator[str]) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    found = []
    for deed in deeds:
        counts[deed] += 1
        found.append((deed, counts[deed]))
    return found


def _deeds(use: Use, plan_of: Mapping[Use, Plan]) -> Iterator[str]:
    """What a body does, step by step, as a class would be named after it."""
    for _, item in walk(use.items):
        if isinstance(item, Call):
            if item.step.operation == "sum" and set(item.reads) & set(use.reads):
                yield "Residual"
            elif is_activation(item):
                yield "Activation"
            else:
                yield class_name(item.step.operation)
        elif isinstance(item, (Use, Loop)):
            for turn in item.uses if isinstance(item, Loop) else [item]:
                yield class_name(turn.definition)
                yield from plan_of[turn].traits


def _helper_names(plans: Sequence[Plan]) -> set[str]:
    """The names of modules and functions that are copied into the file."""
    return {
        item.call.target.rpartition(".")[2]
        for plan in plans
        for _, item in walk(plan.pattern.items)
        if isinstance(item, Call) and item.call is not None
        if item.call.kind in ("module", "function") and not is_torch(item.call.target)
    }
