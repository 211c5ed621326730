"""``export``: a network as files that somebody can take home."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasdsl.diagnostics import did_you_mean, failure
from nasdsl.exporting.cases import SampleInputs, ordered_inputs, random_inputs
from nasdsl.exporting.exported import ExportReport, FormReport
from nasdsl.exporting.folder import EXAMPLE, HUB, METRICS, README, workplace
from nasdsl.exporting.forms import FORMS, Written, known_formats
from nasdsl.exporting.job import FP32, PRECISIONS, About, Job, Options
from nasdsl.exporting.network import Network
from nasdsl.exporting.onnx import OPSET
from nasdsl.exporting.readme import write_card, write_config, write_readme
from nasdsl.space.measures import measure as space_measure
from nasdsl.space.space import Space
from nasdsl.training.tasks import Task
from nasdsl.version import VERSION

DEFAULT_FORMATS = ("python", "onnx")
COMPARED = 64
"""So many held-out examples of a task the forms are compared on."""


def export(
    network: Network,
    folder: str | Path,
    formats: Sequence[str] = DEFAULT_FORMATS,
    *,
    sample_inputs: SampleInputs | None = None,
    task: Task | None = None,
    space: Space | None = None,
    metrics: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    weights: str | None = None,
    opset: int = OPSET,
    with_preprocessing: bool = False,
    with_probabilities: bool = False,
    top_k: int | None = None,
    precisions: Sequence[str] = (FP32,),
    max_loss: float = 1.0,
) -> ExportReport:
    """Writes a network in each of the formats, with a README, once every one of them gives the network's numbers.

    Every form is run on ``sample_inputs`` (real inputs, a batch of each, as the network takes them), at several batch
    sizes, in eval mode and float32 on the CPU; without them held-out examples of the ``task`` are taken, and without a
    task random ones. ``python``, ``pt2`` and ``nas`` must agree bit for bit, ONNX to 1e-5 of the largest output; an
    ONNX file in another of the ``precisions`` may lose ``max_loss`` points of the task's metric.

    The task also says ``classes`` and ``preprocessing``, and the ONNX files are measured on it. ``with_preprocessing``,
    ``with_probabilities`` and ``top_k`` put the normalisation, a softmax and the choice of the best classes into the
    graphs of ONNX and pt2. ``space`` is needed for ``nas``; ``metrics`` and ``weights`` (where they come from) go into
    ``metrics.json`` and the README.

    In a folder that holds other things only files of an earlier export are replaced. Raises NasError: N950 and N1075
    where a form is too far off, and then leaves no file behind; N951 to N962 and N1070 to N1074 for what can't be
    exported.
    """
    options = Options(
        known_formats(list(formats) if not isinstance(formats, str) else formats),
        opset,
        with_preprocessing,
        with_probabilities,
        top_k,
        _known_precisions(precisions),
        max_loss,
    )
    if task is not None:
        task = task.to(torch.device("cpu"))
        classes = classes or task.labels or None
        if preprocessing is None and task.normalisation is not None:
            preprocessing = {name: list(value) for name, value in asdict(task.normalisation).items()}
    if sample_inputs is None and task is not None:
        sample_inputs = task.test.between(0, COMPARED).inputs
    real = sample_inputs is not None
    inputs = random_inputs(network) if sample_inputs is None else ordered_inputs(network, sample_inputs)
    about = About(metrics or {}, tuple(classes) if classes else None, preprocessing, weights, real)
    still = _still(network)
    _check_options(still, options, task)
    # The checks run in another folder.
    folder = Path(folder).absolute()
    with workplace(folder) as work:
        job = Job(still, inputs, options, about, work, task, space)
        forms: list[FormReport] = []
        for format in options.formats:
            begin = time.perf_counter()
            written = FORMS[format].write(job)
            seconds = time.perf_counter() - begin
            forms += [_report(format, folder, one, seconds / len(written)) for one in written]
        report = ExportReport(
            folder, tuple(forms), tuple(case.words for case in job.cases), _others(folder, real)
        )
        _write_about(job, report)
    return report


def _report(format: str, folder: Path, one: Written, seconds: float) -> FormReport:
    files = tuple(folder / name for name in one.files)
    return FormReport(
        format, files, one.difference, one.tolerance, seconds, one.precision, one.figures, one.lost
    )


def _others(folder: Path, real: bool) -> tuple[Path, ...]:
    return tuple(folder / name for name in ([METRICS, EXAMPLE, README] if real else [METRICS, README]))


def _still(network: Network) -> Network:
    """A copy to export: on the CPU, in float32 and eval mode, its weights laid out in the order of their axes."""
    still = copy.deepcopy(network).cpu().float().eval()
    for tensor in (*still.parameters(), *still.buffers()):
        # `contiguous()` would leave a weight with one channel in channels-last order.
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    return still


# --- what was asked for ------------------------------------------------------------------------------


def _known_precisions(given: Sequence[str]) -> tuple[str, ...]:
    wanted = [given] if isinstance(given, str) else list(given)
    for name in wanted:
        if name not in PRECISIONS:
            help = did_you_mean(name, PRECISIONS) or f"there are {', '.join(PRECISIONS)}"
            raise failure("N1071", f"unknown precision `{name}`", help)
    return tuple(name for name in PRECISIONS if name in wanted) or (FP32,)


def _check_options(network: Network, options: Options, task: Task | None) -> None:
    """Raises NasError where options don't go together, before anything is made."""
    graphs = {"onnx", "pt2", "hub"} & set(options.formats)
    files = {"onnx", "hub"} & set(options.formats)
    if not options.bare and not graphs:
        raise failure(
            "N1071",
            "preprocessing, probabilities and top-k go into the graphs of onnx and pt2, and neither is written",
            "add onnx to the formats",
        )
    if not files and (options.precisions != (FP32,) or options.opset != OPSET):
        raise failure(
            "N1071",
            "precisions and opset are those of an ONNX file, and none is written",
            "add onnx to the formats",
        )
    if options.precisions != (FP32,) and task is None:
        raise failure(
            "N1074",
            "fp16 and int8 need a task: its metric is what they are held to, and int8's scales come from its data",
            "name one, such as --task digits",
        )
    if options.max_loss < 0:
        raise failure("N1071", f"a bound of {options.max_loss:g} points on what may be lost is below 0")
    if options.top_k is not None:
        dims = network.output_shapes[0].dims
        classes = dims[-1] if dims else 1
        if isinstance(classes, int) and not 1 <= options.top_k <= classes:
            raise failure("N1071", f"the best {options.top_k} of {classes} classes can't be taken")


