"""The forms that a network is exported in: each writes its files and holds them against the network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nasdsl.diagnostics import did_you_mean, failure
from nasdsl.exporting import folder
from nasdsl.exporting.differences import ONNX_TOLERANCE
from nasdsl.exporting.figures import Figures, calibration_batches, check_loss, measure
from nasdsl.exporting.gate import check_onnx, check_pt2, check_source, check_weights
from nasdsl.exporting.job import FP16, FP32, INT8, Job
from nasdsl.exporting.onnx import write_onnx
from nasdsl.exporting.program import write_pt2
from nasdsl.exporting.quantise import write_fp16, write_int8
from nasdsl.exporting.source import write_blueprint
from nasdsl.exporting.text import write_text

EXACT = "0"
ONNX_FILES: Mapping[str, str] = {FP32: folder.ONNX, FP16: folder.ONNX_FP16, INT8: folder.ONNX_INT8}


@dataclass(frozen=True)
class Written:
    """Files of one form, how far they are from the network, and how far they may be. ``figures`` are an ONNX file's;
    ``lost`` are the points of the metric that a file in fewer bits lost."""

    files: tuple[str, ...]
    difference: float | None
    tolerance: str
    figures: Figures | None = None
    lost: float | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Form:
    """``write`` raises NasError N950 where the numbers are others."""

    name: str
    summary: str
    write: Callable[[Job], list[Written]]


def python(job: Job) -> list[Written]:
    _write_source(job)
    _write_weights(job)
    return [Written((folder.SOURCE, folder.WEIGHTS), check_source(job), EXACT)]


def safetensors(job: Job) -> list[Written]:
    _write_weights(job)
    return [Written((folder.WEIGHTS,), check_weights(job, job.folder / folder.WEIGHTS), EXACT)]


def pt2(job: Job) -> list[Written]:
    path = job.folder / folder.PT2
    write_pt2(job.program, path)
    return [Written((path.name,), check_pt2(job, path), EXACT)]


def nas(job: Job) -> list[Written]:
    files = (folder.TEXT, folder.TEXT_WEIGHTS)
    return [Written(files, write_text(job, *(job.folder / name for name in files)), EXACT)]


def onnx(job: Job) -> list[Written]:
    """One file for each precision; those in fewer bits are made from fp32's, which goes away if it wasn't asked for."""
    path = job.folder / folder.ONNX
    write_onnx(
        job.network,
        path,
        job.program,
        opset=job.options.opset,
        output_names=job.output_names,
        metadata=_metadata(job),
    )
    difference = check_onnx(job, path)
    figures = measure(job, path, FP32) if job.measured else None
    found = {
        FP32: Written(
            (path.name,), difference, f"{ONNX_TOLERANCE:g} * max(1, largest output)", figures, None, FP32
        )
    }
    for precision in job.options.precisions:
        if precision != FP32:
            assert figures is not None
            found[precision] = _in_fewer_bits(job, precision, figures)
    if FP32 not in job.options.precisions:
        path.unlink()
    return [found[precision] for precision in job.options.precisions]


def _in_fewer_bits(job: Job, precision: str, before: Figures) -> Written:
    source, path = job.folder / folder.ONNX, job.folder / ONNX_FILES[precision]
    if precision == FP16:
        write_fp16(source, path)
    else:
        write_int8(source, path, calibration_batches(job))
    figures = measure(job, path, precision)
    lost = check_loss(job, before, figures)
    return Written((path.name,), None, f"{job.options.max_loss:g} points", figures, lost, precision)


def hub(job: Job) -> list[Written]:
    """The files of a model repository: its card and ``config.json`` are written last, when all is measured."""
    place = job.folder / folder.HUB
    place.mkdir()
    found: list[Written] = []
    for form, write in (("python", python), ("onnx", onnx)):
        alone = form not in job.options.formats
        files = [folder.SOURCE, folder.WEIGHTS] if form == "python" else []
        if alone:
            found += write(job)
        if form == "onnx":
            files = [ONNX_FILES[precision] for precision in job.options.precisions]
        for name in files:
            here = "model.safetensors" if name == folder.WEIGHTS else name
            needed = not alone or (name == folder.WEIGHTS and "safetensors" in job.options.formats)
            (shutil.copyfile if needed else shutil.move)(job.folder / name, place / here)
    made = tuple(f"{folder.HUB}/{path.name}" for path in sorted(place.iterdir()))
    differences = [written.difference for written in found if written.difference is not None]
    return [Written(made, max(differences, default=None), "as the forms that it holds")]


def _write_source(job: Job) -> None:
    (job.folder / folder.SOURCE).write_text(write_blueprint(job.network.blueprint), encoding="utf-8")


def _write_weights(job: Job) -> None:
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in job.network.state_dict().items()}
    save_file(tensors, job.folder / folder.WEIGHTS)


def _metadata(job: Job) -> Mapping[str, Any]:
    """What an ONNX file knows of itself besides space and genotype."""
    about, options = job.about, job.options
    known: dict[str, Any] = {}
    if about.classes is not None:
        known["classes"] = list(about.classes)
    if about.preprocessing is not None:
        known["preprocessing"] = dict(about.preprocessing)
        known["preprocessing_inside"] = options.with_preprocessing
    if about.weights is not None:
        known["weights"] = about.weights
    return known


FORMS: Mapping[str, Form] = {
    form.name: form
    for form in (
        Form("python", "model.py that needs torch alone, and its weights", python),
        Form("onnx", "an ONNX file", onnx),
        Form("pt2", "a program of torch.export", pt2),
        Form("nas", "the architecture as a .nas file, and its weights", nas),
        Form("safetensors", "the weights alone", safetensors),
        Form("hub", "a folder for the Hugging Face hub", hub),
    )
}
"""In the order in which they are written; ``hub`` is made of others."""


def known_formats(given: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The names of forms, each once, in the order of :data:`FORMS`. Raises NasError N959 for any other."""
    wanted = [given] if isinstance(given, str) else list(given)
    for name in wanted:
        if name not in FORMS:
            raise failure(
                "N959",
                f"unknown format `{name}`",
                help=did_you_mean(name, FORMS) or f"there are {', '.join(FORMS)}",
            )
    if not wanted:
        raise failure("N959", "no format was given", help=f"there are {', '.join(FORMS)}")
    return tuple(name for name in FORMS if name in wanted)
