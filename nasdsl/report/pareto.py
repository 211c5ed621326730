"""The picture of a front: the metric of every trial over a cost, with those that nothing beats joined by a line."""

from __future__ import annotations

import json
from pathlib import Path

NAMES = {
    "params": "params",
    "flops": "multiply-adds",
    "memory": "bytes of activations at once",
    "training_memory": "bytes of activations kept for a backward pass",
}


def plot(front: Path) -> Path:
    """Draws ``pareto.json`` beside it, a panel a cost; gives the path of the picture."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    # Text stays text, and the same front gives the same bytes.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "nasdsl", "font.family": "sans-serif"}
    found = json.loads(front.read_text(encoding="utf-8"))
    metric, *costs = found["objectives"]
    figure, panels = plt.subplots(1, len(costs), figsize=(4.6 * len(costs), 3.4), squeeze=False, sharey=True)
    for panel, cost in zip(panels[0], costs, strict=True):
        panel.scatter(
            [p[cost] for p in found["trials"]],
            [p[metric] for p in found["trials"]],
            s=14,
            color="0.7",
            label="trials",
        )
        best = sorted(found["front"], key=lambda p: p[cost])
        panel.plot(
            [p[cost] for p in best], [p[metric] for p in best], "o-", ms=4, color="#1f5fa8", label="front"
        )
        panel.set_xlabel(NAMES.get(cost, cost))
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
    panels[0][0].set_ylabel(metric)
    panels[0][-1].legend(frameon=False, loc="lower right")
    figure.suptitle(f"hypervolume {found['hypervolume']:.4f}", fontsize=9)
    path = front.with_suffix(".svg")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return path
