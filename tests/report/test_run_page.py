"""Runs, listed and as a page: from the folder alone, whatever state it is in, and as a browser shows it."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nasdsl import pipeline
from nasdsl.cli.app import app
from nasdsl.report import trackers
from nasdsl.report.run_log import read_run, runs_in
from nasdsl.report.run_page import run_page

SPACE = """\
space mine(classes = 10) {
  input image: [1, 8, 8]
  op edge = skip: identity | conv: conv(kernel = 3) -> batchnorm | pool: avgpool(3)
  return image -> conv(4, kernel = 3) -> edge -> edge -> global_avgpool -> linear(classes)
}
"""


def nasdsl(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, prog_name="nasdsl")
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search whose winner was trained, and one of random architectures with a cost among its objectives."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "mine.nas").write_text(SPACE)
    more = {
        "gdas": ["--track", "tensorboard"],
        "random": ["-c", "options.candidates=3", "--objective", "accuracy,params"],
    }
    for strategy, options in more.items():
        nasdsl(
            "search", str(folder / "mine.nas"), "--strategy", strategy, "--epochs", "2", "-o", str(folder / strategy),
            *options,
        )  # fmt: skip
    nasdsl("train", str(folder / "gdas"), "--epochs", "1")
    return folder


def page(folder: Path) -> str:
    run = read_run(folder)
    return run_page(run, pipeline.load(folder / "space" / "mine.nas"))


def test_the_page_says_what_the_run_came_to(runs: Path) -> None:
    text = page(runs / "gdas")
    events = [json.loads(line) for line in (runs / "gdas" / "events.jsonl").read_text().splitlines()]
    end = next(e for e in events if e["event"] == "end")
    assert f"{end['metric']:.4g} (loss" in text
    for name, taken in end["genotype"].items():
        assert f"<code>{name}</code></td><td>{taken}</td>" in text
    for title in ("Loss", "How undecided the choices are", "How each choice moved", "Trials", "Versions"):
        assert title in text
    assert "trained from scratch" in text and "of 359" not in text and "359 held-out examples" in text
    assert "How each choice moved" not in page(runs / "random")


def test_the_page_shows_the_front_of_a_run_with_costs(runs: Path) -> None:
    text = page(runs / "random")
    volume = json.loads((runs / "random" / "pareto.json").read_text())["hypervolume"]
    assert "<h3>accuracy over params</h3>" in text and f"hypervolume {volume:.4f} of accuracy 0 to 1" in text
    assert "accuracy over" not in page(runs / "gdas")


def test_the_page_and_its_json_say_how_much_each_choice_mattered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a search whose scores are the numbers of params, on a space in which the width makes most of them."""
    monkeypatch.chdir(tmp_path)
    Path("mine.nas").write_text(SPACE.replace("conv(4, kernel = 3) ->", "conv(4 | 32, kernel = 3) ->"))
    nasdsl(
        "search", "mine.nas", "--strategy", "random_search", "--evaluator", "params", "--evaluations", "30", "-o", "run"
    )  # fmt: skip
    nasdsl("report", "run")
    told = json.loads(nasdsl("report", "run", "--json"))
    trials = {json.dumps(e["genotype"]): e["metric"] for e in read_run(Path("run")).of("trial")}
    assert told["compared"] == len(trials) >= 15 and told["state"] == "finished"
    assert told["winner"]["genotype"] == json.loads(Path("run/genotype.json").read_text())
    by_name = {choice["choice"]: choice for choice in told["choices"]}
    assert len(by_name) == 3
    widest = max(by_name.values(), key=lambda choice: choice["share"])
    assert [c["label"] for c in widest["candidates"]] == ["4", "32"]
    for candidate in widest["candidates"]:
        own = [m for text, m in trials.items() if json.loads(text)[widest["choice"]] == candidate["label"]]
        assert candidate["trials"] == len(own) and candidate["mean"] == pytest.approx(sum(own) / len(own))
    page, written = Path("run/report.html").read_text(), Path("run/report.md").read_text()
    for text, percent in ((page, " %"), (written, "%")):
        assert "How much each choice mattered" in text
        assert (
            f"{100 * widest['share']:.1f}{percent}" in text
            and f"± {widest['candidates'][0]['error']:.2g} (" in text
        )
    assert f"| `{widest['choice']}` | {widest['share']:.1%} | {widest['by_chance']:.1%} |" in written
    # Who learns no probabilities has no column for them.
    assert "probability" not in page and "| choice | taken |\n" in written


def test_probabilities_stand_where_they_are_learned_and_nothing_is_said_of_few_scores(runs: Path) -> None:
    assert "<th>probability</th>" in page(runs / "gdas") and "<th>probability</th>" not in page(
        runs / "random"
    )
    assert "| choice | taken | probability |" in (runs / "gdas" / "report.md").read_text()
    assert "mattered" not in page(runs / "gdas") and "mattered" not in page(runs / "random")
    told = json.loads(nasdsl("report", str(runs / "random"), "--json"))
    assert all(choice["share"] is None for choice in told["choices"]) and told["compared"] == 3


