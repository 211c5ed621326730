"""Fixes choices of a space and writes the smaller space as text that reads like the original.

Where every walk through a place of the text decides alike, the place is edited: ``16 | 24 | 32`` becomes ``24``.
Where walks differ, the text is specialised: a definition is written once for each way in which its uses are decided, or
its candidate is put where it was used; a loop is written out, turn by turn. Nothing is taken on trust: the text is
compiled, and its space is compared with the original under the same decisions, node by node.
"""

from __future__ import annotations

import random
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from nasdsl.diagnostics import Diagnostic, Findings, NasError, Source, Span, failure
from nasdsl.language import narrow_flat, syntax
from nasdsl.language.builder import Limits
from nasdsl.language.elaborate import Elaborator
from nasdsl.language.format import format_file, number_text
from nasdsl.language.modules import Loader, Module, pick_space
from nasdsl.language.narrow_trace import (
    Called,
    Copied,
    Event,
    Key,
    Site,
    Trace,
    Untraceable,
    Use,
    children,
    key_of,
    repeated,
    trace,
)
from nasdsl.language.values import Definition, Names, Template, Value
from nasdsl.space.choice import Choice, Taken
from nasdsl.space.diagram import Diagram, Diagrams
from nasdsl.space.diff import decided_cases, outline, translated
from nasdsl.space.operation import Catalogue
from nasdsl.space.size import Rational
from nasdsl.space.solve import OverBudget, Solver
from nasdsl.space.space import Space

Decision = Hashable
"""A label, a tuple of labels of a sub-list, or None where a choice stays open."""
Signature = frozenset[tuple[Key, tuple[tuple[Key, int], ...], Any]]


@dataclass(frozen=True)
class Narrowed:
    """The text of a smaller space, and the space. ``flat`` says that it is written node by node."""

    text: str
    space: Space
    flat: bool


@dataclass(frozen=True)
class Setup:
    """What a text is compiled with."""

    catalogue: Catalogue
    limits: Limits
    parameters: Mapping[str, Rational]


@dataclass(frozen=True)
class Prepared:
    """A space that can be narrowed: elaborated, with what happened on the way."""

    module: Module
    declaration: syntax.Space
    setup: Setup
    space: Space
    trace: Trace


def prepare(module: Module, declaration: syntax.Space, setup: Setup) -> Prepared:
    """Elaborates a space and notes where its choices are made. Raises NasError with all that is wrong with it."""
    try:
        space, found = trace(module, declaration, setup.catalogue, setup.limits, setup.parameters)
    except Untraceable as reason:
        raise _cannot(reason, None) from None
    return Prepared(module, declaration, setup, space, found)


def narrow(prepared: Prepared, fixed: Mapping[str, Taken], home: Path) -> Narrowed:
    """The space with choices fixed. ``home`` is where the text will stand: its imports are looked up from there.

    Raises NasError for a choice or candidate that is not there (N801, N804, N805), where nothing is left (N620), and
    where the text can't say it (N621, N622).
    """
    space = prepared.space
    decided = check(space, fixed)
    expected = count_with(space, decided)
    if expected == 0:
        raise failure(
            "N620",
            f"no architecture of `{space.name}` has these candidates",
            "they break a `require`, or one of them rules another out: fix fewer",
        )
    try:
        text = _Writer(prepared, decided).text()
        return Narrowed(text, _verified(text, prepared, decided, expected, home), flat=False)
    except (Untraceable, _Wrong, NasError) as reason:
        if expected != 1:
            raise _cannot(reason, home) from None
        first = reason
    try:
        text = narrow_flat.write(space, _assignment(space, decided), prepared.declaration)
        return Narrowed(text, _verified(text, prepared, decided, expected, home), flat=True)
    except (narrow_flat.Unwritable, _Wrong, NasError):
        raise _cannot(first, home) from None


