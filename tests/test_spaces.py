"""The spaces that ship: their counts, worked out by hand, and that what they promise compiles and runs."""

from __future__ import annotations

from math import comb, factorial, prod
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nasdsl import pipeline, resources
from nasdsl.diagnostics import NasError, Source
from nasdsl.language.parser import parse
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet

# A node i = 2..5 of a DARTS cell takes 2 of its i predecessors, each with one of seven operations:
# (1 * 7^2) * (3 * 7^2) * (6 * 7^2) * (10 * 7^2) = 180 * 7^8 cells.
DARTS_CELL = prod(comb(i, 2) * 7**2 for i in range(2, 6))

COUNTS = {
    # Three widths, one to three layers of one motif with three edges of five candidates.
    "quickstart": 3 * 3 * 5**3,
    "nasbench201": 5**6,
    "darts": DARTS_CELL**2,
    # The normal cell alone is searched.
    "gdas_frc": DARTS_CELL,
    # 2 + 3 + 4 + 5 edges of eight candidates in each of two cells.
    "darts_none": (8 ** (2 + 3 + 4 + 5)) ** 2,
    # Node i = 1..8 picks one of i earlier nodes and one of four activations.
    "darts_rnn": 4**8 * factorial(8),
    # Layer i = 1..12 picks one of six operations, and any of the i - 1 outputs before its own input.
    "enas_macro": 6**12 * 2 ** sum(range(12)),
    # Node i = 2..6 picks one of i inputs and one of five operations, twice; there are two cells.
    "enas_micro": prod((5 * i) ** 2 for i in range(2, 7)) ** 2,
    # Twelve activations; node i = 1..11 picks one of i earlier nodes.
    "enas_rnn": 4**12 * factorial(11),
    # Block i = 2..5 takes one or two of i inputs, and one or two of seven operations.
    "one_shot": prod((i + comb(i, 2)) * (7 + comb(7, 2)) for i in range(2, 6)),
    # Five stages of two to four blocks with 3 * 3 kernels and expansions.
    "ofa_mobilenetv3": sum(9**depth for depth in (2, 3, 4)) ** 5,
    # Four stages of one to three blocks with 2 * 2 kernels and expansions: (4 + 16 + 64)^4.
    "mobilenet_small": sum(4**depth for depth in (1, 2, 3)) ** 4,
    # Three widths; 12 to 14 layers with 2 * 2 heads and MLP ratios.
    "autoformer_tiny": 3 * sum(4**depth for depth in (12, 13, 14)),
    # Three widths; four to six layers with 3 * 3 heads and MLP ratios.
    "decoder_lm": 3 * sum(9**depth for depth in (4, 5, 6)),
    # Three first widths and three activations; none to four blocks with 3 * 3 ratios and dropouts.
    "tabular_mlp": 3 * 3 * sum(9**depth for depth in range(5)),
    # Two summaries; two to four blocks with 3 * 3 kernels and depths.
    "speech_1d": 2 * sum(9**depth for depth in (2, 3, 4)),
    # A module is a leaf (3), or a row or pair of two modules one level down: c(d) = 3 + 2 c(d-1)^2, c(0) = 3.
    "hierarchical": 3 + 2 * (3 + 2 * (3 + 2 * 3**2) ** 2) ** 2,
}
SHIPPED = {path.stem: path for path in sorted(resources.spaces().glob("*.nas"))}

