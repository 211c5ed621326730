"""Uses of the operations of the catalogue: settings are checked, and each use is a node of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import Span, did_you_mean
from nasdsl.language import syntax
from nasdsl.language.builder import Wrong
from nasdsl.language.place import Place
from nasdsl.language.stop import count, fail, listed, with_article
from nasdsl.language.values import (
    ListValue,
    Names,
    Tensor,
    Value,
    flat,
    is_rational,
    is_whole,
    kind_of,
    leaves,
)
from nasdsl.space.diagram import Diagram
from nasdsl.space.operation import Operation, Setting
from nasdsl.space.size import Size

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator
    from nasdsl.space.tensor import TensorType


class Primitives:
    """Makes the nodes of operations while one space is elaborated."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.kinds = elaborator.kinds

    def use(
        self,
        operation: Operation,
        arguments: Sequence[syntax.Argument],
        names: Names,
        inputs: list[Value],
        place: Place,
        span: Span,
    ) -> Tensor:
        """A use of an operation of the catalogue."""
        evaluate = self.elaborator.evaluate
        step = self.elaborator.uses.step(operation.name, place)
        plain = place.plain()
        tensors = list(inputs)
        settings: dict[str, Any] = {}
        declared = {setting.name: setting for setting in operation.settings}
        for argument in arguments:
            if argument.name is None and self.kinds.holds_tensors(argument.value, names):
                tensors.append(evaluate(argument.value, names, plain))
                continue
            if argument.name in operation.inputs:
                tensors.append(evaluate(argument.value, names, plain))
                continue
            name = argument.name
            if name is None:
                name = next((n for n in declared if n not in settings), None)
                if name is None:
                    fail(
                        "N203",
                        f"`{operation.name}` takes "
                        + (f"only {listed(f'`{d}`' for d in declared)}" if declared else "no settings"),
                        argument.span,
                    )
            elif name not in declared:
                fail(
                    "N106",
                    f"`{operation.name}` has no setting `{name}`",
                    argument.name_span or argument.span,
                    label="not one of its settings",
                    help=did_you_mean(name, declared)
                    or (
                        f"its settings are {listed(f'`{d}`' for d in declared)}"
                        if declared
                        else "it has none"
                    ),
                )
            if name in settings:
                fail("N203", f"`{name}` of `{operation.name}` is given twice", argument.span)
            here = place.but(step=step, target=name, slot="")
            settings[name] = self._setting(operation, declared[name], argument.value, names, here)
        nodes = []
        for value in tensors:
            for item in flat(value, lists=True):
                if not isinstance(item, Tensor):
                    fail(
                        "N201",
                        f"`{operation.name}` takes a tensor, and this is {self.elaborator.describe(item)}",
                        span,
                    )
                nodes.append(item.node)
        if len(nodes) != len(operation.inputs) and not (operation.variadic and nodes):
            fail(
                "N202" if len(nodes) < len(operation.inputs) else "N203",
                f"`{operation.name}` takes {count(len(operation.inputs), 'tensor')}, and {len(nodes)} are given",
                span,
                notes=self.elaborator.wrongs.origins(nodes, span),
                help="reduce them first, with `sum`, `mean` or `concat`" if len(nodes) > 1 else None,
            )
        return self.apply(operation.name, nodes, settings, place, span)

    def _setting(
        self, operation: Operation, setting: Setting, e: syntax.Expression, names: Names, place: Place
    ) -> Any:
        name = f"`{setting.name}` of `{operation.name}`"
        kind = self.kinds.of(e, names)
        if kind in ("tensor", "operation", "string"):
            wanted = {"bool": "true or false", "dims": "a list of sizes"}.get(setting.kind, "a number")
            fail("N205", f"{name} is {wanted}, and this is {with_article(kind)}", e.span)
        value = self.elaborator.evaluate(e, names, place)
        if isinstance(value, ListValue):
            return self._list_setting(operation, setting, value, e)
        if setting.kind == "dims":
            fail("N205", f"{name} is a list of sizes, and this is {self.elaborator.describe(value)}", e.span,
                 help="write them in brackets: `reshape(x, [16, 1, 1])`")  # fmt: skip
        if isinstance(value, Diagram) and not setting.elastic:
            self._not_elastic(operation, setting, e, value)
        if (setting.kind == "bool") != (kind_of(value) == "boolean"):
            wanted = "true or false" if setting.kind == "bool" else "a number"
            fail("N205", f"{name} is {wanted}, and this is {self.elaborator.describe(value)}", e.span)
        self._check_whole(operation, setting, value, e)
        if setting.name == "kernel" and isinstance(value, Diagram):
            sizes = [leaf for leaf in leaves(value) if isinstance(leaf, int)]
            if len({size % 2 for size in sizes}) > 1:
                fail(
                    "N209",
                    "a chosen kernel takes the centre of its largest, so its sizes are all odd or all even, "
                    f"not {listed(sorted(sizes))}",
                    e.span,
                    help="choose between operations instead, each with its own weights: "
                    f"`{operation.name}(kernel = {sizes[0]}) | {operation.name}(kernel = {sizes[1]})`",
                )
        return value

    def _list_setting(
        self, operation: Operation, setting: Setting, value: ListValue, e: syntax.Expression
    ) -> Any:
        name = f"`{setting.name}` of `{operation.name}`"
        if setting.kind not in ("ints", "dims") or value.guards is not None:
            fail("N205", f"{name} is one number, and this is {self.elaborator.describe(value)}", e.span)
        for item in value.items:
            if isinstance(item, Diagram) and not (setting.kind == "dims" and setting.elastic):
                self._not_elastic(operation, setting, e, item, "a list for ")
            self._check_whole(operation, setting, item, e)
        return tuple(value.items)

    def _not_elastic(
        self, operation: Operation, setting: Setting, e: syntax.Expression, value: Diagram, what: str = ""
    ) -> None:
        values = [str(leaf) for leaf in leaves(value) if is_rational(leaf)][:2]
        given = e.span.text if isinstance(e, syntax.List) else None
        example = " | ".join(f"{operation.name}(…, {setting.name} = {v})" for v in values)
        fail(
            "N209",
            f"{what}`{setting.name}` of `{operation.name}` can't rest on a choice",
            e.span,
            label="depends on the architecture",
            help="choose between operations instead, each with its own weights"
            + (f": `{example}`" if given is None and len(values) == 2 else ""),
        )

    def _check_whole(
        self, operation: Operation, setting: Setting, value: Value, e: syntax.Expression
    ) -> None:
        if setting.kind not in ("int", "ints", "dims"):
            return
        for leaf in leaves(value):
            if isinstance(leaf, bool) or not isinstance(leaf, (int, Size)) or not is_whole(leaf):
                fail(
                    "N205",
                    f"`{setting.name}` of `{operation.name}` is a whole number, and this is "
                    f"{self.elaborator.describe(leaf)}",
                    e.span,
                    help="round it, `round(…)`, or divide with `//`"
                    if is_rational(leaf)
                    else "divide with `//`"
                    if isinstance(leaf, Size)
                    else None,
                )

    def apply(
        self, name: str, nodes: Sequence[int], given: dict[str, Any], place: Place, span: Span
    ) -> Tensor:
        """A node that runs an operation of the catalogue on tensors."""
        operation = self.elaborator.catalogue[name]
        types = [self.builder.nodes[node].type for node in nodes]
        try:
            settings = self.builder.settings_for(operation, given, types)
            type = self.builder.infer(operation, types, settings, place.guard)
        except Wrong as wrong:
            raise self.elaborator.wrongs.stop(wrong, span, place, nodes) from None
        if self.builder.doubts:
            self.elaborator.wrongs.doubt(span, place.body, nodes)
        return Tensor(self.node(name, [(node, place.guard) for node in nodes], type, settings, place, span))

    def node(
        self,
        name: str,
        reads: Sequence[tuple[int, Diagram]],
        type: TensorType,
        settings: dict[str, Any],
        place: Place,
        span: Span,
    ) -> int:
        """Adds a node; where weights are shared, it takes those that the first use made in the same spot."""
        owner = None
        if place.shared is not None:
            key = place.shared.key("node", place.trail, span.start, span.end, name)
            known = place.shared.made.setdefault(key, len(self.builder.nodes))
            assert isinstance(known, int)
            owner = known
        return self.builder.add(
            name,
            reads,
            type,
            place.guard,
            place.body.scope,
            span,
            settings=settings,
            owner=owner,
            region=place.region,
        )
