"""A table over every space that ships: is the source the network, how far is ONNX from it, does pt2 reload exactly?

python -m tests.exporting.table                     # small sizes, 20 genotypes as source, 1 in the other forms
python -m tests.exporting.table --full darts        # the papers' sizes, one space
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from nasdsl import resources
from nasdsl.diagnostics import NasError
from nasdsl.exporting.export import export
from nasdsl.pipeline import load
from tests.exporting import cases

HEAD = ("space", "genotypes", "source", "ONNX difference", "pt2", "seconds")


def row(name: str, sources: int, others: int, full: bool) -> tuple[str, ...]:
    """Exports random genotypes of one space; every form goes through the gate."""
    space = load(resources.spaces() / f"{name}.nas") if full else cases.shipped(name)
    begin = time.perf_counter()
    onnx = pt2 = 0.0
    for seed in range(sources):
        net = cases.make(space, seed)
        formats = ["python", "onnx", "pt2"] if seed < others else ["python"]
        with tempfile.TemporaryDirectory() as folder:
            report = export(net, Path(folder) / "net", formats, sample_inputs=cases.inputs(net, batch=4))
        if seed < others:
            onnx = max(onnx, report.form("onnx").difference)
            pt2 = max(pt2, report.form("pt2").difference)
    seconds = time.perf_counter() - begin
    return name, str(sources), "equal", f"{onnx:.1e}", "equal" if not pt2 else f"{pt2:.1e}", f"{seconds:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spaces", nargs="*", metavar="SPACE", help="by default all that ship")
    parser.add_argument(
        "--sources", type=int, default=20, help="genotypes of each space that are exported as source"
    )
    parser.add_argument(
        "--others", type=int, default=1, help="those of them that are exported as ONNX and pt2 too"
    )
    parser.add_argument("--full", action="store_true", help="the spaces at their own size")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| {' | '.join(HEAD)} |\n| {' | '.join('---' for _ in HEAD)} |")
    for name in options.spaces or cases.SHIPPED:
        try:
            cells = row(name, options.sources, min(options.others, options.sources), options.full)
        except NasError as error:
            cells = (name, "-", str(error.diagnostics[0].message), "-", "-", "-")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
