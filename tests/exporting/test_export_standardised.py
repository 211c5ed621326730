"""What an export says of inputs and targets that were standardised before the network saw them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from nasdsl import pipeline
from nasdsl.exporting.export import export
from tests.exporting import cases
from tests.training.data_files import load


def onnx_on(folder: Path, inputs: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    found: np.ndarray[Any, Any] = session.run(None, dict(inputs))[0]
    return found


def test_a_table_says_what_its_numbers_were_standardised_by(tmp_path: Path) -> None:
    """Raw rows give the predictions of the task, in the graph or by what ``metrics.json`` says."""
    rows = [f"{3 * i + 100},{'red' if i % 3 else 'blue'},{7 * i - 40.5}" for i in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["weight,colour,price", *rows]) + "\n")
    task = load(tmp_path / "rows.csv", target="price")
    net = cases.make(pipeline.loads("space s {\n  input row: [3]\n  return row -> linear(1)\n}"), 0)
    export(net, tmp_path / "bare", ["onnx"], task=task)
    export(net, tmp_path / "inside", ["onnx"], task=task, with_preprocessing=True)
    known = json.loads((tmp_path / "bare" / "metrics.json").read_text())
    assert known["columns"] == ["weight", "1 where colour is blue", "1 where colour is red"]
    (weight, *words), (spread, *_) = known["preprocessing"]["mean"], known["preprocessing"]["std"]
    assert words == [0, 0]
    seen, prices = task.train.inputs[0].numpy(), task.train.targets
    assert isinstance(prices, torch.Tensor)
    raw = seen * np.float32(known["preprocessing"]["std"]) + np.float32(known["preprocessing"]["mean"])
    numbers = np.round((raw[:, 0] - 100) / 3)
    np.testing.assert_allclose(raw[:, 0], 3 * numbers + 100, rtol=1e-5)
    np.testing.assert_allclose(raw[:, 2], numbers % 3 != 0, atol=1e-6)
    assert (weight, spread) == pytest.approx((raw[:, 0].mean(), raw[:, 0].std()), rel=1e-4)
    (mean,), (std,) = known["target"]["mean"], known["target"]["std"]
    np.testing.assert_allclose(prices[:, 0].numpy() * std + mean, 7 * numbers - 40.5, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(
        onnx_on(tmp_path / "inside", {"row": raw}), onnx_on(tmp_path / "bare", {"row": seen}), atol=1e-4
    )
    said = (tmp_path / "bare" / "README.md").read_text()
    assert f"| weight | {weight:.7g} | {spread:.7g} |" in said
    assert f"output * {std:.7g} + {mean:.7g} is in the unit of the data" in said


@pytest.mark.parametrize("shape", [(5,), (20,), (2, 4, 4)])
def test_arrays_say_what_they_were_standardised_by(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(3, 2, (40, *shape)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(40) % 2)
    task = load(tmp_path / "data.npz")
    sizes = ", ".join(map(str, shape))
    net = cases.make(
        pipeline.loads(f"space s {{\n  input x: [{sizes}]\n  return x -> flatten -> linear(2)\n}}"), 0
    )
    export(net, tmp_path / "out", ["onnx"], task=task)
    said = json.loads((tmp_path / "out" / "metrics.json").read_text())["preprocessing"]
    assert len(said["mean"]) == (shape[0] if len(shape) == 1 else 1)
    raw = task.test.inputs[0].numpy() * np.float32(said["std"]) + np.float32(said["mean"])
    assert all(np.abs(x - one).max(axis=tuple(range(1, x.ndim))).min() < 1e-5 for one in raw)
    readme = (tmp_path / "out" / "README.md").read_text()
    (told,) = (line for line in readme.splitlines() if line.startswith("Inputs are normalised: (x - "))
    assert ("(x - preprocessing.mean) / preprocessing.std" in told) == (shape == (20,))
