"""ONNX files in other hands than onnxruntime's: OpenVINO, and the reference implementation of the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nasdsl.exporting.differences import ONNX_TOLERANCE, largest_difference
from nasdsl.exporting.export import export
from nasdsl.exporting.network import Network
from tests.exporting import cases


def file_of(net: Network, given: tuple[Tensor, ...], folder: Path, **options: object) -> Path:
    return export(net, folder / "out", ["onnx"], sample_inputs=given, **options).files[0]  # type: ignore[arg-type]


def agree(net: Network, given: tuple[Tensor, ...], outputs: list[np.ndarray]) -> None:
    for right, found in zip(cases.outputs(net, given), outputs, strict=True):
        allowed = ONNX_TOLERANCE * max(1.0, float(right.abs().max()))
        assert largest_difference(right, torch.from_numpy(np.array(found))) <= allowed


@pytest.mark.parametrize("name", ["quickstart", "decoder_lm", "darts_rnn"])
def test_openvino_gives_the_networks_numbers(name: str, tmp_path: Path) -> None:
    """Convolutions, attention and a scan, at two batch sizes and lengths."""
    openvino = pytest.importorskip("openvino", reason="OpenVINO isn't installed")
    net = cases.make(cases.shipped(name), 0)
    given = cases.inputs(net, batch=4)
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    model = core.compile_model(core.read_model(file_of(net, given, tmp_path)), "CPU")
    for some in (given, cases.inputs(net, batch=1, length=7)):
        found = model([x.numpy() for x in some])
        agree(net, some, [found[i] for i in range(len(net.output_names))])


@pytest.mark.parametrize("opset", [18, 20])
def test_the_reference_gives_the_networks_numbers(opset: int, tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    net = cases.make(cases.shipped("tabular_mlp"), 0)
    given = cases.inputs(net, batch=3)
    file = file_of(net, given, tmp_path, opset=opset)
    feed = {name: x.numpy() for name, x in zip(net.input_names, given, strict=True)}
    agree(net, given, ReferenceEvaluator(str(file)).run(None, feed))
