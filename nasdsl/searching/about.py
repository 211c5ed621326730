"""What strategies and evaluators say of themselves, as plain data: read off their classes, kept nowhere else."""

from __future__ import annotations

import inspect
from typing import Any, get_args

from nasdsl.diagnostics import Diagnostic, did_you_mean, failure
from nasdsl.searching.evaluators import EVALUATORS
from nasdsl.searching.kinds import KINDS, able, handled
from nasdsl.searching.strategy import STRATEGIES, trains_supernet
from nasdsl.space.space import Space


def strategies(space: Space | None = None) -> list[dict[str, Any]]:
    """Every strategy, or those that can search a space, in the order of their names."""
    names = sorted(STRATEGIES) if space is None else able(space)
    return [_strategy(name) for name in names]


def evaluators() -> list[dict[str, Any]]:
    """Every evaluator, in the order of their names."""
    return [_entry(name, EVALUATORS.find(name), "evaluation") for name in sorted(EVALUATORS)]


def explained(name: str) -> dict[str, Any]:
    """One of either. Raises NasError N940 for an unknown name."""
    if name in STRATEGIES or name in STRATEGIES.unusable:
        return {"kind": "a strategy", **_strategy(name)}
    if name in EVALUATORS or name in EVALUATORS.unusable:
        return {"kind": "an evaluator", **_entry(name, EVALUATORS.find(name), "evaluation")}
    known = [*STRATEGIES, *EVALUATORS, *STRATEGIES.unusable, *EVALUATORS.unusable]
    help = did_you_mean(name, known) or "`nasdsl strategies` lists them"
    help = EVALUATORS.with_unusable(STRATEGIES.with_unusable(help))
    raise failure("N940", f"unknown strategy or evaluator `{name}`", help)


def unusable() -> list[Diagnostic]:
    """Warnings of the packages whose strategies or evaluators can't be had."""
    return [*STRATEGIES.warnings, *EVALUATORS.warnings]


def _strategy(name: str) -> dict[str, Any]:
    kind = STRATEGIES.find(name)
    can = handled(kind)
    return _entry(name, kind, "options") | {
        "wants_evaluator": not trains_supernet(kind),
        "handles": {about: words for about, words in KINDS.items() if about in can},
        "cannot_handle": [about for about in KINDS if about not in can],
        "presets": list(kind.presets),
    }


def _entry(name: str, kind: type[Any], prefix: str) -> dict[str, Any]:
    text = inspect.cleandoc(kind.__doc__ or "")
    return {
        "name": name,
        "summary": summary(text),
        "text": text,
        "prefix": prefix,
        "options": [_option(key, field) for key, field in kind.Options.model_fields.items()],
    }


def summary(text: str) -> str:
    """The first sentence of a docstring, which names the paper.

    >>> summary('Real et al.,\\n"Regularized Evolution", AAAI 2019. It mutates.')
    'Real et al., "Regularized Evolution", AAAI 2019.'
    """
    paragraph = " ".join(text.partition("\n\n")[0].split())
    depth, dated = 0, False
    for i, sign in enumerate(paragraph):
        depth += (sign == "(") - (sign == ")")
        dated = dated or paragraph[i : i + 4].isdigit()
        if dated and depth == 0 and sign in ".:;" and paragraph[i + 1 : i + 2] in ("", " "):
            return paragraph[:i] + "."
    return paragraph


def _option(name: str, field: Any) -> dict[str, Any]:
    values = [value for value in get_args(field.annotation) if isinstance(value, str)]
    entry = {
        "name": name,
        "default": field.get_default(call_default_factory=True),
        "description": field.description,
    }
    return entry | ({"values": values} if values else {})
