"""The published recipes: each figure of their sources."""

import tomllib

import pytest

from nasdsl.diagnostics import NasError
from nasdsl.searching import settings_for
from nasdsl.training.recipe import Recipe
from nasdsl.training.recipes import FOLDER, names, published, summary
from nasdsl.training.schedule import drop_path_chance, learning_rate


@pytest.mark.parametrize("name", names())
def test_a_recipe_says_where_it_is_from_and_sets_what_differs(name: str):
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ") and "# Figures:" in text
    assert summary(name) and len(summary(name)) < 110
    found = tomllib.loads(text)
    entries = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    recipe = published(name)
    assert {key: getattr(recipe, key) for key in entries} == entries
    # The rest stays as a recipe has it by default; nothing is switched on unsaid.
    silent = {key for key in Recipe.model_fields if key not in entries}
    assert all(getattr(recipe, key) == getattr(Recipe(), key) for key in silent)


def test_darts_evaluation():
    recipe = published("darts_cifar10")
    assert (recipe.epochs, recipe.batch, recipe.cutout, recipe.auxiliary) == (600, 96, 16, 0.4)
    assert [learning_rate(recipe, e * 10, 10) for e in (0, 300)] == pytest.approx([0.025, 0.0125])
    assert drop_path_chance(recipe, 300) == pytest.approx(0.1)
    gdas = published("gdas_cifar10")
    differ = {k for k in Recipe.model_fields if getattr(gdas, k) != getattr(recipe, k)}
    assert differ == {"lr_end"}
    assert gdas.lr_end == 1e-4


def test_the_two_schedules_of_nasbench201():
    long, short = published("nasbench201"), published("nasbench201_12")
    assert (long.epochs, short.epochs, long.batch, long.nesterov, long.clip) == (200, 12, 256, True, 0)
    assert short == long.lasting(12)
    assert learning_rate(long, 0, 1) == 0.1
    assert learning_rate(long, 100, 1) == pytest.approx(0.05)


@pytest.mark.parametrize(("name", "epochs"), [("enas_macro", 310), ("enas_micro", 630)])
def test_the_restarts_of_enas_end_with_the_last_epoch(name: str, epochs: int):
    recipe = published(name)
    assert recipe.epochs == epochs
    steps = 7
    last = learning_rate(recipe, epochs * steps - 1, steps)
    assert recipe.lr_end < last < recipe.lr_end * 1.1
    assert learning_rate(recipe, epochs * steps, steps) == recipe.lr  # where the next period would begin


def test_an_unknown_recipe_is_told_with_the_nearest():
    with pytest.raises(NasError) as error:
        published("nasbench")
    assert error.value.diagnostics[0].code == "N1020"
    assert error.value.diagnostics[0].help == "did you mean `nasbench201`?"


def test_enas_searches_with_the_restarts_of_its_code():
    # scripts/cifar10_macro_search.sh and cifar10_micro_search.sh: 310 and 150 epochs, T0 = 10, Tmul = 2.
    for preset, epochs in (("macro_code", 310), ("micro_code", 150)):
        recipe = settings_for("enas", preset=preset).search
        assert recipe.epochs == epochs
        assert learning_rate(recipe, 30, 1) == recipe.lr == 0.05
        assert learning_rate(recipe, epochs * 9 - 1, 9) < 1.1 * recipe.lr_end
