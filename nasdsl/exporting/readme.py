"""The README beside an exported network: how to load it and how to run it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nasdsl.exporting.network import Network
from nasdsl.space.tensor import Shape
from nasdsl.version import VERSION

MARK = "Exported by nasdsl"
"""Says that a folder is one of ours."""


def write_readme(
    network: Network,
    formats: Sequence[str],
    *,
    classes: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    inside: bool = False,
    probabilities: bool = False,
    metrics: Mapping[str, Any] | None = None,
) -> str:
    """The text. ``inside`` says that the graph normalises its input itself, ``probabilities`` that it ends in a softmax."""
    name = network.blueprint.top.name
    parts = [
        f"# {name}",
        f"{MARK} {VERSION}: a network of the search space `{network.space_name}`, whose numbers were compared with the "
        "original network's before these files were written (see `metrics.json`).",
    ]
    takes = [_takes(n, shape) for n, shape in zip(network.input_names, network.input_shapes, strict=True)]
    parts.append(f"It takes {' and '.join(takes)}.")
    if preprocessing is not None:
        where = "The graph applies this itself" if inside else "Inputs are prepared like this"
        parts.append(f"{where}: `{json.dumps(dict(preprocessing), ensure_ascii=False)}`.")
    if "python" in formats:
        parts.append(_python(network, name))
    if "onnx" in formats:
        parts.append(_onnx(network, classes, probabilities))
    if "pt2" in formats:
        parts.append(_pt2(network))
    if metrics:
        rows = "\n".join(f"| {key} | {value} |" for key, value in metrics.items())
        parts.append(f"| | |\n| --- | --- |\n{rows}")
    parts.append(f"Genotype: `{network.genotype.text}`")
    return "\n\n".join(parts) + "\n"


def _takes(name: str, shape: Shape) -> str:
    kind = "whole numbers" if shape.dtype == "int" else "numbers"
    return f"`{name}`, {kind} of shape {_axes(shape)}"


def _axes(shape: Shape) -> str:
    return f"[{', '.join(['N', *map(str, shape.dims)])}]"


def _example(network: Network, numpy: bool) -> list[str]:
    """Lines that make an input of each kind; free dimensions are 16 there."""
    lines = []
    for name, shape in zip(network.input_names, network.input_shapes, strict=True):
        sizes = ", ".join(["1", *(str(d) if isinstance(d, int) else "16" for d in shape.dims)])
        if numpy:
            dtype = "int64" if shape.dtype == "int" else "float32"
            lines.append(f"{name} = np.zeros(({sizes}), dtype=np.{dtype})  # your data")
        else:
            dtype = ", dtype=torch.long" if shape.dtype == "int" else ""
            lines.append(f"{name} = torch.zeros({sizes}{dtype})  # your data")
    return lines


def _python(network: Network, name: str) -> str:
    code = [
        "import torch",
        f"from model import {name}, load_weights",
        "",
        f"network = {name}()",
        'load_weights(network, "weights.safetensors")',
        "network.eval()",
        *_example(network, numpy=False),
        "with torch.no_grad():",
        f"    output = network({', '.join(network.input_names)})",
    ]
    return (
        "With torch, and safetensors to read the weights:\n\n```python\n" + "\n".join(code) + "\n```\n\n"
        "Weights from elsewhere go in with `network.load_state_dict(...)`; `model.py` itself needs torch alone."
    )


def _onnx(network: Network, classes: Sequence[str] | None, probabilities: bool) -> str:
    given = ", ".join(f'"{name}": {name}' for name in network.input_names)
    result = "probabilities" if probabilities else "scores"
    code = [
        *(["import json"] if classes is not None else []),
        "import numpy as np",
        "import onnxruntime",
        "",
        'session = onnxruntime.InferenceSession("model.onnx")',
        *_example(network, numpy=True),
        f"{result} = session.run(None, {{{given}}})[0]",
    ]
    if classes is not None:
        code += [
            'classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])',
            f"print(classes[{result}[0].argmax()])",
        ]
    return "With onnxruntime alone:\n\n```python\n" + "\n".join(code) + "\n```"


def _pt2(network: Network) -> str:
    code = [
        "import torch",
        "",
        'network = torch.export.load("model.pt2").module()',
        *_example(network, numpy=False),
        f"output = network({', '.join(network.input_names)})",
    ]
    return "As a torch program:\n\n```python\n" + "\n".join(code) + "\n```"
