"""Whether the space that a run's folder keeps is the one that is searched now, whatever their texts look like."""

from __future__ import annotations

from pathlib import Path

from nasdsl.diagnostics import Findings, NasError
from nasdsl.language.builder import Limits
from nasdsl.language.elaborate import Elaborator
from nasdsl.language.modules import Loader, pick_space
from nasdsl.searching.objectives import constrained, with_latencies
from nasdsl.searching.settings import SearchSettings
from nasdsl.space import serialize
from nasdsl.space.space import Space


def is_kept(sources: Path, space: Space, settings: SearchSettings) -> bool:
    """Whether one of the texts in a folder describes ``space``: comments, layout and the names of files may differ, and
    nothing of what is searched. A text that doesn't compile any more describes nothing."""
    return any(_describes(path, space, settings) for path in sorted(sources.glob("*.nas")))


def _describes(path: Path, space: Space, settings: SearchSettings) -> bool:
    findings = Findings()
    try:
        module = Loader(findings).load(path)
        findings.raise_if_any()
        if all(item.name != space.name for item in module.spaces):
            return False
        syntax = pick_space(module, space.name)
        kept = Elaborator(space.catalogue, Limits()).space(module, syntax, space.parameters)
        kept = constrained(with_latencies(kept, settings), settings.constraints)
    except NasError:
        return False
    return serialize.identity(kept) == serialize.identity(space)
