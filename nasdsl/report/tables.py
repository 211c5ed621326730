"""Tables for people: a compiled space, and any stage of compiling it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from nasdsl.diagnostics import Span
from nasdsl.diagnostics.quantities import grouped, short, size_text
from nasdsl.space.conditions import guard_text
from nasdsl.space.diagram import Diagram

if TYPE_CHECKING:
    from nasdsl.space.operation import TorchCall
    from nasdsl.space.space import Space

ROWS = 200
"""More choices, nodes or modules than this are cut short for people; ``--json`` has all."""


def console(*, stderr: bool = False) -> Console:
    """Where tables go. Text that isn't for a terminal is not squeezed into eighty columns."""
    plain = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not plain.is_terminal:
        plain.width = 120
    return plain


def show(renderable: RenderableType) -> None:
    """Prints a table; without the spaces that end a line where it goes to a file or a pipe."""
    out = console()
    if out.is_terminal:
        out.print(renderable)
        return
    with out.capture() as captured:
        out.print(renderable)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def space_table(description: Mapping[str, Any], path: str = "") -> RenderableType:
    """A compiled space, from :meth:`Space.describe`."""
    head = Text.assemble((description["name"], "bold"), (f"  {path}" if path else "", "dim"))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    if description["parameters"]:
        facts.add_row("parameters", ", ".join(f"{k} = {v}" for k, v in description["parameters"].items()))
    facts.add_row("inputs", _tensors(description["inputs"]))
    facts.add_row("outputs", _tensors(description["outputs"]))
    if description["free"]:
        facts.add_row("free", ", ".join(f"{name} ≥ {least}" for name, least in description["free"].items()))
    facts.add_row("choices", grouped(len(description["choices"])))
    facts.add_row("architectures", Text(grouped(description["architectures"]), style="bold"))
    facts.add_row("params", _range(description["params"]))
    facts.add_row("FLOPs", _range(description["flops"], " multiply-adds"))
    facts.add_row("memory", _range(description["memory"], "B of activations at once"))
    facts.add_row("", _range(description["training_memory"], "B kept for a backward pass"))
    facts.add_row("supernet", f"{_measure(description['supernet']['params'])} params")
    if "step" in description:
        facts.add_row(f"a step of {description['step']['batch']}", _step(description["step"]))
    parts: list[RenderableType] = [head, facts]
    if description["choices"]:
        parts += [Text(), _choices(description["choices"])]
    return Group(*parts)


def _step(step: Mapping[str, Any]) -> str:
    """A forecast of training steps: ``one path 120 MB, all candidates 1.9 GB (forecast)``."""
    words = [f"one path {size_text(step['path']['total'])}"]
    if step["mixture"] is not None:
        words.append(f"all candidates {size_text(step['mixture']['total'])}")
    return ", ".join(words) + " of memory (forecast)"


def _tensors(tensors: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{t['name']}: {'int' if t['dtype'] == 'int' else ''}[{', '.join(map(str, t['shape']))}]"
        for t in tensors
    )


def _range(bounds: Mapping[str, Any], unit: str = "") -> str:
    low, high = bounds["min"], bounds["max"]
    note = "" if bounds.get("exact", True) else " (bounds)"
    if low == high:
        return _measure(low) + unit
    return f"{_measure(low)} to {_measure(high)}{unit}{note}"


def _measure(value: Any) -> str:
    # With a free dimension a measure is a formula.
    return short(value) if isinstance(value, int | float) else str(value)


def _choices(choices: Sequence[Mapping[str, Any]]) -> RenderableType:
    guarded = any(choice["guard"] for choice in choices)
    several = any(choice["pick"] != "1" for choice in choices)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    table.add_column("choice", overflow="fold")
    if several:
        table.add_column("takes", no_wrap=True)
    table.add_column("candidates", overflow="fold")
    if guarded:
        table.add_column("exists where", overflow="fold", style="dim")
    for choice in choices[:ROWS]:
        row: list[RenderableType] = [choice["name"]]
        if several:
            row.append(choice["pick"])
        row.append(Text(" | ".join(_some(choice["candidates"]))))
        if guarded:
            row.append(Text(choice["guard"] or "always"))
        table.add_row(*row)
    return _cut(table, len(choices), "choices")


def _some(labels: Sequence[str], most: int = 24) -> list[str]:
    if len(labels) <= most:
        return list(labels)
    return [*labels[: most - 1], f"… {len(labels) - most + 1} more"]


def _cut(table: Table, rows: int, what: str) -> RenderableType:
    if rows <= ROWS:
        return table
    return Group(table, Text(f"… and {grouped(rows - ROWS)} more {what}; --json has all", style="dim"))


# --- stages -----------------------------------------------------------------------------------


