"""Recurrent networks on text: the state carried from segment to segment, dropouts locked over time, averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nasdsl import resources
from nasdsl.diagnostics import NasError
from nasdsl.exporting.network import Network, network
from nasdsl.operations.recurrent import Dropouts, Scanned
from nasdsl.pipeline import load, loads
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.alone import Alone
from nasdsl.training.assess import assess
from nasdsl.training.average import TriggeredMean, make_average
from nasdsl.training.carried import Carried
from nasdsl.training.data.dataset import TextData
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.data.text import text_task
from nasdsl.training.objectives import NOTHING, NextToken
from nasdsl.training.ranks import Ranks
from nasdsl.training.recipe import Recipe
from nasdsl.training.recipes import published
from nasdsl.training.regularisation import regularised
from nasdsl.training.schedule import learning_rate
from nasdsl.training.step import Pass, Stepper
from nasdsl.training.tasks import Task
from nasdsl.training.train import evaluate, fit

VOCAB, STREAMS, LENGTH = 7, 3, 4
SOURCE = Path(resources.spaces()) / "darts_rnn.nas"


@cache
def space() -> Space:
    return load(SOURCE, hidden=6, embed=6, nodes=2, vocab=VOCAB)


@cache
def genotype(seed: int = 0) -> Genotype:
    return space().sample(seed)


def net(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return network(space(), genotype()).double()


def tokens(length: int, rows: int = STREAMS, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


@cache
def text(validation: bool = True, **settings: Any) -> Task:
    random = np.random.default_rng(0)
    # Each token is the one before plus one, two times in three: something to learn.
    whole = np.cumsum(random.choice([1, 1, 3], 800)) % VOCAB
    words = tuple(f"w{i}" for i in range(VOCAB))
    data = TextData(whole[:500], whole[500:600] if validation else None, whole[600:], words)
    return text_task("text", data, DataSettings(bptt=LENGTH, **settings))


def models() -> dict[str, Any]:
    """Everything that runs a genotype, with the same weights."""
    supernet = Supernet(space(), dtype=torch.float64)
    plain = net().inherit(supernet.weights_of)
    alone = Alone(space(), genotype()).double()
    alone.load_state_dict({name: supernet.state_dict()[name] for name in alone.state_dict()})

    def shared(*inputs: Tensor, **more: Any) -> Any:
        return supernet(*inputs, genotype=genotype(), **more)

    return {"supernet": shared, "network": plain, "alone": alone}


@pytest.mark.parametrize("name", ["supernet", "network", "alone"])
def test_two_segments_with_carried_state_are_one_long_segment(name: str) -> None:
    model, x = models()[name], tokens(11)
    whole, ended = model(x, states={})
    assert torch.equal(whole, model(x))
    first, between = model(x[:, :4], states={})
    second, after = model(x[:, 4:], states=between.states)
    assert torch.equal(torch.cat([first, second], 1), whole)
    assert after.states.keys() == ended.states.keys() and len(ended.states) == 1
    for scan, states in ended.states.items():
        assert [s.shape for s in states] == [(STREAMS, 6)]
        assert all(torch.equal(a, b) for a, b in zip(states, after.states[scan], strict=True))
    # It matters: without the state the second segment is another.
    assert not torch.allclose(model(x[:, 4:]), second)


def test_supernet_and_network_agree_with_states() -> None:
    found, x = models(), tokens(5)
    states = {
        scan: tuple(torch.randn_like(s) for s in old) for scan, old in _end(found["network"], x).items()
    }
    outputs = {name: model(x, states=states) for name, model in found.items()}
    ours, ended = outputs["network"]
    for theirs, other in (outputs["supernet"], outputs["alone"]):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
        assert all(
            torch.allclose(a, b, rtol=0, atol=1e-12)
            for k in states
            for a, b in zip(ended.states[k], other.states[k], strict=True)
        )


def _end(model: Any, x: Tensor) -> Any:
    return model(x, states={})[1].states


def test_a_state_of_another_size_starts_at_zero() -> None:
    model, x = net(), tokens(5)
    (scan,) = _end(model, x)
    assert torch.equal(model(x, states={scan: (torch.ones(STREAMS, 9).double(),)})[0], model(x))
    assert torch.equal(model(x, states={-1: (torch.ones(STREAMS, 6).double(),)})[0], model(x))


def test_a_network_without_scans_has_no_state() -> None:
    tower = loads("space tower() {\n input x: [4]\n return x -> linear(3)\n}")
    plain = network(tower, {})
    outputs, scanned = plain(torch.ones(2, 4), states={})
    assert torch.equal(outputs, plain(torch.ones(2, 4))) and scanned == Scanned({})
    assert not plain.has_scans and not Supernet(tower).has_scans and net().has_scans


# --- steps --------------------------------------------------------------------------------------------


def stepper(model: Any, recipe: Recipe, batch: int = STREAMS) -> Stepper:
    return Stepper(model, recipe, NextToken(), seed=0, device=torch.device("cpu"), batch=batch, carried=True)


def test_steps_go_on_row_by_row_and_no_gradient_goes_back() -> None:
    model, task = net(), text()
    made = stepper(model, Recipe(lr=1e-9, momentum=0, weight_decay=0, clip=0))
    order = task.train.order(STREAMS, torch.Generator())
    for i in range(2):
        made.step([Pass(model, task.train.take(order[i]))], i, 1e-300)
    rows = task.train.take(order[1])
    by_step = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    # The same by hand: the first segment without gradients, the second from where it ended.
    with torch.no_grad():
        start = _end(model, task.train.take(order[0]).inputs[0])
    model.zero_grad()
    outputs, _ = model(rows.inputs[0], states=start)
    NextToken().loss(outputs, rows.targets).backward()
    by_hand = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-15) for a, b in zip(by_step, by_hand, strict=True))
    assert not any(t.requires_grad for t in made.carried.tensors().values())


def test_ghost_batches_carry_their_rows() -> None:
    task, ends = text(), []
    for ghosts in (1, 2):
        model = net()
        made = stepper(model, Recipe(momentum=0, weight_decay=0, clip=0, ghosts=ghosts), 4)
        for i, rows in enumerate(task.train.order(4, torch.Generator())[:3]):
            made.step([Pass(model, task.train.take(rows))], i, 0.1)
        ends.append(made.carried.tensors())
    assert ends[0].keys() == ends[1].keys() and len(ends[0]) == 1
    assert all(torch.allclose(ends[0][k], ends[1][k], rtol=0, atol=1e-12) for k in ends[0])


def test_of_several_passes_the_last_is_gone_on_from_and_other_sizes_are_left() -> None:
    carried = Carried(True)
    carried.after(0, (0, 2), {1: (torch.zeros(2, 3),), 2: (torch.ones(2, 4),)})
    carried.after(1, (0, 2), {1: (torch.ones(2, 3),), 2: (torch.ones(2, 5),)})
    carried.go_on(2)
    assert carried.before((1, 2)).keys() == {1}
    assert torch.equal(carried.before((0, 2))[1][0], torch.ones(2, 3))
    again = Carried(True)
    again.restore(carried.tensors())
    assert torch.equal(again.before((0, 2))[1][0], torch.ones(2, 3))
    carried.start_streams()
    assert carried.before((0, 2)) == {}
    off = Carried(False)
    off.after(0, (0, 2), {1: (torch.ones(2, 3),)})
    off.go_on(2)
    assert off.before((0, 2)) == {}


def test_processes_hold_their_rows_and_keep_all() -> None:
    whole = torch.arange(8.0).view(4, 2)
    halves = [Carried(True), Carried(True)]
    for carried, rows in zip(halves, [(0, 2), (2, 4)], strict=True):
        carried.after(0, rows, {5: (whole[slice(*rows)],)})
        carried.go_on(4)
    kept = [carried.tensors()["5.0"] for carried in halves]
    assert torch.equal(kept[0] + kept[1], whole) and not torch.equal(kept[0], whole)

    class Summing(Ranks):
        """Counts what is summed over the processes."""

        def sum(self, tensors: Sequence[Tensor]) -> None:
            counted.extend(tensors)

    counted: list[Tensor] = []
    ranks = Summing(rank=0, count=2)
    halves[0].tensors(ranks)
    assert len(counted) == 1
    # What was taken up again is whole in every process: the sum of it would count it twice.
    halves[0].restore({"5.0": whole})
    assert torch.equal(halves[0].tensors(ranks)["5.0"], whole) and len(counted) == 1


def test_streams_start_anew_with_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    task, model, starts = text(), net(), []
    forward = Network.forward

    def seen(self: Network, *inputs: Tensor, **more: Any) -> Any:
        if self.training:
            starts.append(bool(more["states"]))
        return forward(self, *inputs, **more)

    monkeypatch.setattr(Network, "forward", seen)
    fit(model, task, Recipe(epochs=2, batch=20), seed=0)
    steps = len(task.train) // 20
    assert starts == ([False] + [True] * (steps - 1)) * 2
    starts.clear()
    fit(model, text(carried=False), Recipe(epochs=1, batch=20), seed=0)
    assert starts == [False] * steps


def test_an_evaluation_goes_through_the_whole_text_in_streams() -> None:
    task, model = text(), net().eval()
    split = task.test
    length = -(-len(split) // 10)
    expected, count = 0.0, 0
    for first in range(0, len(split), length):
        segments = split.between(first, first + length)
        x, wanted = segments.inputs[0].reshape(1, -1), segments.first_targets.reshape(1, -1)
        told = int((wanted != NOTHING).sum())
        expected += float(NextToken().loss(model(x), wanted)) * told
        count += told
    assert count == int(task.objective.counts(split.targets).sum())
    found = evaluate(model, split, task.objective)
    assert found.loss == pytest.approx(expected / count, rel=1e-12)
    assert assess(model, split, task.objective).loss == pytest.approx(found.loss, rel=1e-12)
    alone = evaluate(model, replace(split, carried=False), task.objective)
    assert abs(alone.loss - found.loss) > 1e-6


# --- dropouts -----------------------------------------------------------------------------------------


def gru_like() -> Space:
    return loads("""
      space plain() {
        input tokens: int[T]
        cell rnn(x, h: [D]) = x + 0 * h
        return tokens -> embedding(50, 40) -> scan(rnn, state = [40])
      }
    """)


def test_masks_are_locked_over_time_and_differ_between_streams() -> None:
    plain = network(gru_like(), {})
    x = torch.randint(50, (3, 6), generator=torch.Generator().manual_seed(0))
    clean = plain(x)
    for name in ("embedding", "input", "output"):
        torch.manual_seed(0)
        dropped, _ = plain(x, states={}, dropouts=Dropouts(**{name: 0.5}))
        ratio = dropped / clean  # [N, T, D]
        assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio), atol=1e-5)
        assert set(ratio.round(decimals=4).unique().tolist()) == {0.0, 2.0}
        assert not torch.allclose(ratio[0], ratio[1])
        assert 0.3 < float((ratio == 0).float().mean()) < 0.7


def test_dropped_words_are_dropped_wherever_they_stand() -> None:
    plain = network(gru_like(), {})
    x = torch.randint(50, (3, 40), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    dropped, _ = plain(x, states={}, dropouts=Dropouts(words=0.5))
    gone = (dropped == 0).all(-1)
    kept = torch.isclose(dropped, 2 * plain(x)).all(-1)
    assert bool((gone | kept).all()) and bool(gone.any()) and bool(kept.any())
    for word in x.unique():
        assert gone[x == word].all() or kept[x == word].all()


def test_hidden_dropout_acts_where_a_matrix_reads_the_state_alone() -> None:
    """Against DARTS' cell by hand: the mask is on the state in front of the matrices, and not on the highway past it;
    the element comes as it is."""
    untied = SOURCE.read_text(encoding="utf-8").replace("unembed(words)", "linear(vocab)")
    other = loads(untied, hidden=6, embed=5, nodes=2, vocab=VOCAB)
    model, x = network(other, other.sample(0)).double(), tokens(3)
    torch.manual_seed(1)
    dropped, _ = model(x, states={}, dropouts=Dropouts(hidden=0.5))
    torch.manual_seed(1)
    mask = torch.empty(STREAMS, 6, dtype=torch.float64).bernoulli_(0.5) / 0.5

    def hooked(module: torch.nn.Module, given: tuple[Tensor, ...]) -> Tensor | None:
        return given[0] * mask if given[0].shape == (STREAMS, 6) else None

    clean = model(x)
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    handles = [m.register_forward_pre_hook(hooked) for m in linears]
    # The element has 5 features, and every state 6; the output layer reads [N, T, 6].
    assert torch.allclose(model(x), dropped, rtol=0, atol=1e-12)
    assert not torch.allclose(clean, dropped)
    for handle in handles:
        handle.remove()


def test_supernet_and_network_drop_at_the_same_places() -> None:
    found, x, outputs = models(), tokens(5), []
    for model in found.values():
        torch.manual_seed(1)
        outputs.append(model(x, states={}, dropouts=Dropouts(0.2, 0.3, 0.4, 0.5, 0.6)))
    (ours, ended), *others = outputs
    for theirs, _ in others:
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    assert len(ended.outputs) == 1 and not torch.allclose(ours, found["network"](x))


def test_activation_regularisation_by_arithmetic() -> None:
    output = torch.tensor([[[1.0], [3.0], [2.0]]])  # [N = 1, T = 3, D = 1]
    dropped = 2 * output
    loss = regularised(
        torch.tensor(5.0), Scanned({}, ((output, dropped),)), Recipe(activity=0.1, slowness=0.2)
    )
    assert float(loss) == pytest.approx(5 + 0.1 * (4 + 36 + 16) / 3 + 0.2 * (4 + 1) / 2)


def test_only_the_last_of_several_scans_is_regularised() -> None:
    two = loads("""
      space two() {
        input tokens: int[T]
        cell rnn(x, h: [D]) = tanh(linear(D)(x) + linear(D)(h))
        return tokens -> embedding(5, 4) -> scan(rnn, state = [3]) -> scan(rnn, state = [2]) -> linear(5)
      }
    """)
    plain = network(two, {})
    _, scanned = plain(torch.zeros(1, 4, dtype=torch.int64), states={}, dropouts=Dropouts(output=0.5))
    assert len(scanned.states) == 2
    assert [raw.shape for raw, _ in scanned.outputs] == [(1, 4, 2)]


# --- averages, schedules, recipes ---------------------------------------------------------------------


def test_asgd_is_the_mean_of_the_steps_since_training_stalled() -> None:
    layer = torch.nn.Linear(1, 1, bias=False).double()
    mean = TriggeredMean(layer, 2)

    def step(value: float) -> None:
        with torch.no_grad():
            layer.weight.fill_(value)
        mean.update(layer)

    losses = [3.0, 2.0, 2.5]
    for i in range(1, 4):
        mean.watch(losses[:i])
    step(100.0)
    assert mean.steps == -1
    mean.watch([*losses, 2.2])  # worse than the best that is more than two epochs older? min(3) = 3: no
    assert mean.steps == -1
    mean.watch([*losses, 2.2, 2.1])  # min(3, 2) = 2: yes
    for value in (1.0, 2.0, 6.0):
        step(value)
    with mean.lent(layer):
        assert float(layer.weight) == pytest.approx(3.0)
    assert float(layer.weight) == 6.0
    again = TriggeredMean(layer, 2)
    again.restore(mean.tensors)
    again.put_into(layer)
    assert float(layer.weight) == pytest.approx(3.0)


def test_asgd_is_torchs() -> None:
    """With t0 = 0 and lambd = 0 the average that torch.optim.ASGD keeps is the same, but for the first step, which it
    leaves out."""
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(3, 2).double(), torch.nn.Linear(3, 2).double()
    theirs.load_state_dict(ours.state_dict())
    asgd = torch.optim.ASGD(theirs.parameters(), lr=0.1, t0=0, lambd=0.0, weight_decay=0.01)
    sgd = torch.optim.SGD(ours.parameters(), lr=0.1, weight_decay=0.01)
    mean = TriggeredMean(ours, 1)
    x = torch.randn(4, 3, dtype=torch.float64)
    for _ in range(5):
        for layer, optimizer in ((ours, sgd), (theirs, asgd)):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
        mean.update(ours)
        mean.steps = max(mean.steps, 0)  # from the second step on
    for name, parameter in theirs.named_parameters():
        assert torch.allclose(mean.mean[name], asgd.state[parameter]["ax"], rtol=1e-12)


def test_fit_ends_with_the_mean_and_resumes_it(tmp_path: Path) -> None:
    recipe = Recipe(
        epochs=5,
        batch=20,
        lr=20,
        schedule="constant",
        momentum=0,
        nesterov=False,
        asgd=1,
        clip=0.25,
        dropout_hidden=0.3,
    )
    task = text()
    whole = net()
    history = fit(whole, task, recipe, seed=0)
    assert all(e.validation is not None for e in history)
    parts = net()
    fit(parts, task, recipe, seed=0, checkpoint=tmp_path / "c", stop=lambda: True)
    parts = net(seed=9)
    fit(parts, task, recipe, seed=0, checkpoint=tmp_path / "c")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_averages_that_can_not_be() -> None:
    with pytest.raises(NasError) as error:
        fit(net(), text(validation=False), Recipe(asgd=5), seed=0)
    assert error.value.diagnostics[0].code == "N1030"
    with pytest.raises(NasError) as error:
        make_average(net(), Recipe(asgd=5, ema=0.9))
    assert error.value.diagnostics[0].code == "N1031"


def test_the_exponential_schedule_of_enas() -> None:
    recipe = published("enas_ptb")
    rates = [learning_rate(recipe, epoch * 7, 7) for epoch in (0, 14, 15, 1000, 1999)]
    assert rates == pytest.approx([700, 700, 700 * 0.9991, 700 * 0.9991**986, 700 * 0.9991**1985])
    short = recipe.lasting(200)
    assert learning_rate(short, 199, 1) == pytest.approx(700 * 0.9991 ** (10 * (199 - 2)), rel=1e-2)
    assert learning_rate(recipe.model_copy(update={"drop": 0.1}), 100, 1) == recipe.lr_end


def test_the_recipes_of_penn_treebank() -> None:
    darts, gdas, enas = (published(f"{name}_ptb") for name in ("darts", "gdas", "enas"))
    assert darts.dropouts == Dropouts(0, 0.2, 0.75, 0.25, 0.75) and darts.asgd == 5
    differ = {k for k in Recipe.model_fields if getattr(gdas, k) != getattr(darts, k)}
    assert differ == {"epochs", "dropout_words"} and gdas.dropout_words == 0.1
    assert enas.lr / 35 == 20 and enas.clip * 35 == pytest.approx(0.25, rel=1e-4)
    assert enas.lr_end / 35 == pytest.approx(1e-3) and enas.weight_decay * 35 / 2 == pytest.approx(
        5e-7, rel=1e-3
    )
