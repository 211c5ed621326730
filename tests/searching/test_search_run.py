"""Whole searches on a small task: folders, stopping, resuming."""

from __future__ import annotations

import json
import os
import signal
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from nasdsl import resources
from nasdsl.diagnostics import Diagnostic, NasError
from nasdsl.pipeline import load, loads
from nasdsl.searching import Interrupted, SearchResult, SearchSettings, search, settings_for
from nasdsl.searching.events import mean_entropy
from nasdsl.searching.search import Search, about
from nasdsl.searching.steps import Steps
from nasdsl.space.space import Space
from nasdsl.training.seeds import generator
from nasdsl.training.tasks import Task, load_task, stratified


@cache
def space() -> Space:
    return load(Path(resources.spaces()) / "quickstart.nas")


@cache
def task() -> Task:
    """A few of the digits."""
    whole = load_task("digits")
    few, _ = stratified(whole.train.targets, 0.2, generator(0, "few"))
    return Task(**{**vars(whole), "train": whole.train.take(few)})


def settings(strategy: str = "gdas", *assignments: str, seed: int = 0) -> SearchSettings:
    few = ["search.epochs=3", "search.batch=32"] + (["options.candidates=4"] if strategy == "random" else [])
    return settings_for(
        strategy, preset="demo", assignments=[*few, *assignments], seed=seed, space="quickstart"
    )


