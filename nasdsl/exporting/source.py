"""An architecture as a Python file that needs torch alone and reads as if a person had written it."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from nasdsl.exporting.blueprint import Blueprint, Plan, draw_blueprint, is_single
from nasdsl.exporting.forward import write_body
from nasdsl.exporting.holes import Path, keywords, walk
from nasdsl.exporting.layout import (
    INDENT,
    WIDTH,
    Bracket,
    Comprehension,
    Node,
    call,
    literal,
    statement,
)
from nasdsl.exporting.names import free
from nasdsl.exporting.parameters import Symbol, same
from nasdsl.exporting.shapes import ShapeWords
from nasdsl.exporting.structure import Call, Item, Key, Loop, Scan, Use, item_at
from nasdsl.operations.execute import EMBEDDED, is_torch, resolve
from nasdsl.space.architecture import Architecture
from nasdsl.space.choice import Taken
from nasdsl.space.operation import Catalogue

_LOAD_WEIGHTS = '''\
def load_weights(model: nn.Module, path: str) -> None:
    """Reads the weights of a safetensors file into the model."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path))
'''


def write_source(architecture: Architecture, catalogue: Catalogue) -> str:
    """The text of ``model.py``: a class for each ``op`` and ``cell`` that is used, the network's own last.

    The same architecture gives the same text. Raises NasError (N951 to N953) where there is nothing to write.
    """
    return write_blueprint(draw_blueprint(architecture, catalogue))


def write_blueprint(blueprint: Blueprint) -> str:
    """The text of the classes of a blueprint."""
    plans = blueprint.plans
    functions = frozenset(plan.name for plan in plans if plan.is_function)
    helpers = _helpers(plans)
    for plan in plans:
        plan.inputs = tuple(free(name, functions) for name in plan.inputs)
    blocks = [inspect.getsource(helper).rstrip() for helper in helpers.values()]
    blocks += ["\n".join(_definition(plan, blueprint, functions | frozenset(helpers))) for plan in plans]
    blocks.append(_LOAD_WEIGHTS.rstrip())
    code = "\n\n\n".join(blocks)
    return f"{_docstring(blueprint)}\n\n{_imports(code)}\n\n\n{code}\n"


# --- the head of the file ---------------------------------------------------------------------------


def _docstring(blueprint: Blueprint) -> str:
    architecture = blueprint.architecture
    text = f"""{architecture.name}: one network of the search space of that name."""
    genotype = _genotype(architecture.genotype)
    return f'"""{text}\n\nIts genotype:\n\n{genotype}\n"""'


def _genotype(genotype: Mapping[str, Taken]) -> str:
    if not genotype:
        return "    {}"
    entries = [
        f"    {json.dumps(n)}: {json.dumps(list(t) if isinstance(t, tuple) else t)}"
        for n, t in genotype.items()
    ]
    return textwrap.indent("{\n" + ",\n".join(entries) + "\n}", " " * INDENT).replace("\\", "\\\\")


def _imports(code: str) -> str:
    lines = ["from collections.abc import Callable", ""] if re.search(r"\bCallable\b", code) else []
    if re.search(r"\btorch\.", code):
        lines.append("import torch")
    if re.search(r"\bF\.", code):
        lines.append("import torch.nn.functional as F")
    lines.append("from torch import Tensor, nn" if re.search(r"\bTensor\b", code) else "from torch import nn")
    return "\n".join(lines)


def _helpers(plans: Sequence[Plan]) -> dict[str, Any]:
    """What torch doesn't have, by name."""
    found: dict[str, Any] = {}
    for plan in plans:
        for _, item in walk(plan.pattern.items):
            if isinstance(item, Call) and item.call is not None and item.call.kind in ("module", "function"):
                target = item.call.target
                if not is_torch(target):
                    found.setdefault(target.rpartition(".")[2], resolve(target))
    return found


# --- classes ----------------------------------------------------------------------------------------


def _definition(plan: Plan, blueprint: Blueprint, taken: frozenset[str]) -> list[str]:
    words = ShapeWords(plan, blueprint.structure)
    body = write_body(plan, blueprint.plan_of, words, taken)
    signature = _signature(plan, words)
    if plan.is_function:
        return [*signature, *_doc(plan, INDENT), *body.lines]
    lines = [f"class {plan.name}(nn.Module):", *_doc(plan, INDENT)]
    if len(lines) > 1:
        lines.append("")
    if plan.pattern.keys:
        lines += [*_constructor(plan, blueprint, body.stored), ""]
    return [*lines, *signature, *body.lines]


def _doc(plan: Plan, indent: int) -> list[str]:
    if not plan.doc:
        return []
    text = " ".join(plan.doc.split()).replace("\\", "\\\\").replace('"""', "'''")
    if text.endswith('"'):
        text += " "
    margin = " " * indent
    if indent + len(text) + 6 <= WIDTH:
        return [f'{margin}"""{text}"""']
    wrapped = textwrap.wrap(text, WIDTH - indent - 6)
    return [f'{margin}"""{wrapped[0]}', *(margin + line for line in wrapped[1:]), f'{margin}"""']


def _signature(plan: Plan, words: ShapeWords) -> list[str]:
    """The ``def`` line, with the shapes that go in and come out where there is room."""
    results = len(plan.pattern.makes)
    returned = "Tensor" if results == 1 else f"tuple[{', '.join(['Tensor'] * results)}]"
    parameters = [f"{name}: Tensor" for name in plan.inputs]
    if plan.is_function:
        parameters += [p.declaration for p in plan.parameters]
        head, indent = f"def {plan.name}", 0
    else:
        parameters, head, indent = ["self", *parameters], "def forward", INDENT
    lines = statement(indent, "", Bracket(head, tuple(parameters), "()", f" -> {returned}:"))
    shapes = [words.shape(id) for id in plan.pattern.reads], [words.shape(id) for id in plan.pattern.makes]
    comment = f"  # {', '.join(shapes[0])} -> {', '.join(shapes[1])}"
    if all(map(all, shapes)) and len(lines[-1]) + len(comment) <= WIDTH:
        lines[-1] += comment
    return lines


