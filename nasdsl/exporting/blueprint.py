"""How the code of an architecture is organised: its classes, their parameters, and the name of every weight.

Uses of one ``op`` or ``cell`` whose code is the same up to numbers are one class; numbers that are the same in all of
them stand in the code, those that differ become parameters of the constructor. The network and the exported source
are both made from the blueprint, so their state dicts have the same names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasdsl.diagnostics import failure
from nasdsl.exporting.holes import call_signature, find_holes, walk
from nasdsl.exporting.names import identifier, numbered, plural
from nasdsl.exporting.naming import name_classes
from nasdsl.exporting.parameters import Parameter, Sizes, Slot, fill
from nasdsl.exporting.structure import (
    Call,
    Item,
    Key,
    Loop,
    Scan,
    Structure,
    Use,
    find_structure,
    item_at,
)
from nasdsl.space.architecture import Architecture
from nasdsl.space.operation import Catalogue


@dataclass(eq=False)
class Plan:
    """A class of the code, or a function where it holds no modules.

    ``uses`` are its instances; ``pattern`` is the one whose body the code is written from. ``inputs`` are the names of
    what ``forward`` takes. ``attributes`` name what the constructor makes, by the keys of the module.
    """

    definition: str
    kind: str
    pattern: Use
    uses: list[Use]
    name: str = ""
    inputs: tuple[str, ...] = ()
    parameters: list[Parameter] = field(default_factory=list)
    attributes: dict[tuple[Key, ...], str] = field(default_factory=dict)
    borrowed: dict[int, str] = field(default_factory=dict)
    """Where the module is whose weight a step borrows, seen from the class."""
    values: dict[Slot, Any] = field(default_factory=dict)
    """What stands in the code for each number: the number, or an expression over the parameters."""
    doc: str | None = None
    traits: tuple[str, ...] = ()
    """What tells it from other classes of its definition."""

    @property
    def is_function(self) -> bool:
        return self.kind != "space" and not self.pattern.keys

    def arguments(self, use: Use) -> list[Any]:
        """The values of the parameters in one use."""
        position = self.uses.index(use)
        return [parameter.values[position] for parameter in self.parameters]


@dataclass
class Blueprint:
    """``plans`` are in an order in which classes can be defined, the space's own last; ``plan_of`` finds a use's.

    ``paths`` give each module's place by its key; ``modules`` the keys in the order of the state dict.
    """

    structure: Structure
    plans: list[Plan]
    plan_of: Mapping[Use, Plan]
    paths: Mapping[Key, str]

    @property
    def architecture(self) -> Architecture:
        return self.structure.architecture

    @property
    def top(self) -> Plan:
        return self.plans[-1]


def draw_blueprint(architecture: Architecture, catalogue: Catalogue) -> Blueprint:
    """Organises the code of an architecture. The same architecture gives the same blueprint."""
    dissolved: set[int] = set()
    while True:
        structure = find_structure(architecture, catalogue, dissolved)
        apart = _split_owners(structure)
        if not apart:
            break
        # Uses between a shared weight and the body that all its uses have in common are written out there.
        dissolved |= apart
    drafter = _Drafter(structure)
    plans = drafter.draft()
    name_classes(plans, drafter.plan_of)
    for plan in plans:
        _name_attributes(plan)
        _settle_parameters(plan, drafter.plan_of, structure)
    walker = _Walker(drafter.plan_of)
    walker.walk(structure.root)
    walker.note_borrowed(plans)
    return Blueprint(structure, plans, drafter.plan_of, walker.paths)


# --- shared weights ---------------------------------------------------------------------------------


def _split_owners(structure: Structure) -> set[int]:
    """The scopes that stand between uses of one module that lie in different bodies."""
    places: dict[Key, list[tuple[Use, ...]]] = defaultdict(list)
    for trail, call in _calls(structure.root, ()):
        for key in call.keys:
            places[key].append(trail)
        if call.borrows is not None and call.step.owner is not None:
            places["owner", call.step.owner].append(trail)
    apart: set[int] = set()
    for trails in places.values():
        depth = 0
        while all(len(trail) > depth and trail[depth] is trails[0][depth] for trail in trails):
            depth += 1
        below = [trail[depth:] for trail in trails]
        # Uses that share all their weights are one module called several times.
        if all(below) and len({trail[0].keys for trail in below}) == 1 and len({id(t[0]) for t in below}) > 1:
            if len({_shape_of(trail[0]) for trail in below}) == 1:
                continue
        apart |= {use.scope.id for trail in below for use in trail}
    return apart


def _shape_of(use: Use) -> Hashable:
    """The body of a use in outline: what is called, in which order."""
    return tuple(
        _shape_of(item) if isinstance(item, Use) else item.step.operation
        for item in use.items
        if not isinstance(item, Loop)
    )


def _calls(item: Item, trail: tuple[Use, ...]) -> Iterator[tuple[tuple[Use, ...], Call]]:
    if isinstance(item, Call):
        yield trail, item
        return
    inner = (*trail, item) if isinstance(item, Use) else trail
    for below in item.uses if isinstance(item, Loop) else item.items:
        yield from _calls(below, inner)


# --- classes ----------------------------------------------------------------------------------------


class _Drafter:
    """Decides, from the innermost uses outwards, which uses are instances of one class."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.plan_of: dict[Use, Plan] = {}
        self.plans: list[Plan] = []

    def draft(self) -> list[Plan]:
        levels: dict[int, list[Use]] = defaultdict(list)
        self._measure(self.structure.root, levels)
        for height in sorted(levels):
            by_signature: dict[Hashable, list[Plan]] = defaultdict(list)
            for use in levels[height]:
                use.items = self._with_loops(use.items)
                signature = (use.definition, self._signature(use))
                if not any(self._join(use, plan) for plan in by_signature[signature]):
                    plan = Plan(use.definition, use.kind, use, [use], doc=use.scope.doc)
                    by_signature[signature].append(plan)
                    self.plan_of[use] = plan
                    self.plans.append(plan)
            for plans in by_signature.values():
                for plan in plans:
                    self._order_inputs(plan)
        return self._sorted()

    def _measure(self, item: Item, levels: dict[int, list[Use]]) -> int:
        if isinstance(item, Call):
            return 0
        assert not isinstance(item, Loop)
        height = max((self._measure(inner, levels) for inner in item.items), default=0)
        if isinstance(item, Use) and item.kind != "repeat":
            height += 1
            levels[height].append(item)
        return height

    def _sorted(self) -> list[Plan]:
        """Plans in the order of their first use, those inside before those around them."""
        found: dict[int, Plan] = {}

        def visit(item: Item) -> None:
            if isinstance(item, Call):
                return
            for inner in item.uses if isinstance(item, Loop) else item.items:
                visit(inner)
            if isinstance(item, Use):
                plan = self.plan_of[item]
                if id(plan) not in found:
                    # The body that the code is written from may be a later use's.
                    for inner in plan.pattern.items:
                        visit(inner)
                    found[id(plan)] = plan

        visit(self.structure.root)
        return list(found.values())

    # What two uses must have in common to be of one class.

    def _signature(self, use: Use) -> Hashable:
        refs = _References(use)
        return (
            tuple(self._item_signature(item, refs) for item in use.items),
            tuple(refs.inner(id) for id in use.makes) if use.kind != "space" else (),
        )

    def _item_signature(self, item: Item, refs: _References) -> Hashable:
        if isinstance(item, Call):
            borrowed = (
                refs.module((("owner", item.step.owner),)) if item.borrows and item.step.owner else None
            )
            return ("call", call_signature(item), refs.reads(item), refs.module(item.keys), borrowed)
        if isinstance(item, Use):
            return ("use", id(self.plan_of[item]), refs.reads(item), refs.module(item.keys))
        if isinstance(item, Scan):
            body = item.step.body
            assert body is not None
            inner = tuple(self._item_signature(i, refs) for i in item.items)
            ends = tuple(refs.inner(id) for id in (*body.new_states, body.output))
            return ("scan", refs.reads(item), len(body.states), inner, ends)
        plans = tuple(id(self.plan_of[use]) for use in item.uses)
        if item.open_ended:
            return ("repeat", plans[0], refs.reads(item), refs.module(item.keys))
        made = tuple(item.after().index(id) for id in item.makes)
        return ("loop", plans, item.turn, made, refs.reads(item), refs.module(item.keys))

    def _join(self, use: Use, plan: Plan) -> bool:
        """Makes the use an instance of the plan, if one of them reads its inputs as the other might."""
        mine, theirs = _outer_pattern(use), _outer_pattern(plan.pattern)
        specialised = _refines(theirs, mine)
        if specialised is None:
            generalised = _refines(mine, theirs)
            if generalised is None or use.kind == "space":
                return False
            # This use tells two inputs apart that all earlier ones bound to one tensor.
            for other in plan.uses:
                other.reads = tuple(other.reads[i] for i in generalised)
            plan.pattern = use
        else:
            use.reads = tuple(use.reads[i] for i in specialised)
        plan.uses.append(use)
        self.plan_of[use] = plan
        return True

    def _order_inputs(self, plan: Plan) -> None:
        """Names what ``forward`` takes as the author did, and puts it in the author's order."""
        pattern = plan.pattern
        if plan.kind == "space":
            steps = [self.structure.architecture.step(id) for id in pattern.reads]
            plan.inputs = tuple(numbered([identifier(step.name or "x") for step in steps]))
            return
        names = _input_names(pattern)
        order = sorted(range(len(pattern.reads)), key=lambda i: names[i][0])
        plan.inputs = tuple(numbered([names[i][1] for i in order]))
        for use in plan.uses:
            use.reads = tuple(use.reads[i] for i in order)

    # Loops.

    def _with_loops(self, items: list[Item]) -> list[Item]:
        items = [looped for item in items for looped in self._repeat(item)]
        found: list[Item] = []
        position = 0
        while position < len(items):
            loop = self._run_from(items, position)
            if loop is None:
                item = items[position]
                if isinstance(item, Scan):
                    item.items = self._with_loops(item.items)
                found.append(item)
                position += 1
            else:
                found.append(loop)
                position += len(loop.uses)
        return found

    def _repeat(self, repeat: Item) -> list[Item]:
        if not isinstance(repeat, Use) or repeat.kind != "repeat":
            return [repeat]
        uses = [item for item in repeat.items if isinstance(item, Use)]
        plans = {id(self.plan_of[use]) for use in uses}
        keys = [use.keys for use in uses]
        if any(keys) and (len(set(keys)) < len(keys) or not all(keys)):
            # Copies that share their weights are one module, called again and again.
            return list(repeat.items)
        if not any(keys) and len(plans) > 1:
            return list(repeat.items)
        label = repeat.label if repeat.label not in (None, "repeat") else plural(_common_name(uses))
        loop = Loop(uses, (("out", 0),), label, open_ended=len(plans) == 1, assigned=repeat.assigned)
        return [self._close(loop)]

    def _close(self, loop: Loop) -> Loop:
        loop.reads = loop.uses[0].reads
        inside = loop.steps
        loop.makes = tuple(
            dict.fromkeys(id for id in loop.after() if self.structure.read_outside(id, inside))
        )
        return loop

    def _run_from(self, items: Sequence[Item], start: int) -> Loop | None:
        """The longest loop of three turns and more that begins with this item."""
        first = items[start]
        if not isinstance(first, Use) or not first.keys:
            return None
        uses = [first]
        options: list[set[tuple[str, int]]] | None = None
        best: Loop | None = None
        for item in items[start + 1 :]:
            if not isinstance(item, Use) or not self._alike(first, item):
                break
            links = _links(uses[-1], item)
            options = links if options is None else [a & b for a, b in zip(options, links, strict=True)]
            if not all(options):
                break
            uses.append(item)
            turn = tuple(sorted(option, key=lambda o: (o[0] != "out", o[1]))[0] for option in options)
            if len(uses) >= 3 and any(source == "out" for source, _ in turn):
                loop = Loop(list(uses), turn, None)
                if self._is_closed(loop):
                    best = loop
        if best is None:
            return None
        name = _common_name(best.uses)
        best.label = plural(name) if all(u.kind != "cell" for u in best.uses) else _cells(name)
        return self._close(best)

    def _alike(self, first: Use, other: Use) -> bool:
        """Whether both could be turns of one loop."""
        if len(first.reads) != len(other.reads) or len(first.makes) != len(other.makes):
            return False
        if bool(first.keys) != bool(other.keys) or set(first.keys) & set(other.keys):
            return False
        same = first.definition == other.definition
        return same or (len(first.reads) > 1 and first.kind == other.kind == "cell")

    def _is_closed(self, loop: Loop) -> bool:
        """Whether what is read of the loop's tensors after it is still in its variables then."""
        keys = loop.keys
        inside, after = loop.steps, set(loop.after())
        made = {id for use in loop.uses for id in use.makes}
        return len(set(keys)) == len(keys) and all(
            id in after for id in made if self.structure.read_outside(id, inside)
        )


