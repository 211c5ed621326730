"""Winners that are no winners: networks that ignore their input, or in which nothing that was chosen learns."""

from __future__ import annotations

from nasdsl.diagnostics import Diagnostic, Severity
from nasdsl.searching.assign import is_connected
from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.choice import Genotype, Taken
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import Node
from nasdsl.space.space import Space

SHOWN = 6
"""So many choices are named."""


def degenerate(space: Space, genotype: Genotype, by_gradient: bool = False) -> Diagnostic | None:
    """A warning (N964) where the genotype's output doesn't depend on the input, or where all operations with weights that
    the space leaves to choose are left out, as in the cell of skips that DARTS ends in on NAS-Bench-201.

    ``by_gradient`` says whether the strategy learned its choices from a loss.
    """
    architecture = space.architecture(genotype)
    if not is_connected(architecture):
        return _warning(
            "the winner's output doesn't depend on its input: `zero` operations cut every path",
            'a `require` can rule such architectures out, as in `require count("none") <= 2`',
        )
    chosen = chosen_weights(space)
    if chosen and not any(step.id in chosen for step in _steps(architecture)):
        return _warning(
            f"the winner has none of the operations with weights that could be chosen: {_decided(space, genotype, chosen)}",
            (
                "differentiable strategies are known to end so"
                if by_gradient
                else "few epochs or little data can do that"
            )
            + "; compare with `--strategy random` on the same space",
        )
    return None


def chosen_weights(space: Space) -> frozenset[int]:
    """The nodes that multiply by weights (batch norms don't count) and are there for some genotypes only, or have a
    setting that is chosen. How wide they are doesn't make them chosen: a stem of a chosen width is there whatever the
    operations after it are."""
    found = set()
    for node in space.graph.all_nodes():
        operation = space.catalogue.get(node.operation)
        if operation is None or not (node.guard is not space.table.true or _has_chosen_setting(node)):
            continue
        cost = operation.cost(space.largest(node.id))
        if cost.params and cost.flops:
            found.add(node.id)
    return frozenset(found)


def _has_chosen_setting(node: Node) -> bool:
    return any(
        isinstance(value, Diagram) and not any(value is dim for dim in node.type.dims)
        for value in node.settings.values()
    )


def _decided(space: Space, genotype: Genotype, chosen: frozenset[int]) -> str:
    """What the choices took that decide whether those nodes are there."""
    variables = frozenset[int]().union(*(space.graph.node(id).guard.support() for id in chosen))
    deciding = [choice for choice in space.choices if not variables.isdisjoint(choice.variables)]
    taken = [f"`{c.name}` is {_words(genotype[c.name])}" for c in deciding if c.name in genotype]
    more = f" and {len(taken) - SHOWN} more" if len(taken) > SHOWN else ""
    return ", ".join(taken[:SHOWN]) + more


def _words(taken: Taken) -> str:
    return taken if isinstance(taken, str) else ", ".join(taken) or "empty"


def _steps(architecture: Architecture) -> list[Step]:
    found: list[Step] = []
    stack = list(architecture.steps)
    while stack:
        step = stack.pop()
        found.append(step)
        if step.body is not None:
            stack += step.body.steps
    return found


def _warning(message: str, help: str) -> Diagnostic:
    return Diagnostic("N964", message, severity=Severity.WARNING, help=help)
