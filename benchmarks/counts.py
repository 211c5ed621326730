"""How large the spaces that ship are: one line each, counted exactly.

python -m benchmarks.counts
"""

from __future__ import annotations

import time

from nasdsl import pipeline, resources


def table() -> list[tuple[str, int, int, float]]:
    """Name, number of choices, number of architectures, and seconds of CPU from the text to the count."""
    rows = []
    for path in sorted(resources.spaces().glob("*.nas")):
        start = time.process_time()
        space = pipeline.load(path)
        number = space.count()
        rows.append((space.name, len(space.choices), number, time.process_time() - start))
    return rows


def main() -> None:
    rows = table()
    numbers = [f"{number:,}".replace(",", " ") for _, _, number, _ in rows]
    wide = max(len(number) for number in numbers)
    print(f"{'space':<18}{'choices':>8}  {'architectures':>{wide}}  {'CPU s':>6}")
    for (name, choices, _, seconds), number in zip(rows, numbers, strict=True):
        print(f"{name:<18}{choices:>8}  {number:>{wide}}  {seconds:>6.2f}")


if __name__ == "__main__":
    main()
