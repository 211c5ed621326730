"""Warnings: what is allowed, but hardly meant. Each rule with its words in one place.

Most are found while a space is elaborated and travel with it (``Space.warnings``). :func:`examine` looks at the finished
space besides, for what only ``nasdsl check`` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nasdsl.diagnostics import Diagnostic, Note, Severity, Span
from nasdsl.language import syntax
from nasdsl.language.modules import Module
from nasdsl.language.resolve import Resolution
from nasdsl.space.choice import Choice
from nasdsl.space.conditions import condition_text
from nasdsl.space.diagram import Diagram, shortest_path
from nasdsl.space.space import Space
from nasdsl.space.survey import Survey


def warning(
    code: str,
    message: str,
    span: Span | None,
    *,
    label: str = "",
    notes: tuple[Note, ...] = (),
    help: str | None = None,
) -> Diagnostic:
    return Diagnostic(code, message, span, label, notes, help, Severity.WARNING)


# --- names ----------------------------------------------------------------------------------------


def unused_inputs(inputs: Iterable[tuple[str, Span | None]]) -> Iterator[Diagnostic]:
    """N701: an input of the space that no operation reads."""
    for name, span in inputs:
        yield warning("N701", f"the input `{name}` is never used", span, label="not read")


def unused_names(module: Module, resolution: Resolution) -> Iterator[Diagnostic]:
    """N702, N703: a definition or import of the space's own file that nothing names."""
    for binding in resolution.bindings:
        if binding.used or binding.span.source is not module.source:
            continue
        if binding.what == "import":
            yield warning(
                "N703",
                f"`{binding.name}` is imported and never used",
                binding.span,
                help="take it out of the import",
            )
        elif binding.what in ("op", "cell", "shared"):
            what = "shared weights" if binding.what == "shared" else binding.what
            yield warning(
                "N702",
                f"nothing uses the {what} `{binding.name}`",
                binding.span,
                label="defined here, and never named",
                help="take it out, or use it where it was meant to be",
            )


def shadowing_names(module: Module, resolution: Resolution, shipped: Iterable[str]) -> Iterator[Diagnostic]:
    """N704: a name of the author's that stands for something else than the operation that ships under it."""
    known = set(shipped)
    for binding in resolution.bindings:
        if binding.name in known and binding.span.source is module.source:
            yield warning(
                "N704",
                f"the {binding.what} `{binding.name}` hides the operation of that name",
                binding.span,
                label="also an operation that ships",
                help="give it a name of its own, so that readers need not guess",
            )


# --- candidates -----------------------------------------------------------------------------------


def candidates(module: Module, operations: Iterable[str]) -> Iterator[Diagnostic]:
    """N705, N706: candidates that mislead or repeat."""
    known = set(operations)
    known.update(item.name for item in module.tree.items if isinstance(item, syntax.Define))
    for space in module.spaces:
        known.update(s.name for s in space.body if isinstance(s, syntax.Define))
    for node in _nodes(module.tree):
        if isinstance(node, (syntax.Alternatives, syntax.Choose)):
            yield from _misleading_labels(node.items, known)
            yield from _repeated(node.items)


def _misleading_labels(items: Sequence[syntax.Alternative], operations: set[str]) -> Iterator[Diagnostic]:
    """A label that is the name of an operation which the candidate doesn't use."""
    for item in items:
        if item.label not in operations:
            continue
        names = {node.name for node in _nodes(item.value) if isinstance(node, syntax.Name)}
        # `identity: x` passes x on: that is what the label says.
        if item.label in names or (
            item.label == "identity" and isinstance(item.value, (syntax.Name, syntax.Index))
        ):
            continue
        yield warning(
            "N705",
            f"the label `{item.label}` is the name of an operation that this candidate doesn't use",
            item.span,
            label=f"reads like `{item.label}`",
            help="call the candidate by what it does",
        )


def _repeated(items: Sequence[syntax.Alternative]) -> Iterator[Diagnostic]:
    """Two candidates that say the same: every architecture with one is there again with the other."""
    seen: list[syntax.Alternative] = []
    for item in items:
        first = next((other for other in seen if other.value == item.value), None)
        # Without labels they would be called the same, which is an error of its own.
        if first is not None and (first.label is not None or item.label is not None):
            yield warning(
                "N706",
                f"two candidates of this choice are the same, `{_short(item.value.span)}`",
                item.value.span,
                notes=(Note(first.value.span, "the first one"),),
                help="take one away: each of its architectures is counted twice",
            )
        seen.append(item)


