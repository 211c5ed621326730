"""Text's meaning: a syntax tree becomes a space graph.

The elaborator walks the tree with a :class:`Place` in hand: under which guard it is, which use it stands in, what the
next choice would be called. An operation expression is not evaluated but kept as a template and walked at each use,
which is why every use of an ``op`` makes its own choices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, NoReturn

from nasdsl.diagnostics import Diagnostic, Findings, Note, Span, did_you_mean
from nasdsl.language import syntax
from nasdsl.language.builder import ChoiceRecord, GraphBuilder, Limits, Wrong, listed, type_text
from nasdsl.language.format import format_expression
from nasdsl.language.modules import Module
from nasdsl.language.naming import Step
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
)
from nasdsl.space.diagram import UNDEFINED, Diagram
from nasdsl.space.graph import Scope, SpaceGraph
from nasdsl.space.operation import Catalogue
from nasdsl.space.size import Rational, Size
from nasdsl.space.space import Limit, Space
from nasdsl.space.tensor import TensorType

BUILTINS = (
    "repeat", "chain", "scan", "sum", "mean", "max", "min", "concat", "unused", "len", "round", "unembed", "count",
)  # fmt: skip
REDUCTIONS = ("sum", "mean", "max", "concat")
Kind = Literal["tensor", "number", "boolean", "string", "list", "operation", "poison"]


class Stop(Exception):
    """Leaves a statement that failed; ``diagnostic`` is None where the cause has been reported already."""

    def __init__(self, diagnostic: Diagnostic | None) -> None:
        super().__init__()
        self.diagnostic = diagnostic


@dataclass(frozen=True, slots=True)
class Place:
    """Where the elaborator stands.

    ``target`` is the name that uses and choices directly in this expression get. ``slot`` says that ``step`` itself is
    the name of the next ``choice`` (the body of an ``op`` that is a choice) or of the next ``use`` (a labelled
    candidate). ``first`` is the first node of the body, for ``unused``. ``loops`` are the values of the loops around.
    """

    guard: Diagram
    step: Step
    scope: Scope
    first: int = 0
    target: str | None = None
    slot: Literal["", "choice", "use"] = ""
    region: int | None = None
    nesting: int = 0
    loops: tuple[str, ...] = ()
    shared: SharedUse | None = None
    unique: frozenset[tuple[str, bool]] = frozenset()

    def plain(self) -> Place:
        """The same place, past the point where a slot could be taken."""
        return self if not self.slot else replace(self, slot="")


@dataclass(slots=True, eq=False)
class SharedUse:
    """The weights that a use of a shared operation makes (the first) or takes (later ones), in order."""

    owners: list[int]
    taking: bool
    position: int = 0


@dataclass(eq=False)
class Elaborator:
    catalogue: Catalogue
    limits: Limits
    findings: Findings = field(default_factory=Findings)

    def __post_init__(self) -> None:
        self.builder = GraphBuilder(self.catalogue, self.limits)
        self.table = self.builder.table
        self._requires: list[tuple[syntax.Require, Names, Place]] = []
        self._cells: dict[tuple[str, str], Definition] = {}
        self._uses = 0
        self._kinds_of_definitions: dict[Definition, Kind] = {}

    # ============================================================================================
    # The space
    # ============================================================================================

    def space(self, module: Module, declaration: syntax.Space, settings: Mapping[str, Rational]) -> Space:
        """Elaborates one space. Raises NasError with all that was found."""
        root = Scope(0, "space", declaration.name, declaration.name, None, declaration.span, doc=declaration.doc)
        self.builder.scopes.append(root)
        names = Names(outer=module.names)
        place = Place(self.table.true, Step.root(""), root)
        parameters = self._parameters(declaration, settings, names, place)
        for statement in declaration.body:
            if isinstance(statement, syntax.Define):
                names.own[statement.name] = Definition(statement, names, module.source.path)
        inputs: list[int] = []
        for statement in declaration.body:
            if isinstance(statement, syntax.Input):
                with self._reporting():
                    inputs.append(self._input(statement, names, place))
        body = [s for s in declaration.body if not isinstance(s, (syntax.Define, syntax.Input))]
        result = self._body(body, names, place, declaration.span)
        outputs: list[tuple[str, int]] = []
        if result is not None:
            with self._reporting():
                outputs = self._outputs(result, body)
        self._check_unused_inputs(inputs)
        constraints, limits = self._requirements()
        self.findings.raise_if_any()
        graph = SpaceGraph()
        for node, reads in zip(self.builder.nodes, self.builder.reads, strict=True):
            graph.add(node, reads)
        return Space(
            name=declaration.name,
            parameters=parameters,
            graph=graph,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            choices=self.builder.finished_choices(),
            table=self.table,
            arities=tuple(self.builder.arities),
            constraints=tuple(constraints),
            limits=tuple(limits),
            catalogue=self.catalogue,
            sources=module.sources(),
            warnings=tuple(self.findings.diagnostics),
        )

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
        for parameter in declaration.parameters:
            with self._reporting():
                if parameter.name in settings:
                    value: Any = settings[parameter.name]
                elif parameter.default is None:
                    self._fail(
                        "N202",
                        f"the parameter `{parameter.name}` of the space needs a value",
                        parameter.span,
                        help=f"give it a default, `{parameter.name} = 16`, or a value with `--set {parameter.name}=16`",
                    )
                else:
                    value = self.evaluate(parameter.default, names, place)
                if isinstance(value, (bool, Diagram)) or not isinstance(value, (int, Fraction)):
                    self._fail(
                        "N208",
                        f"the parameter `{parameter.name}` of a space is a number that is known when it is compiled",
                        parameter.span,
                        help="choose inside the space: `width = 16 | 24`",
                    )
                values[parameter.name] = names.own[parameter.name] = value
            names.own.setdefault(parameter.name, Poison())
        return values

    def _input(self, statement: syntax.Input, names: Names, place: Place) -> int:
        if statement.type.name not in (None, "int", "float") or statement.type.dimensions is None:
            self._fail(
                "N305",
                f"the input `{statement.name}` needs its dimensions",
                statement.type.span,
                help=f"write `input {statement.name}: [3, 32, 32]`, or `input {statement.name}: int[T]` for tokens",
            )
        dims = []
        for dimension in statement.type.dimensions:
            if isinstance(dimension, syntax.Name) and names.find(dimension.name) is None:
                if not dimension.name.isupper():
                    self._unknown(dimension, names)
                dims.append(Size.free(dimension.name))
                names.own[dimension.name] = dims[-1]
                continue
            value = self.evaluate(dimension, names, place)
            if isinstance(value, Size):
                dims.append(value)
            else:
                dims.append(self._whole(value, dimension.span, "a dimension", least=1))
        type = TensorType(tuple(dims), "int" if statement.type.name == "int" else "float")
        node = self.builder.add(
            "input", [], type, place.guard, place.scope, statement.span, name=statement.name
        )
        names.own[statement.name] = Tensor(node)
        return node

    def _outputs(self, result: Value, body: Sequence[syntax.Statement]) -> list[tuple[str, int]]:
        returned = body[-1]
        assert isinstance(returned, syntax.Return)
        values = result.items if isinstance(result, Tuple) else (result,)
        outputs: list[tuple[str, int]] = []
        for i, (value, expression) in enumerate(zip(values, returned.values, strict=False)):
            if not isinstance(value, Tensor):
                self._fail("N206", f"a space returns tensors, and this is {self._a(value)}", expression.span)
            name = expression.name if isinstance(expression, syntax.Name) else "output"
            if name == "output" and len(values) > 1:
                name = f"output_{i + 1}"
            outputs.append((name, value.node))
        return outputs

    def _check_unused_inputs(self, inputs: Sequence[int]) -> None:
        for node in inputs:
            if not self.builder.readers[node]:
                name = self.builder.nodes[node].name
                self.findings.warning(
                    "N701", f"the input `{name}` is never used", self.builder.nodes[node].span, label="not read"
                )

    # ============================================================================================
    # Statements
    # ============================================================================================

    def _reporting(self) -> _Reporting:
        return _Reporting(self.findings)

    def _body(
        self, statements: Sequence[syntax.Statement], names: Names, place: Place, span: Span
    ) -> Value | None:
        """Runs a body; its value is what its last statement returns, None where that failed."""
        place = replace(place, unique=frozenset(_assigned_once(statements)), loops=(), target=None, slot="")
        names.rebound = frozenset(_rebound(statements))
        if not statements or not isinstance(statements[-1], syntax.Return):
            where = statements[-1].span if statements else span
            self.findings.error(
                "N206", "a body ends with `return`", where, help="add `return …` as the last statement"
            )
            return None
        self._statements(statements[:-1], names, place)
        with self._reporting():
            last = statements[-1]
            values = [self.evaluate(value, names, place) for value in last.values]
            return values[0] if len(values) == 1 else Tuple(tuple(values))
        return None

    def _statements(self, statements: Sequence[syntax.Statement], names: Names, place: Place) -> None:
        for statement in statements:
            try:
                self._statement(statement, names, place)
            except Stop as stop:
                if stop.diagnostic is not None:
                    self.findings.add(stop.diagnostic)
                for target in _targets(statement):
                    names.own[target] = Poison()

    def _statement(self, statement: syntax.Statement, names: Names, place: Place) -> None:
        match statement:
            case syntax.Assign():
                self._assign(statement, names, place)
            case syntax.Shared():
                if self.kind(statement.value, names) != "operation":
                    self._fail(
                        "N201",
                        f"`shared {statement.name}` names an operation whose weights are shared",
                        statement.value.span,
                        help=f"write `shared {statement.name} = linear(…)`, without a tensor in front",
                    )
                step = Step(place.step, self._target_name(statement.name, None, place))
                template = Template(statement.value, names.snapshot())
                names.own[statement.name] = SharedOperation(statement.name, template, step, statement.span)
            case syntax.For():
                for values in self._turns(statement.targets, statement.iterable, names, place):
                    labels = tuple(_loop_label(value, i) for i, value in values)
                    self._statements(
                        statement.body, names, replace(place, loops=(*place.loops, *labels))
                    )
                for target in statement.targets:
                    names.own.pop(target.name, None)
            case syntax.If():
                if self._static_condition(statement.condition, names, place):
                    self._statements(statement.then, names, place)
                else:
                    self._statements(statement.otherwise, names, place)
            case syntax.Require():
                self._requires.append((statement, names.snapshot(), place))
            case syntax.Return():
                self._fail(
                    "N206",
                    "`return` is the last statement of a body",
                    statement.span,
                    help="use an `if` expression: `return if c then a else b`",
                )
            case _:
                self._fail("N206", "this can't stand inside a body", statement.span)

    def _assign(self, statement: syntax.Assign, names: Names, place: Place) -> None:
        targets = statement.targets
        values: list[Value] = []
        for i, expression in enumerate(statement.values):
            target = targets[i] if len(statement.values) == len(targets) else targets[0]
            # A tuple unpacked into several names keeps the names of its uses.
            alone = len(statement.values) == len(targets)
            index = None
            if target.index is not None:
                index = self._index(target.index, names, place)
            name = self._target_of(target, index, place) if alone else None
            if self.kind(expression, names) == "operation":
                self._fail(
                    "N201",
                    "`=` names tensors, numbers and lists, not operations",
                    expression.span,
                    label="an operation",
                    help=f"write `op {target.name} = …` outside the body (each use its own choices and weights), "
                    f"or `shared {target.name} = …` for one set of weights",
                )
            values.append(self.evaluate(expression, names, replace(place, target=name, slot="")))
        if len(values) == 1 and len(targets) > 1:
            if not isinstance(values[0], (Tuple, ListValue)) or len(values[0].items) != len(targets):
                self._fail(
                    "N201",
                    f"{len(targets)} names can't take {self._a(values[0])}",
                    statement.span,
                )
            values = list(values[0].items)
        if len(values) != len(targets):
            self._fail("N201", f"{len(targets)} names, but {len(values)} values", statement.span)
        for target, value in zip(targets, values, strict=True):
            if target.index is None:
                names.own[target.name] = value
                if isinstance(value, Tensor) and self.builder.nodes[value.node].name is None:
                    self.builder.nodes[value.node].name = target.name
            else:
                self._assign_item(target, value, names, place)

    def _assign_item(self, target: syntax.Target, value: Value, names: Names, place: Place) -> None:
        assert target.index is not None
        index = self._index(target.index, names, place)
        current = names.own.get(target.name)
        if isinstance(current, Poison):
            raise Stop(None)
        if not isinstance(current, ListValue) or current.guards is not None:
            self._fail(
                "N201",
                f"`{target.name}` is not a list here",
                target.span,
                help=f"start with a list: `{target.name} = []`",
            )
        if not 0 <= index <= len(current.items):
            self._fail(
                "N207",
                f"`{target.name}` has {len(current.items)} elements, so `{target.name}[{index}]` can't be assigned",
                target.span,
                help=f"the next free index is {len(current.items)}",
            )
        items = list(current.items)
        items[index : index + 1] = [value]
        names.own[target.name] = ListValue(tuple(items))
        if isinstance(value, Tensor) and self.builder.nodes[value.node].name is None:
            self.builder.nodes[value.node].name = f"{target.name}{index}"

    def _target_of(self, target: syntax.Target, index: int | None, place: Place) -> str | None:
        if (target.name, target.index is not None) not in place.unique:
            return None
        return self._target_name(target.name, index, place)

    @staticmethod
    def _target_name(name: str, index: int | None, place: Place) -> str:
        if index is not None:
            return f"{name}[{index}]"
        return name + "".join(f"[{value}]" for value in place.loops)

    def _turns(
        self, targets: Sequence[syntax.Target], iterable: syntax.Expression, names: Names, place: Place
    ) -> Iterator[list[tuple[int, Value]]]:
        """Binds the loop variables, once a turn; yields (position, value) of each."""
        value = self.evaluate(iterable, names, place)
        if not isinstance(value, ListValue):
            self._fail("N201", f"a loop goes over a list, and this is {self._a(value)}", iterable.span)
        if value.guards is not None:
            self._fail(
                "N405",
                "a list that was chosen can't be looped over: how long it is depends on the architecture",
                iterable.span,
                help="map it with a comprehension, `[f(t) for t in list]`, or reduce it with `sum`, `mean` or `max`",
            )
        for position, item in enumerate(value.items):
            yield self._bind_targets(targets, item, position, names, iterable.span)

    def _bind_targets(
        self, targets: Sequence[syntax.Target], item: Value, position: int, names: Names, span: Span
    ) -> list[tuple[int, Value]]:
        if len(targets) == 1:
            items: Sequence[Value] = (item,)
        elif isinstance(item, (Tuple, ListValue)) and len(item.items) == len(targets):
            items = item.items
        else:
            self._fail("N201", f"{len(targets)} loop variables can't take {self._a(item)}", span)
        for target, value in zip(targets, items, strict=True):
            if target.index is not None:
                self._fail("N201", "a loop variable is a plain name", target.span)
            names.own[target.name] = value
        return [(position, value) for value in items]

    def _static_condition(self, condition: syntax.Expression, names: Names, place: Place) -> bool:
        value = self.evaluate(condition, names, place)
        if isinstance(value, Diagram):
            self._fail(
                "N208",
                "the condition of an `if` statement can't rest on a choice",
                condition.span,
                label="depends on the architecture",
                help="use the expression, `if c then a else b`: then both sides are in the space",
            )
        if not isinstance(value, bool):
            self._fail("N201", f"a condition is true or false, and this is {self._a(value)}", condition.span)
        return value

    # ============================================================================================
    # Kinds: what an expression will be, without making anything
    # ============================================================================================

    def kind(self, e: syntax.Expression, names: Names) -> Kind:
        match e:
            case syntax.Number():
                return "number"
            case syntax.String():
                return "string"
            case syntax.Boolean() | syntax.Compare() | syntax.Not() | syntax.Logical():
                return "boolean"
            case syntax.List() | syntax.Range() | syntax.Rest():
                return "list"
            case syntax.Tuple():
                return "tensor"
            case syntax.Name():
                return self._kind_of(self._find(e, names))
            case syntax.Negate():
                return self.kind(e.operand, names)
            case syntax.Binary():
                left, right = self.kind(e.left, names), self.kind(e.right, names)
                for side, operand in ((left, e.left), (right, e.right)):
                    if side == "operation":
                        self._fail(
                            "N210",
                            f"`{e.operator}` takes tensors and numbers, not operations",
                            operand.span,
                            label="an operation",
                            help="apply it first: `f(x) + g(x)`",
                        )
                if "list" in (left, right):
                    return "list"
                return "tensor" if "tensor" in (left, right) else left
            case syntax.IfExpression():
                return self.kind(e.then, names)
            case syntax.Alternatives():
                return self._common_kind(e.items, names)
            case syntax.Choose():
                if e.quantity is not None:
                    return "list"
                return self._common_kind(e.items, self._with_clause_names(e.clauses, names))
            case syntax.Pipe():
                return "tensor" if self.kind(e.stages[0], names) in ("tensor", "list") else "operation"
            case syntax.Index():
                if isinstance(e.index, syntax.Range):
                    return "list"
                value = self._peek(e.value, names)
                if isinstance(value, ListValue):
                    return self._kind_of(value.items[0]) if value.items else "number"
                return "tensor"
            case syntax.Comprehension():
                return "list"
            case syntax.Call():
                return self._kind_of_call(e, names)
        raise AssertionError(e)

    def _common_kind(self, items: Sequence[syntax.Alternative], names: Names) -> Kind:
        kinds = [self.kind(item.value, names) for item in items]
        for kind, item in zip(kinds, items, strict=True):
            if "poison" not in (kind, kinds[0]) and kind != kinds[0]:
                raise Stop(
                    Diagnostic(
                        "N204",
                        f"the candidates of a choice are of one kind: {_with_article(kinds[0])} "
                        f"and {_with_article(kind)} are not",
                        item.value.span,
                        _with_article(kind),
                        (Note(items[0].value.span, _with_article(kinds[0])),),
                        help="apply the operation, `conv(3)(x)`, or take the tensor's name away",
                    )
                )
        if kinds[0] in ("list", "string", "boolean"):
            self._fail("N204", f"{kinds[0]}s can't be chosen: tensors, operations and numbers can", items[0].span)
        return kinds[0]

    def _with_clause_names(self, clauses: Sequence[syntax.Clause], names: Names) -> Names:
        """Names as a comprehension's first turn binds them, for looking at kinds."""
        if not clauses:
            return names
        inner = names.snapshot()
        for clause in clauses:
            value = self._peek(clause.iterable, inner)
            first: Value = 0
            if isinstance(value, ListValue) and value.items:
                first = value.items[0]
            elif self.kind(clause.iterable, inner) == "list" and not isinstance(value, ListValue):
                first = Tensor(-1)
            if len(clause.targets) == 1:
                inner.own[clause.targets[0].name] = first
            else:
                parts = first.items if isinstance(first, (Tuple, ListValue)) else ()
                for i, target in enumerate(clause.targets):
                    inner.own[target.name] = parts[i] if i < len(parts) else 0
        return inner

    def _peek(self, e: syntax.Expression, names: Names) -> Value | None:
        """The value of an expression that makes nothing (names, ranges, indices), else None."""
        if _is_pure(e):
            return self.evaluate(e, names, self._nowhere())
        return None

    def _nowhere(self) -> Place:
        return Place(self.table.true, Step.root(""), self.builder.scopes[0])

    @staticmethod
    def _kind_of(value: Value) -> Kind:
        if isinstance(value, (Tensor, Tuple)):
            return "tensor"
        if isinstance(value, ListValue):
            return "list"
        if isinstance(value, bool):
            return "boolean"
        if isinstance(value, str):
            return "string"
        if isinstance(value, (*OPERATIONS, Builtin)):
            return "operation"
        if isinstance(value, Diagram):
            return "boolean" if isinstance(next(iter(value.leaves())), bool) else "number"
        if isinstance(value, Poison):
            return "poison"
        return "number"

    def _kind_of_call(self, e: syntax.Call, names: Names) -> Kind:
        callee = self._callee(e.function, names)
        if isinstance(callee, Poison):
            return "poison"
        if isinstance(callee, Builtin):
            if callee.name in ("len", "round", "count", "min"):
                return "number"
            if callee.name in ("unused",):
                return "list"
            if callee.name in ("repeat", "chain", "scan", "unembed"):
                return "operation"
            if not e.arguments or all(a.name is not None for a in e.arguments):
                return "operation"  # `(a, b) -> concat(axis = 0)`
            if callee.name == "max":
                return "tensor" if self._holds_tensors(e.arguments[0].value, names) else "number"
            return "tensor"
        return "tensor" if self._gives_inputs(callee, e.arguments, names) else "operation"

    def _gives_inputs(self, callee: Value, arguments: Sequence[syntax.Argument], names: Names) -> bool:
        inputs = self._input_names(callee)
        for argument in arguments:
            if argument.name is None:
                if self._holds_tensors(argument.value, names):
                    return True
            elif argument.name in inputs:
                return True
        return False

    def _holds_tensors(self, e: syntax.Expression, names: Names) -> bool:
        """Whether an argument is a tensor or a list of tensors."""
        kind = self.kind(e, names)
        if kind != "list":
            return kind == "tensor"
        match e:
            case syntax.List(items=items):
                return bool(items) and self._holds_tensors(items[0], names)
            case syntax.Comprehension():
                return self.kind(e.element, self._with_clause_names(e.clauses, names)) in ("tensor", "list")
            case syntax.Range():
                return False
            case syntax.Choose():
                return True
            case syntax.Binary():
                return self._holds_tensors(e.left, names) or self._holds_tensors(e.right, names)
            case syntax.Call():
                return True
        value = self._peek(e, names)
        return isinstance(value, ListValue) and (
            value.guards is not None or (bool(value.items) and isinstance(value.items[0], Tensor))
        )

    def _callee(self, e: syntax.Expression, names: Names) -> Value:
        if isinstance(e, syntax.Name):
            value = self._find(e, names, calling=True)
            if not isinstance(value, (*OPERATIONS, Builtin, Poison)):
                self._fail(
                    "N201",
                    f"`{e.name}` is {self._a(value)} and can't be called",
                    e.span,
                    help=f"`x -> f` or `f(x)` calls an operation; `{e.name}` stands for {self._a(value)}",
                )
            return value
        if self.kind(e, names) != "operation":
            self._fail("N201", "only an operation can be called", e.span)
        return Template(e, names)

    @staticmethod
    def _input_names(callee: Value) -> Sequence[str]:
        if isinstance(callee, Primitive):
            return callee.operation.inputs
        if isinstance(callee, Definition):
            return [p.name for p in callee.syntax.parameters if _is_input(p)]
        return ()

    # ============================================================================================
    # Names
    # ============================================================================================

    def _find(self, e: syntax.Name, names: Names, *, calling: bool = False) -> Value:
        scope: Names | None = names
        while scope is not None:
            if e.name in scope.own:
                value = scope.own[e.name]
                if scope is not names and not self._may_read(value, e.name, scope):
                    self._fail(
                        "N103",
                        f"a definition can't read `{e.name}` from around it: it is "
                        + ("assigned more than once" if e.name in scope.rebound else self._a(value)),
                        e.span,
                        help=f"hand it in: add `{e.name}` to the definition's parameters",
                    )
                return value
            scope = scope.outer
        if e.name in BUILTINS:
            return Builtin(e.name)
        if e.name in self.catalogue and not self.catalogue[e.name].internal:
            return Primitive(self.catalogue[e.name])
        if e.name in ("params", "flops"):
            return Measure(e.name)
        self._unknown(e, names, calling=calling)

    @staticmethod
    def _may_read(value: Value, name: str, scope: Names) -> bool:
        if isinstance(value, (Definition, SharedOperation, Poison)):
            return True
        if isinstance(value, (Tensor, Tuple)):
            return False
        if isinstance(value, ListValue) and any(isinstance(item, Tensor) for item in value.items):
            return False
        return name not in scope.rebound

    def _unknown(self, e: syntax.Name, names: Names, *, calling: bool = False) -> NoReturn:
        visible = [*names.all(), *BUILTINS, *(n for n, o in self.catalogue.items() if not o.internal)]
        what = "operation" if calling else "name"
        self._fail(
            "N105" if calling else "N101",
            f"unknown {what} `{e.name}`",
            e.span,
            label="not defined here, nor imported" if calling else "not defined here",
            help=did_you_mean(e.name, visible),
        )

    # ============================================================================================
    # Expressions
    # ============================================================================================

    def evaluate(self, e: syntax.Expression, names: Names, place: Place) -> Value:
        """The value of an expression; an operation stays a template. Raises Stop where it fails."""
        try:
            return self._evaluate(e, names, place)
        except Wrong as wrong:
            raise Stop(Diagnostic(wrong.code, wrong.message, e.span, help=wrong.help)) from None
        except ZeroDivisionError:
            raise Stop(Diagnostic("N205", "a division by zero", e.span)) from None

    def _evaluate(self, e: syntax.Expression, names: Names, place: Place) -> Value:
        match e:
            case syntax.Number():
                value = e.value
                return value.numerator if value.denominator == 1 else value
            case syntax.String() | syntax.Boolean():
                return e.value
            case syntax.Name():
                value = self._find(e, names)
                if isinstance(value, Poison):
                    raise Stop(None)
                if isinstance(value, (*OPERATIONS, Builtin)):
                    return Template(e, names)
                return value
            case syntax.Tuple():
                return Tuple(tuple(self.evaluate(item, names, place.plain()) for item in e.items))
            case syntax.List():
                return self._list(e, names, place.plain())
            case syntax.Comprehension():
                return self._comprehension(e, names, place.plain())
            case syntax.Range():
                return self._range(e, names, place)
            case syntax.Index() | syntax.Rest():
                return self._indexed(e, names, place)
            case syntax.Negate():
                return self._arithmetic("negate", e, [e.operand], names, place)
            case syntax.Binary():
                return self._binary(e, names, place.plain())
            case syntax.Compare():
                return self._compare(e, names, place)
            case syntax.Not():
                return self.builder.compute("not", self._truth(e.operand, names, place))
            case syntax.Logical():
                return self._logical(e, names, place)
            case syntax.IfExpression():
                return self._if_expression(e, names, place)
            case syntax.Alternatives() | syntax.Choose():
                return self._choice(e, names, place)
            case syntax.Pipe():
                if self.kind(e, names) == "operation":
                    return Template(e, names.snapshot())
                value = self.evaluate(e.stages[0], names, place.plain())
                for stage in e.stages[1:]:
                    value = self._piped(value, stage, names, place.plain())
                return value
            case syntax.Call():
                return self._call(e, names, place)
        raise AssertionError(e)

    def _list(self, e: syntax.List, names: Names, place: Place) -> ListValue:
        if len(e.items) == 1 and isinstance(e.items[0], syntax.Comprehension):
            return self._comprehension(e.items[0], names, place)
        return ListValue(tuple(self.evaluate(item, names, place) for item in e.items))

    def _comprehension(self, e: syntax.Comprehension, names: Names, place: Place) -> ListValue:
        items: list[Value] = []
        guards: list[Diagram] = []
        operations = self.kind(e.element, self._with_clause_names(e.clauses, names)) == "operation"
        for inner, guard, _ in self._clauses(e.clauses, names, place, self.table.true):
            here = replace(place, guard=self.table.both(place.guard, guard))
            items.append(
                Template(e.element, inner) if operations else self.evaluate(e.element, inner, here)
            )
            guards.append(guard)
        static = all(guard is self.table.true for guard in guards)
        return ListValue(tuple(items), None if static else tuple(guards))

    def _clauses(
        self,
        clauses: Sequence[syntax.Clause],
        names: Names,
        place: Place,
        guard: Diagram,
        bound: tuple[tuple[int, Value], ...] = (),
    ) -> Iterator[tuple[Names, Diagram, tuple[tuple[int, Value], ...]]]:
        """The turns of a comprehension: names, the guard of its element, and (position, value) of its variables."""
        if not clauses:
            yield names.snapshot(), guard, bound
            return
        clause, *rest = clauses
        value = self.evaluate(clause.iterable, names, place)
        if not isinstance(value, ListValue):
            self._fail("N201", f"a comprehension goes over a list, and this is {self._a(value)}", clause.iterable.span)
        inner = names.snapshot()
        for position, item in enumerate(value.items):
            turn = self._bind_targets(clause.targets, item, position, inner, clause.iterable.span)
            if clause.condition is not None and not self._static_condition(clause.condition, inner, place):
                continue
            own = guard if value.guards is None else self.table.both(guard, value.guards[position])
            yield from self._clauses(rest, inner, place, own, (*bound, *turn))

    def _range(self, e: syntax.Range, names: Names, place: Place) -> ListValue:
        low = self._static_whole(e.low, names, place, "an end of a range")
        high = self._static_whole(e.high, names, place, "an end of a range")
        if high - low + 1 > self.limits.length:
            self._fail(
                "N604",
                f"a list of {high - low + 1} numbers is longer than {self.limits.length}",
                e.span,
                help="raise the bound with `--limit length=…` if you mean it",
            )
        return ListValue(tuple(range(low, high + 1)))

    def _index(self, e: syntax.Expression, names: Names, place: Place) -> int:
        return self._static_whole(e, names, place, "an index")

    def _static_whole(self, e: syntax.Expression, names: Names, place: Place, what: str) -> int:
        value = self.evaluate(e, names, replace(place, target=None, slot=""))
        if isinstance(value, Diagram):
            self._fail(
                "N208",
                f"{what} can't rest on a choice",
                e.span,
                label="depends on the architecture",
                help="`repeat(f, 1 | 2)` chooses a depth, `choose` chooses tensors",
            )
        return self._whole(value, e.span, what)

    def _whole(self, value: Value, span: Span, what: str, least: int | None = None) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self._fail("N205", f"{what} is a whole number, and this is {self._a(value)}", span)
        if least is not None and value < least:
            self._fail("N205", f"{what} is at least {least}, and this is {value}", span)
        return value

    def _indexed(self, e: syntax.Index | syntax.Rest, names: Names, place: Place) -> Value:
        value = self.evaluate(e.value, names, place.plain())
        if not isinstance(value, ListValue):
            self._fail("N201", f"only a list is indexed, and this is {self._a(value)}", e.value.span)
        if value.guards is not None:
            self._fail(
                "N405",
                "a list that was chosen can't be indexed: what stands where depends on the architecture",
                e.span,
                help="reduce it with `sum`, `mean` or `max`, or `choose` one tensor",
            )
        size = len(value.items)
        if isinstance(e, syntax.Rest):
            low, high = self._index(e.start, names, place), size - 1
        elif isinstance(e.index, syntax.Range):
            low, high = self._index(e.index.low, names, place), self._index(e.index.high, names, place)
        else:
            index = self._index(e.index, names, place)
            if not 0 <= index < size:
                self._fail(
                    "N207",
                    f"index {index} is out of range: the list has {size} elements",
                    e.index.span,
                    help=f"the last one is [{size - 1}]" if size else None,
                )
            return value.items[index]
        if low < 0 or high >= size or low > size:
            self._fail("N207", f"the slice {low}..{high} is out of range: the list has {size} elements", e.span)
        return ListValue(value.items[low : high + 1])

    def _truth(self, e: syntax.Expression, names: Names, place: Place) -> bool | Diagram:
        value = self.evaluate(e, names, place.plain())
        if isinstance(value, bool) or (isinstance(value, Diagram) and self._kind_of(value) == "boolean"):
            return value
        self._fail("N201", f"true or false is needed here, and this is {self._a(value)}", e.span)

    def _logical(self, e: syntax.Logical, names: Names, place: Place) -> Value:
        left = self._truth(e.left, names, place)
        if isinstance(left, bool) and left is (e.operator == "or"):
            return left
        right = self._truth(e.right, names, place)
        combine = self.table.either if e.operator == "or" else self.table.both
        value: Value = self.builder.simplify(combine(self.table.lift(left), self.table.lift(right)))
        return value

    def _compare(self, e: syntax.Compare, names: Names, place: Place) -> Value:
        left = self.evaluate(e.left, names, place.plain())
        right = self.evaluate(e.right, names, place.plain())
        if e.operator == "in":
            if not isinstance(right, ListValue) or right.guards is not None:
                self._fail("N201", f"`in` looks into a list, and this is {self._a(right)}", e.right.span)
            found: Value = False
            for item in right.items:
                equal = self._equal(left, item)
                found = self.builder.simplify(self.table.either(self.table.lift(found), self.table.lift(equal)))
            return found
        for value, side in ((left, e.left), (right, e.right)):
            if isinstance(value, (Tensor, Tuple, Template, ListValue)) and not (
                isinstance(value, ListValue) and e.operator in ("==", "!=")
            ):
                self._fail("N201", f"{self._a(value)} can't be compared", side.span)
        if e.operator in ("==", "!="):
            equal = self._equal(left, right)
            return equal if e.operator == "==" else self.builder.compute("not", equal)
        for value, side in ((left, e.left), (right, e.right)):
            if isinstance(value, (str, bool, ListValue)):
                self._fail("N201", f"`{e.operator}` compares numbers, and this is {self._a(value)}", side.span)
            if isinstance(value, Size):
                self._fail(
                    "N208", f"the free size `{value}` is not known yet, so it can't be compared", side.span,
                    help="give the input a fixed size",
                )
        if isinstance(left, Measure) or isinstance(right, Measure):
            self._fail(
                "N503", "a measure can only be used in `require`", e.span, help="write `require params <= 5M`"
            )
        return self.builder.compute(e.operator, left, right)

    def _equal(self, left: Value, right: Value) -> Any:
        if isinstance(left, Diagram) or isinstance(right, Diagram):
            return self.builder.compute("==", left, right)
        return type(left) is type(right) and left == right or (
            _is_rational(left) and _is_rational(right) and left == right
        )

    def _if_expression(self, e: syntax.IfExpression, names: Names, place: Place) -> Value:
        condition = self._truth(e.condition, names, replace(place, target=None))
        if isinstance(condition, bool):
            return self.evaluate(e.then if condition else e.otherwise, names, place)
        if self.kind(e, names) == "operation":
            return Template(e, names.snapshot())
        sides: list[tuple[Value, Diagram]] = []
        for branch, holds in ((e.then, condition), (e.otherwise, self.table.negate(condition))):
            guard = self.table.both(place.guard, holds)
            if guard is not self.table.false:
                sides.append((self.evaluate(branch, names, replace(place, guard=guard)), holds))
        return self._merge(sides, e.span, place)

    def _merge(self, sides: Sequence[tuple[Value, Diagram]], span: Span, place: Place) -> Value:
        """One value out of several with exclusive guards."""
        if len(sides) == 1:
            return sides[0][0]
        first = sides[0][0]
        if isinstance(first, Tensor):
            tensors = []
            for value, guard in sides:
                if not isinstance(value, Tensor):
                    self._fail("N204", f"one side is a tensor, the other {self._a(value)}", span)
                tensors.append((value.node, guard))
            if all(node == tensors[0][0] for node, _ in tensors):
                return first
            return Tensor(
                self.builder.select(tensors, place.guard, place.scope, span, region=place.region)
            )
        if isinstance(first, Tuple):
            columns = []
            for i in range(len(first.items)):
                column = []
                for value, guard in sides:
                    if not isinstance(value, Tuple) or len(value.items) != len(first.items):
                        self._fail("N204", "the sides give different numbers of tensors", span)
                    column.append((value.items[i], guard))
                columns.append(self._merge(column, span, place))
            return Tuple(tuple(columns))
        if any(isinstance(value, (ListValue, str, Template)) for value, _ in sides):
            self._fail("N208", "lists and strings can't rest on a choice", span)
        result = sides[-1][0]
        for value, guard in reversed(sides[:-1]):
            result = self.builder.where(guard, value, result)
        return result

    # --- arithmetic ----------------------------------------------------------------------------

    def _binary(self, e: syntax.Binary, names: Names, place: Place) -> Value:
        if e.operator != "+":
            return self._arithmetic(e.operator, e, [e.left, e.right], names, place)
        # A sum of tensors is one node, however many terms it has.
        terms: list[syntax.Expression] = []
        left: syntax.Expression = e
        while isinstance(left, syntax.Binary) and left.operator == "+":
            terms.append(left.right)
            left = left.left
        terms.append(left)
        terms.reverse()
        values = [self.evaluate(term, names, place) for term in terms]
        if all(isinstance(value, Tensor) for value in values):
            return self._reduce("sum", ListValue(tuple(values)), {}, place, e.span)
        total = values[0]
        for value, term in zip(values[1:], terms[1:], strict=True):
            total = self._combine("+", total, value, e.span.source, terms[0].span.to(term.span), place)
        return total

    def _arithmetic(
        self, operator: str, e: syntax.Expression, operands: Sequence[syntax.Expression], names: Names, place: Place
    ) -> Value:
        values = [self.evaluate(operand, names, place.plain()) for operand in operands]
        if operator == "negate":
            if isinstance(values[0], Tensor):
                return self._primitive("scale", [values[0].node], {"number": -1}, place, e.span)
            self._check_number(values[0], e.span, "-")
            return self.builder.compute("negate", values[0])
        return self._combine(operator, values[0], values[1], e.span.source, e.span, place)

    def _combine(self, operator: str, a: Value, b: Value, _source: object, span: Span, place: Place) -> Value:
        if isinstance(a, ListValue) and isinstance(b, ListValue):
            if operator != "+":
                self._fail("N201", f"`{operator}` doesn't work on lists; `+` joins them", span)
            guards = None
            if a.guards is not None or b.guards is not None:
                true = self.table.true
                guards = (a.guards or (true,) * len(a.items)) + (b.guards or (true,) * len(b.items))
            if len(a.items) + len(b.items) > self.limits.length:
                self._fail("N604", f"a list longer than {self.limits.length}", span)
            return ListValue(a.items + b.items, guards)
        tensors = [value for value in (a, b) if isinstance(value, Tensor)]
        if len(tensors) == 2:
            operation = {"+": "sum", "-": "subtract", "*": "multiply", "/": "divide"}.get(operator)
            if operation is None:
                self._fail("N210", f"`{operator}` doesn't work on tensors; `+`, `-`, `*` and `/` do", span)
            if operation == "sum":
                return self._reduce("sum", ListValue((a, b)), {}, place, span)
            return self._primitive(operation, [t.node for t in tensors], {}, place, span)
        if len(tensors) == 1:
            other = b if tensors[0] is a else a
            self._check_number(other, span, operator)
            if operator == "*" or (operator == "/" and tensors[0] is a):
                number = other if operator == "*" else self.builder.compute("/", 1, other)
                return self._primitive("scale", [tensors[0].node], {"number": number}, place, span)
            if operator not in ("+", "-", "/"):
                self._fail("N210", f"`{operator}` doesn't work on tensors; `+`, `-`, `*` and `/` do", span)
            settings = {"operator": operator, "number": other, "side": "right" if tensors[0] is a else "left"}
            return self._primitive("with_number", [tensors[0].node], settings, place, span)
        self._check_number(a, span, operator)
        self._check_number(b, span, operator)
        return self.builder.compute(operator, a, b)

    def _check_number(self, value: Value, span: Span, operator: str) -> None:
        if isinstance(value, (bool, str, ListValue, Tuple, Measure, Template)) or (
            isinstance(value, Diagram) and self._kind_of(value) == "boolean"
        ):
            self._fail("N201", f"`{operator}` takes tensors and numbers, not {self._a(value)}", span)

    # ============================================================================================
    # Choices
    # ============================================================================================

    def _choice(self, e: syntax.Alternatives | syntax.Choose, names: Names, place: Place) -> Value:
        if isinstance(e, syntax.Choose) and e.quantity is not None:
            return self._choose_some(e, names, place)
        kind = self.kind(e, names)
        if kind == "operation":
            return Template(e, names.snapshot())
        if kind == "poison":
            raise Stop(None)
        candidates = self._candidates(e, names, place)
        if not candidates:
            self._fail("N401", "a choice of nothing", e.span, help="give at least one candidate")
        values: list[Value] = []
        choice, holds, step = self._make_choice(
            e, [label for label, *_ in candidates], "number" if kind == "number" else "tensor", place
        )
        for i, (label, value, inner) in enumerate(candidates):
            here = self._candidate_place(place, step, label, holds[i], value)
            values.append(self.evaluate(value, inner, here))
        if kind == "number":
            for value, (_, expression, _) in zip(values, candidates, strict=True):
                self._check_number(value, expression.span, "|")
            result = values[-1]
            for value, guard in reversed(list(zip(values[:-1], holds[:-1], strict=True))):
                result = self.builder.where(guard, value, result)
            if choice is not None:
                choice.values = tuple(values)
            return result
        return self._select(values, holds, choice, e.span, place)

    def _candidates(
        self, e: syntax.Alternatives | syntax.Choose, names: Names, place: Place
    ) -> list[tuple[str, syntax.Expression, Names]]:
        """Label, expression and names of each candidate."""
        clauses = e.clauses if isinstance(e, syntax.Choose) else ()
        if not clauses:
            return [
                (item.label if item.label is not None else format_expression(item.value), item.value, names)
                for item in e.items
            ]
        item = e.items[0]
        if item.label is not None:
            self._fail(
                "N402",
                "a label inside a comprehension would name every candidate the same",
                item.span,
                help="leave it away: candidates are labelled by the loop variable's value",
            )
        found = []
        inner_place = replace(place, target=None, slot="")
        for position, (inner, guard, bound) in enumerate(
            self._clauses(clauses, names, inner_place, self.table.true)
        ):
            if guard is not self.table.true:
                self._fail(
                    "N405", "candidates can't come from a list that was chosen", clauses[0].iterable.span
                )
            labels = [_label_of(value) for _, value in bound]
            label = ",".join(l for l in labels if l is not None) if None not in labels else str(position)
            found.append((label, item.value, inner))
        return found

    def _make_choice(
        self,
        e: syntax.Expression,
        labels: Sequence[str],
        kind: Literal["tensor", "number"],
        place: Place,
    ) -> tuple[ChoiceRecord | None, list[Diagram], Step]:
        """The choice, where each candidate's guard holds, and the step below which candidates are named."""
        step = place.step if place.slot == "choice" else Step(place.step, place.target or "choice")
        if len(labels) == 1:
            return None, [self.table.true], step
        choice = self.builder.choice(step, labels, kind, place.guard, e.span)
        return choice, [self.builder.takes(choice, i) for i in range(len(labels))], step

    def _candidate_place(
        self, place: Place, step: Step, label: str, holds: Diagram, e: syntax.Expression
    ) -> Place:
        # The label stands for a single use; several uses keep their names below it.
        return replace(
            place,
            guard=self.table.both(place.guard, holds),
            step=Step(step, label),
            target=None,
            slot="use" if _is_single_use(e) else "",
        )

    def _select(
        self,
        values: Sequence[Value],
        holds: Sequence[Diagram],
        choice: ChoiceRecord | None,
        span: Span,
        place: Place,
    ) -> Value:
        if len(values) == 1:
            return values[0]
        index = choice.index if choice is not None else None
        if any(isinstance(value, Tuple) for value in values):
            widths = {len(value.items) if isinstance(value, Tuple) else 1 for value in values}
            if len(widths) > 1:
                self._fail("N204", "candidates give different numbers of tensors", span)
            columns = []
            for i in range(widths.pop()):
                column = [value.items[i] for value in values if isinstance(value, Tuple)]
                columns.append(self._select(column, holds, choice, span, place))
            return Tuple(tuple(columns))
        nodes = []
        for value in values:
            if not isinstance(value, Tensor):
                self._fail("N204", f"a candidate gives {self._a(value)}, not a tensor", span)
            nodes.append(value.node)
        return Tensor(
            self.builder.select(
                list(zip(nodes, holds, strict=True)),
                place.guard,
                place.scope,
                span,
                region=place.region,
                choice=index,
            )
        )

    def _choose_some(self, e: syntax.Choose, names: Names, place: Place) -> Value:
        assert e.quantity is not None
        candidates = self._candidates(e, names, place)
        inner = candidates[0][2] if candidates else names
        if candidates and (kind := self.kind(candidates[0][1], inner)) not in ("tensor", "poison"):
            self._fail(
                "N405",
                f"`choose … of` takes tensors, and this is {_with_article(kind)}",
                candidates[0][1].span,
                help="apply the operation to a tensor: `choose 2 of { f(t) for t in n }`",
            )
        low, high = self._quantity(e.quantity, len(candidates), names, place)
        labels = [label for label, *_ in candidates]
        step = place.step if place.slot == "choice" else Step(place.step, place.target or "choice")
        # Nothing to choose where all have to be taken.
        choice = None
        holds = [self.table.true] * len(candidates)
        if low != high or 0 < low < len(candidates):
            choice = self.builder.choice(step, labels, "tensor", place.guard, e.span, (low, high))
            holds = [self.builder.takes(choice, i) for i in range(len(labels))]
        elif high == 0:
            return ListValue(())
        items = []
        for (label, value, names_here), guard in zip(candidates, holds, strict=True):
            items.append(self.evaluate(value, names_here, self._candidate_place(place, step, label, guard, value)))
        for item in items:
            if not isinstance(item, Tensor):
                self._fail("N405", f"`choose … of` takes tensors, and this is {self._a(item)}", e.span)
        return ListValue(tuple(items), tuple(holds) if choice is not None else None)

    def _quantity(self, quantity: syntax.Quantity, n: int, names: Names, place: Place) -> tuple[int, int]:
        if quantity.low is None:
            return 0, n
        low = self._static_whole(quantity.low, names, place, "how many are chosen")
        high = low if quantity.high is None else self._static_whole(quantity.high, names, place, "how many are chosen")
        if low < 0 or high < low:
            self._fail("N401", f"can't choose {low}..{high}", quantity.span)
        if low > n:
            self._fail(
                "N401",
                f"can't choose {low} of {n} candidates",
                quantity.span,
                help=f"there {'is' if n == 1 else 'are'} only {n}: use `choose {n} of`, or add candidates",
            )
        return low, min(high, n)

    # ============================================================================================
    # Uses
    # ============================================================================================

    def _piped(self, value: Value, stage: syntax.Expression, names: Names, place: Place) -> Value:
        kind = self.kind(stage, names)
        inputs = list(value.items) if isinstance(value, Tuple) else [value]
        if kind == "poison":
            raise Stop(None)
        if kind != "operation" and not isinstance(stage, syntax.Call):
            self._fail(
                "N201",
                f"`->` hands a tensor to an operation, and this is {_with_article(kind)}",
                stage.span,
                label=_with_article(kind),
                help="write an operation after `->`, such as `relu` or `conv(32, kernel = 3)`",
            )
        return self.apply(stage, names, inputs, place)

    def _call(self, e: syntax.Call, names: Names, place: Place) -> Value:
        callee = self._callee(e.function, names)
        if isinstance(callee, Poison):
            raise Stop(None)
        if isinstance(callee, Builtin):
            if self._kind_of_call(e, names) == "operation":
                return Template(e, names.snapshot())
            return self._builtin(callee.name, e, names, place, [])
        if not self._gives_inputs(callee, e.arguments, names):
            return Template(e, names.snapshot())
        return self.apply(e, names, [], place)

    def apply(self, e: syntax.Expression, names: Names, inputs: list[Value], place: Place) -> Value:
        """A use of the operation that an expression stands for, on given inputs (and those that a call gives)."""
        try:
            return self._apply(e, names, inputs, place)
        except Wrong as wrong:
            raise Stop(Diagnostic(wrong.code, wrong.message, e.span, help=wrong.help)) from None

    def _apply(self, e: syntax.Expression, names: Names, inputs: list[Value], place: Place) -> Value:
        match e:
            case syntax.Name():
                value = self._find(e, names, calling=True)
                return self._use(value, e.name, (), names, inputs, place, e.span)
            case syntax.Call():
                callee = self._callee(e.function, names)
                name = e.function.name if isinstance(e.function, syntax.Name) else ""
                if isinstance(callee, Builtin):
                    return self._builtin(callee.name, e, names, place, inputs)
                return self._use(callee, name, e.arguments, names, inputs, place, e.span)
            case syntax.Pipe():
                if self.kind(e.stages[0], names) != "operation":
                    self._fail("N201", "this already has its tensor and is no operation", e.span)
                value = self.apply(e.stages[0], names, inputs, place.plain())
                for stage in e.stages[1:]:
                    value = self._piped(value, stage, names, place.plain())
                return value
            case syntax.IfExpression():
                condition = self._truth(e.condition, names, replace(place, target=None))
                if isinstance(condition, bool):
                    return self.apply(e.then if condition else e.otherwise, names, inputs, place)
                sides = []
                for branch, holds in ((e.then, condition), (e.otherwise, self.table.negate(condition))):
                    guard = self.table.both(place.guard, holds)
                    if guard is not self.table.false:
                        here = replace(place, guard=guard)
                        sides.append((self.apply(branch, names, inputs, here), holds))
                return self._merge(sides, e.span, place)
            case syntax.Alternatives() | syntax.Choose():
                candidates = self._candidates(e, names, place)
                labels = [label for label, *_ in candidates]
                choice, holds, step = self._make_choice(e, labels, "tensor", place)
                values = []
                for (label, value, inner), guard in zip(candidates, holds, strict=True):
                    here = self._candidate_place(place, step, label, guard, value)
                    values.append(self.apply(value, inner, list(inputs), here))
                return self._select(values, holds, choice, e.span, place)
        value = self.evaluate(e, names, place)
        if isinstance(value, Template):
            return self.apply(value.expression, value.names, inputs, place)
        self._fail("N201", f"an operation is needed here, and this is {self._a(value)}", e.span)

    def _use(
        self,
        callee: Value,
        name: str,
        arguments: Sequence[syntax.Argument],
        names: Names,
        inputs: list[Value],
        place: Place,
        span: Span,
    ) -> Value:
        if isinstance(callee, Poison) or any(isinstance(value, Poison) for value in inputs):
            raise Stop(None)
        if isinstance(callee, Builtin):
            call = syntax.Call(span, syntax.Name(span, callee.name), tuple(arguments))
            return self._builtin(callee.name, call, names, place, inputs)
        if not isinstance(callee, OPERATIONS):
            self._fail("N201", f"`{name}` is {self._a(callee)}, not an operation", span)
        self._uses += 1
        if self._uses > self.limits.uses:
            self._fail(
                "N604", f"the space has more than {self.limits.uses} uses of operations", span,
                help="make it smaller, or raise the bound with `--limit uses=…`",
            )
        if isinstance(callee, Primitive):
            return self._use_primitive(callee, arguments, names, inputs, place, span)
        if isinstance(callee, Definition):
            return self._use_definition(callee, arguments, names, inputs, place, span)
        # A parameter, a shared operation or an expression in brackets: it only takes its inputs here.
        given = list(inputs)
        for argument in arguments:
            if argument.name is not None or not self._holds_tensors(argument.value, names):
                self._fail(
                    "N203",
                    f"`{name or 'this operation'}` has its settings already and takes tensors alone",
                    argument.span,
                )
            given.append(self.evaluate(argument.value, names, place.plain()))
        if isinstance(callee, SharedOperation):
            return self._use_shared(callee, given, place, span)
        here = place
        if name:
            step = self._use_step(name, place)
            single = _is_single_use(callee.expression)
            here = replace(place, step=step, target=None, slot="use" if single else _body_slot(callee.expression))
        return self.apply(callee.expression, callee.names, given, here)

    def _use_step(self, name: str, place: Place) -> Step:
        return place.step if place.slot == "use" else Step(place.step, place.target or name)

    # --- primitives ----------------------------------------------------------------------------

    def _use_primitive(
        self,
        callee: Primitive,
        arguments: Sequence[syntax.Argument],
        names: Names,
        inputs: list[Value],
        place: Place,
        span: Span,
    ) -> Value:
        operation = callee.operation
        step = self._use_step(operation.name, place)
        tensors = list(inputs)
        settings: dict[str, Any] = {}
        places: dict[str, Span] = {}
        declared = [setting.name for setting in operation.settings]
        position = 0
        for argument in arguments:
            if argument.name is None and self._holds_tensors(argument.value, names):
                tensors.append(self.evaluate(argument.value, names, place.plain()))
                continue
            if argument.name in operation.inputs:
                tensors.append(self.evaluate(argument.value, names, place.plain()))
                continue
            if argument.name is not None:
                setting = argument.name
                if setting not in declared:
                    self._fail(
                        "N106",
                        f"`{operation.name}` has no setting `{setting}`",
                        argument.name_span or argument.span,
                        help=did_you_mean(setting, declared)
                        or (f"its settings are {listed(f'`{d}`' for d in declared)}" if declared else "it has none"),
                    )
            else:
                while position < len(declared) and declared[position] in settings:
                    position += 1
                if position >= len(declared):
                    self._fail(
                        "N203",
                        f"`{operation.name}` takes "
                        + (f"only {listed(f'`{d}`' for d in declared)}" if declared else "no settings"),
                        argument.span,
                    )
                setting = declared[position]
            if setting in settings:
                self._fail("N203", f"`{setting}` is given twice", argument.span)
            here = replace(place, step=step, target=setting, slot="")
            settings[setting] = self._setting_value(
                operation.name, operation.settings[declared.index(setting)], argument.value, names, here
            )
            places[setting] = argument.span
        nodes = []
        for value in tensors:
            for item in value.items if isinstance(value, (ListValue, Tuple)) else (value,):
                if isinstance(item, Poison):
                    raise Stop(None)
                if not isinstance(item, Tensor):
                    self._fail("N201", f"`{operation.name}` takes a tensor, and this is {self._a(item)}", span)
                nodes.append(item.node)
        if len(nodes) != len(operation.inputs):
            self._fail(
                "N202" if len(nodes) < len(operation.inputs) else "N203",
                f"`{operation.name}` takes {_count(len(operation.inputs), 'tensor')}, and {len(nodes)} are given",
                span,
            )
        return self._primitive(operation.name, nodes, settings, place, span)

    def _setting_value(self, name: str, setting: Any, e: syntax.Expression, names: Names, place: Place) -> Any:
        kind = self.kind(e, names)
        if kind in ("tensor", "operation", "string"):
            self._fail("N205", f"`{setting.name}` of `{name}` is a number, and this is {_with_article(kind)}", e.span)
        value = self.evaluate(e, names, place)
        if isinstance(value, Poison):
            raise Stop(None)
        if isinstance(value, ListValue):
            if setting.kind not in ("ints", "dims") or value.guards is not None:
                self._fail("N205", f"`{setting.name}` of `{name}` is one number, not a list", e.span)
            for item in value.items:
                if isinstance(item, Diagram):
                    self._fail(
                        "N209", f"a list for `{setting.name}` is without choices", e.span,
                        help=f"choose between operations: `{name}(…) | {name}(…)`",
                    )
            return list(value.items)
        if setting.kind == "dims":
            self._fail("N205", f"`{setting.name}` of `{name}` is a list of sizes, such as [16, 1, 1]", e.span)
        if isinstance(value, Diagram) and not setting.elastic:
            self._fail(
                "N209",
                f"`{setting.name}` of `{name}` can't rest on a choice",
                e.span,
                label="depends on the architecture",
                help=f"choose between operations instead: `{name}({setting.name} = …) | {name}({setting.name} = …)`",
            )
        if setting.kind == "bool" and not isinstance(value, bool):
            self._fail("N205", f"`{setting.name}` of `{name}` is true or false", e.span)
        if setting.kind in ("int", "ints"):
            leaves = value.leaves() if isinstance(value, Diagram) else [value]
            for leaf in leaves:
                if leaf is UNDEFINED:
                    continue
                if isinstance(leaf, (bool, str)) or not isinstance(leaf, (int, Size)):
                    self._fail(
                        "N205", f"`{setting.name}` of `{name}` is a whole number, and this is {self._a(leaf)}", e.span
                    )
            if setting.name == "kernel" and isinstance(value, Diagram):
                if len({leaf % 2 for leaf in leaves if isinstance(leaf, int)}) > 1:
                    self._fail(
                        "N209",
                        "an elastic kernel takes the centre of its largest, so its sizes are all odd or all even",
                        e.span,
                    )
        return value

    def _primitive(
        self, name: str, nodes: list[int], given: dict[str, Any], place: Place, span: Span
    ) -> Tensor:
        operation = self.catalogue[name]
        types = [self.builder.type_of(node) for node in nodes]
        try:
            settings = self.builder.settings_for(operation, given, types)
            type = self.builder.infer(operation, types, settings, place.guard)
        except Wrong as wrong:
            notes = tuple(
                Note(found, f"gives {type_text(self.builder.type_of(node))}")
                for node in nodes[:2]
                if (found := self.builder.nodes[node].span) is not None and found != span
            )
            raise Stop(Diagnostic(wrong.code, wrong.message, span, "", notes, wrong.help)) from None
        return Tensor(self._node(name, [(node, place.guard) for node in nodes], type, settings, place, span))

    def _node(
        self,
        name: str,
        reads: list[tuple[int, Diagram]],
        type: TensorType,
        settings: dict[str, Any],
        place: Place,
        span: Span,
    ) -> int:
        owner = None
        shared = place.shared
        if shared is not None and shared.taking:
            owner = shared.owners[shared.position]
            shared.position += 1
        node = self.builder.add(
            name, reads, type, place.guard, place.scope, span, settings=settings, owner=owner, region=place.region
        )
        if shared is not None and not shared.taking:
            shared.owners.append(node)
        return node

    # --- definitions ---------------------------------------------------------------------------

    def _use_definition(
        self,
        callee: Definition,
        arguments: Sequence[syntax.Argument],
        names: Names,
        inputs: list[Value],
        place: Place,
        span: Span,
    ) -> Value:
        define = callee.syntax
        if place.nesting >= self.limits.nesting:
            chosen = place.guard is not self.table.true
            self._fail(
                "N605",
                f"`{define.name}` is used inside itself more than {self.limits.nesting} deep",
                span,
                help="a recursive use under a chosen condition never ends: let a setting count down to an end"
                if chosen
                else "let a setting count down, `if depth == 0 then … else …`",
            )
        step = self._use_step(define.name, place)
        bound = self._bind(callee, arguments, names, inputs, place, step, span)
        scope = Scope(
            len(self.builder.scopes), define.kind, define.name, self._scope_label(place, define.name),
            place.scope, span, doc=define.doc,
        )  # fmt: skip
        self.builder.scopes.append(scope)
        for parameter in define.parameters:
            value = bound.own.get(parameter.name)
            if _is_input(parameter):
                nodes = value.items if isinstance(value, ListValue) else (value,)
                scope.inputs[parameter.name] = tuple(v.node for v in nodes if isinstance(v, Tensor))
        if define.kind == "cell":
            step = Step.root(self._cell_name(callee))
        here = replace(
            place,
            step=step,
            scope=scope,
            first=len(self.builder.nodes),
            target=None,
            slot="",
            nesting=place.nesting + 1,
            loops=(),
        )
        named = [p for p in define.parameters if _is_input(p)]
        if isinstance(define.body, tuple):
            result = self._body(define.body, bound, here, define.span)
            if result is None:
                raise Stop(None)
        else:
            here = replace(here, slot=_body_slot(define.body))
            if not named:
                return self.apply(define.body, bound, list(inputs) + self._extra_inputs(callee, arguments, names, place), here)
            result = self.evaluate(define.body, bound, here)
        if isinstance(result, Template):
            if named:
                self._fail(
                    "N201",
                    f"`{define.name}` names its inputs, so its body gives a tensor; this gives an operation",
                    define.span,
                    help=f"apply it: `{named[0].name} -> …`",
                )
            return self.apply(result.expression, result.names, list(inputs), here)
        if not isinstance(result, (Tensor, Tuple)):
            self._fail("N206", f"`{define.name}` gives {self._a(result)}, not a tensor", define.span)
        return result

    def _scope_label(self, place: Place, name: str) -> str:
        if place.slot == "use":
            return place.step.name
        return place.target or name

    def _cell_name(self, callee: Definition) -> str:
        """The cell's name; two cells of one name in one space are told apart by their file."""
        for (name, file), other in self._cells.items():
            if name == callee.name and other.syntax is not callee.syntax:
                return f"{callee.name}@{callee.file.rsplit('/', 1)[-1].removesuffix('.nas')}"
            del file
        self._cells[callee.name, callee.file] = callee
        return callee.name

    def _extra_inputs(
        self, callee: Definition, arguments: Sequence[syntax.Argument], names: Names, place: Place
    ) -> list[Value]:
        """Tensors that a call hands to a definition without named inputs: ``stage(x)``."""
        return [
            self.evaluate(argument.value, names, place.plain())
            for argument in arguments
            if argument.name is None and self._holds_tensors(argument.value, names)
        ]

    def _bind(
        self,
        callee: Definition,
        arguments: Sequence[syntax.Argument],
        names: Names,
        inputs: list[Value],
        place: Place,
        step: Step,
        span: Span,
    ) -> Names:
        """The names of a body: inputs, dimension names, settings, defaults, in this order."""
        define = callee.syntax
        bound = Names(outer=callee.names)
        free_inputs = [p for p in define.parameters if _is_input(p)]
        settings = [p for p in define.parameters if not _is_input(p)]
        by_name = {p.name: p for p in define.parameters}
        given_inputs: dict[str, Value] = {}
        given: dict[str, syntax.Argument] = {}
        positional: list[Value] = list(inputs)
        later: list[syntax.Argument] = []
        outside = replace(place, slot="")
        for argument in arguments:
            if argument.name is None:
                if self._holds_tensors(argument.value, names):
                    if free_inputs:
                        positional.append(self.evaluate(argument.value, names, outside))
                else:
                    later.append(argument)
                continue
            parameter = by_name.get(argument.name)
            if parameter is None:
                self._fail(
                    "N106",
                    f"`{define.name}` has no setting `{argument.name}`",
                    argument.name_span or argument.span,
                    help=did_you_mean(argument.name, by_name)
                    or (f"it takes {listed(f'`{n}`' for n in by_name)}" if by_name else "it takes none"),
                )
            if argument.name in given or argument.name in given_inputs:
                self._fail("N203", f"`{argument.name}` is given twice", argument.span)
            if _is_input(parameter):
                given_inputs[argument.name] = self.evaluate(argument.value, names, outside)
            else:
                given[argument.name] = argument
        if free_inputs:
            open_inputs = [p for p in free_inputs if p.name not in given_inputs]
            if len(positional) != len(open_inputs):
                self._fail(
                    "N202" if len(positional) < len(open_inputs) else "N203",
                    f"`{define.name}` takes {_count(len(free_inputs), 'tensor')} "
                    f"({', '.join(p.name for p in free_inputs)}), and {len(positional) + len(given_inputs)} are given",
                    span,
                    notes=(Note(define.name_span, "defined here"),),
                )
            for parameter, value in zip(open_inputs, positional, strict=True):
                given_inputs[parameter.name] = value
        for parameter in free_inputs:
            self._bind_input(parameter, given_inputs[parameter.name], bound, define, span)
        open_settings = [p for p in settings if p.name not in given]
        if len(later) > len(open_settings):
            self._fail(
                "N203",
                f"`{define.name}` takes {_count(len(settings), 'setting')}, and more are given",
                later[len(open_settings)].span,
                notes=(Note(define.name_span, "defined here"),),
            )
        for parameter, argument in zip(open_settings, later, strict=False):
            given[parameter.name] = argument
        for parameter in settings:
            argument_ = given.get(parameter.name)
            here = replace(place, step=step, target=parameter.name, slot="")
            if argument_ is not None:
                bound.own[parameter.name] = self._setting(parameter, argument_.value, names, here, define)
            elif parameter.default is not None:
                bound.own[parameter.name] = self._setting(parameter, parameter.default, bound, here, define)
            else:
                self._fail(
                    "N202",
                    f"`{define.name}` needs `{parameter.name}`",
                    span,
                    notes=(Note(parameter.span, "declared here, without a default"),),
                    help=f"write `{define.name}({parameter.name} = …)`",
                )
        return bound

    def _setting(
        self, parameter: syntax.Parameter, e: syntax.Expression, names: Names, place: Place, define: syntax.Define
    ) -> Value:
        kind = self.kind(e, names)
        wanted = parameter.type.name if parameter.type is not None else None
        if (wanted == "op") != (kind == "operation") and wanted is not None and kind != "poison":
            self._fail(
                "N205",
                f"`{parameter.name}` of `{define.name}` is {_TYPES.get(wanted, wanted)}, "
                f"and this is {_with_article(kind)}",
                e.span,
                notes=(Note(parameter.span, "declared here"),),
            )
        if kind == "operation":
            if wanted is None:
                self._fail(
                    "N205",
                    f"`{parameter.name}` of `{define.name}` is not declared as an operation",
                    e.span,
                    notes=(Note(parameter.span, f"write `{parameter.name}: op`"),),
                )
            return Template(e, names.snapshot())
        value = self.evaluate(e, names, place)
        if wanted == "int":
            leaves = value.leaves() if isinstance(value, Diagram) else [value]
            for leaf in leaves:
                if leaf is not UNDEFINED and (isinstance(leaf, bool) or not isinstance(leaf, (int, Size, ListValue))):
                    self._fail(
                        "N205",
                        f"`{parameter.name}` of `{define.name}` is a whole number, and this is {self._a(leaf)}",
                        e.span,
                        notes=(Note(parameter.span, "declared here"),),
                    )
        return value

    def _bind_input(
        self, parameter: syntax.Parameter, value: Value, bound: Names, define: syntax.Define, span: Span
    ) -> None:
        bound.own[parameter.name] = value
        if parameter.type is None or parameter.type.dimensions is None:
            return
        if not isinstance(value, Tensor):
            self._fail("N305", f"`{parameter.name}` of `{define.name}` is one tensor, not {self._a(value)}", span)
        type = self.builder.type_of(value.node)
        pattern = parameter.type.dimensions
        if len(pattern) != type.rank:
            self._fail(
                "N305",
                f"`{parameter.name}` of `{define.name}` has {_count(len(pattern), 'dimension')}, "
                f"and the tensor given is {type_text(type)}",
                span,
                notes=(Note(parameter.span, "declared here"),),
            )
        for expression, dim in zip(pattern, type.dims, strict=True):
            if isinstance(expression, syntax.Name) and expression.name not in bound.own:
                bound.own[expression.name] = dim
                continue
            wanted = self.evaluate(expression, bound, self._nowhere())
            if wanted != dim:
                self._fail(
                    "N305",
                    f"`{format_expression(expression)}` in the inputs of `{define.name}` is {wanted}, "
                    f"and the tensor given has {dim} there ({type_text(type)})",
                    span,
                    notes=(Note(expression.span, "has to be equal"),),
                )

    def _use_shared(self, callee: SharedOperation, inputs: list[Value], place: Place, span: Span) -> Value:
        types = [self.builder.type_of(v.node) for v in inputs if isinstance(v, Tensor)]
        step = Step.root("")
        # Every use names its choices from where the operation was shared, so they are the same choices.
        step._key = callee.step.key() if self._has_choices(callee.template) else ()
        first = callee.owners is None
        if first:
            callee.owners = []
            callee.input_type = types
        elif [t.dims for t in callee.input_type] != [t.dims for t in types]:
            self._fail(
                "N306",
                f"the shared weights `{callee.name}` are used on {listed(map(type_text, types))}, "
                f"but on {listed(map(type_text, callee.input_type))} before",
                span,
                notes=(Note(callee.span, "shared here"),),
                help="uses of shared weights take inputs of the same shape",
            )
        assert callee.owners is not None
        use = SharedUse(callee.owners, taking=not first)
        here = replace(place, step=step, target=None, slot="", shared=use)
        return self.apply(callee.template.expression, callee.template.names, inputs, here)

    def _has_choices(self, template: Template) -> bool:
        # A step that holds no choice must not be counted.
        return not isinstance(template.expression, syntax.Call) or not all(
            _is_pure(a.value) for a in template.expression.arguments
        ) or not isinstance(self._callee(template.expression.function, template.names), Primitive)

    # ============================================================================================
    # Forms that the language knows itself
    # ============================================================================================

    def _builtin(
        self, name: str, e: syntax.Call, names: Names, place: Place, inputs: list[Value]
    ) -> Value:
        if name in ("repeat", "chain", "scan", "unembed"):
            method = getattr(self, f"_{name}")
            result: Value = method(e, names, place, inputs)
            return result
        if name in REDUCTIONS and (inputs or name != "max" or self._holds_tensors_in(e, names)):
            return self._reduction(name, e, names, place, inputs)
        arguments = [self.evaluate(a.value, names, replace(place, target=None, slot="")) for a in e.arguments]
        if name == "unused":
            return self._unused(arguments, e, place)
        if name == "count":
            self._fail("N503", "`count` can only be used in `require`", e.span, help='`require count("none") <= 3`')
        if name == "len":
            if len(arguments) != 1 or not isinstance(arguments[0], ListValue):
                self._fail("N201", "`len` takes one list", e.span)
            if arguments[0].guards is None:
                return len(arguments[0].items)
            total: Any = 0
            for guard in arguments[0].guards:
                total = self.builder.compute("+", total, self.builder.where(guard, 1, 0))
            return total
        if len(arguments) == 1 and isinstance(arguments[0], ListValue):
            arguments = list(arguments[0].items)
        for value, argument in zip(arguments, e.arguments * max(1, len(arguments)), strict=False):
            self._check_number(value, argument.span, name)
            if isinstance(value, (Tensor, Size)):
                self._fail("N201", f"`{name}` takes numbers, not {self._a(value)}", argument.span)
        if not arguments or (name == "round" and len(arguments) != 1):
            self._fail("N202", f"`{name}` takes {'one number' if name == 'round' else 'numbers'}", e.span)
        return self.builder.compute(name, *arguments)

    def _holds_tensors_in(self, e: syntax.Call, names: Names) -> bool:
        return any(a.name is None and self._holds_tensors(a.value, names) for a in e.arguments)

    def _reduction(self, name: str, e: syntax.Call, names: Names, place: Place, inputs: list[Value]) -> Value:
        """``sum``, ``mean``, ``max`` and ``concat`` of a list, of several tensors, or of what is piped in."""
        values: list[Value] = list(inputs)
        settings: dict[str, Any] = {}
        for argument in e.arguments:
            if argument.name is None:
                values.append(self.evaluate(argument.value, names, place.plain()))
            elif argument.name == "axis" and name == "concat":
                settings["axis"] = self._static_whole(argument.value, names, place, "an axis")
            else:
                self._fail(
                    "N106", f"`{name}` has no setting `{argument.name}`", argument.name_span or argument.span,
                    help="`concat` has `axis`" if name == "concat" else None,
                )
        if name == "concat" and len(values) > 1 and isinstance(values[-1], int):
            settings["axis"] = values.pop()
        items: list[Value] = []
        guards: list[Diagram] = []
        for value in values:
            if isinstance(value, ListValue):
                items += value.items
                guards += value.guards or (self.table.true,) * len(value.items)
            elif isinstance(value, Tuple):
                items += value.items
                guards += (self.table.true,) * len(value.items)
            else:
                items.append(value)
                guards.append(self.table.true)
        return self._reduce(name, ListValue(tuple(items), tuple(guards)), settings, place, e.span)

    def _reduce(
        self, name: str, value: ListValue, settings: dict[str, Any], place: Place, span: Span
    ) -> Tensor:
        guards = value.guards or (self.table.true,) * len(value.items)
        nodes = []
        for item in value.items:
            if isinstance(item, Poison):
                raise Stop(None)
            if not isinstance(item, Tensor):
                self._fail("N201", f"`{name}` takes tensors, and this is {self._a(item)}", span)
            nodes.append(item.node)
        if not nodes:
            self._fail(
                "N404",
                f"`{name}` of an empty list",
                span,
                help="there is no tensor whose shape it could have",
            )
        chosen = any(guard is not self.table.true for guard in guards)
        if name == "concat" and chosen:
            some = self.table.false
            for guard in guards:
                some = self.table.either(some, guard)
            # What the choices around permit decides whether it can be empty.
            missing = self.table.both(place.guard, self.table.negate(some))
            if missing is not self.table.false and not self._forbidden(missing):
                self._fail(
                    "N404",
                    "a `concat` that may be empty has no size",
                    span,
                    help="choose at least one: `choose 1..n of {…}`, or use `sum`",
                )
        operation = self.catalogue[name]
        types = [self.builder.type_of(node) for node in nodes]
        try:
            full = self.builder.settings_for(operation, settings, types)
            present = list(guards) if chosen else None
            type = self.builder.infer(operation, types, full, place.guard, present)
        except Wrong as wrong:
            notes = tuple(
                Note(found, f"gives {type_text(self.builder.type_of(node))}")
                for node in nodes[:3]
                if (found := self.builder.nodes[node].span) is not None and found != span
            )
            raise Stop(Diagnostic(wrong.code, wrong.message, span, "", notes, wrong.help)) from None
        reads = [(node, self.table.both(place.guard, guard)) for node, guard in zip(nodes, guards, strict=True)]
        return Tensor(self._node(name, reads, type, full, place, span))

    def _forbidden(self, condition: Diagram) -> bool:
        """Whether the bounds of the sub-lists that a condition asks rule it out."""
        for record in self.builder.choices.values():
            if record.low is None or not set(record.variables) & condition.support():
                continue
            total: Any = 0
            for variable in record.variables:
                total = self.builder.compute("+", total, self.table.node(variable, [self.table.leaf(0), self.table.leaf(1)]))
            valid = self.table.lift(self.builder.compute(">=", total, record.low))
            condition = self.table.both(condition, valid)
        return condition is self.table.false

    def _unused(self, arguments: list[Value], e: syntax.Call, place: Place) -> ListValue:
        if len(arguments) != 1 or not isinstance(arguments[0], ListValue):
            self._fail("N201", "`unused` takes one list of tensors", e.span)
        items, guards = [], []
        for position, item in enumerate(arguments[0].items):
            if not isinstance(item, Tensor):
                self._fail("N201", f"`unused` takes tensors, and this is {self._a(item)}", e.span)
            read = self.table.false
            for reader, guard in self.builder.readers[item.node]:
                if reader >= place.first:
                    read = self.table.either(read, guard)
            loose = self.table.negate(read)
            if arguments[0].guards is not None:
                loose = self.table.both(loose, arguments[0].guards[position])
            if self.table.both(place.guard, loose) is not self.table.false:
                items.append(item)
                guards.append(loose)
        return ListValue(tuple(items), tuple(guards))

    def _repeat(self, e: syntax.Call, names: Names, place: Place, inputs: list[Value]) -> Value:
        f, depth_argument = self._two_arguments(e, "repeat", ("f", "depth"), "repeat(f, 3)")
        self._want_operation(f, names, "repeat")
        step = self._use_step("repeat", place)
        made_before = len(self.builder.choices)
        depth = self.evaluate(depth_argument, names, replace(place, step=step, target="depth", slot=""))
        leaves = depth.leaves() if isinstance(depth, Diagram) else [depth]
        depths = sorted({self._whole(leaf, depth_argument.span, "a depth", least=0) for leaf in leaves if leaf is not UNDEFINED})
        if depths[-1] > self.limits.uses:
            self._fail(
                "N604",
                f"{depths[-1]} copies are more than {self.limits.uses}",
                depth_argument.span,
                help="make it smaller, or raise the bound with `--limit uses=…`",
            )
        scope = Scope(
            len(self.builder.scopes), "repeat", "repeat", self._scope_label(place, "repeat"), place.scope, e.span
        )
        self.builder.scopes.append(scope)
        current = inputs
        prefixes: dict[int, Value] = {}
        if 0 in depths:
            prefixes[0] = self._one(inputs, e.span, "repeat")
        for copy in range(1, depths[-1] + 1):
            holds = self.table.lift(self.builder.compute(">=", depth, copy))
            here = replace(
                place, guard=self.table.both(place.guard, holds), step=step, scope=scope, target=None, slot=""
            )
            value = self.apply(f, names, list(current), here)
            current = list(value.items) if isinstance(value, Tuple) else [value]
            if copy in depths:
                prefixes[copy] = value
        if len(depths) == 1:
            return prefixes[depths[0]]
        holds_ = [self.table.lift(self.builder.compute("==", depth, d)) for d in depths]
        choice = self._only_choice(depth)
        if choice is not None and choice.index >= made_before:
            choice.kind = "depth"
        return self._select([prefixes[d] for d in depths], holds_, choice, e.span, place)

    def _only_choice(self, number: Value) -> ChoiceRecord | None:
        """The choice that a number rests on, if it is just one."""
        if not isinstance(number, Diagram):
            return None
        support = number.support()
        found = [c for c in self.builder.choices.values() if support & set(c.variables)]
        return found[0] if len(found) == 1 else None

    def _chain(self, e: syntax.Call, names: Names, place: Place, inputs: list[Value]) -> Value:
        if len(e.arguments) != 1 or e.arguments[0].name is not None:
            self._fail("N202", "`chain` takes one list of operations", e.span, help="chain(f(w) for w in [16, 32])")
        argument = e.arguments[0].value
        value = self.evaluate(argument, names, replace(place, target=None, slot=""))
        if not isinstance(value, ListValue) or value.guards is not None:
            self._fail("N201", f"`chain` takes a list of operations, and this is {self._a(value)}", argument.span)
        current: Value = Tuple(tuple(inputs)) if len(inputs) > 1 else self._one(inputs, e.span, "chain")
        for item in value.items:
            if not isinstance(item, Template):
                self._fail("N201", f"`chain` takes operations, and this is {self._a(item)}", argument.span)
            tensors = list(current.items) if isinstance(current, Tuple) else [current]
            current = self.apply(item.expression, item.names, tensors, place.plain())
        return current

    def _scan(self, e: syntax.Call, names: Names, place: Place, inputs: list[Value]) -> Value:
        f, state_argument = self._two_arguments(e, "scan", ("f", "state"), "scan(rnn, state = [hidden])")
        self._want_operation(f, names, "scan")
        if place.region is not None:
            self._fail("N405", "a `scan` inside a `scan` is not in the language", e.span)
        sequence = self._one(inputs, e.span, "scan")
        if not isinstance(sequence, Tensor):
            self._fail("N201", f"`scan` runs over a tensor, and this is {self._a(sequence)}", e.span)
        type = self.builder.type_of(sequence.node)
        if type.rank < 1:
            self._fail("N301", "`scan` runs over the first axis of a tensor such as [T, D]", e.span)
        state = self.evaluate(state_argument, names, replace(place, target="state", slot=""))
        if not isinstance(state, ListValue) or not state.items:
            self._fail(
                "N205", "`state` is the shape of the state, such as [hidden]", state_argument.span,
                help="several states are a list of shapes: `state = [[hidden], [hidden]]`",
            )
        shapes = [s.items for s in state.items if isinstance(s, ListValue)] or [state.items]
        region = len(self.builder.nodes)
        element = self.builder.add(
            "element", [(sequence.node, place.guard)],
            TensorType(type.dims[1:], type.dtype, type.parts[1:] if type.parts else ()),
            place.guard, place.scope, e.span, region=region,
        )  # fmt: skip
        states = []
        for shape in shapes:
            dims = tuple(self._whole(dim, state_argument.span, "a size of the state", least=1) for dim in shape)
            states.append(
                self.builder.add(
                    "state", [], TensorType(dims), place.guard, place.scope, state_argument.span, region=region
                )
            )
        here = replace(place.plain(), region=region, target=None)
        value = self.apply(f, names, [Tensor(element), *map(Tensor, states)], here)
        results = list(value.items) if isinstance(value, Tuple) else [value]
        if len(results) == len(states) + 1:
            output, new = results[0], results[1:]
        elif len(results) == len(states) == 1:
            output, new = results[0], results
        else:
            self._fail(
                "N206", f"a scanned cell gives (y, {', '.join('h' * len(states))}) or h, and this gives {len(results)} tensors",
                e.span,
            )
        nodes = []
        for result, node in zip([output, *new], [None, *states], strict=True):
            if not isinstance(result, Tensor):
                raise Stop(None)
            if node is not None and self.builder.type_of(result.node).dims != self.builder.type_of(node).dims:
                self._fail(
                    "N303",
                    f"the state goes in as {type_text(self.builder.type_of(node))} "
                    f"and comes out as {type_text(self.builder.type_of(result.node))}",
                    e.span,
                    help="a state keeps its shape: set `state = […]` to what the cell gives",
                )
            nodes.append(result.node)
        out = self.builder.type_of(nodes[0])
        parts = ((type.parts[0] if type.parts else None), *(out.parts or (None,) * out.rank))
        result_type = TensorType(
            (type.dims[0], *out.dims), out.dtype, parts if any(p is not None for p in parts) else ()
        )
        reads = [(node, place.guard) for node in (sequence.node, *nodes)]
        settings = {"element": element, "states": tuple(states)}
        return Tensor(
            self.builder.add("scan", reads, result_type, place.guard, place.scope, e.span, settings=settings)
        )

    def _unembed(self, e: syntax.Call, names: Names, place: Place, inputs: list[Value]) -> Value:
        values = [a for a in e.arguments]
        shared = None
        if len(values) == 1 and isinstance(values[0].value, syntax.Name):
            shared = self._find(values[0].value, names)
        if not isinstance(shared, SharedOperation):
            self._fail(
                "N202", "`unembed` takes an embedding that is shared", e.span,
                help="`shared words = embedding(vocab, width)`, then `… -> unembed(words)`",
            )
        if not shared.owners:
            self._fail(
                "N202", f"`{shared.name}` has no weights yet: use it on tokens before `unembed`", e.span,
                notes=(Note(shared.span, "shared here"),),
            )
        owner = next(
            (node for node in shared.owners if self.builder.nodes[node].operation == "embedding"), None
        )
        if owner is None:
            self._fail("N202", f"`{shared.name}` is no embedding", e.span, notes=(Note(shared.span, "shared here"),))
        tensor = self._one(inputs, e.span, "unembed")
        if not isinstance(tensor, Tensor):
            self._fail("N201", f"`unembed` takes a tensor, and this is {self._a(tensor)}", e.span)
        embedding = self.builder.nodes[owner].settings
        operation = self.catalogue["unembed"]
        settings = {s.name: embedding[s.name] for s in operation.settings if s.name in embedding}
        type = self.builder.infer(operation, [self.builder.type_of(tensor.node)], settings, place.guard)
        return Tensor(
            self.builder.add(
                "unembed", [(tensor.node, place.guard)], type, place.guard, place.scope, e.span,
                settings=settings, owner=owner, region=place.region,
            )
        )  # fmt: skip

    def _two_arguments(
        self, e: syntax.Call, name: str, parameters: tuple[str, str], example: str
    ) -> tuple[syntax.Expression, syntax.Expression]:
        found: dict[str, syntax.Expression] = {}
        for i, argument in enumerate(e.arguments):
            key = argument.name if argument.name is not None else (parameters[i] if i < 2 else None)
            if key not in parameters or key in found:
                self._fail("N203", f"`{name}` takes `{parameters[0]}` and `{parameters[1]}`", argument.span, help=f"`{example}`")
            found[key] = argument.value
        for parameter in parameters:
            if parameter not in found:
                self._fail("N202", f"`{name}` needs `{parameter}`", e.span, help=f"`{example}`")
        return found[parameters[0]], found[parameters[1]]

    def _want_operation(self, e: syntax.Expression, names: Names, what: str) -> None:
        kind = self.kind(e, names)
        if kind == "poison":
            raise Stop(None)
        if kind != "operation":
            self._fail("N201", f"`{what}` takes an operation, and this is {_with_article(kind)}", e.span)

    def _one(self, inputs: list[Value], span: Span, what: str) -> Value:
        if len(inputs) != 1:
            self._fail("N202", f"`{what}` takes one tensor, and {len(inputs)} are given", span)
        return inputs[0]

    # ============================================================================================
    # Constraints
    # ============================================================================================

    def _requirements(self) -> tuple[list[Diagram], list[Limit]]:
        constraints: list[Diagram] = []
        limits: list[Limit] = []
        for statement, names, place in self._requires:
            with self._reporting():
                self._requirement(statement.condition, names, place, constraints, limits)
        return constraints, limits

    def _requirement(
        self,
        e: syntax.Expression,
        names: Names,
        place: Place,
        constraints: list[Diagram],
        limits: list[Limit],
    ) -> None:
        if isinstance(e, syntax.Logical) and e.operator == "and":
            self._requirement(e.left, names, place, constraints, limits)
            self._requirement(e.right, names, place, constraints, limits)
            return
        if isinstance(e, syntax.Compare) and e.operator in _MIRRORED:
            for side, other, operator in (
                (e.left, e.right, e.operator),
                (e.right, e.left, _MIRRORED[e.operator]),
            ):
                if isinstance(side, syntax.Name) and isinstance(self._find(side, names), Measure):
                    bound = self.evaluate(other, names, place)
                    if isinstance(bound, bool) or not isinstance(bound, (int, Fraction)):
                        self._fail(
                            "N503", f"`{side.name}` is compared with a number that is known", other.span,
                            help=f"write `require {side.name} <= 5M`",
                        )
                    limits.append(Limit(side.name, operator, bound, place.guard, e.span))
                    return
        counting = _Counting(self)
        value = counting.condition(e, names, place)
        condition = self.table.either(self.table.negate(place.guard), self.table.lift(value))
        if condition is self.table.false:
            self._fail("N501", "no architecture can meet this", e.span)
        if condition is not self.table.true:
            constraints.append(condition)

    def count_label(self, label: str, span: Span) -> Any:
        """How many of a genotype's choices took a label."""
        known = sorted({l for record in self.builder.choices.values() for l in record.labels})
        if label not in known:
            self._fail("N107", f"no choice has a candidate `{label}`", span, help=did_you_mean(label, known))
        total: Any = 0
        for record in self.builder.choices.values():
            if label in record.labels:
                takes = self.builder.takes(record, record.labels.index(label))
                here = self.table.both(record.guard, takes)
                total = self.builder.compute("+", total, self.builder.where(here, 1, 0))
        return total

    # ============================================================================================

    def _fail(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        label: str = "",
        notes: tuple[Note, ...] = (),
        help: str | None = None,
    ) -> NoReturn:
        raise Stop(Diagnostic(code, message, span, label, notes, help))

    def _a(self, value: Value) -> str:
        """A value in words: ``a list``, ``the number 2.5``, ``a tensor [16, 8, 8]``."""
        if isinstance(value, Tensor) and value.node >= 0:
            return f"a tensor {type_text(self.builder.type_of(value.node))}"
        if isinstance(value, Tuple):
            return f"{len(value.items)} tensors"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, Fraction)):
            return f"the number {_number_text(value)}"
        if isinstance(value, Size):
            return f"the free size {value}"
        if isinstance(value, str):
            return f'the text "{value}"'
        if isinstance(value, Measure):
            return f"the measure `{value.name}`"
        return _with_article(self._kind_of(value))


