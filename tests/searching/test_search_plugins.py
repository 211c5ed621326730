"""Other packages add strategies, operations, tasks and evaluators: with one that is installed for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PLUGIN = ROOT / "tests" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pip has installed the package, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(PLUGIN, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    subprocess.run(
        [*command, "--target", str(folder), str(source)], check=True, capture_output=True, text=True
    )
    return folder


def environment(site: Path) -> Mapping[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }


def nasdsl(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nasdsl", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(site), capture_output=True, text=True)


SPACE = """\
space mine(classes = 2) {
  input image: [1, 8, 8]
  op act = relu | halve_values | gelu
  return image -> conv(4, kernel = 3) -> act -> conv(4, kernel = 3) -> act -> global_avgpool -> linear(classes)
}
"""


def test_what_a_package_brings_is_used_by_name(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.nas").write_text(SPACE)
    arguments = ["search", "mine.nas", "--task", "stripes", "--strategy", "coin", "--evaluator", "brevity"]
    result = nasdsl(installed, tmp_path, *arguments, "-c", "evaluations=12", "-o", "run")
    assert result.returncode == 0, result.stderr
    # `relu` and `gelu` are the shorter words.
    assert "halve_values" not in (tmp_path / "run" / "genotype.json").read_text()
    trained = nasdsl(installed, tmp_path, "train", "run", "--epochs", "2")
    assert trained.returncode == 0, trained.stderr


def test_the_contract_runs_over_its_strategy(installed: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(PLUGIN / "tests" / "check_coin.py"),
    ]
    result = subprocess.run(command, cwd=tmp_path, env=environment(installed), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


def add_entry(site: Path, folder: Path, group: str, entry: str) -> Path:
    """Another package beside it, which only declares an entry point."""
    copied = folder / "site"
    shutil.copytree(site, copied)
    about = copied / "another-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
    return copied


@pytest.mark.parametrize(
    ("group", "entry", "arguments", "said"),
    [
        ("nasdsl.strategies", "gdas = nasdsl_coin.strategy:Coin", ["strategies"], "clashes: strategy `gdas`"),
        (
            "nasdsl.strategies",
            "dice = nasdsl_coin.strategy:Dice",
            ["strategies", "dice"],
            "can't be loaded: AttributeError",
        ),
        ("nasdsl.operations", "conv = nasdsl_coin.operation:HalveValues", ["check", "quickstart"], "clashes"),
        (
            "nasdsl.strategies",
            "dice = nasdsl_coin.evaluator:Brevity",
            ["search", "quickstart", "--strategy", "dice"],
            "`dice = nasdsl_coin.evaluator:Brevity` is no strategy: it has no `presets`",
        ),
    ],
)
def test_a_clash_and_a_broken_package_are_messages(
    installed: Path, tmp_path: Path, group: str, entry: str, arguments: list[str], said: str
) -> None:
    result = nasdsl(add_entry(installed, tmp_path, group, entry), tmp_path, *arguments)
    assert result.returncode == 1
    output = result.stdout + result.stderr
    assert "[N902]" in output and said in output and "Traceback" not in output


def test_a_package_that_cannot_be_loaded_takes_nothing_from_the_others(
    installed: Path, tmp_path: Path
) -> None:
    site = add_entry(installed, tmp_path, "nasdsl.strategies", "dice = nasdsl_dice:Dice")
    why = "the plug-in `dice = nasdsl_dice:Dice` can't be loaded: ModuleNotFoundError: No module named 'nasdsl_dice'"
    listed = nasdsl(site, tmp_path, "strategies")
    assert listed.returncode == 0 and "coin" in listed.stdout and "dice" not in listed.stdout
    assert listed.stderr.startswith(f"warning[N902]: {why}\n")
    used = nasdsl(site, tmp_path, "strategies", "coin")
    assert (used.returncode, used.stderr) == (0, "")
    unknown = nasdsl(site, tmp_path, "search", "quickstart", "--task", "digits", "--strategy", "dicee")
    assert unknown.returncode == 1
    assert "error[N940]: unknown strategy `dicee`" in unknown.stderr
    assert f"did you mean `dice`?\n             besides, {why}" in unknown.stderr


def test_a_fault_of_a_package_is_told_as_its_own(installed: Path, tmp_path: Path) -> None:
    copied = tmp_path / "site"
    shutil.copytree(installed, copied)
    file = copied / "nasdsl_coin" / "strategy.py"
    line = "        seed = derive(self.seed, "
    text = file.read_text()
    assert line in text
    file.write_text(text.replace(line, f'        raise ValueError("my bug")\n{line}'))
    (tmp_path / "mine.nas").write_text(SPACE)
    arguments = ["search", "mine.nas", "--task", "stripes", "--strategy", "coin", "--evaluator", "brevity"]
    result = nasdsl(copied, tmp_path, *arguments)
    number = file.read_text().splitlines().index('        raise ValueError("my bug")') + 1
    assert result.returncode == 1
    assert result.stderr.startswith(
        f"site/nasdsl_coin/strategy.py:{number}:9: error[N990]: the plug-in `nasdsl-coin` raised ValueError: my bug\n"
    )
