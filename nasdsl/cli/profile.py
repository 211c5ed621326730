"""``nasdsl profile``: what an exported network costs in onnxruntime."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from nasdsl.cli import networks, options
from nasdsl.diagnostics import failure


def command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|RUN", help="An .onnx file, a folder that holds some, or a run.", show_default=False
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="FILE|RUN",
            help="Another one to compare with, run by turns.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of onnxruntime.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Examples at once.")] = 1,
    length: Annotated[int, typer.Option("--length", min=1, help="Of dimensions that are free.")] = 16,
    warm_up: Annotated[int, typer.Option("--warm-up", min=0, help="Runs that don't count.")] = 10,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs that count.")] = 100,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, help="No new run of a file begins after so long.")
    ] = 10.0,
    as_json: options.JsonOption = False,
    limits: options.LimitOption = None,
) -> None:
    """Time an exported network, count what it computes and holds, and list its operators.

    A run is measured as it was exported; where it wasn't yet, its ONNX file is made for this and thrown away. Other work
    on the machine lengthens the slow runs more than the median.

    Examples:

        nasdsl profile runs/mine
        nasdsl profile model.onnx --threads 4 --batch 32
        nasdsl profile model.int8.onnx --against model.onnx --json
    """
    from nasdsl.exporting.profile import Settings, compare, profile
    from nasdsl.report import profiles

    settings = Settings(threads, batch, length, warm_up, runs, seconds)
    with onnx_files(what, limits) as files:
        if against is None:
            measured = [profile(file, settings) for file in files]
            if as_json:
                print(json.dumps([one.as_json() for one in measured], indent=2))
            else:
                print("\n".join(profiles.profile_lines(measured)))
            return
        with onnx_files(against, limits) as others:
            mine, other = files[0], others[0]
            measured = [profile(file, settings) for file in (other, mine)]
            found = compare(other, mine, settings)
    if as_json:
        entries = [one.as_json() for one in measured]
        print(json.dumps({"against": entries[0], "profile": entries[1], "ratio": found.as_json()}, indent=2))
        return
    print("\n".join(profiles.profile_lines(measured)))
    print()
    print("\n".join(profiles.comparison_lines(_named(against, other), _named(what, mine), found)))


def _named(given: str, file: Path) -> str:
    return given if Path(given).is_file() else f"{given} ({file.name})"


@contextmanager
def onnx_files(what: str, limits: list[str] | None) -> Iterator[list[Path]]:
    """The ONNX files of what was given, fp32's first. Raises NasError N1078 where there are none."""
    place = Path(what)
    if place.is_file():
        yield [place]
        return
    for folder in (place, place / "export"):
        found = sorted(folder.glob("*.onnx"), key=lambda path: (path.name != "model.onnx", path.name))
        if found:
            yield found
            return
    if not place.is_dir():
        raise failure("N1078", f"there is no `{what}`", "`nasdsl export` writes a model.onnx")
    if not any((folder / networks.NETWORK).is_file() for folder in (place, place / "network")):
        raise failure(
            "N1078",
            f"`{what}` has no ONNX file, and no trained network to make one of",
            f"nasdsl train {what}",
        )
    from nasdsl import pipeline

    network = networks.read_network(place, options.limits(limits)).network
    with tempfile.TemporaryDirectory() as work:
        report = pipeline.export(network, Path(work) / "export", ["onnx"])
        yield [report.form("onnx").files[0]]