def _nodes(tree: syntax.Node) -> Iterator[syntax.Node]:
    """A tree's nodes, itself first."""
    stack: list[object] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple):
            stack.extend(reversed(node))
        elif isinstance(node, syntax.Node):
            yield node
            stack.extend(getattr(node, name) for name in reversed(_children(type(node))))


def _children(kind: type[syntax.Node]) -> tuple[str, ...]:
    found = _CHILDREN.get(kind)
    if found is None:
        names = [name for base in reversed(kind.__mro__) for name in getattr(base, "__slots__", ())]
        found = _CHILDREN[kind] = tuple(name for name in names if not name.endswith("span"))
    return found


_CHILDREN: dict[type[syntax.Node], tuple[str, ...]] = {}


def _short(span: Span) -> str:
    text = " ".join(span.text.split())
    return text if len(text) <= 40 else text[:39] + "…"


# --- the finished space ---------------------------------------------------------------------------


def examine(space: Space) -> list[Diagnostic]:
    """N707, N708: what only shows in the finished space. Costs a survey of its graph."""
    survey = Survey(space)
    return [*idle_choices(space, survey), *dead_architectures(space, survey)]


def idle_choices(space: Space, survey: Survey) -> Iterator[Diagnostic]:
    """N707: a choice that changes nothing: whatever it takes, the network is the same."""
    counted: set[int] = set()
    for diagram in (*space.constraints, *(limit.guard for limit in space.limits)):
        counted |= diagram.support()
    asked: set[int] = set()
    for node, reads in zip(survey.nodes, survey.reads, strict=True):
        alive = survey.alive[node.id]
        if alive is space.table.false:
            continue
        asked |= alive.support()
        for value in (*node.settings.values(), *node.type.dims, *(edge.guard for edge in reads)):
            if isinstance(value, Diagram):
                asked |= value.support()
    for choice in space.choices:
        if asked.isdisjoint(choice.variables):
            without = "" if counted.isdisjoint(choice.variables) else ", though a `require` asks for it"
            yield warning(
                "N707",
                f"the choice `{choice.name}` changes nothing{without}",
                choice.span,
                label="every candidate gives the same network",
                help="take it away, or use what it chooses: it multiplies the number of architectures "
                f"by {_factor(choice)}",
            )


def _factor(choice: Choice) -> str:
    return str(len(choice.labels)) if choice.low is None else "its sub-lists"


def _reached(space: Space, survey: Survey) -> list[Diagram]:
    """Where something of the inputs reaches each node; a `zero` that is chosen counts as handing it on."""
    table = space.table
    reached = [table.false] * len(survey.nodes)
    for node, reads in zip(survey.nodes, survey.reads, strict=True):
        if node.operation == "input":
            reached[node.id] = table.true
            continue
        through = table.false
        for edge in reads:
            through = table.either(through, table.both(edge.guard, reached[edge.source]))
        kept = node.operation != "zero" or node.guard is not table.true
        reached[node.id] = through if kept else table.false
    return reached


def dead_architectures(space: Space, survey: Survey) -> Iterator[Diagnostic]:
    """N708: an architecture in which nothing of the inputs reaches an output.

    Not where candidates that are `zero` cut the way: spaces of the literature hold such architectures on purpose.
    """
    table = space.table
    reached = _reached(space, survey)
    for name, output in space.outputs:
        dead = table.negate(reached[output])
        path = shortest_path(dead, lambda leaf: leaf is True)
        if path is None or not _permitted(space, path):
            continue
        where = condition_text(space.choices, path)
        yield warning(
            "N708",
            f"in some architectures nothing of the input reaches the output `{name}`"
            + (f": where {where}" if where else ""),
            survey.nodes[output].span,
            label="the same, whatever goes in",
            help="searches may find such an architecture; `require` keeps it out, or take `zero` away"
            if any(node.operation == "zero" for node in survey.nodes)
            else "an empty sub-list is zero: choose at least one",
        )


def _permitted(space: Space, path: dict[int, int]) -> bool:
    """Whether an architecture of the space goes that way."""
    table = space.table
    conditions = [table.equals(v, case, space.arities[v]) for v, case in path.items()]
    support = {v for condition in conditions for v in condition.support()}
    rules = [rule for rule in space.rules if not support.isdisjoint(rule.support())]
    together = table.true
    for condition in (*conditions, *rules):
        together = table.both(together, condition)
    return together is not table.false
