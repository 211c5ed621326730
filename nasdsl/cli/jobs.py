"""Trainings, one after the other or side by side; each keeps its state in a folder of its own and can go on from there.

While it trains, a folder holds ``job.json`` (what is trained how) and ``checkpoint.safetensors``; once it is done, the
trained network (:mod:`nasdsl.cli.networks`). The same job finds what is there: it goes on, or it is done.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasdsl.cli import finished, networks
from nasdsl.diagnostics import failure
from nasdsl.space.choice import Taken
from nasdsl.space.size import plain

if TYPE_CHECKING:
    from nasdsl.exporting.network import Network
    from nasdsl.pipeline import SearchSpace
    from nasdsl.training.data.settings import DataSettings
    from nasdsl.training.recipe import Recipe
    from nasdsl.training.tasks import Task
    from nasdsl.training.train import Epoch

JOB = "job.json"
CHECKPOINT = "checkpoint.safetensors"
LOCK = ".lock"
VALIDATION_SHARE = 0.1
"""Of the training part, where candidates are compared and the task has no validation part of its own."""


@dataclass(frozen=True)
class Job:
    """One network to train. It can be sent to another process: the space is named by its file.

    ``validates``: train on a part and score on the rest, for the test part is not there to choose by.
    ``run``: the run from whose supernet the weights are taken; None is from scratch.
    """

    folder: Path
    space: networks.SpaceReference
    genotype: Mapping[str, Taken]
    task: str
    data: DataSettings
    seed: int
    recipe: Recipe
    device: str
    precision: str
    validates: bool = False
    run: Path | None = None

    def identity(self, space: SearchSpace) -> dict[str, Any]:
        """All that decides what comes out."""
        return {
            "space": space.name,
            "sources": digest({str(i): text for i, text in enumerate(space.sources.values())}),
            "parameters": plain(space.parameters),
            "genotype": {k: list(v) if isinstance(v, tuple) else v for k, v in self.genotype.items()},
            "task": self.task,
            "data": self.data.model_dump(mode="json"),
            "seed": self.seed,
            "recipe": self.recipe.model_dump(mode="json"),
            "precision": self.precision,
            "validates": self.validates,
            "weights": str(self.run) if self.run else "scratch",
        }


@dataclass(frozen=True)
class Score:
    """What a job came to: metric and loss on the part that it was scored on, the validation or the test part."""

    metric: float
    loss: float
    examples: int


def run_job(job: Job, on_epoch: Callable[[Epoch], None] | None = None) -> Score:
    """Trains, or goes on, or reads what is done. Raises NasError N1023 where the folder has an unfinished training of
    another kind, N931 where another process trains in it."""
    space = job.space.load()
    wanted = job.identity(space)
    done = stored_score(job.folder, wanted)
    if done is not None:
        return done
    with held(job.folder):
        return _train(job, space, wanted, on_epoch)


def _train(
    job: Job, space: SearchSpace, wanted: Mapping[str, Any], on_epoch: Callable[[Epoch], None] | None
) -> Score:
    from nasdsl import pipeline
    from nasdsl.training import resolve_device
    from nasdsl.training.checkpoint import write_json
    from nasdsl.training.data.build import task_for

    check_unfinished(job.folder, wanted)
    device = resolve_device(job.device)
    task = task_for(job.task, job.data).to(device).ordered(space)
    if job.validates:
        task = validating(task, job.seed)
    network = space.network(job.genotype)
    if job.run is not None:
        _inherit(network, space, job, task)
    write_json(job.folder / JOB, wanted)
    trained = pipeline.train(
        network,
        task,
        job.recipe,
        seed=job.seed,
        device=job.device,
        precision=job.precision,
        fresh=job.run is None,
        checkpoint=job.folder / CHECKPOINT,
        on_epoch=on_epoch,
    )
    part = "validation" if job.validates else "test"
    networks.write_network(
        job.folder,
        space,
        trained,
        task=job.task,
        data=job.data,
        seed=job.seed,
        recipe=job.recipe,
        part=part,
        job=digest(wanted),
    )
    (job.folder / CHECKPOINT).unlink(missing_ok=True)
    return Score(trained.test.metric, trained.test.loss, trained.test.examples)


def run_jobs(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Score]]:
    """Every job with its score, as they are done; up to ``workers`` at once, each in a process of its own on one thread.

    Raises what the first job that fails raises, and N1024 where a process dies.
    """
    from nasdsl.searching.processes import in_processes

    yield from in_processes(_scored, _nothing, jobs, workers)


def _nothing() -> None:
    """A job has all that its process needs."""


def _scored(shared: None, job: Job) -> tuple[Job, Score]:
    return job, run_job(job)


def validating(task: Task, seed: int) -> Task:
    """The task with its validation part in the place of the test part; cut from the training part where it has none of
    its own."""
    from nasdsl.training.cuts import cut
    from nasdsl.training.seeds import generator

    if task.validation is not None:
        return replace(task, test=task.validation)
    kept, held = cut(task.train, 1 - VALIDATION_SHARE, generator(seed, "validation"))
    device = task.train.device
    return replace(task, train=task.train.part(kept.to(device)), test=task.train.part(held.to(device)))


def stored_score(folder: Path, wanted: Mapping[str, Any]) -> Score | None:
    """What a folder's network scored, if it is the one that is wanted."""
    about = networks.about(folder)
    if about is None or about.get("job") != digest(wanted):
        return None
    found = about.get("validation") or about["test"]
    return Score(found["metric"], found["loss"], found["examples"])


def trains_in(folder: Path) -> bool:
    """Whether a training was begun in a folder."""
    return (folder / JOB).is_file() or networks.about(folder) is not None


def made_otherwise(folder: Path, wanted: Collection[str], *, finished: bool) -> bool:
    """Whether a folder has the network of none of these jobs, given by their digests; a ``finished`` one alone, or one
    that is still being trained as well."""
    from nasdsl.training.checkpoint import read_json

    about = networks.about(folder)
    if about is not None:
        return about.get("job") not in wanted
    if finished or not ((folder / CHECKPOINT).exists() and (folder / JOB).exists()):
        return False
    return digest(read_json(folder / JOB)) not in wanted


def remove(folder: Path) -> None:
    """Takes away what a training wrote, what names the network first; the folder and what else is in it stay."""
    for name in (*networks.FILES, CHECKPOINT, JOB):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """One process at a time trains in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise failure(
                "N931", f"another process trains in `{folder}`", "name another folder with -o"
            ) from None
        yield


def check_unfinished(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Raises NasError N1023 where a folder has an unfinished training of another kind."""
    from nasdsl.training.checkpoint import read_json

    path = folder / JOB
    if (folder / CHECKPOINT).exists() and path.exists():
        before = read_json(path)
        if before == wanted:
            return
        key, old, new = next(_differences(before, wanted))
        raise failure(
            "N1023",
            f"`{folder}` has an unfinished training of another kind: `{key}` was {old}, and is {new} now",
            "name another folder with -o, or replace what is there with `--overwrite`",
        )


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield prefix + key, old, new


def digest(identity: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=16).hexdigest()


def _inherit(network: Network, space: SearchSpace, job: Job, task: Task) -> None:
    from nasdsl.searching.inherited import inherited

    assert job.run is not None
    settings = finished.read_run(job.run, job.space.limits).settings
    supernet = inherited(job.run, space, settings, network.genotype, task)
    network.inherit(supernet.weights_of)
