"""The forms besides source and ONNX: a text with its weights, weights alone, a folder for the hub, fewer bits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import nasdsl
from nasdsl.diagnostics import NasError
from nasdsl.exporting import forms
from nasdsl.exporting.export import ExportReport, export
from nasdsl.exporting.network import Network
from nasdsl.exporting.onnx import run_onnx
from nasdsl.exporting.text import renamed_weights
from nasdsl.training import Recipe, load_task
from nasdsl.training.tasks import Task
from nasdsl.training.train import fit
from tests.exporting import cases

CHOSEN = {
    "width": "16", "repeat.depth": "2", "normal.b": "conv3x3", "normal.c#1": "skip", "normal.c#2": "conv1x1",
}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Task:
    return load_task("digits")


@pytest.fixture(scope="module")
def trained(digits: Task) -> Network:
    """A small network that tells digits apart."""
    net = cases.make(cases.shipped("quickstart"), 2, CHOSEN)
    fit(net, digits, Recipe(epochs=3), seed=0)
    return net.eval()


@pytest.fixture(scope="module")
def exported(trained: Network, digits: Task, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export(
        trained,
        tmp_path_factory.mktemp("forms") / "out",
        ["hub", "nas", "onnx", "safetensors"],
        task=digits,
        space=cases.shipped("quickstart"),
        metrics={"held-out accuracy": 0.97},
        weights="trained on digits",
        precisions=["int8", "fp32", "fp16"],
        with_preprocessing=True,
    )


# --- .nas -------------------------------------------------------------------------------------------


def test_the_text_compiles_to_the_network_with_its_weights(exported: ExportReport, trained: Network) -> None:
    space = nasdsl.load(exported.folder / "architecture.nas")
    assert space.count() == 1
    net = space.network({})
    net.load_state_dict(load_file(exported.folder / "architecture.safetensors"))
    given = cases.inputs(trained)
    assert torch.equal(cases.outputs(net.eval(), given)[0], cases.outputs(trained, given)[0])


@pytest.mark.parametrize("name", ["darts_rnn", "decoder_lm", "hierarchical", "ofa_mobilenetv3", "speech_1d"])
def test_spaces_of_every_kind_have_a_text(name: str, tmp_path: Path) -> None:
    """All that ship are in the table of `python -m benchmarks.exports`."""
    net = cases.make(cases.shipped(name), 1)
    report = export(net, tmp_path / "out", ["nas"], space=cases.shipped(name))
    assert report.largest_difference == 0


def test_a_network_without_a_text(trained: Network, tmp_path: Path) -> None:
    with pytest.raises(NasError, match="N1070"):
        export(trained, tmp_path / "out", ["nas"])
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_architecture_are_not_renamed() -> None:
    one, other = (cases.make(cases.shipped("quickstart"), seed) for seed in (2, 5))
    with pytest.raises(NasError, match="another architecture"):
        renamed_weights(one, other)


# --- safetensors and the hub ------------------------------------------------------------------------


def test_weights_alone(exported: ExportReport, trained: Network) -> None:
    tensors = load_file(exported.folder / "weights.safetensors")
    assert all(torch.equal(tensors[name], tensor) for name, tensor in trained.state_dict().items())


def test_a_folder_for_the_hub(exported: ExportReport, trained: Network) -> None:
    yaml = pytest.importorskip("yaml")
    hub = exported.folder / "hub"
    assert {path.name for path in hub.iterdir()} == {
        "README.md", "config.json", "example.npz", "model.py", "model.safetensors", "model.onnx",
        "model.fp16.onnx", "model.int8.onnx",
    }  # fmt: skip
    _, front, card = (hub / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["pipeline_tag"] == "image-classification"
    (result,) = about["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "name": "held-out accuracy", "value": 0.97}]
    assert "trained on digits" in card
    config = json.loads((hub / "config.json").read_text())
    assert config["id2label"]["3"] == "3"
    assert config["preprocessing"]["in_graph"] is True
    assert config["genotype"] == dict(trained.genotype)
    # What wasn't asked for besides the hub's folder isn't there.
    assert not (exported.folder / "model.py").exists()


# --- fewer bits -------------------------------------------------------------------------------------


def test_files_in_fewer_bits_keep_the_metric(exported: ExportReport, digits: Task) -> None:
    images = digits.test.inputs[0]
    grey = images * digits.normalisation.std[0] + digits.normalisation.mean[0]  # type: ignore[union-attr]
    for name in ("onnx", "onnx fp16", "onnx int8"):
        form = exported.form(name)
        assert form.figures is not None and form.figures.test is not None
        (scores,) = run_onnx(form.files[0], {"image": grey.numpy()})
        assert scores.dtype == np.float32
        measured = float((scores.argmax(1) == digits.test.targets.numpy()).mean())
        assert measured == pytest.approx(form.figures.test, abs=0.005)
        assert measured > 0.9
    assert exported.form("onnx int8").lost is not None
    known = json.loads((exported.folder / "metrics.json").read_text())
    assert [entry["precision"] for entry in known["onnx"]] == ["fp32", "fp16", "int8"]


def test_int8_computes_in_int8_and_knows_what_it_is(exported: ExportReport) -> None:
    import onnx

    model = onnx.load(exported.folder / "model.int8.onnx")
    read = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolutions and all(set(node.input[:2]) <= read for node in convolutions)
    known = {entry.key: entry.value for entry in model.metadata_props}
    assert known["space"] == "quickstart" and "classes" in known
    # A scale for each channel of a weight.
    sizes = {t.name: list(t.dims) for t in model.graph.initializer}
    assert any(len(dims) == 1 and dims[0] > 1 for name, dims in sizes.items() if name.endswith("_scale"))


def test_int8_is_calibrated_on_examples_that_it_is_not_held_to(digits: Task) -> None:
    from nasdsl.exporting.figures import parts

    calibration, validation, test = parts(digits)
    seen = {x.numpy().tobytes() for x in calibration.inputs[0]}
    assert not seen & {x.numpy().tobytes() for x in validation.inputs[0]}
    assert len(test) == len(digits.test)


def test_what_loses_too_much_is_refused_and_leaves_nothing(
    trained: Network, digits: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = forms.write_int8

    def wrong(source: Path, path: Path, batches: list[dict[str, np.ndarray]]) -> None:
        # Scales from inputs that are far too small: everything saturates.
        right(source, path, [{name: x * 1e-3 for name, x in batch.items()} for batch in batches])

    monkeypatch.setattr(forms, "write_int8", wrong)
    with pytest.raises(NasError) as caught:
        export(trained, tmp_path / "out", ["onnx"], task=digits, precisions=["fp32", "int8"])
    (finding,) = caught.value.diagnostics
    assert finding.code == "N1075"
    assert re.search(r"loses \d+\.\d\d points of accuracy, more than 1;", finding.message)
    assert "model.int8.onnx" in (finding.help or "")
    assert list(tmp_path.iterdir()) == []


def test_a_recurrent_network_in_fp16_is_refused(tmp_path: Path) -> None:
    from nasdsl.exporting.quantise import write_fp16

    net = cases.make(cases.shipped("darts_rnn"), 0)
    report = export(net, tmp_path / "out", ["onnx"], sample_inputs=cases.inputs(net))
    with pytest.raises(NasError, match="N1073"):
        write_fp16(report.files[0], tmp_path / "half.onnx")
