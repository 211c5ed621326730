"""What is told of an exported network: its README, and the card and ``config.json`` of a hub folder.

The texts are templates in ``templates/``; here are the lines of code in them, which depend on what is exported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from nasdsl.exporting.exported import ExportReport
from nasdsl.exporting.folder import MARK, PT2, SOURCE, TEXT, TEXT_WEIGHTS, WEIGHTS
from nasdsl.exporting.forms import ONNX_FILES
from nasdsl.exporting.job import FP16, FP32, INT8, Job
from nasdsl.exporting.network import Network
from nasdsl.exporting.pictures import described, read_picture, takes_pictures
from nasdsl.space.tensor import Shape
from nasdsl.version import VERSION

DIGITS = 7
"""So many digits of a float32 say which one it is, nearly."""
MANY = 16
"""More means and deviations than this are named in a sentence, and listed in ``metrics.json`` (``config.json`` of a hub
folder)."""


def write_readme(job: Job, report: ExportReport) -> str:
    """The README of a folder: what is in it, how to load and run it, what was measured."""
    code = _Code(job)
    return _template("README.md.jinja").render(
        **_about(job),
        mark=MARK,
        formats=job.options.formats,
        python=code.python(WEIGHTS),
        onnx=code.onnx(),
        picture=code.picture() if takes_pictures(job) else None,
        pictures=described(job) if takes_pictures(job) else None,
        classes=", ".join(job.about.classes or ()),
        fewer_bits=_fewer_bits(job, report),
        pt2=code.pt2(),
        nas=code.nas(),
        figures=_figures(job, report),
    )


def write_card(job: Job, known: Mapping[str, Any], report: ExportReport) -> str:
    """The model card of a hub folder, with the measured figures in its front matter."""
    code = _Code(job)
    results = [(name, value) for name, value in known["metrics"].items() if isinstance(value, (int, float))]
    return _template("card.md.jinja").render(
        **_about(job),
        pipeline=_pipeline(job),
        task=job.task.name if job.task is not None else "unknown",
        metric=job.task.objective.name if job.task is not None else "metric",
        results=results,
        python=code.python("model.safetensors"),
        onnx=code.onnx(),
        figures=_figures(job, report),
    )


def write_config(job: Job) -> dict[str, Any]:
    """What a program wants to know of a model, under the names that the hub's libraries use where they have one."""
    network, about = job.network, job.about
    known: dict[str, Any] = {
        "model_type": "nasdsl",
        "architectures": [network.blueprint.top.name],
        "nasdsl_version": VERSION,
        "space": network.space_name,
        "genotype": dict(network.genotype),
        "inputs": {
            name: {"shape": ["N", *map(_size, shape.dims)], "dtype": _numpy_dtype(shape)}
            for name, shape in zip(network.input_names, network.input_shapes, strict=True)
        },
        "outputs": list(job.output_names),
    }
    if about.classes is not None:
        known["id2label"] = {str(i): label for i, label in enumerate(about.classes)}
        known["label2id"] = {label: i for i, label in enumerate(about.classes)}
    if about.preprocessing is not None:
        known["preprocessing"] = {**about.preprocessing, "in_graph": job.options.with_preprocessing}
    return known


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def _about(job: Job) -> dict[str, Any]:
    network, about = job.network, job.about
    takes = [_takes(n, shape) for n, shape in zip(network.input_names, network.input_shapes, strict=True)]
    target = job.task.target_normalisation if job.task is not None else None
    return {
        "name": network.blueprint.top.name,
        "version": VERSION,
        "space": network.space_name,
        "weights": about.weights,
        "genotype": network.genotype.text,
        "takes": " and ".join(takes),
        "example": about.real,
        "inside": job.options.with_preprocessing,
        "preprocessing": about.preprocessing
        and {name: _told(name, about.preprocessing[name]) for name in ("mean", "std")},
        "columns": _columns(job),
        "target": target and {"mean": _numbers(target.mean), "std": _numbers(target.std)},
    }


def _columns(job: Job) -> list[str]:
    """A line for each number of a row, with how it is normalised."""
    preprocessing = job.about.preprocessing
    names = job.task.columns if job.task is not None else ()
    if not names or preprocessing is None:
        return []
    rows = zip(names, preprocessing["mean"], preprocessing["std"], strict=True)
    return [f"| {name} | {_numbers(mean)} | {_numbers(std)} |" for name, mean, std in rows]


