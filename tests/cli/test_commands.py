"""The commands that look at a space, as a person and as a program would use them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nasdsl.cli.app import app

COMMANDS = [command.name for command in app.registered_commands]
SEARCHING = {"search", "train", "export", "demo"}

RECONV = """\
space tiny(width = 8) {
  input image: [1, 8, 8]
  op edge = skip: identity | conv: relu -> conv(kernel = 3) -> batchnorm
  x = image -> conv(width, kernel = 3)
  y = edge(x)
  return y -> global_avgpool -> linear(10)
}
"""


def nasdsl(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="nasdsl")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.nas"
    path.write_text(RECONV)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str) -> None:
    code, out, _ = nasdsl(command, "--help")
    assert code == 0
    assert "Examples:" in out
    text, examples = out.split("Examples:")
    assert f"\n     nasdsl {command}" in examples
    # Paragraphs run on to the edge of the page.
    lines = [line.strip() for line in text.partition("Usage:")[2].splitlines()[1:]]
    for line, following in itertools.pairwise(lines):
        assert not following or not line or len(line) + 1 + len(following.split()[0]) > 110


def test_alone_it_prints_its_help() -> None:
    code, out, err = nasdsl()
    assert (code, err) == (0, "")
    assert all(str(command) in out for command in COMMANDS)


# --- compile ------------------------------------------------------------------------------------


def test_compile_prints_what_a_person_asks_of_a_space() -> None:
    code, out, err = nasdsl("compile", "quickstart")
    assert (code, err) == (0, "")
    for said in (
        "channels = 1, size = 8, classes = 10",
        "image: [1, 8, 8]",
        "1 125",
        "none | skip | conv1x1 | conv3x3 | pool3x3",
        "width",
    ):
        assert said in out


def test_compile_as_json_has_the_keys_that_tools_rely_on() -> None:
    code, out, err = nasdsl("compile", "quickstart", "--json")
    assert (code, err) == (0, "")
    space = json.loads(out)
    assert set(space) >= {
        "name", "parameters", "inputs", "outputs", "choices", "architectures", "params", "flops", "supernet",
        "nasdsl", "format",
    }  # fmt: skip
    assert space["name"] == "quickstart"
    assert space["parameters"] == {"channels": 1, "size": 8, "classes": 10}
    assert space["inputs"] == [{"name": "image", "shape": [1, 8, 8], "dtype": "float"}]
    assert space["architectures"] == "1125"
    assert [choice["name"] for choice in space["choices"]] == [
        "width", "repeat.depth", "normal.b", "normal.c#1", "normal.c#2",
    ]  # fmt: skip
    for choice in space["choices"]:
        assert set(choice) >= {"name", "candidates", "pick", "guard"}
        assert choice["pick"] == "1"
        assert choice["guard"] is None
    assert 0 < space["params"]["min"] < space["params"]["max"] <= space["supernet"]["params"]
    assert 0 < space["flops"]["min"] < space["flops"]["max"]


def test_guards_are_conditions_in_the_language(tiny: Path) -> None:
    tiny.write_text(RECONV.replace("conv(kernel = 3)", "conv(kernel = 3 | 5)"))
    _, out, _ = nasdsl("compile", tiny, "--json")
    assert json.loads(out)["choices"][1]["guard"] == 'y == "conv"'
    assert 'y == "conv"' in nasdsl("compile", tiny)[1]


def test_a_parameter_is_set(tiny: Path) -> None:
    small = json.loads(nasdsl("compile", tiny, "--json")[1])
    large = json.loads(nasdsl("compile", tiny, "--set", "width=16", "--json")[1])
    assert large["parameters"] == {"width": 16}
    assert large["supernet"]["params"] > small["supernet"]["params"]


@pytest.mark.parametrize("stage", ["tree", "graph", "space", "supernet"])
def test_any_stage_is_shown(stage: str) -> None:
    code, out, err = nasdsl("compile", "quickstart", "--emit", stage)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) > 5
    code, out, err = nasdsl("compile", "quickstart", "--emit", stage, "--json")
    assert (code, err) == (0, "")
    json.loads(out)


def test_the_supernet_as_shown_has_the_size_that_is_told() -> None:
    told = json.loads(nasdsl("compile", "quickstart", "--json")[1])["supernet"]["params"]
    shown = json.loads(nasdsl("compile", "quickstart", "--emit", "supernet", "--json")[1])
    assert shown["params"] == told


def test_the_graph_is_written_and_reads_back(tiny: Path) -> None:
    code, out, _ = nasdsl("compile", tiny, "-o", "graph.json")
    assert code == 0
    assert "graph.json" in out
    assert "format" in json.loads((tiny.parent / "graph.json").read_text())
    assert nasdsl("compile", "graph.json", "--json")[1] == nasdsl("compile", tiny, "--json")[1]
    assert nasdsl("sample", "graph.json", "-n", "3")[1] == nasdsl("sample", tiny, "-n", "3")[1]
    code, _, err = nasdsl("compile", "graph.json", "--set", "width=3")
    assert code == 1
    assert "can't be set any more" in err


# --- count, sample, check, fmt, explain ----------------------------------------------------------


def test_the_count_is_last_on_its_line() -> None:
    code, out, _ = nasdsl("count", "quickstart", "darts")
    assert code == 0
    assert [line.split()[-1] for line in out.splitlines()] == ["1125", "1076746950455072400"]


def test_samples_are_genotypes_one_a_line() -> None:
    code, out, _ = nasdsl("sample", "quickstart", "-n", "5", "--seed", "3")
    assert code == 0
    genotypes = [json.loads(line) for line in out.splitlines()]
    assert len(genotypes) == 5
    assert all("width" in genotype for genotype in genotypes)
    assert nasdsl("sample", "quickstart", "-n", "5", "--seed", "3")[1] == out
    assert nasdsl("sample", "quickstart", "-n", "5", "--seed", "4")[1] != out
    assert nasdsl("sample", "quickstart", "-n", "5", "--seed", "3", "--uniform")[0] == 0
    assert nasdsl("sample", "quickstart", "-n", "0")[1] == ""


def test_check_takes_settings_and_one_space(tiny: Path) -> None:
    tiny.write_text(
        "space a(width = 4) {\n  input x: [4]\n  return x -> linear(8 // width)\n}\n"
        "space b {\n  input y: [3]\n  w = 1 | 2\n  return y\n}\n"
    )
    code, out, _ = nasdsl("check", tiny, "--space", "a")
    assert (code, out) == (0, "1 file: no faults\n")
    assert "N301" in nasdsl("check", tiny, "--space", "a", "--set", "width=9")[1]
    code, out, _ = nasdsl("check", tiny, "--space", "b")
    assert (code, "N707" in out) == (0, True)
    code, out, _ = nasdsl("check", tiny, "--space", "c")
    assert (code, "N607" in out) == (1, True)


def test_check_is_content_with_a_good_file(tiny: Path) -> None:
    assert nasdsl("check", tiny) == (0, "1 file: no faults\n", "")
    assert nasdsl("check", tiny, "--format", "json")[1] == "[]\n"
    assert nasdsl("check", tiny, "--format", "github")[1] == ""
    assert json.loads(nasdsl("check", tiny, "--format", "sarif")[1])["runs"][0]["results"] == []


def test_check_goes_on_after_a_bad_file(tiny: Path) -> None:
    bad = tiny.parent / "bad.nas"
    bad.write_text(RECONV.replace("relu -> conv", "relu -> cnov"))
    code, out, err = nasdsl("check", bad, "missing.nas", tiny)
    assert (code, err) == (1, "")
    assert "did you mean `conv`?" in out
    assert "N980" in out
    assert "3 files: 2 errors" in out and out.count("2 errors") == 1
    empty = tiny.parent / "empty.nas"
    empty.write_text("# nothing\n")
    code, out, _ = nasdsl("check", empty)
    assert code == 1 and "error[N607]: there is nothing in" in out
    code, out, _ = nasdsl("check", bad, "--format", "json")
    assert code == 1
    assert json.loads(out)[0]["line"] == 3
    code, out, _ = nasdsl("check", bad, "--format", "github")
    assert code == 1
    assert out.startswith("::error file=")


def test_check_takes_a_file_of_operations_alone() -> None:
    from nasdsl import resources

    for path in sorted((resources.spaces() / "lib").glob("*.nas")):
        assert nasdsl("check", path)[0] == 0, path


def test_fmt_writes_the_one_layout(tiny: Path) -> None:
    assert nasdsl("fmt", tiny)[0] == 0
    formatted = tiny.read_text()
    tiny.write_text(formatted.replace("  input", "      input"))
    code, out, _ = nasdsl("fmt", "--check", tiny)
    assert code == 1
    assert "would format" in out
    code, out, _ = nasdsl("fmt", "--diff", tiny)
    assert code == 1
    assert "-      input image" in out
    assert "+  input image" in out
    code, out, _ = nasdsl("fmt", tiny)
    assert code == 0
    assert "formatted" in out
    assert tiny.read_text() == formatted
    assert nasdsl("fmt", tiny) == (0, "", "")
    assert nasdsl("fmt", "--check", tiny)[0] == 0


def test_fmt_leaves_a_file_with_a_fault_alone(tiny: Path) -> None:
    bad = tiny.parent / "bad.nas"
    bad.write_text("space {{{")
    tiny.write_text(RECONV.replace("  input", "      input"))
    code, _, err = nasdsl("fmt", bad, tiny)
    assert code == 1
    assert "bad.nas" in err
    assert bad.read_text() == "space {{{"
    assert "      input" not in tiny.read_text()


def test_explain_lists_and_explains() -> None:
    code, out, _ = nasdsl("explain")
    assert code == 0
    assert "N980  no such file" in out
    for said in ("N980", "n980", "980"):
        assert "This fails:" in nasdsl("explain", said)[1]


# --- what goes wrong ----------------------------------------------------------------------------

BAD = [
    (["compile"], 2, "Missing argument"),
    (["comple", "quickstart"], 2, "compile"),
    (["compile", "quickstart", "--emit", "picture"], 2, "picture"),
    (["compile", "missing.nas"], 1, "N980"),
    (["compile", "quikstart"], 1, "did you mean `quickstart`?"),
    (["compile", "."], 1, "N981"),
    (["compile", "latin.nas"], 1, "UTF-8"),
    (["compile", "picture.nas"], 1, "UTF-8"),
    (["compile", "empty.nas"], 1, "empty.nas"),
    (["compile", "broken.nas"], 1, "broken.nas"),
    (["compile", "deep.nas"], 1, "deep.nas"),
    (["compile", "nul.nas"], 1, "nul.nas"),
    (["compile", "quickstart", "--set", "classes"], 1, "N984"),
    (["compile", "quickstart", "--set", "classes=ten"], 1, "`ten` is not a number"),
    (["compile", "quickstart", "--set", "clases=5"], 1, "did you mean `classes`?"),
    (["compile", "quickstart", "--set", "path=5"], 1, "no parameter `path`"),
    (["compile", "quickstart", "--set", "classes=0"], 1, "error[N"),
    (["compile", "quickstart", "--set", "classes=-1"], 1, "error[N"),
    (["compile", "quickstart", "--set", "classes=1/2"], 1, "error[N"),
    (["compile", "darts", "--set", "layers=99999999999999"], 1, "error[N"),
    (["compile", "quickstart", "-o", "nowhere/graph.json"], 1, "mkdir -p nowhere"),
    (["compile", "quickstart", "-o", "."], 1, "N986"),
    (["compile", "tiny.nas", "-o", "tiny.nas"], 1, "write over it"),
    (["count", "list.json"], 1, "N810"),
    (["count", "broken.json"], 1, "N810"),
    (["check"], 2, "Missing argument"),
    (["check", "tiny.nas", "--format", "xml"], 2, "xml"),
    (["count", "missing"], 1, "N980"),
    (["sample", "quickstart", "-n", "-1"], 2, "'-n'"),
    (["sample", "quickstart", "-n", "many"], 2, "'-n'"),
    (["fmt", "missing.nas"], 1, "missing.nas"),
    (["fmt", "latin.nas"], 1, "UTF-8"),
    (["latency", "tiny.nas"], 1, "N516"),
    (["latency", "tiny.nas", "-o", "nowhere/table.json"], 1, "mkdir -p nowhere"),
    (["latency", "tiny.nas", "-g", "{}"], 1, "the choice `y` is missing"),
    (["latency", "tiny.nas", "-g", "{}", "--table", "tiny.nas"], 1, "N513"),
    (["explain", "N000"], 1, "N987"),
    (["explain", "what"], 1, "nasdsl explain"),
]


@pytest.mark.parametrize(("arguments", "code", "says"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_bad_input_gets_a_message(arguments: list[str], code: int, says: str, tiny: Path) -> None:
    folder = tiny.parent
    (folder / "latin.nas").write_bytes("# caf\xe9".encode("latin-1"))
    (folder / "picture.nas").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (folder / "empty.nas").write_text("")
    (folder / "broken.nas").write_text("space broken( {")
    (folder / "list.json").write_text("[]")
    (folder / "broken.json").write_text("{")
    (folder / "deep.nas").write_text("(" * 100_000)
    (folder / "nul.nas").write_text("space a\0b {}")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ended, out, err = nasdsl(*arguments)
    if arguments[0] != "check":
        assert out == ""
    assert "Traceback" not in err + out
    assert "N999" not in err + out
    assert says in err + out
    assert ended == code
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "a failure wrote something"


def test_check_takes_everything_that_cannot_be_compiled(tiny: Path) -> None:
    (tiny.parent / "deep.nas").write_text("(" * 100_000)
    code, out, _ = nasdsl("check", "deep.nas", ".")
    assert code == 1
    assert "2 files: " in out
    assert "N981" in out
