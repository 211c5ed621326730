"""Several trainings as one: which networks, on which seeds, what each scored, and which of them wins.

    base/
      network/         the network that is kept: of several candidates the winner's
      candidates/      where there is more than one training: a network's folder each, `1-0` the first on seed 0
      results.json     all scores
      budget.json      the number of epochs that `--budget` came to

Candidates are compared on the validation part. The test part is looked at once, for the winner.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasdsl.cli import jobs, networks
from nasdsl.cli.jobs import Job, Score
from nasdsl.diagnostics import failure

if TYPE_CHECKING:
    from nasdsl.pipeline import SearchSpace
    from nasdsl.report.progress import Progress
    from nasdsl.space.choice import Genotype
    from nasdsl.training.tasks import Task

KEPT = "network"
CANDIDATES = "candidates"
RESULTS = "results.json"
BUDGET = "budget.json"


@dataclass(frozen=True)
class Trainings:
    """``jobs`` has for each candidate one job a seed, those of a candidate one after the other."""

    base: Path
    space: SearchSpace
    genotypes: Sequence[Genotype]
    seeds: Sequence[int]
    jobs: Sequence[Job]

    @property
    def alone(self) -> bool:
        return len(self.jobs) == 1

    @property
    def folders(self) -> Sequence[Path]:
        """Where networks are, or go: the one that is kept, of several or alone, and the candidates. ``base`` can be the
        folder of a run, which has a checkpoint and a genotype of its own."""
        alone = [self.base] if jobs.trains_in(self.base) else []
        return list(dict.fromkeys([self.base / KEPT, *alone, *(job.folder for job in self.jobs)]))


def plan(
    job: Job,
    base: Path,
    alone_in: Path,
    space: SearchSpace,
    genotypes: Sequence[Genotype],
    seeds: Sequence[int],
) -> Trainings:
    """The trainings of every genotype on every seed; ``job`` says the rest, and ``alone_in`` where one alone goes."""
    if len(genotypes) * len(seeds) == 1:
        alone = replace(job, folder=alone_in, genotype=genotypes[0], seed=seeds[0])
        return Trainings(base, space, genotypes, seeds, [alone])
    several = [
        replace(
            job,
            folder=base / CANDIDATES / f"{number}-{seed}",
            genotype=genotype,
            seed=seed,
            validates=len(genotypes) > 1,
        )
        for number, genotype in enumerate(genotypes, 1)
        for seed in seeds
    ]
    return Trainings(base, space, genotypes, seeds, several)


def make_room(trainings: Trainings, overwrite: bool) -> None:
    """Nothing where the folders are empty, or hold networks that are among what is planned.

    Raises NasError N1023 where one holds an unfinished training of another kind, and N1027 where it holds a finished
    network that was trained otherwise; with ``overwrite`` that goes,
    finished or not, and all that was written beside it. N931 where another process trains there.
    """
    identities = [job.identity(trainings.space) for job in trainings.jobs]
    wanted = {jobs.digest(identity) for identity in identities}
    others = [
        folder for folder in trainings.folders if jobs.made_otherwise(folder, wanted, finished=not overwrite)
    ]
    if not others:
        for job, identity in zip(trainings.jobs, identities, strict=True):
            jobs.check_unfinished(job.folder, identity)
        return
    if not overwrite:
        raise failure(
            "N1027",
            f"`{others[0]}` has a network that was trained otherwise: {networks.summary(others[0])}",
            "train into another folder with `-o FOLDER`, or replace what is there with `--overwrite`",
        )
    with ExitStack() as held:
        for folder in trainings.folders:
            if folder.is_dir():
                held.enter_context(jobs.held(folder))
        for folder in trainings.folders:
            jobs.remove(folder)
        for name in (KEPT, CANDIDATES):
            shutil.rmtree(trainings.base / name, ignore_errors=True)
        for name in (RESULTS, BUDGET):
            (trainings.base / name).unlink(missing_ok=True)


def within_budget(
    trainings: Trainings, task: Task, seconds: float, workers: int, overwrite: bool = False
) -> Trainings:
    """The trainings with as many epochs each as fit into ``seconds`` in all, counted when they first began, and room
    for them (:func:`make_room`)."""
    from nasdsl.training.budget import epochs_within, seconds_per_epoch
    from nasdsl.training.checkpoint import read_json, write_json

    first = trainings.jobs[0]
    path = trainings.base / BUDGET
    asked = {
        "seconds": seconds,
        "workers": workers,
        "of": jobs.digest({str(i): job.identity(trainings.space) for i, job in enumerate(trainings.jobs)}),
    }
    kept = read_json(path) if path.is_file() else {}
    if {key: kept.get(key) for key in asked} != asked:
        network = trainings.space.network(first.genotype).to(task.train.device)
        took = seconds_per_epoch(network, task, first.recipe, precision=first.precision)
        rounds = -(-len(trainings.jobs) // min(workers, len(trainings.jobs)))
        kept = asked | {"epochs": epochs_within(seconds / rounds, took)}
    recipe = first.recipe.lasting(int(kept["epochs"]))
    planned = replace(trainings, jobs=[replace(job, recipe=recipe) for job in trainings.jobs])
    make_room(planned, overwrite)
    write_json(path, kept)
    return planned


def train_alone(trainings: Trainings, task: Task, progress: Progress) -> Score:
    """One training, epoch by epoch before one's eyes."""
    (job,) = trainings.jobs
    return jobs.run_job(job, on_epoch=lambda epoch: progress.training(epoch, job.recipe.epochs))


