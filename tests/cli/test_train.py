"""``nasdsl train`` and ``nasdsl evaluate``: which networks are trained, which one is kept, and how good it is."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from nasdsl import pipeline
from nasdsl.cli import jobs, networks, trainings
from nasdsl.cli.app import app
from nasdsl.diagnostics import NasError, failure
from nasdsl.language.builder import Limits
from nasdsl.space.tensor import Shape
from nasdsl.training import budget
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.objectives import Regression
from nasdsl.training.recipe import Recipe
from nasdsl.training.split import Split
from nasdsl.training.tasks import TASKS, Task

SPACE = """\
space tiny(width = 4) {
  input image: [1, 8, 8]
  op edge = skip: identity | conv: relu -> conv(kernel = 3) -> batchnorm | none: zero
  x = image -> conv(width, kernel = 3) -> batchnorm
  y = x + edge(x)
  z = y + edge(y)
  return z -> global_avgpool -> linear(10)
}
"""


def nasdsl(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="nasdsl")
    return result.exit_code, result.stdout, result.stderr


def done(*arguments: object) -> str:
    code, out, err = nasdsl(*arguments)
    assert code == 0, err
    return out


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space, and the run of a short search in it."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.nas").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done(
            "search",
            "tiny.nas",
            "--strategy",
            "random",
            "-c",
            "options.candidates=5",
            "--epochs",
            1,
            "-o",
            "run",
        )
    return folder


@pytest.fixture
def there(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(work)
    return work


def read(path: str | Path) -> Any:
    return json.loads(Path(path).read_text())


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / networks.WEIGHTS), load_file(other / networks.WEIGHTS)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- several candidates -----------------------------------------------------------------------------


def test_the_best_few_are_compared_on_validation_and_the_winner_is_tested_once(there: Path) -> None:
    out = done("train", "run", "--top", 3, "--seeds", 2, "--epochs", 1, "-o", "several")
    results = read("several/results.json")
    assert results["compared_on"] == "validation"
    means = [sum(c["metrics"]) / 2 for c in results["candidates"]]
    assert results["winner"] == means.index(max(means))
    events = map(json.loads, Path("run/events.jsonl").read_text().splitlines())
    ranked = [event["genotype"] for event in events if event["event"] == "trial"]
    assert results["candidates"][0]["genotype"] == read("run/genotype.json")
    assert all(c["genotype"] in ranked for c in results["candidates"])
    folders = {(k, s): Path(f"several/candidates/{k}-{s}") for k in (1, 2, 3) for s in (0, 1)}
    tested = {key for key, folder in folders.items() if "test" in read(folder / "network.json")}
    assert tested == {(results["winner"] + 1, 0), (results["winner"] + 1, 1)}
    scores = results["candidates"][results["winner"]]["metrics"]
    kept = folders[results["winner"] + 1, scores.index(max(scores))]
    assert same_weights(Path("several/network"), kept)
    assert f"candidate {results['winner'] + 1}: held-out accuracy" in out
    # Validation and training part share nothing with the test part: their sizes add up.
    assert read(kept / "network.json")["validation"]["examples"] == 144
    assert read(kept / "network.json")["test"]["examples"] == 359
    # The same command finds all of it done.
    before = {folder: (folder / "weights.safetensors").stat().st_mtime_ns for folder in folders.values()}
    assert done("train", "run", "--top", 3, "--seeds", 2, "--epochs", 1, "-o", "several").endswith(
        out.splitlines()[-1] + "\n"
    )
    assert all((folder / "weights.safetensors").stat().st_mtime_ns == at for folder, at in before.items())
    assert results["kept_seed"] == scores.index(max(scores))
    assert out.splitlines()[-2] == (
        f"the network that is kept is that of seed {results['kept_seed']}, which did best on the validation part"
    )


def test_of_candidates_that_did_equally_well_the_smallest_wins(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def equal(planned: trainings.Trainings, *given: Any) -> list[list[jobs.Score]]:
        original(planned, *given)
        sizes = [planned.space.measure(genotype).params for genotype in planned.genotypes]
        told["pair"] = next((a, b) for a, b in ((0, 1), (0, 2), (1, 2)) if sizes[b] < sizes[a])
        return [[jobs.Score(0.5 if i in told["pair"] else 0.4, 1.0, 144)] for i in range(3)]

    original = trainings.train_several
    monkeypatch.setattr(trainings, "train_several", equal)
    out = done("train", "run", "--top", 3, "--epochs", 1, "-o", "equal")
    results = read("equal/results.json")
    first, smaller = told["pair"]
    assert (results["winner"], results["tied"]) == (smaller, [first, smaller])
    assert (
        f"candidates {first + 1} and {smaller + 1} did equally well on the validation part: {smaller + 1} is the smallest "
        "of them"
    ) in out.splitlines()
    assert read("equal/network/genotype.json") == results["candidates"][results["winner"]]["genotype"]


def test_side_by_side_they_come_to_the_same(there: Path) -> None:
    given = ("train", "run", "--top", 2, "--epochs", 1)
    done(*given, "-o", "one")
    done(*given, "--workers", 2, "-o", "two")
    one, two = read("one/results.json"), read("two/results.json")
    assert one == two
    assert same_weights(Path("one/network"), Path("two/network"))


def test_several_seeds_are_told_with_their_spread(there: Path) -> None:
    genotype = json.dumps(read("run/genotype.json"))
    out = done("train", "tiny.nas", "-g", genotype, "--seeds", 3, "--seed", 5, "--epochs", 1, "-o", "seeds")
    results = read("seeds/results.json")
    assert (results["seeds"], results["compared_on"]) == ([5, 6, 7], "test")
    metrics = results["test"]["metrics"]
    mean = sum(metrics) / 3
    spread = (sum((m - mean) ** 2 for m in metrics) / 2) ** 0.5
    assert f"held-out accuracy {mean:.4f} ± {spread:.4f} (3 seeds)" in out
    assert same_weights(Path("seeds/network"), Path("seeds/candidates/1-5"))
    assert (
        "the network that is kept is that of seed 5, the first, since the held-out part is not there to choose by"
        in out
    )


def test_a_failure_in_another_process_is_told_as_anywhere() -> None:
    fault = failure("N914", "training diverged", "a smaller learning rate")
    again = pickle.loads(pickle.dumps(fault))
    assert (type(again), again.diagnostics, str(again)) == (NasError, fault.diagnostics, str(fault))


# --- larger, and from where -------------------------------------------------------------------------


def test_what_was_searched_small_is_trained_big(there: Path) -> None:
    done("train", "run", "--set", "width=12", "--epochs", 1, "-o", "wide")
    about = read("wide/network.json")
    assert about["parameters"] == {"width": 12}
    assert about["genotype"] == read("run/genotype.json")
    stored = networks.read_network(Path("wide"), Limits())
    assert sum(p.numel() for p in stored.network.parameters()) > 5 * 200
    assert "accuracy" in done("evaluate", "wide")


def test_the_supernets_weights_are_where_training_starts(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    train = pipeline.train

    def spy(network: Any, *given: Any, **options: Any) -> Any:
        assert options["fresh"] is False
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return train(network, *given, **options)

    monkeypatch.setattr(pipeline, "train", spy)
    done("train", "run", "--weights", "inherited", "--epochs", 1, "-o", "inherited")
    (state,) = seen
    checkpoint = sorted(Path("run/checkpoint").glob("*.safetensors"))[-1]
    shared = [t for name, t in load_file(checkpoint).items() if name.startswith("weights.")]
    for name, tensor in state.items():
        if name.endswith("conv.weight"):
            assert any(t.shape == tensor.shape and torch.equal(t, tensor) for t in shared), name
    means = [t for name, t in state.items() if name.endswith("running_mean")]
    assert means and all(bool(mean.abs().sum() > 0) for mean in means)
    code, _, err = nasdsl("train", "run", "--weights", "inherited", "--set", "width=8", "-o", "wrong")
    assert code == 1 and "N1025" in err
    assert not Path("wrong").exists()


# --- stopping and going on --------------------------------------------------------------------------


def job(folder: Path, epochs: int = 3, lr: float = 0.1) -> jobs.Job:
    space = networks.SpaceReference(Path("tiny.nas"), "tiny", {}, Limits())
    genotype = space.load().sample(0)
    recipe = Recipe(epochs=epochs, lr=lr, ema=0.9, drop_path=0.2)
    return jobs.Job(folder, space, genotype, "digits", DataSettings(), 0, recipe, "cpu", "float32")


def test_a_training_that_was_stopped_goes_on_bit_for_bit(there: Path) -> None:
    def stop(epoch: Any) -> None:
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    whole = jobs.run_job(job(there / "whole"))
    with pytest.raises(KeyboardInterrupt):
        jobs.run_job(job(there / "parts"), on_epoch=stop)
    assert not (there / "parts" / "network.json").exists()
    ran: list[int] = []
    assert jobs.run_job(job(there / "parts"), on_epoch=lambda e: ran.append(e.epoch)) == whole
    assert ran == [2]
    assert same_weights(there / "whole", there / "parts")
    assert not (there / "parts" / jobs.CHECKPOINT).exists()


def test_one_process_at_a_time_trains_in_a_folder(there: Path) -> None:
    def meddle(epoch: Any) -> None:
        with pytest.raises(NasError) as error:
            jobs.run_job(job(there / "held", epochs=1))
        assert error.value.diagnostics[0].code == "N931"

    jobs.run_job(job(there / "held", epochs=1), on_epoch=meddle)
    (epoch,) = map(json.loads, (there / "held" / "epochs.jsonl").read_text().splitlines())
    assert epoch["epoch"] == 0 and epoch["loss"] > 0


def test_another_training_does_not_go_on_from_it(there: Path) -> None:
    def stop(epoch: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.run_job(job(there / "unfinished"), on_epoch=stop)
    given = ("train", "tiny.nas", "-g", json.dumps(dict(job(there).genotype)), "-o", "unfinished")
    code, _, err = nasdsl(*given, "--epochs", 2, "-c", "ema=0.9", "-c", "drop_path=0.2")
    assert code == 1
    assert "N1023" in err and "`recipe.epochs` was 3, and is 2 now" in err
    before = {path.name: path.read_bytes() for path in Path("unfinished").iterdir()}
    code, _, err = nasdsl(*given, "--budget", "0.01s")
    assert code == 1 and "N1023" in err
    assert {path.name: path.read_bytes() for path in Path("unfinished").iterdir()} == before
    Path("unfinished/job.json").write_text("{")
    code, _, err = nasdsl(*given, "--epochs", 2)
    assert code == 1 and "error[N938]: `unfinished/job.json` is damaged: " in err


def test_a_network_that_was_trained_otherwise_is_not_replaced_by_the_way(there: Path) -> None:
    several = ("train", "run", "--top", 2, "--epochs", 1, "-o", "best")
    done(*several)
    stored = {path: path.read_bytes() for path in Path("best").rglob("*.json")}
    kept = "`best/network` has a network that was trained otherwise: tiny, 1 epoch, seed 0, held-out metric"
    for other in (
        ("train", "run", "--epochs", 1),  # on the whole training part
        ("train", "run", "--top", 2, "--epochs", 2),
        ("train", "run", "--top", 2, "--epochs", 1, "--weights", "inherited"),
        ("train", "run", "--top", 2, "--epochs", 1, "--seed", 1),
        ("train", "run", "--top", 2, "--budget", "1h"),
    ):
        code, _, err = nasdsl(*other, "-o", "best")
        assert code == 1
        assert "N1027" in err and kept in " ".join(err.split())
        assert "-o FOLDER" in err and "--overwrite" in err
        assert {path: path.read_bytes() for path in Path("best").rglob("*.json")} == stored
    done(*several)
    done(*several, "--overwrite")  # what is there is what is asked for
    assert {path: path.read_bytes() for path in Path("best").rglob("*.json")} == stored
    alone = ("train", "run", "--epochs", 2, "-o", "best")
    done(*alone, "--overwrite")
    assert read("best/network.json")["recipe"]["epochs"] == 2
    assert not any(Path("best", name).exists() for name in ("candidates", "results.json", "network"))
    done(*several, "--overwrite")
    assert not Path("best/network.json").exists()
    assert read("best/results.json")["candidates"] and Path("best/network/network.json").exists()


def test_a_run_keeps_all_but_its_trained_network(there: Path) -> None:
    shutil.copytree("run", "searched")
    before = {path.name: path.read_bytes() for path in Path("searched").iterdir() if path.is_file()}
    done("train", "searched", "--epochs", 1)
    done("train", "searched", "--epochs", 2, "--overwrite")
    assert read("searched/network/network.json")["recipe"]["epochs"] == 2
    after = {path.name: path.read_bytes() for path in Path("searched").iterdir() if path.is_file()}
    assert after.items() >= before.items()


def test_any_architecture_of_a_run_is_trained_as_the_run_says(there: Path) -> None:
    winner = read("run/genotype.json")
    space = pipeline.load("tiny.nas")
    other = next(dict(g) for g in space.sample(0, 20) if dict(g) != winner)
    done("train", "run", "-g", json.dumps(other), "-c", "epochs=1", "-o", "chosen")
    told = read("chosen/network.json")
    assert told["genotype"] == other and told["task"] == "digits" and "test" in told
    # As the winner is: the same data, and the recipe of the run.
    done("train", "run", "-c", "epochs=1", "-o", "won")
    won = read("won/network.json")
    same = ("space", "parameters", "task", "data", "recipe", "seed")
    assert won["genotype"] == winner and {k: told[k] for k in same} == {k: won[k] for k in same}
    # From the shared weights, and while the search still goes on.
    shutil.copytree("run", "going")
    Path("going/genotype.json").unlink()
    done("train", "going", "-g", json.dumps(other), "-c", "epochs=1")
    assert same_weights(there / "going/network", there / "chosen")
    code, _, err = nasdsl("train", "going", "-c", "epochs=1")
    assert code == 1 and "N937" in err and "no winner yet" in err
    code, _, err = nasdsl("train", "run", "-g", '{"edge": "skip"}')
    assert code == 1 and "N80" in err


def test_a_point_of_a_front_is_trained_by_its_genotype(there: Path) -> None:
    given = (
        "search",
        "tiny.nas",
        "--strategy",
        "random_search",
        "--evaluator",
        "synflow",
        "--evaluations",
        6,
    )
    out = done(*given, "--objective", "accuracy,params", "-o", "front")
    front = read("front/pareto.json")["front"]
    lines = [json.loads(line) for line in Path("front/front.jsonl").read_text().splitlines()]
    assert lines == [point["genotype"] for point in front] and len(lines) > 1
    told = read("front/pareto.json")
    assert f"the front: {len(lines)} of the {len(told['trials'])} that were scored" in out
    assert f"the winner is the one of the best {told['metric']}, whatever it costs" in out
    best = max(front, key=lambda point: point["accuracy"])
    assert read("front/genotype.json") == best["genotype"] != lines[0]
    done("train", "front", "-g", json.dumps(lines[0]), "-c", "epochs=1")
    assert read("front/network/network.json")["genotype"] == lines[0]
    done("report", "front")
    assert "another architecture, trained from scratch" in Path("front/report.html").read_text()


def test_a_budget_becomes_epochs_once(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = (
        "train",
        "tiny.nas",
        "-g",
        json.dumps(read("run/genotype.json")),
        "--budget",
        "1s",
        "-o",
        "timed",
    )
    monkeypatch.setattr(budget, "seconds_per_epoch", lambda *a, **k: 0.3)
    done(*given)
    assert read("timed/network.json")["recipe"]["epochs"] == 3
    monkeypatch.setattr(budget, "seconds_per_epoch", lambda *a, **k: 0.1)
    done(*given)
    assert read("timed/network.json")["recipe"]["epochs"] == 3
    assert read("timed/budget.json")["epochs"] == 3


def test_a_budget_of_a_search_is_kept_with_it(there: Path) -> None:
    given = ("search", "tiny.nas", "--strategy", "random", "-c", "options.candidates=1", "-o", "timed-run")
    done(*given, "--budget", "0.01s")
    config = Path("timed-run/config.toml").read_text()
    assert "budget = 0.01" in config and "\nepochs = 1\n" in config
    assert "epoch" not in done(*given, "--budget", "0.01s")
    code, _, err = nasdsl(*given, "--budget", "0.02s")
    assert code == 1 and "N930" in err


def test_a_budget_needs_epochs(there: Path) -> None:
    given = ("--strategy", "regularized_evolution", "--evaluator", "synflow", "--budget", "1s", "-o", "none")
    code, _, err = nasdsl("search", "tiny.nas", *given)
    assert code == 1 and "N966" in err
    assert not Path("none").exists()


@pytest.mark.parametrize("text", ["soon", "10", "0s", "-3m", ""])
def test_a_budget_is_a_time(text: str) -> None:
    code, _, err = nasdsl("search", "quickstart", f"--budget={text}")
    assert code == 1 and "N984" in err


# --- what can't be, and what does nothing -----------------------------------------------------------


def test_what_only_a_run_has(there: Path) -> None:
    for given in (("--top", 2), ("--weights", "inherited")):
        code, _, err = nasdsl("train", "tiny.nas", *given)
        assert code == 1 and "N984" in err
    code, _, err = nasdsl("train", "run", "-g", "{}", "--top", 2)
    assert code == 1 and "N984" in err


def test_a_recipe_that_does_nothing_is_said(there: Path) -> None:
    (there / "line.nas").write_text(
        "space line() {\n  input x: [1, 8, 8]\n  return x -> flatten -> linear(10)\n}\n"
    )
    code, _, err = nasdsl(
        "train", "line.nas", "--epochs", 1, "-c", "drop_path=0.1", "-c", "auxiliary=0.4", "-o", "line"
    )
    assert code == 0
    assert err.count("warning[N1026]") == 2


def test_a_recipe_by_name_is_what_is_trained(there: Path) -> None:
    genotype = json.dumps(read("run/genotype.json"))
    done(
        "train",
        "tiny.nas",
        "-g",
        genotype,
        "--recipe",
        "nasbench201",
        "--epochs",
        1,
        "-c",
        "crop=1",
        "-o",
        "named",
    )
    recipe = read("named/network.json")["recipe"]
    assert (recipe["batch"], recipe["weight_decay"], recipe["epochs"], recipe["crop"]) == (256, 5e-4, 1, 1)
    # What is kept beside the network is read again.
    done("train", "tiny.nas", "-g", "named/genotype.json", "-c", "named/recipe.toml", "-o", "again")
    assert same_weights(there / "named", there / "again")


# --- evaluate ---------------------------------------------------------------------------------------


def test_an_evaluation_has_an_interval_and_the_classes(there: Path) -> None:
    done("train", "run", "--epochs", 1)
    out = done("evaluate", "run", "--per-class", "--confusion")
    found = json.loads(done("evaluate", "run", "--json"))
    about = read("run/network/network.json")
    assert found["metric"] == pytest.approx(about["test"]["metric"], abs=1e-12)
    interval = found["interval"]
    assert interval["method"] == "Wilson"
    assert interval["low"] < found["metric"] < interval["high"]
    assert f"[{interval['low']:.4f}, {interval['high']:.4f}] on 359 examples" in out
    right = sum(found["confusion"][i][i] for i in range(10))
    assert right / 359 == found["metric"]
    assert [sum(row) for row in found["confusion"]] == [36, 36, 35, 37, 36, 37, 36, 36, 34, 36]


@TASKS.add("line of a test")
def line() -> Task:
    """Twenty numbers and their sums."""
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True)
    return Task("line", "", Split((x,), y), Split((x,), y), (Shape((3,)),), Shape((1,)), Regression())


def test_without_classes_there_are_none_to_tell_apart(there: Path) -> None:
    (there / "sum.nas").write_text("space sum_of() {\n  input x: [3]\n  return x -> linear(1)\n}\n")
    done("train", "sum.nas", "--task", "line of a test", "--epochs", 2, "-c", "lr=0.01", "-o", "sum")
    assert "bootstrap" in done("evaluate", "sum")
    code, _, err = nasdsl("evaluate", "sum", "--confusion")
    assert code == 1 and "N1022" in err


# --- auxiliary heads --------------------------------------------------------------------------------


def test_an_auxiliary_head_is_trained_and_not_exported(there: Path) -> None:
    (there / "heads.nas").write_text(
        "space heads() {\n  input x: [1, 8, 8]\n  y = x -> conv(4, kernel = 3) -> relu\n"
        "  logits = y -> global_avgpool -> linear(10)\n  aux = y -> flatten -> linear(10)\n  return logits, aux\n}\n"
    )
    done("train", "heads.nas", "--epochs", 1, "-c", "auxiliary=0.4", "-o", "heads")
    assert "gives the same numbers" in done("export", "heads", "-f", "python", "-o", "heads/export")
    weights = load_file("heads/export/weights.safetensors")
    assert sum(t.numel() for t in weights.values()) == 4 * 9 + 4 * 10 + 10
    assert "accuracy" in done("evaluate", "heads")
