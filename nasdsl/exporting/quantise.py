"""An ONNX file in fewer bits: float16, or int8 with scales that come from real inputs.

Inputs and outputs stay as they were. Neither file gives the network's numbers, so what they are held to is the task's
metric: see :mod:`nasdsl.exporting.figures`.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nasdsl.diagnostics import failure

QUANTISED = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "Concat", "MaxPool", "AveragePool",
    "GlobalAveragePool",
)  # fmt: skip
"""What computes in int8, and what may stay in int8 between two of these. Norms and softmax keep float32."""


def write_fp16(source: Path, path: Path) -> None:
    """Weights and sums in float16. Raises NasError N1073 for a network with a scan, which onnxruntime can't load so."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(source)
    if any(node.op_type in ("Scan", "Loop", "If") for node in model.graph.node):
        raise failure(
            "N1073",
            "a recurrent network can't be written in fp16: onnxruntime doesn't load a Scan of that kind",
            "leave fp16 out of --precision",
        )
    with _quiet():
        onnx.save(convert_float_to_float16(model, keep_io_types=True), path)


def write_int8(source: Path, path: Path, batches: Sequence[dict[str, np.ndarray]]) -> None:
    """Static quantisation: each channel of a weight has a scale of its own, each activation one that was found by
    running ``batches`` of real inputs. The graph stays one of floats with QuantizeLinear and DequantizeLinear around
    what runs in int8, as every reader of ONNX understands it.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            path,
            Batches(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    _keep_metadata(source, path)


def _keep_metadata(source: Path, path: Path) -> None:
    """The file says what the one that it was made from says, and nothing of how it was prepared."""
    import onnx

    model, known = onnx.load(path), onnx.load(source, load_external_data=False).metadata_props
    del model.metadata_props[:]
    model.metadata_props.extend(known)
    onnx.save(model, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the root logger, which onnxruntime's tools write to, from advising to prepare what was prepared."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger().setLevel(level)