class _References:
    """Tensors and modules of one body by position, so that bodies can be compared."""

    def __init__(self, use: Use) -> None:
        self.made: dict[int, tuple[int, ...]] = {}
        self._note(use.items, ())
        self.modules: dict[tuple[Key, ...], int] = {}

    def _note(self, items: Sequence[Item], path: tuple[int, ...]) -> None:
        for index, item in enumerate(items):
            for output, id in enumerate(item.makes):
                self.made.setdefault(id, (*path, index, output))
            if isinstance(item, Scan) and item.step.body is not None:
                for state, id in enumerate((item.step.body.element, *item.step.body.states)):
                    self.made[id] = (*path, index, -1 - state)
                self._note(item.items, (*path, index))

    def inner(self, id: int) -> tuple[int, ...] | None:
        """Where a tensor is made in the body, None where it comes from outside."""
        return self.made.get(id)

    def reads(self, item: Item) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(self.inner(id) for id in item.reads)

    def module(self, keys: tuple[Key, ...]) -> int | None:
        return self.modules.setdefault(keys, len(self.modules)) if keys else None


def _outer_pattern(use: Use) -> tuple[int, ...]:
    """For each read of something outside, in the order of the body, which of the use's inputs it is."""
    if use.kind == "space":
        return ()
    inside = use.steps
    position = {id: i for i, id in reversed(list(enumerate(use.reads)))}
    return tuple(position[id] for item in use.items for id in item.reads if id not in inside)


