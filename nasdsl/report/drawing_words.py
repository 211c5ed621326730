"""A primitive operation of the space graph in a few words, as a picture says it: ``conv 3×3, 2C, stride 2``."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from nasdsl.report.drawing import Line, Run
from nasdsl.space.diagram import UNDEFINED, Diagram
from nasdsl.space.graph import Node
from nasdsl.space.size import Size
from nasdsl.space.tensor import TensorType

if TYPE_CHECKING:
    from nasdsl.space.space import Space

MOST = 4
"""More values than this are shown as a range."""

_SIGNS = {"multiply": "×", "subtract": "−", "divide": "/", "sum": "Σ"}


class Words:
    """Says what nodes do. Numbers that rest on choices are shown with all their values; with ``assignment`` the value
    that an architecture has stands out."""

    def __init__(self, space: Space, assignment: Sequence[int] | None = None, strides: bool = True) -> None:
        self.space = space
        self.assignment = assignment
        self.strides = strides

    def number(self, value: Any) -> Line:
        """``32``, or ``16|24|32`` where it rests on a choice."""
        if not isinstance(value, Diagram):
            return (Run(number_text(value)),)
        leaves = [leaf for leaf in value.leaves() if leaf is not UNDEFINED]
        taken = value.at(self.assignment) if self.assignment is not None else UNDEFINED
        if taken is UNDEFINED:
            if len(leaves) > MOST and not any(isinstance(leaf, Size) for leaf in leaves):
                return (Run(f"{number_text(min(leaves))}–{number_text(max(leaves))}", "choice"),)
            return alternatives([number_text(leaf) for leaf in leaves], None)
        if len(leaves) > MOST:
            return (Run(number_text(taken), "chosen"),)
        return alternatives([number_text(leaf) for leaf in leaves], leaves.index(taken))

    def operation(self, node: Node, types: Sequence[TensorType], sizes: bool = False) -> Line:
        """What a node does to tensors of these types. With ``sizes`` channels are said as numbers, as they are in this one
        use; without, relative to the input's, as they are in every use."""
        settings = node.settings
        said: list[Line] = []
        head = _SIGNS.get(node.operation, node.operation)
        first: Line = (Run(head),)
        apart = False
        match node.operation:
            case "scale":
                return (Run("× "), *self.number(settings["number"]))
            case "with_number":
                number = self.number(settings["number"])
                sign = {"-": "−", "*": "×"}.get(str(settings["operator"]), str(settings["operator"]))
                if settings["side"] == "right":
                    return (Run(f"{sign} "), *number)
                return (*number, Run(f" {sign} ·"))
            case "conv" | "depthwise" | "maxpool" | "avgpool":
                if (
                    settings.get("groups", 1) not in (1,)
                    and settings["groups"] == types[0].dims[0] == settings["channels"]
                ):
                    head, apart = "depthwise", True
                first = (Run(f"{head} "), *self._kernel(settings["kernel"], types[0].rank - 1))
            case "reshape" | "identity" | "zero":
                return first
        for name, value in settings.items():
            if name in ("kernel", "bias", "head_dim", "vocab", "divisor") or (name == "axis" and value == 0):
                continue
            if name in ("channels", "features"):
                said.append(
                    self._channels(
                        value, types[0], name, sizes or node.operation in ("embedding", "patchify")
                    )
                )
            elif name in ("stride", "dilation", "groups"):
                if value != 1 and (self.strides or name != "stride") and not (apart and name == "groups"):
                    said.append((Run(f"{name} "), *self._numbers(value)))
            elif name == "heads":
                said.append((*self.number(value), Run(" heads")))
            elif name == "causal":
                if value:
                    said.append((Run("causal"),))
            else:
                said.append(self._numbers(value))
        return joined(
            [first, *(line for line in said if line)],
            ", ",
            after_name=node.operation not in ("conv", "depthwise", "maxpool", "avgpool"),
        )

    def _kernel(self, value: Any, rank: int) -> Line:
        if isinstance(value, list):
            return (Run("×".join(number_text(item) for item in value)),)
        if isinstance(value, Diagram):
            return self.number(value)
        return (Run("×".join([number_text(value)] * max(1, rank))),)

    def _numbers(self, value: Any) -> Line:
        if isinstance(value, list):
            return (Run("×".join(number_text(item) for item in value)),)
        return self.number(value)

    def _channels(self, value: Any, type: TensorType, name: str, sizes: bool) -> Line:
        axis = 0 if name == "channels" else -1
        before = type.dims[axis] if type.dims else 1
        if value is before or value == before:
            return ()
        if sizes:
            return self.number(value)
        ratio = self._ratio(value, before)
        letter = "C" if name == "channels" else "D"
        if isinstance(ratio, Diagram):
            leaves = [leaf for leaf in ratio.leaves() if leaf is not UNDEFINED]
            if len(leaves) <= MOST and len(self._owners(ratio)) == 1 and min(leaves) >= 1:
                return (*self.number(ratio), Run(f" · {letter}"))
            return ()
        if ratio == 1:
            return ()
        if ratio is not None and ratio.denominator == 1 and ratio <= 8:
            return (Run(f"{ratio}{letter}"),)
        return (
            (Run(f"{letter}/{ratio.denominator}"),)
            if ratio is not None and ratio.numerator == 1 and ratio.denominator <= 4
            else ()
        )

    def _ratio(self, value: Any, before: Any) -> Any:
        table = self.space.table
        if isinstance(value, Diagram) or isinstance(before, Diagram):
            ratio = table.map(_quotient, table.lift(value), table.lift(before))
            return ratio.value if ratio.is_leaf else ratio
        return _quotient(value, before)

    def _owners(self, value: Diagram) -> set[int]:
        support = value.support()
        return {choice.index for choice in self.space.choices if support & set(choice.variables)}

    def shape(self, type: TensorType) -> str:
        """``16×32×32``; where it rests on choices ``16–32×8×8``, or the size that an architecture has."""
        sizes = []
        for dim in type.dims:
            if not isinstance(dim, Diagram):
                text = str(dim)
                sizes.append(text if len(text) < 8 else "…")
                continue
            taken = dim.at(self.assignment) if self.assignment is not None else UNDEFINED
            if taken is not UNDEFINED:
                sizes.append(str(taken))
                continue
            leaves = [leaf for leaf in dim.leaves() if leaf is not UNDEFINED]
            if any(isinstance(leaf, Size) for leaf in leaves):
                sizes.append("…")
            else:
                sizes.append(f"{min(leaves)}–{max(leaves)}")
        return "×".join(sizes)


