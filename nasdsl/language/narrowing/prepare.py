"""What a space is narrowed from: its text, elaborated, with what happened on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nasdsl.language import syntax
from nasdsl.language.builder import Limits
from nasdsl.language.modules import Module
from nasdsl.language.narrowing.faults import Untraceable, cannot
from nasdsl.language.narrowing.trace import Trace, trace
from nasdsl.space.operation import Catalogue
from nasdsl.space.size import Rational
from nasdsl.space.space import Space


@dataclass(frozen=True)
class Setup:
    """What a text is compiled with."""

    catalogue: Catalogue
    limits: Limits
    parameters: Mapping[str, Rational]


@dataclass(frozen=True)
class Prepared:
    """A space that can be narrowed: elaborated, with what happened on the way."""

    module: Module
    declaration: syntax.Space
    setup: Setup
    space: Space
    trace: Trace


def prepare(module: Module, declaration: syntax.Space, setup: Setup) -> Prepared:
    """Elaborates a space and notes where its choices are made. Raises NasError with all that is wrong with it."""
    try:
        space, found = trace(module, declaration, setup.catalogue, setup.limits, setup.parameters)
    except Untraceable as reason:
        raise cannot(reason, None) from None
    return Prepared(module, declaration, setup, space, found)
