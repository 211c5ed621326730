"""How well do messages point at a slip of the pen?

Every token of every space that ships is deleted, doubled and swapped with its neighbour, one at a
time. Counted are the texts that no longer parse, and among them those whose first message stands on
the line of the slip (for a swap across lines: on one of the two). Nothing is drawn by chance.

    python benchmarks/mutations.py            # the table
    python benchmarks/mutations.py --misses   # and every first message that points elsewhere
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from nasdsl import resources
from nasdsl.diagnostics import NasError, Source, render
from nasdsl.language.parser import parse, read_tokens


@dataclass(frozen=True)
class Mutant:
    source: Source
    kind: str
    lines: frozenset[int]


def shipped_sources() -> list[Source]:
    """The spaces that ship, in a fixed order."""
    folder = resources.spaces()
    paths = sorted(folder.rglob("*.nas"))
    return [Source(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def mutants(source: Source) -> Iterator[Mutant]:
    """Each token deleted, each doubled, each swapped with the next one."""
    text = source.text
    spans = [tokens.span(i) for tokens in [read_tokens(source)] for i in range(len(tokens) - 1)]
    for i, span in enumerate(spans):
        line = source.position(span.start)[0]
        before, after = text[: span.start], text[span.end :]
        # A space keeps the neighbours apart, as two tokens.
        tight = bool(before) and not before[-1].isspace() and bool(after) and not after[0].isspace()
        yield Mutant(Source(source.path, before + " " * tight + after), "deleted", frozenset({line}))
        yield Mutant(
            Source(source.path, f"{before}{span.text} {span.text}{after}"), "doubled", frozenset({line})
        )
        if i + 1 < len(spans):
            other = spans[i + 1]
            between, rest = text[span.end : other.start] or " ", text[other.end :]
            swapped = f"{before}{' ' * _glued(before)}{other.text}{between}{span.text}{' ' * _glued(rest[:1])}{rest}"
            lines = frozenset({line, source.position(other.start)[0]})
            yield Mutant(Source(source.path, swapped), "swapped", lines)


def _glued(text: str) -> bool:
    return bool(text) and not text[-1].isspace()


@dataclass(frozen=True)
class Outcome:
    mutant: Mutant
    error: NasError | None

    @property
    def hit(self) -> bool:
        assert self.error is not None
        span = self.error.diagnostics[0].span
        return span is not None and span.source.position(span.start)[0] in self.mutant.lines


def outcome(mutant: Mutant) -> Outcome:
    """Any other exception than a diagnostic ends the measurement with its traceback."""
    try:
        parse(mutant.source)
    except NasError as error:
        return Outcome(mutant, error)
    return Outcome(mutant, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--misses", action="store_true", help="show each first message on another line")
    misses = parser.parse_args().misses
    start = time.process_time()
    total: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    messages: Counter[str] = Counter()
    for source in shipped_sources():
        for mutant in mutants(source):
            result = outcome(mutant)
            total[mutant.kind] += 1
            if result.error is None:
                continue
            rejected[mutant.kind] += 1
            messages[mutant.kind] += len(result.error.diagnostics)
            hits[mutant.kind] += result.hit
            if misses and not result.hit:
                print(
                    f"{mutant.kind} on line {sorted(mutant.lines)}",
                    render(result.error.diagnostics[0]),
                    "",
                    sep="\n",
                )
    print(f"{'slip':<9}{'texts':>7}{'rejected':>10}{'on its line':>13}{'messages each':>15}")
    for kind in (*total, "all"):
        a, b, c, d = (
            sum(n.values()) if kind == "all" else n[kind] for n in (total, rejected, hits, messages)
        )
        print(f"{kind:<9}{a:>7}{b:>10}{c / b:>12.1%}{d / b:>15.2f}")
    print(f"{time.process_time() - start:.0f} s of CPU time", file=sys.stderr)


if __name__ == "__main__":
    main()
