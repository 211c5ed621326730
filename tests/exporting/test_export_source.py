"""Exported source against the network: the same names, the same numbers bit for bit, and text that needs no formatter."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nasdsl.diagnostics import NasError
from nasdsl.exporting.network import Network
from nasdsl.exporting.source import write_blueprint, write_source
from nasdsl.pipeline import load, loads
from nasdsl.resources import spaces
from tests.exporting import cases
from tests.exporting.random_spaces import Author

SEEDS = int(os.environ.get("NASDSL_EXPORT_SEEDS", "3"))
SNAPSHOTS = Path(__file__).parent / "snapshots"
EXAMPLES = Path(__file__).parents[2] / "examples"
# The best cell of NAS-Bench-201 on CIFAR-10, and the cells of DARTS (second order).
PAPERS: dict[str, dict[str, str | list[str]]] = {
    "nasbench201": {
        "normal.x1": "nor_conv_3x3",
        "normal.x2#1": "nor_conv_3x3",
        "normal.x2#2": "nor_conv_3x3",
        "normal.x3#1": "skip_connect",
        "normal.x3#2": "nor_conv_3x3",
        "normal.x3#3": "nor_conv_1x1",
    },
    "darts": {
        "normal.n[2].0": "sep_conv_3x3",
        "normal.n[2].1": "sep_conv_3x3",
        "normal.n[3]": ["0", "1"],
        "normal.n[3].0": "sep_conv_3x3",
        "normal.n[3].1": "sep_conv_3x3",
        "normal.n[4]": ["0", "1"],
        "normal.n[4].0": "skip_connect",
        "normal.n[4].1": "sep_conv_3x3",
        "normal.n[5]": ["0", "2"],
        "normal.n[5].0": "skip_connect",
        "normal.n[5].2": "dil_conv_3x3",
        "reduction.n[2].0": "max_pool_3x3",
        "reduction.n[2].1": "max_pool_3x3",
        "reduction.n[3]": ["1", "2"],
        "reduction.n[3].1": "max_pool_3x3",
        "reduction.n[3].2": "skip_connect",
        "reduction.n[4]": ["0", "2"],
        "reduction.n[4].0": "max_pool_3x3",
        "reduction.n[4].2": "skip_connect",
        "reduction.n[5]": ["1", "2"],
        "reduction.n[5].1": "max_pool_3x3",
        "reduction.n[5].2": "skip_connect",
    },
}


def same_network(net: Network) -> str:
    """Checks the source of a network in eval and train mode; returns it."""
    source = write_blueprint(net.blueprint)
    model = getattr(cases.read(source), net.blueprint.top.name)()
    assert list(model.state_dict()) == list(net.state_dict())
    model.load_state_dict(net.state_dict())
    given = cases.inputs(net)
    for a, b in zip(cases.outputs(net, given), cases.outputs(model.eval(), given), strict=True):
        assert torch.equal(a, b)
    return source


@pytest.mark.parametrize("name", cases.SHIPPED)
def test_every_shipped_space(name: str) -> None:
    space = cases.shipped(name)
    for seed in range(SEEDS):
        net = cases.make(space, seed)
        source = same_network(net)
        assert source == write_source(space.architecture(space.sample(seed)), space.catalogue)
        assert "nasdsl" not in source
        assert net.genotype.text.split('"')[1] in source


@pytest.mark.parametrize("name", cases.HARD)
def test_spaces_that_are_hard_to_write(name: str) -> None:
    space = cases.hard(name)
    for seed in range(SEEDS):
        same_network(cases.make(space, seed))


@pytest.mark.parametrize("seed", range(8 * SEEDS))
def test_random_spaces(seed: int) -> None:
    try:
        space = loads(Author(seed).space())
    except NasError as error:
        if error.diagnostics[0].code != "N402":
            raise
        pytest.skip("two candidates happen to read the same, and need labels")
    for genotype in range(2):
        same_network(cases.make(space, genotype))


def test_it_is_formatted_and_clean(tmp_path: Path) -> None:
    """As `ruff format` and `ruff check` would have it, and valid in Python 3.10."""
    for name in cases.SHIPPED:
        for seed in range(SEEDS):
            source = write_blueprint(cases.make(cases.shipped(name), seed).blueprint)
            ast.parse(source, feature_version=(3, 10))
            (tmp_path / f"{name}_{seed}.py").write_text(source)
    for number, name in enumerate(cases.HARD):
        for seed in range(2):
            source = write_blueprint(cases.make(cases.hard(name), seed).blueprint)
            (tmp_path / f"hard{number}_{seed}.py").write_text(source)
    for seed in range(8, 16):
        source = write_blueprint(cases.make(loads(Author(seed).space()), 0).blueprint)
        (tmp_path / f"random_{seed}.py").write_text(source)
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length", "100", "--target-version", "py310", "--no-cache", str(tmp_path)]
    shown = subprocess.run([*ruff, "format", "--diff", *options], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stdout
    shown = subprocess.run(
        [*ruff, "check", "--select", "E,F,W,I,B,UP,PLE,PLW", "--ignore", "E501", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout


def written(name: str) -> Path:
    """Where a network of that space lies to be opened and read: the papers' own among the examples."""
    return EXAMPLES / name / "model.py" if name in PAPERS else SNAPSHOTS / f"{name}.py"