# Each setting compiles, and the small ones run with real tensors.
SETTINGS: dict[str, list[dict[str, int]]] = {
    "autoformer_tiny": [{"classes": 3}, {"channels": 1, "size": 32}],
    "darts": [{"width": 2, "layers": 4, "channels": 1, "size": 28}, {"width": 36, "layers": 20}],
    "darts_none": [{"width": 2, "layers": 4, "channels": 1, "size": 28}, {"width": 36, "layers": 20}],
    "darts_rnn": [{"hidden": 6, "embed": 6, "nodes": 3, "vocab": 11}, {"hidden": 300, "embed": 300}],
    "decoder_lm": [
        {"vocab": 11, "layers": 2, "head_dim": 4},
        {"vocab": 50_000, "layers": 12, "head_dim": 64},
    ],
    "enas_macro": [{"width": 4, "layers": 6, "channels": 1, "size": 28}, {"width": 64, "layers": 24}],
    "enas_micro": [
        {"width": 2, "cells": 1, "nodes": 3, "channels": 1, "size": 28},
        {"width": 36, "cells": 5},
    ],
    "enas_rnn": [{"hidden": 6, "embed": 6, "nodes": 4, "vocab": 11}, {"nodes": 8}],
    "gdas_frc": [
        {"width": 8, "cells": 1, "channels": 1, "size": 28},
        {"width": 8, "cells": 2, "classes": 100},
        {"width": 40, "cells": 6},
    ],
    "hierarchical": [{"width": 4, "depth": 1, "channels": 1, "size": 28}, {"width": 4, "depth": 0}],
    "mobilenet_small": [
        {"size": 8, "channels": 1, "width": 4, "classes": 3},
        {"size": 1, "width": 1},
        {"size": 28, "channels": 1},
        {"size": 96, "width": 24, "classes": 1000},
    ],
    "nasbench201": [{"width": 4, "cells": 1, "channels": 1, "size": 28, "classes": 120}, {"width": 64}],
    "ofa_mobilenetv3": [{"classes": 3}, {"channels": 1, "size": 32}],
    "one_shot": [
        {"width": 4, "cells": 3, "blocks": 2, "channels": 1, "size": 28},
        {"cells": 12, "blocks": 5},
    ],
    "quickstart": [{}, {"classes": 2}],
    "speech_1d": [
        {"channels": 5, "width": 4, "classes": 3},
        {"channels": 1, "width": 1},
        {"channels": 40, "width": 128},
    ],
    "tabular_mlp": [{"columns": 3, "width": 4}, {"columns": 1, "width": 1, "classes": 10}, {"columns": 700}],
}


def test_every_space_has_its_count_here() -> None:
    assert set(SHIPPED) == set(COUNTS) == set(SETTINGS)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_count_is_the_one_worked_out_by_hand(name: str) -> None:
    space = pipeline.load(SHIPPED[name])
    assert space.count() == COUNTS[name]
    assert space.warnings == ()
    assert space.name == name


def test_counts_are_printed_by_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import counts

    counts.main()
    printed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert set(printed) == set(COUNTS)
    for name, number in COUNTS.items():
        assert f" {number:,} ".replace(",", " ") in printed[name]


@pytest.mark.parametrize("path", sorted(resources.spaces().rglob("*.nas")), ids=lambda path: path.stem)
def test_a_space_is_a_page_that_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert max(map(len, text.splitlines())) <= 120
    assert parse(Source(str(path), text))
    if path.parent == resources.spaces():
        assert len(text.splitlines()) <= 80


def examples(space: Space, device: str, batch: int = 2) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    made = []
    for node in space.inputs:
        type = space.graph.node(node).type
        dims = [dim if isinstance(dim, int) else 5 for dim in type.dims]
        x = torch.randint(0, 3, (batch, *dims), generator=random)
        made.append(x.to(device) if type.dtype == "int" else x.float().to(device))
    return made


def runs(space: Space, device: str, genotypes: int) -> None:
    """Random genotypes give tensors of the shapes that the space declares."""
    supernet = Supernet(space, device=device)
    inputs = examples(space, device)
    for seed in range(genotypes):
        found = supernet(*inputs, genotype=space.sample(seed))
        for (_, node), output in zip(
            space.outputs, found if isinstance(found, tuple) else (found,), strict=True
        ):
            type = space.graph.node(node).type
            assert list(output.shape) == [2, *(dim if isinstance(dim, int) else 5 for dim in type.dims)]