class _Wrong(Exception):
    """What was written is not the space that it should be. ``reason`` says in which way."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OpenDepth(Untraceable):
    """Copies that are decided differently, of a ``repeat`` whose depth is open."""

    def __init__(self, span: Span) -> None:
        super().__init__(
            "the copies of this `repeat` are decided differently, and how many there are is open", span
        )


def _cannot(reason: Exception, home: Path | None) -> NasError:
    if isinstance(reason, OpenDepth):
        help = "fix its depth as well, or the same candidate in each copy"
        return NasError(Diagnostic("N621", reason.reason, reason.span, help=help))
    span = reason.span if isinstance(reason, Untraceable) else None
    words = getattr(reason, "reason", None)
    if isinstance(reason, NasError):
        first = reason.diagnostics[0]
        words = f"what would be written does not compile: {first.message}"
        if first.code in ("N601", "N602") and home is not None:
            words = f"what it imports is not found from `{home.parent}`: {first.message}"
    return NasError(
        Diagnostic(
            "N622",
            f"this can't be written as a smaller space: {words or reason}",
            span,
            help="fix more choices at once: a whole genotype can always be written (`--genotype`)",
        )
    )


# --- what is decided ------------------------------------------------------------------------------


def check(space: Space, fixed: Mapping[str, Taken]) -> dict[int, Taken]:
    """The decisions by the index of their choice. Raises NasError for what is no choice or no candidate."""
    problems: list[Diagnostic] = []
    decided: dict[int, Taken] = {}
    for name, taken in fixed.items():
        try:
            choice = space.choice(name)
            decided[choice.index] = _checked(choice, taken)
        except NasError as error:
            problems += error.diagnostics
    if problems:
        raise NasError(*problems)
    return decided


def _checked(choice: Choice, taken: Taken) -> Taken:
    wanted = (taken,) if isinstance(taken, str) else tuple(taken)
    for label in wanted:
        if label not in choice.labels:
            raise failure(
                "N804",
                f"`{label}` is no candidate of `{choice.name}`",
                f"its candidates are {', '.join(choice.labels)}",
            )
    if choice.low is None or choice.high is None:
        if len(wanted) != 1 or not isinstance(taken, str):
            raise failure("N805", f"the choice `{choice.name}` takes one label, and this is {list(wanted)}")
        return taken
    if len(set(wanted)) != len(wanted) or not choice.low <= len(wanted) <= choice.high:
        raise failure(
            "N805",
            f"the choice `{choice.name}` takes {choice.pick} different labels, and this is {list(wanted)}",
        )
    return tuple(label for label in choice.labels if label in wanted)


def _fixed_variables(space: Space, decided: Mapping[int, Taken]) -> dict[int, int]:
    found: dict[int, int] = {}
    for index, taken in decided.items():
        choice = space.choices[index]
        if isinstance(taken, str):
            found[choice.variables[0]] = choice.labels.index(taken)
        else:
            found.update(
                (v, int(label in taken)) for label, v in zip(choice.labels, choice.variables, strict=True)
            )
    return found


def _rules(space: Space, decided: Mapping[int, Taken]) -> list[Diagram]:
    """What the space asks of an assignment, and the decisions, wherever their choice exists."""
    table = space.table
    owner = {v: choice for choice in space.choices for v in choice.variables}
    rules = list(space._rules)
    for variable, case in _fixed_variables(space, decided).items():
        takes = table.equals(variable, case, space.arities[variable])
        rules.append(table.choose(owner[variable].guard, takes, table.true))
    return rules


def count_with(space: Space, decided: Mapping[int, Taken]) -> int:
    """How many architectures take these candidates wherever they have the choice."""
    try:
        return Solver(space.table, space.arities, _rules(space, decided)).count()
    except OverBudget:
        raise failure(
            "N502",
            f"the choices of `{space.name}` are too entangled to be counted exactly",
            "fix more of them",
        ) from None


def _assignment(space: Space, decided: Mapping[int, Taken]) -> dict[int, int]:
    """The cases of all variables, where the decisions leave one architecture."""
    return Solver(space.table, space.arities, _rules(space, decided)).sample(random.Random(0))


# --- the proof ------------------------------------------------------------------------------------


def _verified(
    text: str, prepared: Prepared, decided: Mapping[int, Taken], expected: int, home: Path
) -> Space:
    """The space that a text describes. Raises _Wrong where it is not the original with the decisions made."""
    space, setup = prepared.space, prepared.setup
    findings = Findings()
    module = Loader(findings, setup.limits.nesting).load(home, Source(str(home), text))
    findings.raise_if_any()
    elaborator = Elaborator(setup.catalogue, setup.limits)
    found = elaborator.space(module, pick_space(module, prepared.declaration.name), {})
    count = found.count()
    if count != expected:
        raise _Wrong(f"{count} architectures would be left instead of {expected}")
    fixed = _fixed_variables(space, decided)
    kept = [
        str(limit)
        for limit in space.limits
        if _restricted(space, limit.guard, fixed, {}) is not space.table.false
    ]
    if kept != [str(limit) for limit in found.limits]:
        raise _Wrong("other limits on measures would be left")
    table = Diagrams()
    left = [
        choice for choice in space.choices if choice.index not in decided and _may_exist(space, choice, fixed)
    ]
    if [_form(choice) for choice in left] != [_form(choice) for choice in found.choices]:
        raise _Wrong("other choices would be left than those that are open")
    into: dict[int, tuple[int, int]] = {}
    cases: dict[int, list[Diagram]] = {}
    for old, new in zip(left, found.choices, strict=True):
        for before, after in zip(old.variables, new.variables, strict=True):
            into[before] = (after, found.arities[after])
    for variable, arity in enumerate(found.arities):
        cases[variable] = [table.equals(variable, case, arity) for case in range(arity)]
    # A choice that can't exist any more stands at its first candidate, as always.
    gone = {v: 0 for choice in space.choices for v in choice.variables if v not in into and v not in fixed}
    before_cases = decided_cases(space, table, {**fixed, **gone}, into)
    if outline(space, table, before_cases) != outline(found, table, cases):
        raise _Wrong("its networks would differ from those of the original")
    return found


def _may_exist(space: Space, choice: Choice, fixed: Mapping[int, int]) -> bool:
    return _restricted(space, choice.guard, fixed, {}) is not space.table.false


def _restricted(space: Space, guard: Diagram, fixed: Mapping[int, int], memo: dict[int, Diagram]) -> Diagram:
    table = space.table
    cases = _Cases(space, fixed)
    return translated(guard, table, cases, memo)


class _Cases(Mapping[int, Sequence[Diagram]]):
    """The cases of each variable in the space's own table, where some are fixed."""

    def __init__(self, space: Space, fixed: Mapping[int, int]) -> None:
        self.space = space
        self.fixed = fixed

    def __getitem__(self, variable: int) -> list[Diagram]:
        table, arity = self.space.table, self.space.arities[variable]
        if variable in self.fixed:
            return [table.true if case == self.fixed[variable] else table.false for case in range(arity)]
        return [table.equals(variable, case, arity) for case in range(arity)]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.space.arities)))

    def __len__(self) -> int:
        return len(self.space.arities)


def _form(choice: Choice) -> tuple[int, str, bool]:
    return len(choice.labels), choice.pick, choice.is_sublist


# --- the text -------------------------------------------------------------------------------------

Kind = Literal["same", "atom", "pipe", "loose"]


@dataclass(frozen=True)
class Piece:
    """A piece of text in place of a node: ``kind`` says how tightly it binds, and ``same`` that nothing changed."""

    text: str
    kind: Kind


@dataclass(frozen=True)
class Context:
    """For which uses and turns a text is written; ``words`` stand for loop variables and settings that are written out.

    With ``exact`` conditions that are known are taken out.
    """

    uses: frozenset[int]
    turns: Mapping[Key, int] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False