@dataclass
class _Counting:
    """Evaluates the condition of a ``require``, in which ``count("label")`` may stand."""

    elaborator: Elaborator

    def condition(self, e: syntax.Expression, names: Names, place: Place) -> Any:
        elaborator = self.elaborator
        counts: dict[str, Value] = {}

        def replaced(node: Any) -> Any:
            if (
                isinstance(node, syntax.Call)
                and isinstance(node.function, syntax.Name)
                and node.function.name == "count"
                and names.find("count") is None
            ):
                if len(node.arguments) != 1 or not isinstance(node.arguments[0].value, syntax.String):
                    elaborator._fail("N503", "`count` takes a label", node.span, help='`require count("none") <= 3`')
                name = f"count({node.arguments[0].value.value})"
                counts[name] = elaborator.count_label(node.arguments[0].value.value, node.arguments[0].span)
                return syntax.Name(node.span, name)
            if isinstance(node, (syntax.Compare, syntax.Logical, syntax.Binary)):
                return replace(node, left=replaced(node.left), right=replaced(node.right))
            if isinstance(node, (syntax.Not, syntax.Negate)):
                return replace(node, operand=replaced(node.operand))
            return node

        tree = replaced(e)
        inner = names.snapshot()
        inner.own.update(counts)
        return elaborator._truth(tree, inner, place)


