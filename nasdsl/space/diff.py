"""What two spaces have in common: choices, candidates and genotypes, counted exactly.

Choices are the same where they have the same name, candidates where they have the same label. A genotype is in both
spaces if each of them takes it as it stands. To count those without listing them, the guards and constraints of both
spaces are written over one set of variables (:class:`Joint`), in which a choice that only one of them has must not
exist, and the solver counts what satisfies all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import NasError, failure
from nasdsl.space.choice import Choice, Genotype
from nasdsl.space.conditions import guard_text
from nasdsl.space.diagram import Diagram, Diagrams
from nasdsl.space.graph import SELECT, Node
from nasdsl.space.solve import OverBudget, Solver

if TYPE_CHECKING:
    from nasdsl.space.space import Space

# For each variable of a space, where in the joint table each of its cases holds; the cases exclude each other.
Cases = Mapping[int, Sequence[Diagram]]

FIXINGS = 200
"""So many ways to fix the choices that one space doesn't have are tried."""

DRAWS = 200
"""So many genotypes are drawn to find one that the other space does not have."""


@dataclass(frozen=True)
class Change:
    """A choice that both spaces have, and how it differs.

    ``pick`` is how many candidates are taken, and ``where`` the condition under which it exists, in the first space and
    in the second; None where they agree.
    """

    name: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    pick: tuple[str, str] | None = None
    where: tuple[str | None, str | None] | None = None


@dataclass(frozen=True)
class Part:
    """One space as a part of the other: its networks are those of the other with the choices ``fixed`` so.

    ``of_first`` says whether the other is the first space; ``count`` is the number of these networks.
    """

    fixed: Mapping[str, str]
    of_first: bool
    count: int

    def __str__(self) -> str:
        return ", ".join(f"{name} = {label}" for name, label in self.fixed.items())


@dataclass(frozen=True)
class Difference:
    """From one space to another. ``networks`` says, where the genotypes are the same, whether their networks are.

    ``both`` counts genotypes that are in both as they stand: none, where one space always has a choice that the other
    has not. ``part`` then says whether the other is the same space with that choice fixed.
    """

    lost: tuple[Choice, ...]
    gained: tuple[Choice, ...]
    changed: tuple[Change, ...]
    before: int
    after: int
    both: int
    networks: bool | None
    part: Part | None = None

    @property
    def unmatched(self) -> tuple[Choice, ...]:
        """Choices that every architecture of one space has and the other space has not: no genotype is in both."""
        return tuple(choice for choice in (*self.lost, *self.gained) if _always(choice))

    @property
    def architectures_lost(self) -> int:
        return self.before - self.both

    @property
    def architectures_gained(self) -> int:
        return self.after - self.both

    @property
    def is_empty(self) -> bool:
        """Whether there is none: the same genotypes, and the same networks."""
        return self.before == self.after == self.both and self.networks is not False and not self.changed


def compare(a: Space, b: Space) -> Difference:
    """From space a to space b. Raises NasError (N502, N632) where the choices are too entangled to be counted."""
    first = {choice.name: choice for choice in a.choices}
    second = {choice.name: choice for choice in b.choices}
    changes = [_change(a, b, choice, second[name]) for name, choice in first.items() if name in second]
    before, after = a.count(), b.count()
    joint = Joint(a, b)
    try:
        both = Solver(joint.table, joint.arities, joint.rules).count()
    except OverBudget:
        raise failure(
            "N632",
            f"the choices of `{a.name}` and `{b.name}` are too entangled to be compared exactly",
            "compare them with fewer choices: `--set`, or `nasdsl narrow` first",
        ) from None
    lost = tuple(choice for name, choice in first.items() if name not in second)
    gained = tuple(choice for name, choice in second.items() if name not in first)
    changed = tuple(change for change in changes if change is not None)
    networks = None
    if before == after == both:
        networks = outline(a, joint.table, joint.first) == outline(b, joint.table, joint.second)
        networks = networks and sorted(map(str, a.limits)) == sorted(map(str, b.limits))
    part = None
    if not both:
        part = _part(a, b, lost, True) or _part(b, a, gained, False)
    return Difference(lost, gained, changed, before, after, both, networks, part)