class _Writer:
    def __init__(self, prepared: Prepared, decided: Mapping[int, Taken]) -> None:
        self.module = prepared.module
        self.declaration = prepared.declaration
        self.space = space = prepared.space
        self.trace = found = prepared.trace
        self.setup = prepared.setup
        self.decided = decided
        self.fixed = _fixed_variables(space, decided)
        self.memo: dict[int, Diagram] = {}
        self.by_use: dict[int, list[Event]] = {}
        tables: tuple[Mapping[Key, Sequence[Event]], ...] = (found.sites, found.calls)
        for table in tables:
            for events in table.values():
                for event in events:
                    self.by_use.setdefault(id(event.use), []).append(event)
        self.signatures: dict[int, Signature] = {}
        self.users = {id(use): use for use in found.uses}
        assert found.root is not None
        self.root = found.root
        self.users[id(self.root)] = self.root
        self.variants = self._variants()
        self.names: dict[tuple[int, Signature], str] = {}
        self.written: dict[tuple[int, Signature], tuple[Definition, str]] = {}
        self.taken_names: set[str] = set(re.findall(r"\w+", "\n".join(self.module.sources().values())))
        visible = [definition for use in found.uses if (definition := use.definition) is not None]
        self._definitions = {definition.name: definition.syntax for definition in visible}
        # With every choice decided, even places with one way left are written out.
        self.whole = all(self._decision(event) is not None for event in self._live_sites())

    # --- what is alive and what is decided

    def _alive(self, event: Event) -> bool:
        guard = translated(event.guard, self.space.table, _Cases(self.space, self.fixed), self.memo)
        return guard is not self.space.table.false

    def _decision(self, site: Site) -> Decision:
        """What was decided there: labels; None where the choice is open, or where there was none."""
        if site.record is None:
            return None
        return self.decided.get(site.record.index)

    def _live_sites(self) -> Iterator[Site]:
        for events in self.trace.sites.values():
            for event in events:
                if event.record is not None and self._alive(event):
                    yield event

    def _signature(self, use: Use) -> Signature:
        """How a use is decided: what its own places decide, and those of the uses in it."""
        found = self.signatures.get(id(use))
        if found is None:
            entries: set[tuple[Key, tuple[tuple[Key, int], ...], Any]] = set()
            for event in self.by_use.get(id(use), ()):
                if not self._alive(event):
                    continue
                turns = tuple(sorted(event.turns.items()))
                value: Any = self._decision(event) if isinstance(event, Site) else None
                if isinstance(event, Called):
                    value = self._signature(event.target) or None
                if value is not None:
                    entries.add((event.key, turns, value))
            found = self.signatures[id(use)] = frozenset(entries)
        return found

    def _variants(self) -> dict[int, set[Signature]]:
        """For each definition in use, the ways in which its uses are decided."""
        found: dict[int, set[Signature]] = {}
        stack, seen = [self.root], {id(self.root)}
        while stack:
            use = stack.pop()
            if use.definition is not None:
                found.setdefault(id(use.definition.syntax), set()).add(self._signature(use))
            for event in self.by_use.get(id(use), ()):
                if isinstance(event, Called) and id(event.target) not in seen and self._alive(event):
                    seen.add(id(event.target))
                    stack.append(event.target)
        return found

    def _events(self, table: Mapping[Key, Sequence[Any]], key: Key, context: Context) -> list[Any]:
        return [
            event
            for event in table.get(key, ())
            if id(event.use) in context.uses
            and all(context.turns.get(loop, at) == at for loop, at in event.turns.items())
            and self._alive(event)
        ]

    # --- the file

    def text(self) -> str:
        """The whole file."""
        source = self.module.source
        edits: list[tuple[int, int, str]] = []
        body = self._render(self.declaration, Context(frozenset({id(self.root)})))
        if body.kind != "same":
            edits.append((self.declaration.span.start, self.declaration.span.end, body.text))
        text = source.text
        local = {id(node) for node in self.declaration.body}
        outside = [
            (definition, written)
            for definition, written in self.written.values()
            if id(definition.syntax) not in local
        ]
        for item in self.module.tree.items:
            replaced = [written for definition, written in outside if definition.syntax is item]
            if replaced:
                kept = [item.span.text] if self._keeps(item) else []
                edits.append((item.span.start, item.span.end, _apart([*kept, *replaced])))
        own = {id(item) for item in self.module.tree.items}
        for definition, _ in outside:
            if id(definition.syntax) not in own:
                raise Untraceable(
                    f"`{definition.name}` is imported, and its uses would need texts of their own",
                    definition.syntax.name_span,
                )
        for start, end, new in sorted(edits, reverse=True):
            text = text[:start] + new + text[end:]
        return tidy(text, source.path, self.module, self.declaration.name)

    # --- nodes

    def _render(self, node: syntax.Node, context: Context) -> Piece:
        """The text of a node, with what is decided in it written down."""
        match node:
            case syntax.Space():
                return self._render_space(node, context)
            case syntax.For():
                return self._render_for(node, context)
            case syntax.If():
                taken = self._outcome(node.condition, context)
                if taken is not None and context.exact:
                    body = node.then if taken else node.otherwise
                    return Piece("\n".join(self._render(s, context).text for s in body), "loose")
            case syntax.Require():
                return self._render_require(node, context)
            case syntax.Name():
                if node.name in context.words:
                    word = context.words[node.name]
                    return Piece(word, "atom" if re.fullmatch(r"[\w.]+(\[[^\[\]]*\])?", word) else "loose")
                return self._render_use(node, context)
            case syntax.Alternatives() | syntax.Choose():
                return self._render_choice(node, context)
            case syntax.Call():
                return self._render_call(node, context)
            case syntax.IfExpression():
                return self._render_if(node, context)
            case syntax.List(items=(syntax.Comprehension() as inner,)):
                if self._differs(inner, context):
                    return Piece(f"[{', '.join(self._written_out(inner, context))}]", "atom")
            case syntax.Comprehension():
                if self._differs(node, context):
                    return Piece(f"[{', '.join(self._written_out(node, context))}]", "atom")
            case syntax.Binary() | syntax.Compare() | syntax.Logical() | syntax.Not() | syntax.Negate():
                if context.words:
                    value = self._folded(node, context)
                    if value is not None:
                        return Piece(_value_text(value), "atom")
        return self._spliced(node, context)

    def _spliced(self, node: syntax.Node, context: Context) -> Piece:
        """A node's own text around the texts of the nodes below it."""
        source = node.span.source.text
        pieces: list[str] = []
        at = node.span.start
        changed = False
        for child in children(node):
            if child.span.end <= at and child.span.start < at:
                continue
            gap = source[at : child.span.start]
            if context.words and isinstance(node, syntax.Call) and self._is_default(node, child, context):
                at, changed = child.span.end, True
                pieces.append(re.sub(r",\s*$", "", gap))
                continue
            new = self._render(child, context)
            if new.kind == "same":
                pieces += [gap, source[child.span.start : child.span.end]]
            else:
                changed = True
                if isinstance(child, syntax.Alternatives):
                    gap = re.sub(r"\s*\|\s*$", " ", gap)
                pieces += [gap, _fitted(node, child, new)]
            at = child.span.end
        pieces.append(source[at : node.span.end])
        return Piece("".join(pieces), _kind(node)) if changed else Piece(node.span.text, "same")

    def _is_default(self, call: syntax.Call, argument: syntax.Node, context: Context) -> bool:
        """Whether a setting that was handed on came to what it is anyway: ``stride = 1``."""
        if (
            not isinstance(argument, syntax.Argument)
            or argument.name is None
            or argument is call.arguments[0]
        ):
            return False
        if not isinstance(call.function, syntax.Name) or not isinstance(argument.value, syntax.Name):
            return False
        value = self._folded(argument.value, context)
        if not isinstance(value, Fraction):
            return False
        definition = self._definitions.get(call.function.name)
        if definition is not None:
            for parameter in definition.parameters:
                if parameter.name == argument.name:
                    return isinstance(parameter.default, syntax.Number) and parameter.default.value == value
            return False
        operation = self.setup.catalogue.get(call.function.name)
        settings = () if operation is None else operation.settings
        return any(setting.name == argument.name and setting.default == value for setting in settings)

    def _render_space(self, node: syntax.Space, context: Context) -> Piece:
        source = node.span.source.text
        pieces: list[str] = []
        at = node.span.start
        for parameter in node.parameters:
            value = self.setup.parameters.get(parameter.name)
            if value is None:
                continue
            # What was set is what the smaller space was made for.
            pieces += [
                source[at : parameter.span.start],
                f"{parameter.name} = {number_text(Fraction(value))}",
            ]
            at = parameter.span.end
        statements = [s for s in node.body if not isinstance(s, syntax.Define)]
        new = {id(statement): self._render(statement, context) for statement in statements}
        # Definitions last: by then it is known which texts of theirs are asked for.
        for statement in node.body:
            pieces.append(source[at : statement.span.start])
            at = statement.span.end
            if not isinstance(statement, syntax.Define):
                piece = new[id(statement)]
                if not piece.text:
                    pieces[-1] = re.sub(r"\n[ \t]*$", "", pieces[-1])
                pieces.append(piece.text)
                continue
            written = [text for d, text in self.written.values() if d.syntax is statement]
            if self._keeps(statement):
                # Where nothing asks for it any more, it goes with what else is not used.
                written.insert(0, statement.span.text)
            pieces.append(_apart(written))
        pieces.append(source[at : node.span.end])
        text = "".join(pieces)
        return Piece(text, "loose" if text != node.span.text else "same")

    def _keeps(self, define: syntax.Node) -> bool:
        """Whether a definition's own text stays: unless the only text that its uses ask for has taken its name."""
        return not any(
            d.syntax is define and self.names[key] == d.name for key, (d, _) in self.written.items()
        )

    # --- loops

    def _differs(self, loop: syntax.For | syntax.Comprehension | syntax.Choose, context: Context) -> bool:
        """Whether turns of a loop are decided differently, so that it has to be written out."""
        clauses = (
            (loop.iterable,) if isinstance(loop, syntax.For) else tuple(c.iterable for c in loop.clauses)
        )
        return any(self._differs_over(key_of(e.span), loop.span, context) for e in clauses)

    def _differs_over(self, loop: Key, inside: Span, context: Context) -> bool:
        seen: dict[tuple[Key, tuple[tuple[Key, int], ...]], Any] = {}
        for table in (self.trace.sites, self.trace.calls):
            for key in table:
                if key[0] != inside.source.path or not inside.start <= key[1] <= key[2] <= inside.end:
                    continue
                for event in self._events(table, key, context):
                    if loop not in event.turns:
                        continue
                    rest = tuple(sorted((k, v) for k, v in event.turns.items() if k != loop))
                    value = self._value(event)
                    if seen.setdefault((key, rest), value) != value:
                        return True
        return False

    def _value(self, event: Event) -> Any:
        if isinstance(event, Site):
            return self._decision(event)
        assert isinstance(event, Called)
        return self._signature(event.target)

    def _render_for(self, node: syntax.For, context: Context) -> Piece:
        if not self._differs(node, context):
            return self._spliced(node, context)
        lines: list[str] = []
        for inner in self._turns(node.iterable, node.targets, context):
            lines += [self._render(statement, inner).text for statement in node.body]
        return Piece("\n".join(lines), "loose")

    def _turns(
        self, iterable: syntax.Expression, targets: Sequence[syntax.Target], context: Context
    ) -> Iterator[Context]:
        """The turns of a loop, each with its variables written out."""
        loop = key_of(iterable.span)
        turns: dict[int, list[Sequence[Value]]] = {}
        for turned in self.trace.turned.get(loop, ()):
            if all(context.turns.get(k, at) == at for k, at in turned.turns.items()):
                turns.setdefault(turned.position, []).append(turned.values)
        for position in sorted(turns):
            words = dict(context.words)
            for index, target in enumerate(targets):
                values = [found[index] for found in turns[position]]
                several = len(targets) > 1
                words[target.name] = self._turn_word(
                    iterable, position, index if several else None, values, context
                )
            yield replace(context, turns={**context.turns, loop: position}, words=words, exact=True)

    def _turn_word(
        self,
        iterable: syntax.Expression,
        position: int,
        index: int | None,
        values: Sequence[Value],
        context: Context,
    ) -> str:
        """What stands for a loop variable in one turn."""
        first = values[0]
        if isinstance(first, (int, Fraction)) and not isinstance(first, bool):
            if any(value != first for value in values):
                raise Untraceable("a loop variable has several values here", iterable.span)
            return number_text(Fraction(first))
        if isinstance(iterable, syntax.List) and not any(
            isinstance(i, syntax.Comprehension) for i in iterable.items
        ):
            item = iterable.items[position]
            if index is not None and isinstance(item, (syntax.Tuple, syntax.List)):
                item = item.items[index]
                index = None
            if index is None:
                return self._render(item, context).text
        if index is None and isinstance(iterable, (syntax.Name, syntax.Index)):
            return f"{self._render(iterable, context).text}[{position}]"
        if index is None and isinstance(iterable, syntax.Rest):
            start = self._folded(iterable.start, context)
            if isinstance(start, (int, Fraction)):
                return f"{self._render(iterable.value, context).text}[{int(start) + position}]"
        if isinstance(first, Template) and isinstance(first.expression, syntax.Name):
            return first.expression.name
        raise Untraceable("the turns of this loop differ, and can't be written out one by one", iterable.span)

    def _written_out(self, node: syntax.Comprehension | syntax.Choose, context: Context) -> list[str]:
        """The elements of a comprehension, one by one."""
        element = node.element if isinstance(node, syntax.Comprehension) else node.items[0].value
        return [self._item(element, inner) for inner in self._clause_turns(node.clauses, context)]

    def _clause_turns(self, clauses: Sequence[syntax.Clause], context: Context) -> Iterator[Context]:
        if not clauses:
            yield context
            return
        first, *rest = clauses
        for inner in self._turns(first.iterable, first.targets, context):
            if first.condition is not None and self._outcome(first.condition, inner) is False:
                continue
            yield from self._clause_turns(rest, inner)

    def _item(self, element: syntax.Expression, context: Context) -> str:
        piece = self._render(element, context)
        return (
            f"({piece.text})"
            if isinstance(element, syntax.Alternatives) and piece.kind == "same"
            else piece.text
        )

    # --- choices

    def _render_choice(self, node: syntax.Alternatives | syntax.Choose, context: Context) -> Piece:
        key = key_of(node.span)
        sites: list[Site] = self._events(self.trace.sites, key, context)
        decisions = {self._decision(site) for site in sites}
        if len(decisions) > 1:
            raise Untraceable("one place in the text is decided in several ways at once", node.span)
        decision: Any = next(iter(decisions), None)
        clauses = node.clauses if isinstance(node, syntax.Choose) else ()
        some = isinstance(node, syntax.Choose) and node.quantity is not None
        if decision is None and sites and self.whole and all(site.record is None for site in sites):
            # One way only: written as what it comes to.
            decision = sites[0].labels if some else sites[0].labels[0]
        if decision is None:
            if clauses and isinstance(node, syntax.Choose) and self._differs(node, context):
                return self._render_candidates(node, sites, context)
            return self._spliced(node, context)
        wanted = decision if isinstance(decision, tuple) else (decision,)
        found: list[Piece] = []
        for label in wanted:
            found.append(self._candidate(node, sites, str(label), context))
        if not some:
            return found[0]
        return Piece(f"[{', '.join(piece.text for piece in found)}]", "atom")

    def _candidate(
        self, node: syntax.Alternatives | syntax.Choose, sites: Sequence[Site], label: str, context: Context
    ) -> Piece:
        position = sites[0].labels.index(label)
        if any(site.labels != sites[0].labels for site in sites):
            raise Untraceable("the candidates differ from use to use", node.span)
        clauses = node.clauses if isinstance(node, syntax.Choose) else ()
        if not clauses:
            return self._chosen(node.items[position].value, context)
        turns = sites[0].turns_of[position]
        for inner in self._clause_turns(clauses, context):
            if all(inner.turns.get(loop) == at for loop, at in turns.items()):
                return self._chosen(node.items[0].value, inner)
        raise Untraceable(f"the candidate `{label}` is not found again", node.span)

    def _render_candidates(self, node: syntax.Choose, sites: Sequence[Site], context: Context) -> Piece:
        """An open choice whose candidates are decided differently: listed one by one."""
        items = ", ".join(self._written_out(node, context))
        if node.quantity is not None and all(site.record is None and site.labels for site in sites):
            return Piece(f"[{items}]", "atom")  # All of them have to be taken.
        quantity = "" if node.quantity is None else f"{node.quantity.span.text} "
        if quantity and not quantity.rstrip().endswith("of"):
            quantity = f"{quantity.rstrip()} of "
        return Piece(f"choose {quantity}{{ {items} }}", "atom")

    # --- conditions

    def _outcome(self, condition: syntax.Expression, context: Context) -> bool | None:
        """What a condition came to, where it rests on no choice and is the same for all that is written here."""
        values = {
            event.value for event in self._events(self.trace.conditions, key_of(condition.span), context)
        }
        if len(values) == 1:
            return bool(values.pop())
        if values:
            return None
        folded = self._folded(condition, context) if context.words else None
        return folded if isinstance(folded, bool) else None

    def _render_if(self, node: syntax.IfExpression, context: Context) -> Piece:
        taken = self._outcome(node.condition, context)
        if taken is not None:
            side, other = (node.then, node.otherwise) if taken else (node.otherwise, node.then)
            # The side that is never taken may hold what would still look like a choice.
            if context.exact or (self.whole and _holds_choice(other, self.trace)):
                return self._chosen(side, context)
        sides = [self._render(side, context).text for side in (node.then, node.otherwise)]
        return self._chosen(node.then, context) if sides[0] == sides[1] else self._spliced(node, context)

    def _chosen(self, node: syntax.Expression, context: Context) -> Piece:
        """A part of an expression in place of the whole."""
        piece = self._render(node, context)
        return Piece(piece.text, _kind(node) if piece.kind == "same" else piece.kind)

    def _folded(self, node: syntax.Node, context: Context) -> Any:
        """The value of an expression of numbers that are written there; None where there are others."""
        match node:
            case syntax.Number():
                return node.value
            case syntax.Boolean():
                return node.value
            case syntax.Name():
                word = context.words.get(node.name)
                try:
                    return Fraction(word) if word is not None else None
                except ValueError:
                    return None
            case syntax.Negate():
                value = self._folded(node.operand, context)
                return None if value is None else -value
            case syntax.Not():
                value = self._folded(node.operand, context)
                return None if value is None else not value
            case syntax.Binary() | syntax.Compare() | syntax.Logical():
                left, right = self._folded(node.left, context), self._folded(node.right, context)
                if left is None or right is None:
                    return None
                return _OPERATORS[node.operator](left, right) if node.operator in _OPERATORS else None
            case syntax.IfExpression():
                taken = self._folded(node.condition, context)
                return (
                    None if taken is None else self._folded(node.then if taken else node.otherwise, context)
                )
            case syntax.List():
                values = [self._folded(item, context) for item in node.items]
                return None if any(value is None for value in values) else values
        return None

    def _render_require(self, node: syntax.Require, context: Context) -> Piece:
        """``count("none")`` counts what is left; what is decided is added to it."""
        pieces: list[str] = []
        source = node.span.source.text
        at = node.span.start
        for call in _counts(node.condition):
            (argument,) = call.arguments
            assert isinstance(argument.value, syntax.String)
            label = argument.value.value
            taken = left = 0
            for choice in self.space.choices:
                if label not in choice.labels:
                    continue
                if choice.index not in self.decided:
                    left += _may_exist(self.space, choice, self.fixed)
                    continue
                decision = self.decided[choice.index]
                chosen = decision == label if isinstance(decision, str) else label in decision
                guard = _restricted(self.space, choice.guard, self.fixed, self.memo)
                if chosen and guard is not self.space.table.false:
                    if guard is not self.space.table.true:
                        raise Untraceable("`count` rests on a choice that may not exist", call.span)
                    taken += 1
            word = (
                f"({call.span.text} + {taken})" if left and taken else call.span.text if left else str(taken)
            )
            pieces += [source[at : call.span.start], word]
            at = call.span.end
        if not pieces:
            return self._spliced(node, context)
        if self.whole:
            return Piece("", "loose")
        return Piece("".join([*pieces, source[at : node.span.end]]), "loose")

    # --- uses

    def _render_call(self, node: syntax.Call, context: Context) -> Piece:
        operation = repeated(node)
        if operation is not None:
            copies = self._copied(operation, context)
            alive = {event.number for event in copies if self._alive(event)}
            if copies and not alive:
                return Piece("identity", "atom")
            if alive == {1} and len({event.number for event in copies}) > 1:
                # Of several copies one is left, which is in every architecture.
                return self._chosen(operation, context)
            if self._differs_over(key_of(operation.span), operation.span, context):
                return self._copies(node, operation, copies, context)
        name = node.function.name if isinstance(node.function, syntax.Name) else ""
        if len(node.arguments) == 1 and isinstance(
            node.arguments[0].value, syntax.List | syntax.Comprehension
        ):
            inner: syntax.Expression = node.arguments[0].value
            if isinstance(inner, syntax.List) and len(inner.items) == 1:
                inner = inner.items[0]
            if name == "chain" and isinstance(inner, syntax.Comprehension) and self._differs(inner, context):
                return Piece(" -> ".join(_stage(text) for text in self._written_out(inner, context)), "pipe")
        if name in ("sum", "mean", "max") and len(node.arguments) == 1:
            nothing = self._nothing(node.arguments[0].value, context)
            if nothing is not None:
                return Piece(f"{name}([{nothing}])", "atom")
        return self._render_use(node, context)

    def _nothing(self, node: syntax.Expression, context: Context) -> str | None:
        """A sum of a sub-list that is empty is absent, in the shape of its candidates: ``zero`` of one of them."""
        if not isinstance(node, syntax.Choose) or node.quantity is None:
            return None
        sites: list[Site] = self._events(self.trace.sites, key_of(node.span), context)
        if not sites or any(self._decision(site) != () for site in sites):
            return None
        first = self._candidate(node, sites, sites[0].labels[0], context)
        return f"zero({first.text})"

    def _copied(self, operation: syntax.Expression, context: Context) -> list[Copied]:
        copies = [e for e in self.trace.copies.get(key_of(operation.span), ()) if id(e.use) in context.uses]
        return [e for e in copies if all(context.turns.get(k, at) == at for k, at in e.turns.items())]

    def _copies(
        self, node: syntax.Call, operation: syntax.Expression, copies: Sequence[Copied], context: Context
    ) -> Piece:
        """The copies of a repeat that are decided differently, one after the other."""
        loop = key_of(operation.span)
        numbers = sorted({event.number for event in copies if self._alive(event)})
        for number in numbers:
            for event in copies:
                guard = translated(event.guard, self.space.table, _Cases(self.space, self.fixed), self.memo)
                outer = translated(
                    copies[0].guard, self.space.table, _Cases(self.space, self.fixed), self.memo
                )
                if event.number == number and guard is not outer:
                    raise OpenDepth(node.span)
        found = []
        for number in numbers:
            inner = replace(context, turns={**context.turns, loop: number})
            piece = self._render(operation, inner)
            kind = _kind(operation) if piece.kind == "same" else piece.kind
            found.append(piece.text if kind in ("atom", "pipe") else f"({piece.text})")
        return Piece(" -> ".join(found) or "identity", "pipe" if len(found) > 1 else "atom")

    def _render_use(self, node: syntax.Name | syntax.Call, context: Context) -> Piece:
        """A use of a definition: of the text that is decided as its uses here are."""
        events: list[Called] = self._events(self.trace.calls, key_of(node.span), context)
        targets = [event.target for event in events]
        found = {self._signature(target) for target in targets}
        if not found or found == {frozenset()}:
            return (
                self._spliced(node, context)
                if isinstance(node, syntax.Call)
                else Piece(node.span.text, "same")
            )
        if len(found) > 1:
            raise Untraceable("uses here are decided differently, in one place of the text", node.span)
        (signature,) = found
        definition = targets[0].definition
        assert definition is not None
        if len(self.variants[id(definition.syntax)]) > 1:
            put = self._put_in_place(node, events, context)
            if put is not None:
                return put
        name = self._written_definition(definition, signature)
        if isinstance(node, syntax.Name):
            return Piece(name, "atom") if name != node.name else Piece(node.name, "same")
        rest = self._spliced(node, context)
        if not isinstance(node.function, syntax.Name) or name == node.function.name:
            return rest
        return Piece(name + rest.text[len(node.function.name) :], "atom")

    def _written_definition(self, definition: Definition, signature: Signature) -> str:
        """The name of a definition's text for uses that are decided so; writes it the first time."""
        key = (id(definition.syntax), signature)
        known = self.names.get(key)
        if known is not None:
            return known
        define = definition.syntax
        name = define.name
        if len(self.variants[id(define)]) > 1:
            name = self._fresh_name(definition, signature)
        self.names[key] = name
        uses = [
            use
            for use in self.users.values()
            if use.definition is not None and use.definition.syntax is define
        ]
        same = frozenset(id(use) for use in uses if self._signature(use) == signature)
        text = self._spliced(define, Context(same)).text
        at = define.name_span.start - define.span.start
        text = text[:at] + name + text[at + len(define.name) :]
        self.written[key] = (definition, text)
        return name

    def _fresh_name(self, definition: Definition, signature: Signature) -> str:
        """A name for one way in which a definition is decided: after its only decision, else with a number."""
        stem = definition.name
        candidates: list[str] = []
        if len(signature) == 1:
            ((key, _, value),) = signature
            records = [site.record for site in self.trace.sites.get(key, ()) if site.record is not None]
            if isinstance(value, str) and records:
                step = self.space.choices[records[0].index].name.rpartition(".")[2].partition("#")[0]
                word = value if not value[:1].isdigit() else f"{step}{value}"
                candidates += [f"{stem}_{word}"] if re.fullmatch(r"\w+", word) else []
        candidates += [f"{stem}_{number}" for number in range(1, len(self.taken_names) + 2)]
        name = next(c for c in candidates if c not in self.taken_names)
        self.taken_names.add(name)
        return name

    def _put_in_place(
        self, node: syntax.Name | syntax.Call, events: Sequence[Called], context: Context
    ) -> Piece | None:
        """The candidate of an operation that is but a choice, in place of its use; None where it doesn't fit there."""
        definition = events[0].target.definition
        assert definition is not None
        define = definition.syntax
        if (
            define.kind != "op"
            or isinstance(define.body, tuple)
            or any(_is_input(p) for p in define.parameters)
        ):
            return None
        inside = Context(frozenset(id(event.target) for event in events), exact=True)
        body: syntax.Expression = define.body
        while isinstance(body, syntax.IfExpression):
            taken = self._outcome(body.condition, inside)
            if taken is None:
                return None
            body = body.then if taken else body.otherwise
        if isinstance(body, syntax.Alternatives) or (
            isinstance(body, syntax.Choose) and body.quantity is None
        ):
            sites: list[Site] = self._events(self.trace.sites, key_of(body.span), inside)
            if not sites or any(self._decision(site) is None for site in sites):
                return None
        elif not isinstance(body, syntax.Name | syntax.Call):
            return None
        words = self._settings(node, events, define, context)
        if words is None or not self._reads_alike(body, define, events):
            return None
        piece = self._render(body, replace(inside, words=words))
        if piece.kind == "same":
            piece = Piece(piece.text, _kind(body))
        if piece.kind == "loose":
            return None
        tensors = events[0].target.tensors
        if not tensors:
            return piece
        given = [self._render(tensor, context).text for tensor in tensors]
        if piece.kind == "pipe":
            return Piece(f"{_stage(given[0])} -> {piece.text}", "pipe") if len(given) == 1 else None
        return Piece(f"{piece.text}({', '.join(given)})", "atom")

    def _settings(
        self, node: syntax.Expression, events: Sequence[Called], define: syntax.Define, context: Context
    ) -> dict[str, str] | None:
        """The text of each setting; None where one holds a choice, which would be made once for each mention."""
        words: dict[str, str] = {}
        given = events[0].target.given
        for parameter in define.parameters:
            value = given.get(parameter.name)
            if value is not None:
                text = self._render(value, context).text
                if context.words and (folded := self._folded(value, context)) is not None:
                    text = _value_text(folded)
            elif parameter.default is not None:
                value, text = parameter.default, parameter.default.span.text
            else:
                return None
            if _holds_choice(value, self.trace) and any(mark in text for mark in ("|", "choose")):
                return None
            words[parameter.name] = text
        return words

    def _reads_alike(self, body: syntax.Expression, define: syntax.Define, events: Sequence[Called]) -> bool:
        """Whether the names in a definition's body mean the same where it is used."""
        target = events[0].target
        assert target.definition is not None
        inner = {parameter.name for parameter in define.parameters}
        for name in _names(body):
            if name in inner:
                continue
            meant = _find(target.definition.names, name)
            if any(_find(event.target.names, name) is not meant for event in events):
                return False
        return True


