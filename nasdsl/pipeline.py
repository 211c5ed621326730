"""The order of the stages, on one page.

    text ──parse──► syntax tree ──elaborate──► space graph ──► search space ──► supernet, strategy, network, export

Each stage takes a value and returns a value; :func:`load` runs those up to the search space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import Findings, Source
from nasdsl.language.builder import Limits
from nasdsl.language.elaborate import Elaborator
from nasdsl.language.modules import Loader, Module, pick_space
from nasdsl.operations import catalogue
from nasdsl.space.choice import Taken
from nasdsl.space.size import Rational
from nasdsl.space.space import Space

if TYPE_CHECKING:
    from nasdsl.export.network import Network


class SearchSpace(Space):
    """A space as it is handed to people: all of :class:`~nasdsl.space.space.Space`, and networks."""

    def network(self, genotype: Mapping[str, Taken | Sequence[str]]) -> Network:
        """A plain torch module of one architecture, with fresh weights. Raises NasError for a wrong genotype."""
        from nasdsl.export.network import network

        return network(self, self.genotype(genotype))


def load(
    path: str | Path, *, space: str | None = None, limits: Limits | None = None, **parameters: Rational
) -> SearchSpace:
    """Reads a ``.nas`` file and proves every architecture in it well formed.

    ``parameters`` are those of the space (``width=32``); ``space`` picks one where the file has several.
    Raises NasError with all that is wrong, each with its place.
    """
    return elaborate(read(Path(path)), parameters, space=space, limits=limits)


def loads(text: str, *, path: str = "<text>", **parameters: Rational) -> SearchSpace:
    """The space that a text describes; imports are looked up in the working folder and among those that ship."""
    findings = Findings()
    module = Loader(findings).load(Path.cwd() / "text.nas", Source(path, text))
    findings.raise_if_any()
    return elaborate(module, parameters)


def read(path: Path) -> Module:
    """Text to syntax trees: a file and what it imports."""
    findings = Findings()
    module = Loader(findings).load(path)
    findings.raise_if_any()
    return module


def elaborate(
    module: Module,
    parameters: Mapping[str, Rational],
    *,
    space: str | None = None,
    limits: Limits | None = None,
) -> SearchSpace:
    """Syntax trees to a search space."""
    elaborator = Elaborator(catalogue(), limits or Limits())
    found: Any = elaborator.space(module, pick_space(module, space), parameters)
    return SearchSpace(**{name: getattr(found, name) for name in Space.__dataclass_fields__})
