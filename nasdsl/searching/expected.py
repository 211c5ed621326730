"""The expectation of numbers that rest on choices, as one list of steps over the nodes of their diagrams.

Every choice is drawn independently from its weights w (of a sub-list's candidate: 1 - w and w):

    E(leaf) = its number,   E(node) = Σ_c w_c · E(case c)

A space has hundreds of terms with thousands of nodes, each a handful of numbers. They are reckoned with as Python's own,
forwards and backwards: tensors of one number would take ten times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from nasdsl.space.choice import Choice
from nasdsl.space.diagram import UNDEFINED, Diagram
from nasdsl.space.space import Space


class ExpectedSum:
    """Σ E(term), of terms that share nodes; with gradients of the weights."""

    def __init__(self, space: Space, terms: Iterable[Diagram]) -> None:
        self.owner: dict[int, Choice] = {v: choice for choice in space.choices for v in choice.variables}
        self.first: list[float] = []
        """What each node comes to, as far as it rests on no choice; by its place."""
        self.steps: list[tuple[int, int, Sequence[int]]] = []
        """A place, the variable that is asked there, and the places of its cases, which come before."""
        self.times: dict[int, float] = {}
        """How often each term occurs, by its place."""
        self._places: dict[int, int] = {}
        self._terms = list(terms)  # places go by identity, so they must live on
        for term in self._terms:
            place = self._place(term)
            self.times[place] = self.times.get(place, 0.0) + 1.0

    def _place(self, term: Diagram) -> int:
        found = self._places.get(id(term))
        if found is None:
            cases = [] if term.is_leaf else [self._place(case) for case in term.cases]
            found = self._places[id(term)] = len(self.first)
            # 0 where nothing looks at it.
            number = term.is_leaf and term.value is not UNDEFINED
            self.first.append(float(term.value) if number else 0.0)
            if cases:
                self.steps.append((found, term.variable, cases))
        return found

    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        """A scalar in double precision; ``weights`` [K] of every choice."""
        rows = self._rows(weights)
        values = list(self.first)
        for place, variable, cases in self.steps:
            values[place] = sum(w * values[case] for w, case in zip(rows[variable], cases, strict=True))
        total = torch.tensor(sum(n * values[place] for place, n in self.times.items()), dtype=torch.float64)
        for name, slope in self._slopes(rows, values).items():
            w = weights[name].to(torch.float64)
            total = total + (w - w.detach()) @ torch.tensor(
                slope, dtype=torch.float64
            )  # 0, with its gradient
        return total

    def _rows(self, weights: Mapping[str, Tensor]) -> dict[int, Sequence[float]]:
        """The weights of each variable's cases."""
        numbers = {name: w.detach().tolist() for name, w in weights.items()}
        rows: dict[int, Sequence[float]] = {}
        for variable, choice in self.owner.items():
            given = numbers[choice.name]
            if choice.is_sublist:
                inside = given[choice.variables.index(variable)]
                rows[variable] = (1 - inside, inside)
            else:
                rows[variable] = given
        return rows

    def _slopes(self, rows: Mapping[int, Sequence[float]], values: Sequence[float]) -> dict[str, list[float]]:
        """The gradient of each choice's weights, by the chain rule from the terms back to the leaves."""
        found = {choice.name: [0.0] * len(choice.labels) for choice in self.owner.values()}
        owed = [self.times.get(place, 0.0) for place in range(len(values))]
        for place, variable, cases in reversed(self.steps):
            share = owed[place]
            if not share:
                continue
            choice = self.owner[variable]
            slope = found[choice.name]
            for k, (w, case) in enumerate(zip(rows[variable], cases, strict=True)):
                owed[case] += share * w
                if not choice.is_sublist:
                    slope[k] += share * values[case]
            if choice.is_sublist:
                out, inside = cases
                slope[choice.variables.index(variable)] += share * (values[inside] - values[out])
        return found