def _pipeline(job: Job) -> str | None:
    """The hub's name for what the network does, where it is plain."""
    shapes = job.network.input_shapes
    if job.about.classes is not None and len(shapes) == 1 and len(shapes[0].dims) == 3:
        return "image-classification"
    return None


def _takes(name: str, shape: Shape) -> str:
    kind = "whole numbers" if shape.dtype == "int" else "numbers"
    return f"`{name}`, {kind} of shape [{', '.join(['N', *map(str, shape.dims)])}]"


def _size(dim: Any) -> int | str:
    return dim if isinstance(dim, int) else str(dim)


def _numpy_dtype(shape: Shape) -> str:
    return "int64" if shape.dtype == "int" else "float32"


def _numbers(values: Any) -> str:
    """A number for all channels, or one each."""
    flat = list(values) if isinstance(values, (list, tuple)) else [values]
    texts = [f"{value:.{DIGITS}g}" for value in flat]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _fewer_bits(job: Job, report: ExportReport) -> list[str]:
    """A line for each other ONNX file; all of them take and give the same arrays."""
    kinds = {
        FP32: "weights and sums in float32",
        FP16: "weights and sums in float16, half the size",
        INT8: "weights and activations in int8, their scales from the training data",
    }
    metric = job.task.objective.name if job.task is not None else "metric"
    lost = {form.precision: form.lost for form in report.forms if form.format == "onnx"}
    return [
        f"`{ONNX_FILES[precision]}` is run in the same way, with the same inputs: {kinds[precision]}"
        + (f"; {metric} is {lost[precision]:.2f} points lower" if (lost.get(precision) or 0) > 0 else "")
        + "."
        for precision in job.options.precisions[1:]
    ]


def _told(name: str, values: Any) -> str:
    """The numbers in a sentence, where they are few."""
    many = isinstance(values, (list, tuple)) and len(values) > MANY
    return f"preprocessing.{name}" if many else _numbers(values)


def _figures(job: Job, report: ExportReport) -> str:
    """The measured figures as tables."""
    lines = []
    if job.about.metrics:
        lines += [
            "| | |",
            "| --- | --- |",
            *(f"| {key} | {value} |" for key, value in job.about.metrics.items()),
        ]
    measured = [form.figures for form in report.forms if form.figures is not None]
    if measured:
        metric = measured[0].metric
        lines += ["", f"| file | {metric} | ms an example | bytes |", "| --- | --- | --- | --- |"]
        lines += [f"| {f.file} | {f.test:.4f} | {f.milliseconds:.3f} | {f.bytes} |" for f in measured]
        lines += [
            "",
            f"The {metric} of the files is on {measured[0].test_examples} held-out examples; the time is the median in "
            "onnxruntime with one thread.",
        ]
    return "\n".join(lines).strip()


