"""Tables for people about trained networks: how good one is, and several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table

from nasdsl.diagnostics.quantities import short

if TYPE_CHECKING:
    from nasdsl.training.assess import Assessment


def class_table(assessment: Assessment, labels: Sequence[str]) -> RenderableType:
    """For each class how many examples there are, which share was recognised (recall), and which share of what was taken
    for it is right (precision)."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for head in ("class", "examples", "recall", "precision"):
        table.add_column(head, justify="left" if head == "class" else "right")
    columns = [sum(row[i] for row in assessment.confusion) for i in range(len(assessment.confusion))]
    for i, row in enumerate(assessment.confusion):
        table.add_row(labels[i], str(sum(row)), _share(row[i], sum(row)), _share(row[i], columns[i]))
    return table


def confusion_table(assessment: Assessment, labels: Sequence[str]) -> RenderableType:
    """A row for each class: for what its examples were taken."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("is \\ taken for")
    for label in labels:
        table.add_column(label, justify="right")
    for label, row in zip(labels, assessment.confusion, strict=True):
        table.add_row(label, *(str(count) if count else "." for count in row))
    return table


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.4f}" if whole else "-"


@dataclass(frozen=True)
class Candidate:
    """One architecture with its score for each seed; ``params`` and ``flops`` are its size."""

    params: int
    flops: int
    scores: Sequence[float]

    @property
    def mean(self) -> float:
        return fmean(self.scores)

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds, of the population that they are drawn from; None for one seed."""
        return stdev(self.scores) if len(self.scores) > 1 else None


def candidates_table(candidates: Sequence[Candidate], metric: str, winner: int) -> RenderableType:
    """Candidates in the order in which they came, with the mean over their seeds and its spread."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for head in ("candidate", "params", "FLOPs", metric, "sd", "seeds"):
        table.add_column(head, justify="right")
    for number, candidate in enumerate(candidates):
        table.add_row(
            f"{'* ' if number == winner and len(candidates) > 1 else ''}{number + 1}",
            short(candidate.params),
            short(candidate.flops),
            f"{candidate.mean:.4f}",
            "-" if candidate.spread is None else f"{candidate.spread:.4f}",
            str(len(candidate.scores)),
        )
    return table


def mean_and_spread(scores: Sequence[float]) -> str:
    """``0.9731 ± 0.0021 (3 seeds)``.

    >>> mean_and_spread([0.5, 0.7]), mean_and_spread([0.5])
    ('0.6000 ± 0.1414 (2 seeds)', '0.5000')
    """
    if len(scores) == 1:
        return f"{scores[0]:.4f}"
    return f"{fmean(scores):.4f} ± {stdev(scores):.4f} ({len(scores)} seeds)"
