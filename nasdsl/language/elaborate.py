"""Text's meaning: a syntax tree becomes a space graph.

The elaborator walks the tree with a :class:`~nasdsl.language.place.Place` in hand: under which guard it is, which use it
stands in, what the next choice would be called. An operation expression is not evaluated but kept as a template and
walked at each use, which is why every use of an ``op`` makes its own choices.

This file walks bodies and expressions; ``choices.py`` makes choices, ``uses.py`` applies operations, ``forms.py`` holds
``repeat``, ``sum`` and the like, ``requirements.py`` what stands after ``require``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NoReturn

from nasdsl.diagnostics import Diagnostic, Findings, Note, Span, did_you_mean
from nasdsl.language import lints, syntax
from nasdsl.language.again import Again
from nasdsl.language.assigned import Assigned
from nasdsl.language.builder import GraphBuilder, Limits, Wrong, type_text
from nasdsl.language.choices import Choices
from nasdsl.language.forms import BUILTINS, Forms
from nasdsl.language.kinds import Kinds
from nasdsl.language.modules import Module
from nasdsl.language.naming import Step
from nasdsl.language.observer import Observer
from nasdsl.language.place import Body, Place
from nasdsl.language.proof import Proof
from nasdsl.language.requirements import MEASURES, Requirements
from nasdsl.language.resolve import resolve
from nasdsl.language.stop import Stop, count, fail, listed, number_text, with_article
from nasdsl.language.uses import Uses
from nasdsl.language.values import (
    OPERATIONS,
    Builtin,
    Definition,
    ListValue,
    Measure,
    Names,
    Poison,
    Primitive,
    SharedOperation,
    Template,
    Tensor,
    Tuple,
    Value,
    is_rational,
    kind_of,
    loop_label,
)
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import SELECT, Scope, SpaceGraph
from nasdsl.space.operation import Catalogue
from nasdsl.space.size import Rational, Size
from nasdsl.space.space import Space
from nasdsl.space.tensor import TensorType


class Elaborator:
    """Elaborates one space. What goes wrong is collected, and raised at the end."""

    def __init__(self, catalogue: Catalogue, limits: Limits) -> None:
        self.catalogue = catalogue
        self.limits = limits
        self.findings = Findings()
        self.builder = GraphBuilder(catalogue, limits)
        self.table = self.builder.table
        self.proof = Proof(self.builder)
        self.kinds = Kinds(self)
        self.choices = Choices(self)
        self.uses = Uses(self)
        self.forms = Forms(self)
        self.requirements = Requirements(self)
        self.shipped: dict[str, Value] = {
            name: Primitive(operation) for name, operation in catalogue.items() if not operation.internal
        }
        self.shipped.update({name: Builtin(name) for name in BUILTINS})
        self._stops: list[tuple[Stop, Body]] = []
        self._doubts: list[tuple[Diagram, Span, Body, tuple[int, ...]]] = []
        self.turns_taken = 0
        self.observer = Observer()
        self.again = Again(self)
        self._assigned: dict[int, Assigned] = {}

    # ============================================================================================
    # The space
    # ============================================================================================

    def space(self, module: Module, declaration: syntax.Space, settings: Mapping[str, Rational]) -> Space:
        """The space of a declaration, with its parameters set. Raises NasError with all that was found."""
        self.resolution = resolve(module, self.catalogue, self.findings)
        root = Scope(
            0, "space", declaration.name, declaration.name, None, declaration.span, doc=declaration.doc
        )
        self.builder.scopes.append(root)
        statements = [s for s in declaration.body if not isinstance(s, (syntax.Define, syntax.Input))]
        self.root = Body(root, unique=self.assigned(statements).once)
        self.nowhere = Place(self.table.true, Step.space(), self.root)
        place = Place(self.table.true, Step.space(), self.root)
        names = Names(outer=module.names)
        parameters = self._parameters(declaration, settings, names, place)
        for statement in declaration.body:
            if isinstance(statement, syntax.Define):
                names[statement.name] = Definition(statement, names, module.source.path)
        inputs: list[int] = []
        outputs: list[tuple[str, int]] = []
        try:
            inputs += self._inputs(declaration, names, place)
            names.rebound = self.assigned(statements).rebound(names.own)
            result = self.run_body(statements, names, place, declaration.span)
            if result is not None:
                self.attempt(lambda: outputs.extend(self._outputs(result, statements)), self.root)
            self.requirements.finish()
        except Stop as stop:
            self.report(stop, self.root)
        self._judge(declaration)
        self.findings.raise_if_any()
        return self._finished(module, declaration, parameters, inputs, outputs)

    def _finished(
        self,
        module: Module,
        declaration: syntax.Space,
        parameters: dict[str, Rational],
        inputs: list[int],
        outputs: list[tuple[str, int]],
    ) -> Space:
        graph = SpaceGraph()
        for node, reads in zip(self.builder.nodes, self.builder.reads, strict=True):
            graph.add(node, reads)
        for warning in self._lint(module, inputs, outputs):
            self.findings.add(warning)
        return Space(
            name=declaration.name,
            parameters=parameters,
            graph=graph,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            choices=self.builder.finished_choices(),
            table=self.table,
            arities=tuple(self.builder.arities),
            constraints=tuple(self.proof.constraints),
            limits=tuple(self.requirements.limits),
            catalogue=self.catalogue,
            sources=module.sources(),
            warnings=tuple(self.findings.diagnostics),
        )

    def _lint(
        self,
        module: Module,
        inputs: Sequence[int],
        outputs: Sequence[tuple[str, int]],
    ) -> Iterator[Diagnostic]:
        """Warnings that cost nothing; :func:`nasdsl.language.lints.examine` has the others."""
        read = {output for _, output in outputs}
        unread = [self.builder.nodes[id] for id in inputs if not self.builder.readers[id] and id not in read]
        yield from lints.unused_inputs((node.name or "", node.span) for node in unread)
        yield from lints.unused_names(module, self.resolution)
        yield from lints.shadowing_names(module, self.resolution, self.shipped)
        yield from lints.candidates(module, self.shipped.keys() - BUILTINS.keys())

    def _parameters(
        self, declaration: syntax.Space, settings: Mapping[str, Rational], names: Names, place: Place
    ) -> dict[str, Rational]:
        known = [p.name for p in declaration.parameters]
        for name in settings:
            if name not in known:
                self.findings.error(
                    "N108",
                    f"the space `{declaration.name}` has no parameter `{name}`",
                    declaration.name_span,
                    help=did_you_mean(name, known)
                    or (f"its parameters are {listed(f'`{k}`' for k in known)}" if known else "it has none"),
                )
        values: dict[str, Rational] = {}

        def bind(parameter: syntax.Parameter) -> None:
            names[parameter.name] = Poison()
            value: Any
            if parameter.name in settings:
                value = settings[parameter.name]
                if isinstance(value, float):
                    value = Fraction(str(value))
                if isinstance(value, Fraction) and value.denominator == 1:
                    value = value.numerator
            elif parameter.default is None:
                fail(
                    "N202",
                    f"the parameter `{parameter.name}` of the space needs a value",
                    parameter.span,
                    help=f"give it a default, `{parameter.name} = 16`, or a value with `--set {parameter.name}=16`",
                )
            else:
                value = self.evaluate(parameter.default, names, place)
            if isinstance(value, Diagram):
                fail(
                    "N208",
                    f"the parameter `{parameter.name}` of a space can't rest on a choice",
                    parameter.span,
                    help=f"choose inside the space: `{parameter.name} = 16 | 24` as a statement",
                )
            if not is_rational(value):
                fail(
                    "N205",
                    f"the parameters of a space are numbers, and `{parameter.name}` is {self.describe(value)}",
                    parameter.span,
                )
            if parameter.type is not None and parameter.type.name == "int" and not isinstance(value, int):
                fail(
                    "N205",
                    f"`{parameter.name}` is a whole number, and this is {self.describe(value)}",
                    parameter.span,
                )
            values[parameter.name] = value
            names[parameter.name] = value

        for parameter in declaration.parameters:
            self.attempt(lambda p=parameter: bind(p), self.root)  # type: ignore[misc]
        return values

    def _inputs(self, declaration: syntax.Space, names: Names, place: Place) -> list[int]:
        found: list[int] = []
        for statement in declaration.body:
            if isinstance(statement, syntax.Input):
                names[statement.name] = Poison()
                self.attempt(lambda s=statement: found.append(self._input(s, names, place)), self.root)  # type: ignore[misc]
        return found

    def _input(self, statement: syntax.Input, names: Names, place: Place) -> int:
        if statement.type.name not in (None, "int", "float") or statement.type.dimensions is None:
            fail(
                "N305",
                f"the input `{statement.name}` needs its dimensions",
                statement.type.span,
                help=f"write `input {statement.name}: [3, 32, 32]`, or `input {statement.name}: int[T]` for tokens",
            )
        dims: list[int | Size] = []
        for dimension in statement.type.dimensions:
            if isinstance(dimension, syntax.Name) and not self._is_known(dimension.name, names):
                if not dimension.name.isupper():
                    self._unknown(dimension, names)
                names[dimension.name] = Size.free(dimension.name)
            value = self.evaluate(dimension, names, place)
            if isinstance(value, Size) and not isinstance(dimension, syntax.Name):
                fail(
                    "N305",
                    f"a free dimension of the input `{statement.name}` stands by itself",
                    dimension.span,
                    label=f"this is {value}",
                    help="give it a name of its own, in capitals",
                )
            if isinstance(value, Diagram):
                fail(
                    "N208",
                    f"a dimension of the input `{statement.name}` can't rest on a choice",
                    dimension.span,
                    help="an input is the same for every architecture: choose after it",
                )
            dims.append(
                value
                if isinstance(value, Size)
                else self.whole(value, dimension.span, "a dimension", least=1)
            )
        type = TensorType(tuple(dims), "int" if statement.type.name == "int" else "float")
        node = self.builder.add(
            "input", [], type, place.guard, place.body.scope, statement.span, name=statement.name
        )
        names[statement.name] = Tensor(node)
        return node

    @staticmethod
    def _is_known(name: str, names: Names) -> bool:
        scope: Names | None = names
        while scope is not None:
            if name in scope.own:
                return True
            scope = scope.outer
        return False

    def _outputs(self, result: Value, body: Sequence[syntax.Statement]) -> list[tuple[str, int]]:
        returned = body[-1]
        assert isinstance(returned, syntax.Return)
        values = result.items if isinstance(result, Tuple) else (result,)
        outputs: list[tuple[str, int]] = []
        for i, value in enumerate(values):
            e = returned.values[i] if len(values) == len(returned.values) else returned.values[0]
            if not isinstance(value, Tensor):
                fail("N206", f"a space returns tensors, and this is {self.describe(value)}", e.span)
            name = e.name if isinstance(e, syntax.Name) else None
            if name is None and len(values) > len(returned.values):
                name = self.builder.nodes[value.node].name
            if name is None:
                name = "output" if len(values) == 1 else f"output_{i + 1}"
            if name in dict(outputs):
                fail(
                    "N206",
                    f"two outputs of the space are called `{name}`",
                    e.span,
                    help="outputs are named by their variables: assign one of them another name",
                )
            outputs.append((name, value.node))
        return outputs

    # --- findings ------------------------------------------------------------------------------

    def attempt(self, action: Callable[[], Any], body: Body) -> bool:
        """Runs it; where it stops, that is kept for the end. Says whether it went well."""
        try:
            action()
            return True
        except Stop as stop:
            if stop.for_good:
                raise
            self.report(stop, body)
            return False

    def report(self, stop: Stop, body: Body) -> None:
        if stop.diagnostic is not None:
            self._stops.append((stop, stop.body or body))

    def effects(self) -> tuple[int, ...]:
        """How much was found or done that a use doesn't make again: faults, constraints, uses of shared weights."""
        return (
            len(self._stops),
            len(self._doubts),
            len(self.findings.diagnostics),
            len(self.proof.constraints),
            len(self.requirements.limits),
            self.uses.shared,
        )

    def doubt(self, span: Span, body: Body, nodes: Sequence[int] = ()) -> None:
        """What is wrong for some choices only is judged when it is known which genotypes there are."""
        for diagram in self.builder.doubts:
            self._doubts.append((diagram, span, body, tuple(nodes)))
        self.builder.doubts.clear()

    def stop(self, wrong: Wrong, span: Span, place: Place, nodes: Sequence[int] = ()) -> Stop:
        """What the builder says is wrong, with its place and the smallest genotype that gets there."""
        path = self.proof.smallest(place.guard, lambda leaf: leaf is True)
        notes = self.origins(nodes or wrong.nodes, span) if wrong.code.startswith("N3") else ()
        diagnostic = Diagnostic(wrong.code, wrong.message, span, "", notes, wrong.help)
        return Stop(diagnostic, {} if wrong.for_good else path, for_good=wrong.for_good)

    def origins(
        self, nodes: Sequence[int], span: Span, path: Mapping[int, int] | None = None
    ) -> tuple[Note, ...]:
        """Where the tensors that take part in a fault come from; of a choice, the candidate that ``path`` takes."""
        notes: list[Note] = []
        for id in dict.fromkeys(self._taken(node, path or {}) for node in nodes):
            found = self.builder.nodes[id].span
            if found is not None and found != span and all(note.span != found for note in notes):
                notes.append(Note(found, f"this is {type_text(self.builder.type_of(id))}"))
        return tuple(notes[:3])

    def _taken(self, node: int, path: Mapping[int, int]) -> int:
        """The candidate of a choice of tensors that the decisions of a path lead to; the node itself where none does."""
        while self.builder.nodes[node].operation == SELECT:
            for source, guard in self.builder.reads[node]:
                leaf = guard
                while not leaf.is_leaf and leaf.variable in path:
                    leaf = leaf.cases[path[leaf.variable]]
                if leaf is self.table.true:
                    node = source
                    break
            else:
                return node
        return node

    def _judge(self, declaration: syntax.Space) -> None:
        """Puts what was found into words, now that every choice has its name."""
        for diagram, span, body, nodes in self._doubts:
            failure = self.proof.failure(diagram)
            if failure is not None:
                found, path = failure
                notes = self.origins(nodes, span, path)
                diagnostic = Diagnostic(found.code, found.message, span, notes=notes, help=found.help)
                self._stops.append((Stop(diagnostic, path), body))
        said: set[tuple[str, Span | None]] = set()
        for stop, body in self._stops:
            diagnostic_ = stop.diagnostic
            assert diagnostic_ is not None
            # A cell that is used ten times would say the same thing ten times.
            key = (diagnostic_.code, diagnostic_.span)
            if key in said or diagnostic_.span in self.resolution.failed:
                continue
            said.add(key)
            if stop.path:
                text = self.builder.where_text(stop.path)
                diagnostic_ = replace(diagnostic_, message=f"{diagnostic_.message}, where {text}")
            self.findings.add(
                replace(diagnostic_, notes=(*diagnostic_.notes, *self._use_note(diagnostic_, body)))
            )
        if not self.findings.errors and not self.proof.satisfiable():
            self.requirements.say_unsatisfiable()

    def _use_note(self, diagnostic: Diagnostic, body: Body) -> tuple[Note, ...]:
        """Which use of a definition a fault in its body is about: the innermost one in the file of the space."""
        if diagnostic.code[:2] != "N3" or diagnostic.span is None:
            return ()
        home = self.root.scope.span.source if self.root.scope.span is not None else None
        at: Body | None = body
        while at is not None and at.use is not None and at.definition is not None:
            if at.use.source is home and at.use != diagnostic.span:
                return (Note(at.use, f"in this use of `{at.definition.name}`"),)
            at = at.outer
        return ()

    # ============================================================================================
    # Statements
    # ============================================================================================

    def assigned(self, statements: Sequence[syntax.Statement]) -> Assigned:
        """What a body assigns, looked up once however often it is walked."""
        found = self._assigned.get(id(statements))
        if found is None:
            found = self._assigned[id(statements)] = Assigned(statements)
        return found

    def run_body(
        self, statements: Sequence[syntax.Statement], names: Names, place: Place, span: Span
    ) -> Value | None:
        """Runs a body; its value is what its last statement returns, None where that failed."""
        names.later = self.assigned(statements).names
        if not statements or not isinstance(statements[-1], syntax.Return):
            self.report(_no_return(statements, span), place.body)
            self._statements(statements, names, place)
            return None
        last = statements[-1]
        self._statements(statements[:-1], names, place)
        result: list[Value] = []

        def finish() -> None:
            values = [self.evaluate(value, names, place) for value in last.values]
            if len(values) > 1:
                for value, e in zip(values, last.values, strict=True):
                    if isinstance(value, Tuple):
                        fail("N206", f"`return` lists tensors, and this is {self.describe(value)}", e.span)
            result.append(values[0] if len(values) == 1 else Tuple(tuple(values)))

        self.attempt(finish, place.body)
        return result[0] if result else None

    def _statements(self, statements: Sequence[syntax.Statement], names: Names, place: Place) -> None:
        for statement in statements:
            try:
                self._statement(statement, names, place)
            except Stop as stop:
                if stop.for_good:
                    raise
                self.report(stop, place.body)
                for target in Assigned([statement]).names:
                    names[target] = Poison()

    def _statement(self, statement: syntax.Statement, names: Names, place: Place) -> None:
        match statement:
            case syntax.Assign():
                self._assign(statement, names, place)
            case syntax.Shared():
                self._share(statement, names, place)
            case syntax.For():
                self._for(statement, names, place)
            case syntax.If():
                taken = self.static_condition(statement.condition, names, place)
                self._statements(statement.then if taken else statement.otherwise, names, place)
            case syntax.Require():
                self.requirements.add(statement, names, place)
            case syntax.Return():
                fail(
                    "N206",
                    "`return` is the last statement of a body",
                    statement.span,
                    help="use an `if` expression: `return if c then a else b`",
                )
            case _:
                fail("N206", "this can't stand inside a body", statement.span)

    def _for(self, statement: syntax.For, names: Names, place: Place) -> None:
        before = {target.name: names.own.get(target.name) for target in statement.targets}
        value = self.evaluate(statement.iterable, names, place.bare())
        try:
            for position, item in enumerate(self._elements(value, statement.iterable)):
                values = self._bind_targets(statement.targets, item, position, names, statement.iterable)
                labels = tuple(loop_label(v, position) for v in values)
                turn = place.but(loops=(*place.loops, *labels)).turn("turn", statement.span.start, position)
                self._statements(statement.body, names, turn)
        finally:
            for name, old in before.items():
                names.drop(name, old)

    def _elements(self, value: Value, e: syntax.Expression) -> Sequence[Value]:
        """What a loop goes over."""
        if isinstance(value, Poison):
            raise Stop(None)
        if not isinstance(value, ListValue):
            fail(
                "N201",
                f"a loop goes over a list, and this is {self.describe(value)}",
                e.span,
                help="`a..b` is the list of whole numbers from a to b" if is_rational(value) else None,
            )
        if value.guards is not None:
            fail(
                "N405",
                "a list that was chosen can't be looped over: how long it is depends on the architecture",
                e.span,
                label="chosen",
                help="map it with a comprehension, `[f(t) for t in list]`, or reduce it with `sum` or `mean`",
            )
        return value.items

    def count_turn(self, span: Span) -> None:
        """Loops in loops are bounded together."""
        self.turns_taken += 1
        if self.turns_taken > self.limits.length:
            fail(
                "N604",
                f"the loops of this space make more than {self.limits.length} turns",
                span,
                help=f"make them shorter, or raise the bound: `--limit length={2 * self.limits.length}`",
                for_good=True,
            )

    def _bind_targets(
        self,
        targets: Sequence[syntax.Target],
        item: Value,
        position: int,
        names: Names,
        iterable: syntax.Expression,
    ) -> Sequence[Value]:
        """Gives loop variables their values of one turn."""
        self.count_turn(iterable.span)
        if len(targets) == 1:
            items: Sequence[Value] = (item,)
        elif isinstance(item, (Tuple, ListValue)) and len(item.items) == len(targets):
            items = item.items
        else:
            fail(
                "N201",
                f"{count(len(targets), 'loop variable')} can't take {self.describe(item)}",
                iterable.span,
                notes=(Note(targets[0].span.to(targets[-1].span), f"{len(targets)} names"),),
            )
        for target, value in zip(targets, items, strict=True):
            if target.index is not None:
                fail("N201", "a loop variable is a plain name", target.span)
            names[target.name] = value
        self.observer.turn_begins(iterable, position, items, names)
        return items

    def static_condition(self, condition: syntax.Expression, names: Names, place: Place) -> bool:
        value = self.truth(condition, names, place.bare())
        if isinstance(value, Diagram):
            fail(
                "N208",
                "the condition of an `if` statement can't rest on a choice",
                condition.span,
                label="depends on the architecture",
                help="use the expression, `y = if c then a else b`: then both sides are in the space",
            )
        return value

    def _share(self, statement: syntax.Shared, names: Names, place: Place) -> None:
        kind = self.kinds.of(statement.value, names)
        if kind == "poison":
            raise Stop(None)
        if kind != "operation":
            fail(
                "N201",
                f"`shared {statement.name}` names an operation whose weights are shared",
                statement.value.span,
                label=with_article(kind),
                help=f"write `shared {statement.name} = linear(…)`, without a tensor in front",
            )
        at = place.but(target=self.target_name(statement.name, False, None, place), slot="")
        shared = SharedOperation(statement.name, Template(statement.value, names.snapshot()), at, statement)
        if place.shared is not None:
            # Shared weights within shared weights: the second use of the outer ones finds the inner ones made.
            key = place.shared.key("shared", place.trail, statement.span.start)
            earlier = place.shared.made.setdefault(key, shared)
            assert isinstance(earlier, SharedOperation)
            shared.made = earlier.made
        names[statement.name] = shared

    def _assign(self, statement: syntax.Assign, names: Names, place: Place) -> None:
        targets, expressions = statement.targets, statement.values
        # A tuple unpacked into several names keeps the names of its uses.
        alone = len(expressions) == len(targets)
        if not alone and len(expressions) != 1:
            fail(
                "N201",
                f"{count(len(targets), 'name')}, but {count(len(expressions), 'value')}",
                statement.span,
                notes=(Note(expressions[0].span.to(expressions[-1].span), count(len(expressions), "value")),),
            )
        values: list[Value] = []
        indices = [None if t.index is None else self.index(t.index, names, place) for t in targets]
        for i, e in enumerate(expressions):
            target = targets[i]
            kind = self.kinds.of(e, names)
            if kind == "poison":
                raise Stop(None)
            if kind == "operation":
                fail(
                    "N201",
                    "`=` names tensors, numbers and lists, not operations",
                    e.span,
                    label="an operation",
                    help=f"`op {target.name} = {_short(e)}` outside the body makes its own choices and weights at every "
                    f"use,\n`shared {target.name} = {_short(e)}` has one set of weights for all its uses",
                )
            name = (
                self.target_name(target.name, target.index is not None, indices[i], place) if alone else None
            )
            values.append(self.evaluate(e, names, place.but(target=name, slot="")))
        if not alone:
            (value,) = values
            if not isinstance(value, (Tuple, ListValue)) or value_length(value) != len(targets):
                fail(
                    "N201",
                    f"{count(len(targets), 'name')} can't take {self.describe(value)}",
                    expressions[0].span,
                    notes=(Note(targets[0].span.to(targets[-1].span), f"{len(targets)} names"),),
                )
            values = list(value.items)
        for target, index, value in zip(targets, indices, values, strict=True):
            if isinstance(value, Tuple):
                fail(
                    "N201",
                    f"`{target.name}` can't stand for {self.describe(value)}",
                    statement.span,
                    help=f"unpack them, `a, b = …`, or make a list: `{target.name} = [a, b]`",
                )
            if index is None:
                names[target.name] = value
                self._name_node(value, target.name)
            else:
                self._assign_item(target, index, value, names)

    def _assign_item(self, target: syntax.Target, index: int, value: Value, names: Names) -> None:
        current = names.own.get(target.name)
        if isinstance(current, Poison):
            raise Stop(None)
        if not isinstance(current, ListValue):
            what = "has no value yet" if current is None else f"is {self.describe(current)}"
            fail(
                "N201",
                f"`{target.name}` {what}, and `{target.name}[{index}] = …` needs a list",
                target.span,
                help=f"start with a list before: `{target.name} = []`",
            )
        if current.guards is not None:
            fail(
                "N405",
                "a list that was chosen can't be indexed: what stands where depends on the architecture",
                target.span,
            )
        n = len(current.items)
        if not 0 <= index <= n:
            fail(
                "N207",
                f"`{target.name}` has {count(n, 'element')}, so `{target.name}[{index}]` can't be assigned",
                target.span,
                help=f"the next free index is {n}" if index > n else "indices count from 0",
            )
        names[target.name] = ListValue((*current.items[:index], value, *current.items[index + 1 :]))
        self._name_node(value, f"{target.name}{index}")

    def _name_node(self, value: Value, name: str) -> None:
        if isinstance(value, Tensor) and self.builder.nodes[value.node].name is None:
            self.builder.nodes[value.node].name = name

    @staticmethod
    def target_name(name: str, indexed: bool, index: int | None, place: Place) -> str | None:
        """What an assignment calls the uses in it; None where several statements assign its target."""
        if (name, indexed) not in place.body.unique:
            return None
        if index is not None:
            return f"{name}[{index}]"
        return name + "".join(f"[{value}]" for value in place.loops)

    # ============================================================================================
    # Names
    # ============================================================================================

    def find(self, e: syntax.Name, names: Names, *, calling: bool = False) -> Value:
        """What a name stands for; :class:`Poison` where its assignment failed. Raises Stop for a name that is unknown."""
        name = e.name
        scope: Names | None = names
        while scope is not None:
            value = scope.own.get(name)
            if value is not None:
                if scope is not names and not isinstance(value, Definition):
                    self._check_reading(e, value, scope)
                return value
            scope = scope.outer
        shipped = self.shipped.get(name)
        if shipped is not None:
            return shipped
        if name in MEASURES and self.requirements.reading:
            return Measure(name)
        self._unknown(e, names, calling=calling)

    def _check_reading(self, e: syntax.Name, value: Value, scope: Names) -> None:
        """Definitions read numbers and lists around them that are assigned once, but no tensors (rule 9)."""
        if isinstance(value, Poison):
            return
        if _holds_tensor(value):
            fail(
                "N103",
                f"a definition can't read the tensor `{e.name}` from around it",
                e.span,
                label="a tensor of the body around",
                help=f"hand it in: make `{e.name}` one of the definition's inputs",
            )
        if e.name in scope.rebound:
            fail(
                "N103",
                f"a definition can't read `{e.name}` from around it: it is assigned more than once there",
                e.span,
                label="which of its values?",
                help=f"hand it in: add `{e.name}` to the definition's parameters",
            )

    def _unknown(self, e: syntax.Name, names: Names, *, calling: bool = False) -> NoReturn:
        scope: Names | None = names
        while scope is not None:
            if e.name in scope.later:
                fail(
                    "N102",
                    f"`{e.name}` has no value here",
                    e.span,
                    label="assigned later, or only on a way that was not taken",
                    help=f"assign `{e.name}` before this",
                )
            scope = scope.outer
        what = "operation" if calling else "name"
        visible = [*names.all(), *self.shipped]
        fail(
            "N105" if calling else "N101",
            f"unknown {what} `{e.name}`",
            e.span,
            label="not defined here, nor imported" if calling else "not defined here",
            help=did_you_mean(e.name, visible),
        )

    def callee(self, e: syntax.Expression, names: Names) -> Value:
        """What a call calls."""
        if not isinstance(e, syntax.Name):
            kind = self.kinds.of(e, names)
            if kind not in ("operation", "poison"):
                fail("N201", f"only an operation can be called, and this is {with_article(kind)}", e.span)
            return Template(e, names)
        value = self.find(e, names, calling=True)
        if not isinstance(value, (*OPERATIONS, Builtin, Poison)):
            fail(
                "N201",
                f"`{e.name}` is {self.describe(value)} and can't be called",
                e.span,
                label="not an operation",
                help=f"`{e.name} -> f` hands it to an operation" if isinstance(value, Tensor) else None,
            )
        return value

    # ============================================================================================
    # Expressions
    # ============================================================================================

    def evaluate(self, e: syntax.Expression, names: Names, place: Place) -> Value:
        """The value of an expression; an operation stays a template. Raises Stop where it fails."""
        try:
            value = self._evaluate(e, names, place)
        except Wrong as wrong:
            raise self.stop(wrong, e.span, place) from None
        if self.builder.doubts:
            self.doubt(e.span, place.body)
        return value

    def _evaluate(self, e: syntax.Expression, names: Names, place: Place) -> Value:
        match e:
            case syntax.Name():
                value = self.find(e, names)
                if isinstance(value, Poison):
                    raise Stop(None)
                if isinstance(value, (*OPERATIONS, Builtin)):
                    return Template(e, Names({e.name: value}))
                return value
            case syntax.Number():
                number = e.value
                return number.numerator if number.denominator == 1 else number
            case syntax.String() | syntax.Boolean():
                return e.value
            case syntax.Call():
                return self.uses.call(e, names, place)
            case syntax.Pipe():
                return self.uses.pipe(e, names, place)
            case syntax.Alternatives() | syntax.Choose():
                return self.choices.choose(e, names, place)
            case syntax.IfExpression():
                return self._if_expression(e, names, place)
            case syntax.Binary():
                return self._binary(e, names, place.plain())
            case syntax.Negate():
                return self._negate(e, names, place.plain())
            case syntax.Compare():
                return self._compare(e, names, place.plain())
            case syntax.Not():
                return self._settled("not", place, self.truth(e.operand, names, place))
            case syntax.Logical():
                return self._logical(e, names, place)
            case syntax.Index() | syntax.Rest():
                return self._indexed(e, names, place.bare())
            case syntax.List():
                if len(e.items) == 1 and isinstance(e.items[0], syntax.Comprehension):
                    return self._comprehension(e.items[0], names, place.plain())
                return ListValue(tuple(self.evaluate(item, names, place.plain()) for item in e.items))
            case syntax.Tuple():
                return Tuple(tuple(self.evaluate(item, names, place.plain()) for item in e.items))
            case syntax.Comprehension():
                return self._comprehension(e, names, place.plain())
            case syntax.Range():
                return self._range(e, names, place)
        raise AssertionError(e)

    # --- lists ---------------------------------------------------------------------------------

    def _comprehension(self, e: syntax.Comprehension, names: Names, place: Place) -> ListValue:
        items: list[Value] = []
        guards: list[Diagram] = []
        for i, (inner, guard, _) in enumerate(self.turns(e.clauses, names, place)):
            here = place.under(self.table, guard).turn("turn", e.span.start, i)
            if self.kinds.of(e.element, inner) == "operation":
                items.append(Template(e.element, inner.snapshot()))
            else:
                items.append(self.evaluate(e.element, inner, here))
            guards.append(guard)
        static = all(guard is self.table.true for guard in guards)
        return ListValue(tuple(items), None if static else tuple(guards))

    def turns(
        self, clauses: Sequence[syntax.Clause], names: Names, place: Place
    ) -> Iterator[tuple[Names, Diagram, tuple[Value, ...]]]:
        """The turns of a comprehension: names (take a snapshot to keep them), where its element is in the list, and
        the values of its variables."""
        yield from self._turns_of(clauses, names.copy(), place.bare(), self.table.true, ())

    def _turns_of(
        self,
        clauses: Sequence[syntax.Clause],
        inner: Names,
        place: Place,
        guard: Diagram,
        bound: tuple[Value, ...],
    ) -> Iterator[tuple[Names, Diagram, tuple[Value, ...]]]:
        if not clauses:
            yield inner, guard, bound
            return
        clause, *rest = clauses
        value = self.evaluate(clause.iterable, inner, place)
        if not isinstance(value, ListValue):
            fail(
                "N201",
                f"a comprehension goes over a list, and this is {self.describe(value)}",
                clause.iterable.span,
                help="`a..b` is the list of whole numbers from a to b" if is_rational(value) else None,
            )
        for position, item in enumerate(value.items):
            values = self._bind_targets(clause.targets, item, position, inner, clause.iterable)
            if clause.condition is not None and not self._filter(clause.condition, inner, place):
                continue
            own = guard if value.guards is None else self.table.both(guard, value.guards[position])
            yield from self._turns_of(rest, inner, place, own, (*bound, *values))

    def _filter(self, condition: syntax.Expression, names: Names, place: Place) -> bool:
        value = self.truth(condition, names, place)
        if isinstance(value, Diagram):
            fail(
                "N208",
                "the filter of a comprehension can't rest on a choice",
                condition.span,
                label="depends on the architecture",
                help="`choose any of {…}` chooses elements; `if c then f(x) else zero(x)` takes one away",
            )
        return value

    def _range(self, e: syntax.Range, names: Names, place: Place) -> ListValue:
        low = self.static_whole(e.low, names, place, "an end of a range")
        high = self.static_whole(e.high, names, place, "an end of a range")
        if high - low + 1 > self.limits.length:
            fail(
                "N604",
                f"a list of {high - low + 1} numbers is longer than {self.limits.length}",
                e.span,
                help=f"raise the bound if you mean it: `--limit length={high - low + 1}`",
            )
        return ListValue(tuple(range(low, high + 1)))

    def _indexed(self, e: syntax.Index | syntax.Rest, names: Names, place: Place) -> Value:
        value = self.evaluate(e.value, names, place)
        if not isinstance(value, ListValue):
            fail(
                "N201",
                f"only a list is indexed, and this is {self.describe(value)}",
                e.value.span,
                help="its sizes are named by the pattern of an input: `op f(x: [C, H, W])`"
                if isinstance(value, Tensor)
                else None,
            )
        if value.guards is not None:
            fail(
                "N405",
                "a list that was chosen can't be indexed: what stands where depends on the architecture",
                e.span,
                help="reduce it with `sum` or `mean`, or `choose` one tensor",
            )
        size = len(value.items)
        if isinstance(e, syntax.Rest):
            low, high = self.index(e.start, names, place), size - 1
        elif isinstance(e.index, syntax.Range):
            low, high = self.index(e.index.low, names, place), self.index(e.index.high, names, place)
        else:
            index = self.index(e.index, names, place)
            if not 0 <= index < size:
                fail(
                    "N207",
                    f"index {index} is out of range: the list has {count(size, 'element')}",
                    e.index.span,
                    help=f"the last one is [{size - 1}]" if size else None,
                )
            return value.items[index]
        if low < 0 or high >= size or low > size:
            fail(
                "N207",
                f"the slice {low}..{high} is out of range: the list has {count(size, 'element')}",
                e.span,
                help=f"the last one is [{size - 1}]; `[{max(low, 0)}..]` takes the rest"
                if size > low
                else None,
            )
        return ListValue(value.items[low : high + 1])

    def index(self, e: syntax.Expression, names: Names, place: Place) -> int:
        return self.static_whole(e, names, place, "an index")

    def static_whole(self, e: syntax.Expression, names: Names, place: Place, what: str) -> int:
        value = self.evaluate(e, names, place.bare())
        if isinstance(value, Diagram):
            fail(
                "N208",
                f"{what} can't rest on a choice",
                e.span,
                label="depends on the architecture",
                help="`repeat(f, 1 | 2)` chooses a depth, `choose` chooses tensors",
            )
        return self.whole(value, e.span, what)

    def whole(self, value: Value, span: Span, what: str, least: int | None = None) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            fail("N205", f"{what} is a whole number, and this is {self.describe(value)}", span)
        if least is not None and value < least:
            fail("N205", f"{what} is at least {least}, and this is {value}", span)
        return value

    # --- conditions ----------------------------------------------------------------------------

    def truth(self, e: syntax.Expression, names: Names, place: Place) -> bool | Diagram:
        value = self.evaluate(e, names, place.plain())
        if isinstance(value, bool):
            self.observer.condition_settled(e, names, place, value)
            return value
        if isinstance(value, Diagram) and kind_of(value) == "boolean":
            return value
        fail(
            "N201",
            f"a condition is true or false, and this is {self.describe(value)}",
            e.span,
            help="compare it: `… == 1`" if kind_of(value) == "number" else None,
        )

    def _logical(self, e: syntax.Logical, names: Names, place: Place) -> Value:
        # A long `and` leans to the left: walked in a loop.
        terms = [e.right]
        left: syntax.Expression = e.left
        while isinstance(left, syntax.Logical) and left.operator == e.operator:
            terms.append(left.right)
            left = left.left
        value: Any = self.truth(left, names, place)
        combine = self.table.either if e.operator == "or" else self.table.both
        for term in reversed(terms):
            if isinstance(value, bool) and value is (e.operator == "or"):
                return value
            right = self.truth(term, names, place)
            value = self.builder.simplify(combine(self.table.lift(value), self.table.lift(right)))
        result: Value = value
        return result

    def _compare(self, e: syntax.Compare, names: Names, place: Place) -> Value:
        left = self.evaluate(e.left, names, place)
        right = self.evaluate(e.right, names, place)
        for value, side in ((left, e.left), (right, e.right)):
            if isinstance(value, Measure):
                fail(
                    "N503",
                    f"`{value.name}` is compared with a number that is known, and stands alone on its side",
                    e.span,
                    help=f"write `require {value.name} <= 5M`; several conditions are joined by `and`",
                )
            if isinstance(value, (Tensor, Tuple, *OPERATIONS)):
                fail("N201", f"{self.describe(value)} can't be compared", side.span)
            if isinstance(value, ListValue) and value.guards is not None:
                fail(
                    "N405",
                    "a list that was chosen can't be compared",
                    side.span,
                    help="`len(list)` is a number",
                )
        if e.operator == "in":
            if not isinstance(right, ListValue):
                fail("N201", f"`in` looks into a list, and this is {self.describe(right)}", e.right.span)
            found: Value = False
            for item in right.items:
                equal = self._equal(left, item, place)
                found = self.builder.simplify(
                    self.table.either(self.table.lift(found), self.table.lift(equal))
                )
                if found is True:
                    break
            return found
        if e.operator in ("==", "!="):
            kinds = {"list" if isinstance(v, ListValue) else kind_of(v) for v in (left, right)}
            if len(kinds) > 1:
                fail("N201", f"{self.describe(left)} and {self.describe(right)} are never equal", e.span)
            same = self._equal(left, right, place)
            return same if e.operator == "==" else self._settled("not", place, same)
        for value, side in ((left, e.left), (right, e.right)):
            if kind_of(value) != "number":
                fail(
                    "N201", f"`{e.operator}` compares numbers, and this is {self.describe(value)}", side.span
                )
        return self._settled(e.operator, place, left, right)

    def _equal(self, left: Value, right: Value, place: Place) -> Any:
        if isinstance(left, ListValue) and isinstance(right, ListValue):
            if len(left.items) != len(right.items):
                return False
            result: Any = True
            for a, b in zip(left.items, right.items, strict=True):
                same = self.table.lift(self._equal(a, b, place))
                result = self.builder.simplify(self.table.both(self.table.lift(result), same))
            return result
        if kind_of(left) == kind_of(right) == "number":
            return self._settled("==", place, left, right)
        if isinstance(left, Diagram) or isinstance(right, Diagram):
            return kind_of(left) == kind_of(right) and self._settled("==", place, left, right)
        return type(left) is type(right) and left == right

    # --- if ------------------------------------------------------------------------------------

    def _if_expression(self, e: syntax.IfExpression, names: Names, place: Place) -> Value:
        condition = self.truth(e.condition, names, place.bare())
        if isinstance(condition, bool):
            return self.evaluate(e.then if condition else e.otherwise, names, place)
        if self.kinds.of(e, names) == "operation":
            return Template(e, names.snapshot())
        return self.both_sides(e, condition, place, lambda side, at: self.evaluate(side, names, at))

    def both_sides(
        self,
        e: syntax.IfExpression,
        condition: Diagram,
        place: Place,
        walk: Callable[[syntax.Expression, Place], Value],
    ) -> Value:
        """A chosen ``if``: both sides are in the space, each under the condition that it is taken."""
        sides: list[tuple[Value, Diagram, Span]] = []
        for side, holds in ((e.then, condition), (e.otherwise, self.table.negate(condition))):
            # It names nothing: a use on either side is one of two.
            here = place.under(self.table, holds).but(slot="", under_if=True).turn("side", side.span.start)
            if self.proof.possible(here.guard):
                sides.append((walk(side, here), holds, side.span))
        if not sides:
            return walk(e.then, place)
        return self.choices.merge(sides, e.span, place)

    # --- arithmetic ----------------------------------------------------------------------------

    def _settled(self, name: str, place: Place, *operands: Any) -> Any:
        return self.builder.settled(self.builder.compute(name, *operands), place.guard)

    def compute(self, name: str, span: Span, place: Place, *operands: Value) -> Any:
        """Arithmetic on numbers that may rest on choices, failures where they are met."""
        for operand in operands:
            self.check_number(operand, span, name)
        return self._settled(name, place, *operands)

    def _binary(self, e: syntax.Binary, names: Names, place: Place) -> Value:
        # Operators of one strength lean to the left: a sum of tensors is one node, however many terms it has.
        terms: list[tuple[str, syntax.Expression, Span]] = []
        left: syntax.Expression = e
        while isinstance(left, syntax.Binary):
            terms.append((left.operator, left.right, left.span))
            left = left.left
        terms.reverse()
        value = self.evaluate(left, names, place)
        self._check_operand(value, left, terms[0][0])
        pending: list[Value] = []
        for i, (operator, term, span) in enumerate(terms):
            right = self.evaluate(term, names, place)
            self._check_operand(right, term, operator)
            if operator == "+" and isinstance(value, Tensor) and isinstance(right, Tensor):
                pending = pending or [value]
                pending.append(right)
                if i + 1 < len(terms) and terms[i + 1][0] == "+":
                    continue
                value = self.forms.reduce("sum", ListValue(tuple(pending)), {}, place, span)
            elif pending:
                # A sum of tensors, and then a number.
                value = self.forms.reduce("sum", ListValue(tuple(pending)), {}, place, terms[i - 1][2])
                value = self._combine(operator, value, right, span, place)
            else:
                value = self._combine(operator, value, right, span, place)
            pending = []
        return value

    def _negate(self, e: syntax.Negate, names: Names, place: Place) -> Value:
        value = self.evaluate(e.operand, names, place)
        self._check_operand(value, e.operand, "-")
        if isinstance(value, Tensor):
            return self.uses.primitive("scale", [value.node], {"number": -1}, place, e.span)
        result: Value = self.compute("negate", e.span, place, value)
        return result

    def _combine(self, operator: str, a: Value, b: Value, span: Span, place: Place) -> Value:
        if isinstance(a, ListValue) or isinstance(b, ListValue):
            return self._join(operator, a, b, span)
        tensors = [value for value in (a, b) if isinstance(value, Tensor)]
        if tensors and operator not in ("+", "-", "*", "/"):
            fail("N210", f"`{operator}` doesn't work on tensors; `+`, `-`, `*` and `/` do", span)
        if len(tensors) == 2:
            if operator == "+":
                return self.forms.reduce("sum", ListValue((a, b)), {}, place, span)
            name = {"-": "subtract", "*": "multiply", "/": "divide"}[operator]
            return self.uses.primitive(name, [t.node for t in tensors], {}, place, span)
        if len(tensors) == 1:
            (tensor,) = tensors
            number = b if tensor is a else a
            self.check_number(number, span, operator)
            if isinstance(number, Size):
                fail(
                    "N208",
                    f"the free size `{number}` isn't known before the network runs, so a tensor can't be combined with it",
                    span,
                    help="give the input a fixed size",
                )
            if operator == "*" or (operator == "/" and tensor is a):
                factor = number if operator == "*" else self.compute("/", span, place, 1, number)
                return self.uses.primitive("scale", [tensor.node], {"number": factor}, place, span)
            settings = {"operator": operator, "number": number, "side": "right" if tensor is a else "left"}
            return self.uses.primitive("with_number", [tensor.node], settings, place, span)
        result: Value = self.compute(operator, span, place, a, b)
        return result

    def _join(self, operator: str, a: Value, b: Value, span: Span) -> ListValue:
        if operator != "+" or not isinstance(a, ListValue) or not isinstance(b, ListValue):
            other = b if isinstance(a, ListValue) else a
            if isinstance(other, ListValue):
                fail("N201", f"`{operator}` doesn't work on lists; `+` joins them", span)
            fail(
                "N201",
                f"`{operator}` can't combine a list with {self.describe(other)}",
                span,
                help="put it into a list, `list + [x]`" if operator == "+" else None,
            )
        if len(a.items) + len(b.items) > self.limits.length:
            fail(
                "N604",
                f"a list of {len(a.items) + len(b.items)} elements is longer than {self.limits.length}",
                span,
            )
        guards = None
        if a.guards is not None or b.guards is not None:
            true = self.table.true
            guards = (a.guards or (true,) * len(a.items)) + (b.guards or (true,) * len(b.items))
        return ListValue(a.items + b.items, guards)

    def _check_operand(self, value: Value, e: syntax.Expression, operator: str) -> None:
        if isinstance(value, (Template, Tuple, bool, str, Measure)) or kind_of(value) == "boolean":
            fail(
                "N210",
                f"`{operator}` takes tensors and numbers, and this is {self.describe(value)}",
                e.span,
                label=self.describe(value),
                help=f"apply it to a tensor first: `f(x) {operator} g(x)`"
                if isinstance(value, Template)
                else None,
            )

    def check_number(self, value: Value, span: Span, what: str) -> None:
        if kind_of(value) != "number" or isinstance(value, Measure):
            fail("N201", f"`{what}` takes numbers, and this is {self.describe(value)}", span)

    # ============================================================================================

    def describe(self, value: Value) -> str:
        """A value in words: ``a list of 3 elements``, ``the number 2.5``, ``a tensor [16, 8, 8]``."""
        if isinstance(value, Tensor) and value.node >= 0:
            return f"a tensor {type_text(self.builder.type_of(value.node))}"
        if isinstance(value, Tuple):
            kinds = {kind_of(item) for item in value.items}
            return f"{len(value.items)} tensors" if kinds == {"tensor"} else f"a tuple of {len(value.items)}"
        if isinstance(value, ListValue):
            return (
                "a list that was chosen"
                if value.guards is not None
                else f"a list of {count(len(value.items), 'element')}"
            )
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, Fraction)):
            return f"the number {number_text(value)}"
        if isinstance(value, Size):
            return f"the free size {value}"
        if isinstance(value, str):
            return f'the text "{value}"'
        if isinstance(value, Measure):
            return f"the measure `{value.name}`"
        if isinstance(value, Diagram):
            return "true or false by choice" if kind_of(value) == "boolean" else "a chosen number"
        return with_article(kind_of(value))


def value_length(value: Tuple | ListValue) -> int:
    # A list that was chosen has no length to unpack by.
    return -1 if isinstance(value, ListValue) and value.guards is not None else len(value.items)


def _holds_tensor(value: Value) -> bool:
    if isinstance(value, (ListValue, Tuple)):
        return any(map(_holds_tensor, value.items))
    return isinstance(value, Tensor)


def _no_return(statements: Sequence[syntax.Statement], span: Span) -> Stop:
    where = statements[-1].span if statements else span
    return Stop(
        Diagnostic("N206", "a body ends with `return`", where, help="add `return …` as the last statement")
    )


def _short(e: syntax.Expression) -> str:
    """An expression's text where it is short enough for a help line."""
    text = " ".join(e.span.text.split())
    return text if len(text) <= 40 else "…"
