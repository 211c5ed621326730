"""Searching, training and exporting from the command line, each as short as it can be."""

from __future__ import annotations

import functools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nasdsl import pipeline, resources
from nasdsl.cli.app import app

RUN = "runs/quickstart-digits-gdas-0"


def nasdsl(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="nasdsl")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a search has run for an epoch, its winner was trained for one, and exported."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("NO_COLOR", "1")
        for command in (
            [
                "search",
                "quickstart",
                "--task",
                "digits",
                "--strategy",
                "gdas",
                "--preset",
                "demo",
                "--epochs",
                "1",
            ],
            ["train", RUN, "--epochs", "1"],
            ["export", RUN],
        ):
            code, out, err = nasdsl(*command)
            assert code == 0, err
            (folder / f"{command[0]}.out").write_text(out)
    return folder


@pytest.fixture
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_a_search_leaves_a_folder_that_makes_sense(there: Path) -> None:
    out = (there / "search.out").read_text()
    assert "1 125 architectures" in out
    assert "gdas on digits, 1 epoch of " in out
    assert "no --data" not in out
    assert "winner" in out
    assert f"nasdsl train {RUN}" in out
    run = there / RUN
    assert {p.name for p in run.iterdir()} >= {
        "config.toml", "space", "versions.json", "events.jsonl", "checkpoint", "genotype.json", "report.md",
    }  # fmt: skip
    assert pipeline.load(run / "space" / "quickstart.nas").genotype(
        json.loads((run / "genotype.json").read_text())
    )


def test_the_same_command_finds_the_search_done(there: Path) -> None:
    before = (there / RUN / "genotype.json").read_bytes()
    code, out, _ = nasdsl("search", "quickstart", "--preset", "demo", "--epochs", "1")
    assert code == 0
    assert out.startswith("no --data and no --task: it is searched on `digits`")
    assert "epoch" not in out
    assert (there / RUN / "genotype.json").read_bytes() == before


def test_another_configuration_needs_another_folder(there: Path) -> None:
    code, _, err = nasdsl("search", "quickstart", "--preset", "demo", "--epochs", "2", "-o", RUN)
    assert code == 1
    assert "N930" in err


def test_a_winner_is_trained_and_kept(there: Path) -> None:
    out = (there / "train.out").read_text()
    assert "held-out accuracy" in out
    about = json.loads((there / RUN / "network" / "network.json").read_text())
    assert about["genotype"] == json.loads((there / RUN / "genotype.json").read_text())
    assert about["recipe"]["epochs"] == 1
    assert 0 < about["test"]["metric"] < 1
    assert f"{about['test']['metric']:.4f}" in out


def test_an_export_needs_nothing_of_nasdsl(there: Path) -> None:
    assert "gives the same numbers" in (there / "export.out").read_text()
    export = there / RUN / "export"
    assert {p.name for p in export.iterdir()} >= {
        "model.py",
        "weights.safetensors",
        "model.onnx",
        "README.md",
    }
    assert "nasdsl" not in (export / "model.py").read_text().replace("by nasdsl", "")
    metrics = json.loads((export / "metrics.json").read_text())
    assert metrics["largest_difference"]["python"] == 0


def test_any_architecture_is_trained_and_exported(there: Path) -> None:
    _, genotype, _ = nasdsl("sample", "quickstart", "--seed", "1")
    Path("one.json").write_text(genotype)
    for given in (genotype.strip(), "one.json"):
        code, out, err = nasdsl(
            "train", "quickstart", "-g", given, "--epochs", "1", "-c", "lr=0.05", "-o", "mine"
        )
        assert code == 0, err
        assert "nasdsl export mine" in out
    assert json.loads((there / "mine" / "network.json").read_text())["recipe"]["lr"] == 0.05
    code, out, err = nasdsl("export", "mine", "--format", "python", "-o", "taken/home")
    assert code == 0, err
    assert not (there / "taken" / "home" / "model.onnx").exists()


