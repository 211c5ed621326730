"""The body of ``forward``: an architecture's steps as the lines that a person would write.

What is read once goes straight into the expression that reads it, as long as that stays short; what the author named
keeps its name; otherwise one variable is assigned again and again, as in ``x = self.stage(x)``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasdsl.exporting.blueprint import Plan, is_single
from nasdsl.exporting.holes import Path, is_activation, keywords
from nasdsl.exporting.layout import (
    INDENT,
    WIDTH,
    Bracket,
    Chain,
    Node,
    Parentheses,
    call,
    flat,
    listing,
    literal,
    statement,
)
from nasdsl.exporting.names import free, identifier
from nasdsl.exporting.parameters import Symbol, same
from nasdsl.exporting.shapes import ShapeWords
from nasdsl.exporting.sizes import write_size
from nasdsl.exporting.structure import Call, Item, Loop, Scan, Use, item_at
from nasdsl.operations.execute import is_torch
from nasdsl.space.size import Size

DEPTH = 3
"""How many calls stand inside each other at most."""

_SUM, _PRODUCT, _ATOM = 1, 2, 3
_PRECEDENCE = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT}


@dataclass(frozen=True)
class Expression:
    """Text that has not been put on a line yet, and the tensors whose variables it names."""

    node: Node
    refs: Counter[int] = field(default_factory=Counter)
    precedence: int = _ATOM
    depth: int = 0
    uses: bool = False
    """Whether it calls a class or function of the file."""

    def operand(self, least: int) -> Node:
        """It as an operand of an operator that binds at least so tightly."""
        return self.node if self.precedence >= least else Parentheses(self.node)


@dataclass
class Body:
    """What a forward consists of. ``stored`` are the parameters that the constructor has to keep for it."""

    lines: list[str]
    stored: set[str]


def write_body(plan: Plan, plan_of: Mapping[Use, Plan], words: ShapeWords, taken: frozenset[str]) -> Body:
    """The lines of ``forward``, or of the function. ``taken`` are names of the file that no variable may hide."""
    writer = _Writer(plan, plan_of, words, taken)
    writer.write()
    return Body(writer.lines, writer.stored)


class _Writer:
    def __init__(
        self, plan: Plan, plan_of: Mapping[Use, Plan], words: ShapeWords, taken: frozenset[str]
    ) -> None:
        self.plan = plan
        self.plan_of = plan_of
        self.words = words
        self.taken = set(taken)
        self.lines: list[str] = []
        self.stored: set[str] = set()
        self.indent = INDENT if plan.is_function else 2 * INDENT
        use = plan.pattern
        self.remaining: Counter[int] = Counter(use.makes)
        self.readers: dict[int, list[Item]] = {}
        self._count(use.items)
        self.scan_reads = {id for item in use.items if isinstance(item, Scan) for id in item.reads}
        self.variables: dict[int, str] = dict(zip(use.reads, plan.inputs, strict=True))
        self.pending: dict[int, Expression] = {}
        self.order: list[int] = []
        self.makers: dict[int, Item] = {}
        self.wanted = _wanted_names(plan, plan_of)
        self.breaks = self._breaks(use.items)
        self.given = set(plan.inputs)
        self.shown = self._shape(use.reads[0]) if use.reads and plan.kind != "space" else ""

    def _count(self, items: Sequence[Item]) -> None:
        for item in items:
            for id in self._reads(item):
                self.remaining[id] += 1
                self.readers.setdefault(id, []).append(item)
            if isinstance(item, Scan):
                self._count(item.items)
                body = item.step.body
                assert body is not None
                for id in {body.output, *body.new_states}:
                    self.remaining[id] += 1

    def _breaks(self, items: Sequence[Item]) -> set[int]:
        """Where to cut a long row of calls that are read by one another only, so that no line holds many of them."""
        position: dict[int, int] = {}
        rows: list[list[int]] = []
        for item in items:
            if isinstance(item, Scan) or len(item.makes) != 1:
                continue
            (id,) = item.makes
            before = [
                i for i in item.reads if i in position and self.remaining[i] == 1 and not self._is_named(i)
            ]
            if isinstance(item, Call) and item.call is not None and item.call.kind == "operator":
                continue
            if isinstance(item, Loop) and not item.is_chain:
                continue
            if self.plan.kind == "space" and not isinstance(item, Call):
                # The top of the network has a line for each of its parts.
                continue
            if len(before) == 1 and len(item.reads) == 1:
                position[id] = position[before[0]]
                rows[position[id]].append(id)
            else:
                position[id] = len(rows)
                rows.append([id])
        return {row[i - 1] for row in rows for i in _cuts(len(row))}

    @staticmethod
    def _reads(item: Item) -> tuple[int, ...]:
        # What a scan's body reads is counted there.
        return item.reads[:1] if isinstance(item, Scan) else item.reads

    # --- lines ----------------------------------------------------------------------------------

    def write(self) -> None:
        use = self.plan.pattern
        self._items(use.items, ())
        results = [self._take(id) for id in use.makes]
        node = results[0].node if len(results) == 1 else _tuple([r.node for r in results])
        self._line("return ", node, results)

    def _items(self, items: Sequence[Item], path: Path) -> None:
        for index, item in enumerate(items):
            self._item(item, (*path, index))

    def _item(self, item: Item, path: Path) -> None:
        for id in item.makes:
            self.makers[id] = item
        if isinstance(item, Call):
            self._keep(item.step.id, self._call(item, path))
        elif isinstance(item, Use):
            self._use(item, self._use_call(item, path))
        elif isinstance(item, Loop):
            self._loop(item, path)
        else:
            self._scan(item, path)

    def _line(self, prefix: str, node: Node, parts: Sequence[Expression], comment: str = "") -> None:
        for part in parts:
            self.remaining -= part.refs
        self.lines += statement(self.indent, prefix, node, comment)

    def _keep(self, id: int, expression: Expression) -> None:
        """Holds an expression until it is read, or gives it a variable where it is read more than once."""
        self.pending[id] = expression
        self.order.append(id)
        if self.remaining[id] != 1 or self._is_named(id) or id in self.scan_reads or id in self.breaks:
            self._bind(id)

    def _is_named(self, id: int) -> bool:
        """Whether the tensor has a name in this body, and is not simply returned."""
        return id in self.wanted and id not in self.plan.pattern.makes

    def _bind(self, id: int) -> None:
        """Gives a pending expression a variable."""
        expression = self.pending.pop(id)
        self.order.remove(id)
        # The reads of this line are over before its variable is assigned.
        self.remaining -= expression.refs
        name = self._variable(id, expression)
        self.remaining += expression.refs
        self._line(f"{name} = ", expression.node, [expression], self._comment(id))
        self._assign(id, name)

    def _assign(self, id: int, name: str) -> None:
        self.variables = {other: held for other, held in self.variables.items() if held != name}
        self.variables[id] = name

    def _live(self) -> set[str]:
        """The variables that are still needed."""
        return {name for id, name in self.variables.items() if self.remaining[id] > 0}

    def _variable(self, id: int, expression: Expression | None) -> str:
        live = self._live() | self.taken
        wanted = self.wanted.get(id)
        if wanted is not None:
            return free(wanted, live)
        if expression is not None:
            # Go on with the variable that this one is made from.
            for source in expression.refs:
                name = self.variables[source]
                if name not in live and source not in self.wanted and name in ("x", "y"):
                    return name
        if "x" not in live | self.given:
            return "x"
        # On the way to a tensor with a name it is that one in the making.
        onward = self._onward(id)
        if onward is not None and onward not in live:
            return onward
        item = self.makers[id]
        spare = live | self.given | set(self.wanted.values())
        if "y" not in spare and not isinstance(item, Use):
            return "y"
        # Numbered like the attribute that made it.
        return free(self.plan.attributes.get(item.keys) or _word(item), live | self.given)

    def _onward(self, id: int) -> str | None:
        """The author's name for what a tensor ends up in, where it is read once on every step of the way there."""
        while len(self.readers.get(id, ())) == 1 and len(self.readers[id][0].makes) == 1:
            (id,) = self.readers[id][0].makes
            if id in self.wanted:
                return self.wanted[id]
        return None

    def _comment(self, id: int) -> str:
        shape = self._shape(id)
        if shape == self.shown:
            return ""
        self.shown = shape
        return shape

    def _shape(self, id: int) -> str:
        return self.words.shape(id)

    # --- expressions ------------------------------------------------------------------------------

    def _take(self, id: int) -> Expression:
        """What is read: the pending expression, or the variable."""
        if id in self.pending:
            self.order.remove(id)
            return self.pending.pop(id)
        return Expression(self.variables[id], Counter([id]))

    def _arguments(self, item: Item, ids: Sequence[int], limit: int) -> list[Expression]:
        """What a call is given; what would nest too deeply gets a variable first."""
        within = self.plan.kind == "space" and not isinstance(item, Call)
        while True:
            pending = [id for id in self.order if id in ids]
            deep = [
                id
                for id in pending
                if self.pending[id].depth >= limit
                or (within and self.pending[id].depth > 0)
                or (self.plan.kind == "space" and limit < WIDTH and self.pending[id].uses)
            ]
            if not deep:
                break
            self._bind(deep[0])
        return [self._take(id) for id in ids]

    def _as_variable(self, id: int) -> str:
        if id in self.pending:
            self._bind(id)
        return self.variables[id]

    def _shortened(self, item: Item, ids: Sequence[int], make: Any, limit: int = DEPTH) -> Expression:
        """The expression that ``make`` makes of the arguments, on one line if variables can bring that about."""
        while True:
            pending = {id: self.pending[id] for id in ids if id in self.pending and self.pending[id].depth}
            trial: Expression = make(
                [self.pending.get(id) or Expression(self.variables[id], Counter([id])) for id in ids]
            )
            name = self.wanted.get(item.makes[0]) or self.plan.attributes.get(item.keys, "")
            room = WIDTH - self.indent - max(len("return "), len(f"{name} = "))
            # A long row of operands may be broken, two may not: formatters would break the last call instead.
            long_row = isinstance(trial.node, Chain) and len(trial.node.operators) > 1
            if not pending or len(flat(trial.node)) <= room or long_row:
                arguments = self._arguments(item, ids, limit)
                made: Expression = make(arguments)
                return made
            self._bind(max(pending, key=lambda id: len(flat(pending[id].node))))

    def _call(self, item: Call, path: Path) -> Expression:
        if item.call is None:
            return self._zeros(item, path)
        if item.call.kind == "operator":
            return self._shortened(
                item, item.step.inputs, lambda given: self._operator(item, path, given), WIDTH
            )
        return self._shortened(item, item.step.inputs, lambda given: self._applied(item, path, given))

    def _applied(self, item: Call, path: Path, given: Sequence[Expression]) -> Expression:
        call_ = item.call
        assert call_ is not None
        refs, depth = _joined(given), 1 + max((e.depth for e in given), default=0)
        uses = any(e.uses for e in given)
        nodes: list[Node] = [e.node for e in given]
        if call_.kind == "module":
            return Expression(
                call(f"self.{self.plan.attributes[item.keys]}", *nodes), refs, depth=depth, uses=uses
            )
        settings = self._settings(item, path)
        if call_.kind == "method":
            receiver = given[0].operand(_ATOM)
            text = Bracket(f"{flat(receiver)}.{call_.target}", (*nodes[1:], *settings))
            return Expression(text, refs, depth=depth, uses=uses)
        if call_.listed:
            nodes = [Bracket("", tuple(nodes), "[]")]
        if item.borrows is not None:
            nodes.append(self._borrowed(item))
        name = call_.target if is_torch(call_.target) else call_.target.rpartition(".")[2]
        if is_activation(item):
            name = literal(self._value((path, "target"), Symbol(name)))
        return Expression(call(name, *nodes, *settings), refs, depth=depth, uses=uses)

    def _operator(self, item: Call, path: Path, given: Sequence[Expression]) -> Expression:
        call_ = item.call
        assert call_ is not None
        level = _PRECEDENCE[call_.target]
        refs, depth = _joined(given), max(1, *(e.depth for e in given))
        uses = any(e.uses for e in given)
        if call_.number_at is not None:
            number = literal(self._value((path, 0)))
            if "/" in number or number.startswith("-") or not number.replace(".", "").isalnum():
                number = f"({number})"
            left = call_.number_at == "left"
            x = given[0].operand(level + 1 if left else level)
            operands = (number, x) if left else (x, number)
            return Expression(Chain(operands, (call_.target,)), refs, level, depth, uses)
        if len(given) == 1:
            return given[0]
        # Sums are made from the left, in this order: brackets anywhere else would change the last digit.
        nodes = [given[0].operand(level), *(e.operand(level + 1) for e in given[1:])]
        return Expression(_chain(nodes, call_.target, given[0].precedence == level), refs, level, depth, uses)

    def _zeros(self, item: Call, path: Path) -> Expression:
        (source,) = item.step.inputs
        name = self._as_variable(source)
        given, wanted = item.step.instance.inputs[0], item.step.shape
        if given == wanted:
            return Expression(call("torch.zeros_like", name), Counter([source]), depth=1)
        sizes: list[Node] = [f"{name}.shape[0]"]
        for axis, dim in enumerate(wanted.dims):
            if isinstance(dim, Size):
                sizes.append(write_size(dim, name, given.dims))
            else:
                sizes.append(literal(self._value((path, axis))))
        if given.dtype == "float":
            return Expression(call(f"{name}.new_zeros", *sizes), Counter([source]), depth=1)
        return Expression(call("torch.zeros", *sizes, f"device={name}.device"), Counter([source]), depth=1)

    def _borrowed(self, item: Call) -> Node:
        return f"self.{self.plan.borrowed[item.step.id]}.{item.borrows}"

    def _settings(self, item: Call, path: Path) -> list[Node]:
        """What a function is given besides tensors."""
        calls = [
            other.call
            for use in self.plan.uses
            for other in [item_at(use.items, path)]
            if other.call is not None
        ]
        assert item.call is not None
        nodes: list[Node] = []
        for position, value in enumerate(item.call.args):
            if (path, (position, 0)) in self.plan.values:
                nodes.append(
                    literal(tuple(self._value((path, (position, axis))) for axis in range(len(value))))
                )
            else:
                nodes.append(literal(self._value((path, position), value)))
        for name in keywords(calls):
            nodes.append(f"{name}={literal(self._value((path, name), item.call.kwargs.get(name)))}")
        return nodes

    def _value(self, slot: Any, otherwise: Any = None) -> Any:
        """What stands for a number: in a method the parameters are attributes."""
        value = self.plan.values.get(slot, otherwise)
        if not isinstance(value, Symbol) or self.plan.is_function:
            return value
        names = {parameter.name for parameter in self.plan.parameters}

        def stored(match: re.Match[str]) -> str:
            if match[0] not in names:
                return match[0]
            self.stored.add(match[0])
            return f"self.{match[0]}"

        return Symbol(re.sub(r"[A-Za-z_]\w*", stored, value))

    # --- uses -----------------------------------------------------------------------------------

    def _use_call(self, use: Use, path: Path) -> Expression:
        plan = self.plan_of[use]
        settings: list[Node] = []
        if plan.is_function:
            head = plan.name
            settings = self._function_settings(plan, path)
        else:
            head = f"self.{self.plan.attributes[use.keys]}"

        def make(given: Sequence[Expression]) -> Expression:
            depth = 1 + max((e.depth for e in given), default=0)
            return Expression(
                call(head, *(e.node for e in given), *settings), _joined(given), depth=depth, uses=True
            )

        return self._shortened(use, use.reads, make)

    def _function_settings(
        self, plan: Plan, path: Path, turns: Mapping[int, str] | None = None
    ) -> list[Node]:
        """What a function is given besides tensors; ``turns`` are those that a loop's variables hold."""
        settings: list[Node] = []
        for position, parameter in enumerate(plan.parameters):
            if turns is not None and position in turns:
                settings.append(f"{parameter.name}={turns[position]}")
                continue
            value = self._value((path, (None, position)))
            if parameter.default is None or not same(value, parameter.default):
                settings.append(f"{parameter.name}={literal(value)}")
        return settings

    def _use(self, use: Use, expression: Expression) -> None:
        if len(use.makes) == 1:
            self._keep(use.makes[0], expression)
            return
        self.remaining -= expression.refs
        names: list[str] = []
        for id in use.makes:
            named = self.words.name(id)
            if named is not None:
                self.wanted.setdefault(id, identifier(named))
            name = self._variable(id, None)
            self._assign(id, name)
            names.append(name)
        self.remaining += expression.refs
        self._line(f"{', '.join(names)} = ", expression.node, [expression])

    def _loop(self, loop: Loop, path: Path) -> None:
        if loop.is_chain and loop.keys:
            head = f"self.{self.plan.attributes[loop.keys]}"

            def make(given: Sequence[Expression]) -> Expression:
                return Expression(
                    call(head, given[0].node), _joined(given), depth=1 + given[0].depth, uses=True
                )

            self._keep(loop.makes[0], self._shortened(loop, loop.reads, make))
        elif loop.is_chain:
            self._function_loop(loop, path)
        else:
            self._module_loop(loop)

    def _function_loop(self, loop: Loop, path: Path) -> None:
        """``for _ in range(3): x = f(x)``."""
        plan = self.plan_of[loop.uses[0]]
        keys: list[Any] = [key for place, key in self.plan.values if place == path]
        listed: tuple[int, ...] = next((key[1] for key in keys if key[0] == "list"), ())
        turns = {position: plan.parameters[position].name for position in listed}
        settings = self._function_settings(plan, path, turns)
        if is_single(self.plan, loop):
            expression = self._shortened(
                loop,
                loop.reads,
                lambda given: Expression(
                    call(plan.name, given[0].node, *settings),
                    _joined(given),
                    depth=1 + given[0].depth,
                    uses=True,
                ),
            )
            self._keep(loop.makes[0], expression)
            return
        name = self._start(loop)[0]
        if listed:
            targets = ", ".join(turns.values())
            rows = self._value((path, ("list", listed)))
            self._for(f"for {targets} in ", rows if isinstance(rows, Symbol) else listing(rows))
        else:
            self._for("for _ in ", f"range({literal(self._value((path, 'count')))})")
        self.lines += statement(self.indent + INDENT, f"{name} = ", call(plan.name, name, *settings))
        self._assign(loop.makes[0], name)

    def _for(self, head: str, source: Node) -> None:
        lines = statement(self.indent, head, source)
        lines[-1] += ":"
        self.lines += lines

    def _start(self, loop: Loop) -> list[str]:
        """The variables of a loop, holding what its first turn is given."""
        plan = self.plan_of[loop.uses[0]]
        starts = [self._as_variable(id) for id in loop.reads]
        for id in loop.reads:
            self.remaining[id] -= 1
        names: list[str] = []
        for wanted in plan.inputs:
            names.append(free(wanted, self._live() | self.taken | set(names)))
        moved = [(name, start) for name, start in zip(names, starts, strict=True) if start != name]
        if moved:
            targets, values = zip(*moved, strict=True)
            if len(set(values)) == 1:
                self.lines.append(f"{' ' * self.indent}{' = '.join(targets)} = {values[0]}")
            else:
                self.lines.append(f"{' ' * self.indent}{', '.join(targets)} = {', '.join(values)}")
        return names

    def _module_loop(self, loop: Loop) -> None:
        """``for cell in self.cells: prev, cur = cur, cell(prev, cur)``."""
        names = self._start(loop)
        attribute = self.plan.attributes[loop.keys]
        definitions = {use.definition for use in loop.uses}
        turn = free(
            identifier(definitions.pop(), "layer") if len(definitions) == 1 else "cell",
            {*names, *self._live(), *self.taken},
        )
        self._for(f"for {turn} in ", f"self.{attribute}")
        made = call(turn, *names)
        outs = len(loop.uses[0].makes)
        inner = self.indent + INDENT
        if outs == 1:
            nodes: list[Node] = [made if source == "out" else names[i] for source, i in loop.turn]
        else:
            results = [free(f"out_{i}", {*names, *self._live(), *self.taken}) for i in range(outs)]
            self.lines += statement(inner, f"{', '.join(results)} = ", made)
            nodes = [results[i] if source == "out" else names[i] for source, i in loop.turn]
        moved = [(n, node) for n, node in zip(names, nodes, strict=True) if node != n]
        targets = ", ".join(n for n, _ in moved)
        value = moved[0][1] if len(moved) == 1 else _tuple([node for _, node in moved])
        self.lines += statement(inner, f"{targets} = ", value)
        for id, name in zip(loop.after(), names, strict=True):
            if self.remaining[id] > 0:
                self._assign(id, name)

    # --- scans ----------------------------------------------------------------------------------

    def _scan(self, scan: Scan, path: Path) -> None:
        """A loop over axis 1 of the sequence, its states starting at zeros."""
        body = scan.step.body
        assert body is not None
        sequence = self._as_variable(scan.reads[0])
        for id in scan.outer:
            self._as_variable(id)
        kept = {sequence, *(self.variables[id] for id in scan.outer)}
        states = self._state_names(scan, self._live() | self.taken | kept)
        is_float = scan.step.instance.inputs[0].dtype == "float"
        shapes = {step.id: step.shape for step in body.steps}
        for number, (id, name) in enumerate(zip(body.states, states, strict=True)):
            rank = len(shapes[id].dims)
            sizes = [
                f"{sequence}.shape[0]",
                *(literal(self._value((path, (number, a)))) for a in range(rank)),
            ]
            make = call(f"{sequence}.new_zeros", *sizes)
            if not is_float:
                make = call("torch.zeros", *sizes, f"device={sequence}.device")
            self.lines += statement(self.indent, f"{name} = ", make, self._shape(id))
            self._assign(id, name)
        self.given |= set(states)
        live = self._live() | self.taken | self.given | kept | set(states)
        outputs = free("outputs", live)
        index = free("t", live | {outputs})
        # What the next turn reads must not be overwritten in this one.
        kept |= {outputs, index}
        added = kept - self.taken
        self.taken |= added
        self.lines.append(f"{' ' * self.indent}{outputs} = []")
        self._for(f"for {index} in ", f"range({sequence}.shape[1])")
        self.indent += INDENT
        shown, self.shown = self.shown, ""
        self._scan_body(scan, path, dict(zip(body.states, states, strict=True)), sequence, outputs, index)
        self.shown = shown
        self.indent -= INDENT
        self.taken -= added
        for id in body.states:
            self.variables.pop(id, None)
        self.pending[scan.step.id] = Expression(
            call("torch.stack", outputs, "1"), Counter([scan.reads[0]]), depth=1
        )
        self.order.append(scan.step.id)
        self._bind(scan.step.id)

    def _scan_body(
        self, scan: Scan, path: Path, states: Mapping[int, str], sequence: str, outputs: str, index: str
    ) -> None:
        body = scan.step.body
        assert body is not None
        for old, new in zip(body.states, body.new_states, strict=True):
            # A new state takes the variable of the old one, if nothing reads that any more.
            if new not in states:
                self.wanted[new] = states[old]
        self.makers[body.element] = scan
        if self.remaining[body.element]:
            self.pending[body.element] = Expression(f"{sequence}[:, {index}]")
            self.order.append(body.element)
            if self.remaining[body.element] > 1:
                self.wanted[body.element] = "element"
                self._bind(body.element)
        self._items(scan.items, path)
        if body.output in body.new_states:
            self._next_states(scan, states)
            last = states[body.states[body.new_states.index(body.output)]]
            self.lines.append(f"{' ' * self.indent}{outputs}.append({last})")
        else:
            result = self._take(body.output)
            self._line("", call(f"{outputs}.append", result.node), [result])
            self._next_states(scan, states)

    def _next_states(self, scan: Scan, states: Mapping[int, str]) -> None:
        body = scan.step.body
        assert body is not None
        changed = [
            (states[old], self._take(new)) for old, new in zip(body.states, body.new_states, strict=True)
        ]
        for name, expression in changed:
            if expression.node == name:
                self.remaining -= expression.refs
        changed = [(name, expression) for name, expression in changed if expression.node != name]
        if not changed:
            return
        nodes = [expression.node for _, expression in changed]
        node = nodes[0] if len(nodes) == 1 else _tuple(nodes)
        self._line(f"{', '.join(name for name, _ in changed)} = ", node, [e for _, e in changed])

    def _state_names(self, scan: Scan, live: set[str]) -> list[str]:
        """The states are called what the cell that is run calls them."""
        body = scan.step.body
        assert body is not None
        names: list[str] = []
        for number, id in enumerate(body.states):
            wanted = "h" if len(body.states) == 1 else f"h{number}"
            for item in scan.items:
                if isinstance(item, Use) and id in item.reads:
                    wanted = self.plan_of[item].inputs[item.reads.index(id)]
            names.append(free(wanted, live | set(names)))
        return names


