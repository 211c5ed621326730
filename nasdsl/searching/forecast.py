"""How much memory the steps of a search will take."""

from __future__ import annotations

from collections.abc import Iterator

from nasdsl.searching.optimise import switches
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.strategy import Path, WeightSharing
from nasdsl.space.architecture import Architecture
from nasdsl.space.space import Space
from nasdsl.supernet.forecast import Forecast, forecast_step
from nasdsl.supernet.partial import partial_channels
from nasdsl.supernet.superposition import is_superposed, superposition
from nasdsl.training.tasks import Task

DRAWS = 8
"""Steps whose paths are looked at; the largest is forecast."""

STATES = {"sgd": 1, "rmsprop": 2, "adam": 2, "adamw": 2}
"""Numbers that an optimiser keeps for each weight."""


def forecast_search(
    space: Space, settings: SearchSettings, task: Task, strategy: WeightSharing, *, static: bool = False
) -> Forecast:
    """The largest of the steps that a strategy asks for at the start of its search. Nothing is built.

    ``static``: single paths run on the static graph, which takes no more than all candidates do. The strategy is asked for paths, which moves it on: it is one made for this alone.
    """
    free = {
        str(dim): int(given)
        for node, shape in zip(space.inputs, task.shapes, strict=True)
        for dim, given in zip(space.graph.node(node).type.dims, shape.dims, strict=True)
        if not isinstance(dim, int) and isinstance(given, int)
    }
    recipe = settings.search
    found = [
        forecast_step(
            space,
            architecture,
            batch=-(-recipe.batch // (parts * recipe.ghosts)),
            states=STATES.get(recipe.optimizer, 1),
            free=free,
            learns=learns,
            optimise=switches(settings.optimise),
        )
        for architecture, parts, learns in _paths(space, settings, strategy, static)
    ]
    return max(found, key=lambda forecast: forecast.total)


def _paths(
    space: Space, settings: SearchSettings, strategy: WeightSharing, static: bool
) -> Iterator[tuple[Architecture, int, bool]]:
    """What is run, each with the number of parts that the minibatch is cut into, and whether the strategy learns."""
    strategy.start_epoch(0, settings.search.epochs)
    if static:
        yield space.mixture(), 1, strategy.learns
        return
    seen = set()
    for _ in range(DRAWS):
        for path in strategy.paths():
            key = None if path.mixture is not None else repr(path.genotype)
            if key not in seen:
                seen.add(key)
                yield architecture_of(space, path), path.part[1], strategy.learns


def architecture_of(space: Space, path: Path) -> Architecture:
    """What a path runs in the supernet."""
    if path.mixture is not None:
        return partial_channels(space.mixture(path.among), path.share, space.catalogue)
    if is_superposed(space, path.genotype):
        return superposition(space, path.genotype, path.join)
    return space.architecture(path.genotype, gated=tuple(path.gates))
