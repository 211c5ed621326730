"""Tables and arrays: columns to numbers, learnt from the training part alone; several inputs and outputs by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nasdsl import loads
from nasdsl.diagnostics import NasError
from nasdsl.training.objectives import Classification, Regression, Several
from tests.training.data_files import load


def write_table(path: Path, rows: int = 60, separator: str = ",") -> None:
    lines = [separator.join(("size", "colour", "rooms", "price"))]
    for i in range(rows):
        size = "" if i % 10 == 3 else str(i / 2)
        lines.append(separator.join((size, ("red", "green", "blue")[i % 3], str(i % 4), str(10 * i + 5.5))))
    path.write_text("\n".join(lines) + "\n")


def test_a_regression_is_standardised_by_its_training_part(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv")
    task = load(tmp_path / "t.csv", target="price")
    # size, whether it is missing, three colours, rooms
    assert task.sizes == {"columns": 6, "classes": 1}
    rows = task.train.inputs[0]
    assert abs(float(rows[:, 0].mean())) < 1e-6 and abs(float(task.train.first_targets.mean())) < 1e-6
    assert float(task.train.first_targets.std(correction=0)) == pytest.approx(1)
    assert set(rows[:, 1].tolist()) == {0.0, 1.0} and (rows[rows[:, 1] == 1][:, 0] == 0).all()
    assert (rows[:, 2:5].sum(1) == 1).all()
    assert isinstance(task.objective, Regression)
    # The test part is cut by quantile: cheap and dear rows are in it.
    held_out = task.test.first_targets[:, 0]
    assert len(held_out) == 12 and float(held_out.min()) < -1 and float(held_out.max()) > 1


def test_r2_and_rmse_are_those_of_the_units_of_the_target() -> None:
    targets = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]])
    objective = Regression((3.0,))
    mean = float(objective.metric(targets * 0.5, targets).mean())
    assert objective.natural(mean) == {"R2": pytest.approx(0.75), "RMSE": pytest.approx(1.5)}
    assert float(objective.metric(torch.zeros_like(targets), targets).mean()) == 0


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_words_and_few_whole_numbers_are_classes(tmp_path: Path, separator: str) -> None:
    write_table(tmp_path / "t.csv", separator=separator)
    colours = load(tmp_path / "t.csv", target="colour")
    assert colours.labels == ("blue", "green", "red") and isinstance(colours.objective, Classification)
    rooms = load(tmp_path / "t.csv", target="rooms")
    assert rooms.labels == ("0", "1", "2", "3")
    assert isinstance(load(tmp_path / "t.csv", target="rooms", classes="no").objective, Regression)


def test_what_is_odd_about_a_column_is_said(tmp_path: Path) -> None:
    rows = [f"{i},{i / 7},{i % 3},word{i % 2},{i % 2}" for i in range(40)]
    rows[6] = "oops,1.5,2,word0,0"
    rows[11], rows[12] = "11,,2,,1", "12,n/a,0,word0,0"
    (tmp_path / "t.csv").write_text("a,b,c,d,y\n" + "\n".join(rows) + "\n")
    task = load(tmp_path / "t.csv", target="y", test=0.1)
    assert task.notes[1:] == (
        "column `a` has 39 numbers, and there is one entry that is none: `oops` in row 7; so all of it is read as words, "
        "a column for each",
        "column `b` lacks 2 of 40 entries: their mean stands for them, and a column more says where",
    )
    assert {"b", "1 where b is missing", "c"} < set(task.columns)


def test_published_parts_of_a_table_are_kept_and_unknown_words_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x,y\n" + "a,1\nb,2\n" * 6)
    (tmp_path / "test.csv").write_text("y,x\n1,a\n2,new\n")
    task = load(tmp_path, target="y")
    assert task.test.inputs[0].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert task.test.first_targets.tolist() == [0, 1] and len(task.train) == 12


@pytest.mark.parametrize(
    ("text", "target", "code", "says"),
    [
        ("", "y", "N1008", "is empty"),
        ("x,y\n", "y", "N1008", "has no rows"),
        ("x,x\n1,2\n", "x", "N1008", "the column `x` twice"),
        ("x,y\n1,2\n3\n", "y", "N1008", "line 3 of"),
        ("x,y\n1,2\n", "", "N1009", "which column"),
        ("x,price\n1,2\n", "prize", "N1009", "no column `prize`"),
        ("x,y\n1,2\n2,NaN\n3,4\n", "y", "N1010", "row 2 of `t` has no `y`"),
        ("x,y\n1,2.5\n2,inf\n3,4.5\n", "y", "N919", "has 1 example"),
        ("x,y\ninf,2.5\n2,3.25\n3,4.5\n4,1.5\n", "y", "N1010", "row 1: `x` is `inf`"),
        ("x,y\n1,a\n2,a\n3,a\n", "y", "N919", "one class, `a`"),
    ],
)
def test_bad_tables_give_one_message(tmp_path: Path, text: str, target: str, code: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(NasError) as error:
        load(tmp_path / "t.csv", target=target)
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == code and says in diagnostic.message


# --- functions of the user's ----------------------------------------------------------------------

MODULE = """
import numpy as np
def two():
    n = np.random.default_rng(0)
    sound, image = n.normal(size=(40, 5)), n.integers(0, 256, (40, 4, 4, 3), np.uint8)
    return {
        "inputs": {"image": image, "sound": sound},
        "targets": {"who": np.arange(40) % 4, "age": n.normal(50, 10, 40)},
        "weights": {"age": 0.5},
    }
