"""Every name of a file resolved, before anything is elaborated.

Names are checked in branches that are not taken and in definitions that nobody uses, too (LANGUAGE.md, rule 9); kinds and
shapes are checked later, where code is elaborated. What a name is used for is remembered for the lints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from nasdsl import resources
from nasdsl.diagnostics import Diagnostic, Findings, Note, Span, closest, did_you_mean
from nasdsl.language import syntax
from nasdsl.language.assigned import Assigned
from nasdsl.language.forms import BUILTINS
from nasdsl.language.kinds import is_input, is_operation_parameter
from nasdsl.language.modules import Module
from nasdsl.language.requirements import MEASURES
from nasdsl.language.stop import listed
from nasdsl.language.values import Definition
from nasdsl.space.operation import Catalogue

TYPES = ("op", "int", "float", "number", "bool", "string")
_TYPES_OF_TENSORS = ("int", "float")


@dataclass(eq=False)
class Binding:
    """A name with what it stands for. ``what`` is in the author's words: ``op``, ``cell``, ``parameter``, ``input`` …"""

    name: str
    what: str
    span: Span
    define: syntax.Define | None = None
    used: bool = False

    @property
    def is_operation(self) -> bool:
        return self.what in ("op", "cell", "shared", "import", "operation parameter")


@dataclass(eq=False)
class Scope:
    """The names of a file, a space, a definition or a comprehension.

    ``later`` are the names that the body assigns somewhere, with the place of the first time; ``ended`` the variables of
    loops that are over. A definition may not read ``forbidden`` from around it: name, and why not.
    """

    kind: Literal["file", "space", "definition", "inner"]
    outer: Scope | None = None
    names: dict[str, Binding] = field(default_factory=dict)
    later: dict[str, Span] = field(default_factory=dict)
    ended: dict[str, Span] = field(default_factory=dict)
    forbidden: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Resolution:
    """What was found out about the names of a file: the bindings, for the lints, and where a name failed."""

    bindings: list[Binding] = field(default_factory=list)
    failed: set[Span] = field(default_factory=set)


def resolve(module: Module, catalogue: Catalogue, findings: Findings) -> Resolution:
    """Resolves the names of a module and of all that it imports; reports what is unknown."""
    resolution = Resolution()
    done: set[int] = set()

    def visit(module: Module) -> None:
        if id(module) in done:
            return
        done.add(id(module))
        _Resolver(catalogue, findings, resolution).file(module)
        for other in module.imported:
            visit(other)

    visit(module)
    return resolution


