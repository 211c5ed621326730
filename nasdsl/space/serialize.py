"""The space graph as versioned JSON, and back.

Diagrams are written once each, in a table, so that a guard that many edges share costs one number. Spans are kept as
offsets into the sources, which travel along: a space that was read back shows the same messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any, TypeVar

from nasdsl.diagnostics import Source, Span, failure
from nasdsl.space.choice import Choice
from nasdsl.space.diagram import LEAF, UNDEFINED, Diagram, Diagrams
from nasdsl.space.graph import Node, Scope, SpaceGraph
from nasdsl.space.operation import Catalogue
from nasdsl.space.size import Size
from nasdsl.space.space import Limit, Space
from nasdsl.space.tensor import Part, TensorType
from nasdsl.version import FORMAT, VERSION

KIND = "nasdsl space graph"
AnySpace = TypeVar("AnySpace", bound=Space)


def write(space: Space) -> str:
    """The space as JSON text. Equal spaces give equal text."""
    return json.dumps(_Writer(space).document(), ensure_ascii=False, separators=(",", ":")) + "\n"


def identity(space: Space) -> str:
    """What a space is, as text: what :func:`write` writes, without sources, places in them and their comments.

    Spaces of the same identity are built, drawn from and searched alike, bit for bit.
    """
    return json.dumps(_Identity(space).document(), ensure_ascii=False, separators=(",", ":"))


def read(text: str, catalogue: Catalogue, kind: type[AnySpace] = Space, path: str = "<json>") -> AnySpace:  # type: ignore[assignment]
    """The space that :func:`write` wrote. Raises NasError (N810) for another file or another version."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise failure(
            "N810", f"`{path}` is not JSON: {error}", "write it with `nasdsl compile FILE -o graph.json`"
        ) from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise failure(
            "N810", f"`{path}` is not a space graph", "write it with `nasdsl compile FILE -o graph.json`"
        )
    if document.get("format") != FORMAT:
        raise failure(
            "N810",
            f"`{path}` has format {document.get('format')} (nasdsl {document.get('nasdsl')}), and this reads {FORMAT}",
            "compile the space again",
        )
    try:
        return _Reader(document, catalogue).space(kind)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise failure(
            "N810", f"`{path}` is damaged ({type(error).__name__}: {error})", "compile the space again"
        ) from None


class _Writer:
    def __init__(self, space: Space) -> None:
        self.space = space
        self.diagrams: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.sources = {path: i for i, path in enumerate(space.sources)}

    def document(self) -> dict[str, Any]:
        space = self.space
        nodes = [self.node(node) for node in space.graph.all_nodes()]
        scopes: dict[int, Scope] = {}
        for node in space.graph.all_nodes():
            for scope in node.scope.path():
                scopes[scope.id] = scope
        choices = [self.choice(choice) for choice in space.choices]
        constraints = [self.diagram(constraint) for constraint in space.constraints]
        limits = [
            [
                limit.measure,
                limit.operator,
                self.value(limit.bound),
                self.diagram(limit.guard),
                self.span(limit.span),
            ]
            for limit in space.limits
        ]
        return {
            "kind": KIND,
            "format": FORMAT,
            "nasdsl": VERSION,
            "name": space.name,
            "parameters": {name: self.value(value) for name, value in space.parameters.items()},
            "inputs": list(space.inputs),
            "outputs": [list(output) for output in space.outputs],
            "arities": list(space.arities),
            "choices": choices,
            "constraints": constraints,
            "limits": limits,
            "scopes": [self.scope(scopes[id]) for id in sorted(scopes)],
            "nodes": nodes,
            "diagrams": self.diagrams,
            "sources": dict(space.sources),
        }

    def diagram(self, diagram: Diagram) -> int:
        found = self.numbers.get(id(diagram))
        if found is None:
            entry: Any
            if diagram.is_leaf:
                entry = {"value": self.value(diagram.value)}
            else:
                entry = [diagram.variable, *[self.diagram(case) for case in diagram.cases]]
            found = self.numbers[id(diagram)] = len(self.diagrams)
            self.diagrams.append(entry)
        return found

    def value(self, value: Any) -> Any:
        """A number as itself; what JSON has no word for as {word: …}."""
        if isinstance(value, Diagram):
            return {"diagram": self.diagram(value)}
        if isinstance(value, Fraction):
            return {"fraction": [value.numerator, value.denominator]}
        if isinstance(value, Size):
            terms = [[[self.atom(a) for a in monomial], self.value(c)] for monomial, c in value.terms.items()]
            return {"size": terms}
        if value is UNDEFINED:
            return {"undefined": True}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value

    def atom(self, atom: Any) -> Any:
        return atom if isinstance(atom, str) else [atom[0], self.value(atom[1]), self.value(atom[2])]

    def span(self, span: Span | None) -> Any:
        if span is None or span.source.path not in self.sources:
            return None
        return [self.sources[span.source.path], span.start, span.end]

    def choice(self, choice: Choice) -> dict[str, Any]:
        return {
            "name": choice.name,
            "candidates": list(choice.labels),
            "guard": self.diagram(choice.guard),
            "variables": list(choice.variables),
            "kind": choice.kind,
            "low": choice.low,
            "high": choice.high,
            "values": self.value(choice.values),
            "span": self.span(choice.span),
        }

    def scope(self, scope: Scope) -> dict[str, Any]:
        return {
            "id": scope.id,
            "kind": scope.kind,
            "definition": scope.definition,
            "label": scope.label,
            "parent": None if scope.parent is None else scope.parent.id,
            "inputs": {name: list(nodes) for name, nodes in scope.inputs.items()},
            "span": self.span(scope.span),
            "doc": scope.doc,
        }

    def node(self, node: Node) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "operation": node.operation,
            "type": self.type(node.type),
            "guard": self.diagram(node.guard),
            "scope": node.scope.id,
            "edges": [[edge.source, self.diagram(edge.guard)] for edge in self.space.graph.reads(node.id)],
            "span": self.span(node.span),
        }
        if node.settings:
            entry["settings"] = {name: self.value(value) for name, value in node.settings.items()}
        for name in ("name", "region", "choice"):
            if getattr(node, name) is not None:
                entry[name] = getattr(node, name)
        if node.owner != node.id:
            entry["owner"] = node.owner
        return entry

    def type(self, type: TensorType) -> dict[str, Any]:
        entry: dict[str, Any] = {"dims": [self.value(dim) for dim in type.dims], "dtype": type.dtype}
        if type.parts:
            entry["parts"] = [
                None if parts is None else [[part.limit, self.value(part.size)] for part in parts]
                for parts in type.parts
            ]
        return entry


