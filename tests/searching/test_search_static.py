"""Searches whose single paths run on the static graph: the same weights, momenta, logits and winner."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nasdsl.diagnostics import NasError
from nasdsl.pipeline import loads
from nasdsl.searching import search
from nasdsl.searching.forecast import forecast_search
from nasdsl.searching.interrupt import Stop
from nasdsl.searching.journal import Unkept
from nasdsl.searching.optimise import OptimiseSettings, changed
from nasdsl.searching.search import Search, sharing_strategy
from nasdsl.searching.static import StaticPasses
from nasdsl.searching.steps import Steps
from nasdsl.searching.strategy import Path as SearchPath
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.training.seeds import seeded
from tests.searching.small import EDGES, assert_same_run, ending, events, settings, space, task


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def edges(none: bool = True) -> Space:
    return loads(EDGES.replace("NONE", "none: zero(x)" if none else "skip: x -> identity"))


def run(folder: Path, strategy: str, *assignments: str, none: bool = True) -> Path:
    chosen = settings(strategy, *assignments)
    search(edges(none), chosen, task=task(torch.get_default_dtype()), folder=folder)
    return folder


CASES: list[tuple[str, tuple[str, ...], bool]] = [
    ("gdas", ("options.lr=0.1",), True),
    ("gdas", ("options.lr=0.1", "options.estimator=ones_for_others"), True),
    ("gdas", ("options.lr=0.1", "search.ghosts=3"), True),  # of three, two and three examples
    ("advantage", ("options.lr=0.1", "options.warmup=0.0"), True),
    ("random", ("search.smoothing=0.1", "search.optimizer=adamw", "search.lr=0.01"), True),
    ("spos", ("batch_norm=batch",), False),
    ("fair", ("batch_norm=batch",), False),  # several paths a step
    ("enas", (), False),
]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("strategy", "assignments", "none"), CASES)
def test_a_search_is_the_one_without(
    strategy: str, assignments: tuple[str, ...], none: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[Any] = []
    launch = StaticPasses._launch

    def counted(self: StaticPasses, kind: Any, *given: Any) -> Any:
        launched.append(kind)
        return launch(self, kind, *given)

    monkeypatch.setattr(StaticPasses, "_launch", counted)
    plain = run(tmp_path / "plain", strategy, *assignments, none=none)
    assert not launched
    static = run(tmp_path / "static", strategy, *assignments, "optimise.static=on", none=none)
    assert "weights" in launched
    assert any(kind[0] == "architecture" for kind in launched) == (strategy in ("gdas", "advantage"))
    assert (static / "genotype.json").read_text() == (plain / "genotype.json").read_text()
    (tensors, state), (others, other) = ending(static), ending(plain)
    assert tensors.keys() == others.keys() and state["strategy"].keys() == other["strategy"].keys()
    for name, value in others.items():
        torch.testing.assert_close(tensors[name], value, rtol=1e-12, atol=1e-12, msg=name)
    for ours, theirs in zip(events(static), events(plain), strict=True):
        assert ours.get("loss") == pytest.approx(theirs.get("loss"), abs=1e-12)
        assert ours.get("metric") == theirs.get("metric")


@pytest.mark.usefixtures("double")
def test_weights_that_a_step_does_not_use_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither decay nor momentum moves them, after steps in which they have gathered some."""
    moved: dict[bool, set[bool]] = {True: set(), False: set()}  # by whether the step has used the weight
    weight_pass = StaticPasses.weight_pass
    last: list[tuple[bool, Tensor]] = []

    def watched(self: StaticPasses, path: Any, *given: Any) -> Any:
        for parameter, (used, before) in zip(self.parameters, last, strict=bool(last)):
            moved[used].add(not torch.equal(parameter, before))
        last[:] = [(place in self.used(path), p.detach().clone()) for place, p in enumerate(self.parameters)]
        return weight_pass(self, path, *given)

    monkeypatch.setattr(StaticPasses, "weight_pass", watched)
    chosen = settings("random", "optimise.static=on", "search.weight_decay=0.1")
    search(edges(), chosen, task=task(torch.float64))
    assert moved[False] == {False} and True in moved[True]