def pair():
    return np.zeros((30, 7)) + np.arange(30)[:, None], np.arange(30) % 3
def nothing():
    return "hello"
def broken():
    return np.zeros((30, 7)), np.array([np.nan] * 30)
def shorter():
    return np.zeros((30, 7)), np.zeros(29)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    name = "mine_" + tmp_path.name.replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


def test_several_inputs_and_outputs_follow_the_names_of_the_space(module: str) -> None:
    space = loads(
        """space both() {
  input sound: [5]
  input image: [3, 4, 4]
  h = concat([linear(8)(sound), image -> global_avgpool -> linear(8)])
  age = linear(1)(h)
  who = linear(4)(h)
  return age, who
}
"""
    )
    task = load(f"{module}:two")
    task.check(space)
    task = task.ordered(space)
    assert [tuple(x.shape[1:]) for x in task.train.take(torch.arange(2)).inputs] == [(5,), (3, 4, 4)]
    assert isinstance(task.objective, Several) and task.objective.names == ("age", "who")
    assert task.objective.weights == (0.5, 1.0)
    outputs = (torch.zeros(2, 1), torch.zeros(2, 4))
    batch = task.train.take(torch.arange(2))
    age, who = batch.targets
    wanted = (0.5 * float(age.square().mean()) + float(torch.tensor(4.0).log())) / 1.5
    assert float(task.objective.loss(outputs, batch.targets)) == pytest.approx(wanted, rel=1e-5)
    assert who.dtype == torch.int64


def test_a_pair_of_arrays(module: str) -> None:
    task = load(f"{module}:pair")
    assert task.name == "pair" and task.sizes == {"columns": 7, "classes": 3}
    assert float(task.train.inputs[0].mean()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("function", "code", "says"),
    [
        ("nothing", "N1013", "returned `str`"),
        ("gone", "N1013", "has no function `gone`"),
        ("broken", "N1004", "NaN or infinite"),
        ("shorter", "N1007", "`x` has 30 examples, others 29"),
    ],
)
def test_bad_functions_give_one_message(module: str, function: str, code: str, says: str) -> None:
    with pytest.raises(NasError) as error:
        load(f"{module}:{function}")
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == code and says in diagnostic.message


def test_what_a_run_records_of_arrays_reads_the_same_again(tmp_path: Path) -> None:
    """Four axes of real numbers are no images, whether that is found or said."""
    x = np.random.default_rng(0).normal(3, 2, (50, 2, 4, 4))
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(50) % 2)
    recorded = load(tmp_path / "x.npz").data
    assert recorded.kind == "arrays"
    assert load(**recorded.model_dump()).data == recorded


def test_npz_of_numbers_becomes_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(3, 2, (50, 6)), y=np.arange(50) % 2)
    task = load(tmp_path / "x.npz")
    assert task.data.kind == "arrays" or task.sizes["columns"] == 6
    assert float(task.train.inputs[0].std()) == pytest.approx(1, abs=0.01)
