"""How the elaborator leaves a statement that failed, and the words that its messages share."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, NoReturn

from nasdsl.diagnostics import Diagnostic, Note, Span

if TYPE_CHECKING:
    from nasdsl.language.place import Body


class Stop(Exception):
    """Leaves a statement that failed; ``diagnostic`` is None where the cause has been reported already.

    ``path`` is the part of a genotype that breaks it, {variable: case}: put into words at the end, when every choice
    has its name. ``body`` is the innermost use of a definition that it happened in. ``for_good`` ends the elaboration: a
    bound on what is made was reached.
    """

    def __init__(
        self,
        diagnostic: Diagnostic | None,
        path: Mapping[int, int] | None = None,
        *,
        for_good: bool = False,
    ) -> None:
        super().__init__()
        self.diagnostic = diagnostic
        self.path = path or {}
        self.for_good = for_good
        self.body: Body | None = None


def fail(
    code: str,
    message: str,
    span: Span,
    *,
    label: str = "",
    notes: tuple[Note, ...] = (),
    help: str | None = None,
    for_good: bool = False,
) -> NoReturn:
    """Stops what is being elaborated with a diagnostic; ``for_good`` all of it, where going on would only say more."""
    raise Stop(Diagnostic(code, message, span, label, notes, help), for_good=for_good)


def with_article(kind: str) -> str:
    words = {"operation": "an operation", "boolean": "true or false", "string": "a text", "poison": "unknown"}
    return words.get(kind, f"a {kind}")


def number_text(value: int | Fraction) -> str:
    """A number as people write it: ``2.5``, ``1/3``."""
    if isinstance(value, int) or value.denominator == 1:
        return str(int(value))
    try:
        text = f"{float(value):g}"
    except OverflowError:
        return str(value)
    return text if Fraction(text) == value else str(value)


def count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listed(words: object) -> str:
    """``a, b and c``."""
    items = [str(word) for word in words]  # type: ignore[attr-defined]
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def brief(span: Span) -> str:
    """The text of an expression, or of a `return`, where it is short enough for a help line."""
    text = " ".join(span.text.removeprefix("return ").split())
    return text if len(text) <= 40 else "…"
