"""Weight-sharing strategies on NAS-Bench-201 with CIFAR-10, their winners looked up in the benchmark's table.

    python -m benchmarks.cifar10 --data cifar-10-batches-bin --table cifar10.csv --device cuda
    python -m benchmarks.cifar10 --data cifar-10-batches-bin --table cifar10.csv --cells 1 --epochs 10 --gdas-epochs 10

The first is for a GPU: GDAS as published, for 250 epochs over 25 000 + 25 000 images, the others for 50, side by side in
processes. The second is what two processor cores can do in an hour: a cell of each size in place of five. The table is
of networks with five.

Beside the winners stands what the table has for an architecture drawn at random: a search is worth what it adds to that.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks._timing import machine

RESULTS = Path(__file__).parent / "results" / "cifar10.txt"
COLUMN = "test_200_epochs"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of CIFAR-10's binary files")
    parser.add_argument("--table", type=Path, required=True, help="NAS-Bench-201's results as csv")
    parser.add_argument("--strategies", default="gdas,advantage,enas,one_shot,random")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--gdas-epochs", type=int, default=250)
    parser.add_argument("--cells", type=int, default=5, help="of each of the three sizes")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    epochs: dict[int, list[str]] = {}
    for name in given.strategies.split(","):
        epochs.setdefault(given.gdas_epochs if name == "gdas" else given.epochs, []).append(name)
    running = [
        subprocess.Popen(command(given, names, count), stdout=subprocess.PIPE, text=True)
        for count, names in epochs.items()
    ]
    shown = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        sys.exit("a bench failed; its message is above")
    head = [*machine(), f"python -m benchmarks.cifar10 {' '.join(sys.argv[1:])}", "", chance(given.table), ""]
    text = "\n".join([*head, *shown])
    print(text, end="")
    RESULTS.write_text(text, encoding="utf-8")


def command(given: argparse.Namespace, names: list[str], epochs: int) -> list[str]:
    return [
        sys.executable, "-m", "nasdsl", "bench", "nasbench201", "--set", f"cells={given.cells}",
        "--data", str(given.data), "--table", str(given.table), "--report-column", COLUMN,
        "--strategies", ",".join(names), "--epochs", str(epochs), "--seeds", str(given.seeds),
        "--device", given.device, "--precision", given.precision, "--workers", str(given.workers),
        "-c", "search.crop=4", "-c", "search.flip=true",
    ]  # fmt: skip


def chance(table: Path) -> str:
    with table.open(encoding="utf-8", newline="") as stream:
        values = sorted(float(row[COLUMN]) for row in csv.DictReader(stream))
    middle, deviation = statistics.fmean(values), statistics.pstdev(values)
    return f"an architecture drawn at random: {middle:.2f} ± {deviation:.2f}, median {statistics.median(values):.2f}"


if __name__ == "__main__":
    main()
