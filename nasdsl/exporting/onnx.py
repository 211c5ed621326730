"""A network as an ONNX file: optimised, with its batch and free dimensions free, and knowing what it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.exporting.network import Network
from nasdsl.exporting.program import export_program, quiet
from nasdsl.version import VERSION

OPSET = 20
OPSETS = range(18, 26)
"""What has been tried with onnxruntime."""
BATCH = "batch"


def write_onnx(
    network: Network,
    path: Path,
    inputs: Sequence[Tensor],
    *,
    opset: int = OPSET,
    classes: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    with_preprocessing: bool = False,
    with_probabilities: bool = False,
    program: torch.export.ExportedProgram | None = None,
) -> None:
    """Writes the file and checks its form (not its numbers).

    Inputs and outputs are named as in the space. The metadata holds ``space``, ``genotype``, ``nasdsl`` (the version)
    and, as far as given, ``classes`` and ``preprocessing``, each as JSON. With ``with_preprocessing`` the graph
    normalises its first input itself (``mean`` and ``std``), with ``with_probabilities`` it ends in a softmax.
    ``program`` is the network's program, if it has been exported already. Raises NasError (N956 to N958).
    """
    if opset not in OPSETS:
        raise failure(
            "N958",
            f"opset {opset} isn't supported",
            help=f"take {OPSETS[0]} to {OPSETS[-1]}; {OPSET} is usual",
        )
    if program is None:
        program = export_program(
            network,
            inputs,
            preprocessing=(preprocessing or {}) if with_preprocessing else None,
            probabilities=with_probabilities,
        )
    with quiet(), torch.no_grad():
        exported = torch.onnx.export(
            program,
            opset_version=opset,
            dynamo=True,
            optimize=True,
            verbose=False,
            input_names=list(network.input_names),
            output_names=list(network.output_names),
        )
    assert exported is not None
    model = exported.model_proto
    _name_dimensions(model, network)
    known: dict[str, Any] = {
        "space": network.space_name,
        "genotype": dict(network.genotype),
        "nasdsl": VERSION,
    }
    if classes is not None:
        known["classes"] = list(classes)
    if preprocessing is not None:
        known["preprocessing"] = dict(preprocessing)
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


def open_session(path: Path, threads: int = 1) -> Any:
    """An onnxruntime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
