"""One architecture as text, tensor by tensor: what is written where the original text can't be narrowed.

Cells and loops are gone, but each line is a pipeline as long as nobody else reads what is in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from nasdsl.diagnostics import Source
from nasdsl.language import syntax
from nasdsl.language.format import format_file, number_text
from nasdsl.language.tokens import KEYWORDS
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import SELECT, Node
from nasdsl.space.operation import REQUIRED
from nasdsl.space.size import Size
from nasdsl.space.space import Space

_SIGNS = {"multiply": "*", "subtract": "-", "divide": "/"}
_LISTED = ("mean", "max", "concat")


class Unwritable(Exception):
    """A node that the language has no words for."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def write(space: Space, assignment: Mapping[int, int], declaration: syntax.Space) -> str:
    """The text of the architecture that an assignment leaves."""
    from nasdsl.language.parser import parse

    text = _Flat(space, assignment).text(declaration.name)
    source = Source(f"{declaration.name}.nas", text)
    return format_file(parse(source), source)


class _Flat:
    def __init__(self, space: Space, assignment: Mapping[int, int]) -> None:
        self.space = space
        self.assignment = assignment
        self.nodes: list[Node] = list(space.graph.all_nodes())
        self.reads: dict[int, list[int]] = {}
        self._read()
        self.readers: dict[int, list[int]] = {id: [] for id in self.reads}
        for id, sources in self.reads.items():
            for source in sources:
                self.readers[source].append(id)
        self.names: dict[int, str] = {}
        self.taken = {
            *KEYWORDS,
            *space.catalogue,
            "repeat",
            "chain",
            "scan",
            "unused",
            "len",
            "min",
            "round",
            "count",
        }
        # Weights that have a name, by the first node that uses them, and who uses them after it.
        self.shared: dict[int, str] = {}
        self.shared_with: dict[int, int] = {}
        self.scans: dict[int, str] = {}
        self.definitions: list[str] = []
        # Tensors that are told apart by what they are called, in the words of the outputs.
        self.wanted = {self._resolved(node): name for name, node in space.outputs}

    # --- what is in the architecture

    def _read(self) -> None:
        stack = [node for _, node in self.space.outputs] + list(self.space.inputs)
        while stack:
            id = self._resolved(stack.pop())
            if id in self.reads:
                continue
            node = self.nodes[id]
            found = [
                self._resolved(e.source) for e in self.space.graph.reads(id) if e.guard.at(self.assignment)
            ]
            self.reads[id] = found
            stack += found
            if node.operation == "scan":
                stack += [node.settings["element"], *node.settings["states"]]

    def _resolved(self, id: int) -> int:
        """Past choices and identities: the tensor that was chosen."""
        while self.nodes[id].operation in (SELECT, "identity"):
            (id,) = (e.source for e in self.space.graph.reads(id) if e.guard.at(self.assignment))
        return id

    # --- the text

    def text(self, name: str) -> str:
        self._share()
        inputs = []
        for id in self.space.inputs:
            node = self.nodes[id]
            self.names[id] = self._fresh(node.name or "x")
            dtype = "int" if node.type.dtype == "int" else ""
            inputs.append(f"  input {self.names[id]}: {dtype}[{', '.join(map(str, node.type.dims))}]")
        body = self._body(sorted(id for id in self.reads if self.nodes[id].region is None))
        outputs = [self._value(self._resolved(node)) for _, node in self.space.outputs]
        shared = [f"  shared {word} = {self._operation(self.nodes[id])}" for id, word in self.shared.items()]
        inner = "\n".join([*inputs, "", *self.definitions, *shared, *body, f"  return {', '.join(outputs)}"])
        return f"space {name} {{\n{inner}\n}}\n"

    def _share(self) -> None:
        """Names for weights that several nodes use."""
        owners: dict[int, list[int]] = {}
        for id in sorted(self.reads):
            owner = self.nodes[id].owner
            if owner is not None and self._has_weights(self.nodes[id]):
                owners.setdefault(owner, []).append(id)
        for users in owners.values():
            if len(users) < 2:
                continue
            if len({self.nodes[id].region for id in users}) > 1:
                raise Unwritable("weights are shared between a scan and what is around it")
            if self.nodes[users[0]].region is not None:
                raise Unwritable("weights are shared inside a scan")
            self.shared[users[0]] = self._fresh("shared_weights" if len(owners) > 1 else "weights")
            for other in users[1:]:
                self.shared_with[other] = users[0]

    def _has_weights(self, node: Node) -> bool:
        operation = self.space.catalogue.get(node.operation)
        return operation is not None and (
            operation.borrows is not None or operation.cost(self.space.largest(node.id)).params > 0
        )

    def _body(self, ids: Sequence[int]) -> list[str]:
        lines: list[str] = []
        for id in ids:
            node = self.nodes[id]
            if id in self.names or node.operation in ("input", "element", "state"):
                continue
            if node.operation == "scan":
                self._scan(node)
            if self._is_inner(id):
                continue
            name = self.names[id] = self._fresh(self.wanted.get(id) or node.name or "t")
            lines.append(f"  {name} = {self._expression(id)}")
        return lines

    def _is_inner(self, id: int) -> bool:
        """Whether a tensor has no line of its own: one operation alone reads it, as the next stage of its pipeline."""
        readers = self.readers[id]
        if len(readers) != 1 or id in self.wanted:
            return False
        reader = self.nodes[readers[0]]
        return len(self.reads[reader.id]) == 1 and reader.region == self.nodes[id].region

    def _value(self, id: int) -> str:
        return self.names.get(id) or f"({self._expression(id)})"

    def _expression(self, id: int) -> str:
        node = self.nodes[id]
        sources = self.reads[id]
        settings = self._settings(node)
        if node.operation in _SIGNS:
            left, right = (self._value(source) for source in sources)
            return f"{left} {_SIGNS[node.operation]} {right}"
        if node.operation == "sum" and len(sources) > 1:
            return " + ".join(self._value(source) for source in sources)
        if node.operation == "sum":
            return f"sum([{', '.join(self._value(source) for source in sources)}])"
        if node.operation in _LISTED:
            axis = f", axis = {settings['axis']}" if settings.get("axis", 0) else ""
            return f"{node.operation}([{', '.join(self._value(source) for source in sources)}]{axis})"
        if len(sources) != 1 and node.operation != "scan":
            raise Unwritable(f"`{node.operation}` of {len(sources)} tensors")
        before = self.names.get(sources[0]) or self._expression(sources[0])
        if not re.fullmatch(r"\w+", before) and " -> " not in before:
            before = f"({before})"
        if node.operation == "scale":
            return f"{_text(settings['number'])} * {_bracketed(before)}"
        if node.operation == "with_number":
            sides = [_bracketed(before), _text(settings["number"])]
            sides = sides if settings["side"] == "right" else sides[::-1]
            return f"{sides[0]} {settings['operator']} {sides[1]}"
        return f"{before} -> {self._stage(node)}"

    def _stage(self, node: Node) -> str:
        if node.operation == "scan":
            return self.scans[node.id]
        first = self.shared_with.get(node.id, node.id)
        if first in self.shared:
            word = self.shared[first]
            return word if self.nodes[node.id].operation != "unembed" else f"unembed({word})"
        return self._operation(node)

    def _operation(self, node: Node) -> str:
        """A use of the catalogue, with the settings that are not what they are anyway."""
        operation = self.space.catalogue[node.operation]
        if operation.internal:
            raise Unwritable(f"`{node.operation}` can't be written by name")
        settings = self._settings(node)
        types = [self.nodes[source].type for source in self.reads[node.id]]
        given: list[str] = []
        for setting in operation.settings:
            value = settings[setting.name]
            default = setting.default
            if default == "C":
                first = types[0].dims[0]
                default = first.at(self.assignment) if isinstance(first, Diagram) else first
            if default is REQUIRED or value != default:
                given.append(f"{setting.name} = {_text(value)}")
        return f"{node.operation}({', '.join(given)})" if given else node.operation

    def _settings(self, node: Node) -> dict[str, Any]:
        return {
            name: value.at(self.assignment) if isinstance(value, Diagram) else value
            for name, value in node.settings.items()
        }

    # --- scans

    def _scan(self, node: Node) -> None:
        """The body of a scan becomes an operation of its own."""
        element, states = node.settings["element"], node.settings["states"]
        inside = sorted(id for id in self.reads if self.nodes[id].region == element)
        given = [element, *states]
        outer = {source for id in inside if id not in given for source in self.reads[id]} - set(inside)
        if outer:
            raise Unwritable("the cell of a scan reads tensors from around it")
        kept, self.names = self.names, dict(self.names)
        taken = set(self.taken)
        parameters = []
        for id, word in zip(
            given, ("x", *("h" if len(states) == 1 else f"h{i + 1}" for i in range(len(states)))), strict=True
        ):
            self.names[id] = self._fresh(word)
            parameters.append(self.names[id])
        _, *results = self.reads[node.id]
        for id in results:
            self.wanted.setdefault(id, "y")
        body = self._body(inside)
        values = [self._value(id) for id in results]
        if len(states) == 1 and len(values) == 2 and values[0] == values[1]:
            values = values[:1]
        self.names, self.taken = kept, taken
        name = self._fresh("body")
        lines = "\n".join(f"  {line}" for line in [*body, f"  return {', '.join(values)}"])
        self.definitions.append(f"  op {name}({', '.join(parameters)}) {{\n{lines}\n  }}\n")
        shapes = [f"[{', '.join(map(str, self.nodes[id].type.dims))}]" for id in states]
        state = shapes[0] if len(shapes) == 1 else f"[{', '.join(shapes)}]"
        self.scans[node.id] = f"scan({name}, state = {state})"

    def _fresh(self, wanted: str) -> str:
        stem = re.sub(r"\W", "_", wanted)
        name, number = stem, 1
        while name in self.taken or not re.match(r"[A-Za-z_]", name):
            number += 1
            name = f"{stem}{number}" if not stem[-1:].isdigit() else f"{stem}_{number}"
        self.taken.add(name)
        return name


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Size):
        raise Unwritable("a setting is a size that stays free")
    return number_text(Fraction(value))


def _bracketed(text: str) -> str:
    return (
        text if re.fullmatch(r"\w+", text) or (text.startswith("(") and text.endswith(")")) else f"({text})"
    )
