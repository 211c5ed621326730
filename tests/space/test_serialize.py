"""The space graph as JSON reads back to the same space."""

from __future__ import annotations

import json

import pytest

from nasdsl import pipeline, resources
from nasdsl.diagnostics import NasError
from nasdsl.operations import catalogue
from nasdsl.space.serialize import identity, read, write

SPACES = sorted(path.stem for path in resources.spaces().glob("*.nas"))


@pytest.mark.parametrize("name", SPACES)
def test_reads_back_to_the_same_space(name: str) -> None:
    space = pipeline.load(resources.spaces() / f"{name}.nas")
    text = write(space)
    again = read(text, catalogue())
    assert write(again) == text
    assert again.count() == space.count()
    for genotype in space.sample(0, 3):
        assert again.genotype(genotype) == genotype
        assert again.measure(genotype) == space.measure(genotype)
        assert [s.shape for s in again.architecture(genotype).steps] == [
            s.shape for s in space.architecture(genotype).steps
        ]


@pytest.mark.parametrize("name", SPACES)
def test_the_identity_leaves_out_how_it_is_written(name: str) -> None:
    path = resources.spaces() / f"{name}.nas"
    space, text = pipeline.load(path), path.read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    spread = "\n\n".join(line.split("  #")[0] for line in lines)
    assert identity(pipeline.loads(f"# Another.\n{spread}\n")) == identity(space)
    wider = space.parameters | {"classes" if "classes" in space.parameters else "vocab": 7}
    assert identity(pipeline.load(path, **wider)) != identity(space)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a space graph"),
        (json.dumps({"kind": "nasdsl space graph", "format": 0, "nasdsl": "0.0"}), "has format 0"),
        (json.dumps({"kind": "nasdsl space graph", "format": 1}), "is damaged"),
    ],
)
def test_another_file_is_refused(text: str, words: str) -> None:
    with pytest.raises(NasError, match=words) as raised:
        read(text, catalogue(), path="graph.json")
    assert raised.value.diagnostics[0].code == "N810"
