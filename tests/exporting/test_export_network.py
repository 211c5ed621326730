"""The network of a genotype: a plain module with readable names."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from nasdsl.diagnostics import NasError
from nasdsl.exporting.network import network
from nasdsl.supernet import Supernet
from tests.exporting import cases


def test_state_dict_names_follow_the_classes() -> None:
    space = cases.shipped("nasbench201")
    genotype = space.genotype({c.name: "nor_conv_1x1" for c in space.choices})
    names = list(network(space, genotype).state_dict())
    assert names[0] == "conv.weight"
    assert "stage_1.0.x1.conv.weight" in names
    assert "stage_3.1.x3_3.batchnorm.running_var" in names
    assert names[-2:] == ["linear.weight", "linear.bias"]


def test_what_it_knows_of_itself() -> None:
    net = cases.make(cases.shipped("darts_rnn"), 0)
    assert net.space_name == "darts_rnn"
    assert net.input_names == ("tokens",)
    assert str(net.input_shapes[0]) == "int[T]"
    assert net.genotype == cases.shipped("darts_rnn").sample(0)


@pytest.mark.parametrize("name", ["quickstart", "darts_rnn", "decoder_lm"])
def test_copies_and_pickles(name: str) -> None:
    net = cases.make(cases.shipped(name), 1)
    given = cases.inputs(net)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert all(
            torch.equal(a, b)
            for a, b in zip(cases.outputs(net, given), cases.outputs(other, given), strict=True)
        )
        # The copy runs on weights of its own.
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        assert not all(
            torch.equal(a, b)
            for a, b in zip(cases.outputs(net, given), cases.outputs(other, given), strict=True)
        )


def test_several_outputs_are_a_tuple() -> None:
    net = cases.make(cases.hard("two inputs and two outputs"), 0)
    made = net(*cases.inputs(net))
    assert isinstance(made, tuple)
    assert [tuple(x.shape) for x in made] == [(2, 10), (2, 5)]
    assert len(net.output_names) == 2


def test_a_scan_is_its_cell_run_over_time() -> None:
    net = cases.make(cases.hard("a scan over tokens named like its counter"), 0)
    (tokens,) = cases.inputs(net)
    modules = dict(net.named_modules())
    embedding, step, linear = modules["embedding"], modules["step.linear"], modules["linear"]
    h, found = torch.zeros(2, 6), []
    for t in range(tokens.shape[1]):
        h = torch.tanh(step(embedding(tokens[:, t])) + h)
        found.append(linear(h))
    torch.testing.assert_close(net(tokens), torch.stack(found, 1))
    # As one operator, as it is exported, it computes the same.
    with net.scanning(), torch.no_grad():
        assert torch.equal(net(tokens), cases.outputs(net, (tokens,))[0])


@pytest.mark.parametrize("name", cases.SHIPPED)
def test_inherited_weights_give_the_supernets_numbers(name: str) -> None:
    space = cases.shipped(name)
    torch.manual_seed(0)
    supernet = Supernet(space).eval()
    genotype = space.sample(3)
    net = network(space, genotype).eval().inherit(supernet.weights_of)
    given = cases.inputs(net)
    with torch.no_grad():
        wanted = supernet(*given, genotype=genotype)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for a, b in zip(cases.outputs(net, given), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    # They are copies: training the network leaves the supernet alone.
    stored = {p.data_ptr() for p in supernet.parameters()}
    assert not stored & {p.data_ptr() for p in net.parameters()}


def test_weights_that_do_not_fit_are_refused() -> None:
    net = cases.make(cases.shipped("quickstart"), 0)
    with pytest.raises(NasError, match="N954"):
        net.inherit(lambda step: {})
    with pytest.raises(NasError, match="N954"):
        net.inherit(lambda step: {"weight": torch.zeros(1), "bias": torch.zeros(1)})


def test_every_module_is_one_of_torchs() -> None:
    net = cases.make(cases.shipped("quickstart"), 0)
    assert all(type(m).__module__.startswith("torch.") for m in net.modules() if m is not net)
    assert all(isinstance(m, nn.Module) for m in net.modules())
