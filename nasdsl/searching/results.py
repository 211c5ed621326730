"""What a finished search leaves in its folder, besides events and checkpoints.

=================== ==========================================================================
``genotype.json``   the winner
``finalists.json``  the best few, the best first: ``[{"genotype", "metric", "loss"}, …]``
``report.md``       what came out, on a page
=================== ==========================================================================
"""

from __future__ import annotations

import json

from nasdsl.searching.history import History
from nasdsl.searching.journal import Journal


def write_results(journal: Journal, history: History, finalists: int, page: str) -> None:
    """Writes the files."""
    genotype = dict(history.best().genotype)
    journal.write("genotype.json", json.dumps(genotype, indent=2, ensure_ascii=False) + "\n")
    best = [json.dumps(trial.as_json(), ensure_ascii=False) for trial in history.finalists(finalists)]
    journal.write("finalists.json", "[\n  " + ",\n  ".join(best) + "\n]\n" if best else "[]\n")
    journal.write("report.md", page)