class _Code:
    """The lines that load and run each form."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.network: Network = job.network
        self.names = job.network.input_names
        self.first_rank = len(job.network.input_shapes[0].dims)

    def python(self, weights: str) -> str:
        name = self.network.blueprint.top.name
        module = SOURCE.removesuffix(".py")
        return _joined(
            [*(["import numpy as np"] if self.job.about.real else []), "import torch"],
            [f"from {module} import {name}, load_weights", ""],
            [f"network = {name}()", f'load_weights(network, "{weights}")', "network.eval()"],
            self._tensors(normalised=False),
            ["with torch.no_grad():", f"    {self._call()}"],
        )

    def _call(self) -> str:
        several = self.network.output_names if len(self.network.output_names) > 1 else ()
        call = f"network({', '.join(self.names)})"
        return f"outputs = {call}  # {', '.join(several)}" if several else f"output = {call}"

    def onnx(self) -> str:
        job = self.job
        file = ONNX_FILES[job.options.precisions[0]]
        classes = job.about.classes is not None
        result = "probabilities" if job.options.with_probabilities else "scores"
        return _joined(
            [*(["import json"] if classes else []), "import numpy as np", "import onnxruntime", ""],
            [f'session = onnxruntime.InferenceSession("{file}")'],
            self._arrays(),
            self._classes(result) if classes else self._scores(result),
        )

    def picture(self) -> str:
        """One file with Pillow, from its pixels to its class."""
        job = self.job
        classes = job.about.classes is not None
        result = "probabilities" if job.options.with_probabilities else "scores"
        return _joined(
            [*(["import json"] if classes else []), "import numpy as np", "import onnxruntime"],
            ["from PIL import Image, ImageOps", ""],
            [f'session = onnxruntime.InferenceSession("{ONNX_FILES[job.options.precisions[0]]}")'],
            [*read_picture(job), *self._normalising()],
            self._classes(result) if classes else self._scores(result),
        )

    def _scores(self, result: str) -> list[str]:
        if len(self.network.output_names) > 1:
            return [f"outputs = session.run(None, inputs)  # {', '.join(self.job.output_names)}"]
        return [f"{result} = session.run(None, inputs)[0]"]

    def _classes(self, result: str) -> list[str]:
        read = 'classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])'
        if self.job.options.top_k is None:
            return [
                f"{result} = session.run(None, inputs)[0]",
                read,
                f"print(classes[{result}[0].argmax()])",
            ]
        return [
            f"{result}, best = session.run(None, inputs)[:2]",
            read,
            f"print({{classes[i]: float(p) for i, p in zip(best[0], {result}[0])}})",
        ]

    def pt2(self) -> str:
        return _joined(
            [*(["import numpy as np"] if self.job.about.real else []), "import torch", ""],
            [f'network = torch.export.load("{PT2}").module()'],
            self._tensors(normalised=self.job.options.with_preprocessing),
            [self._call()],
        )

    def nas(self) -> str:
        return _joined(
            ["import nasdsl", "from safetensors.torch import load_file", ""],
            [f'network = nasdsl.load("{TEXT}").network({{}})'],
            [f'network.load_state_dict(load_file("{TEXT_WEIGHTS}"))', "network.eval()"],
        )

    # Inputs; free dimensions of those that are made up are 16.

    def _arrays(self) -> list[str]:
        """As numpy arrays by name."""
        if self.job.about.real:
            lines = ['inputs = dict(np.load("example.npz"))']
        else:
            made = [
                f'"{name}": np.zeros(({self._sizes(shape)}), dtype=np.{_numpy_dtype(shape)})'
                for name, shape in zip(self.names, self.network.input_shapes, strict=True)
            ]
            lines = [f"inputs = {{{', '.join(made)}}}  # your data"]
        return [*lines, *self._normalising()]

    def _normalising(self) -> list[str]:
        """Of numpy arrays by name, where the graph doesn't do it."""
        if self.job.about.preprocessing is None or self.job.options.with_preprocessing:
            return []
        name = f'inputs["{self.names[0]}"]'
        return [f"{name} = {self._normalised(name, 'np.float32({})')}"]

    def _tensors(self, normalised: bool) -> list[str]:
        """As tensors, each under its name."""
        lines = []
        for name, shape in zip(self.names, self.network.input_shapes, strict=True):
            if self.job.about.real:
                lines.append(f'{name} = torch.from_numpy(np.load("example.npz")["{name}"])')
            else:
                dtype = ", dtype=torch.long" if shape.dtype == "int" else ""
                lines.append(f"{name} = torch.zeros({self._sizes(shape)}{dtype})  # your data")
        if self.job.about.preprocessing is not None and not normalised:
            lines.append(f"{self.names[0]} = {self._normalised(self.names[0], 'torch.tensor({})')}")
        return lines

    def _normalised(self, x: str, array: str) -> str:
        preprocessing: Mapping[str, Any] = self.job.about.preprocessing or {}
        mean, std = (self._constant(preprocessing[name], array) for name in ("mean", "std"))
        return f"({x} - {mean}) / {std}"

    def _constant(self, values: Any, array: str) -> str:
        numbers = _numbers(values)
        if not numbers.startswith("["):
            return numbers
        ones = ", 1" * (self.first_rank - 1)
        return f"{array.format(numbers)}.reshape(-1{ones})" if ones else array.format(numbers)

    def _sizes(self, shape: Shape) -> str:
        return ", ".join(["1", *(str(d) if isinstance(d, int) else "16" for d in shape.dims)])


def _joined(*parts: Sequence[str]) -> str:
    return "\n".join(line for part in parts for line in part)
