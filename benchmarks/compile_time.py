"""What compiling takes, in seconds of CPU: commands as a person runs them, a long file, and how time grows with cells.

python -m benchmarks.compile_time    # about a minute; prints the table and writes benchmarks/results/compile_time.txt
"""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks._timing import machine
from nasdsl import pipeline, resources
from nasdsl.diagnostics import Source
from nasdsl.language.parser import parse

RESULTS = Path(__file__).parent / "results" / "compile_time.txt"
COMMANDS = {
    "check spaces/darts.nas": 0.6,
    "check darts --set layers=200": 5,
    "count darts --set layers=200": 5,
    "count hierarchical --set depth=5": 3,
    "check ofa_mobilenetv3": None,
    "check enas_micro": None,
}
CELLS = (1, 10, 30, 100, 300, 1000)
REPETITIONS = 3


def command_seconds(command: str) -> float:
    """Of a process of its own, start and end included: the least of several runs."""
    return min(_process_seconds(command) for _ in range(REPETITIONS))


def _process_seconds(command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "nasdsl", *command.split()], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def long_text(lines: int) -> str:
    """The cells of `darts`, over and over under other names, and one use of each."""
    text = (resources.spaces() / "darts.nas").read_text(encoding="utf-8")
    space = text[text.index("space darts") :]
    parts = [text[: text.index("space darts")]]
    while sum(part.count("\n") for part in parts) + space.count("\n") <= lines:
        parts.append(space.replace("space darts", f"space darts{len(parts)}"))
    return "".join(parts)


def cell_seconds(cells: int) -> tuple[int, float, float]:
    """Nodes of `darts` with so many cells, and seconds to elaborate it and to count it."""
    module = pipeline.read(resources.spaces() / "darts.nas")
    gc.collect()
    start = time.process_time()
    space = pipeline.elaborate(module, {"layers": cells})
    elaborated = time.process_time()
    space.count()
    return len(space.graph), elaborated - start, time.process_time() - elaborated


def report() -> str:
    found = [
        "CPU seconds",
        "",
        "command, all of it",
    ]
    for command, wanted in COMMANDS.items():
        bound = "" if wanted is None else f"  (at most {wanted})"
        found.append(f"  {'nasdsl ' + command:<44}{command_seconds(command):>7.2f}{bound}")
    text = long_text(10_000)
    start = time.process_time()
    parse(Source("long.nas", text))
    seconds = time.process_time() - start
    found += ["", f"a file of {text.count(chr(10))} lines parsed: {seconds:.2f}  (at most 3)", ""]
    found += [
        "darts with so many cells",
        f"  {'cells':>6}{'nodes':>9}{'elaborated':>12}{'counted':>9}{'ms a cell':>11}",
    ]
    for cells in CELLS:
        nodes, elaborated, counted = cell_seconds(cells)
        each = 1000 * (elaborated + counted) / cells
        found.append(f"  {cells:>6}{nodes:>9}{elaborated:>12.3f}{counted:>9.3f}{each:>11.2f}")
    return "\n".join(found) + "\n"


def main() -> None:
    # As the program itself sets it.
    gc.set_threshold(100_000, 50, 100)
    text = report()
    # Last, as it imports torch.
    text = "\n".join([*machine(), "", text])
    print(text, end="")
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
