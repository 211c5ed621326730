"""What a finished search leaves in its folder, besides events and checkpoints.

=================== ==========================================================================
``genotype.json``   the winner
``finalists.json``  the best few, the best first: ``[{"genotype", "metric", "loss"}, …]``
``report.md``       what came out, on a page
``pareto.json``     where there are costs among the objectives, the front, its hypervolume in which box, and all points
``pareto.csv``      the points, those of the front marked
``front.jsonl``     the genotypes of the front, one JSON object a line, by the first cost: for ``nasdsl train -g``
=================== ==========================================================================
"""

from __future__ import annotations

import json

from nasdsl.searching.history import History
from nasdsl.searching.journal import Journal
from nasdsl.searching.objectives import Metric, costs_among, front_of
from nasdsl.searching.settings import SearchSettings
from nasdsl.space.space import Space


def write_results(
    journal: Journal, space: Space, history: History, settings: SearchSettings, metric: Metric, page: str
) -> None:
    """Writes the files."""
    genotype = dict(history.best().genotype)
    journal.write("genotype.json", json.dumps(genotype, indent=2, ensure_ascii=False) + "\n")
    best = [
        json.dumps(trial.as_json(), ensure_ascii=False) for trial in history.finalists(settings.finalists)
    ]
    journal.write("finalists.json", "[\n  " + ",\n  ".join(best) + "\n]\n" if best else "[]\n")
    journal.write("report.md", page)
    if costs := costs_among(settings.objectives):
        front = front_of(space, history, costs, metric)
        journal.write("pareto.json", json.dumps(front.as_json(), indent=2, ensure_ascii=False) + "\n")
        journal.write("pareto.csv", front.as_csv())
        genotypes = [json.dumps(dict(trial.genotype), ensure_ascii=False) + "\n" for trial in front.trials]
        journal.write("front.jsonl", "".join(genotypes))