def _always(choice: Choice) -> bool:
    return choice.guard.is_leaf and choice.guard.value is True


def _part(whole: Space, part: Space, missing: Sequence[Choice], of_first: bool) -> Part | None:
    """How ``whole`` becomes ``part`` by fixing the choices that it always has and ``part`` has not, if it does."""
    names = [choice.name for choice in missing if _always(choice)]
    if not names or any(choice.is_sublist for choice in missing if _always(choice)):
        return None
    if sorted(map(str, whole.limits)) != sorted(map(str, part.limits)):
        return None
    count = part.count()
    ways = product(*(whole.choice(name).labels for name in names))
    for labels in islice(ways, FIXINGS):
        fixed = dict(zip(names, labels, strict=True))
        joint = Joint(whole, part, fixed)
        if outline(whole, joint.table, joint.first) != outline(part, joint.table, joint.second):
            continue
        try:
            if Solver(joint.table, joint.arities, joint.rules).count() == count:
                return Part(fixed, of_first, count)
        except OverBudget:
            return None
    return None


def _change(a: Space, b: Space, old: Choice, new: Choice) -> Change | None:
    gained = tuple(label for label in new.labels if label not in old.labels)
    lost = tuple(label for label in old.labels if label not in new.labels)
    pick = (_pick(old), _pick(new))
    where = (guard_text(a.choices, old.guard), guard_text(b.choices, new.guard))
    if not gained and not lost and pick[0] == pick[1] and where[0] == where[1]:
        return None
    return Change(
        old.name,
        gained,
        lost,
        pick if pick[0] != pick[1] else None,
        where if where[0] != where[1] else None,
    )


def _pick(choice: Choice) -> str:
    """How many are taken; a sub-list of one is not a choice of one."""
    return f"{choice.pick} of" if choice.is_sublist else "one"


def only_in(a: Space, b: Space, seed: int = 0) -> Genotype | None:
    """A genotype of a that b does not have, if one of a few draws is such."""
    for genotype in a.sample(seed, DRAWS):
        try:
            if b.genotype(genotype) != genotype:
                return genotype
        except NasError:
            return genotype
    return None