class _Resolver:
    def __init__(self, catalogue: Catalogue, findings: Findings, resolution: Resolution) -> None:
        self.catalogue = catalogue
        self.findings = findings
        self.resolution = resolution
        self.shipped = {name for name, operation in catalogue.items() if not operation.internal} | set(
            BUILTINS
        )
        self._measures = False

    # --- declarations --------------------------------------------------------------------------

    def file(self, module: Module) -> None:
        scope = Scope("file")
        defined = {item.name: item for item in module.tree.items if isinstance(item, syntax.Define)}
        for statement in module.tree.imports:
            for imported in statement.names:
                name = imported.alias or imported.name
                value = module.names.own.get(name)
                if value is not None:
                    define = value.syntax if isinstance(value, Definition) else None
                    self._bind(scope, name, "import", imported.span, define)
        for name, define in defined.items():
            self._bind(scope, name, define.kind, define.name_span, define)
        for item in module.tree.items:
            if isinstance(item, syntax.Space):
                self._space(item, scope)
            else:
                self._define(item, scope)

    def _space(self, space: syntax.Space, outer: Scope) -> None:
        scope = Scope("space", outer)
        for parameter in space.parameters:
            if parameter.type is not None and (
                parameter.type.dimensions is not None or parameter.type.name not in TYPES[1:]
            ):
                self._error(
                    "N205",
                    f"the parameters of a space are numbers, so `{parameter.name}` has another type",
                    parameter.type.span,
                    help=f"`{parameter.name}: int`, or leave the type away",
                )
            if parameter.default is not None:
                self._expression(parameter.default, scope)
            self._bind_new(scope, parameter.name, "parameter", parameter.span)
        defines = [s for s in space.body if isinstance(s, syntax.Define)]
        inputs = [s for s in space.body if isinstance(s, syntax.Input)]
        statements = [s for s in space.body if not isinstance(s, (syntax.Define, syntax.Input))]
        assigned = Assigned(statements)
        scope.later = first_spans(statements)
        for input_ in inputs:
            for dimension in input_.type.dimensions or ():
                self._dimension(dimension, scope)
        for input_ in inputs:
            self._bind_new(scope, input_.name, "input", input_.span)
        for define in defines:
            self._bind_new(scope, define.name, define.kind, define.name_span, define)
        before = [n for n, b in scope.names.items() if b.what in ("parameter", "dimension", "input")]
        around = Scope("space", outer, dict(scope.names))
        around.forbidden = {b.name: "tensor" for b in scope.names.values() if b.what == "input"}
        around.forbidden.update(dict.fromkeys(assigned.rebound(before), "rebound"))
        for name in assigned.names:
            around.names.setdefault(name, Binding(name, "variable", scope.later.get(name, space.span)))
        for define in defines:
            self._define(define, around)
        self._body(statements, scope, space.span)

    def _dimension(self, e: syntax.Expression, scope: Scope) -> None:
        """A dimension of an input of the space: parameters, or a name of its own in capitals."""
        if not isinstance(e, syntax.Name) or e.name in scope.names or e.name in scope.later:
            self._expression(e, scope)
        elif e.name.isupper():
            self._bind(scope, e.name, "dimension", e.span)
        else:
            self._error(
                "N101",
                f"unknown name `{e.name}`",
                e.span,
                label="not a parameter of the space",
                help=did_you_mean(e.name, scope.names)
                or f"a dimension that stays free is written in capitals: `{e.name.upper()}`",
            )

    def _define(self, define: syntax.Define, outer: Scope) -> None:
        scope = Scope("definition", outer)
        inputs = [p for p in define.parameters if is_input(p)]
        settings = [p for p in define.parameters if not is_input(p)]
        seen: dict[str, Span] = {}
        for parameter in define.parameters:
            if parameter.name in seen:
                self._twice(parameter.name, parameter.span, seen[parameter.name])
            seen.setdefault(parameter.name, parameter.span)
            self._type(parameter)
        for parameter in inputs:
            if parameter.default is not None:
                self._error(
                    "N205",
                    f"the input `{parameter.name}` can't have a default: every use gives it a tensor",
                    parameter.default.span,
                )
            self._bind(scope, parameter.name, "input", parameter.span)
        for parameter in inputs:
            assert parameter.type is None or parameter.type.dimensions is not None
            for dimension in parameter.type.dimensions or () if parameter.type is not None else ():
                if not isinstance(dimension, syntax.Name) or dimension.name in scope.names:
                    self._expression(dimension, scope)
                    continue
                if dimension.name in seen:
                    self._twice(dimension.name, dimension.span, seen[dimension.name])
                self._bind(scope, dimension.name, "dimension", dimension.span)
        scope.later = {p.name: p.span for p in settings}
        for parameter in settings:
            if parameter.default is not None:
                self._expression(parameter.default, scope, operation=is_operation_parameter(parameter))
            what = "operation parameter" if is_operation_parameter(parameter) else "parameter"
            self._bind(scope, parameter.name, what, parameter.span)
        if isinstance(define.body, tuple):
            scope.later = {**first_spans(define.body)}
            self._body(define.body, scope, define.span)
        else:
            scope.later = {}
            self._expression(define.body, scope, operation=not inputs)

    def _type(self, parameter: syntax.Parameter) -> None:
        type = parameter.type
        if type is None or type.name is None:
            return
        known = _TYPES_OF_TENSORS if type.dimensions is not None else (*TYPES, "cell")
        if type.name not in known:
            self._error(
                "N101",
                f"unknown type `{type.name}`",
                type.span,
                help=did_you_mean(type.name, known)
                or "types are `int`, `number`, `bool`, `op`, `[C, H, W]` and `int[T]`",
            )

    # --- statements ----------------------------------------------------------------------------

    def _body(self, statements: Sequence[syntax.Statement], scope: Scope, span: Span) -> None:
        if not statements or not isinstance(statements[-1], syntax.Return):
            where = statements[-1].span if statements else span
            self._error(
                "N206", "a body ends with `return`", where, help="add `return …` as the last statement"
            )
        for i, statement in enumerate(statements):
            self._statement(statement, scope, last=i == len(statements) - 1)

    def _statement(self, statement: syntax.Statement, scope: Scope, last: bool = False) -> None:
        match statement:
            case syntax.Assign():
                for target in statement.targets:
                    if target.index is not None:
                        self._expression(target.index, scope)
                for value in statement.values:
                    self._expression(value, scope)
                for target in statement.targets:
                    self._assign(scope, target.name, "variable", target.span)
            case syntax.Shared():
                self._expression(statement.value, scope, operation=True)
                self._assign(scope, statement.name, "shared", statement.span)
            case syntax.For():
                self._for(statement, scope)
            case syntax.If():
                self._expression(statement.condition, scope)
                before = dict(scope.names)
                for inner in statement.then:
                    self._statement(inner, scope)
                after = scope.names
                scope.names = before
                for inner in statement.otherwise:
                    self._statement(inner, scope)
                scope.names = {**after, **scope.names}
            case syntax.Require():
                self._measures = True
                self._expression(statement.condition, scope)
                self._measures = False
            case syntax.Return():
                for value in statement.values:
                    self._expression(value, scope)
                if not last:
                    self._error(
                        "N206",
                        "`return` is the last statement of a body",
                        statement.span,
                        help="use an `if` expression: `return if c then a else b`",
                    )

    def _for(self, statement: syntax.For, scope: Scope) -> None:
        self._expression(statement.iterable, scope)
        before = {t.name: scope.names.get(t.name) for t in statement.targets}
        # A later turn reads what an earlier one assigned.
        for name, span in first_spans(statement.body).items():
            if name not in scope.names:
                scope.names[name] = Binding(name, "variable", span)
        for target in statement.targets:
            self._assign(scope, target.name, "loop variable", target.span)
        for inner in statement.body:
            self._statement(inner, scope)
        for name, binding in before.items():
            if binding is not None:
                scope.names[name] = binding
            else:
                scope.names.pop(name, None)
                scope.ended[name] = statement.span

    # --- expressions ---------------------------------------------------------------------------

    def _expression(self, e: syntax.Expression, scope: Scope, operation: bool = False) -> None:
        """``operation`` says that an operation is expected here, for the words of a message."""
        match e:
            case syntax.Name():
                self._name(e, scope, operation)
            case syntax.Call():
                self._call(e, scope)
            case syntax.Pipe():
                self._expression(e.stages[0], scope, operation)
                for stage in e.stages[1:]:
                    self._expression(stage, scope, operation=True)
            case syntax.Binary() | syntax.Compare() | syntax.Logical():
                # Operators lean to the left: walked in a loop.
                while isinstance(e, (syntax.Binary, syntax.Compare, syntax.Logical)):
                    self._expression(e.right, scope)
                    e = e.left
                self._expression(e, scope)
            case syntax.Negate() | syntax.Not():
                self._expression(e.operand, scope)
            case syntax.IfExpression():
                self._expression(e.condition, scope)
                self._expression(e.then, scope, operation)
                self._expression(e.otherwise, scope, operation)
            case syntax.Alternatives():
                expected = operation or any(self._is_operation(item.value, scope) for item in e.items)
                for item in e.items:
                    self._expression(item.value, scope, expected)
            case syntax.Choose():
                if e.quantity is not None:
                    for bound in (e.quantity.low, e.quantity.high):
                        if bound is not None:
                            self._expression(bound, scope)
                with self._clauses(e.clauses, scope) as inner:
                    expected = operation or any(self._is_operation(item.value, inner) for item in e.items)
                    for item in e.items:
                        self._expression(item.value, inner, expected and e.quantity is None)
            case syntax.Comprehension():
                with self._clauses(e.clauses, scope) as inner:
                    self._expression(e.element, inner, operation)
            case syntax.List() | syntax.Tuple():
                for part in e.items:
                    self._expression(part, scope, operation)
            case syntax.Index():
                self._expression(e.value, scope)
                self._expression(e.index, scope)
            case syntax.Rest():
                self._expression(e.value, scope)
                self._expression(e.start, scope)
            case syntax.Range():
                self._expression(e.low, scope)
                self._expression(e.high, scope)

    @contextmanager
    def _clauses(self, clauses: Sequence[syntax.Clause], scope: Scope) -> Iterator[Scope]:
        if not clauses:
            yield scope
            return
        inner = Scope("inner", scope)
        for clause in clauses:
            self._expression(clause.iterable, inner)
            for target in clause.targets:
                self._bind(inner, target.name, "loop variable", target.span)
            if clause.condition is not None:
                self._expression(clause.condition, inner)
        yield inner

    def _call(self, e: syntax.Call, scope: Scope) -> None:
        self._expression(e.function, scope, operation=True)
        define, shipped = self._callee(e.function, scope)
        position = 0
        for argument in e.arguments:
            operation = False
            if define is not None:
                operation = self._argument(argument, define, position)
            elif shipped in ("repeat", "scan", "chain"):
                operation = position == 0
            elif shipped in self.catalogue and shipped not in BUILTINS and argument.name is not None:
                self._setting(argument, shipped)
            position += argument.name is None
            self._expression(argument.value, scope, operation)

    def _callee(self, e: syntax.Expression, scope: Scope) -> tuple[syntax.Define | None, str]:
        """The definition that a call calls, or the name of what ships; neither where that is known later."""
        if not isinstance(e, syntax.Name):
            return None, ""
        binding = self._find(e.name, scope)
        if binding is not None:
            return binding.define, ""
        return None, e.name if e.name in self.shipped else ""

    def _argument(self, argument: syntax.Argument, define: syntax.Define, position: int) -> bool:
        """Checks a keyword; says whether an operation is expected."""
        if argument.name is None:
            # An operation among the positional arguments fills the settings in their order.
            return any(is_operation_parameter(p) for p in define.parameters) and not any(
                map(is_input, define.parameters)
            )
        parameters = {p.name: p for p in define.parameters}
        if argument.name in parameters:
            return is_operation_parameter(parameters[argument.name])
        self._error(
            "N106",
            f"`{define.name}` has no setting `{argument.name}`",
            argument.name_span or argument.span,
            label="not one of its parameters",
            notes=(Note(define.name_span, "defined here"),),
            help=did_you_mean(argument.name, parameters)
            or (f"it takes {listed(f'`{n}`' for n in parameters)}" if parameters else "it takes none"),
        )
        return False

    def _setting(self, argument: syntax.Argument, name: str) -> None:
        operation = self.catalogue[name]
        settings = [setting.name for setting in operation.settings]
        assert argument.name is not None
        if argument.name in settings or argument.name in operation.inputs:
            return
        self._error(
            "N106",
            f"`{name}` has no setting `{argument.name}`",
            argument.name_span or argument.span,
            label="not one of its settings",
            help=did_you_mean(argument.name, settings)
            or (f"its settings are {listed(f'`{s}`' for s in settings)}" if settings else "it has none"),
        )

    def _is_operation(self, e: syntax.Expression, scope: Scope) -> bool:
        """Whether an expression is an operation beyond doubt, for the words about its neighbours."""
        if isinstance(e, syntax.Pipe):
            return self._is_operation(e.stages[0], scope)
        if isinstance(e, syntax.Name):
            binding = self._find(e.name, scope)
            return binding.is_operation if binding is not None else e.name in self.shipped
        return False

    # --- names ---------------------------------------------------------------------------------

    def _name(self, e: syntax.Name, scope: Scope, operation: bool) -> None:
        at: Scope | None = scope
        early: Scope | None = None
        crossed = False  # Whether the name is read from inside a definition.
        while at is not None:
            binding = at.names.get(e.name)
            if binding is not None:
                binding.used = True
                if crossed and e.name in at.forbidden:
                    self._forbidden(e, at.forbidden[e.name])
                return
            if early is None and (e.name in at.ended or e.name in at.later):
                early = at
            crossed = crossed or at.kind == "definition"
            at = at.outer
        if e.name in self.shipped or (e.name in MEASURES and self._measures):
            return
        if early is not None:
            self._too_early(e, early)
        else:
            self._unknown(e, scope, operation)

    def _forbidden(self, e: syntax.Name, why: str) -> None:
        if why == "tensor":
            self._error(
                "N103",
                f"a definition can't read the tensor `{e.name}` from around it",
                e.span,
                label="a tensor of the body around",
                help=f"hand it in: make `{e.name}` one of the definition's inputs",
            )
        else:
            self._error(
                "N103",
                f"a definition can't read `{e.name}` from around it: it is assigned more than once there",
                e.span,
                label="which of its values?",
                help=f"hand it in: add `{e.name}` to the definition's parameters",
            )

    def _too_early(self, e: syntax.Name, scope: Scope) -> None:
        if e.name in scope.ended:
            self._error(
                "N102",
                f"`{e.name}` has no value here: the variable of a loop ends with it",
                e.span,
                notes=(Note(scope.ended[e.name], "its loop"),),
                help=f"assign it to another name inside the loop: `last = {e.name}`",
            )
            return
        is_parameter = scope.kind == "definition"
        self._error(
            "N102",
            f"`{e.name}` has no value here yet",
            e.span,
            notes=(Note(scope.later[e.name], "declared here" if is_parameter else "assigned here"),),
            help="a default reads inputs, their dimensions and earlier parameters"
            if is_parameter
            else f"assign `{e.name}` before this",
        )

    def _unknown(self, e: syntax.Name, scope: Scope, operation: bool) -> None:
        visible: list[str] = []
        at: Scope | None = scope
        while at is not None:
            visible += [n for n, b in at.names.items() if not operation or b.is_operation]
            at = at.outer
        visible += sorted(self.shipped)
        if e.name in MEASURES:
            self._error(
                "N503",
                f"`{e.name}` is a measure, which stands in `require` alone",
                e.span,
                help=f"write `require {e.name} <= 5M`",
            )
            return
        unusable = self.catalogue.unusable
        if e.name in unusable:
            self._error(unusable[e.name].code, unusable[e.name].message, e.span, help=unusable[e.name].help)
            return
        help = [
            self._help(e.name, visible),
            *(f"besides, {d.message}" for d in unusable.values() if operation),
        ]
        self._error(
            "N105" if operation else "N101",
            f"unknown {'operation' if operation else 'name'} `{e.name}`",
            e.span,
            label="not defined here, nor imported" if operation else "not defined here",
            help="\n".join(filter(None, help)) or None,
        )

    @staticmethod
    def _help(name: str, visible: Sequence[str]) -> str | None:
        """What was meant: a name that is known, or one from a file that ships."""
        library = shipped_definitions()
        if name not in library:
            near = did_you_mean(name, visible)
            if near is None and len(name) == 1 and name.isupper():
                return f"the sizes of an input get names in its pattern, such as `x: [{name}, H, W]`"
            if near is not None or (found := closest(name, library)) is None:
                return near
            name = found
        return f'`{name}` is in a file that ships: `from "{library[name]}" import {name}`'

    def _find(self, name: str, scope: Scope) -> Binding | None:
        at: Scope | None = scope
        while at is not None:
            if name in at.names:
                return at.names[name]
            at = at.outer
        return None

    def _bind(
        self, scope: Scope, name: str, what: str, span: Span, define: syntax.Define | None = None
    ) -> Binding:
        binding = scope.names[name] = Binding(name, what, span, define)
        self.resolution.bindings.append(binding)
        return binding

    def _bind_new(
        self, scope: Scope, name: str, what: str, span: Span, define: syntax.Define | None = None
    ) -> None:
        """A declaration, which may not be there yet."""
        known = scope.names.get(name)
        if known is not None:
            self._twice(name, span, known.span)
        self._bind(scope, name, what, span, define)

    def _assign(self, scope: Scope, name: str, what: str, span: Span) -> None:
        """An assignment, which may rebind a name, but not that of a definition beside it."""
        known = scope.names.get(name)
        if known is not None and known.define is not None:
            self._twice(name, span, known.span)
        if known is not None and known.what == what:
            return
        self._bind(scope, name, what, span)

    def _twice(self, name: str, span: Span, first: Span) -> None:
        self._error(
            "N109",
            f"`{name}` is defined twice",
            span,
            notes=(Note(first, "first here"),),
            help="rename one of them",
        )

    def _error(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        label: str = "",
        notes: tuple[Note, ...] = (),
        help: str | None = None,
    ) -> None:
        self.findings.add(Diagnostic(code, message, span, label, notes, help))
        self.resolution.failed.add(span)


def shipped_definitions() -> dict[str, str]:
    """The definitions in `spaces/lib/`, each with its file: for help lines alone."""
    found: dict[str, str] = {}
    folder = resources.spaces()
    for path in sorted((folder / "lib").glob("*.nas")):
        for match in re.finditer(r"^(?:op|cell)\s+(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(match[1], path.relative_to(folder).as_posix())
    return found


def first_spans(statements: Iterable[syntax.Statement]) -> dict[str, Span]:
    """Each name that a body assigns, with the place of the first time."""
    found: dict[str, Span] = {}

    def walk(body: Iterable[syntax.Statement]) -> None:
        for statement in body:
            match statement:
                case syntax.Assign():
                    for target in statement.targets:
                        found.setdefault(target.name, target.span)
                case syntax.Shared():
                    found.setdefault(statement.name, statement.span)
                case syntax.For():
                    walk(statement.body)
                case syntax.If():
                    walk(statement.then)
                    walk(statement.otherwise)

    walk(statements)
    return found
