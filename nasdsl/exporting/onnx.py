"""A network as an ONNX file: optimised, with its batch and free dimensions free, and knowing what it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasdsl.diagnostics import failure
from nasdsl.exporting.network import Network
from nasdsl.exporting.program import quiet
from nasdsl.version import VERSION

OPSET = 20
OPSETS = range(18, 26)
"""What has been tried with onnxruntime."""
BATCH = "batch"


def write_onnx(
    network: Network,
    path: Path,
    program: torch.export.ExportedProgram,
    *,
    opset: int = OPSET,
    output_names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes the program of a network as a file and checks its form (not its numbers).

    Inputs and outputs are named as in the space. The file knows ``space``, ``genotype``, ``nasdsl`` (the version) and
    what else is in ``metadata``, each as text or JSON. Raises NasError N957 where a dimension isn't free any more, N958
    for an opset that wasn't tried.
    """
    if opset not in OPSETS:
        raise failure(
            "N958",
            f"opset {opset} isn't supported",
            help=f"take {OPSETS[0]} to {OPSETS[-1]}; {OPSET} is usual",
        )
    with quiet(), torch.no_grad():
        exported = torch.onnx.export(
            program,
            opset_version=opset,
            dynamo=True,
            optimize=True,
            verbose=False,
            input_names=list(network.input_names),
            output_names=list(output_names or network.output_names),
        )
    assert exported is not None
    model = exported.model_proto
    _name_dimensions(model, network)
    known = {
        "space": network.space_name,
        "genotype": dict(network.genotype),
        "nasdsl": VERSION,
        **(metadata or {}),
    }
    for name, value in known.items():
        entry = model.metadata_props.add()
        entry.key = name
        entry.value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    path.write_bytes(model.SerializeToString())
    _check(model, network)


def _name_dimensions(model: Any, network: Network) -> None:
    """Gives the free dimensions the names that they have in the space; torch calls them s17 and s73."""
    names: dict[str, str] = {}
    for value, shape in zip(model.graph.input, network.input_shapes, strict=True):
        dims = value.type.tensor_type.shape.dim
        for dim, name in zip(dims, [BATCH, *map(str, shape.dims)], strict=True):
            if dim.dim_param:
                names.setdefault(dim.dim_param, name)
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda m: names.get(m[0], m[0]), dim.dim_param)


def _check(model: Any, network: Network) -> None:
    """The form of the file: valid ONNX, and free where the space is."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    for value, shape in zip(model.graph.input, network.input_shapes, strict=True):
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            free = axis == 0 or not isinstance(shape.dims[axis - 1], int)
            if free and not dim.dim_param:
                what = "batch" if axis == 0 else str(shape.dims[axis - 1])
                raise failure(
                    "N957",
                    f"the dimension `{what}` of `{value.name}` became {dim.dim_value} in the ONNX file",
                )


def run_onnx(path: Path, inputs: Mapping[str, np.ndarray], threads: int = 1) -> list[np.ndarray]:
    """The outputs of a file in onnxruntime."""
    session = open_session(path, threads)
    outputs: list[np.ndarray] = session.run(None, dict(inputs))
    return outputs


def open_session(path: Path, threads: int = 1, *, profile: Path | None = None, optimise: bool = True) -> Any:
    """An onnxruntime session on the CPU. ``profile`` is where it notes what each operator takes, as the beginning of a
    file's name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