class _Identity(_Writer):
    """Leaves out how the space was written down."""

    def document(self) -> dict[str, Any]:
        return {**super().document(), "sources": {}}

    def span(self, span: Span | None) -> Any:
        return None

    def scope(self, scope: Scope) -> dict[str, Any]:
        return {**super().scope(scope), "doc": None}


class _Reader:
    def __init__(self, document: Mapping[str, Any], catalogue: Catalogue) -> None:
        self.document = document
        self.catalogue = catalogue
        self.table = Diagrams()
        self.sources = [Source(path, text) for path, text in document["sources"].items()]
        self.diagrams: list[Diagram] = []
        for entry in document["diagrams"]:
            if isinstance(entry, dict):
                value = self.value(entry["value"])
                # A list of sizes is one value of a diagram.
                self.diagrams.append(self.table.leaf(tuple(value) if isinstance(value, list) else value))
            else:
                variable, *cases = entry
                if not 0 <= variable < LEAF:
                    raise ValueError(f"variable {variable}")
                self.diagrams.append(self.table.node(variable, [self.diagrams[case] for case in cases]))

    def space(self, kind: type[AnySpace]) -> AnySpace:
        document = self.document
        scopes: dict[int, Scope] = {}
        for entry in document["scopes"]:
            parent = None if entry["parent"] is None else scopes[entry["parent"]]
            inputs = {name: tuple(nodes) for name, nodes in entry["inputs"].items()}
            scopes[entry["id"]] = Scope(
                entry["id"], entry["kind"], entry["definition"], entry["label"], parent,
                self.span(entry["span"]), inputs, entry["doc"],
            )  # fmt: skip
        graph = SpaceGraph()
        for id, entry in enumerate(document["nodes"]):
            settings = {name: self.value(value) for name, value in entry.get("settings", {}).items()}
            for name in ("states",):
                if name in settings:
                    settings[name] = tuple(settings[name])
            graph.add(
                Node(
                    id, entry["operation"], settings, self.type(entry["type"]), self.diagrams[entry["guard"]],
                    scopes[entry["scope"]], self.span(entry["span"]), entry.get("name"), entry.get("owner", id),
                    entry.get("region"), entry.get("choice"),
                ),
                [(source, self.diagrams[guard]) for source, guard in entry["edges"]],
            )  # fmt: skip
        found: dict[str, Any] = {
            "name": document["name"],
            "parameters": {name: self.value(value) for name, value in document["parameters"].items()},
            "graph": graph,
            "inputs": tuple(document["inputs"]),
            "outputs": tuple((name, node) for name, node in document["outputs"]),
            "choices": tuple(self.choice(i, entry) for i, entry in enumerate(document["choices"])),
            "table": self.table,
            "arities": tuple(document["arities"]),
            "constraints": tuple(self.diagrams[c] for c in document["constraints"]),
            "limits": tuple(self.limit(*entry) for entry in document["limits"]),
            "catalogue": self.catalogue,
            "sources": dict(document["sources"]),
        }
        return kind(**{f.name: found[f.name] for f in fields(Space) if f.name in found})

    def value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "diagram" in value:
            return self.diagrams[value["diagram"]]
        if "fraction" in value:
            return Fraction(*value["fraction"])
        if "size" in value:
            return Size(
                {tuple(self.atom(a) for a in monomial): self.value(c) for monomial, c in value["size"]}
            )
        return UNDEFINED

    def atom(self, atom: Any) -> Any:
        return atom if isinstance(atom, str) else (atom[0], self.value(atom[1]), self.value(atom[2]))

    def span(self, entry: Any) -> Any:
        return None if entry is None else Span(self.sources[entry[0]], entry[1], entry[2])

    def choice(self, index: int, entry: Mapping[str, Any]) -> Choice:
        return Choice(
            index, entry["name"], tuple(entry["candidates"]), self.diagrams[entry["guard"]],
            tuple(entry["variables"]), entry["kind"], self.span(entry["span"]), entry["low"], entry["high"],
            tuple(self.value(entry["values"])),
        )  # fmt: skip

    def limit(self, measure: str, operator: str, bound: Any, guard: int, span: Any) -> Limit:
        return Limit(measure, operator, self.value(bound), self.diagrams[guard], self.span(span))

    def type(self, entry: Mapping[str, Any]) -> TensorType:
        parts = tuple(
            None if parts is None else tuple(Part(limit, self.value(size)) for limit, size in parts)
            for parts in entry.get("parts", ())
        )
        return TensorType(tuple(self.value(dim) for dim in entry["dims"]), entry["dtype"], parts)
