"""Putting a genotype in: from the space graph to one architecture.

Backwards from the outputs through guards that hold, then forwards: zeros are propagated, identities and selections
vanish, sums lose what is absent, and what nobody reads any more is dropped.

Architectures have most of their steps in common: a step is one object for all of them in which a node reads the same
and has the same sizes. So it is made once, and what is derived from it (what runs it, say) can be remembered by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nasdsl.space.architecture import GATE, GIVEN, ZEROS, Architecture, Body, Step
from nasdsl.space.choice import Taken
from nasdsl.space.diagram import LEAF, Diagram
from nasdsl.space.graph import SELECT, Node
from nasdsl.space.operation import Catalogue, Instance
from nasdsl.space.remembered import Remembered
from nasdsl.space.tensor import Part, Parts, Shape, TensorType

if TYPE_CHECKING:
    from nasdsl.space.space import Space

Assignment = Sequence[int]


@dataclass(frozen=True, eq=False)
class Absent:
    """A tensor that is not there; it keeps its shape."""

    shape: Shape
    parts: tuple[Parts, ...]


# What decides a node; every other operation is a call of the catalogue's.
_DECIDES = {
    **dict.fromkeys(GIVEN, "_given"),
    SELECT: "_select",
    "scan": "_scan",
    "zero": "_nothing",
    "identity": "_same",
    "sum": "_reduce",
    "mean": "_reduce",
}


class Decider:
    """What deciding needs of a space, laid out once: reads in order, what each node rests on, and the steps made so far."""

    def __init__(self, space: Space) -> None:
        self.space = space
        graph = space.graph
        self.nodes: list[Node] = [graph.node(id) for id in range(graph.number_of_nodes())]
        self.reads = [[(e.source, e.guard) for e in graph.reads(node.id)] for node in self.nodes]
        # What a node reads wherever it is itself; None where that rests on choices.
        self.sources = [self._sources(node) for node in self.nodes]
        # Of selections that rest on one variable: it, and what is read in each of its cases.
        self.picks = {node.id: pick for node in self.nodes if (pick := self._pick(node)) is not None}
        self.decides = [_DECIDES.get(node.operation, "_plain") for node in self.nodes]
        self.rests_on = [self._rests_on(node) for node in self.nodes]
        # Sums and means all of whose terms have the size of the result.
        self.alike = [
            node.type.is_static and all(self.nodes[source].type.dims == node.type.dims for source, _ in reads)
            for node, reads in zip(self.nodes, self.reads, strict=True)
        ]
        self.identities = frozenset(node.id for node in self.nodes if node.operation == "identity")
        self.passing = self.identities | self.picks.keys()
        # Calls that rest on nothing but what they read, and that always read the same.
        self.settled = frozenset(
            node.id
            for node in self.nodes
            if self.decides[node.id] == "_plain"
            and self.sources[node.id] is not None
            and not self.rests_on[node.id]
        )
        self.has_regions = any(node.region is not None for node in self.nodes)
        catalogue = space.catalogue
        self.borrows = any(
            node.operation in catalogue and catalogue[node.operation].borrows is not None
            for node in self.nodes
        )
        self.steps: Remembered[tuple[Any, ...], Step] = Remembered()
        self.static: dict[int, Instance] = {}
        self.owned: dict[int, bool] = {}

    def _sources(self, node: Node) -> tuple[int, ...] | None:
        reads = self.reads[node.id]
        if all(guard is node.guard or guard is self.space.table.true for _, guard in reads):
            return tuple(source for source, _ in reads)
        return None

    def _pick(self, node: Node) -> tuple[int, tuple[tuple[int, ...], ...]] | None:
        if node.operation != SELECT:
            return None
        table = self.space.table
        reads = [(source, table.given(guard, node.guard)) for source, guard in self.reads[node.id]]
        variables = {guard.variable for _, guard in reads}
        if len(variables) != 1 or any(not case.is_leaf for _, guard in reads for case in guard.cases):
            return None
        (variable,) = variables
        if variable == LEAF:
            return None
        cases = range(self.space.arities[variable])
        found = tuple(tuple(source for source, guard in reads if guard.cases[case].value) for case in cases)
        return (variable, found) if all(len(sources) == 1 for sources in found) else None

    def _rests_on(self, node: Node) -> tuple[int, ...]:
        """The variables that sizes and settings of a node and of what it reads rest on."""
        values = list(node.settings.values())
        for type in (node.type, *(self.nodes[source].type for source, _ in self.reads[node.id])):
            values += type.dims
            values += [part.size for parts in type.parts for part in parts or ()]
        found = [value.support() for value in values if isinstance(value, Diagram)]
        return tuple(sorted(frozenset().union(*found)))

    def decide(
        self,
        assignment: Assignment,
        genotype: Mapping[str, Taken],
        gated: Collection[str] = (),
        keep_absent: bool = False,
    ) -> Architecture:
        """The architecture that an assignment of the choices' variables leaves.

        Choices named in ``gated`` stay visible as :data:`GATE` steps; with ``keep_absent`` such a gate is kept, with a
        tensor of zeros in it, also where what it would pass on is absent. The assignment may take more candidates of
        a sub-list than the space permits: that is how strategies search with every candidate on.
        """
        run = Deciding(self, assignment, gated, keep_absent)
        steps, outputs = run.architecture()
        return Architecture(self.space.name, genotype, tuple(steps), self.space.inputs, tuple(outputs))


class Deciding:
    """One architecture on its way. A subclass decides less, and keeps several candidates of a choice, or decides a part:
    then what is known of nodes outside it stands in ``value`` and ``steps`` before it begins.

    An edge is there where ``holds`` says so of its guard under the ``assignment``.
    """

    def __init__(
        self, decider: Decider, assignment: Assignment, gated: Collection[str], keep_absent: bool
    ) -> None:
        self.decider = decider
        self.nodes = decider.nodes
        self.assignment = assignment
        self.gated = {c.index: c for c in decider.space.choices if c.name in gated} if gated else {}
        self.keep_absent = keep_absent
        self.inputs, self.outputs = decider.space.inputs, decider.space.outputs
        self.sources, self.decides, self.settled = decider.sources, decider.decides, decider.settled
        # Where each variable takes one case.
        self.picks = decider.picks
        # What passes on the one thing that it reads; with gates a selection may be one.
        self.passing = decider.identities if self.gated else decider.passing
        self.truth: dict[int, bool] = {}
        self.steps: dict[int, Step] = {}
        # For each node the step that carries its value, or why there is none.
        self.value: dict[int, int | Absent] = {}
        self.zeros: dict[tuple[Shape, int | None], int] = {}

    def holds(self, guard: Diagram) -> bool:
        found = self.truth.get(id(guard))
        if found is None:
            found = self.truth[id(guard)] = bool(guard.at(self.assignment))
        return found

    def architecture(self) -> tuple[list[Step], list[tuple[str, int]]]:
        self._values()
        outputs = []
        for name, node in self.outputs:
            value = self.value[node]
            if isinstance(value, Absent):
                value = self._zeros(value, self.nodes[node])
            outputs.append((name, value))
        return self._needed([value for _, value in outputs]), outputs

    def _values(self) -> None:
        """What every node comes to that an output rests on."""
        active = self._active()
        values, settled, known = self.value, self.settled, self.decider.steps
        passing = self.passing
        for id in sorted(active):
            if id in passing:
                values[id] = values[active[id][0]]
                continue
            # Most steps were made before, and need no more than being looked up.
            if id in settled:
                step = known.get((id, tuple([values[source] for source in active[id]]), None))
                if step is not None:
                    self.steps[id], values[id] = step, id
                    continue
            values[id] = self._step(self.nodes[id], active[id])

    def _active(self) -> dict[int, tuple[int, ...]]:
        """The nodes that outputs rest on through guards that hold, each with what it reads."""
        decider, picks, given = self.decider, self.picks, self.value
        active: dict[int, tuple[int, ...]] = {}
        stack = [node for _, node in self.outputs]
        stack += self.inputs
        while stack:
            id = stack.pop()
            if id in active or id in given:
                continue
            sources = self.sources[id]
            if sources is None:
                pick = picks.get(id)
                if pick is not None:
                    sources = pick[1][self.assignment[pick[0]]]
                else:
                    sources = tuple([source for source, guard in decider.reads[id] if self.holds(guard)])
            active[id] = sources
            stack += sources
            if decider.has_regions and self.nodes[id].operation == "scan":
                element, states = self.nodes[id].settings["element"], self.nodes[id].settings["states"]
                stack += [element, *states]
        return active

    def _needed(self, outputs: Sequence[int]) -> list[Step]:
        """Steps that somebody reads, in order, those of a scan inside it."""
        steps = self.steps
        needed: set[int] = set()
        stack = [*outputs, *self.inputs]
        while stack:
            id = stack.pop()
            if id in needed:
                continue
            needed.add(id)
            step = steps[id]
            stack += step.inputs
            if step.body is not None:
                stack += [step.body.output, *step.body.new_states, step.body.element, *step.body.states]
        if self.decider.borrows:
            self._keep_weights(needed)
        if not self.decider.has_regions:
            return [steps[id] for id in sorted(needed, key=self._order if self.zeros else None)]
        inside: dict[int, list[Step]] = {}
        top: list[Step] = []
        for id in sorted(needed, key=self._order):
            step = steps[id]
            region = self._region(id)
            if region is None:
                top.append(step)
            else:
                inside.setdefault(region, []).append(step)
        finished = []
        for step in top:
            if step.body is not None:
                steps_inside = tuple(inside.get(step.body.element, ()))
                step = replace(step, body=replace(step.body, steps=steps_inside))
            finished.append(step)
        return finished

    def _keep_weights(self, needed: Collection[int]) -> None:
        """What borrows weights has them itself where the use that would lend them is left out."""
        steps = [self.steps[id] for id in needed]
        operations = {step.id: self.catalogue.get(step.operation) for step in steps}
        borrowing = {id: o.alone for id, o in operations.items() if o is not None and o.borrows is not None}
        if not borrowing:
            return
        lenders = {step.owner for step in steps if step.id not in borrowing}
        for id, alone in borrowing.items():
            if alone is not None and self.steps[id].owner not in lenders:
                self.steps[id] = replace(self.steps[id], operation=alone)

    def _order(self, id: int) -> tuple[int, int]:
        # Zeros are made right after the network's inputs, so that everything may read them.
        if id >= 0:
            return (id, 0)
        region = self._region(id)
        return (max(self.inputs) if region is None else region, -id)

    def _region(self, id: int) -> int | None:
        if id < 0:
            return self._zeros_region[id]
        return self.nodes[id].region

    # --- one node ------------------------------------------------------------------------------

    def _step(self, node: Node, sources: Sequence[int]) -> int | Absent:
        values = [self.value[source] for source in sources]
        decide: Callable[[Node, Sequence[int | Absent]], int | Absent]
        decide = getattr(self, self.decides[node.id])
        return decide(node, values)

    def _given(self, node: Node, values: Sequence[int | Absent]) -> int:
        return self._call(node, tuple(self._present(v, node) for v in values))

    def _nothing(self, node: Node, values: Sequence[int | Absent]) -> Absent:
        return self._absent(node)

    def _same(self, node: Node, values: Sequence[int | Absent]) -> int | Absent:
        return values[0]

    def _plain(self, node: Node, values: Sequence[int | Absent]) -> int | Absent:
        there = tuple([value for value in values if isinstance(value, int)])
        if len(there) == len(values):
            return self._call(node, there)
        if self.catalogue[node.operation].passes_absence:
            return self._absent(node)
        return self._call(node, tuple(self._present(v, node) for v in values))

    def _reduce(self, node: Node, values: Sequence[int | Absent]) -> int | Absent:
        """A sum or mean of what is there; a mean divides by all that were chosen."""
        present = [v for v in values if isinstance(v, int)]
        if not present:
            return self._absent(node)
        if not self.decider.alike[node.id]:
            shape = self._shape(node.type)
            if all(self.steps[v].shape != shape for v in present):
                # Only an absent term had the full size, to which the others are stretched.
                full = next((v for v in values if isinstance(v, Absent) and v.shape == shape), None)
                if full is not None:
                    present.append(self._zeros(full, node))
        if len(present) == 1 and (node.operation == "sum" or len(values) == 1):
            return present[0]
        return self._call(node, tuple(present), divisor=len(values))

    @property
    def catalogue(self) -> Catalogue:
        return self.decider.space.catalogue

    def _select(self, node: Node, values: Sequence[int | Absent]) -> int | Absent:
        if len(values) != 1:
            raise AssertionError(f"{len(values)} candidates of node {node.id} hold at once")
        value = values[0]
        if node.choice not in self.gated:
            return value
        if isinstance(value, Absent):
            if not self.keep_absent:
                return value
            value = self._zeros(value, node)
        choice = self.gated[node.choice]
        candidate = self.assignment[choice.variables[0]]
        key = (node.id, value, GATE, candidate, *[self.assignment[v] for v in self.decider.rests_on[node.id]])
        found = self.decider.steps.get(key)
        if found is None:
            instance = Instance((self.steps[value].shape,), {}, self._shape(node.type))
            found = Step(
                node.id, GATE, instance, (value,), node.scope, node.name,
                choice=choice.name, candidate=candidate,
            )  # fmt: skip
            if value >= 0:
                self.decider.steps.keep(key, found)
        self.steps[node.id] = found
        return node.id

    def _scan(self, node: Node, values: Sequence[int | Absent]) -> int:
        sequence, *results = values
        element, states = node.settings["element"], node.settings["states"]
        region = self.nodes[element]
        output, *new_states = [self._present(v, region) for v in results]
        inputs = (self._present(sequence, node),)
        shape = self._shape(node.type)
        instance = Instance((self.steps[inputs[0]].shape,), {}, shape)
        body = Body(element, tuple(states), (), tuple(new_states or [output]), output)
        self.steps[node.id] = Step(node.id, "scan", instance, inputs, node.scope, node.name, body=body)
        return node.id

    def _call(self, node: Node, inputs: tuple[int, ...], divisor: int | None = None) -> int:
        decider, id = self.decider, node.id
        rests_on = decider.rests_on[id]
        key = (id, inputs, divisor, *[self.assignment[v] for v in rests_on])
        found = decider.steps.get(key)
        if found is None:
            found = self._made(node, inputs, divisor)
            # What negative ids, those of zeros, stand for is known in one architecture alone.
            if not inputs or min(inputs) >= 0:
                decider.steps.keep(key, found)
        self.steps[id] = found
        return id

    def _made(self, node: Node, inputs: tuple[int, ...], divisor: int | None) -> Step:
        if node.operation in GIVEN:
            given = Instance((), node.settings, self._shape(node.type))
            return Step(node.id, node.operation, given, inputs, node.scope, node.name)
        instance = self.decider.static.get(node.id)
        if instance is None or len(instance.inputs) != len(inputs) or divisor is not None:
            settings = {k: self._at(v) for k, v in node.settings.items()}
            if "divisor" in settings or (divisor is not None and node.operation == "mean"):
                settings["divisor"] = divisor
            types = [self.nodes[source].type for source in self._type_sources(inputs)]
            instance = Instance(
                tuple(self.steps[i].shape for i in inputs),
                settings,
                self._shape(node.type),
                tuple(self._parts(t) for t in types),
                self._parts(node.type),
            )
            if (
                divisor is None
                and not self.decider.rests_on[node.id]
                and not self.catalogue[node.operation].variadic
            ):
                self.decider.static[node.id] = instance
        owner = node.owner if self._has_weights(node, instance) else None
        return Step(node.id, node.operation, instance, inputs, node.scope, node.name, owner)

    def _type_sources(self, inputs: Sequence[int]) -> list[int]:
        return [self._zeros_source[i] if i < 0 else i for i in inputs]

    def _has_weights(self, node: Node, instance: Instance) -> bool:
        owned = self.decider.owned.get(node.id)
        if owned is None:
            operation = self.catalogue.get(node.operation)
            owned = operation is not None and (
                operation.borrows is not None or operation.torch(instance).kind == "module"
            )
            self.decider.owned[node.id] = owned
        return owned

    # --- absence -------------------------------------------------------------------------------

    def _absent(self, node: Node) -> Absent:
        return Absent(self._shape(node.type), self._parts(node.type))

    def _present(self, value: int | Absent, reader: Node) -> int:
        return self._zeros(value, reader) if isinstance(value, Absent) else value

    _zeros_region: dict[int, int | None]
    _zeros_source: dict[int, int]

    def _zeros(self, absent: Absent, reader: Node) -> int:
        """A step that makes zeros of a shape, one a shape (and one a scan, whose body it would stand in)."""
        # A scan and the element of its sequence read from outside the scan.
        region = reader.region if reader.operation not in ("scan", "element") else None
        key = (absent.shape, region)
        found = self.zeros.get(key)
        if found is not None:
            return found
        if not self.zeros:
            self._zeros_region, self._zeros_source = {}, {}
        id = -1 - len(self.zeros)
        like = self.inputs[0] if region is None else region
        instance = Instance((self.steps[like].shape,), {}, absent.shape)
        scope = self.nodes[like].scope
        self.steps[id] = Step(id, ZEROS, instance, (like,), scope)
        self._zeros_region[id] = region
        self._zeros_source[id] = reader.id
        self.zeros[key] = id
        return id

    # --- sizes ---------------------------------------------------------------------------------

    def _at(self, value: Any) -> Any:
        return value.at(self.assignment) if isinstance(value, Diagram) else value

    def _shape(self, type: TensorType) -> Shape:
        return decided_shape(type, self.assignment)

    def _parts(self, type: TensorType) -> tuple[Parts, ...]:
        return decided_parts(type, self.assignment)


def decided_shape(type: TensorType, assignment: Assignment) -> Shape:
    """A tensor's shape in one architecture."""
    return Shape(tuple(d.at(assignment) if isinstance(d, Diagram) else d for d in type.dims), type.dtype)


def decided_parts(type: TensorType, assignment: Assignment) -> tuple[Parts, ...]:
    """The parts of a tensor's axes with decided sizes."""
    if not type.parts:
        return ()
    return tuple(
        None
        if parts is None
        else tuple(
            Part(p.limit, p.size.at(assignment) if isinstance(p.size, Diagram) else p.size) for p in parts
        )
        for parts in type.parts
    )
