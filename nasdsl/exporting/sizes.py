"""Free dimensions while a network runs, and in its source: read off a tensor that has them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from torch import Tensor

from nasdsl.space.size import Atom, Size
from nasdsl.space.tensor import Dim


def measure(dim: Dim, x: Tensor, dims: Sequence[Dim]) -> Any:
    """The value of a size, given a tensor and what is known of its sizes (the batch axis, in front, not counted)."""
    if not isinstance(dim, Size):
        return dim
    if dim in dims:
        return x.shape[dims.index(dim) + 1]
    return dim.at({str(d): x.shape[axis + 1] for axis, d in enumerate(dims) if isinstance(d, Size)})


def write_size(dim: Size, name: str, dims: Sequence[Dim]) -> str:
    """The same in source code, where the tensor is called ``name``.

    >>> T = Size.free("T")
    >>> write_size(T, "x", [3, T]), write_size((T - 1) // 2 + 1, "x", [T])
    ('x.shape[2]', '(x.shape[1] - 1) // 2 + 1')
    """
    if dim in dims:
        return f"{name}.shape[{dims.index(dim) + 1}]"
    names = {str(d): f"{name}.shape[{axis + 1}]" for axis, d in enumerate(dims) if isinstance(d, Size)}
    return _terms(dim, names)


def size_words(dim: Dim) -> str:
    """
    >>> size_words((Size.free("T") - 1) // 2 + 1), size_words(16)
    ('(T - 1) // 2 + 1', '16')
    """
    return _terms(dim, {name: name for name in dim.names()}) if isinstance(dim, Size) else str(dim)


def _terms(size: Size, names: dict[str, str]) -> str:
    parts = []
    # Constants come last, as one would write them.
    for monomial, coefficient in reversed(size.terms.items()):
        factors = [_atom(atom, names) for atom in monomial]
        if coefficient != 1 or not factors:
            number = str(coefficient)
            factors.insert(0, f"({number})" if isinstance(coefficient, Fraction) and factors else number)
        parts.append(" * ".join(factors))
    return " + ".join(parts).replace("+ -", "- ")


def _atom(atom: Atom, names: dict[str, str]) -> str:
    if isinstance(atom, str):
        return names[atom]
    operator, left, right = atom
    return f"{_operand(left, names)} {operator} {_operand(right, names)}"


def _operand(size: Size, names: dict[str, str]) -> str:
    text = _terms(size, names)
    return f"({text})" if " " in text else text
