"""``nasdsl latency``: how long operations and architectures of a space take on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasdsl.cli import files, networks, options
from nasdsl.cli.spaces import load_space
from nasdsl.diagnostics import failure

if TYPE_CHECKING:
    from nasdsl.pipeline import SearchSpace


def command(
    file: options.FileArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="TABLE", help="Where the table goes.", show_default=False),
    ] = None,
    genotype: Annotated[
        str | None,
        typer.Option(
            "-g",
            "--genotype",
            metavar="JSON|FILE",
            help="Time this architecture, exported as a whole, instead.",
            show_default=False,
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE", help="With -g: what the operations of this table add up to.", show_default=False
        ),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of onnxruntime.")] = 1,
    length: Annotated[int, typer.Option("--length", min=1, help="Of dimensions that are free.")] = 16,
    runs: Annotated[int, typer.Option("--runs", min=5, help="Of each file; their median counts.")] = 100,
    whole: Annotated[
        int, typer.Option("--whole", min=0, help="Architectures that the table is scaled to; 0: it is not.")
    ] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of which these are drawn.")] = 0,
    as_json: options.JsonOption = False,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
) -> None:
    """Measure how long each operation of a space takes in onnxruntime, and keep it as a table.

    Every operation that occurs in an architecture, with its settings and sizes, is exported and timed once, at batch
    size 1; what a run takes without any is taken off. Alone they take longer than together, so the table is scaled to a
    few architectures that are timed as a whole. With the table, `nasdsl search` knows the latency of every architecture.

    Examples:

        nasdsl latency quickstart -o table.json
        nasdsl latency nasbench201 --set cells=1 -o table.json
        nasdsl latency quickstart -g genotype.json --table table.json
        nasdsl search quickstart --objective accuracy,latency --latency table.json
    """
    if (output is None) == (genotype is None):
        raise failure(
            "N516",
            "either a table is measured (-o) or one architecture (-g)",
            f"nasdsl latency {file} -o table.json",
        )
    space = load_space(file, settings, space_name, limits)
    if genotype is None:
        assert output is not None
        files.check_place(output)
        _measure(space, output, threads, length, runs, whole, seed, as_json)
        return
    from nasdsl import pipeline
    from nasdsl.space.latency import LatencyTable, readable, timed

    known = None if table is None else LatencyTable.read(table)
    if known is not None:
        space, threads, length = timed(space, known), known.threads, known.length
    found = space.genotype(networks.read_genotype(genotype))
    said = space.measure(found).latency if known is not None else None
    measured = pipeline.latency(space, found, threads=threads, length=length, runs=runs)
    if as_json:
        seconds = {name: getattr(measured, name) for name in ("median", "p05", "p95")}
        entry = {"measured": seconds, "runs": measured.runs, "threads": threads}
        print(json.dumps(entry | ({"table": said / 1e9} if said is not None else {}), indent=2))
        return
    median, low, high = (readable(1e9 * value) for value in (measured.median, measured.p05, measured.p95))
    print(f"measured   {median} (90 % of {measured.runs} runs: {low} to {high}; threads: {threads})")
    if said is not None:
        print(f"by table   {readable(said)}")


def _measure(
    space: SearchSpace,
    output: Path,
    threads: int,
    length: int,
    runs: int,
    whole: int,
    seed: int,
    as_json: bool,
) -> None:
    from nasdsl import pipeline
    from nasdsl.space.latency import readable, timed

    def progress(done: int, all: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {all} files exported", end="", file=sys.stderr, flush=True)

    table = pipeline.latency_table(
        space, threads=threads, length=length, runs=runs, whole=whole, seed=seed, on_file=progress
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    text = table.as_text()
    files.write_whole(output, text)
    if as_json:
        print(text, end="")
        return
    extent = timed(space, table).ranges().latency
    bound = "" if extent.exact else " (bounds)"
    print(f"operations   {len(table.rows)}, threads: {threads}, {table.machine}")
    if table.whole:
        print(f"scaled       x {table.scale:.3f}, to {table.whole} architectures timed as a whole")
    print(f"latency      {readable(extent.min)} to {readable(extent.max)}{bound}")
    print(f"the table is in {output}")
