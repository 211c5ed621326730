"""The catalogue: complete, without torch, and open to plug-ins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

import pytest

import nasdsl.operations as operations
from nasdsl.diagnostics import NasError
from nasdsl.operations import catalogue
from nasdsl.operations.conv import Conv
from nasdsl.pipeline import loads
from nasdsl.space.operation import REQUIRED, Instance, Operation, TorchCall
from nasdsl.space.tensor import Shape

# As in the manual: ∅ passes absence on, ≈ is elastic, the settings in their order.
MANUAL = {
    "conv": "channels≈=C kernel≈ stride=1 dilation=1 groups≈=1 bias=False ∅",
    "depthwise": "kernel≈ stride=1 dilation=1 bias=False ∅",
    "linear": "features≈ bias=True",
    "embedding": "vocab features≈",
    "onehot": "classes",
    "maxpool": "kernel stride=1 ∅",
    "avgpool": "kernel stride=1 ∅",
    "global_avgpool": "∅",
    "global_maxpool": "∅",
    "upsample": "scale ∅",
    "shift": "by ∅",
    "flatten": "",
    "batchnorm": "∅",
    "layernorm": "",
    "dropout": "p ∅",
    "relu": "∅",
    "identity": "∅",
    "tanh": "",
    "sigmoid": "",
    "gelu": "",
    "silu": "",
    "hardswish": "",
    "softmax": "",
    "zero": "∅",
    "patchify": "patch features≈",
    "attention": "heads≈ head_dim≈ causal=False",
    "mean_tokens": "",
    "sum": "",
    "max": "",
    "concat": "axis=0",
}


@pytest.mark.parametrize(("name", "signature"), MANUAL.items())
def test_signatures_are_those_of_the_manual(name: str, signature: str) -> None:
    operation = catalogue(plugins=False)[name]
    words = [
        setting.name
        + ("≈" if setting.elastic else "")
        + ("" if setting.default is REQUIRED else f"={setting.default}")
        for setting in operation.settings
    ]
    assert " ".join(words + ["∅"] * operation.passes_absence) == signature
    assert not operation.internal


def test_every_catalogue_is_fresh() -> None:
    first, second = catalogue(), catalogue()
    first.add(Swirl())
    assert "swirl" not in second


def test_starts_without_torch() -> None:
    code = "import sys, nasdsl.operations as o; o.catalogue(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shape_and_cost_need_no_torch() -> None:
    code = """
import sys
from nasdsl.operations import catalogue
from nasdsl.operations.example import decide
for operation in catalogue(plugins=False).values():
    for inputs, settings in operation.examples:
        instance = decide(operation, inputs, **settings)
        operation.cost(instance), operation.torch(instance)
sys.exit('torch' in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Swirl(Operation):
    """A plug-in's."""

    name = "swirl"
    summary = "turns a tensor around"
    section = "activation"

    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        return inputs[0]

    def torch(self, instance: Instance) -> TorchCall:
        return TorchCall("method", "flip", (1,))


class Clash(Swirl):
    name = "conv"


class Broken(Swirl):
    def __init__(self) -> None:
        raise OSError("no swirls today")


swirl = Swirl()
nothing = 3


def plugged(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    entries = [EntryPoint(value.rpartition(":")[2], value, operations.GROUP) for value in values]
    monkeypatch.setattr(operations, "entry_points", lambda group: entries)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    # The entry points below name this file as if it were an installed package.
    monkeypatch.setitem(sys.modules, "swirls", sys.modules[__name__])


@pytest.mark.parametrize("value", ["swirls:Swirl", "swirls:swirl"])
def test_plugins_join(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    plugged(monkeypatch, value)
    assert isinstance(catalogue()["swirl"], Swirl)
    assert "swirl" not in catalogue(plugins=False)
    assert isinstance(catalogue()["conv"], Conv)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["swirls:Clash"], ["Clash = swirls:Clash", "`conv`", "nasdsl.operations.conv.Conv"]),
        (["swirls:Swirl", "swirls:swirl"], ["`swirl`", "swirl = swirls:swirl", ".Swirl"]),
    ],
)
def test_plugins_that_clash(monkeypatch: pytest.MonkeyPatch, values: list[str], words: list[str]) -> None:
    plugged(monkeypatch, *values)
    with pytest.raises(NasError) as caught:
        catalogue()
    (found,) = caught.value.diagnostics
    assert found.code == "N902"
    for word in words:
        assert word in found.message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("swirls:Broken", "can't be loaded: OSError: no swirls today"),
        ("swirls:absent", "can't be loaded: AttributeError"),
        ("swirls:nothing", "is no operation: it gives a int"),
    ],
)
def test_a_plugin_that_fails_is_told_where_its_operation_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    plugged(monkeypatch, "swirls:Swirl", value)
    name = value.partition(":")[2]
    loads("space other() { input x: [3]\n return swirl(relu(x)) }")  # whoever doesn't name it isn't bothered
    told = {}
    for called in (name, "swril"):
        with pytest.raises(NasError) as caught:
            loads(f"space mine() {{ input x: [3]\n return {called}(x) }}")
        (told[called],) = caught.value.diagnostics
    asked, unknown = told[name], told["swril"]
    assert asked.code == "N902" and f"the plug-in `{name} = {value}` {words}" in asked.message
    assert asked.span is not None and asked.span.text == name
    assert unknown.code == "N105" and unknown.help is not None
    assert unknown.help.startswith(f"did you mean `swirl`?\nbesides, the plug-in `{name} = {value}` {words}")