def _wanted_names(plan: Plan, plan_of: Mapping[Use, Plan]) -> dict[int, str]:
    """The author's names for the tensors of a body, and those that a loop gives to what it starts from.

    A name that only some uses of the class have says nothing of the others: what is `sep_conv_7x7` in one may be
    `sep_conv_5x5` in another.
    """
    items = plan.pattern.items
    labelled: Counter[str] = Counter()
    found: dict[int, str] = {}
    common = [
        item
        for item, others in zip(items, zip(*(use.items for use in plan.uses), strict=True), strict=True)
        if len({_label(other) for other in others}) == 1
    ]
    for item in common:
        if isinstance(item, Call) and item.step.name is not None:
            found[item.step.id] = identifier(item.step.name)
    assigned = [item for item in common if _assigned(item) and item.makes[0] not in found]
    names = [identifier(str(item.label)) for item in assigned]
    held = set(found.values())
    for item, name in zip(assigned, names, strict=True):
        if name in held:
            # It is on the way to the tensor of that name.
            continue
        if names.count(name) == 1:
            found[item.makes[0]] = name
        else:
            # The elements of a list that was written out: n = [f(a), f(b)].
            found[item.makes[0]] = f"{name}{labelled[name]}"
            labelled[name] += 1
    made = {id for item in items for id in item.makes}
    for item in items:
        if isinstance(item, Loop) and not item.is_chain:
            for name, id in zip(plan_of[item.uses[0]].inputs, item.reads, strict=True):
                if id in made:
                    found.setdefault(id, name)
    return found