def train_several(trainings: Trainings, task: Task, workers: int, progress: Progress) -> list[list[Score]]:
    """The scores, a row for each candidate with one for each seed."""
    found: dict[Path, Score] = {}
    part = "validation" if trainings.jobs[0].validates else "held-out"
    for job, score in jobs.run_jobs(trainings.jobs, workers):
        found[job.folder] = score
        progress.say(
            f"{len(found):>3}/{len(trainings.jobs)}  candidate {job.folder.name.partition('-')[0]}, seed {job.seed}"
            f"  {part} {task.objective.name} {score.metric:.4f}"
        )
    scores = [found[job.folder] for job in trainings.jobs]
    count = len(trainings.seeds)
    return [scores[i : i + count] for i in range(0, len(scores), count)]


@dataclass(frozen=True)
class Outcome:
    """The winner, a number among the candidates, and what its networks, one a seed, scored on the test part.

    ``tied`` are the candidates that did as well, the winner among them, where there is more than one; ``kept`` is the
    seed whose network is in ``network/``.
    """

    winner: int
    test: Sequence[Score]
    tied: Sequence[int]
    kept: int


def conclude(trainings: Trainings, scores: Sequence[Sequence[Score]], task: Task) -> Outcome:
    """Picks the winner by what is in ``scores``, scores it on the test part, and puts its network into ``network/``. Of
    candidates that did equally well the one with the fewest parameters wins."""
    means = [_number(sum(score.metric for score in row) / len(row)) for row in scores]
    sizes = [trainings.space.measure(genotype).params for genotype in trainings.genotypes]
    winner = max(range(len(means)), key=lambda i: (means[i], -sizes[i], -i))
    equal = [i for i, mean in enumerate(means) if mean == means[winner]]
    row = scores[winner]
    count = len(trainings.seeds)
    own = trainings.jobs[winner * count : (winner + 1) * count]
    test = [_on_test(job, task) for job in own] if own[0].validates else list(row)
    # Of several seeds that of the best validation score; the first where there is none.
    best = max(range(count), key=lambda i: _number(row[i].metric)) if own[0].validates else 0
    _copy(own[best].folder, trainings.base / KEPT)
    return Outcome(winner, test, equal if len(equal) > 1 else (), trainings.seeds[best])


def write_results(
    trainings: Trainings, scores: Sequence[Sequence[Score]], outcome: Outcome, task: Task, name: str
) -> None:
    from nasdsl.training.checkpoint import write_json

    entries: Mapping[str, Any] = {
        "metric": task.objective.name,
        "task": name,
        "seeds": list(trainings.seeds),
        "compared_on": "validation" if trainings.jobs[0].validates else "test",
        "candidates": [
            {"genotype": dict(genotype), "metrics": [s.metric for s in row], "losses": [s.loss for s in row]}
            for genotype, row in zip(trainings.genotypes, scores, strict=True)
        ],
        "winner": outcome.winner,
        "tied": list(outcome.tied),
        "kept_seed": outcome.kept,
        "test": {"metrics": [s.metric for s in outcome.test], "losses": [s.loss for s in outcome.test]},
    }
    write_json(trainings.base / RESULTS, entries)


def _on_test(job: Job, task: Task) -> Score:
    from nasdsl.training import evaluate

    found = (networks.about(job.folder) or {}).get("test")
    if found is None:
        stored = networks.read_network(job.folder, job.space.limits)
        network = stored.network.to(task.test.device)
        result = evaluate(network, task.test, task.objective, precision=job.precision)
        networks.add_test(job.folder, result.metric, result.loss, result.examples)
        return Score(result.metric, result.loss, result.examples)
    return Score(found["metric"], found["loss"], found["examples"])


def _copy(source: Path, target: Path) -> None:
    beside = target.with_name(f".{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside, ignore=shutil.ignore_patterns(jobs.LOCK))
    shutil.rmtree(target, ignore_errors=True)
    beside.replace(target)


def _number(value: float) -> float:
    """What is no number never wins."""
    return value if value == value else float("-inf")