# --- what is told ------------------------------------------------------------------------------------


def _write_about(job: Job, report: ExportReport) -> None:
    """``metrics.json``, the README, an example, and the card of a hub folder."""
    known = figures_of(job, report)
    _write_json(job.folder / METRICS, known)
    if job.about.real:
        _write_example(job, job.folder / EXAMPLE)
    (job.folder / README).write_text(write_readme(job, report), encoding="utf-8")
    if HUB in job.options.formats:
        hub = job.folder / HUB
        _write_json(hub / "config.json", write_config(job))
        (hub / README).write_text(write_card(job, known, report), encoding="utf-8")
        if job.about.real:
            _write_example(job, hub / EXAMPLE)


def _write_json(path: Path, known: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_example(job: Job, path: Path) -> None:
    """One example as it is stored, before preprocessing: an array for each input, with a batch axis."""
    one = job.as_stored([x[:1] for x in job.inputs])
    arrays: dict[str, Any] = {
        name: x.contiguous().numpy() for name, x in zip(job.network.input_names, one, strict=True)
    }
    np.savez(path, **arrays)


def figures_of(job: Job, report: ExportReport) -> dict[str, Any]:
    """What ``metrics.json`` says."""
    network = job.network
    known: dict[str, Any] = {
        "nasdsl": VERSION,
        "space": network.space_name,
        "genotype": dict(network.genotype),
        "params": sum(parameter.numel() for parameter in network.parameters()),
        "flops": space_measure(network.architecture, network.catalogue).flops,
        "weights": job.about.weights,
        "metrics": dict(job.about.metrics),
        "largest_difference": {f.name: f.difference for f in report.forms if f.difference is not None},
        "checked_on": list(report.cases),
    }
    if job.about.preprocessing is not None:
        known["preprocessing"] = {**job.about.preprocessing, "in_graph": job.options.with_preprocessing}
    if job.task is not None and job.task.target_normalisation is not None:
        known["target"] = asdict(job.task.target_normalisation)
    if job.task is not None and job.task.columns:
        known["columns"] = list(job.task.columns)
    measured = [form.figures.as_json() for form in report.forms if form.figures is not None]
    if measured:
        known["onnx"] = measured
    return known
