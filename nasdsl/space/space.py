"""A search space, ready to be counted, sampled, measured and decided."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import comb, prod
from typing import TYPE_CHECKING, Any, overload

from nasdsl.diagnostics import Diagnostic, Span, did_you_mean, failure
from nasdsl.space.architecture import Architecture
from nasdsl.space.choice import Choice, Genotype, Taken
from nasdsl.space.conditions import guard_text
from nasdsl.space.decide import Decider
from nasdsl.space.diagram import UNDEFINED, Diagram, Diagrams
from nasdsl.space.free import least_sizes
from nasdsl.space.given import read_genotype
from nasdsl.space.graph import Node, SpaceGraph
from nasdsl.space.latency import Clock, readable
from nasdsl.space.measures import Extent, Measures, Ranges, measure, ranges
from nasdsl.space.mixture import mixture
from nasdsl.space.neighbours import mutate, neighbours
from nasdsl.space.operation import Catalogue, Instance
from nasdsl.space.sampling import sample_indices, samples
from nasdsl.space.size import Rational
from nasdsl.space.solve import OverBudget, Solver
from nasdsl.space.tensor import Part, Parts, Shape, SpaceDim, TensorType
from nasdsl.version import FORMAT, VERSION

if TYPE_CHECKING:
    from nasdsl.space.sampling import Assignments

# How many draws are made for a genotype within the limits on measures before the space is called too narrow.
DRAWS = 10_000


@dataclass(frozen=True)
class Limit:
    """``require`` over a measure: ``measure operator bound``, where ``guard`` holds."""

    measure: str
    operator: str
    bound: Rational
    guard: Diagram
    span: Span

    def meets(self, value: Any) -> bool:
        return bool(_COMPARISONS[self.operator](value, self.bound))

    def __str__(self) -> str:
        return f"{self.measure} {self.operator} {shown(self.measure, self.bound)}"


def shown(measure: str, value: Any) -> str:
    """A value of a measure as people read it."""
    return readable(float(value)) if measure == "latency" else str(value)


_COMPARISONS = {
    "<=": lambda a, b: a <= b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


@dataclass(eq=False)
class Space:
    """All architectures that a ``.nas`` file describes.

    ``graph`` is the superposition of all of them; ``outputs`` are (name, node). ``constraints`` are the ``require``
    statements over choices, as diagrams; ``limits`` those over measures. ``sources`` are the texts that it was read
    from, by path, the space's own file first. ``clock`` knows how long architectures take, where something does.
    """

    name: str
    parameters: Mapping[str, Rational]
    graph: SpaceGraph
    inputs: tuple[int, ...]
    outputs: tuple[tuple[str, int], ...]
    choices: tuple[Choice, ...]
    table: Diagrams
    arities: tuple[int, ...]
    constraints: tuple[Diagram, ...]
    limits: tuple[Limit, ...]
    catalogue: Catalogue
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = ()
    clock: Clock | None = None

    # --- choices and genotypes -----------------------------------------------------------------

    @cached_property
    def _by_name(self) -> dict[str, Choice]:
        return {choice.name: choice for choice in self.choices}

    def choice(self, name: str) -> Choice:
        """The choice of that name. Raises NasError (N801) that names the nearest one."""
        found = self._by_name.get(name)
        if found is None:
            raise failure(
                "N801", f"the space `{self.name}` has no choice `{name}`", did_you_mean(name, self._by_name)
            )
        return found

    @cached_property
    def ordered_choices(self) -> tuple[Choice, ...]:
        """Choices such that what a guard asks comes before what it guards (a cell may be used under a later choice)."""
        owner = {v: choice for choice in self.choices for v in choice.variables}
        done: set[int] = set()
        ordered: list[Choice] = []

        def visit(choice: Choice) -> None:
            if choice.index in done:
                return
            done.add(choice.index)
            for variable in sorted(choice.guard.support()):
                visit(owner[variable])
            ordered.append(choice)

        for choice in self.choices:
            visit(choice)
        return tuple(ordered)

    def permitted(self, choice: Choice) -> Diagram:
        """Where a sub-list takes a permitted number of candidates."""
        if choice.low is None or choice.high is None:
            return self.table.true
        return self._between(choice.variables, choice.low, choice.high)

    def _between(self, variables: Sequence[int], low: int, high: int) -> Diagram:
        # Rows of a counting diagram, from the last variable up: row[n] is right where n are taken already.
        row = [self.table.leaf(low <= n <= high) for n in range(len(variables) + 1)]
        for variable in reversed(variables):
            row = [self.table.node(variable, [row[n], row[n + 1]]) for n in range(len(row) - 1)]
        return row[0]

    @cached_property
    def rules(self) -> list[Diagram]:
        """What makes assignments and genotypes correspond one to one, and every ``require`` over choices."""
        rules = []
        for choice in self.choices:
            valid = self.permitted(choice)
            alone = self.table.true
            if choice.guard is not self.table.true:
                for variable in choice.variables:
                    alone = self.table.both(alone, self.table.equals(variable, 0, self.arities[variable]))
            rule = self.table.choose(choice.guard, valid, alone)
            if rule is not self.table.true:
                rules.append(rule)
        return rules + list(self.constraints)

    @cached_property
    def _solver(self) -> Solver:
        return Solver(self.table, self.arities, self.rules)

    def count(self) -> int:
        """How many architectures there are, exactly: genotypes that satisfy every ``require`` over choices.

        Raises NasError (N502) where choices are entangled beyond the budget of the exact count.
        """
        try:
            return self._solver.count()
        except OverBudget:
            raise failure(
                "N502",
                f"the choices of `{self.name}` are too entangled to be counted exactly",
                "estimate with `nasdsl count --samples 10000`",
            ) from None

    def estimate(self, samples: int, seed: int = 0) -> tuple[float, float]:
        """About how many architectures there are, and the standard error: for spaces too entangled for :meth:`count`.

        Each sample decides choice by choice; the product of how many ways there were at each is an unbiased estimate
        (Knuth 1975), 0 where a ``require`` over choices is broken.
        """
        generator = random.Random(seed)
        found = []
        for _ in range(samples):
            genotype = self._free_draw(generator)
            ways = prod(self._ways(self._by_name[name]) for name in genotype)
            assignment = self.assignment(genotype)
            found.append(ways if all(c.at(assignment) for c in self.constraints) else 0)
        mean = Fraction(sum(found), samples)
        spread = sum((value - mean) ** 2 for value in found) / max(1, samples - 1)
        return float(mean), float(spread / samples) ** 0.5

    @staticmethod
    def _ways(choice: Choice) -> int:
        if choice.low is None or choice.high is None:
            return len(choice.labels)
        return sum(comb(len(choice.labels), k) for k in range(choice.low, choice.high + 1))

    def _free_draw(self, generator: random.Random) -> Genotype:
        """A genotype choice by choice, whether or not it meets the constraints."""
        return self._existing({choice.name: self.draw(choice, generator) for choice in self.choices})

    def check_limits(self) -> None:
        """Raises NasError (N501) where no architecture can meet a ``require`` on a measure."""
        for limit in self.limits:
            extent: Extent = getattr(self.ranges(), limit.measure)
            ends = (extent.min, extent.max)
            possible = {
                "<=": limit.bound >= extent.min,
                "<": limit.bound > extent.min,
                ">=": limit.bound <= extent.max,
                ">": limit.bound < extent.max,
                "==": extent.min <= limit.bound <= extent.max,
                "!=": ends != (limit.bound, limit.bound),
            }[limit.operator]
            if not possible and limit.guard is self.table.true:
                raise failure(
                    "N501",
                    f"no architecture has {limit}: {limit.measure} go from "
                    f"{shown(limit.measure, extent.min)} to {shown(limit.measure, extent.max)}",
                    f"loosen it: `require {limit.measure} {limit.operator} …` between these",
                    limit.span,
                )

    def genotype(self, entries: Mapping[str, Taken | Sequence[str]]) -> Genotype:
        """Checks entries against the space, and puts them in its order.

        Raises NasError for a choice that is missing (N802), unknown (N801), does not exist in this architecture (N803),
        a candidate that isn't one (N804), a sub-list of the wrong length (N805), or a ``require`` that is broken (N806).
        """
        return read_genotype(self, entries)

    def assignment(self, genotype: Mapping[str, Taken]) -> list[int]:
        """The case of each variable, 0 where its choice does not exist. Labels are taken to be right."""
        assignment = [0] * len(self.arities)
        for name, taken in genotype.items():
            for variable, case in self._by_name[name].cases(taken):
                assignment[variable] = case
        return assignment

    def genotype_of(self, assignment: Sequence[int] | Mapping[int, int]) -> Genotype:
        """The genotype of an assignment: the choices that exist, with what they take."""
        entries: dict[str, Taken] = {}
        for choice in self.choices:
            if not choice.guard.at(assignment):
                continue
            if choice.is_sublist:
                entries[choice.name] = tuple(
                    label for label, v in zip(choice.labels, choice.variables, strict=True) if assignment[v]
                )
            else:
                entries[choice.name] = choice.labels[assignment[choice.variables[0]]]
        return Genotype(entries)

    def permits(self, genotype: Mapping[str, Taken]) -> bool:
        """Whether a well-formed genotype meets every ``require``."""
        assignment = self.assignment(genotype)
        if not all(constraint.at(assignment) for constraint in self.constraints):
            return False
        limits = [limit for limit in self.limits if limit.guard.at(assignment)]
        if not limits:
            return True
        found = self.measure(genotype)
        return all(limit.meets(getattr(found, limit.measure)) for limit in limits)

    # --- sampling ------------------------------------------------------------------------------

    @overload
    def sample(self, seed: int) -> Genotype: ...
    @overload
    def sample(self, seed: int, n: int, *, uniform: bool = False) -> list[Genotype]: ...
    def sample(self, seed: int, n: int | None = None, *, uniform: bool = False) -> Genotype | list[Genotype]:
        """One genotype, or a list of n.

        Uniform choice by choice over what the constraints permit or, with ``uniform``, over architectures. Limits on
        measures are met by drawing again. Raises NasError (N504) where hardly any architecture meets them.
        """
        generator = random.Random(seed)
        found: list[Genotype] = []
        draws = 0
        wanted = 1 if n is None else n
        while len(found) < wanted:
            batch = self._draw(generator, wanted - len(found), uniform)
            if self.limits:
                draws += len(batch)
                batch = [genotype for genotype in batch if self.permits(genotype)]
                if draws > DRAWS * wanted and not batch and not found:
                    raise failure(
                        "N504",
                        f"none of {draws} architectures drawn meets {' and '.join(map(str, self.limits))}",
                        "loosen the `require`",
                    )
            found += batch
        return found[0] if n is None else found

    def samples(self, seed: int) -> Iterator[Genotype]:
        """Genotypes without end, uniform choice by choice; see :mod:`nasdsl.space.sampling`."""
        return samples(self, seed)

    def sample_indices(self, n: int, seed: int) -> Assignments:
        """Assignments of n architectures as an array [n, variables]; see :mod:`nasdsl.space.sampling`."""
        return sample_indices(self, n, seed)

    def _draw(self, generator: random.Random, n: int, uniform: bool) -> list[Genotype]:
        if uniform:
            return [self.genotype_of(self._solver.sample(generator)) for _ in range(n)]
        if self.constraints:
            return [self._draw_constrained(generator) for _ in range(n)]
        columns = []
        for choice in self.choices:
            columns.append(
                [self._some(choice, generator) for _ in range(n)]
                if choice.is_sublist
                else generator.choices(choice.labels, k=n)
            )
        names = [choice.name for choice in self.choices]
        if all(choice.guard is self.table.true for choice in self.choices):
            if not names:
                return [Genotype({})] * n
            return [Genotype(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
        return [
            self._existing({name: column[i] for name, column in zip(names, columns, strict=True)})
            for i in range(n)
        ]

    def _existing(self, drawn: Mapping[str, Taken]) -> Genotype:
        """Of what was drawn for every choice, the part whose choices exist."""
        return self.taking(lambda choice: drawn[choice.name])

    def taking(self, take: Callable[[Choice], Taken]) -> Genotype:
        """Choice by choice what ``take`` says; it is asked for those alone that exist, after what was taken before."""
        assignment = [0] * len(self.arities)
        found: dict[str, Taken] = {}
        for choice in self.ordered_choices:
            if not choice.guard.at(assignment):
                continue
            found[choice.name] = take(choice)
            for variable, case in choice.cases(found[choice.name]):
                assignment[variable] = case
        return Genotype({choice.name: found[choice.name] for choice in self.choices if choice.name in found})

    def draw(self, choice: Choice, generator: random.Random) -> Taken:
        """What a choice takes, each that its bounds permit as likely as any other."""
        return self._some(choice, generator) if choice.is_sublist else generator.choice(choice.labels)

    def neighbours(self, genotype: Genotype, seed: int = 0) -> list[Genotype]:
        """The genotypes that differ in one choice; see :mod:`nasdsl.space.neighbours`."""
        return neighbours(self, genotype, seed)

    def mutate(self, genotype: Genotype, generator: random.Random) -> Genotype:
        """A genotype that differs in one choice drawn at random; see :mod:`nasdsl.space.neighbours`."""
        return mutate(self, genotype, generator)

    @staticmethod
    def _some(choice: Choice, generator: random.Random) -> tuple[str, ...]:
        """A sub-list, each that is permitted as likely as any other."""
        assert choice.low is not None and choice.high is not None
        if choice.low == 0 and choice.high == len(choice.labels):
            bits = generator.getrandbits(len(choice.labels))
            return tuple(label for i, label in enumerate(choice.labels) if bits >> i & 1)
        n = len(choice.labels)
        sizes = range(choice.low, choice.high + 1)
        size = generator.choices(sizes, [comb(n, k) for k in sizes])[0]
        return tuple(choice.labels[i] for i in sorted(generator.sample(range(n), size)))

    def _draw_constrained(self, generator: random.Random) -> Genotype:
        """Choice by choice, each time among the candidates that still leave an architecture."""
        left = list(self.rules)
        rest = frozenset(range(len(self.arities)))
        assignment: dict[int, int] = {}
        for choice in self.ordered_choices:
            for variable in choice.variables:
                rest = rest - {variable}
                options = []
                for case in range(self.arities[variable]):
                    below = [self.table.restrict(d, variable, case) for d in left]
                    count = self._solver.count_of(below, rest)
                    if count:
                        # Members of a sub-list are no choices of their own: weigh them by what they leave.
                        options.append((case, below, count if choice.is_sublist else 1))
                case, left, _ = generator.choices(options, [float(weight) for *_, weight in options])[0]
                assignment[variable] = case
        return self.genotype_of(assignment)

    # --- architectures -------------------------------------------------------------------------

    @cached_property
    def decider(self) -> Decider:
        """What makes architectures of this space, and remembers the steps that they have in common."""
        return Decider(self)

    def architecture(
        self, genotype: Mapping[str, Taken], *, gated: Collection[str] = (), keep_absent: bool = False
    ) -> Architecture:
        """What is left of the graph when the genotype is put in; see :class:`nasdsl.space.decide.Decider`."""
        return self.decider.decide(self.assignment(genotype), genotype, gated, keep_absent)

    def mixture(self, among: Mapping[str, Collection[int]] | None = None) -> Architecture:
        """Every candidate of every choice, or those ``among`` which one is, blended; see :mod:`nasdsl.space.mixture`."""
        return mixture(self, among) if among else self._mixture

    @cached_property
    def _mixture(self) -> Architecture:
        return mixture(self, {})

    def measure(self, genotype: Mapping[str, Taken]) -> Measures:
        """Params, FLOPs and activation memory of one architecture, exactly."""
        return measure(self.architecture(genotype), self.catalogue, self.clock)

    @cached_property
    def _ranges(self) -> Ranges:
        return ranges(self)

    def ranges(self) -> Ranges:
        """The extents of the measures over all architectures."""
        return self._ranges

    def largest(self, node: int) -> Instance:
        """An operation of the graph with every elastic setting and size at its largest: what a supernet stores."""
        found = self.graph.node(node)
        types = [self.graph.node(edge.source).type for edge in self.graph.reads(node)]
        settings = {name: _largest(value) for name, value in found.settings.items()}
        instance = Instance(
            tuple(_largest_shape(t) for t in types),
            settings,
            _largest_shape(found.type),
            tuple(_largest_parts(t) for t in types),
            _largest_parts(found.type),
        )
        if not any(isinstance(value, Diagram) for value in found.settings.values()):
            return instance
        return self.catalogue[found.operation].stored(instance, self._decided(found, types))

    def _decided(self, node: Node, types: Sequence[TensorType]) -> list[Instance]:
        """The instances of a use that occur in the space."""
        layout = [(t.rank, t.dtype) for t in (*types, node.type)]
        operands = [self.table.lift(dim) for t in (*types, node.type) for dim in t.dims]
        fixed = {k: v for k, v in node.settings.items() if isinstance(v, list)}
        names = [k for k in node.settings if k not in fixed]
        operands += [self.table.lift(node.settings[k]) for k in names]
        rows = self.table.within(self.table.map(_row, *operands), node.guard).leaves()
        found = []
        for row in rows:
            if row is UNDEFINED:
                continue
            shapes, offset = [], 0
            for rank, dtype in layout:
                shapes.append(Shape(row[offset : offset + rank], dtype))
                offset += rank
            settings = {**fixed, **dict(zip(names, row[offset:], strict=True))}
            found.append(Instance(tuple(shapes[:-1]), settings, shapes[-1]))
        return found

    @cached_property
    def least(self) -> Mapping[str, int]:
        """The least bound of each free dimension: every architecture runs from there on; see :mod:`nasdsl.space.free`."""
        return least_sizes(self)

    # --- for people and machines ---------------------------------------------------------------

    def shape(self, node: int) -> tuple[list[int | str], str]:
        """Sizes and kind of a tensor, free sizes as text and sizes that rest on choices as ``16|24``."""
        type = self.graph.node(node).type
        dims: list[int | str] = []
        for dim in type.dims:
            if isinstance(dim, Diagram):
                dims.append("|".join(str(leaf) for leaf in dim.leaves() if isinstance(leaf, int)))
            else:
                dims.append(dim if isinstance(dim, int) else str(dim))
        return dims, type.dtype

    def describe(self) -> dict[str, Any]:
        """The space as data, as ``nasdsl compile --json`` prints it."""
        found = self.ranges()
        tensors = [(self.graph.node(node).name, node) for node in self.inputs]
        return {
            "name": self.name,
            "parameters": {k: v if isinstance(v, int) else float(v) for k, v in self.parameters.items()},
            "inputs": [self._tensor(name or "", node) for name, node in tensors],
            "outputs": [self._tensor(name, node) for name, node in self.outputs],
            "free": dict(self.least),
            "choices": [
                {
                    "name": choice.name,
                    "candidates": list(choice.labels),
                    "pick": choice.pick,
                    "guard": guard_text(self.choices, choice.guard),
                }
                for choice in self.choices
            ],
            "architectures": str(self.count()),
            "params": _extent(found.params),
            "flops": _extent(found.flops),
            "memory": _extent(found.memory),
            "training_memory": _extent(found.training_memory),
            "supernet": {"params": found.supernet_params},
            "nasdsl": VERSION,
            "format": FORMAT,
        }

    def _tensor(self, name: str, node: int) -> dict[str, Any]:
        shape, dtype = self.shape(node)
        return {"name": name, "shape": shape, "dtype": dtype}


def _extent(extent: Extent) -> dict[str, Any]:
    found: dict[str, Any] = {"min": extent.min, "max": extent.max}
    if not extent.exact:
        found["exact"] = False
    return found


def _row(*values: Any) -> Any:
    return UNDEFINED if any(value is UNDEFINED for value in values) else values


def _largest(value: Any) -> Any:
    """The largest of a size's or setting's values."""
    if not isinstance(value, Diagram):
        return value
    numbers = [leaf for leaf in value.leaves() if isinstance(leaf, (int,)) or hasattr(leaf, "denominator")]
    return max(numbers) if numbers else value.leaves()[0]


def _largest_parts(type: TensorType) -> tuple[Parts, ...]:
    return tuple(
        None if parts is None else tuple(Part(p.limit, p.limit) for p in parts) for parts in type.parts
    )


def _largest_shape(type: TensorType) -> Shape:
    """An axis that is made of parts is as long as all of them at their largest."""
    dims: list[SpaceDim] = []
    for axis, dim in enumerate(type.dims):
        parts = type.parts[axis] if type.parts else None
        dims.append(_largest(dim) if parts is None else sum(part.limit for part in parts))
    return Shape(tuple(dims), type.dtype)  # type: ignore[arg-type]
