"""A cell's calls are worked out once for all its uses, and plans are put together from cells.

    genotype ──► what it leaves of a cell, once a kind of use ──► the cell's calls, with the modules of each use
             ──► what stands around cells, each a single step ──► its plan, into which those are put

What is around cells is the same for most genotypes, and so is planned once for all of them.

The calls are those of a plan that knows of no cells. What two cells could have in common is done outside them: operations
without weights on a cell's inputs alone. And where a sum would take in what another cell makes, or a cell would need
zeros, a genotype is not planned by cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nasdsl.space.architecture import CELL, ZEROS, Architecture, CellStep, Step, readers
from nasdsl.space.cells import Inside, Kind, Use, Zeros, find_uses, variables_around
from nasdsl.space.choice import Taken
from nasdsl.space.decide import Absent, Assignment, Deciding, decided_parts, decided_shape
from nasdsl.space.graph import Node as SpaceNode
from nasdsl.space.operation import Instance
from nasdsl.space.remembered import Remembered
from nasdsl.space.space import Space
from nasdsl.supernet.common import key_of, share_common
from nasdsl.supernet.inplace import RELU_IN_PLACE, keeps_no_output
from nasdsl.supernet.lowering import lowered
from nasdsl.supernet.node import Node, NodeRun
from nasdsl.supernet.optimise import Optimisations
from nasdsl.supernet.plan import Bound, Call, Calling, CellCall, Level, Plan, Run, bound, calls_of, make_plan

LIMIT = 1 << 16
"""At so many calls and answers all is forgotten, and worked out again."""


@dataclass(frozen=True, eq=False)
class Template:
    """What some cases leave of a kind of use, by the nodes of the ``use`` that it was worked out on.

    ``output`` is what the use passes on: a node outside of it, or its own, or None where nothing is there. ``before``
    are steps on its inputs that stand outside; ``calls`` the numbers of its calls, which read ``inputs``. ``last`` and
    ``taken`` are those of :class:`~nasdsl.space.architecture.CellStep`. Around uses for which ``seen`` is the same
    everything is the same.
    """

    use: Use
    seen: Any
    output: int | None = None
    before: tuple[Step, ...] = ()
    inputs: tuple[int, ...] = ()
    calls: tuple[int, ...] = ()
    last: Step | None = None
    taken: tuple[tuple[int, bool], ...] = ()


@dataclass(frozen=True, eq=False)
class Frame:
    """A plan into which calls of uses are to be put: at ``places``, by the number of the template that each has."""

    plan: Plan
    places: tuple[tuple[int, Use, int], ...]


@dataclass(frozen=True, eq=False)
class Question:
    """What is around cells rests on how the kind of ``use`` is decided, with those of its inputs that are ``there``;
    ``answers`` is what follows from a template's ``seen``: another question, a frame, or that there is none."""

    use: Use
    there: tuple[bool, ...]
    answers: Answers = field(default_factory=dict)


Answers = dict[Any, "Question | Frame | None"]
UNKNOWN = object()


@dataclass(frozen=True, eq=False)
class Asked:
    """A genotype as it is put in: ``gated`` and ``keep_absent`` are those of :meth:`Decider.decide`."""

    genotype: Mapping[str, Taken]
    assignment: Assignment
    gated: tuple[str, ...]
    keep_absent: bool


class ByItself(Exception):
    """A genotype, or what it leaves of a cell, that can't be planned by cells."""