def _refines(general: tuple[int, ...], special: tuple[int, ...]) -> list[int] | None:
    """Which input of the special pattern each input of the general one is, or None where there is no such map."""
    if len(general) != len(special):
        return None
    found: dict[int, int] = {}
    for mine, theirs in zip(general, special, strict=True):
        if found.setdefault(mine, theirs) != theirs:
            return None
    return [found[i] for i in range(len(found))]


def _input_names(use: Use) -> list[tuple[tuple[int, int], str]]:
    """For each input of a use its place among the definition's inputs, and its name."""
    declared = [
        ((place, element), name if len(ids) == 1 else f"{name}{element}", id)
        for place, (name, ids) in enumerate(use.scope.inputs.items())
        for element, id in enumerate(ids)
    ]
    found: list[tuple[tuple[int, int], str] | None] = [None] * len(use.reads)
    for position, read in enumerate(use.reads):
        match = next((entry for entry in declared if entry[2] == read), None)
        if match is not None:
            declared.remove(match)
            found[position] = (match[0], identifier(match[1]))
    # A choice of tensors has another number in the space than the tensor that was chosen: go by the order.
    missing = [position for position, name in enumerate(found) if name is None]
    if len(missing) == len(declared) or len(use.reads) == 1:
        for position, (place, name, _) in zip(missing, declared, strict=False):
            found[position] = (place, identifier(name))
    spare = len(declared) + len(found)
    return [entry if entry is not None else ((spare, i), "x") for i, entry in enumerate(found)]


