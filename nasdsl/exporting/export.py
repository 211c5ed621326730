"""``export``: a network as files that somebody can take home."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor, nn

from nasdsl.diagnostics import did_you_mean, failure
from nasdsl.exporting.gate import ONNX_TOLERANCE, check_onnx, check_pt2, check_source, make_cases
from nasdsl.exporting.network import Network
from nasdsl.exporting.onnx import OPSET, write_onnx
from nasdsl.exporting.program import Deployed, export_program, write_pt2
from nasdsl.exporting.readme import MARK, write_readme
from nasdsl.exporting.source import write_blueprint
from nasdsl.version import VERSION

# A batch of each input: the one there is, all in their order, or by name.
SampleInputs = Union[Tensor, Sequence[Tensor], Mapping[str, Tensor]]

FORMATS = ("python", "onnx", "pt2")
DEFAULT_FORMATS = ("python", "onnx")

SOURCE, WEIGHTS, ONNX, PT2 = "model.py", "weights.safetensors", "model.onnx", "model.pt2"
METRICS, README = "metrics.json", "README.md"
OURS = (SOURCE, WEIGHTS, ONNX, PT2, METRICS, README)


@dataclass(frozen=True)
class FormReport:
    """One form of the network: its files, how far its numbers are from the network's, and how far they may be."""

    format: str
    files: tuple[Path, ...]
    difference: float
    tolerance: str
    seconds: float


@dataclass(frozen=True)
class ExportReport:
    """What was exported, checked on ``cases`` batches of real inputs."""

    folder: Path
    forms: tuple[FormReport, ...]
    cases: tuple[str, ...]
    others: tuple[Path, ...] = field(default=())

    @property
    def files(self) -> tuple[Path, ...]:
        return (*(path for form in self.forms for path in form.files), *self.others)

    @property
    def largest_difference(self) -> float:
        return max(form.difference for form in self.forms)

    def form(self, format: str) -> FormReport:
        return next(form for form in self.forms if form.format == format)