def _label(item: Item) -> str | None:
    return item.step.name if isinstance(item, Call) else item.label


def _assigned(item: Item) -> bool:
    """Whether an item's label is the author's name for its result, and no candidate's number."""
    return item.assigned and item.label is not None and len(item.makes) == 1 and item.label[0].isalpha()


def _word(item: Item) -> str:
    if isinstance(item, Call):
        return identifier(item.step.operation)
    if isinstance(item, Use):
        return identifier(item.definition)
    return "y"


def _cuts(length: int) -> list[int]:
    """Where a row of calls is cut into lines of about the same length.

    >>> _cuts(3), _cuts(4), _cuts(5), _cuts(7)
    ([], [2], [3], [3, 5])
    """
    lines = -(-length // DEPTH)
    short, longer = divmod(length, lines) if lines else (0, 0)
    ends = [(i + 1) * short + min(i + 1, longer) for i in range(lines)]
    return ends[:-1]


def _joined(given: Sequence[Expression]) -> Counter[int]:
    return sum((e.refs for e in given), Counter())


def _tuple(nodes: Sequence[Node]) -> Node:
    return (
        Bracket("", tuple(nodes), "()")
        if sum(len(flat(n)) + 2 for n in nodes) > 80
        else ", ".join(map(flat, nodes))
    )


def _chain(nodes: Sequence[Node], operator: str, joins: bool) -> Chain:
    """``a + b`` and ``c`` are ``a + b + c``, where both bind as tightly."""
    first, *others = nodes
    joined = isinstance(first, Chain) and joins
    operands: list[Node] = list(first.operands) if isinstance(first, Chain) and joined else [first]
    operators: list[str] = list(first.operators) if isinstance(first, Chain) and joined else []
    for node in others:
        operands.append(node)
        operators.append(operator)
    return Chain(tuple(operands), tuple(operators))
