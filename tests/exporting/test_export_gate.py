"""Exporters that are broken on purpose: the gate says where, and nothing is left behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from nasdsl.cli.app import app
from nasdsl.diagnostics import NasError
from nasdsl.exporting import forms, job, text
from nasdsl.exporting.export import export
from nasdsl.exporting.network import Network
from tests.exporting import cases

CHOSEN = {
    "width": "16", "repeat.depth": "2", "normal.b": "conv3x3", "normal.c#1": "skip", "normal.c#2": "conv1x1",
}  # fmt: skip


@pytest.fixture(scope="module")
def net() -> Network:
    return cases.make(cases.shipped("quickstart"), 2, CHOSEN)


def refused(net: Network, form: str, folder: Path) -> str:
    """The help of the message, a table; checks that there is no file."""
    with pytest.raises(NasError) as caught:
        export(
            net, folder / "out", [form], sample_inputs=cases.inputs(net), space=cases.shipped("quickstart")
        )
    (finding,) = caught.value.diagnostics
    assert finding.code == "N950"
    assert "gives other numbers than the network" in finding.message
    assert list(folder.iterdir()) == []
    assert finding.help is not None
    assert finding.help.startswith("input ")
    return finding.help


def change_one(tensors: dict[str, torch.Tensor], name: str) -> str:
    """Puts a weight off, and says where it is."""
    found = next(key for key in tensors if re.search(name, key))
    wrong = tensors[found].detach() * 1.01
    tensors[found] = nn.Parameter(wrong) if isinstance(tensors[found], nn.Parameter) else wrong
    return found.rpartition(".")[0]


def test_an_onnx_file_that_goes_wrong_in_the_middle(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    from onnx import numpy_helper

    right = forms.write_onnx
    after: list[str] = []

    def wrong(network: Network, path: Path, *rest: object, **options: object) -> None:
        right(network, path, *rest, **options)  # type: ignore[arg-type]
        model = onnx.load(path)
        # The third convolution of several.
        node = [node for node in model.graph.node if node.op_type == "Conv"][2]
        weight = next(t for t in model.graph.initializer if t.name == node.input[1])
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.01, weight.name))
        onnx.save(model, path)
        place = list(model.graph.node).index(node)
        after.extend(name for later in model.graph.node[place:] for name in later.output)

    monkeypatch.setattr(forms, "write_onnx", wrong)
    table = refused(net, "onnx", tmp_path)
    # Where a batch norm is folded in, the first value that the program has as well comes a little later.
    found = re.search(r"first difference: `(\w+)` \(\w+\), by ", table)
    assert found is not None and found[1] in after[:3]


def test_a_pt2_file_with_another_weight(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = forms.write_pt2
    places: list[str] = []

    def wrong(program: torch.export.ExportedProgram, path: Path) -> None:
        tensors = program.state_dict
        before = dict(tensors)
        places.append(change_one(tensors, r"batchnorm.*\.weight"))
        right(program, path)
        tensors.update(before)

    monkeypatch.setattr(forms, "write_pt2", wrong)
    table = refused(net, "pt2", tmp_path)
    assert f"first difference: `{places[0]}` (BatchNorm2d)" in table


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_a_program_that_is_not_the_network(
    form: str, net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if torch.export had got a module wrong: it is named as in the network, not by a node of the file."""
    right = job.export_program

    def wrong(network: Network, *rest: object) -> torch.export.ExportedProgram:
        handle = network.get_submodule("linear").register_forward_hook(lambda m, given, output: output + 0.5)
        try:
            return right(network, *rest)  # type: ignore[arg-type]
        finally:
            handle.remove()

    monkeypatch.setattr(job, "export_program", wrong)
    assert "first difference: `linear` (Linear), by 0.5" in refused(net, form, tmp_path)


def test_a_text_whose_weights_are_mixed_up(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = text.renamed_weights
    places: list[str] = []

    def wrong(network: Network, other: Network) -> dict[str, torch.Tensor]:
        tensors = right(network, other)
        places.append(change_one(tensors, r"conv_1\.weight"))
        return tensors

    monkeypatch.setattr(text, "renamed_weights", wrong)
    table = refused(net, "nas", tmp_path)
    assert f"first difference: `{places[0]}` (Conv2d)" in table


def test_the_command_fails_with_the_table_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    right = forms.write_blueprint
    monkeypatch.setattr(
        forms, "write_blueprint", lambda blueprint: right(blueprint).replace("torch.relu(", "torch.tanh(")
    )
    monkeypatch.chdir(tmp_path)
    arguments = ["export", "quickstart", "-g", json.dumps(CHOSEN), "-f", "safetensors,python", "-o", "out"]
    result = CliRunner().invoke(app, arguments, prog_name="nasdsl")
    assert result.exit_code == 1
    assert "N950" in result.stderr and "first difference" in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
