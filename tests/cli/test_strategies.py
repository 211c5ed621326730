"""``nasdsl strategies``: everything that is registered, with what it says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from nasdsl.cli.app import app
from nasdsl.searching import EVALUATORS, STRATEGIES
from nasdsl.searching.kinds import KINDS, handled


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["strategies", *arguments], prog_name="nasdsl")
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def told(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_all_are_listed_with_their_papers() -> None:
    lines = run().splitlines()
    for name in [*STRATEGIES, *EVALUATORS]:
        (line,) = (line for line in lines if line.split()[:1] == [name])
        assert "19" in line or "20" in line, line
    (darts,) = (line for line in lines if line.split()[:1] == ["darts"])
    assert darts.endswith("[no numbers, no sizes]")
    (evolution,) = (line for line in lines if "regularized_evolution" in line)
    assert "wants an evaluator" in evolution


@pytest.mark.parametrize("name", sorted([*STRATEGIES, *EVALUATORS]))
def test_one_is_explained_with_every_option(name: str) -> None:
    text, entry = run(name), told(name)
    registry: Any = STRATEGIES if name in STRATEGIES else EVALUATORS
    kind = registry.find(name)
    assert {option["name"] for option in entry["options"]} == set(kind.Options.model_fields)
    for option in entry["options"]:
        assert f"  {option['name']} = {json.dumps(option['default'])}" in text
        assert option["description"]
    if name in STRATEGIES:
        assert set(entry["handles"]) == handled(kind)
        assert set(entry["handles"]) | set(entry["cannot_handle"]) == set(KINDS)
        assert entry["presets"] == list(kind.presets)


def test_choices_of_an_option_are_named() -> None:
    (estimator,) = (o for o in told("gdas")["options"] if o["name"] == "estimator")
    assert estimator["values"] == ["selected_only", "ones_for_others"]


def test_a_space_narrows_the_list() -> None:
    names = {entry["name"] for entry in told("--space", "quickstart")["strategies"]}
    assert "gdas" in names and "darts" not in names
    assert {entry["name"] for entry in told("--space", "darts")["strategies"]} == set(STRATEGIES)


def test_an_unknown_name_gets_the_nearest() -> None:
    assert "did you mean `gdas`?" in run("gads", code=1)
    assert "did you mean `synflow`?" in run("synflwo", code=1)