class _Reporting:
    """``with``: a failed statement is reported, and the work goes on after it."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Stop):
            if error.diagnostic is not None:
                self.findings.add(error.diagnostic)
            return True
        return False


_MIRRORED = {"<=": ">=", ">=": "<=", "<": ">", ">": "<", "==": "==", "!=": "!="}
_TYPES = {"op": "an operation", "int": "a whole number"}


def _is_input(parameter: syntax.Parameter) -> bool:
    """A parameter without type and default, or typed with dimensions (rule 4)."""
    if parameter.type is None:
        return parameter.default is None
    return parameter.type.dimensions is not None


def _is_rational(value: Value) -> bool:
    return isinstance(value, (int, Fraction)) and not isinstance(value, bool)


def _is_pure(e: syntax.Expression) -> bool:
    """Whether evaluating it makes nothing: no node and no choice."""
    match e:
        case syntax.Name() | syntax.Number() | syntax.String() | syntax.Boolean():
            return True
        case syntax.Index():
            return _is_pure(e.value) and _is_pure(e.index)
        case syntax.Rest():
            return _is_pure(e.value) and _is_pure(e.start)
        case syntax.Range():
            return _is_pure(e.low) and _is_pure(e.high)
        case syntax.Binary():
            return _is_pure(e.left) and _is_pure(e.right)
        case syntax.Negate():
            return _is_pure(e.operand)
        case syntax.List() | syntax.Tuple():
            return all(_is_pure(item) for item in e.items)
    return False


def _is_single_use(e: syntax.Expression) -> bool:
    if isinstance(e, syntax.IfExpression):
        return _is_single_use(e.then) and _is_single_use(e.otherwise)
    return isinstance(e, (syntax.Call, syntax.Name))


def _body_slot(e: syntax.Expression) -> Literal["", "choice", "use"]:
    """An op whose body is a choice adds nothing below its use."""
    if isinstance(e, syntax.IfExpression):
        return _body_slot(e.then) or _body_slot(e.otherwise)
    return "choice" if isinstance(e, (syntax.Alternatives, syntax.Choose)) else ""


def _assignments(statements: Sequence[syntax.Statement]) -> Iterator[tuple[str, bool]]:
    for statement in statements:
        match statement:
            case syntax.Assign():
                yield from ((t.name, t.index is not None) for t in statement.targets)
            case syntax.Shared():
                yield statement.name, False
            case syntax.For():
                yield from ((t.name, False) for t in statement.targets)
                yield from _assignments(statement.body)
            case syntax.If():
                yield from _assignments(statement.then)
                yield from _assignments(statement.otherwise)


def _assigned_once(statements: Sequence[syntax.Statement]) -> Iterator[tuple[str, bool]]:
    counts = Counter(_assignments(statements))
    return (target for target, count in counts.items() if count == 1)


def _rebound(statements: Sequence[syntax.Statement], in_loop: bool = False) -> set[str]:
    """Names that a definition inside may not read: assigned twice, item by item, or in a loop."""
    counts: Counter[str] = Counter()

    def walk(body: Sequence[syntax.Statement], weight: int) -> None:
        for statement in body:
            match statement:
                case syntax.Assign():
                    for target in statement.targets:
                        counts[target.name] += 2 if target.index is not None else weight
                case syntax.For():
                    for target in statement.targets:
                        counts[target.name] += 2
                    walk(statement.body, 2)
                case syntax.If():
                    walk(statement.then, weight)
                    walk(statement.otherwise, weight)

    walk(statements, 2 if in_loop else 1)
    return {name for name, count in counts.items() if count > 1}


def _targets(statement: syntax.Statement) -> set[str]:
    return {name for name, _ in _assignments([statement])}


def _label_of(value: Value) -> str | None:
    """A loop variable's value as a label, where it is a number or a name."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, Fraction)) and not isinstance(value, bool):
        return _number_text(value)
    return None


def _loop_label(value: Value, position: int) -> str:
    label = _label_of(value)
    return label if label is not None else str(position)


def _number_text(value: int | Fraction) -> str:
    if isinstance(value, int) or value.denominator == 1:
        return str(int(value))
    text = f"{float(value):g}"
    return text if Fraction(text) == value else str(value)


def _with_article(kind: str) -> str:
    return {"operation": "an operation", "boolean": "true or false"}.get(kind, f"a {kind}")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
