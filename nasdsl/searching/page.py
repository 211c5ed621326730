"""``report.md``, the page that a finished search leaves for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nasdsl.diagnostics.quantities import counted
from nasdsl.searching.history import History
from nasdsl.searching.settings import SearchSettings
from nasdsl.space.marginals import Scored, by_share, comparable, marginals, means
from nasdsl.space.space import Space
from nasdsl.training.tasks import Task

CHOICES = 20
"""So many choices at most are told of how much they mattered."""


def page(
    space: Space,
    task: Task,
    settings: SearchSettings,
    history: History,
    probabilities: Mapping[str, list[float]],
    told: str,
) -> str:
    """The page. ``told`` says how the winner was scored, and what it came to."""
    lines = [
        f"# {space.name}, searched by {settings.strategy} on {task.name}",
        "",
        f"{space.count()} architectures, {len(space.choices)} choices; "
        + (
            f"seed {settings.seed}."
            if settings.evaluator
            else f"{counted(settings.search.epochs, 'epoch')}, seed {settings.seed}."
        ),
        "",
        told,
        "",
        *_winner(space, history, probabilities),
        *_mattered(space, history),
    ]
    return "\n".join(lines) + "\n"


def _winner(space: Space, history: History, probabilities: Mapping[str, list[float]]) -> Iterator[str]:
    """What the winner took, and how likely that was to a strategy that learns probabilities."""
    yield from (
        ("| choice | taken | probability |", "| --- | --- | --- |")
        if probabilities
        else (
            "| choice | taken |",
            "| --- | --- |",
        )
    )
    for name, value in history.best().genotype.items():
        choice = space.choice(name)
        labels = value if isinstance(value, tuple) else (value,)
        cells = [f"`{name}`", ", ".join(labels)]
        if probabilities:
            known = probabilities.get(name)
            cells.append(
                ", ".join(f"{known[choice.labels.index(label)]:.2f}" for label in labels) if known else ""
            )
        yield f"| {' | '.join(cells)} |"


def _mattered(space: Space, history: History) -> Iterator[str]:
    """Nothing, where too few were scored to say anything of any choice."""
    trials = [Scored(trial.genotype, trial.metric, trial.budget) for trial in history]
    found = [
        marginal for marginal in by_share(marginals(space.choices, trials)) if marginal.share is not None
    ]
    if not found:
        return
    yield from ("", "## How much each choice mattered", "")
    yield (
        f"Among the {len(comparable(trials))} architectures that were scored: which share of the variance of their scores "
        "the means of a choice's candidates explain, which it would be on average if the choice did nothing, and these "
        "means with their standard errors and numbers of architectures."
    )
    yield from ("", "| choice | share | by chance | mean score by candidate |", "| --- | --- | --- | --- |")
    for marginal in found[:CHOICES]:
        yield f"| `{marginal.name}` | {marginal.share:.1%} | {marginal.by_chance:.1%} | {means(marginal)} |"
    if len(found) > CHOICES:
        yield from ("", f"{len(found) - CHOICES} more: `nasdsl report`.")