class CellPlanner:
    """Plans genotypes by cells. ``bind`` gives what runs a step; ``rides`` is that of
    :func:`~nasdsl.supernet.lowering.lowered`."""

    def __init__(
        self,
        space: Space,
        optimise: Optimisations,
        bind: Callable[[Step], Run],
        rides: Callable[[Step], bool],
    ) -> None:
        self.space, self.decider = space, space.decider
        self.optimise, self.bind, self.rides = optimise, bind, rides
        self.calling = Calling(optimise.kernels)
        found = find_uses(self.decider)
        self.uses = {use.output: use for use in found}
        self.around = variables_around(self.decider, found)
        # As the decider has them, but that what a use passes on reads the inputs of the use, and is a cell's.
        self.sources, self.decides = [*self.decider.sources], [*self.decider.decides]
        for use in found:
            self.sources[use.output], self.decides[use.output] = use.inputs, "_cell"
        self.settled = self.decider.settled - self.uses.keys()
        self.forget()

    def forget(self) -> None:
        """Forgets all that was worked out."""
        self.answers: Answers = {}
        self.templates: Remembered[Any, Template | None] = Remembered()
        self.made: Remembered[Any, Any] = Remembered()
        # Calls by number, with their step and the use that they were worked out on.
        self.calls: list[tuple[Step, Call, Use]] = []
        self.numbers: dict[int, int] = {}
        self.calls_of: dict[Use, dict[int, Call]] = {use: {} for use in self.uses.values()}
        self.bounds: dict[int, Bound] = {}
        # How many more calls and answers are kept before all is forgotten.
        self.room = LIMIT

    def plan(self, genotype: Mapping[str, Taken], gated: tuple[str, ...], keep_absent: bool) -> Plan | None:
        """The plan of a genotype, or None where it has to be made of single steps."""
        if self.room < 0:
            self.forget()
        asked = Asked(genotype, self.space.assignment(genotype), gated, keep_absent)
        walk = Walk(self, asked)
        while isinstance(walk.found, Question):
            walk.ask(walk.found.use, walk.found.there)
        if walk.found is UNKNOWN:
            walk = Walk(self, asked)
            walk.answer(self._frame(asked, walk))
        frame = walk.found
        return self._filled(frame, walk.templates) if isinstance(frame, Frame) else None

    def _filled(self, frame: Frame, templates: Sequence[Template | None]) -> Plan:
        calls = [*frame.plan.calls]
        for position, use, which in frame.places:
            template, call = templates[which], calls[position]
            assert template is not None and template.output is not None
            own = self._calls(template, use)
            calls[position] = CellCall(
                call.inputs, call.output, call.dead, own, template.inputs, template.output
            )
        return Plan(tuple(calls), frame.plan.inputs, frame.plan.shapes, frame.plan.outputs)

    # --- around cells ------------------------------------------------------------------------------

    def _frame(self, asked: Asked, walk: Walk) -> Frame | None:
        around = _Around(self, asked, walk)
        try:
            steps, outputs = around.architecture()
        except ByItself:
            return None
        whole = Architecture(self.space.name, asked.genotype, tuple(steps), self.space.inputs, tuple(outputs))
        whole = lowered(whole, self.space.catalogue, self.optimise, self.rides, made=self.made)
        if self._meet(whole):
            return None
        plan = make_plan(whole, self.bind, self.calling, self.made)
        self.room -= len(plan.calls)
        places = [
            (position, use, around.numbers[use])
            for position, call in enumerate(plan.calls)
            if isinstance(call, CellCall)
            for use in (self.uses[call.output],)
        ]
        return Frame(plan, tuple(places))

    def _meet(self, whole: Architecture) -> bool:
        """Whether a sum outside would take in what a use passes on, or one in a use what is made outside; and whether a
        use reads one tensor as two inputs, by which its steps may have more in common."""
        read = readers(whole)
        by_id = {step.id: step for step in whole.steps}
        for step in whole.steps:
            if isinstance(step, CellStep):
                if len({*step.inputs}) < len(step.inputs):
                    return True
                sums = [(step.inputs[position], is_weighed) for position, is_weighed in step.taken]
            elif isinstance(step, Node):
                sums = [
                    (term.source, term.is_weighed)
                    for term in step.terms
                    if term.source is not None and isinstance(by_id[term.source], CellStep)
                ]
            else:
                continue
            for id, is_weighed in sums:
                maker = by_id[id]
                if isinstance(maker, CellStep):
                    assert maker.last is not None
                    maker = maker.last
                if read[id] == 1 and (self.rides(maker) or (isinstance(maker, Node) and not is_weighed)):
                    return True
        return False

    # --- one use -----------------------------------------------------------------------------------

    def template(self, use: Use, there: tuple[bool, ...], asked: Asked) -> Template | None:
        """What a genotype leaves of a kind of use; None where that can't be planned by itself."""
        cases = [asked.assignment[v] for v in use.kind.variables]
        key = (use.kind, there, asked.gated, asked.keep_absent, *cases)
        if key in self.templates:
            return self.templates[key]
        inside = Inside(self.decider, asked.assignment, use, there, asked.gated, asked.keep_absent)
        try:
            found = self._template(use, inside)
        except (Zeros, ByItself):
            found = None
        return self.templates.keep(key, found)

    def _template(self, use: Use, inside: Inside) -> Template:
        output = inside.output()
        if isinstance(output, Absent):
            return Template(use, ())
        whole = Architecture("", {}, tuple(inside.needed(output)), inside.inputs, (("", output),))
        if self.optimise.share:
            whole = self._shared(whole)
        ((_, output),) = whole.outputs
        before, steps, outside = self._divided(use, whole)
        if output in outside:
            return Template(use, outside[output], output, tuple(before))
        steps = self._lowered(whole, steps, outside.keys(), output)
        if any(step.operation == ZEROS for step in steps):
            raise ByItself
        read = Counter(id for step in steps for id in step.inputs if id in outside)
        inputs = tuple(sorted(read, key=outside.__getitem__))
        taken = tuple(
            (inputs.index(term.source), term.is_weighed)
            for step in steps
            if isinstance(step, Node)
            for term in step.terms
            if term.norm is None and term.source is not None and read[term.source] == 1
        )
        calls = calls_of(steps, {output}, self.bind, self.calling, Level(made=self.made))
        numbers = tuple([self._number(*made, use) for made in zip(steps, calls, strict=True)])
        last = next(step for step in steps if step.id == output)
        makes = (keeps_no_output(last), isinstance(last, Node), self.rides(last))
        seen = (makes, taken, *[outside[id] for id in inputs])
        return Template(use, seen, output, tuple(before), inputs, numbers, last, taken)

    def _shared(self, whole: Architecture) -> Architecture:
        """The steps of a use after what is common is computed once. That the same is common in all uses of a kind is
        certain where the settings are the same."""
        alike: dict[str, Any] = {}
        for step in whole.steps:
            key = self._key(step)
            if key is not step:
                settings = (step.operation, step.instance.settings)
                if alike.setdefault(key[0], settings) != settings:
                    raise ByItself
        return share_common(whole, self.space.catalogue, self.made)

    def _divided(self, use: Use, whole: Architecture) -> tuple[list[Step], list[Step], dict[int, str]]:
        """The steps that can stand outside, the others, and what stands outside, the inputs among it, each as a text that
        is the same in all uses of the kind."""
        outside = {id: f"#{place}" for place, id in enumerate(use.inputs)}
        before: list[Step] = []
        steps: list[Step] = []
        for step in whole.steps:
            if step.operation == "input":
                continue
            reads = [outside.get(id) for id in step.inputs]
            if None not in reads and step.operation != ZEROS and self._key(step) is not step:
                before.append(step)
                outside[step.id] = f"{step.operation} {step.instance.settings} {reads}"
            else:
                steps.append(step)
        return before, steps, outside

    def _lowered(
        self, whole: Architecture, steps: Sequence[Step], outside: Collection[int], output: int
    ) -> list[Step]:
        read = dict.fromkeys(id for step in steps for id in step.inputs if id in outside)
        given = [self._given(whole.step(id)) for id in read]
        alone = Architecture("", {}, (*given, *steps), tuple(read), (("", output),))
        optimise = replace(self.optimise, share=False)
        alone = lowered(alone, self.space.catalogue, optimise, self.rides, made=self.made)
        return [step for step in alone.steps if step.operation != "input"]

    def _key(self, step: Step) -> Any:
        return key_of(step, self.space.catalogue, self.made)

    def _given(self, step: Step) -> Step:
        """What stands in a use for a step outside of it."""
        found: Step | None = self.made.get(("given", step))
        if found is None:
            found = Step(step.id, "input", Instance((), {}, step.shape), (), step.scope)
            self.made.keep(("given", step), found)
        return found

    def _number(self, step: Step, call: Call, use: Use) -> int:
        number = self.numbers.get(id(call))
        if number is None:
            number = self.numbers[id(call)] = len(self.calls)
            self.calls.append((step, call, use))
        return number

    # --- the same in another use -------------------------------------------------------------------

    def _calls(self, template: Template, use: Use) -> tuple[Call, ...]:
        known = self.calls_of[use]
        try:
            return tuple([known[number] for number in template.calls])
        except KeyError:
            for number in template.calls:
                if number not in known:
                    known[number] = self._call_of(number, use)
        return tuple([known[number] for number in template.calls])

    def _call_of(self, number: int, use: Use) -> Call:
        """The call of that number with the modules of a use."""
        self.room -= 1
        step, call, origin = self.calls[number]
        if use is origin:
            return call
        moved = self._bound(step, call.bound, use.first - origin.first)
        return Call(moved, call.inputs, call.output, call.dead)

    def _bound(self, step: Step, known: Bound, shift: int) -> Bound:
        if isinstance(step, Node):
            norms = [term.norm for term in step.terms if term.norm is not None]
            modules = [self.bind(self.moved(norm, shift, norm.inputs)) for norm in norms]
            assert isinstance(known.run, NodeRun)
            return Bound(known.run.with_norms(modules), True, tuple(modules)) if norms else known
        # Sums and gates have no weights, and rest on no sizes.
        if step.operation == RELU_IN_PLACE or step.id not in self.decider.settled:
            return known
        found = self.bounds.get(step.id + shift)
        if found is None:
            found = bound(self.moved(step, shift, step.inputs), self.bind, self.calling)
            self.bounds[step.id + shift] = found
        return found

    def moved(self, step: Step, shift: int, inputs: tuple[int, ...]) -> Step:
        """The step that stands for one in the use whose nodes are numbered by ``shift`` more; it reads ``inputs``."""
        node = self.decider.nodes[step.id + shift]
        key = ("moved", node.id, inputs)
        found: Step | None = self.made.get(key)
        if found is None:
            owner = None if step.owner is None else step.owner + shift
            instance = self._instance(node)
            found = Step(node.id, step.operation, instance, inputs, node.scope, node.name, owner)
            self.made.keep(key, found)
        return found

    def _instance(self, node: SpaceNode) -> Instance:
        types = [self.decider.nodes[source].type for source, _ in self.decider.reads[node.id]]
        return Instance(
            tuple(decided_shape(type, ()) for type in types),
            dict(node.settings),
            decided_shape(node.type, ()),
            tuple(decided_parts(type, ()) for type in types),
            decided_parts(node.type, ()),
        )


