"""Putting a genotype in: from the space graph to one architecture.

Backwards from the outputs through guards that hold, then forwards: zeros are propagated, identities and selections
vanish, sums lose what is absent, and what nobody reads any more is dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nasdsl.space.architecture import GATE, ZEROS, Architecture, Body, Step
from nasdsl.space.choice import Taken
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import SELECT, Node
from nasdsl.space.operation import Catalogue, Instance
from nasdsl.space.tensor import Part, Parts, Shape, TensorType

if TYPE_CHECKING:
    from nasdsl.space.space import Space

Assignment = Sequence[int]


@dataclass(frozen=True)
class Absent:
    """A tensor that is not there; it keeps its shape."""

    shape: Shape
    parts: tuple[Parts, ...]


class Decider:
    """What deciding needs of a space, laid out once: reads in order, and instances that rest on no choice."""

    def __init__(self, space: Space) -> None:
        self.space = space
        graph = space.graph
        self.nodes: list[Node] = [graph.node(id) for id in range(graph.number_of_nodes())]
        self.reads = [[(e.source, e.guard) for e in graph.reads(node.id)] for node in self.nodes]
        self.static: dict[int, Instance] = {}
        self.owned: dict[int, bool] = {}

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
        run = _Run(self, assignment, gated, keep_absent)
        steps, outputs = run.architecture()
        return Architecture(self.space.name, genotype, tuple(steps), self.space.inputs, tuple(outputs))


class _Run:
    def __init__(
        self, decider: Decider, assignment: Assignment, gated: Collection[str], keep_absent: bool
    ) -> None:
        self.decider = decider
        self.nodes = decider.nodes
        self.assignment = assignment
        self.gated = {c.index: c for c in decider.space.choices if c.name in gated} if gated else {}
        self.keep_absent = keep_absent
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
        space = self.decider.space
        active: dict[int, list[tuple[int, Diagram]]] = {}
        stack = [node for _, node in space.outputs]
        stack += space.inputs
        while stack:
            id = stack.pop()
            if id in active:
                continue
            edges = [(source, guard) for source, guard in self.decider.reads[id] if self.holds(guard)]
            active[id] = edges
            stack += [source for source, _ in edges]
            if self.nodes[id].operation == "scan":
                element, states = self.nodes[id].settings["element"], self.nodes[id].settings["states"]
                stack += [element, *states]
        for id in sorted(active):
            self.value[id] = self._step(self.nodes[id], active[id])
        outputs = []
        for name, node in space.outputs:
            value = self.value[node]
            if isinstance(value, Absent):
                value = self._zeros(value, self.nodes[node])
            outputs.append((name, value))
        return self._needed([value for _, value in outputs]), outputs

    def _needed(self, outputs: Sequence[int]) -> list[Step]:
        """Steps that somebody reads, in order, those of a scan inside it."""
        needed: set[int] = set()
        stack = [*outputs, *self.decider.space.inputs]
        while stack:
            id = stack.pop()
            if id in needed:
                continue
            needed.add(id)
            step = self.steps[id]
            stack += step.inputs
            if step.body is not None:
                stack += [step.body.output, *step.body.new_states, step.body.element, *step.body.states]
        self._keep_weights(needed)
        inside: dict[int, list[Step]] = {}
        top: list[Step] = []
        for id in sorted(needed, key=self._order):
            step = self.steps[id]
            region = self._region(id)
            if region is None:
                top.append(step)
            else:
                inside.setdefault(region, []).append(step)
        finished = []
        for step in top:
            if step.body is not None:
                b = step.body
                body = Body(b.element, b.states, tuple(inside.get(b.element, ())), b.new_states, b.output)
                step = Step(
                    step.id,
                    step.operation,
                    step.instance,
                    step.inputs,
                    step.scope,
                    step.name,
                    step.owner,
                    body,
                )
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
        return (max(self.decider.space.inputs) if region is None else region, -id)

    def _region(self, id: int) -> int | None:
        if id < 0:
            return self._zeros_region[id]
        return self.nodes[id].region

    # --- one node ------------------------------------------------------------------------------

    def _step(self, node: Node, edges: Sequence[tuple[int, Diagram]]) -> int | Absent:
        operation = node.operation
        values = [self.value[source] for source, _ in edges]
        if operation in ("input", "element", "state"):
            inputs = tuple(self._present(v, node) for v in values)
            return self._add(node, operation, Instance((), node.settings, self._shape(node.type)), inputs)
        if operation == SELECT:
            return self._select(node, values)
        if operation == "scan":
            return self._scan(node, values)
        if operation == "zero":
            return self._absent(node)
        if operation == "identity":
            return values[0]
        if operation in ("sum", "mean"):
            return self._reduce(node, values)
        if self.catalogue[operation].passes_absence and any(isinstance(v, Absent) for v in values):
            return self._absent(node)
        return self._call(node, [self._present(v, node) for v in values])

    def _reduce(self, node: Node, values: Sequence[int | Absent]) -> int | Absent:
        """A sum or mean of what is there; a mean divides by all that were chosen."""
        present = [v for v in values if isinstance(v, int)]
        if not present:
            return self._absent(node)
        shape = self._shape(node.type)
        if all(self.steps[v].shape != shape for v in present):
            # Only an absent term had the full size, to which the others are stretched.
            full = next((v for v in values if isinstance(v, Absent) and v.shape == shape), None)
            if full is not None:
                present.append(self._zeros(full, node))
        if len(present) == 1 and (node.operation == "sum" or len(values) == 1):
            return present[0]
        return self._call(node, present, divisor=len(values))

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
        shape = self._shape(node.type)
        instance = Instance((self.steps[value].shape,), {}, shape)
        self.steps[node.id] = Step(
            node.id, GATE, instance, (value,), node.scope, node.name,
            choice=choice.name, candidate=self.assignment[choice.variables[0]],
        )  # fmt: skip
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

    def _call(self, node: Node, inputs: Sequence[int], divisor: int | None = None) -> int:
        static = self.decider.static.get(node.id)
        if static is None or len(static.inputs) != len(inputs) or divisor is not None:
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
            rests = divisor is not None or any(isinstance(v, Diagram) for v in node.settings.values())
            rests = rests or not node.type.is_static
            rests = rests or not all(
                self.nodes[source].type.is_static for source, _ in self.decider.reads[node.id]
            )
            rests = rests or self.catalogue[node.operation].variadic
            if not rests:
                self.decider.static[node.id] = instance
        else:
            instance = static
        return self._add(node, node.operation, instance, tuple(inputs))

    def _type_sources(self, inputs: Sequence[int]) -> list[int]:
        return [self._zeros_source[i] if i < 0 else i for i in inputs]

    def _add(self, node: Node, operation: str, instance: Instance, inputs: tuple[int, ...]) -> int:
        owner = node.owner if self._has_weights(node, instance) else None
        self.steps[node.id] = Step(node.id, operation, instance, inputs, node.scope, node.name, owner)
        return node.id

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
        like = self.decider.space.inputs[0] if region is None else region
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
