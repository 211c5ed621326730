"""Searches in several processes, in float64.

An order has a ``folder``, ``strategies``, each of which is searched in ``FOLDER/STRATEGY``, ``assignments``, the
``source`` of the space where it isn't the small one, and what is to go wrong: ``fault``, as ``rank:step:how``.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from nasdsl.diagnostics import Diagnostic
from nasdsl.pipeline import loads
from nasdsl.searching import search
from nasdsl.searching.steps import Steps
from nasdsl.training.checkpoint import write_checkpoint
from nasdsl.training.ranks import joined
from tests.searching.small import settings, space, task


def searched(order: dict[str, Any]) -> dict[str, Any]:
    """Searches, as one of the processes; each result is written beside its run."""
    torch.set_default_dtype(torch.float64)
    if "fault" in order:
        rank, step, how = order["fault"].split(":")
        if os.environ["RANK"] == rank:
            go_wrong(int(step), how)
    folder, warned = Path(order["folder"]), []

    def warn(diagnostic: Diagnostic) -> None:
        warned.append([diagnostic.code, diagnostic.message])

    with joined(torch.device("cpu"), order.get("timeout", 60)) as (ranks, _):
        for strategy in order["strategies"]:
            chosen = settings(strategy, *order["assignments"])
            data = task(torch.float64)
            searched = loads(order["source"]) if "source" in order else space()
            result = search(searched, chosen, task=data, folder=folder / strategy, warn=warn)
            tensors = {name: t.contiguous() for name, t in result.supernet.state_dict().items()}
            about = {"probabilities": result.probabilities, "genotype": dict(result.genotype)}
            write_checkpoint(folder / f"{strategy}.{ranks.rank}", tensors, about)
    return {"warned": warned}


def go_wrong(at: int, how: str) -> None:
    weight_step = Steps.weight_step

    def step(self: Steps, batch: Any, number: int, rate: float) -> None:
        if number == at:
            if how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "hangs":
                time.sleep(8)
            if how == "differs":
                self.digest += 1
        weight_step(self, batch, number, rate)

    Steps.weight_step = step  # type: ignore[method-assign]