class Walk:
    """Follows a genotype through what is known of the surroundings of cells. ``templates`` are the answers so far."""

    def __init__(self, planner: CellPlanner, asked: Asked) -> None:
        self.planner, self.asked = planner, asked
        self.templates: list[Template | None] = []
        self._answers = planner.answers
        self._key: Any = (asked.gated, asked.keep_absent, *[asked.assignment[v] for v in planner.around])
        self.found: Any = self._answers.get(self._key, UNKNOWN)

    def ask(self, use: Use, there: tuple[bool, ...]) -> Template | None:
        template = self.planner.template(use, there, self.asked)
        if self.found is UNKNOWN:
            self.answer(Question(use, there))
        self.templates.append(template)
        self._answers, self._key = self.found.answers, template and template.seen
        self.found = self._answers.get(self._key, UNKNOWN)
        return template

    def answer(self, found: Question | Frame | None) -> None:
        self.planner.room -= 1
        self.found = self._answers[self._key] = found


class _Around(Deciding):
    """Decides what stands around cells, and asks what cells come to."""

    def __init__(self, planner: CellPlanner, asked: Asked, walk: Walk) -> None:
        super().__init__(planner.decider, asked.assignment, asked.gated, asked.keep_absent)
        self.planner, self.walk = planner, walk
        self.sources, self.decides, self.settled = planner.sources, planner.decides, planner.settled
        self.passing = self.passing - planner.uses.keys()
        self.numbers: dict[Use, int] = {}
        self._number_of: dict[tuple[Kind, tuple[bool, ...]], int] = {}

    def _cell(self, node: SpaceNode, values: Sequence[int | Absent]) -> int | Absent:
        use = self.planner.uses[node.id]
        template = self._template(use, tuple([not isinstance(value, Absent) for value in values]))
        if template.output is None:
            return self._absent(node)
        standing = dict(zip(template.use.inputs, values, strict=True))
        shift = use.first - template.use.first
        for step in template.before:
            moved = self.planner.moved(step, shift, self._ids(standing, step.inputs))
            self.steps[moved.id], standing[step.id] = moved, moved.id
        if template.output in standing:
            return standing[template.output]
        inputs = self._ids(standing, template.inputs)
        instance = Instance((), {}, self._shape(node.type))
        self.steps[node.id] = CellStep(
            node.id, CELL, instance, inputs, node.scope, last=template.last, taken=template.taken
        )
        return node.id

    def _template(self, use: Use, there: tuple[bool, ...]) -> Template:
        number = self._number_of.get((use.kind, there))
        if number is None:
            number = self._number_of[use.kind, there] = len(self._number_of)
            self.walk.ask(use, there)
        self.numbers[use] = number
        template = self.walk.templates[number]
        if template is None:
            raise ByItself
        return template

    @staticmethod
    def _ids(standing: Mapping[int, int | Absent], inputs: Sequence[int]) -> tuple[int, ...]:
        return tuple([id for id in map(standing.__getitem__, inputs) if not isinstance(id, Absent)])
