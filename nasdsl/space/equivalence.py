"""When two architectures are the same network.

Equivalent architectures have isomorphic graphs, with equal operations and settings, once zeros are propagated,
identities dropped, sums of sums flattened and dead nodes removed. Sums are unordered, other operations ordered. Each
use's weights are its own, and equal uses without weights stay two. (The 6 466 classes quoted for NAS-Bench-201 follow
another definition: AutoDL-Projects compares strings in which equal sub-expressions are one.)

Graphs are told apart by colour refinement; what it can't tell apart is compared by an isomorphism search, so the
answer is exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import exp, sqrt
from typing import TYPE_CHECKING, Any

import networkx as nx

from nasdsl.diagnostics import failure
from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.choice import Genotype

if TYPE_CHECKING:
    from nasdsl.space.space import Space

UNORDERED = ("sum", "mean", "max", "multiply")
LARGEST = 1_000_000
"""The most genotypes that are listed."""


@dataclass(frozen=True, slots=True)
class Part:
    """A node of an architecture's graph: what it does, and what it reads, in order."""

    label: str
    inputs: tuple[int, ...]
    ordered: bool


Form = Mapping[int, Part]
"""An architecture's graph, reduced as far as equivalence asks; nodes in an order in which they can run."""


def reduced(architecture: Architecture) -> Form:
    """The graph of an architecture with sums of sums flattened and what thereby died removed."""
    parts: dict[int, Part] = {}
    makers: dict[int, int] = {}

    def walk(steps: Iterable[Step], inside: str) -> None:
        for step in steps:
            inputs = step.inputs
            if step.body is not None:
                walk(step.body.steps, f"{inside}scan ")
                inputs = (*inputs, step.body.output, *step.body.new_states, *step.body.states)
            if step.operation == "sum":
                flat: list[int] = []
                for source in inputs:
                    below = parts[source]
                    flat += below.inputs if below.label.startswith(f"{inside}sum ") else (source,)
                inputs = tuple(flat)
            settings = "" if step.operation == "sum" else sorted(step.instance.settings.items())
            maker = step.id if step.owner is None else makers.setdefault(step.owner, step.id)
            shared = "" if maker == step.id else "shared "
            name = step.name if step.operation == "input" else ""
            label = f"{inside}{step.operation} {shared}{name} {settings} {step.shape}"
            if shared:
                # Which weights it shares is part of what it is.
                inputs = (*inputs, maker)
            parts[step.id] = Part(label, inputs, step.operation not in UNORDERED)

    walk(architecture.steps, "")
    alive: set[int] = set()
    stack = [id for _, id in architecture.outputs]
    while stack:
        id = stack.pop()
        if id not in alive:
            alive.add(id)
            stack += parts[id].inputs
    outputs = {id: name for name, id in architecture.outputs}
    return {
        id: Part(f"{part.label} -> {outputs[id]}", part.inputs, part.ordered) if id in outputs else part
        for id, part in parts.items()
        if id in alive
    }


def spelled(form: Form) -> tuple[Any, ...]:
    """The graph as it is written: equal for genotypes that differ only in what is dead."""
    numbers = {id: i for i, id in enumerate(form)}
    return tuple((part.label, tuple(numbers[i] for i in part.inputs)) for part in form.values())


def colours(form: Form) -> dict[int, int]:
    """Colour refinement, along reads and against them, until it tells no more nodes apart.

    Colours are hashes: equal for nodes that correspond in isomorphic graphs, within one process.
    """
    found = {id: hash(part.label) for id, part in form.items()}
    classes = 0
    while len(set(found.values())) > classes:
        classes = len(set(found.values()))
        down: dict[int, int] = {}
        for id, part in form.items():
            below = [down[i] for i in part.inputs]
            down[id] = hash((found[id], tuple(below if part.ordered else sorted(below))))
        read_by: dict[int, list[int]] = {id: [] for id in form}
        up: dict[int, int] = {}
        for id in reversed(list(form)):
            up[id] = hash((down[id], tuple(sorted(read_by[id]))))
            for position, source in enumerate(form[id].inputs):
                read_by[source].append(hash((up[id], position if form[id].ordered else -1)))
        found = up
    return found


def isomorphic(a: Form, b: Form) -> bool:
    """Whether two reduced graphs are one, up to the names of nodes."""
    return bool(
        nx.is_isomorphic(
            _graph(a),
            _graph(b),
            node_match=lambda x, y: x["colour"] == y["colour"],
            edge_match=lambda x, y: (
                sorted(e["position"] for e in x.values()) == sorted(e["position"] for e in y.values())
            ),
        )
    )