ONE = json.dumps(dict(pipeline.load(resources.spaces() / "quickstart.nas").sample(1)))
BAD = [
    (["search", "quickstart", "--task", "digist"], 1, "did you mean `digits`?"),
    (["search", "quickstart", "--strategy", "gdsa"], 1, "did you mean `gdas`?"),
    (["search", "quickstart", "--preset", "dem"], 1, "did you mean `demo`?"),
    (["search", "quickstart", "--device", "gpu"], 1, "N900"),
    (["search", "quickstart", "--precision", "float8"], 2, "--precision"),
    (["search", "quickstart", "--epochs", "0"], 2, "--epochs"),
    (["search", "quickstart", "--seed", "-1"], 2, "--seed"),
    (["search", "quickstart", "-c", "search.lrr=1"], 1, "did you mean `search.lr`?"),
    (["search", "quickstart", "-c", "search.lr"], 1, "N922"),
    (["search", "quickstart", "-c", "search.lr=fast"], 1, "N921"),
    (["search", "quickstart", "-c", "search.lr=-1"], 1, "N921"),
    (["search", "quickstart", "--set", "classes=9", "-o", "new"], 1, "--set classes=10"),
    (["search", "speech_1d", "-o", "new"], 1, "N912"),
    (["search", "quickstart", "-o", "taken"], 1, "N932"),
    (["search", "quickstart", "-o", "one.txt"], 1, "one.txt"),
    (["train", "runs"], 1, "N937"),
    (["train", "missing"], 1, "N980"),
    (["train", "quickstart"], 1, "which one?"),
    (["train", "quickstart", "-g", "{"], 1, "N988"),
    (["train", "quickstart", "-g", "[1]"], 1, "error[N"),
    (["train", "quickstart", "-g", '{"width": 32}'], 1, "N988"),
    (["train", "quickstart", "-g", '{"widht": "32"}'], 1, "did you mean `width`?"),
    (["train", "quickstart", "-g", "missing.json"], 1, "missing.json"),
    (["train", "quickstart", "-g", "one.txt"], 1, "N988"),
    (["train", "run", "-g", "{}", "--space", "one"], 1, "N984"),
    (["train", "run", "-g", "{}", "--top", "2"], 1, "N984"),
    (["train", "run"], 1, "N937"),
    (["train", "damaged"], 1, "error[N"),
    (["export", "missing"], 1, "N980"),
    (["export", "runs/missing"], 1, "N937"),
    (["export", "run"], 1, "nasdsl train run"),
    (["export", "damaged"], 1, "N938"),
    (["export", "run", "--format", "tflite"], 1, "N959"),
    (["export", "run", "--format", "python,onxx"], 1, "did you mean `onnx`?"),
    (["export", "run", "--weights", "trainde"], 1, "did you mean `trained`?"),
    (["export", "run", "--set", "classes=3"], 1, "N984"),
    (["export", "run", "--weights", "inherited"], 1, "N937"),
    (["export", "quickstart"], 1, "which one?"),
    (["export", "quickstart", "-g", ONE, "--weights", "trained"], 1, "N1076"),
    (["export", "quickstart", "-g", ONE, "--weights", "one.txt"], 1, "no safetensors file"),
    (["export", "quickstart", "-g", ONE, "--precision", "int8"], 1, "N1074"),
    (["export", "quickstart", "-g", ONE, "--precision", "int4"], 1, "N1071"),
    (["export", "quickstart", "-g", ONE, "--format", "python", "--top-k", "3"], 1, "add onnx to the formats"),
    (["export", "quickstart", "-g", ONE, "--format", "python", "--opset", "18"], 1, "N1071"),
    (["export", "quickstart", "-g", ONE, "--top-k", "11"], 1, "the best 11 of 10 classes"),
    (["export", "quickstart", "-g", ONE, "--with-preprocessing"], 1, "N956"),
    (["export", "quickstart", "-g", ONE, "--opset", "9"], 1, "N958"),
    (["export", "quickstart", "-g", ONE, "--task", "digist"], 1, "did you mean `digits`?"),
    (["export", "quickstart", "-g", ONE, "-o", "one.txt"], 1, "N961"),
]


