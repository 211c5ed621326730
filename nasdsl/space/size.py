"""Sizes that rest on free dimensions: exact polynomials over names such as ``T``.

A free dimension stays free in the exported model, so arithmetic on it is kept as a formula. A floor division or a
remainder that doesn't come out whole becomes an atom of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Union

Rational = Union[int, Fraction]
# A free dimension's name, or ("//" or "%", dividend, divisor).
Atom = Union[str, tuple[str, "Size", "Size"]]


def whole(value: Rational) -> Rational:
    """The same number as an int where it is whole, so that equal numbers are of one type."""
    if isinstance(value, Fraction) and value.denominator == 1:
        return value.numerator
    return value


def plain(values: Mapping[str, Rational]) -> dict[str, int | str]:
    """Numbers as files keep them: whole ones as they are, others as text, such as ``1/3``."""
    return {name: value if isinstance(value, int) else str(value) for name, value in values.items()}


class Size:
    """A polynomial with rational coefficients, in normal form; never a plain number (see :func:`make`)."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Mapping[tuple[Atom, ...], Rational]) -> None:
        # Monomials are sorted tuples of atoms; the empty one carries the constant.
        self.terms = dict(sorted(terms.items(), key=lambda item: (len(item[0]), str(item[0]))))
        self._hash = hash(tuple(self.terms.items()))

    @staticmethod
    def free(name: str) -> Size:
        return Size({(name,): 1})

    @staticmethod
    def make(terms: Mapping[tuple[Atom, ...], Rational]) -> Size | Rational:
        """Normalises: no zero coefficients, and a plain number where nothing free is left."""
        kept = {m: whole(c) for m, c in terms.items() if c != 0}
        if not kept:
            return 0
        if set(kept) == {()}:
            return kept[()]
        return Size(kept)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    @staticmethod
    def _terms(value: Size | Rational) -> Mapping[tuple[Atom, ...], Rational]:
        return value.terms if isinstance(value, Size) else {(): value}

    def __add__(self, other: Size | Rational) -> Size | Rational:
        total = dict(self.terms)
        for monomial, coefficient in self._terms(other).items():
            total[monomial] = total.get(monomial, 0) + coefficient
        return Size.make(total)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return Size({m: -c for m, c in self.terms.items()})

    def __sub__(self, other: Size | Rational) -> Size | Rational:
        return self + (-other)

    def __rsub__(self, other: Size | Rational) -> Size | Rational:
        return (-self) + other

    def __mul__(self, other: Size | Rational) -> Size | Rational:
        product: dict[tuple[Atom, ...], Rational] = {}
        for m1, c1 in self.terms.items():
            for m2, c2 in self._terms(other).items():
                monomial = tuple(sorted(m1 + m2, key=str))
                product[monomial] = product.get(monomial, 0) + c1 * c2
        return Size.make(product)

    __rmul__ = __mul__

    def __truediv__(self, other: Size | Rational) -> Size | Rational:
        if isinstance(other, Size):
            return 1 if self == other else Size.make({(("/", self, other),): 1})
        return Size.make({m: Fraction(c) / other for m, c in self.terms.items()})

    def __floordiv__(self, other: Size | Rational) -> Size | Rational:
        if not isinstance(other, Size):
            exact = Size.make({m: Fraction(c) / other for m, c in self.terms.items()})
            if isinstance(exact, Size) and all(isinstance(c, int) for c in exact.terms.values()):
                return exact
        return 1 if self == other else Size.make({(("//", self, _as_size(other)),): 1})

    def __mod__(self, other: Size | Rational) -> Size | Rational:
        quotient = self // other
        return self - quotient * other

    def at(self, sizes: Mapping[str, int]) -> Rational:
        """The value at given free dimensions. Raises KeyError where one is missing."""
        total: Rational = 0
        for monomial, coefficient in self.terms.items():
            term: Rational = coefficient
            for atom in monomial:
                if isinstance(atom, str):
                    term = term * sizes[atom]
                else:
                    operator, left, right = atom
                    a, b = left.at(sizes), right.at(sizes)
                    term = term * (a // b if operator == "//" else Fraction(a) / Fraction(b))
            total = total + term
        return whole(total)

    def names(self) -> frozenset[str]:
        """The free dimensions that it rests on."""
        found: set[str] = set()
        for monomial in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found |= atom[1].names() | atom[2].names()
        return frozenset(found)

    def __str__(self) -> str:
        parts = []
        for monomial, coefficient in reversed(self.terms.items()):
            factors = [a if isinstance(a, str) else f"({a[1]}) {a[0]} ({a[2]})" for a in monomial]
            if coefficient != 1 or not factors:
                factors.insert(0, str(coefficient))
            parts.append("*".join(factors))
        return " + ".join(parts).replace("+ -", "- ")

    def __repr__(self) -> str:
        return f"Size({self})"


def _as_size(value: Size | Rational) -> Size:
    return value if isinstance(value, Size) else Size({(): value})