@pytest.mark.parametrize("name", SHIPPED)
def test_small_settings_run_with_real_tensors(name: str) -> None:
    on_meta = name in ("autoformer_tiny", "ofa_mobilenetv3")  # no parameter makes them small
    runs(pipeline.load(SHIPPED[name], **SETTINGS[name][0]), "meta" if on_meta else "cpu", 3)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_space_as_it_ships_runs(name: str) -> None:
    runs(pipeline.load(SHIPPED[name]), "meta", 2)


@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, settings) for name, several in SETTINGS.items() for settings in several[1:]],
    ids=lambda value: value if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items()),
)
def test_other_settings_compile(name: str, settings: dict[str, int]) -> None:
    space = pipeline.load(SHIPPED[name], **settings)
    assert space.count() > 0
    assert space.sample(0)


def test_the_fixed_reduction_cell_says_what_width_it_needs() -> None:
    with pytest.raises(NasError, match="8 groups can't share the 20 input channels"):
        pipeline.load(SHIPPED["gdas_frc"], width=10, cells=1)


def test_recordings_and_texts_of_any_length_go_in() -> None:
    speech = pipeline.load(SHIPPED["speech_1d"], channels=5, width=4, classes=3)
    supernet = Supernet(speech)
    for moments in (1, 2, 9):
        assert supernet(torch.zeros(2, 5, moments), genotype=speech.sample(0)).shape == (2, 3)  # type: ignore[union-attr]
    text = pipeline.load(SHIPPED["decoder_lm"], vocab=11, layers=2, head_dim=4)
    model = Supernet(text).eval()
    genotype = text.sample(0)
    tokens = torch.tensor([[1, 2, 3, 4]])
    whole, start = model(tokens, genotype=genotype), model(tokens[:, :2], genotype=genotype)
    # What comes later changes nothing before it.
    torch.testing.assert_close(whole[:, :2], start)  # type: ignore[index]


# One use of each definition in `spaces/lib/`, on an image of 8 channels and 8 by 8 pixels.
LIBRARY = {
    "blocks": ["residual(relu)", "conv_bn_relu(4, 3)", "squeeze_excite", "squeeze_excite(ratio = 2)"],
    "cifar": [
        "relu_conv_bn(1, 4)", "relu_sep_conv_bn(3, stride = 2)", "sep_conv(5, stride = 2)", "dil_conv(3)", "halve",
        "factorized_reduce(6)", "calibrate(4, 8)", "calibrate(4, 4)",
    ],
    "mobile": ["conv_bn_act(4, 3, gelu)", "mbconv(8, kernel = 3 | 5, expand = 2 | 3)", "mbconv(4, 3, 2, stride = 2, squeeze = true)"],
}  # fmt: skip


@pytest.mark.parametrize("name", LIBRARY)
def test_what_spaces_share_can_be_used_alone(name: str) -> None:
    path = resources.spaces() / "lib" / f"{name}.nas"
    tree = parse(Source(str(path), path.read_text(encoding="utf-8")))
    assert {item.name for item in tree.items} <= {use.split("(")[0] for use in LIBRARY[name]}
    for use in LIBRARY[name]:
        text = f"""
            from "lib/{name}.nas" import {use.split("(")[0]}

            space s {{
              input image: [8, 8, 8]
              return image -> {use}
            }}
        """
        runs(pipeline.loads(text), "cpu", 2)


def test_a_space_that_ships_goes_by_its_name_in_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pipeline.load("quickstart").count() == pipeline.load("quickstart.nas").count() == 1125
    with pytest.raises(
        NasError, match=r"N601.*no file `spaces/quickstart.nas`\n.*ships: `quickstart`, without"
    ):
        pipeline.load("spaces/quickstart.nas")
    # A file of one's own comes first.
    Path("quickstart.nas").write_text("space mine {\n  input x: [4]\n  return x -> linear(2|3)\n}\n")
    assert pipeline.load("quickstart.nas").name == "mine"
