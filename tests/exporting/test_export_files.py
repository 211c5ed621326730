"""``export`` from end to end: the files, the gate, and the folder they go into."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import nasdsl
from nasdsl.diagnostics import NasError
from nasdsl.exporting import forms as module
from nasdsl.exporting.differences import largest_difference
from nasdsl.exporting.export import export
from nasdsl.exporting.exported import ExportReport
from nasdsl.exporting.latency import onnx_latency
from nasdsl.exporting.network import Network
from nasdsl.exporting.onnx import run_onnx
from tests.exporting import cases

CLASSES = tuple("0123456789")
PREPROCESSING = {"mean": [0.5], "std": [0.25]}


@pytest.fixture(scope="module")
def net() -> Network:
    chosen = {
        "width": "16",
        "repeat.depth": "2",
        "normal.b": "conv3x3",
        "normal.c#1": "skip",
        "normal.c#2": "conv1x1",
    }
    return cases.make(cases.shipped("quickstart"), 2, chosen)


@pytest.fixture(scope="module")
def exported(net: Network, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("exported") / "deep" / "model"
    return export(
        net,
        folder,
        ["python", "onnx", "pt2"],
        sample_inputs=cases.inputs(net, batch=7),
        metrics={"accuracy": 0.985},
        classes=CLASSES,
        preprocessing=PREPROCESSING,
    )


def code_of(readme: str, starts: str) -> str:
    """The block of a README that holds a line."""
    return next(block for block in re.findall(r"```python\n(.*?)```", readme, re.S) if starts in block)


def test_the_report_and_its_files(exported: ExportReport) -> None:
    names = [
        "model.py",
        "weights.safetensors",
        "model.onnx",
        "model.pt2",
        "metrics.json",
        "example.npz",
        "README.md",
    ]
    assert [path.name for path in exported.files] == names
    assert sorted(path.name for path in exported.folder.iterdir()) == sorted(names)
    assert exported.form("python").difference == 0
    assert exported.form("pt2").difference == 0
    assert exported.form("onnx").difference < 1e-5
    assert exported.cases == ("(1, 1, 8, 8)", "(3, 1, 8, 8)", "(7, 1, 8, 8)")
    # Nothing is left of the folder in which they were made.
    assert [path.name for path in exported.folder.parent.iterdir()] == ["model"]


def test_metrics(exported: ExportReport, net: Network) -> None:
    known = json.loads((exported.folder / "metrics.json").read_text())
    assert known["metrics"] == {"accuracy": 0.985}
    assert known["space"] == "quickstart"
    assert known["genotype"] == dict(net.genotype)
    assert known["params"] == sum(p.numel() for p in net.parameters())


def test_the_readme_of_the_source_runs_without_nasdsl(exported: ExportReport) -> None:
    code = code_of((exported.folder / "README.md").read_text(), "load_weights")
    blocked = "import sys\nsys.modules['nasdsl'] = None\n" + code + "print(tuple(output.shape))\n"
    shown = subprocess.run(
        [sys.executable, "-c", blocked], cwd=exported.folder, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "(1, 10)\n"


def test_somebody_with_onnxruntime_alone_classifies_an_image(exported: ExportReport, net: Network) -> None:
    """The lines of the README, where neither nasdsl nor torch can be imported."""
    code = code_of((exported.folder / "README.md").read_text(), "onnxruntime")
    blocked = "import sys\nsys.modules['nasdsl'] = sys.modules['torch'] = None\n" + code
    shown = subprocess.run(
        [sys.executable, "-c", blocked], cwd=exported.folder, capture_output=True, text=True, check=True
    )
    (image, *_) = cases.inputs(net, batch=7)
    with torch.no_grad():
        assert shown.stdout.strip() == CLASSES[int(net(image[:1]).argmax())]


def test_the_onnx_file(exported: ExportReport, net: Network) -> None:
    import onnx

    model = onnx.load(exported.folder / "model.onnx")
    (image,), (output,) = model.graph.input, model.graph.output
    assert (image.name, output.name) == ("image", net.output_names[0])
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
    known = {entry.key: entry.value for entry in model.metadata_props}
    assert known["space"] == "quickstart"
    assert json.loads(known["genotype"]) == dict(net.genotype)
    assert known["nasdsl"] == nasdsl.__version__
    assert json.loads(known["classes"]) == list(CLASSES)
    assert json.loads(known["preprocessing"]) == PREPROCESSING
    # Batch norms are folded into the convolutions.
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)


def test_latency(exported: ExportReport) -> None:
    image = np.zeros((4, 1, 8, 8), dtype=np.float32)
    timed = onnx_latency(exported.folder / "model.onnx", {"image": image}, runs=5, warm_up=1)
    assert 0 < timed.p05 <= timed.median <= timed.p95
    assert (timed.runs, timed.batch, timed.threads) == (5, 4, 1)


def test_free_lengths_stay_free_in_every_form(tmp_path: Path) -> None:
    """A recurrent network: one Scan, not as many copies of the cell as the example is long."""
    import onnx

    net = cases.make(cases.shipped("darts_rnn"), 0)
    given = cases.inputs(net, batch=4, length=9)
    report = export(net, tmp_path / "rnn", ["python", "onnx", "pt2"], sample_inputs=given)
    assert report.cases[-1] == "(4, 5)"
    model = onnx.load(tmp_path / "rnn" / "model.onnx")
    assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", "T"]
    assert [node.op_type for node in model.graph.node].count("Scan") == 1
    (tokens,) = cases.inputs(net, batch=2, length=31)
    (found,) = run_onnx(tmp_path / "rnn" / "model.onnx", {"tokens": tokens.numpy()})
    assert largest_difference(torch.from_numpy(found), cases.outputs(net, (tokens,))[0]) < 1e-5


def test_a_length_under_a_strided_pool_is_free_or_the_file_is_refused(tmp_path: Path) -> None:
    space = nasdsl.pipeline.loads(
        "space pooled() { input x: [4, T]\n"
        "return x -> conv(4, kernel = 3) -> maxpool(3, stride = 2) -> global_avgpool -> linear(2) }"
    )
    net = space.network(space.sample(seed=0)).eval()
    given = (torch.randn(4, 4, 16),)
    report = export(net, tmp_path / "onnx", ["onnx"], sample_inputs=given)
    assert report.cases[-2:] == ("(4, 4, 15)", "(4, 4, 8)")
    if torch.__version__ < (2, 13):
        with pytest.raises(NasError, match="does not run at every length"):
            export(net, tmp_path / "pt2", ["pt2"], sample_inputs=given)
    else:
        export(net, tmp_path / "pt2", ["pt2"], sample_inputs=given)


def test_preprocessing_and_probabilities_in_the_graph(net: Network, tmp_path: Path) -> None:
    given = cases.inputs(net, batch=3)
    export(
        net, tmp_path / "p", ["onnx", "pt2"], sample_inputs=given, preprocessing=PREPROCESSING,
        with_preprocessing=True, with_probabilities=True, opset=18,
    )  # fmt: skip
    (found,) = run_onnx(tmp_path / "p" / "model.onnx", {"image": given[0].numpy()})
    (scores,) = cases.outputs(net, ((given[0] - 0.5) / 0.25,))
    torch.testing.assert_close(torch.from_numpy(found), scores.softmax(-1))
    # The example is as stored: normalised, it is what the network was checked on.
    stored = np.load(tmp_path / "p" / "example.npz")["image"]
    torch.testing.assert_close((torch.from_numpy(stored) - 0.5) / 0.25, given[0][:1])


def test_the_best_classes_in_the_graph(net: Network, tmp_path: Path) -> None:
    given = cases.inputs(net, batch=5)
    report = export(
        net,
        tmp_path / "p",
        ["onnx", "pt2"],
        sample_inputs=given,
        classes=CLASSES,
        with_probabilities=True,
        top_k=3,
    )
    (scores,) = cases.outputs(net, given)
    values, classes = run_onnx(tmp_path / "p" / "model.onnx", {"image": given[0].numpy()})
    best = scores.softmax(-1).topk(3, -1)
    torch.testing.assert_close(torch.from_numpy(values), best.values)
    assert np.array_equal(classes, best.indices.numpy())
    assert report.form("pt2").difference == 0
    code = code_of((tmp_path / "p" / "README.md").read_text(), "onnxruntime")
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "p", capture_output=True, text=True, check=True
    )
    assert list(eval(shown.stdout)) == [CLASSES[i] for i in best.indices[0]]


# --- the gate ---------------------------------------------------------------------------------------


def wrong_source(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]) -> None:
    right = module.write_blueprint
    monkeypatch.setattr(module, "write_blueprint", lambda blueprint: change(right(blueprint)))


def test_other_numbers_are_refused_and_leave_nothing(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_source(
        monkeypatch,
        lambda source: source.replace("self.batchnorm(self.conv(", "self.batchnorm(0.5 * self.conv("),
    )
    with pytest.raises(NasError) as caught:
        export(net, tmp_path / "out", ["python"], sample_inputs=cases.inputs(net))
    (finding,) = caught.value.diagnostics
    assert finding.code == "N950"
    assert "gives other numbers than the network" in finding.message
    assert finding.help is not None
    assert re.search(r"first difference: `[\w.]*batchnorm` \(BatchNorm2d", finding.help)
    assert list(tmp_path.iterdir()) == []


def test_code_that_does_not_run_is_refused(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_source(
        monkeypatch, lambda source: source.replace("super().__init__()", "super().__init__(nasdsl)", 1)
    )
    with pytest.raises(NasError, match="does not run: NameError"):
        export(net, tmp_path / "out", ["python"], sample_inputs=cases.inputs(net))
    wrong_source(
        monkeypatch, lambda source: source.replace("from torch import", "import nasdsl\nfrom torch import")
    )
    with pytest.raises(NasError, match="exported code must not need nasdsl"):
        export(net, tmp_path / "out", ["python"], sample_inputs=cases.inputs(net))
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_file_with_other_numbers_is_refused(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module.write_onnx

    def wrong(network: Network, path: Path, *rest: object, **options: object) -> None:
        import onnx
        from onnx import numpy_helper

        right(network, path, *rest, **options)  # type: ignore[arg-type]
        model = onnx.load(path)
        last = next(t for t in model.graph.initializer if t.name == "linear.bias")
        last.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(last) + 1e-3, last.name))
        onnx.save(model, path)

    monkeypatch.setattr(module, "write_onnx", wrong)
    with pytest.raises(NasError) as caught:
        export(net, tmp_path / "out", ["onnx"], sample_inputs=cases.inputs(net))
    (finding,) = caught.value.diagnostics
    assert finding.code == "N950"
    assert "first difference: `output` (Gemm)" in (finding.help or "")
    assert list(tmp_path.iterdir()) == []


def test_largest_difference() -> None:
    nan, a = float("nan"), torch.tensor([1.0, 2.0])
    assert largest_difference(a, a.clone()) == 0
    assert largest_difference(a, torch.tensor([1.0, 2.5])) == 0.5
    assert largest_difference(torch.tensor([nan, 1.0]), torch.tensor([nan, 1.0])) == 0
    assert largest_difference(torch.tensor([nan, 1.0]), a) == float("inf")
    assert largest_difference(a, torch.zeros(3)) == float("inf")


def test_weights_and_inputs_in_channels_last_order(net: Network, tmp_path: Path) -> None:
    """As a trainer leaves them: other strides mean other kernels, which may differ in the last digit."""
    other = copy.deepcopy(net).to(memory_format=torch.channels_last)
    (image,) = cases.inputs(net, batch=4)
    report = export(
        other, tmp_path / "a", ["python"], sample_inputs=image.to(memory_format=torch.channels_last)
    )
    assert report.largest_difference == 0


# --- the folder -------------------------------------------------------------------------------------


def quick(net: Network, folder: Path) -> ExportReport:
    return export(net, folder, ["python"], sample_inputs=cases.inputs(net))


def test_an_earlier_export_is_replaced_and_other_files_stay(net: Network, tmp_path: Path) -> None:
    other = cases.make(cases.shipped("quickstart"), 5)
    folder = tmp_path / "model"
    folder.mkdir()
    quick(net, folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "model.onnx").write_bytes(b"of an earlier network")
    before = (folder / "weights.safetensors").read_bytes()
    quick(other, folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "weights.safetensors").read_bytes() != before
    assert not (folder / "model.onnx").exists()


def test_a_file_of_somebody_else_is_not_overwritten(net: Network, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My project")
    with pytest.raises(NasError, match="N961"):
        quick(net, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NasError, match="N961"):
        quick(net, tmp_path / "file")
    assert (tmp_path / "README.md").read_text() == "# My project"


def test_the_same_network_gives_the_same_source(net: Network, tmp_path: Path) -> None:
    first, second = quick(net, tmp_path / "a"), quick(net, tmp_path / "b")
    for name in ("model.py", "weights.safetensors"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_the_network_itself_is_left_as_it_was(net: Network, tmp_path: Path) -> None:
    net.train()
    quick(net, tmp_path / "a")
    assert net.training
    net.eval()


def test_a_relative_folder(net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert nasdsl.export(net, "out", ["python"]).largest_difference == 0
    assert (tmp_path / "out" / "model.py").exists()


def test_the_public_function_stays_what_it_is(net: Network, tmp_path: Path) -> None:
    assert callable(nasdsl.search) and callable(nasdsl.export)
    report = nasdsl.export(net, tmp_path / "a", ["python"])
    assert report.largest_difference == 0


# --- what can't be exported -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.zeros(2, 3, 8, 8), "a batch of float32"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.long), "a batch of int64"),
        (torch.zeros(0, 1, 8, 8), "empty"),
        ([torch.zeros(2, 1, 8, 8)] * 2, "has 1 inputs, 2 were given"),
        ({"picture": torch.zeros(2, 1, 8, 8)}, "no `image`"),
    ],
)
def test_inputs_that_do_not_fit(net: Network, tmp_path: Path, given: Tensor, words: str) -> None:
    with pytest.raises(NasError, match="N960") as caught:
        export(net, tmp_path / "out", ["python"], sample_inputs=given)
    assert words in str(caught.value)


def test_an_unknown_format(net: Network, tmp_path: Path) -> None:
    with pytest.raises(NasError, match="N959") as caught:
        export(net, tmp_path / "out", ["onxx"], sample_inputs=cases.inputs(net))
    assert caught.value.diagnostics[0].help == "did you mean `onnx`?"


def test_an_opset_that_is_not_supported(net: Network, tmp_path: Path) -> None:
    with pytest.raises(NasError, match="N958"):
        export(net, tmp_path / "out", ["onnx"], sample_inputs=cases.inputs(net), opset=9)
