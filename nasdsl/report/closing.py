"""What a job came to: the closing table, for a terminal and for ``report.md``, and the lines about an export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nasdsl.diagnostics.quantities import grouped, short
from nasdsl.report.progress import genotype_text

if TYPE_CHECKING:
    from nasdsl.exporting.exported import ExportReport
    from nasdsl.exporting.figures import Figures

COMPARED = 64
"""So many held-out examples an exported form is compared on."""


@dataclass(frozen=True)
class Contender:
    """One architecture, trained from scratch, with its score on the held-out part."""

    genotype: Mapping[str, Any]
    metric: float
    params: int
    flops: int


@dataclass(frozen=True)
class Closing:
    """The main job in numbers: a space, its winner beside random architectures, and the files."""

    space: str
    architectures: int
    choices: int
    task: str
    strategy: str
    seed: int
    metric: str
    held_out: int
    winner: Contender
    others: Sequence[Contender]
    milliseconds: float
    differences: Mapping[str, float]
    files: Sequence[str]

    @property
    def mean_of_others(self) -> float:
        return fmean(other.metric for other in self.others)

    def rows(self) -> Iterator[tuple[str, str]]:
        """What is told of the job, line by line."""
        winner = self.winner
        yield "space", f"{self.space}: {grouped(self.architectures)} architectures, {self.choices} choices"
        yield "searched by", f"{self.strategy} on {self.task}, seed {self.seed}"
        yield "winner", genotype_text(winner.genotype)
        yield f"held-out {self.metric}", f"{winner.metric:.2%} of {self.held_out} examples"
        if self.others:
            each = ", ".join(f"{other.metric:.1%}" for other in self.others)
            label = f"{len(self.others)} random architectures"
            yield label, f"{self.mean_of_others:.2%} on average ({each}), trained the same way"
        yield "size", f"{grouped(winner.params)} params, {short(winner.flops)} multiply-adds"
        yield "ONNX latency", f"{self.milliseconds:.3f} ms for one example (onnxruntime, one thread, median)"
        for form, difference in self.differences.items():
            yield (
                f"{form} and network",
                f"differ by at most {difference:.1e}" if difference else "give the same numbers, bit for bit",
            )
        yield "files", "\n".join(self.files)

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        entries = asdict(self)
        entries["mean_of_others"] = self.mean_of_others if self.others else None
        return entries


def closing_table(closing: Closing) -> RenderableType:
    """The table that ends the job."""
    table = Table(box=box.ROUNDED, show_header=False, padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in closing.rows():
        table.add_row(name, Text(value, style="bold" if name.startswith("held-out") else ""))
    return table


def closing_page(closing: Closing) -> str:
    """The table as a page in Markdown."""
    lines = [f"# {closing.space} on {closing.task}", "", "| | |", "| --- | --- |"]
    for name, value in closing.rows():
        lines.append(f"| {name} | {value.replace(chr(10), '<br>')} |")
    lines += [
        "",
        "| architecture | " + closing.metric + " | params | multiply-adds |",
        "| --- | --- | --- | --- |",
    ]
    for title, contender in [("winner", closing.winner), *(("random", other) for other in closing.others)]:
        lines.append(
            f"| {title}: {genotype_text(contender.genotype)} | {contender.metric:.4f} "
            f"| {grouped(contender.params)} | {grouped(contender.flops)} |"
        )
    return "\n".join(lines) + "\n"


def export_lines(report: ExportReport, folder: str) -> Iterator[str]:
    """What was exported, how far it is from the network, what was measured, and where it lies."""
    for form in report.forms:
        names = [str(path.relative_to(report.folder)) for path in form.files]
        files = names[0].partition("/")[0] + "/" if form.format == "hub" else " and ".join(names)
        if form.lost is not None and form.figures is not None:
            told = f"loses {form.lost:.2f} points of {form.figures.metric}"
        elif form.difference is None:
            told = "the files above, with a model card"
        else:
            told = (
                f"differs by at most {form.difference:.1e}" if form.difference else "gives the same numbers"
            )
            told += f" on {len(report.cases)} batches of {'held-out' if report.real else 'random'} inputs"
        yield f"{form.name:<11}  {files}: {told}"
    yield from figure_lines([form.figures for form in report.forms if form.figures is not None])
    yield f"the files are in {folder}; its README.md says how to load them"


def figure_lines(figures: Sequence[Figures]) -> Iterator[str]:
    """ONNX files beside each other: the metric, the time of one example, the size."""
    if not figures:
        return
    metric = figures[0].metric or ""
    yield f"{'file':<16}  {'validation':>10}  {'held-out':>8}  {'ms':>8}  {'kB':>8}   ({metric}; one example, one thread)"
    for one in figures:
        yield (
            f"{one.file:<16}  {one.validation or 0:>10.4f}  {one.test or 0:>8.4f}  {one.milliseconds:>8.3f}"
            f"  {one.bytes / 1000:>8.1f}"
        )