def _links(before: Use, after: Use) -> list[set[tuple[str, int]]]:
    """For each argument of a use, which results or arguments of the one before it are the same tensor."""
    return [
        {("out", i) for i, made in enumerate(before.makes) if made == id}
        | {("arg", i) for i, read in enumerate(before.reads) if read == id}
        for id in after.reads
    ]


def _common_name(uses: Sequence[Use]) -> str:
    names = {use.definition for use in uses}
    if len(names) == 1:
        return identifier(names.pop(), "layer")
    return "cell" if all(use.kind == "cell" for use in uses) else "layer"


def _cells(name: str) -> str:
    return plural(name) if name.endswith("cell") else f"{name}_cells"


# --- names -----------------------------------------------------------------------------------------


def _held(items: Sequence[Item]) -> Iterator[Item]:
    """The items of a body whose modules are attributes of its class, those of a scan's body among them."""
    for item in items:
        if isinstance(item, Scan):
            yield from _held(item.items)
        elif item.keys:
            yield item


def _name_attributes(plan: Plan) -> None:
    from torch import nn

    distinct: dict[tuple[Key, ...], str] = {}
    for item, base in zip(*_attribute_bases(plan), strict=True):
        distinct.setdefault(item.keys, base)
    names = numbered(list(distinct.values()), taken=set(dir(nn.Module)) - {"compile"})
    plan.attributes = dict(zip(distinct, names, strict=True))


