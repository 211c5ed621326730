"""Winners that are no winners: networks that ignore their input, or in which nothing that was chosen learns."""

from __future__ import annotations

from nasdsl.diagnostics import Diagnostic, Severity
from nasdsl.searching.assign import is_connected
from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space


def degenerate(space: Space, genotype: Genotype, by_gradient: bool = False) -> Diagnostic | None:
    """A warning (N964) where the genotype's output doesn't depend on the input, or where all weights that the space
    leaves to choose are left out, as in the cell of skips that DARTS ends in on NAS-Bench-201.

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
            "nothing in the winner that was chosen has weights: every choice took a skip, a pool or `zero`",
            (
                "differentiable strategies are known to end so"
                if by_gradient
                else "few epochs or little data can do that"
            )
            + "; compare with `--strategy random` on the same space",
        )
    return None


def chosen_weights(space: Space) -> frozenset[int]:
    """The nodes that are there for some genotypes only, and multiply by weights (batch norms don't count)."""
    found = set()
    for node in space.graph.all_nodes():
        operation = space.catalogue.get(node.operation)
        if operation is None or node.guard is space.table.true:
            continue
        cost = operation.cost(space.largest(node.id))
        if cost.params and cost.flops:
            found.add(node.id)
    return frozenset(found)


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
