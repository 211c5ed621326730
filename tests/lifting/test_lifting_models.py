"""Torch modules come through as text that compiles and computes the same numbers; what can't is said by name."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from nasdsl import pipeline
from nasdsl.cli.app import app
from nasdsl.cli.lift import read_shape
from nasdsl.diagnostics import NasError, Source
from nasdsl.language.format import format_file
from nasdsl.language.parser import parse

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"


def imported(path: Path):  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


models = imported(Path(__file__).parent / "models.py")
resnet = imported(EXAMPLES / "resnet.py")

CASES = {
    "ResNet": (resnet.ResNet, ["3,32,32"]),
    "MobileNetV2": (models.MobileNetV2, ["3,32,32"]),
    "MobileNetV3": (models.MobileNetV3, ["3,32,32"]),
    "Encoder": (models.Encoder, ["int[T]"]),
    "Decoder": (models.Decoder, ["int[T]"]),
    "VisionTransformer": (models.VisionTransformer, ["3,16,16"]),
    "WithMultihead": (models.WithMultihead, ["7,16"]),
    "TwoInputs": (models.TwoInputs, ["4", "5"]),
}


def made(kind: type[nn.Module]) -> nn.Module:
    """With statistics that a training would leave, so that a mistake in them shows."""
    torch.manual_seed(0)
    module = kind()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return module


@cache
def lifted(name: str) -> tuple[nn.Module, pipeline.Lifted]:
    kind, shapes = CASES[name]
    module = made(kind)
    return module, pipeline.lift(module, [read_shape(text) for text in shapes])


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_the_same(name: str) -> None:
    module, found = lifted(name)
    random = torch.Generator().manual_seed(1)
    inputs = []
    for text in CASES[name][1]:
        shape = read_shape(text)
        sizes = [5, *(d if isinstance(d, int) else 9 for d in shape.dims)]
        whole = shape.dtype == "int"
        inputs.append(
            torch.randint(0, 50, sizes, generator=random) if whole else torch.randn(sizes, generator=random)
        )
    with torch.no_grad():
        theirs, ours = module(*inputs), found.network(*inputs)
    for their, our in zip(
        theirs if isinstance(theirs, tuple) else (theirs,),
        ours if isinstance(ours, tuple) else (ours,),
        strict=True,
    ):
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-5)
    trained = sum(p.numel() for p in found.network.parameters())
    assert trained >= sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", CASES)
def test_the_text_is_one_architecture_in_its_one_layout(name: str) -> None:
    _, found = lifted(name)
    source = Source("lifted.nas", found.text)
    assert format_file(parse(source), source) == found.text
    assert pipeline.loads(found.text).count() == 1


def test_classes_become_operations_and_equal_ones_a_repeat() -> None:
    assert lifted("ResNet")[1].text == (EXAMPLES / "resnet.nas").read_text(encoding="utf-8")
    text = lifted("MobileNetV2")[1].text
    assert "op relu6(x) = relu(x) - relu(x - 6)" in text
    assert "op conv_bn_relu(channels: int, kernel: int, stride = 1) =" in text
    assert "repeat(inverted_residual_3, 2)" in text
    assert "attention(4, head_dim = 8, causal = true)" in lifted("Decoder")[1].text
    assert "repeat(decoder_layer, 3)" in lifted("Decoder")[1].text
    assert "patchify(4, features = 24)" in lifted("VisionTransformer")[1].text


def test_a_choice_can_be_put_into_what_was_lifted() -> None:
    text = (EXAMPLES / "resnet.nas").read_text(encoding="utf-8")
    assert pipeline.loads(text.replace("repeat(basic_block, 3)", "repeat(basic_block, 1|2|3)")).count() == 3


def test_all_that_cannot_be_said_is_said_by_name() -> None:
    with pytest.raises(NasError) as caught:
        pipeline.lift(models.Unspeakable(), [read_shape("3,9,9")])
    messages = [d.message for d in caught.value.diagnostics]
    assert [d.code for d in caught.value.diagnostics] == ["N1085"] * 3
    assert "padding 0, where the language pads 1 (in `conv`)" in messages[0]
    assert "`group_norm` has no word in the language (in `norm`)" in messages[1]
    assert "`cumsum`" in messages[2]


def test_weights_that_are_used_twice_are_refused() -> None:
    with pytest.raises(NasError, match=r"`layer.weight` is used more than once") as caught:
        pipeline.lift(models.Tied(), [read_shape("4")])
    assert caught.value.diagnostics[0].code == "N1085"


def test_what_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    monkeypatch.delitem(sys.modules, "models", raising=False)
    arguments = ["lift", "models:AcrossExamples", "--input", "4", "-o", str(tmp_path / "out.nas")]
    result = CliRunner().invoke(app, arguments, prog_name="nasdsl")
    assert result.exit_code == 1
    assert "[N1087]" in result.output and "on a batch of 5" in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_a_checkpoint_and_hands_the_weights_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = made(resnet.ResNet).eval()
    torch.save({"state_dict": module.state_dict()}, tmp_path / "model.pt")
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.delitem(sys.modules, "resnet", raising=False)
    text, weights = tmp_path / "out.nas", tmp_path / "out.safetensors"
    arguments = ["lift", "resnet:ResNet", "--input", "3,32,32", "--checkpoint", str(tmp_path / "model.pt")]
    result = CliRunner().invoke(
        app, [*arguments, "-o", str(text), "--weights", str(weights)], prog_name="nasdsl"
    )
    assert result.exit_code == 0, result.output
    network = pipeline.load(text).network({}).eval()
    network.load_state_dict(load_file(weights))
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(network(x), module(x))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["resnet:ResNet", "--input", "3,x"], "N984"),
        (["resnet", "--input", "3"], "N1088"),
        (["nowhere:X", "--input", "3"], "N1088"),
        (["resnet:Resnet", "--input", "3"], "N1088"),
        (["resnet:F", "--input", "3"], "N1088"),
        (["resnet:ResNet", "--input", "3,32,32", "--checkpoint", "resnet.nas"], "N1089"),
        (["resnet:ResNet", "--input", "3,32,32", "-o", "nowhere/x.nas"], "N986"),
        (["resnet:ResNet", "--input", "4,32,32"], "N1086"),
    ],
)
def test_bad_input_is_one_message(arguments: list[str], code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.delitem(sys.modules, "resnet", raising=False)
    result = CliRunner().invoke(app, ["lift", *arguments], prog_name="nasdsl")
    assert result.exit_code != 0
    assert result.output.count("error[") == 1 and f"error[{code}]" in result.output
    assert "Traceback" not in result.output


def test_a_module_that_fails_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing.py").write_text(
        "import torch\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        raise KeyError('depth')\n"
    )
    (tmp_path / "unread.py").write_text("depth = 3 +\n")
    monkeypatch.chdir(tmp_path)
    for name, said in (
        ("failing:Net", "failing.py:5:9: error[N990]: your `failing.py` raised KeyError: 'depth'"),
        ("unread:Net", "unread.py:1:12: error[N990]: your `unread.py` raised SyntaxError: invalid syntax"),
    ):
        result = CliRunner().invoke(app, ["lift", name, "--input", "3"], prog_name="nasdsl")
        assert result.exit_code == 1 and result.output.startswith(said), result.output
        sys.modules.pop(name.partition(":")[0], None)


BRANCHING = """
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return 2 * x
"""


def test_a_branch_on_data_is_said_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "branching.py").write_text(BRANCHING)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["lift", "branching:Net", "--input", "3"], prog_name="nasdsl")
    assert "branches on values in the data" in result.output and result.output.startswith("error[N1086]")
    assert "def forward" not in capfd.readouterr().err
    result = CliRunner().invoke(app, ["lift", "branching.py:Net", "--input", "3"], prog_name="nasdsl")
    assert "N1088" in result.output and "branching:Net" in result.output