def _attribute_bases(plan: Plan) -> tuple[list[Item], list[str]]:
    """The modules of a body, and what each would be called, were it alone.

    The author's name for a use serves where it tells it from others: terms of ``x2 = edge(a) + edge(b)`` are ``x2``,
    candidate 0 among those of ``n[2]`` is ``n2_0``, but steps on the way to ``y`` are called after what they do.
    """
    held = list(_held(plan.pattern.items))
    readers: dict[int, list[Item]] = defaultdict(list)
    for _, item in walk(plan.pattern.items):
        for id in item.reads:
            readers[id].append(item)
    purposes = [_read_for(item, readers) for item in held]
    # A name that is another one in another use of the class says nothing about the class.
    columns = zip(*([item.label for item in _held(use.items)] for use in plan.uses), strict=True)
    labels = [column[0] if len(set(column)) == 1 else None for column in columns]
    bases = []
    for item, label, purpose in zip(held, labels, purposes, strict=True):
        plain = identifier(
            item.step.operation if isinstance(item, (Call, Scan)) else _definition(item), "layer"
        )
        if isinstance(item, Loop) and not item.assigned and is_single(plan, item):
            bases.append(identifier(item.uses[0].definition, "layer"))
        elif label is None:
            bases.append(plain)
        elif not identifier(label, "0")[0].isalpha() or label[0].isdigit():
            bases.append(f"{purpose}_{identifier(label, '').strip('_')}" if purpose else plain)
        elif labels.count(label) == 1 or purpose == identifier(label):
            bases.append(identifier(label, plain))
        else:
            bases.append(plain)
    return held, bases


def _read_for(item: Item, readers: Mapping[int, list[Item]]) -> str | None:
    """The author's name for the one tensor that an item's result goes into."""
    found = [reader for id in item.makes for reader in readers[id]]
    if len(found) != 1 or not isinstance(found[0], Call) or found[0].step.name is None:
        return None
    return identifier(found[0].step.name)


def _definition(item: Use | Loop) -> str:
    return item.definition if isinstance(item, Use) else item.label or "layers"


class _Walker:
    """Finds the place of every module and of every use in the state dict."""

    def __init__(self, plan_of: Mapping[Use, Plan]) -> None:
        self.plan_of = plan_of
        self.paths: dict[Key, str] = {}
        self.prefixes: dict[Use, str] = {}

    def walk(self, use: Use, prefix: str = "") -> None:
        plan = self.plan_of[use]
        self.prefixes[use] = prefix
        for mine, pattern in zip(_held(use.items), _held(plan.pattern.items), strict=True):
            here = f"{prefix}{plan.attributes[pattern.keys]}"
            if isinstance(mine, Call):
                self.paths.setdefault(mine.keys[0], here)
            elif isinstance(mine, Use):
                self.walk(mine, f"{here}.")
            elif isinstance(mine, Loop):
                assert isinstance(pattern, Loop)
                for index, turn in enumerate(mine.uses):
                    self.walk(turn, f"{here}." if is_single(plan, pattern) else f"{here}.{index}.")

    def note_borrowed(self, plans: Sequence[Plan]) -> None:
        """Notes where a class reads weights that another part of it holds (``unembed``). Raises NasError N953 where they
        are in no part of the network."""
        for plan in plans:
            prefix = self.prefixes.get(plan.pattern, "")
            for _, item in walk(plan.pattern.items):
                if isinstance(item, Call) and item.borrows is not None and item.step.owner is not None:
                    path = self.paths.get(("owner", item.step.owner))
                    if path is None or not path.startswith(prefix):
                        raise failure(
                            "N953",
                            f"`{item.step.operation}` reads the weights of an operation that this architecture leaves out",
                            help="let another genotype win, or use the operation outside a choice",
                        )
                    # A number in the path is a position in a Sequential or a ModuleList.
                    plan.borrowed[item.step.id] = re.sub(
                        r"\.(\d+)(?=\.|$)", r"[\1]", path.removeprefix(prefix)
                    )


def is_single(plan: Plan, item: Loop) -> bool:
    """Whether a repeat has one copy in every use, so that no loop is written."""
    if not item.open_ended:
        return False
    path = next(path for path, other in walk(plan.pattern.items) if other is item)
    return all(len(item_at(use.items, path).uses) == 1 for use in plan.uses)


# --- parameters ------------------------------------------------------------------------------------


def _settle_parameters(plan: Plan, plan_of: Mapping[Use, Plan], structure: Structure) -> None:
    """Finds the numbers of a class's body and which of them are parameters. Classes inside come first."""

    def single(item: Loop) -> bool:
        return is_single(plan, item)

    def arguments(use: Use) -> list[tuple[Parameter, Any]]:
        inner = plan_of[use]
        return list(zip(inner.parameters, inner.arguments(use), strict=True))

    def sizes(name: str, ids: Sequence[int]) -> Sizes:
        return Sizes(name, tuple(structure.shapes[id].dims for id in ids))

    holes = find_holes(plan.pattern.items, [use.items for use in plan.uses], arguments, single)
    inputs = [sizes(name, [use.reads[i] for use in plan.uses]) for i, name in enumerate(plan.inputs)]
    outputs = [sizes("", [use.makes[i] for use in plan.uses]) for i in range(len(plan.pattern.makes))]
    plan.parameters, plan.values = fill(list(holes), inputs, outputs)
