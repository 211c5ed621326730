"""A network with two inputs and two outputs, from the command line: searched, trained, evaluated and exported."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nasdsl.cli.app import app

# Inputs and outputs stand in another order than in the function, and so does `who` before `age`.
SPACE = """space both(width = 8) {
  input image: [3, 6, 6]
  input sound: [12]
  op first = conv(width, kernel = 3) | conv(width, kernel = 1)
  op second = linear(width) | (linear(8) -> relu -> linear(width))
  seen = image -> first -> batchnorm -> relu -> global_avgpool
  heard = sound -> second
  joined = concat([seen, heard])
  age = joined -> linear(1)
  who = joined -> linear(4)
  return age, who
}
"""
DATA = '''
import numpy as np


def voices():
    """`who` is seen in the image's red, and `age` is heard."""
    n = np.random.default_rng(0)
    who = np.arange(160) % 4
    sound = n.normal(size=(160, 12))
    image = n.integers(0, 20, (160, 6, 6, 3), np.uint8)
    image[..., 0] += (who * 60).astype(np.uint8)[:, None, None]
    return {
        "inputs": {"sound": sound, "image": image},
        "targets": {"who": who, "age": 40 + 10 * sound[:, 0]},
        "weights": {"age": 0.5},
    }
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "both.nas").write_text(SPACE)
    (tmp_path / "people.py").write_text(DATA)
    sys.modules.pop("people", None)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the working folder is put on it
    return tmp_path


def done(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="nasdsl")
    assert result.exit_code == 0, result.output
    return result.output


def searched(*arguments: object) -> str:
    common = ("--data", "people:voices", "-c", "search.epochs=2", "--threads", 1, "-o", "run")
    return done("search", "both.nas", *common, *arguments)


@pytest.mark.parametrize("strategy", ["gdas", "random"])
def test_from_search_to_files(here: Path, strategy: str) -> None:
    out = searched("--strategy", strategy)
    assert "R2 of age and accuracy of who" in out
    recipe = ("-c", "lr=0.1", "-c", "batch=32")
    done("train", "run", "--epochs", 40, *recipe, "--threads", 1)
    found = json.loads(done("evaluate", "run", "--json", "--threads", 1).splitlines()[-1])
    assert found["outputs"].keys() == {"age", "who"}
    # Were any input or output taken for the other, neither could be learnt.
    assert found["outputs"]["age"] > 0.8 and found["outputs"]["who"] > 0.8
    mean = (0.5 * found["outputs"]["age"] + found["outputs"]["who"]) / 1.5
    assert found["metric"] == pytest.approx(mean, abs=1e-6)
    assert f"  who: accuracy {found['outputs']['who']:.4f}" in done("evaluate", "run", "--threads", 1)
    done("export", "run", "--format", "python,onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(here / "run" / "export" / "model.onnx")
    assert [x.name for x in session.get_inputs()] == ["image", "sound"]
    assert [x.name for x in session.get_outputs()] == ["age", "who"]
    age, who = session.run(None, dict(np.load(here / "run" / "export" / "example.npz")))
    assert age.shape[1:] == (1,) and who.shape[1:] == (4,)
    assert "outputs = network(image, sound)  # age, who" in (here / "run/export/README.md").read_text()


@pytest.mark.parametrize(
    "evaluator", ["fisher", "grad_norm", "jacob_cov", "naswot", "snip", "synflow", "train"]
)
def test_networks_are_scored_by_all_of_their_outputs(here: Path, evaluator: str) -> None:
    more = ("-c", "evaluation.epochs=1") if evaluator == "train" else ()
    assert "winner" in searched("--strategy", "random_search", "--evaluator", evaluator, *more)


def test_sub_networks_are_taught_all_outputs(here: Path) -> None:
    assert "winner" in searched("--strategy", "sandwich", "-c", "options.distil=true")
