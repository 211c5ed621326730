"""The text of a `.nas` file from modules and their definitions: pipes, names where a tensor is read twice, repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from nasdsl.language.tokens import KEYWORDS
from nasdsl.lifting.call import ARITHMETIC, SUM, Call, Setting
from nasdsl.lifting.definitions import Definition, Key, default_of, free_name, numbers, snake_case
from nasdsl.lifting.scopes import Scope
from nasdsl.space.operation import Catalogue

LONG = 90
"""A pipe longer than this gets a line for each step of the module's own structure."""

RESERVED = frozenset({*KEYWORDS, "repeat", "chain", "scan", "unused", "len", "min", "round", "count"})
"""Words that name something else in a file."""


def write(
    root: Scope,
    definitions: Mapping[Scope, Definition],
    catalogue: Catalogue,
    *,
    name: str,
    head: str,
    free: Mapping[int, str],
) -> str:
    """The file, yet to be formatted. ``free`` names the sizes of inputs that stay free."""
    texts = [_operation(d, definitions, catalogue) for d in dict.fromkeys(definitions.values())]
    body = _Body(root, definitions, catalogue, {}, frozenset())
    lines = [
        f"  input {body.names[call]}: {'int' if call.whole_numbers else ''}[{', '.join(_size(d, free) for d in call.shape)}]"
        for call in root.inputs
    ]
    classes = _classes(root)
    parameters = ""
    if classes is not None:
        parameters = f"(classes = {classes})"
        body.words[_place_of(root, root.outputs[0]), "features", 0] = "classes"
    statements = body.statements()
    lines += [*body.operations, ""] if body.operations else []
    lines += [f"  {line}" for line in statements]
    texts.append(f"space {name}{parameters} {{\n" + "\n".join(lines) + "\n}")
    comment = "".join(f"# {line}\n" for line in head.splitlines())
    return comment + "\n\n".join(texts) + "\n"


def _size(size: int, free: Mapping[int, str]) -> str:
    return free.get(size, str(size))


def _classes(root: Scope) -> int | None:
    """What the network's last layer gives, where that is a vector of a dense layer."""
    last = root.outputs[0]
    plain = len(root.outputs) == 1 and last.operation == "linear" and len(last.shape) == 1
    return last.shape[0] if plain and last in root.items else None


def _place_of(scope: Scope, call: Call) -> int:
    return next(i for i, item in enumerate(scope.items) if item is call)


def _operation(definition: Definition, found: Mapping[Scope, Definition], catalogue: Catalogue) -> str:
    scope = definition.body
    body = _Body(
        scope, found, catalogue, definition.words, frozenset(definition.parameters), definition.dimensions
    )
    defaults = definition.defaults
    settings = [
        f"{name} = {defaults[name]}" if name in defaults else f"{name}: int"
        for name in definition.settings(scope)
    ]
    if body.point_free:
        head = f"op {definition.name}" + (f"({', '.join(settings)})" if settings else "")
        return f"{head} = {body.steps_alone(scope.outputs[0])}"
    inputs = list(body.inputs)
    if definition.dimensions is not None:
        inputs[0] += f": [{', '.join(definition.dimensions)}]"
    head = f"op {definition.name}({', '.join([*inputs, *settings])})"
    lines = body.statements()
    if len(lines) == 1:
        return f"{head} = {lines[0].removeprefix('return ')}"
    return f"{head} {{\n" + "\n".join(f"  {line}" for line in lines) + "\n}"