@pytest.mark.parametrize("name", ["darts", "nasbench201", "ofa_mobilenetv3"])
def test_how_it_reads(name: str, bless: bool) -> None:
    """At the size of the papers."""
    space = load(spaces() / f"{name}.nas")
    genotype = space.genotype(PAPERS[name]) if name in PAPERS else space.sample(1)
    source = write_source(space.architecture(genotype), space.catalogue)
    if bless:
        written(name).write_text(source)
    assert source == written(name).read_text()


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_an_example_runs_where_there_is_no_nasdsl(name: str) -> None:
    script = (
        "import sys; sys.modules['nasdsl'] = None; sys.dont_write_bytecode = True\n"
        f"import torch; from model import {name.capitalize()} as Example\n"
        "network = Example().eval()\n"
        "print(tuple(network(torch.randn(2, 3, 32, 32)).shape))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=EXAMPLES / name, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "(2, 10)\n"


def test_the_lines_in_the_readme_of_the_examples() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    shown = subprocess.run(
        [sys.executable, "-B", "-c", code + "print(tuple(scores.shape))"],
        cwd=EXAMPLES / "nasbench201", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout == "(1, 10)\n"
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (EXAMPLES / target).exists()


def test_the_command_writes_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from nasdsl.cli.app import app

    monkeypatch.chdir(tmp_path)
    head = written("nasbench201").read_text(encoding="utf-8").split('"""')[1]
    (tmp_path / "genotype.json").write_text(head[head.index("{") :])
    arguments = ["export", "nasbench201", "-g", "genotype.json", "--format", "python", "-o", "taken"]
    result = CliRunner().invoke(app, arguments, prog_name="nasdsl")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "taken" / "model.py").read_bytes() == written("nasbench201").read_bytes()


def test_train_mode_and_gradients() -> None:
    net = cases.make(cases.shipped("quickstart"), 0)
    model = getattr(cases.read(write_blueprint(net.blueprint)), net.blueprint.top.name)()
    model.load_state_dict(net.state_dict())
    (image,) = cases.inputs(net, batch=4)
    for module in (net.train(), model.train()):
        module(image).square().sum().backward()
    ours, theirs = dict(net.named_parameters()), dict(model.named_parameters())
    assert all(torch.equal(ours[name].grad, theirs[name].grad) for name in ours)
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), model.buffers(), strict=True))


def test_classes_are_named_as_in_the_file() -> None:
    space = cases.shipped("nasbench201")
    genotype = space.genotype({c.name: "nor_conv_3x3" for c in space.choices})
    source = write_source(space.architecture(genotype), space.catalogue)
    assert re.findall(r"^class (\w+)", source, re.M) == ["Reconv", "Normal", "Reduce", "Nasbench201"]
    assert "self.stage_1 = nn.Sequential(*[Normal(4) for _ in range(2)])" in source
    assert "x2 = self.x2_1(x0) + self.x2_2(x1)" in source
    # One kernel for all of them stands in the code, different channels are a parameter.
    assert "def __init__(self, channels: int) -> None:" in source
    assert "kernel" not in source


def test_numbers_that_differ_are_parameters() -> None:
    space = loads("""
op block(x: [C, H, W], width: int, kernel: int, stride = 1) =
  x -> conv(2 * C, kernel = 1) -> conv(kernel = kernel, stride = stride) -> batchnorm -> conv(width, kernel = 1)
space net(width = 4) {
  input x: [4, 16, 16]
  return x -> block(8, 3) -> block(24, 5, stride = 2) -> block(24, 7, stride = 2) -> global_avgpool
}""")
    source = write_source(space.architecture(space.sample(0)), space.catalogue)
    assert "self, in_channels: int, out_channels: int, kernel: int, stride: int = 1" in source
    assert "nn.Conv2d(in_channels, 2 * in_channels, 1, bias=False)" in source
    assert "padding=kernel // 2" in source
    assert "Block(4, 8, kernel=3)," in source
    assert "Block(8, 24, kernel=5, stride=2)," in source


def test_a_name_that_only_some_uses_have_is_not_written_for_all() -> None:
    one_shot = cases.shipped("one_shot")
    source = write_source(one_shot.architecture(one_shot.sample(1)), one_shot.catalogue)
    for body in source.split("class ")[1:]:
        for size in re.findall(r"(?m)^        sep_conv_(\d)x\d = self\.(\w+)", body):
            assert f"self.{size[1]} = SepConv(channels, kernel={size[0]})" in body


def test_channels_over_a_free_length_are_channels() -> None:
    space = loads("""
op separable(channels: int) = depthwise(3) -> conv(channels, kernel = 1)
space net(width = 4) {
  input sound: [6, T]
  return sound -> separable(8) -> conv(6, kernel = 1, stride = 2) -> separable(12) -> global_avgpool
}""")
    source = write_source(space.architecture(space.sample(0)), space.catalogue)
    assert "# [N, 6, L] -> [N, channels, L]" in source


def test_a_genotype_with_unpleasant_labels() -> None:
    space = loads("""
op edge = relu -> conv(kernel = 1) | tanh
space net(width = 4) {
  input x: [3, 4, 4]
  return x -> edge -> global_avgpool
}""")
    for seed in range(4):
        same_network(cases.make(space, seed))