def _constructor(plan: Plan, blueprint: Blueprint, stored: set[str]) -> list[str]:
    parameters = ["self", *(p.declaration for p in plan.parameters)]
    lines = statement(INDENT, "", Bracket("def __init__", tuple(parameters), "()", " -> None:"))
    margin = " " * 2 * INDENT
    lines.append(f"{margin}super().__init__()")
    lines += [f"{margin}self.{p.name} = {p.name}" for p in plan.parameters if p.name in stored]
    maker = _Maker(plan, blueprint)
    made: set[tuple[Key, ...]] = set()
    for path, item in walk(plan.pattern.items):
        if isinstance(item, Scan) or not item.keys or item.keys in made:
            continue
        made.add(item.keys)
        attribute = f"self.{plan.attributes[item.keys]}"
        lines += statement(2 * INDENT, f"{attribute} = ", maker.make(item, path))
        if isinstance(item, Call) and item.call is not None and item.call.target == "nn.Embedding":
            lines.append(f"{margin}nn.init.uniform_({attribute}.weight, -{EMBEDDED}, {EMBEDDED})")
    return lines


class _Maker:
    """What stands behind ``self.conv =``."""

    def __init__(self, plan: Plan, blueprint: Blueprint) -> None:
        self.plan = plan
        self.plan_of = blueprint.plan_of

    def make(self, item: Item, path: Path) -> Node:
        if isinstance(item, Call):
            return self._module(item, path)
        if isinstance(item, Use):
            return self._use(item, path, None)
        assert isinstance(item, Loop)
        if is_single(self.plan, item):
            return self._use(item.uses[0], path, None)
        copies = self._repeat(item, path) if item.open_ended else self._turns(item, path)
        if not item.is_chain:
            return call(
                "nn.ModuleList",
                Bracket("", tuple(copies), "[]") if len(copies) != 1 else _unstarred(copies[0]),
            )
        return call("nn.Sequential", *copies)

    def _module(self, item: Call, path: Path) -> Node:
        calls = [item_at(use.items, path).call for use in self.plan.uses]
        assert item.call is not None
        values = self.plan.values
        nodes: list[Node] = [
            literal(values.get((path, position), value)) for position, value in enumerate(item.call.args)
        ]
        for name in keywords(calls):
            nodes.append(f"{name}={literal(values.get((path, name), item.call.kwargs.get(name)))}")
        target = item.call.target
        return call(target if is_torch(target) else target.rpartition(".")[2], *nodes)

    def _use(self, use: Use, path: Path, turn: int | None, loop: Mapping[int, str] | None = None) -> Node:
        plan = self.plan_of[use]
        nodes = []
        for position, parameter in enumerate(plan.parameters):
            if loop is not None and position in loop:
                value: Any = Symbol(loop[position])
            else:
                value = self.plan.values[path, (turn, position)]
            if parameter.default is None or not same(value, parameter.default):
                nodes.append(
                    literal(value) if parameter.is_positional else f"{parameter.name}={literal(value)}"
                )
        return call(plan.name, *nodes)

    def _turns(self, loop: Loop, path: Path) -> list[Node]:
        return _grouped([self._use(use, path, turn) for turn, use in enumerate(loop.uses)])

    def _repeat(self, loop: Loop, path: Path) -> list[Node]:
        plan = self.plan_of[loop.uses[0]]
        varied = next(
            (key[1] for key in self._keys(path) if isinstance(key, tuple) and key[0] == "list"), None
        )
        if varied is None:
            copy = self._use(loop.uses[0], path, None)
            return [Comprehension("*", copy, "_", f"range({literal(self.plan.values[path, 'count'])})")]
        names = {position: plan.parameters[position].name for position in varied}
        rows = self.plan.values[path, ("list", varied)]
        if isinstance(rows, Symbol):
            own = {parameter.name for parameter in self.plan.parameters}
            initials = [name[0] for name in names.values()]
            if own & set(names.values()) and len(set(initials)) == len(initials):
                names = dict(zip(names, initials, strict=True))
            copy = self._use(loop.uses[0], path, None, names)
            return [Comprehension("*", copy, ", ".join(names.values()), rows)]
        copies = []
        for row in rows:
            given = dict(zip(varied, row if len(varied) > 1 else (row,), strict=True))
            copies.append(self._use(loop.uses[0], path, None, {p: literal(v) for p, v in given.items()}))
        return _grouped(copies)

    def _keys(self, path: Path) -> list[Any]:
        return [key for place, key in self.plan.values if place == path]


def _grouped(copies: Sequence[Node]) -> list[Node]:
    """Runs of three equal ones and more as a loop."""
    found: list[Node] = []
    position = 0
    while position < len(copies):
        end = position
        while end < len(copies) and copies[end] == copies[position]:
            end += 1
        if end - position >= 3:
            found.append(Comprehension("*", copies[position], "_", f"range({end - position})"))
        else:
            found.extend(copies[position:end])
        position = end
    return found


def _unstarred(node: Node) -> Node:
    if isinstance(node, Comprehension):
        return Comprehension("", node.element, node.target, node.source)
    return Bracket("", (node,), "[]")