@pytest.mark.parametrize("strategy", ["gdas", "random"])
def test_the_page_needs_nothing_besides_itself(runs: Path, strategy: str) -> None:
    text = page(runs / strategy)
    assert not re.search(r"<(link|script|img|iframe)\b", text)
    sources = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')>\s]+)", text)
    assert all(source.startswith("#") for source in sources), sources
    # Every colour of a chart is one that the style sheet knows, light and dark.
    assert not re.search(r"#(0[1-9]){3}|#1000\d\d", text)


def test_the_same_run_gives_the_same_page(runs: Path) -> None:
    assert page(runs / "gdas") == page(runs / "gdas")


def test_states(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs / "gdas", folder)
    assert read_run(folder).state == "finished"
    lines = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join(lines[:2]) + '\n{"event": "ep')
    stopped = read_run(folder)
    assert (stopped.state, stopped.epochs, stopped.best) == ("stopped", (1, 2), None)
    assert "with the winner in it" not in page(folder)
    with open(folder / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert read_run(folder).state == "running"
    (folder / "events.jsonl").unlink()
    assert read_run(folder).state == "new"
    assert page(folder)


def test_runs_lists_them_the_latest_first(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [run.folder.name for run in runs_in(runs)] == ["random", "gdas"]
    monkeypatch.chdir(runs.parent)
    out = nasdsl("runs", runs.name)
    assert re.search(rf"{runs.name}/random +finished +mine +digits +random", out)
    (first, second) = json.loads(nasdsl("runs", str(runs), "--json"))
    assert (first["trials"], second["epoch"], second["epochs"]) == (3, 2, 2)


def test_names_of_people_stay_text(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a<b>&c"
    shutil.copytree(runs / "gdas", folder)
    assert "a&lt;b&gt;&amp;c" in page(folder) and "a<b>" not in page(folder)


def test_tensorboard_has_the_numbers_of_the_events(runs: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(runs / "gdas" / "tensorboard"))
    found.Reload()
    events = read_run(runs / "gdas").of("epoch")
    losses = [(e.step, e.value) for e in found.Scalars("search/loss")]
    assert losses == [(e["epoch"], pytest.approx(e["loss"], rel=1e-6)) for e in events]
    name, shares = next(iter(events[-1]["probabilities"].items()))
    assert found.Scalars(f"probability/{name}/skip")[-1].value == pytest.approx(shares[0], rel=1e-5)


def test_a_tracker_that_is_unknown_or_missing_is_said_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        trackers, "TRACKERS", {**trackers.TRACKERS, "nowhere_to_be_found": (trackers.MLflow, "nowhere")}
    )
    monkeypatch.chdir(tmp_path)
    for name, code in (("tensorbord", "N1051"), ("nowhere_to_be_found", "N1052")):
        result = CliRunner().invoke(app, ["search", "quickstart", "--track", name], prog_name="nasdsl")
        assert result.exit_code == 1 and f"[{code}]" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_be_read_hides_no_other(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs / "random", tmp_path / "whole")
    shutil.copytree(runs / "gdas", tmp_path / "torn")
    (tmp_path / "torn" / "config.toml").write_text("junk")
    lines = {Path(line.split()[0]).name: line.split() for line in nasdsl("runs", ".").splitlines()[1:]}
    assert lines["whole"][1:4] == ["finished", "mine", "digits"]
    assert lines["torn"][1:8] == ["unreadable", *["-"] * 6]
    entries = {Path(e["folder"]).name: e for e in json.loads(nasdsl("runs", str(tmp_path), "--json"))}
    assert (entries["torn"]["state"], entries["torn"]["space"]) == ("unreadable", None)
    for file, words in (("config.toml", "Expected '=' after a key"), ("versions.json", "Expecting value")):
        again = Path(f"again-{file}")
        shutil.copytree(runs / "gdas", again)
        (again / file).write_text("junk")
        given = ["search", str(runs / "mine.nas"), "--strategy", "gdas", "--epochs", "2", "-o", str(again)]
        result = CliRunner().invoke(app, given, prog_name="nasdsl")
        assert result.exit_code == 1
        assert f"error[N938]: `{again / file}` is damaged: {words}" in result.output


def test_damage_is_a_message(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs / "gdas", folder)
    (folder / "config.toml").write_text("not = [toml")
    for arguments, code in ((["report", str(folder)], "N1050"), (["report", str(tmp_path)], "N937")):
        result = CliRunner().invoke(app, arguments, prog_name="nasdsl")
        assert result.exit_code == 1 and f"[{code}]" in result.output


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.mark.skipif(BROWSER is None, reason="no headless Chromium is installed")
def test_a_browser_shows_it(runs: Path, tmp_path: Path) -> None:
    assert BROWSER is not None
    nasdsl("report", str(runs / "gdas"), "-o", str(tmp_path / "page.html"))
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "page.html").as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    # The browser's own reading of the page: every chart is a drawing in it, and nothing was left over as text.
    assert shown.count("<svg") >= 5 and shown.count("</svg>") == shown.count("<svg")
    assert "<h2>How the search went</h2>" in shown and "{{" not in shown
