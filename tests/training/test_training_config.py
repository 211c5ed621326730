from pathlib import Path

import pytest
from pydantic import Field

from nasdsl.diagnostics import NasError
from nasdsl.training.config import Config, override, read_toml, write_toml
from nasdsl.training.recipe import Recipe


class Whole(Config):
    name: str = Field(default="a", description="a name")
    training: Recipe = Field(default=Recipe(), description="how")


def code_and_help(error: pytest.ExceptionInfo[NasError]) -> tuple[str, str]:
    (diagnostic,) = error.value.diagnostics
    return diagnostic.code, f"{diagnostic.message} / {diagnostic.help}"


def test_override_reads_values_as_toml_and_later_ones_win():
    config = override(Whole(), ["training.lr=0.05", "training.epochs = 3", "training.lr=0.5", "name=digits"])
    assert (config.training.lr, config.training.epochs, config.name) == (0.5, 3, "digits")
    assert Whole().training.lr == 0.1


@pytest.mark.parametrize(
    ("assignment", "code", "says"),
    [
        ("training.lrr=1", "N920", "did you mean `training.lr`"),
        ("lr=1", "N920", "did you mean `training.lr`"),
        ("training=1", "N920", "training"),
        ("training.lr=fast", "N921", "valid number"),
        ("training.epochs=0", "N921", "passes over the training part"),
        ("training.epochs=1.5", "N921", "integer"),
        ("training.optimizer=sdg", "N921", "'sgd'"),
        ("training.lr", "N922", "training.lr=0.05"),
    ],
)
def test_what_does_not_fit_is_said_with_the_mend(assignment: str, code: str, says: str):
    with pytest.raises(NasError) as error:
        override(Whole(), [assignment])
    found, text = code_and_help(error)
    assert found == code
    assert says in text


def test_toml_goes_out_and_comes_back(tmp_path: Path):
    config = override(Whole(), ["training.lr=0.025", 'name="a \\"b\\""', "training.nesterov=false"])
    path = tmp_path / "config.toml"
    path.write_text(write_toml(config, explained=True))
    assert "# learning rate at the start" in path.read_text()
    assert read_toml(Whole(), path) == config


def test_a_file_that_is_no_toml_or_not_there_is_said(tmp_path: Path):
    path = tmp_path / "config.toml"
    for text in (None, "training = ["):
        if text is not None:
            path.write_text(text)
        with pytest.raises(NasError) as error:
            read_toml(Whole(), path)
        assert code_and_help(error)[0] == "N923"


def test_every_field_of_the_recipe_is_explained():
    assert all(field.description for field in Recipe.model_fields.values())