# --- small things ---------------------------------------------------------------------------------

_OPERATORS: dict[str, Any] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else None,
    "//": lambda a, b: Fraction(a // b) if b else None,
    "%": lambda a, b: a % b if b else None,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
}


def _apart(texts: Sequence[str]) -> str:
    """Definitions with a line between them; after several, one before what follows."""
    return "\n\n".join(texts) + ("\n" if len(texts) > 1 else "")


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value)


def _kind(node: syntax.Node) -> Kind:
    match node:
        case syntax.Pipe():
            return "pipe"
        case (
            syntax.Name()
            | syntax.Number()
            | syntax.String()
            | syntax.Boolean()
            | syntax.Call()
            | syntax.List()
            | syntax.Index()
            | syntax.Rest()
            | syntax.Choose()
        ):
            return "atom"
    return "loose"


def _fitted(parent: syntax.Node, child: syntax.Node, piece: Piece) -> str:
    """A piece of text inside a node, in brackets where it would be read otherwise; the formatter drops needless ones."""
    if not isinstance(child, syntax.Expression) or isinstance(child, syntax.Comprehension):
        return piece.text
    if not isinstance(parent, syntax.Expression | syntax.Alternative | syntax.Define | syntax.Argument):
        return piece.text
    free = isinstance(parent, syntax.Define | syntax.Argument | syntax.List)
    if (
        piece.kind == "atom"
        or free
        or (piece.kind == "pipe" and isinstance(parent, syntax.Pipe | syntax.Alternative))
    ):
        return piece.text
    return f"({piece.text})"