def _quotient(value: Any, before: Any) -> Any:
    if not isinstance(value, int | Fraction) or not isinstance(before, int | Fraction) or not before:
        return UNDEFINED if value is UNDEFINED or before is UNDEFINED else None
    return Fraction(value) / Fraction(before)


def number_text(value: Any) -> str:
    """A number as people write it.

    >>> number_text(Fraction(7, 2)), number_text(Fraction(1, 3)), number_text(32)
    ('3.5', '1/3', '32')
    """
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        short = f"{float(value):g}"
        return short if Fraction(short) == value else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def alternatives(labels: Sequence[str], taken: int | None) -> Line:
    """``3|5|7``, where the one that is taken stands out."""
    runs: list[Run] = []
    for position, label in enumerate(labels):
        if position:
            runs.append(Run("|", "faint"))
        runs.append(Run(label, "choice" if taken is None else "chosen" if position == taken else "faint"))
    return tuple(runs)


def joined(lines: Sequence[Line], separator: str, after_name: bool = False) -> Line:
    """Lines in one, with a separator between them; a blank after the first with ``after_name``."""
    runs: list[Run] = []
    for position, line in enumerate(lines):
        if position:
            runs.append(Run(" " if after_name and position == 1 else separator))
        runs += line
    return tuple(runs)