class Joint:
    """The choices of two spaces as one set of variables, whose assignments under ``rules`` are the genotypes of both.

    A choice that both have is a variable with a case for each label that both have, after one for its absence (or, for
    a sub-list, a variable for each label). ``fixed`` gives choices that only a has, and always, the label they take.
    """

    def __init__(self, a: Space, b: Space, fixed: Mapping[str, str] | None = None) -> None:
        self.fixed = fixed or {}
        self.table = Diagrams()
        self.arities: list[int] = []
        self.first: dict[int, list[Diagram]] = {}
        self.second: dict[int, list[Diagram]] = {}
        theirs = {choice.name: choice for choice in b.choices}
        here = {choice.name: self._variables(choice, theirs.get(choice.name)) for choice in a.choices}
        for choice in b.choices:
            if choice.name not in here:
                self._leave_out(choice, self.second)
        self._memos: tuple[dict[int, Diagram], dict[int, Diagram]] = ({}, {})
        self.rules: list[Diagram] = []
        for choice in a.choices:
            other = theirs.get(choice.name)
            present = here[choice.name]
            if choice.name in self.fixed:
                continue
            guard = self._in_first(choice.guard)
            if other is None or present is None:
                self._forbid(guard)
                if other is not None:
                    self._forbid(self._in_second(other.guard))
                continue
            self._equal(guard, self._in_second(other.guard))
            if choice.is_sublist:
                for space, found, rule in ((a, choice, self._in_first), (b, other, self._in_second)):
                    alone = self._none_of(present)
                    self._add(self.table.choose(guard, rule(space.permitted(found)), alone))
            else:
                self._equal(guard, self.table.negate(self._none_of(present)))
        for choice in b.choices:
            if choice.name not in here:
                self._forbid(self._in_second(choice.guard))
        for constraint in a.constraints:
            self._add(self._in_first(constraint))
        for constraint in b.constraints:
            self._add(self._in_second(constraint))

    def _variables(self, a: Choice, b: Choice | None) -> list[Diagram] | None:
        """For each label that both have, where it is taken; None where the choice can't exist in both."""
        table = self.table
        if b is None or a.is_sublist != b.is_sublist:
            self._leave_out(a, self.first)
            if b is not None:
                self._leave_out(b, self.second)
            return None
        common = [label for label in a.labels if label in b.labels]
        if a.is_sublist:
            taken = []
            for _ in common:
                taken.append(table.equals(len(self.arities), 1, 2))
                self.arities.append(2)
            by_label = dict(zip(common, taken, strict=True))
            for choice, side in ((a, self.first), (b, self.second)):
                for label, variable in zip(choice.labels, choice.variables, strict=True):
                    takes = by_label.get(label, table.false)
                    side[variable] = [table.negate(takes), takes]
            return taken
        if not common:
            self._leave_out(a, self.first)
            self._leave_out(b, self.second)
            return None
        variable, arity = len(self.arities), len(common) + 1
        self.arities.append(arity)
        absent = table.equals(variable, 0, arity)
        taken = [table.equals(variable, case + 1, arity) for case in range(len(common))]
        by_label = dict(zip(common, taken, strict=True))
        for choice, side in ((a, self.first), (b, self.second)):
            cases = [by_label.get(label, table.false) for label in choice.labels]
            # A choice that does not exist stands at its first candidate.
            cases[0] = table.either(cases[0], absent)
            side[choice.variables[0]] = cases
        return taken

    def _leave_out(self, choice: Choice, side: dict[int, list[Diagram]]) -> None:
        for variable in choice.variables:
            arity = 2 if choice.is_sublist else len(choice.labels)
            taken = choice.labels.index(self.fixed[choice.name]) if choice.name in self.fixed else 0
            side[variable] = [self.table.true if case == taken else self.table.false for case in range(arity)]

    def _in_first(self, diagram: Diagram) -> Diagram:
        return translated(diagram, self.table, self.first, self._memos[0])

    def _in_second(self, diagram: Diagram) -> Diagram:
        return translated(diagram, self.table, self.second, self._memos[1])

    def _none_of(self, taken: Sequence[Diagram]) -> Diagram:
        none = self.table.true
        for diagram in taken:
            none = self.table.both(none, self.table.negate(diagram))
        return none

    def _add(self, rule: Diagram) -> None:
        if rule is not self.table.true:
            self.rules.append(rule)

    def _forbid(self, diagram: Diagram) -> None:
        self._add(self.table.negate(diagram))

    def _equal(self, a: Diagram, b: Diagram) -> None:
        self._add(self.table.choose(a, b, self.table.negate(b)))


def translated(diagram: Diagram, table: Diagrams, cases: Cases, memo: dict[int, Diagram]) -> Diagram:
    """A diagram of one table over the variables of another."""
    if diagram.is_leaf:
        return table.leaf(diagram.value)
    found = memo.get(id(diagram))
    if found is None:
        result: Diagram | None = None
        for case, below in zip(cases[diagram.variable], diagram.cases, strict=True):
            if case is table.false:
                continue
            inner = translated(below, table, cases, memo)
            result = inner if result is None else table.choose(case, inner, result)
        found = memo[id(diagram)] = table.undefined if result is None else result
    return found


# --- networks -------------------------------------------------------------------------------------


def outline(space: Space, table: Diagrams, cases: Cases) -> Hashable:
    """The graph of a space over joint variables, such that equal outlines are equal networks for every genotype.

    Names, places in the text and the order in which things were written do not count; neither do identities, and
    choices that are decided.
    """
    return _Outline(space, table, cases).value()


