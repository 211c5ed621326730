"""The configuration: printed, read again, and wrong in every way."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nasdsl.cli.app import app
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.training.recipes import names


def nasdsl(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="nasdsl")
    return result.exit_code, result.stdout, result.stderr


def printed(*arguments: object) -> dict[str, object]:
    code, out, err = nasdsl("config", *arguments)
    assert code == 0, err
    return tomllib.loads(out)


@pytest.mark.parametrize("strategy", ["gdas", "darts", "enas"])
def test_what_is_printed_is_read_again(strategy: str, tmp_path: Path) -> None:
    given = ("quickstart", "--strategy", strategy, "--set", "classes=5", "--seed", 3, "-c", "search.lr=0.5")
    code, out, err = nasdsl("config", *given)
    assert code == 0, err
    path = tmp_path / "mine.toml"
    path.write_text(out)
    assert nasdsl("config", "quickstart", "-c", path) == (0, out, "")


def test_every_entry_is_explained() -> None:
    _, out, _ = nasdsl("config")
    lines = out.splitlines()
    for before, line in itertools.pairwise(lines):
        if " = " in line and not line.startswith("#"):
            assert before.startswith("# "), line
    assert "# examples a step [at least 1]" in lines


def test_flags_win_over_files_and_entries_over_flags(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('strategy = "random"\nseed = 4\n[search]\nepochs = 30\nlr = 0.7\nwarmup = 3\n')
    found = printed("-c", path)
    assert (found["strategy"], found["seed"]) == ("random", 4)
    assert (found["search"]["lr"], found["search"]["epochs"]) == (0.7, 30)  # type: ignore[index]
    found = printed("-c", path, "--seed", 5, "--epochs", 60, "-c", "search.lr=0.1", "--strategy", "gdas")
    assert (found["strategy"], found["seed"]) == ("gdas", 5)
    search = found["search"]
    # The schedule is stretched with the epochs; an entry is taken as it stands.
    assert (search["lr"], search["epochs"], search["warmup"]) == (0.1, 60, 6.0)  # type: ignore[index]


def test_a_file_sets_the_parameters_of_the_space(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("parameters = { classes = 7 }\n")
    sizes = {"channels": 1, "size": 8}
    assert printed("quickstart", "-c", path)["parameters"] == {**sizes, "classes": 7}
    assert printed("quickstart", "-c", path, "--set", "classes=8")["parameters"] == {**sizes, "classes": 8}


def test_all_that_is_wrong_in_a_file_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[search]\nlrr = 3\nepochs = 0\n[trainin]\nlr = 0.1\n")
    status, out, err = nasdsl("search", "quickstart", "-c", path, "-o", tmp_path / "run")
    assert (status, out) == (1, "")
    told = [line.partition("mine.toml:")[2].split(": ")[:2] for line in err.splitlines() if "error[" in line]
    assert told == [["2:1", "error[N920]"], ["3:1", "error[N921]"], ["5:1", "error[N920]"]]
    assert err.endswith("3 errors\n")
    status, _, err = nasdsl("search", "quickstart", "-c", path, "-c", "training.lr=fast", "-c", "sed=1")
    assert status == 1 and err.endswith("5 errors\n")
    assert '`training.lr = "fast"`: ' in err and "did you mean `seed`?" in err


@pytest.mark.parametrize(
    ("text", "code", "place", "says"),
    [
        ("learning_rate = 1\n", "N920", ":1:1", "did you mean `search.lr`?"),
        ("[training]\nlearning_rate = 1\n", "N920", ":2:1", "did you mean `training.lr`?"),
        (
            "[options]\ngenerations = 3\n",
            "N920",
            ":2:1",
            "it is an option of fair, sandwich, spos; those of `gdas`: ",
        ),
        ("seed = 1\n[search]\nlrr = 3\n", "N920", ":3:1", "did you mean `search.lr`?"),
        ("[training]\nlr = -1\n", "N921", ":2:1", "greater than 0"),
        ('[training]\nlr = "fast"\n', "N921", ":2:1", "valid number"),
        ("[training]\ndrops = [1, 'x']\n", "N921", ":2:1", "multiplied by drop"),
        ("[training]\n\n  lr = \n", "N923", ":3:", "not TOML"),
        ("search = { epochs = 0 }\n", "N921", ":1:1", "passes over the training part"),
        ("[options]\nbeta3 = 3\n", "N920", ":2:1", "did you mean `options.beta"),
        ("[serach]\nlr = 3\n", "N920", ":2:1", "did you mean `search.lr`?"),
        ('space = "darts"\n', "N1021", ":1:1", "`darts`, not for `quickstart`"),
        ('strategy = "gdsa"\n', "N940", "", "gdas"),
    ],
)
def test_a_mistake_in_a_file_is_shown_where_it_is(
    text: str, code: str, place: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    status, out, err = nasdsl("search", "quickstart", "-c", path, "-o", tmp_path / "run")
    assert (status, out) == (1, "")
    assert code in err
    assert f"{path.name}{place}" in err.replace("\n", "") or not place
    assert says in err
    assert not (tmp_path / "run").exists()


def test_all_mistakes_of_values_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[search]\nlr = 0\nepochs = 0\n")
    _, _, err = nasdsl("config", "-c", path)
    assert ":2:1" in err and ":3:1" in err


@pytest.mark.parametrize(
    ("given", "code"),
    [("missing.toml", "N923"), ("search.lr", "N922"), ("=3", "N922"), ("search.lr=fast", "N921")],
)
def test_what_is_neither_an_entry_nor_a_file(given: str, code: str) -> None:
    status, _, err = nasdsl("config", "-c", given)
    assert status == 1
    assert code in err


def test_recipes_are_listed_and_put_into_training() -> None:
    code, out, _ = nasdsl("config", "--recipes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == names()
    found = printed("--recipe", "darts_cifar10")
    assert found["training"]["epochs"] == 600  # type: ignore[index]
    assert found["search"] == printed()["search"]
    status, _, err = nasdsl("config", "--recipe", "darts_cifar")
    assert status == 1
    assert "N1020" in err and "did you mean `darts_cifar10`?" in err


def test_every_strategy_has_a_configuration_that_is_read_again(tmp_path: Path) -> None:
    for name in STRATEGIES:
        code, out, err = nasdsl("config", "--strategy", name)
        assert code == 0, err
        path = tmp_path / f"{name}.toml"
        path.write_text(out)
        assert nasdsl("config", "-c", path)[1] == out