class _Body:
    """One body under way: which tensors have names, and how each is written."""

    def __init__(
        self,
        scope: Scope,
        definitions: Mapping[Scope, Definition],
        catalogue: Catalogue,
        words: Mapping[Key, str],
        parameters: frozenset[str],
        dimensions: tuple[str, ...] | None = None,
    ) -> None:
        self.scope = scope
        self.definitions = definitions
        self.catalogue = catalogue
        self.words = dict(words)
        self.made: dict[Call, tuple[int, Call | Scope]] = {}
        for i, item in enumerate(scope.items):
            self.made[item.outputs[0] if isinstance(item, Scope) else item] = (i, item)
        self.reads: dict[Call, int] = {}
        for item in scope.items:
            for x in item.inputs:
                self.reads[x] = self.reads.get(x, 0) + 1
        for x in scope.outputs:
            self.reads[x] = self.reads.get(x, 0) + 1
        self.taken = {*RESERVED, *parameters, *(d.name for d in definitions.values()), *catalogue}
        self.taken |= set(dimensions or ())
        self.names: dict[Call, str] = {}
        self.operations: list[str] = []
        self.inputs = [
            self._name(x, (x.name if scope.place is None and x.name not in RESERVED else None) or "x")
            for x in scope.inputs
        ]
        chain = self.pipe(scope.outputs[0]) if len(scope.inputs) == 1 and scope.place is not None else None
        names_input = dimensions is not None
        self.point_free = chain is not None and chain[0] is scope.inputs[0] and not names_input

    # --- statements ------------------------------------------------------------------------------

    def statements(self) -> list[str]:
        lines = []
        for call in self._named():
            text = self._expression(call)
            lines.append(f"{self._name(call, self._wish(call))} = {text}")
        results = [self.names.get(x) or self._expression(x) for x in self.scope.outputs]
        return [*lines, f"return {', '.join(results)}"]

    def _named(self) -> list[Call]:
        """The tensors that get a name: read twice, or the longer operand of something that is no pipe."""
        found: dict[Call, None] = {}
        for call, (_, item) in self.made.items():
            operands = list(item.inputs) if self._between(item) or len(item.inputs) > 1 else []
            for x in operands:
                if x in self.made and len(self.pipe(x)[1]) > 1 and not self._residual(call, item, x):
                    found.setdefault(x)
            if self.reads.get(call, 0) > 1:
                found.setdefault(call)
        return [call for call in self.made if call in found]

    def _residual(self, call: Call, item: Call | Scope, x: Call) -> bool:
        """Whether an operand reads well where it is added: `y + (y -> layernorm -> linear(D))`, as a result by itself."""
        start, steps = self.pipe(x)
        alone = self.reads[call] > 1 or call in self.scope.outputs
        beside = isinstance(item, Call) and item.operation == SUM and item.inputs[0] is start
        short = sum(len(step) + 4 for step in steps) <= LONG
        return beside and alone and short and self.reads[x] == 1 and item.inputs[1] is x

    def _wish(self, call: Call) -> str:
        """The name that a tensor would like: of the part of the module that gives it, if that is one word."""
        _, item = self.made[call]
        _, _, items = self._walk(call)
        attributes = {self._attribute(i) for i in items}
        if len(attributes) == 1:
            (attribute,) = attributes
            name = snake_case(attribute)
            if attribute and not name[-1].isdigit() and name not in self.taken:
                return name
        if isinstance(item, Call) and item.operation == "sigmoid":
            return "gate"
        return next((name for name in "yzuvw" if name not in self.taken), "y")

    def _attribute(self, item: Call | Scope) -> str:
        """The attribute of the module at hand that an item stands in."""
        call = next(item.calls()) if isinstance(item, Scope) else item
        depth = 0
        if self.scope.place is not None:
            depth = call.path.index(self.scope.place) + 1 if self.scope.place in call.path else len(call.path)
        return call.path[depth].attribute if len(call.path) > depth else ""

    def _name(self, call: Call, wish: str) -> str:
        name = free_name(wish, lambda text: text not in self.taken)
        self.taken.add(name)
        self.names[call] = name
        return name

    # --- expressions -----------------------------------------------------------------------------

    def _between(self, item: Call | Scope) -> bool:
        return isinstance(item, Call) and item.operation in ARITHMETIC

    def pipe(self, call: Call) -> tuple[Call, list[str]]:
        """Where the pipe that ends in a tensor begins, and its steps."""
        start, steps, _ = self._walk(call)
        return start, steps

    def _walk(self, call: Call) -> tuple[Call, list[str], list[Call | Scope]]:
        steps: list[str] = []
        items: list[Call | Scope] = []
        while call in self.made and (not steps or (call not in self.names and self.reads.get(call, 0) < 2)):
            i, item = self.made[call]
            if self._between(item) or len(item.inputs) != 1 or self._takes_list(item):
                break
            steps.append(self._step(i, item))
            items.append(item)
            (call,) = item.inputs
        return call, steps[::-1], items[::-1]

    def _takes_list(self, item: Call | Scope) -> bool:
        return isinstance(item, Call) and item.operation == "concat"

    def _expression(self, call: Call) -> str:
        start, steps, items = self._walk(call)
        if not steps:
            return self._operand_of(call)
        head = self.names.get(start) or self._operand_of(start)
        bare = start in self.names
        if len(steps) == 1 and "(" not in steps[0]:
            return f"{steps[0]}({head})"
        parts, breaks = self._repeated(steps, items)
        return _joined([head if bare else f"({head})", *parts], [False, *breaks])

    def steps_alone(self, call: Call) -> str:
        """The pipe that ends in a tensor, without what it begins with."""
        _, steps, items = self._walk(call)
        return _joined(*self._repeated(steps, items))

    def _operand_of(self, call: Call) -> str:
        """What is no pipe: arithmetic, a concatenation, an operation of several tensors."""
        if call in self.names:
            return self.names[call]
        i, item = self.made[call]
        if isinstance(item, Call) and item.operation in ARITHMETIC:
            sign = ARITHMETIC[item.operation]
            given = [self._operand(x, item.operation, first=k == 0) for k, x in enumerate(item.inputs)]
            for side in ("left", "right"):
                if side in item.settings:
                    number = _number(item.settings[side])
                    given = [number, *given] if side == "left" else [*given, number]
            if sign == "*" and given[0] == "-1":
                return f"-{given[1]}"
            return f"{given[0]} {sign} {given[1]}"
        arguments = [self._argument(x) for x in item.inputs]
        if self._takes_list(item):
            arguments = [f"[{', '.join(arguments)}]"]
        step = self._step(i, item)
        name, _, rest = step.partition("(")
        settings = rest.removesuffix(")")
        return f"{name}({', '.join([*arguments, *([settings] if settings else [])])})"

    def _operand(self, call: Call, operation: str, *, first: bool) -> str:
        text = self.names.get(call) or self._expression(call)
        if call in self.names or call not in self.made:
            return text
        _, steps, _ = self._walk(call)
        if not steps:
            inner = self.made[call][1]
            loose = isinstance(inner, Call) and inner.operation in (SUM, "subtract")
            tight = operation in ("multiply", "divide") or (not first and operation == "subtract")
            return f"({text})" if (loose and tight) or (not first and self._between(inner)) else text
        return f"({text})" if "->" in text else text

    def _argument(self, call: Call) -> str:
        text = self.names.get(call) or self._expression(call)
        return text if "->" not in text else f"({text})"

    # --- steps -----------------------------------------------------------------------------------

    def _step(self, i: int, item: Call | Scope) -> str:
        said: dict[str, str] = {}
        for name, position, value in numbers(item, self.definitions):
            if name in ("left", "right"):
                continue
            word = self.words.get((i, name, position), _number(value))
            said[name] = f"{said[name]}, {word}" if name in said else word
        values: Mapping[str, Setting]
        if isinstance(item, Scope):
            definition = self.definitions[item]
            values = definition.settings(item)
            order = list(values)
            name = definition.name
        else:
            name, values = item.operation, item.settings
            order = [s.name for s in self.catalogue[name].settings if s.name in values]
        leader = order[0] if order else None
        order = [n for n in order if self._written(i, n, item, values[n])]
        texts = []
        for setting in order:
            value = values[setting]
            text = said.get(setting, "true" if value is True else "false")
            if isinstance(value, tuple):
                text = f"[{text}]"
            # The first setting is given by its place, the others by name.
            texts.append(text if setting == leader else f"{setting} = {text}")
        return f"{name}({', '.join(texts)})" if texts else name

    def _written(self, i: int, setting: str, item: Call | Scope, value: Setting) -> bool:
        if (i, setting, 0) in self.words:
            return True
        return default_of(item, setting, self.definitions, self.catalogue) != value

    def _repeated(self, steps: list[str], items: list[Call | Scope]) -> tuple[list[str], list[bool]]:
        """The steps with runs of equal ones as `repeat`, and which of them begin a line where the pipe is long."""
        parts: list[str] = []
        breaks: list[bool] = []
        i = 0
        while i < len(steps):
            width, count = _run(steps, items, i)
            breaks.append(_begins(items[i], items[i - 1] if i else None))
            if count == 1:
                parts.append(steps[i])
                i += 1
                continue
            if width == 1:
                parts.append(f"repeat({steps[i]}, {count})")
            else:
                name = free_name("block", lambda text: text not in self.taken)
                self.taken.add(name)
                group, _ = self._repeated(steps[i : i + width], items[i : i + width])
                self.operations.append(f"  op {name} = {' -> '.join(group)}")
                parts.append(f"repeat({name}, {count})")
            i += width * count
        return parts, breaks