@pytest.mark.parametrize(("arguments", "code", "says"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_bad_input_gets_a_message(
    arguments: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "one.txt": "not a genotype",
        "taken/something.txt": "mine",
        "runs/.keep": "",
        "run/config.toml": 'strategy = "gdas"\n',
        "damaged/config.toml": "= = =",
        "damaged/genotype.json": "{}",
        "damaged/network.json": "{}",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ended, out, err = nasdsl(*arguments)
    assert "Traceback" not in err + out
    assert "N999" not in err + out
    assert says in err + out
    assert ended == code


def test_a_full_job_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train = pipeline.train

    def train_shortly(network: Any, task: Any, recipe: Any, **options: Any) -> Any:
        return train(network, task, recipe.model_copy(update={"epochs": 1}), **options)

    monkeypatch.setattr(pipeline, "search", functools.partial(pipeline.search, settings=["search.epochs=1"]))
    monkeypatch.setattr(pipeline, "train", train_shortly)
    code, out, err = nasdsl("demo", "--seed", "5")
    assert code == 0, err
    result = json.loads(Path("runs/demo-5/result.json").read_text())
    assert result["architectures"] == 1125
    assert len(result["others"]) == 5
    assert result["differences"]["python"] == 0
    assert result["differences"]["onnx"] < 1e-4
    assert all(Path(path).exists() for path in result["files"])
    for said in (
        "1 125 architectures",
        "held-out accuracy",
        "5 random architectures",
        "ONNX latency",
        "model.onnx",
    ):
        assert said in out
        assert said in Path("runs/demo-5/report.md").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_a_search_cleanly_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nasdsl", "search", "quickstart", "--preset", "demo", "--epochs", "3"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    events = tmp_path / RUN / "events.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if events.exists() and '"epoch"' in events.read_text():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert "goes on" in err
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / RUN / "genotype.json").exists()
    assert "searching" not in done.stdout, "it began anew"


def test_weights_are_trained_inherited_fresh_or_from_a_file(there: Path) -> None:
    _, out, _ = nasdsl("export", RUN, "-f", "python", "-o", "out/trained")
    assert out.startswith("weights trained on digits; held-out accuracy 0.")
    code, out, err = nasdsl(
        "export", RUN, "-f", "nas,python", "--weights", "inherited", "-o", "out/inherited"
    )
    assert code == 0, err
    assert "inherited from the supernet, batch norm re-estimated on digits" in out
    first, second = (
        json.loads((there / "out" / name / "metrics.json").read_text()) for name in ("trained", "inherited")
    )
    assert first["genotype"] == second["genotype"]
    assert "inherited" in second["weights"]
    (folder,) = {p.parent for p in (there / "out" / "inherited").glob("architecture.*")}
    # A text with its weights is exported again, and another genotype of the run.
    code, out, err = nasdsl(
        "export", folder / "architecture.nas", "--weights", folder / "architecture.safetensors", "-f", "python",
        "--task", "digits", "-o", "out/again",
    )  # fmt: skip
    assert code == 0, err
    again = json.loads((there / "out" / "again" / "metrics.json").read_text())
    assert again["metrics"] == second["metrics"]
    code, out, err = nasdsl("export", RUN, "-g", ONE, "-f", "safetensors", "-o", "out/other")
    assert code == 0, err
    assert "inherited" in out
    assert nasdsl("export", RUN, "-g", ONE, "--weights", "trained")[0] == 1
    code, out, err = nasdsl(
        "export", "quickstart", "-g", ONE, "-f", "python", "--seed", "3", "-o", "out/fresh"
    )
    assert code == 0, err
    assert out.startswith("weights fresh, by seed 3\n")
    assert "batches of random inputs" in out


def test_somebody_with_onnxruntime_alone_classifies_an_image(there: Path) -> None:
    """The lines of the README, on an image that the network has never seen, where torch and nasdsl can't be imported."""
    options = ["-f", "onnx", "--with-preprocessing", "--with-probabilities", "-o", "taken/away"]
    code, _, err = nasdsl("export", RUN, *options)
    assert code == 0, err
    folder = there / "taken" / "away"
    (code_block,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(code_block.splitlines()) <= 10
    blocked = "import sys\nsys.modules['nasdsl'] = sys.modules['torch'] = None\n"
    seen = (
        "\nprint(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'nasdsl', 'sklearn'}))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", blocked + code_block + seen],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    said, modules = shown.stdout.splitlines()
    assert modules == "['nasdsl', 'torch']"  # the names that are blocked
    # The file holds one of the images as they are in the data set, grey values and all.
    import numpy as np
    from sklearn.datasets import load_digits

    image = np.load(folder / "example.npz")["image"]
    stored = load_digits().images
    (place,) = np.flatnonzero(np.abs(stored - image[0, 0]).max((1, 2)) < 1e-3)
    assert said in {str(i) for i in range(10)}
    assert stored[place].max() == 16