def export(
    network: Network,
    folder: str | Path,
    formats: Sequence[str] = DEFAULT_FORMATS,
    *,
    sample_inputs: SampleInputs | None = None,
    metrics: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    opset: int = OPSET,
    with_preprocessing: bool = False,
    with_probabilities: bool = False,
) -> ExportReport:
    """Writes a network in each of the formats, with a README, once every one of them gives the network's numbers.

    ``sample_inputs`` are real inputs, a batch of each; every form is run on them, at several batch sizes, in eval mode
    and float32 on the CPU; without them random ones are drawn. The source and ``pt2`` must agree bit for bit, ONNX to
    1e-5 of the largest output. ``metrics`` go into ``metrics.json``; ``classes`` and ``preprocessing`` into the README and the ONNX file; ``with_preprocessing`` and
    ``with_probabilities`` put the normalisation and a softmax into the graphs of ONNX and pt2.

    In a folder that holds other things only files of an earlier export are replaced. Raises NasError: N950 where the
    numbers differ, and then leaves no file behind; N951 to N959 for what can't be exported.
    """
    formats = _known(formats)
    # The checks run in another folder.
    folder = Path(folder).absolute()
    inputs = random_inputs(network) if sample_inputs is None else _inputs(network, sample_inputs)
    _may_write(folder)
    still = copy.deepcopy(network).cpu().float().eval()
    for tensor in (*still.parameters(), *still.buffers()):
        # `contiguous()` would leave a weight with one channel in channels-last order.
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    normalise = (preprocessing or {}) if with_preprocessing else None
    reference: nn.Module = still
    if with_preprocessing or with_probabilities:
        reference = Deployed(still, normalise, with_probabilities).eval()
    cases = make_cases(still, inputs, reference)
    plain = cases if reference is still else make_cases(still, inputs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".tmp", dir=folder.parent))
    try:
        forms: list[FormReport] = []
        program: torch.export.ExportedProgram | None = None
        for format in formats:
            begin = time.perf_counter()
            if format == "python":
                files: tuple[str, ...] = (SOURCE, WEIGHTS)
                _write_source(still, work)
                difference, tolerance = check_source(still, work, plain), "0"
            else:
                if program is None:
                    program = export_program(
                        still, inputs, preprocessing=normalise, probabilities=with_probabilities
                    )
                if format == "onnx":
                    files = (ONNX,)
                    write_onnx(
                        still, work / ONNX, inputs, opset=opset, classes=classes, preprocessing=preprocessing,
                        program=program,
                    )  # fmt: skip
                    difference = check_onnx(still, work / ONNX, cases, program)
                    tolerance = f"{ONNX_TOLERANCE:g} * max(1, largest output)"
                else:
                    files = (PT2,)
                    write_pt2(program, work / PT2)
                    difference, tolerance = check_pt2(still, work / PT2, cases), "0"
            seconds = time.perf_counter() - begin
            forms.append(
                FormReport(format, tuple(folder / name for name in files), difference, tolerance, seconds)
            )
        report = ExportReport(
            folder, tuple(forms), tuple(case.words for case in cases), (folder / METRICS, folder / README)
        )
        (work / METRICS).write_text(_metrics(still, report, metrics), encoding="utf-8")
        (work / README).write_text(
            write_readme(
                still, formats, classes=classes, preprocessing=preprocessing, inside=with_preprocessing,
                probabilities=with_probabilities, metrics=metrics,
            ),
            encoding="utf-8",
        )  # fmt: skip
        for path in work.iterdir():
            path.chmod(0o644)
        _publish(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


def _known(formats: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys([formats] if isinstance(formats, str) else formats))
    for format in wanted:
        if format not in FORMATS:
            raise failure(
                "N959",
                f"unknown format `{format}`",
                help=did_you_mean(format, FORMATS) or f"there are {', '.join(FORMATS)}",
            )
    if not wanted:
        raise failure("N959", "no format was given", help=f"there are {', '.join(FORMATS)}")
    return wanted


def random_inputs(network: Network, batch: int = 8, length: int = 16, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs of the right shapes and kinds; free dimensions have the given length."""
    generator = torch.Generator().manual_seed(seed)
    inputs = []
    for id, shape in zip(network.architecture.inputs, network.input_shapes, strict=True):
        sizes = [batch, *(dim if isinstance(dim, int) else length for dim in shape.dims)]
        if shape.dtype == "int":
            readers = [step for step in network.architecture.steps if id in step.inputs]
            limits = [step.instance.settings.get(name) for step in readers for name in ("vocab", "classes")]
            inputs.append(
                torch.randint(0, min((n for n in limits if n), default=2), sizes, generator=generator)
            )
        else:
            inputs.append(torch.randn(sizes, generator=generator))
    return tuple(inputs)


def _inputs(network: Network, given: SampleInputs) -> tuple[Tensor, ...]:
    """The sample inputs in the network's order. Raises NasError (N960) where they don't fit its inputs."""
    if isinstance(given, Tensor):
        inputs: tuple[Tensor, ...] = (given,)
    elif isinstance(given, Mapping):
        missing = [name for name in network.input_names if name not in given]
        if missing:
            raise failure("N960", f"the sample inputs have no `{missing[0]}`")
        inputs = tuple(given[name] for name in network.input_names)
    else:
        inputs = tuple(given)
    if len(inputs) != len(network.input_names):
        raise failure(
            "N960", f"`{network.space_name}` has {len(network.input_names)} inputs, {len(inputs)} were given"
        )
    for name, shape, x in zip(network.input_names, network.input_shapes, inputs, strict=True):
        sizes = x.shape[1:]
        fits = len(sizes) == len(shape.dims) and all(
            not isinstance(dim, int) or dim == size for dim, size in zip(shape.dims, sizes, strict=True)
        )
        if not fits or (shape.dtype == "int") == x.is_floating_point():
            raise failure(
                "N960",
                f"`{name}` is {shape} for each example; a batch of {x.dtype} {list(sizes)} was given".replace(
                    "torch.", ""
                ),
            )
        if not x.shape[0]:
            raise failure("N960", f"the batch of `{name}` is empty: nothing could be checked")
    return tuple(x.detach().cpu().clone(memory_format=torch.contiguous_format) for x in inputs)


def _write_source(network: Network, folder: Path) -> None:
    from safetensors.torch import save_file

    (folder / SOURCE).write_text(write_blueprint(network.blueprint), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / WEIGHTS)


def _metrics(network: Network, report: ExportReport, metrics: Mapping[str, Any] | None) -> str:
    known = {
        "nasdsl": VERSION,
        "space": network.space_name,
        "genotype": dict(network.genotype),
        "params": sum(parameter.numel() for parameter in network.parameters()),
        "metrics": dict(metrics or {}),
        "largest_difference": {form.format: form.difference for form in report.forms},
        "checked_on": list(report.cases),
    }
    return json.dumps(known, indent=2, ensure_ascii=False) + "\n"


# --- the folder -------------------------------------------------------------------------------------


def _is_export(folder: Path) -> bool:
    readme = folder / README
    return readme.is_file() and MARK in readme.read_text(encoding="utf-8", errors="replace")


def _may_write(folder: Path) -> None:
    """Raises NasError (N961) where exporting would overwrite what no export has written."""
    if folder.exists() and not folder.is_dir():
        raise failure("N961", f"`{folder}` is a file, not a folder")
    if not folder.is_dir() or _is_export(folder):
        return
    foreign = [name for name in OURS if (folder / name).exists()]
    if foreign:
        raise failure(
            "N961",
            f"`{folder / foreign[0]}` is not from an export, and would be overwritten",
            help="export into another folder, or move the file away",
        )


def _publish(work: Path, folder: Path) -> None:
    """Moves the finished files to where they belong: the whole folder at once where it is new."""
    work.chmod(0o755)
    if not folder.exists() or not any(folder.iterdir()):
        if folder.exists():
            folder.rmdir()
        work.replace(folder)
        return
    made = {path.name for path in work.iterdir()}
    for name in OURS:
        if name in made:
            (work / name).replace(folder / name)
        else:
            # A form of an earlier network beside this one's would be taken for it.
            (folder / name).unlink(missing_ok=True)
