"""What a search tells as it goes on: events.

Each is a JSON object, all with ``event`` and ``seconds`` since the start of this process's part of the run:

============ ======================================================================================================
``start``    ``space``, ``architectures`` (text), ``choices``, ``task``, ``strategy``, ``epochs``, ``steps`` an epoch,
             ``memory`` {what holds it: bytes} that a step is forecast to take, ``total`` among them;
             without a supernet ``evaluator``, ``evaluations`` (at most), ``score`` (its name), 0 ``epochs``
             where it is known ``proposals``, how many genotypes are scored at most after the epochs;
             where any is set ``optimise`` {switch: value}, and ``ordinary``, why single paths don't run on a static
             graph, where that is ``auto`` and they don't
``epoch``    ``epoch`` (from 1), ``loss`` and ``metric`` on the weights' half, ``architecture_loss`` on the other where
             the strategy learns, ``reward`` (the mean) where it has rewards, ``lr``, what the strategy reports
             (``tau``), ``probabilities`` {choice: [...]},
             ``entropy`` (mean over choices, 1 is undecided), ``leading`` {choice: label}
``rollback`` ``number`` (from 1) of a divergence that was answered by going back, ``why`` (the message), ``step`` that the
             run goes on from, ``factor`` of the learning rate from there on
``trial``    ``number`` (from 1), ``genotype``, ``metric``, ``loss``; where it was trained ``budget`` (epochs) and
             ``spent`` (so far)
``end``      ``genotype``, ``metric``, ``loss``
============ ======================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nasdsl.searching.history import Trial
from nasdsl.searching.optimise import changed
from nasdsl.searching.settings import SearchSettings
from nasdsl.space.space import Space
from nasdsl.supernet.forecast import Forecast
from nasdsl.training.tasks import Task

Event = dict[str, Any]


def start_event(
    space: Space,
    task: Task,
    settings: SearchSettings,
    steps: int,
    memory: Forecast,
    proposals: int | None = None,
    ordinary: str | None = None,
) -> Event:
    """``proposals`` is how many genotypes are scored at most after the epochs, where the strategy knows; ``ordinary``
    why single paths don't run on a static graph, which is told where somebody asked for one."""
    epochs = {"epochs": settings.search.epochs, "steps": steps, "memory": memory.as_json()}
    scored: Event = {} if proposals is None else {"proposals": proposals}
    switches = changed(settings.optimise)
    if switches:
        scored["optimise"] = switches
    if ordinary and "static" in switches:
        scored["ordinary"] = ordinary
    return _start(space, task, settings) | epochs | scored


def resume_event(
    space: Space, task: Task, settings: SearchSettings, epoch: int, step: int, trials: int
) -> Event:
    """Told to those who watch, and not kept: the events of a resumed run are those of one that was never stopped."""
    about = {"epochs": settings.search.epochs, "epoch": epoch, "step": step, "trials": trials}
    return _start(space, task, settings) | about | {"event": "resume"}


def evaluated_start_event(space: Space, task: Task, settings: SearchSettings, score: str) -> Event:
    """Of a search without a supernet; ``score`` is what the evaluator's metric is called."""
    return _start(space, task, settings) | {"epochs": 0, "steps": 0} | evaluated_about(settings, score)


def evaluated_about(settings: SearchSettings, score: str) -> Event:
    """What events that begin such a search, or go on with it, say of its evaluator."""
    return {"evaluator": settings.evaluator, "evaluations": settings.evaluations, "score": score}


def _start(space: Space, task: Task, settings: SearchSettings) -> Event:
    return {
        "event": "start",
        "space": space.name,
        "architectures": str(space.count()),
        "choices": len(space.choices),
        "task": task.name,
        "strategy": settings.strategy,
    }


def epoch_event(space: Space, about: Mapping[str, Any], probabilities: Mapping[str, list[float]]) -> Event:
    """``about`` is what was summed over the epoch."""
    event: Event = {"event": "epoch", **about}
    if probabilities:
        event["entropy"] = mean_entropy(probabilities)
        event["leading"] = {
            name: space.choice(name).labels[max(range(len(p)), key=p.__getitem__)]
            for name, p in probabilities.items()
            if not space.choice(name).is_sublist
        }
        event["probabilities"] = {name: [round(p, 6) for p in ps] for name, ps in probabilities.items()}
    return event


def rollback_event(number: int, why: str, step: int, factor: float) -> Event:
    return {"event": "rollback", "number": number, "why": why, "step": step, "factor": factor}


def trial_event(trial: Trial, number: int) -> Event:
    return {"event": "trial", "number": number, **_scored(trial)}


def end_event(best: Trial) -> Event:
    return {"event": "end", **_scored(best)}


def _scored(trial: Trial) -> Event:
    return {"genotype": dict(trial.genotype), "metric": trial.metric, "loss": trial.loss}


def mean_entropy(probabilities: Mapping[str, list[float]]) -> float:
    """The mean over choices of the entropy, as a share of the largest possible: 1 is undecided, 0 decided.

    >>> mean_entropy({"a": [0.5, 0.5], "b": [1.0, 0.0]})
    0.5
    """
    shares = []
    for ps in probabilities.values():
        total = sum(ps)
        if len(ps) > 1 and total > 0:
            terms = (p / total for p in ps)
            shares.append(-sum(p * math.log(p) for p in terms if p > 0) / math.log(len(ps)))
    return sum(shares) / len(shares) if shares else 0.0
