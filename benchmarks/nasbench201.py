"""The strategies that a table can serve, side by side on NAS-Bench-201 (CIFAR-10): 100 evaluations, 200 search seeds.

    python -m benchmarks.nasbench201 --table ../shared/data/nasbench201/cifar10.csv

It runs `nasdsl bench`, and puts beside it what was published for a budget of 12 000 simulated seconds. Some four minutes
of CPU in all.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks._timing import machine
from nasdsl.searching.bench import tabular

RESULTS = Path(__file__).parent / "results" / "nasbench201.txt"
PUBLISHED = """
Published, for 12 000 simulated seconds in place of 100 evaluations (Dong & Yang, 2020; test accuracy, CIFAR-10):

regularized_evolution     93.92 ± 0.30
reinforce                 93.85 ± 0.37
random_search             93.70 ± 0.36
optimum                   94.37

The table has no training times, so that budget can't be replayed; the others were not published there.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=Path("../shared/data/nasbench201/cifar10.csv"))
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    arguments = ["--strategies", ",".join(tabular()), "--seeds", str(options.seeds)]
    shown = subprocess.run(
        [
            sys.executable, "-m", "nasdsl", "bench", "nasbench201", "--table", str(options.table), *arguments,
            "--workers", str(options.workers),
        ],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    command = f"nasdsl bench nasbench201 --table {options.table.name} {' '.join(arguments)}"
    text = "\n".join([*machine(), command, "", shown]) + PUBLISHED
    print(text, end="")
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
