"""What an ONNX file costs: counted against the network, timed in a way that can't be off by a unit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nasdsl.cli.app import app
from nasdsl.exporting.export import export
from nasdsl.exporting.profile import Profile, Settings, compare, profile
from tests.exporting import cases

QUICK = Settings(runs=5, warm_up=1, length=6)


def nasdsl(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="nasdsl")
    return result.exit_code, result.stdout, result.stderr


def onnx_of(name: str, folder: Path) -> Path:
    net = cases.make(cases.shipped(name), 2)
    return export(net, folder / name, ["onnx"], sample_inputs=cases.inputs(net)).files[0]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_of("nasbench201", tmp_path_factory.mktemp("profiled"))


@pytest.fixture(scope="module")
def profiled(file: Path) -> Profile:
    return profile(file, QUICK)


def test_multiply_adds_are_those_of_the_network(profiled: Profile) -> None:
    space = cases.shipped("nasbench201")
    measures = space.measure(space.sample(2))
    # The file has batch norm folded into the convolutions: fewer numbers, and biases for them.
    assert profiled.flops == pytest.approx(measures.flops, rel=0.01)
    assert profiled.params == pytest.approx(measures.params, rel=0.1)


def test_multiply_adds_grow_with_batch_and_length(tmp_path: Path) -> None:
    file = onnx_of("darts_rnn", tmp_path)
    one = profile(file, Settings(runs=3, warm_up=0, length=4))
    more = profile(file, Settings(runs=3, warm_up=0, length=8, batch=2))
    assert more.flops == 4 * one.flops
    # The body of a scan is counted, and not once more as the scan.
    assert "Scan" not in {o.operator for o in more.operators}
    gemms = {o.operator: o.calls for o in one.operators if "Gemm" in o.operator}
    assert sum(o.calls for o in more.operators if "Gemm" in o.operator) == 2 * sum(gemms.values())


def test_time_memory_and_operators(profiled: Profile, file: Path) -> None:
    assert 0 < profiled.latency.p05 <= profiled.latency.median <= profiled.latency.p95 <= profiled.latency.p99
    assert (profiled.latency.runs, profiled.latency.batch) == (5, 1)
    assert profiled.bytes == file.stat().st_size
    assert profiled.peak_memory is None or profiled.peak_memory > 4 * profiled.params
    assert sum(o.share for o in profiled.operators) == pytest.approx(1)
    assert [o.milliseconds for o in profiled.operators] == sorted(
        (o.milliseconds for o in profiled.operators), reverse=True
    )
    assert "Conv" in {o.operator for o in profiled.operators}


def test_two_files_are_run_by_turns(file: Path) -> None:
    pairs = Settings(runs=30, warm_up=3)
    same = compare(file, file, pairs)
    assert same.p05 <= same.ratio <= same.p95
    assert same.first.runs == same.second.runs == 30


def test_the_command(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = ["--runs", "3", "--warm-up", "1"]
    code, out, err = nasdsl("profile", file, *quick)
    assert code == 0, err
    assert "multiply-adds" in out and "Conv" in out
    assert "normalisation is folded into convolutions" in out
    code, out, err = nasdsl("profile", file.parent, *quick, "--json", "--batch", "2")
    assert code == 0, err
    (entry,) = json.loads(out)
    assert set(entry) == {"file", "bytes", "params", "flops", "peak_memory", "latency", "operators"}
    assert entry["latency"]["batch"] == 2
    code, out, err = nasdsl("profile", file, "--against", file.parent, *quick)
    assert code == 0, err
    assert "times as long as" in out and "3 pairs by turns" in out
    code, out, _ = nasdsl("profile", file, "--against", file, *quick, "--json")
    assert json.loads(out)["ratio"]["ratio"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.onnx"], "N1078"),
        (["empty"], "no trained network to make one of"),
        (["text.onnx"], "N1077"),
        (["text.onnx", "--runs", "0"], "--runs"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_profiled(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.onnx").write_text("not a graph")
    code, out, err = nasdsl("profile", *arguments)
    assert code != 0
    assert says in err
    assert "Traceback" not in err + out