def _joined(parts: Sequence[str], breaks: Sequence[bool]) -> str:
    """A pipe; where it is long, with a line for each part of the module's own structure."""
    if sum(len(part) + 4 for part in parts) <= LONG:
        return " -> ".join(parts)
    text = parts[0]
    for part, fresh in zip(parts[1:], breaks[1:], strict=True):
        text += f"\n    -> {part}" if fresh else f" -> {part}"
    return text


HEADS = frozenset({"global_avgpool", "global_maxpool", "mean_tokens", "flatten"})
"""Where the part of a network begins that decides."""


def _begins(item: Call | Scope, before: Call | Scope | None) -> bool:
    """Whether an item begins a line of a long pipe: what has weights and is no normalisation, and the head."""
    if isinstance(item, Scope) or item.operation in HEADS:
        return True
    follows = isinstance(before, Call) and before.operation in {*HEADS, "dropout"}
    return bool(item.weights) and item.operation not in NORMS and not follows


NORMS = frozenset({"batchnorm", "layernorm"})


def _run(steps: list[str], items: list[Call | Scope], start: int) -> tuple[int, int]:
    """The shortest group of steps that begins here and comes again right after itself, and how often."""
    for width in range(1, (len(steps) - start) // 2 + 1):
        group = steps[start : start + width]
        count = 1
        while steps[start + count * width : start + (count + 1) * width] == group:
            count += 1
        weighty = any(
            isinstance(item, Scope) or (item.weights and item.operation not in NORMS)
            for item in items[start : start + width]
        )
        if count > 1 and weighty:
            return width, count
    return 1, 1


def _number(value: Setting | Fraction) -> str:
    if isinstance(value, Fraction):
        from nasdsl.language.format import number_text

        return number_text(value)
    return str(value)