class _Outline:
    def __init__(self, space: Space, table: Diagrams, cases: Cases) -> None:
        self.space = space
        self.table = table
        self.cases = cases
        self.memo: dict[int, Diagram] = {}
        self.numbers: dict[Hashable, int] = {}
        self.nodes: list[Node] = list(space.graph.all_nodes())
        self.colours: dict[int, Hashable] = {}
        self.alive: dict[int, list[tuple[int, Diagram]]] = {}
        # Tensors that are never there.
        self.absent: set[int] = set()
        # Of the nodes that share weights, the first that is left.
        self.makers: dict[int, int] = {}

    def value(self) -> Hashable:
        for node in self.nodes:
            reads = [(e.source, self._at(e.guard)) for e in self.space.graph.reads(node.id)]
            self.alive[node.id] = [(s, g) for s, g in reads if g is not self.table.false]
        alive = self._reached()
        for node in self.nodes:
            if node.id in alive:
                self.colours[node.id] = self._colour(node)
        kept = [
            node.id
            for node in self.nodes
            if node.id in alive and node.id not in self.absent and not self._passes(node)
        ]
        outputs = tuple(self.colours[node] for _, node in self.space.outputs)
        inputs = tuple(self.colours[node] for node in self.space.inputs)
        return inputs, outputs, frozenset(Counter(self.colours[node] for node in kept).items())

    def _reached(self) -> set[int]:
        found: set[int] = set()
        stack = [node for _, node in self.space.outputs] + list(self.space.inputs)
        while stack:
            id = stack.pop()
            if id in found:
                continue
            found.add(id)
            if self.nodes[id].operation == "zero":
                continue  # Nothing comes of what it reads but a shape.
            stack += [source for source, _ in self.alive[id]]
            settings = self.nodes[id].settings
            if self.nodes[id].operation == "scan":
                stack += [settings["element"], *settings["states"]]
        return found

    def _at(self, diagram: Diagram) -> Diagram:
        return translated(diagram, self.table, self.cases, self.memo)

    def _passes(self, node: Node) -> bool:
        """Whether a node only hands on what it reads: an identity, or a choice that is decided."""
        if node.operation == "identity":
            return True
        return node.operation == SELECT and len(self.alive[node.id]) == 1

    def _colour(self, node: Node) -> Hashable:
        reads = self.alive[node.id]
        if self._passes(node):
            if reads[0][0] in self.absent:
                self.absent.add(node.id)
            return self.colours[reads[0][0]]
        if node.operation == "sum":
            reads = [(source, guard) for source, guard in reads if source not in self.absent]
        if node.operation == "zero" or (node.operation == "sum" and not reads):
            self.absent.add(node.id)
            return ("zero", tuple(self._setting(dim) for dim in node.type.dims), node.type.dtype)
        own = self._at(node.guard)
        inputs = [(self.colours[source], "" if guard is own else id(guard)) for source, guard in reads]
        if node.operation in (SELECT, "sum", "mean", "max", "multiply"):
            inputs.sort(key=repr)
        settings: list[Any] = []
        if node.operation == "scan":
            regions = (node.settings["element"], *node.settings["states"])
            settings = [self.colours[inner] for inner in regions]
        elif node.operation != SELECT:
            settings = sorted((name, self._setting(value)) for name, value in node.settings.items())
        shared: Hashable = ""
        first = self.makers.setdefault(node.owner, node.id) if node.owner is not None else node.id
        if first != node.id:
            shared = ("shares", self.colours[first])
        name = node.name if node.operation == "input" else ""
        size = tuple(self._setting(dim) for dim in node.type.dims)
        key = (node.operation, tuple(inputs), repr(settings), shared, name, size, node.type.dtype, id(own))
        # Numbered through the joint table, so that both spaces give the same colour the same number.
        return id(self.table.leaf(key))

    def _setting(self, value: Any) -> str:
        if not isinstance(value, Diagram):
            return str(value)
        found = self._at(value)
        if found.is_leaf:
            return str(found.value)
        return f"diagram {id(found)}"


def decided_cases(
    space: Space, table: Diagrams, fixed: Mapping[int, int], into: Mapping[int, tuple[int, int]]
) -> dict[int, list[Diagram]]:
    """Cases for a space of which some variables are ``fixed``; the others become variables of ``table`` with an arity."""
    found: dict[int, list[Diagram]] = {}
    for variable, arity in enumerate(space.arities):
        if variable in fixed:
            found[variable] = [
                table.true if case == fixed[variable] else table.false for case in range(arity)
            ]
        else:
            joint, cases = into[variable]
            found[variable] = [table.equals(joint, case, cases) for case in range(arity)]
    return found
