"""What an export came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nasdsl.exporting.figures import Figures
from nasdsl.exporting.folder import EXAMPLE
from nasdsl.exporting.job import FP32


@dataclass(frozen=True)
class FormReport:
    """One form of the network: its files, how far its numbers are from the network's, and how far they may be.

    For an ONNX file in fewer bits there is no ``difference``, but the points of the metric that it ``lost``;
    ``figures`` are what was measured of an ONNX file.
    """

    format: str
    files: tuple[Path, ...]
    difference: float | None
    tolerance: str
    seconds: float
    precision: str | None = None
    figures: Figures | None = None
    lost: float | None = None

    @property
    def name(self) -> str:
        """``onnx int8``; fp32 goes without saying."""
        return f"{self.format} {self.precision}" if self.precision not in (None, FP32) else self.format


@dataclass(frozen=True)
class ExportReport:
    """What was exported, checked on ``cases`` batches of real inputs."""

    folder: Path
    forms: tuple[FormReport, ...]
    cases: tuple[str, ...]
    others: tuple[Path, ...] = field(default=())

    @property
    def files(self) -> tuple[Path, ...]:
        return (*(path for form in self.forms for path in form.files), *self.others)

    @property
    def real(self) -> bool:
        """Whether the inputs were real ones, and not drawn at random."""
        return self.folder / EXAMPLE in self.others

    @property
    def largest_difference(self) -> float:
        return max(form.difference for form in self.forms if form.difference is not None)

    def form(self, name: str) -> FormReport:
        """By ``python``, ``onnx``, ``onnx int8``."""
        return next(form for form in self.forms if form.name == name)