def _graph(form: Form) -> Any:
    graph = nx.MultiDiGraph()
    for id, colour in colours(form).items():
        graph.add_node(id, colour=colour)
    for id, part in form.items():
        for position, source in enumerate(part.inputs):
            graph.add_edge(source, id, position=position if part.ordered else -1)
    return graph


class Classes:
    """Sorts architectures into classes of equivalent ones, as they come."""

    def __init__(self) -> None:
        self._spelled: dict[tuple[Any, ...], int] = {}
        self._coloured: dict[tuple[int, ...], list[tuple[int, Form]]] = {}
        self.count = 0

    def add(self, architecture: Architecture) -> int:
        """The number of the architecture's class, counted from 0."""
        form = reduced(architecture)
        text = spelled(form)
        known = self._spelled.get(text)
        if known is None:
            known = self._spelled[text] = self._find(form)
        return known

    def _find(self, form: Form) -> int:
        key = tuple(sorted(colours(form).values()))
        alike = self._coloured.setdefault(key, [])
        for number, other in alike:
            if isomorphic(form, other):
                return number
        number, self.count = self.count, self.count + 1
        alike.append((number, form))
        return number


def unique(space: Space) -> int:
    """How many architectures there are up to equivalence. Raises NasError (N505) beyond 10^6 genotypes."""
    if space.count() > LARGEST:
        raise failure(
            "N505",
            f"`{space.name}` has {space.count()} genotypes; up to {LARGEST} are compared",
            "make the space smaller with `--set`, or estimate: `--unique --samples 10000`",
        )
    classes = Classes()
    for genotype in genotypes(space):
        classes.add(space.architecture(genotype))
    return classes.count


def at_least(space: Space, samples: int, seed: int = 0) -> tuple[float, float]:
    """A lower bound of how many architectures there are up to equivalence, and its standard error.

    Classes that no sample falls into can't be counted: how many there are is the problem of unseen species, for which
    no sample gives an unbiased estimate. This is the bias-corrected estimate of Chao (1984) from the classes that
    were met once and twice, ``samples`` architectures being drawn uniformly and with replacement. Its expectation
    is at most the true number (but for terms that vanish as samples grow), and close to it where classes are equally
    large; the standard error is Chao's (1987).
    """
    classes = Classes()
    number_of: dict[Genotype, int] = {}
    met: Counter[int] = Counter()
    for genotype in space.sample(seed, samples, uniform=True):
        number = number_of.get(genotype)
        if number is None:
            number = number_of[genotype] = classes.add(space.architecture(genotype))
        met[number] += 1
    times = Counter(met.values())
    return unseen(len(met), times[1], times[2], samples)


def unseen(seen: int, once: int, twice: int, samples: int) -> tuple[float, float]:
    """Chao's lower bound of how many kinds there are, where ``seen`` were met, and its standard error.

    >>> unseen(seen=50, once=10, twice=9, samples=100)[0]
    54.5
    """
    bound = seen + once * (once - 1) / (2 * (twice + 1))
    if not once:
        missed = exp(-samples / seen)
        return bound, sqrt(seen * missed * (1 - missed))
    variance = once * (once - 1) / (2 * (twice + 1)) + once * (2 * once - 1) ** 2 / (4 * (twice + 1) ** 2)
    if twice:
        variance += once**2 * twice * (once - 1) ** 2 / (4 * (twice + 1) ** 4)
    else:
        variance -= once**4 / (4 * bound)
    return bound, sqrt(max(0.0, variance))


def genotypes(space: Space) -> Iterable[Genotype]:
    """Every genotype of the space that meets its constraints over choices, each once."""

    def below(position: int, assignment: list[int]) -> Iterable[list[int]]:
        if position == len(space.ordered_choices):
            yield assignment
            return
        choice = space.ordered_choices[position]
        if not choice.guard.at(assignment):
            yield from below(position + 1, assignment)
            return
        for cases in product(*(range(space.arities[v]) for v in choice.variables)):
            if (
                choice.low is not None
                and choice.high is not None
                and not choice.low <= sum(cases) <= choice.high
            ):
                continue
            for variable, case in zip(choice.variables, cases, strict=True):
                assignment[variable] = case
            yield from below(position + 1, assignment)
        for variable in choice.variables:
            assignment[variable] = 0

    for assignment in below(0, [0] * len(space.arities)):
        if all(constraint.at(assignment) for constraint in space.constraints):
            yield space.genotype_of(assignment)