@pytest.mark.parametrize("strategy", ["gdas", "fair"])
def test_a_stopped_run_goes_on_bit_for_bit(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an epoch, from the last checkpoint."""
    given = (
        "optimise.static=on",
        "checkpoint_steps=3",
        *(("batch_norm=batch",) if strategy == "fair" else ()),
    )
    none = strategy == "gdas"
    whole = run(tmp_path / "whole", strategy, *given, none=none)
    step = Steps.weight_step

    def stopped(self: Steps, batch: Any, number: int, rate: float) -> None:
        if number == 5:
            raise KeyboardInterrupt
        step(self, batch, number, rate)

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "weight_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", strategy, *given, none=none)
    run(tmp_path / "parts", strategy, *given, none=none)
    assert_same_run(whole, tmp_path / "parts")


def test_what_a_path_uses_is_what_gets_gradients_on_the_ordinary_way(tmp_path: Path) -> None:
    net = Supernet(edges(), affine=False, batch_norm="batch")
    passes = StaticPasses(net, task().objective, settings("gdas"), torch.device("cpu"))
    for seed in range(20):
        genotype = edges().sample(seed)
        net.zero_grad(set_to_none=True)
        output = net(torch.randn(4, 1, 4, 4), genotype=genotype)
        output.sum().backward()
        expected = tuple(i for i, p in enumerate(net.parameters()) if p.grad is not None)
        assert passes.used(SearchPath(genotype)) == expected


@pytest.mark.parametrize(
    ("strategy", "assignments", "says"),
    [
        ("spos", (), "batch norms with running statistics"),
        ("enas", (), "scale and offset behind a candidate that gives nothing"),
        ("darts", (), "several candidates of a choice at once"),
        (
            "gdas",
            ("optimise.recompute=true",),
            "`optimise.recompute` is for passes whose calls run one by one",
        ),
        ("gdas", ("optimise.compile=eager",), "`optimise.compile` is for passes"),
    ],
)
def test_what_was_asked_for_and_cant_be_had_is_an_error(
    strategy: str, assignments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    with pytest.raises(NasError) as caught:
        run(tmp_path / "run", strategy, "optimise.static=on", *assignments)
    (found,) = caught.value.diagnostics
    assert found.code == "N968" and says in found.message
    assert not (tmp_path / "run").exists()


def test_dropout_of_a_space_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(NasError) as caught:
        search(space(), settings("gdas", "optimise.static=on"), task=task(), folder=tmp_path / "run")
    assert "dropout" in caught.value.diagnostics[0].message


def test_auto_runs_as_ever_where_it_cant_be_had_and_says_so(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", "darts")
    auto = run(tmp_path / "auto", "darts", "optimise.static=auto")
    start, *rest = events(auto)
    asked = changed(OptimiseSettings(static="auto"))  # nothing, where that is the default
    assert start.get("optimise", {}) == asked
    assert ("several candidates" in start.get("ordinary", "")) == bool(asked)
    assert rest == events(plain)[1:]
    gdas = events(run(tmp_path / "gdas", "gdas", "optimise.static=auto"))[0]
    assert ("it pays on a CUDA device" in gdas.get("ordinary", "")) == bool(asked)
    assert "ordinary" not in events(run(tmp_path / "on", "gdas", "optimise.static=on"))[0]


def test_a_forecast_is_that_of_all_candidates() -> None:
    chosen = settings("gdas", "optimise.static=on")
    path, static = (
        forecast_search(edges(), chosen, task(), sharing_strategy(edges(), chosen), static=static).activations
        for static in (False, True)
    )
    assert static > path


def test_gates_that_multiply_run_as_ever() -> None:
    """AdvantageNAS' exact credit asks for them."""
    chosen = settings("advantage", "options.credit=exact", "options.warmup=0.0", "optimise.static=on")
    plain = settings("advantage", "options.credit=exact", "options.warmup=0.0")
    found = [search(edges(), s, task=task()).probabilities for s in (chosen, plain)]
    for name, row in found[1].items():
        assert found[0][name] == pytest.approx(row, abs=1e-6)


# --- on a GPU -------------------------------------------------------------------------------------------


def on_gpu(folder: Path, strategy: str, *assignments: str) -> Path:
    chosen = settings(strategy, *assignments).model_copy(update={"device": "cuda"})
    search(edges(), chosen, task=task(torch.get_default_dtype()), folder=folder)
    return folder


@pytest.mark.gpu
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("strategy", "assignments"),
    [
        ("gdas", ("options.lr=0.1",)),
        ("gdas", ("options.lr=0.1", "options.estimator=ones_for_others", "search.ghosts=3")),
        ("random", ()),
    ],
)
def test_a_recorded_search_is_the_one_without(
    strategy: str, assignments: tuple[str, ...], tmp_path: Path
) -> None:
    torch.backends.cudnn.deterministic = True
    plain = on_gpu(tmp_path / "plain", strategy, *assignments)
    static = on_gpu(tmp_path / "static", strategy, *assignments, "optimise.static=on")
    assert (static / "genotype.json").read_text() == (plain / "genotype.json").read_text()
    (tensors, _), (others, _) = ending(static), ending(plain)
    for name, value in others.items():
        torch.testing.assert_close(tensors[name], value, rtol=1e-8, atol=1e-8, msg=name)


@pytest.mark.gpu
def test_a_recorded_step_waits_for_nothing_on_the_device() -> None:
    """With weights alone to be trained; torch raises where the host would wait."""

    device = torch.device("cuda")
    chosen = settings("random", "optimise.static=on", "search.batch=16")
    made = Search(edges(), task().to(device), chosen, device, Unkept(), lambda event: None, Stop())
    order = made.batches.order("weights", made.batches.weights, 0)
    try:
        for step in range(6):
            if step == 3:  # recorded by now
                torch.cuda.set_sync_debug_mode("error")
            batch = made.batches.weights.take(order[0])
            with seeded(0, "dropout", step):
                made.steps.weight_step(batch, step, 0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert made.steps.weights.watch.totals().steps == 6