def _stage(text: str) -> str:
    """A text as a stage of a pipe."""
    return text if re.fullmatch(r"[\w.]+(\[[^\[\]|]*\])?(\([^|]*\))?", text) else f"({text})"


def _is_input(parameter: syntax.Parameter) -> bool:
    if parameter.type is None:
        return parameter.default is None
    return parameter.type.dimensions is not None


def _walk(node: syntax.Node) -> Iterator[syntax.Node]:
    yield node
    for child in children(node):
        yield from _walk(child)


def _names(node: syntax.Node) -> set[str]:
    return {found.name for found in _walk(node) if isinstance(found, syntax.Name)}


def _holds_choice(node: syntax.Node, found: Trace) -> bool:
    del found
    return any(isinstance(inner, syntax.Alternatives | syntax.Choose) for inner in _walk(node))


def _counts(node: syntax.Node) -> list[syntax.Call]:
    """The ``count("label")`` in a condition, in the order of the text."""
    return [
        found
        for found in _walk(node)
        if isinstance(found, syntax.Call)
        and isinstance(found.function, syntax.Name)
        and found.function.name == "count"
        and len(found.arguments) == 1
        and isinstance(found.arguments[0].value, syntax.String)
    ]


def _find(names: Names | None, name: str) -> Any:
    while names is not None:
        if name in names.own:
            return names.own[name]
        names = names.outer
    return None


