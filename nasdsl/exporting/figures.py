"""What is measured of the ONNX files of an export: the task's metric, the time of one example, the size.

A file in fewer bits has to keep the metric: it is calibrated on one part of the training part, held to a bound on
another, and reported on the test part, which decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.exporting.job import FP32, Job
from nasdsl.exporting.latency import onnx_latency
from nasdsl.exporting.onnx import open_session
from nasdsl.training.seeds import generator
from nasdsl.training.tasks import Split, Task
from nasdsl.training.train import evaluate

CALIBRATED = 256
MEASURED = 1024
"""So many examples at most a file is calibrated and measured on."""
BATCH = 64


@dataclass(frozen=True)
class Figures:
    """Of one ONNX file. ``validation`` and ``test`` are the task's metric, on as many examples as follow them."""

    file: str
    precision: str
    bytes: int
    milliseconds: float
    metric: str | None = None
    validation: float | None = None
    validation_examples: int = 0
    test: float | None = None
    test_examples: int = 0

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def parts(task: Task) -> tuple[Split, Split, Split]:
    """Examples to calibrate on, to hold a file to the bound on, and to report on; the same for every export."""
    order = torch.randperm(len(task.train), generator=generator(0, "export parts"))
    order = order.to(task.train.device)
    calibrated = min(CALIBRATED, len(order) // 2)
    rest = order[calibrated : calibrated + MEASURED]
    return task.train.take(order[:calibrated]), task.train.take(rest), task.test.between(0, MEASURED)


def calibration_batches(job: Job) -> list[dict[str, np.ndarray]]:
    """What the scales of an int8 file come from. Raises NasError N1074 where there is no task."""
    if job.task is None:
        raise failure(
            "N1074",
            "int8 and fp16 need a task: the scales come from its training part, and its metric is what a file is held to",
            "give one with --task",
        )
    calibration, _, _ = parts(job.task)
    return [feed(job, batch.inputs) for batch in calibration.batches(BATCH)]


def feed(job: Job, inputs: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """Inputs of the network as the file takes them."""
    given = job.as_stored(inputs) if job.options.with_preprocessing else inputs
    return {
        name: x.cpu().contiguous().numpy() for name, x in zip(job.network.input_names, given, strict=True)
    }


def measure(job: Job, path: Path, precision: str) -> Figures:
    """Times a file on one example, and runs it over the task where there is one."""
    one = feed(job, [x[:1] for x in job.inputs])
    timed = onnx_latency(path, one, runs=50, at_most=1.0)
    figures = Figures(path.name, precision, path.stat().st_size, timed.milliseconds)
    if job.task is None:
        return figures
    _, validation, test = parts(job.task)
    model, objective = _model(job, path), job.task.objective
    return Figures(
        figures.file,
        precision,
        figures.bytes,
        figures.milliseconds,
        objective.name,
        evaluate(model, validation, objective, batch=BATCH).metric,
        len(validation),
        evaluate(model, test, objective, batch=BATCH).metric,
        len(test),
    )


def _model(job: Job, path: Path) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    """A file as something that takes and gives tensors as the network does."""
    session = open_session(path)

    def run(*inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        found = [torch.from_numpy(np.asarray(y)) for y in session.run(None, feed(job, inputs))]
        if job.options.top_k is None:
            return found[0] if len(found) == 1 else tuple(found)
        # As if the other classes were impossible.
        classes = job.network.output_shapes[0].dims[-1]
        assert isinstance(classes, int)
        scores = torch.full((*found[0].shape[:-1], classes), -1e4)
        scores = scores.scatter(-1, found[1], found[0])
        return scores if len(found) == 2 else (scores, *found[2:])

    return run


def check_loss(job: Job, before: Figures, after: Figures) -> float:
    """The points that a file lost against fp32's on the validation part. Raises NasError N1075 where it is too many."""
    assert before.validation is not None and after.validation is not None and before.precision == FP32
    lost = 100 * (before.validation - after.validation)
    if lost > job.options.max_loss:
        raise failure(
            "N1075",
            f"{after.precision} of `{job.network.space_name}` loses {lost:.2f} points of {after.metric}, more than "
            f"{job.options.max_loss:g}; nothing was exported",
            "\n".join(
                [
                    f"{'file':<16} {'validation':>10} {'test':>8} {'ms':>8} {'bytes':>10}",
                    *(
                        f"{f.file:<16} {f.validation:>10.4f} {f.test:>8.4f} {f.milliseconds:>8.3f} {f.bytes:>10}"
                        for f in (before, after)
                    ),
                    "a larger bound is given with --max-loss, in points",
                ]
            ),
        )
    return lost