def graph_table(space: Space) -> RenderableType:
    """The space graph: a line a node, with what it reads and where."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("node", "operation", "reads", "shape", "exists where", "in"):
        table.add_column(column, overflow="fold")
    total = 0
    for total, node in enumerate(space.graph.all_nodes(), start=1):
        if total > ROWS:
            continue
        reads = []
        for edge in space.graph.reads(node.id):
            condition = guard_text(space.choices, edge.guard)
            reads.append(f"{edge.source}" + (f" if {condition}" if condition else ""))
        settings = ", ".join(f"{k}={_value(v)}" for k, v in node.settings.items())
        name = f" {node.name}" if node.name else ""
        dims = ", ".join(_value(dim) for dim in node.type.dims)
        table.add_row(
            str(node.id),
            Text(f"{node.operation}{name}" + (f"({settings})" if settings else "")),
            Text("\n".join(reads)),
            Text(("int" if node.type.dtype == "int" else "") + f"[{dims}]"),
            Text(guard_text(space.choices, node.guard) or "always"),
            Text(".".join(scope.label for scope in node.scope.path()[1:])),
        )
    return _cut(table, total, "nodes")


def supernet_table(space: Space) -> RenderableType:
    """What the supernet stores: a line a module, each at its largest size."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("node")
    table.add_column("in", overflow="fold")
    table.add_column("module", overflow="fold")
    table.add_column("params", justify="right", no_wrap=True)
    params = modules = 0
    for node, call, cost in stored_modules(space):
        modules += 1
        params += cost
        if modules <= ROWS:
            scope = ".".join(s.label for s in space.graph.node(node).scope.path()[1:])
            table.add_row(str(node), Text(scope), Text(call_text(call)), grouped(cost))
    return Group(
        _cut(table, modules, "modules"), Text(f"{grouped(modules)} modules, {grouped(params)} params")
    )


def stored_modules(space: Space) -> Iterator[tuple[int, TorchCall, int]]:
    """Each node that holds weights, the module that stores them and how many there are."""
    for node in space.graph.all_nodes():
        if node.owner != node.id or node.operation not in space.catalogue:
            continue
        operation = space.catalogue[node.operation]
        largest = space.largest(node.id)
        params = operation.cost(largest).params
        if params:
            yield node.id, operation.torch(largest), params


def supernet_json(space: Space) -> dict[str, Any]:
    """:func:`supernet_table` for machines."""
    modules = [
        {
            "node": node,
            "scope": [scope.label for scope in space.graph.node(node).scope.path()[1:]],
            "module": call_text(call),
            "params": params,
        }
        for node, call, params in stored_modules(space)
    ]
    return {"name": space.name, "modules": modules, "params": sum(m["params"] for m in modules)}


def call_text(call: TorchCall) -> str:
    """``nn.Conv2d(16, 32, 3, padding=1)``."""
    arguments = [repr(a) for a in call.args] + [f"{name}={value!r}" for name, value in call.kwargs.items()]
    return f"{call.target}({', '.join(arguments)})"


def syntax_tree(file: Any) -> Tree:
    """A syntax tree as a picture in text."""
    root = Tree(_node_head(file))
    _grow(root, file)
    return root


def tree_json(node: Any) -> Any:
    """A syntax tree for machines: ``node`` names the kind, ``at`` is its offset and end in the text."""
    if isinstance(node, tuple):
        return [tree_json(item) for item in node]
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return node if isinstance(node, str | int | bool | None) else str(node)
    entry: dict[str, Any] = {"node": type(node).__name__}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if field.name == "span":
            entry["at"] = [value.start, value.end]
        elif not isinstance(value, Span):
            entry[field.name] = tree_json(value)
    return entry


def _grow(tree: Tree, node: Any) -> None:
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        for index, child in _children(value):
            branch = tree.add(Text.assemble((f"{field.name}{index} ", "dim"), _node_head(child)))
            _grow(branch, child)


def _children(value: Any) -> list[tuple[str, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, Span):
        return [("", value)]
    if isinstance(value, tuple):
        return [(f"[{i}]" + inner, child) for i, item in enumerate(value) for inner, child in _children(item)]
    return []


def _node_head(node: Any) -> Text:
    plain = [
        f"{field.name}={getattr(node, field.name)!r}"
        for field in dataclasses.fields(node)
        if field.compare and isinstance(getattr(node, field.name), str | bool | int)
    ]
    if hasattr(node, "text"):  # a number, as it was written
        plain = [node.text]
    head = Text.assemble((type(node).__name__, "bold"), f" {' '.join(plain)}" if plain else "")
    span = getattr(node, "span", None)
    if isinstance(span, Span):
        line, column = span.source.position(span.start)
        head.append(f"  {line}:{column}", style="dim")
    return head


def _value(value: Any) -> str:
    if isinstance(value, Diagram):
        return "|".join(str(leaf) for leaf in value.leaves())
    return str(value)