def tidy(text: str, path: str, before: Module, space: str) -> str:
    """The canonical layout, without definitions and imports that nothing uses any more."""
    from nasdsl.language.parser import parse

    while True:
        source = Source(path, text)
        tree = parse(source)
        cut = _unused(tree, before, space)
        if not cut:
            return format_file(tree, source)
        for start, end in sorted(cut, reverse=True):
            text = text[:start] + text[end:]


def _unused(tree: syntax.File, before: Module, space: str) -> list[tuple[int, int]]:
    """The places of definitions and imports that were used before and are not any more."""
    once = {node.name for item in before.tree.items for node in _walk(item) if isinstance(node, syntax.Name)}
    bodies: list[tuple[syntax.Define, set[str]]] = []
    used: set[str] = set()
    for item in tree.items:
        for node in item.body if isinstance(item, syntax.Space) else (item,):
            if isinstance(node, syntax.Define):
                bodies.append((node, _names(node)))
            else:
                used |= _names(node)
        if isinstance(item, syntax.Space):
            for parameter in item.parameters:
                used |= _names(parameter)
    for define, names in bodies:
        # Its own name in its own body is no use of it.
        used |= names - {define.name}
    found: list[tuple[int, int]] = []
    text = tree.span.source.text
    for define, _ in bodies:
        if define.name not in used and define.name in once:
            found.append((_with_comments(text, define.span.start), define.span.end))
    for statement in tree.imports:
        kept = [n for n in statement.names if (n.alias or n.name) in used or (n.alias or n.name) not in once]
        if len(kept) == len(statement.names):
            continue
        if not kept:
            end = statement.span.end
            found.append((statement.span.start, end + (text[end : end + 1] == "\n")))
            continue
        for name in statement.names:
            if name not in kept:
                start, end = name.span.start, name.span.end
                after = re.match(r"\s*,\s*", text[end:])
                ahead = re.search(r",\s*$", text[:start])
                if after is not None:
                    end += after.end()
                elif ahead is not None:
                    start = ahead.start()
                found.append((start, end))
                break
    del space
    return found


def _with_comments(text: str, start: int) -> int:
    """Where the comments right above a definition begin: they are about it."""
    begin = text.rfind("\n", 0, start) + 1
    while begin > 0:
        above = text.rfind("\n", 0, begin - 1) + 1
        line = text[above : begin - 1].strip()
        if not line.startswith("#") or above == 0:
            break
        begin = above
    return begin