def events(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for event in found:
        event.pop("seconds")
    return found


def same(a: SearchResult, b: SearchResult) -> None:
    assert a.genotype == b.genotype
    assert a.probabilities == b.probabilities
    assert [t.as_json() for t in a.history] == [t.as_json() for t in b.history]
    ours, theirs = a.supernet.state_dict(), b.supernet.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def stop_after(monkeypatch: pytest.MonkeyPatch, kind: type, method: str, calls: int) -> None:
    """Sends this process a signal during the n-th call."""
    original: Callable[..., Any] = getattr(kind, method)
    seen = {"calls": 0}

    def wrapped(self: Any, *args: Any) -> Any:
        seen["calls"] += 1
        if seen["calls"] == calls:
            os.kill(os.getpid(), signal.SIGINT if calls % 2 else signal.SIGTERM)
        return original(self, *args)

    monkeypatch.setattr(kind, method, wrapped)


@pytest.mark.parametrize("strategy", ["gdas", "random"])
def test_a_search_ends_with_a_genotype_and_a_folder_that_tells_its_story(
    strategy: str, tmp_path: Path
) -> None:
    told: list[dict[str, Any]] = []
    result = search(space(), settings(strategy), task=task(), folder=tmp_path / "run", on_event=told.append)
    folder = tmp_path / "run"
    assert space().genotype(result.genotype) == result.genotype
    assert json.loads((folder / "genotype.json").read_text()) == dict(result.genotype)
    found = events(folder)
    assert [e["event"] for e in found] == ["start", *["epoch"] * 3, *["trial"] * len(result.history), "end"]
    assert [e["event"] for e in told] == [e["event"] for e in found]
    assert found[0]["architectures"] == "1125"
    assert found[-1]["genotype"] == dict(result.genotype)
    if strategy == "gdas":
        assert [e["tau"] for e in found if e["event"] == "epoch"] == pytest.approx([10, 5.05, 0.1])
        assert set(found[1]["probabilities"]) == {choice.name for choice in space().choices}
    else:
        assert len(result.history) == 4
        assert result.best.metric == max(trial.metric for trial in result.history)
    assert (folder / "space" / "quickstart.nas").read_text() == (
        resources.spaces() / "quickstart.nas"
    ).read_text()
    assert json.loads((folder / "versions.json").read_text())["threads"] == torch.get_num_threads()
    assert "| `width` |" in (folder / "report.md").read_text()
    text = (folder / "config.toml").read_text()
    config = tomllib.loads(text)
    assert (config["space"], config["parameters"], config["task"]) == (
        "quickstart",
        {"channels": 1, "size": 8, "classes": 10},
        "digits",
    )
    assert "# how the supernet" not in text and "# learning rate at the start" in text
    # The same command on a finished run tells the result again, and does nothing.
    again = search(space(), settings(strategy), task=task(), folder=folder, on_event=told.append)
    same(again, result)
    assert events(folder) == found


@pytest.mark.parametrize(
    ("strategy", "kind", "method", "calls"),
    [
        ("gdas", Steps, "weight_step", 1),
        ("gdas", Steps, "weight_step", 6),
        ("gdas", Steps, "architecture_step", 8),
        ("gdas", Search, "trial", 1),
        ("random", Steps, "weight_step", 4),
        ("random", Search, "trial", 2),
    ],
)
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    strategy: str, kind: type, method: str, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = search(space(), settings(strategy), task=task(), folder=tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_after(patched, kind, method, calls)
        with pytest.raises(Interrupted) as stopped:
            search(space(), settings(strategy), task=task(), folder=tmp_path / "parts")
    assert "the same command goes on" in str(stopped.value)
    assert not (tmp_path / "parts" / "genotype.json").exists()
    torch.manual_seed(calls)
    found = search(space(), settings(strategy), task=task(), folder=tmp_path / "parts")
    same(found, expected)
    assert events(tmp_path / "parts") == events(tmp_path / "whole")


def test_comments_and_layout_of_the_text_do_not_make_it_another_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was stopped goes on, bit for bit, with the constraint that it has; a change of the space is refused."""
    text = (resources.spaces() / "quickstart.nas").read_text()
    library, first = tmp_path / "first" / "edges.nas", tmp_path / "first" / "mine.nas"
    library.parent.mkdir()
    at, end = text.index("  op edge"), text.index("  cell normal")
    library.write_text(text[at:end])
    first.write_text('from "edges.nas" import edge\n' + text[:at] + text[end:])
    chosen = settings("gdas", 'constraints=["params <= 60K"]')
    expected = search(load(first), chosen, task=task(), folder=tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_after(patched, Steps, "weight_step", 5)
        with pytest.raises(Interrupted):
            search(load(first), chosen, task=task(), folder=tmp_path / "parts")
    # Another comment, another layout, another name of the file, and no import any more.
    second = tmp_path / "second.nas"
    second.write_text(
        "# Mine.\n" + text.replace("    b = edge(a)\n", "    ## The first.\n    b=edge( a )  # b\n\n")
    )
    for old, new in (
        ("16 | 24", "8 | 24"),
        ("conv(kernel = 1)", "conv(kernel = 5)"),
        ("-> relu ->", "-> gelu ->"),
    ):
        other = tmp_path / "other.nas"
        assert old in text
        other.write_text(text.replace(old, new))
        with pytest.raises(NasError, match=r"N930.*another space: `other\.nas` has changed"):
            search(load(other), chosen, task=task(), folder=tmp_path / "parts")
    found = search(load(second), chosen, task=task(), folder=tmp_path / "parts")
    same(found, expected)
    assert events(tmp_path / "parts") == events(tmp_path / "whole")
    assert not (tmp_path / "parts" / "space" / "second.nas").exists()


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = search(space(), settings(), task=task(), folder=tmp_path / "whole")

    class Killed(BaseException):
        pass

    for epoch, at in enumerate((2, 6)):
        with monkeypatch.context() as patched:
            seen = {"calls": 0}
            original = Steps.weight_step

            def dying(
                self: Steps, *args: Any, at: int = at, seen: Any = seen, original: Any = original
            ) -> None:
                seen["calls"] += 1
                if seen["calls"] == at:
                    raise Killed
                original(self, *args)

            patched.setattr(Steps, "weight_step", dying)
            with pytest.raises(Killed):
                search(space(), settings(), task=task(), folder=tmp_path / "parts")
        assert (tmp_path / "parts" / "checkpoint").exists() == (epoch > 0)
    same(search(space(), settings(), task=task(), folder=tmp_path / "parts"), expected)
    assert events(tmp_path / "parts") == events(tmp_path / "whole")


def test_a_damaged_checkpoint_is_passed_over_with_a_word(tmp_path: Path) -> None:
    expected = search(space(), settings(), task=task(), folder=tmp_path)
    latest = sorted((tmp_path / "checkpoint").iterdir())
    assert len(latest) == 2
    latest[-1].write_bytes(latest[-1].read_bytes()[:100])
    warnings: list[Diagnostic] = []
    same(search(space(), settings(), task=task(), folder=tmp_path, warn=warnings.append), expected)
    assert [w.code for w in warnings] == ["N934"]
    assert f"going on from `{latest[0].name}`" in warnings[0].message
    for path in (tmp_path / "checkpoint").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(NasError) as error:
        search(space(), settings(), task=task(), folder=tmp_path)
    assert {d.code for d in error.value.diagnostics} == {"N935"}


def other_space() -> Space:
    """With the choices of :func:`space`, and other sizes."""
    text = (resources.spaces() / "quickstart.nas").read_text()
    return loads(text.replace("conv(width, kernel = 3)", "conv(width, kernel = 5)"))


def test_a_checkpoint_of_another_run_is_refused_before_anything_of_it_is_taken_up(tmp_path: Path) -> None:
    quick, ours = settings("gdas", "search.epochs=1"), tmp_path / "ours"
    search(space(), quick, task=task(), folder=ours)
    kept = sorted((ours / "checkpoint").iterdir())
    told = (ours / "events.jsonl").read_bytes()
    one_choice = loads(
        "space one() {\n  input image: [1, 8, 8]\n  return image -> conv(8|16, kernel = 3) -> global_avgpool -> linear(10)\n}"
    )
    for number, (other, chosen, says) in enumerate(
        [
            (one_choice, quick, '`space` is "one" there, and "quickstart" here'),
            (space(), settings("random", "search.epochs=1"), '`strategy` is "random" there, and "gdas" here'),
            (
                space(),
                settings("gdas", "search.epochs=1", "options.lr=0.5"),
                "`options.lr` is 0.5 there, and 0.03 here",
            ),
            (other_space(), quick, "holds the weights of another network: "),
        ]
    ):
        theirs = tmp_path / f"run{number}"
        search(other, chosen, task=task(), folder=theirs)
        for path in kept:
            path.unlink(missing_ok=True)
        last = max((theirs / "checkpoint").iterdir())
        (ours / "checkpoint" / last.name).write_bytes(last.read_bytes())
        kept = [ours / "checkpoint" / last.name]
        with pytest.raises(NasError) as error:
            search(space(), quick, task=task(), folder=ours)
        (diagnostic,) = error.value.diagnostics
        assert (diagnostic.code, says in diagnostic.message) == ("N939", True), diagnostic.message
        assert str(ours) in diagnostic.message and len(diagnostic.message.splitlines()) == 1
        # A space with other sizes has another text, which its folder says: only moved files get so far.
        if number < 3:
            assert (ours / "events.jsonl").read_bytes() == told


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    quick = settings("gdas", "search.epochs=1")
    search(space(), quick, task=task(), folder=tmp_path / "run")
    for other, says in (
        (settings("gdas", "search.epochs=1", seed=1), "`seed` was 0, and is 1 now"),
        (settings("gdas", "search.epochs=1", "options.lr=0.5"), "`options.lr` was 0.03, and is 0.5 now"),
    ):
        with pytest.raises(NasError) as error:
            search(space(), other, task=task(), folder=tmp_path / "run")
        (diagnostic,) = error.value.diagnostics
        assert diagnostic.code == "N930"
        assert says in diagnostic.message
    wider = load(Path(resources.spaces()) / "nasbench201.nas", classes=10, width=4)
    sizes = {"width": 4, "cells": 5, "channels": 3, "size": 32, "classes": 10}
    assert about(wider, quick, task()).parameters == sizes
    source = tmp_path / "run" / "space" / "quickstart.nas"
    source.write_text(source.read_text().replace("conv(kernel = 3)", "conv(kernel = 5)"))
    with pytest.raises(NasError) as error:
        search(space(), quick, task=task(), folder=tmp_path / "run")
    assert "another space" in error.value.diagnostics[0].message
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(NasError) as error:
        search(space(), quick, task=task(), folder=tmp_path / "other")
    assert error.value.diagnostics[0].code == "N932"


def test_two_cannot_write_one_run(tmp_path: Path) -> None:
    def again(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            with pytest.raises(NasError) as error:
                search(space(), settings("gdas", "search.epochs=1"), task=task(), folder=tmp_path)
            assert error.value.diagnostics[0].code == "N931"

    search(space(), settings("gdas", "search.epochs=1"), task=task(), folder=tmp_path, on_event=again)


def test_another_number_of_threads_is_warned_of(tmp_path: Path) -> None:
    quick = settings("gdas", "search.epochs=1")
    search(space(), quick, task=task(), folder=tmp_path)
    versions = json.loads((tmp_path / "versions.json").read_text())
    (tmp_path / "versions.json").write_text(json.dumps(versions | {"threads": 64}))
    warnings: list[Diagnostic] = []
    search(space(), quick, task=task(), folder=tmp_path, warn=warnings.append)
    assert [w.code for w in warnings] == ["N933"]
    assert "`threads` was 64" in warnings[0].message


def test_divergence_names_step_and_genotype(tmp_path: Path) -> None:
    with pytest.raises(NasError) as error:
        search(space(), settings("gdas", "search.lr=1e30", "search.clip=0"), task=task())
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == "N914"
    assert "at step" in diagnostic.message and '"width"' in diagnostic.message


def test_what_does_not_fit_is_said_before_anything_starts(tmp_path: Path) -> None:
    wide = load(Path(resources.spaces()) / "quickstart.nas", classes=7)
    with pytest.raises(NasError) as error:
        search(wide, settings(), task=task(), folder=tmp_path / "run")
    assert error.value.diagnostics[0].help == "say `--set classes=10`"
    assert not (tmp_path / "run").exists()


def test_weights_and_architecture_parameters_move_in_their_own_steps_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight_step, architecture_step = Steps.weight_step, Steps.architecture_step
    steps: list[str] = []

    def weights(self: Steps) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self.weights.parameters]

    def watched_weight(self: Steps, *args: Any) -> None:
        before = self.strategy.state()[0]["logits"].clone()
        weight_step(self, *args)
        assert torch.equal(before, self.strategy.state()[0]["logits"])
        steps.append("w")

    def watched_architecture(self: Steps, *args: Any) -> None:
        before, logits = weights(self), self.strategy.state()[0]["logits"].clone()
        architecture_step(self, *args)
        assert all(torch.equal(a, b) for a, b in zip(before, weights(self), strict=True))
        assert not torch.equal(logits, self.strategy.state()[0]["logits"])
        steps.append("a")

    monkeypatch.setattr(Steps, "weight_step", watched_weight)
    monkeypatch.setattr(Steps, "architecture_step", watched_architecture)
    search(space(), settings("gdas", "search.epochs=1"), task=task())
    assert steps and steps == ["w", "a"] * (len(steps) // 2)


def test_unused_weights_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Steps.weight_step

    def watched(self: Steps, *args: Any) -> None:
        before = {name: p.detach().clone() for name, p in self.supernet.named_parameters()}
        original(self, *args)
        for name, parameter in self.supernet.named_parameters():
            if parameter.grad is None:
                assert torch.equal(before[name], parameter)

    monkeypatch.setattr(Steps, "weight_step", watched)
    search(space(), settings("gdas", "search.epochs=2"), task=task())


def test_entropy_is_a_share() -> None:
    assert mean_entropy({}) == 0
    assert mean_entropy({"a": [0.25] * 4}) == pytest.approx(1)
