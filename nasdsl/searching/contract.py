"""What every strategy keeps to, as checks that a package of strategies runs over its own.

In a test file of such a package, with pytest:

    from nasdsl.searching.contract import StrategyContract

    class TestMine(StrategyContract):
        strategy = "mine"                       # its name in the registry
        settings = ("options.lr=0.1",)          # what makes it learn something in a hundred steps

Each check is also a function of a strategy's name, and :data:`CHECKS` has them all. They run on small spaces, one for
each kind of choice (:mod:`nasdsl.searching.kinds`), and take seconds. Where one fails it raises AssertionError; its
docstring says what is asked.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from nasdsl.diagnostics import NasError
from nasdsl.language.builder import Limits
from nasdsl.language.elaborate import Elaborator
from nasdsl.language.modules import Loader, pick_space
from nasdsl.operations import catalogue
from nasdsl.searching.assign import positions
from nasdsl.searching.history import History, Trial
from nasdsl.searching.kinds import check_kinds, handled, kinds_of
from nasdsl.searching.search import search
from nasdsl.searching.settings import settings_for
from nasdsl.searching.strategy import (
    STRATEGIES,
    Path,
    RewardDriven,
    Strategy,
    WeightSharing,
    trains_supernet,
)
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.training.seeds import derive, generator
from nasdsl.training.split import Split
from nasdsl.training.tasks import Classification, Task
from nasdsl.training.train import Evaluation

Check = Callable[[str, Sequence[str]], None]
"""Called with the name of a strategy and changes of its settings."""

# --- small spaces, one a kind -------------------------------------------------------------------------

_HEAD = "space small() {\n  input x: [4, 5, 5]\n"
_TAIL = " -> relu -> global_avgpool -> linear(3)\n}\n"
_EDGE = "  op edge = none: zero | skip: identity | conv: conv(kernel = 3) -> batchnorm\n"

SPACES: Mapping[str, str] = {
    "candidates": _HEAD + _EDGE + "  a = edge(x)\n  return edge(x) + edge(a)" + _TAIL,
    "lists": _HEAD + "  return sum(choose 1..2 of { conv: conv(4, kernel = 3)(x), skip: x, pool: avgpool(3)(x) })" + _TAIL,
    "edges": _HEAD
    + "  op edge = skip: identity | conv: conv(kernel = 3) -> batchnorm | pool: avgpool(3)\n"
    + "  n = [x, x -> conv(kernel = 1)]\n"
    + "  for i in 2..3 { n[i] = sum(choose 2 of { edge(t) for t in n }) }\n  return n[3]" + _TAIL,
    "depths": _HEAD + "  op block = conv: conv(kernel = 3) -> batchnorm | skip: identity\n  return x -> repeat(block, 1|2|3)" + _TAIL,
    "numbers": _HEAD + "  width = 4 | 6 | 8\n  return x -> conv(width, kernel = 3|5) -> batchnorm" + _TAIL,
    "sizes": _HEAD + "  op stem = narrow: conv(4, kernel = 1) | wide: conv(8, kernel = 1) | same: identity\n  return x -> stem" + _TAIL,
    "conditions": _HEAD
    + "  op inner = conv: conv(kernel = 3) -> batchnorm | pool: avgpool(3)\n"
    + "  op outer = skip: identity | twice: inner -> inner\n  return x -> outer -> outer" + _TAIL,
    "requirements": _HEAD + _EDGE + '  require count("none") <= 1\n  a = edge(x)\n  return edge(x) + edge(a)' + _TAIL,
}  # fmt: skip
"""Sources by what they are about; ``edges`` is a sub-list whose candidates hold a choice each, as in the DARTS space."""


def compiled(source: str) -> Space:
    """The space of a text."""
    from pathlib import Path as FilePath

    from nasdsl.diagnostics import Findings, Source

    findings = Findings()
    module = Loader(findings).load(FilePath("contract.nas"), Source("contract.nas", source))
    findings.raise_if_any()
    return Elaborator(catalogue(), Limits()).space(module, pick_space(module, None), {})


@cache
def small_space(name: str) -> Space:
    """One of :data:`SPACES`."""
    return compiled(SPACES[name])


@cache
def small_task() -> Task:
    """48 images [4, 5, 5] of three classes, which differ in the mean of one channel."""
    random = generator(0, "small task")
    targets = torch.arange(48) % 3
    images = torch.randn(48, 4, 5, 5, generator=random)
    images[torch.arange(48), targets] += 1.0
    train, test = Split((images[:36],), targets[:36]), Split((images[36:],), targets[36:])
    shapes = small_space("candidates").architecture(small_space("candidates").sample(0))
    shape, output = (shapes.step(id).shape for id in (shapes.inputs[0], shapes.outputs[0][1]))
    return Task("small", "three classes", train, test, (shape,), output, Classification())


def suitable(name: str) -> Iterator[tuple[str, Space]]:
    """The small spaces that a strategy declares to handle."""
    for about in SPACES:
        if set(kinds_of(small_space(about))) <= handled(STRATEGIES.find(name)):
            yield about, small_space(about)


# --- running a strategy without a supernet ------------------------------------------------------------


def made(name: str, space: Space, settings: Sequence[str] = (), seed: int = 0) -> Strategy:
    """The strategy for a space; of ``settings`` those of its options matter."""
    kind = STRATEGIES.find(name)
    return kind(space, settings_for(name, assignments=settings).options, seed)


class Landscape:
    """A loss for each genotype: the sum over the choices that exist of a number for each candidate taken, the mean for a
    sub-list. Blends and gates have the loss of their weights, with gradients."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        random = generator(seed, "landscape")
        self.numbers = {
            choice.name: torch.randn(len(choice.labels), generator=random, dtype=torch.float64)
            for choice in space.choices
        }

    def loss(self, path: Path) -> Tensor:
        """The loss of what a path runs, a scalar in float64."""
        total = torch.zeros((), dtype=torch.float64)
        for name, numbers in self.numbers.items():
            weights = path.gates.get(name)
            if path.mixture is not None:
                weights = path.mixture[name]
                if name in path.among and not self.space.choice(name).is_sublist:
                    weights = torch.zeros_like(weights).index_add(
                        0, torch.tensor(path.among[name]), weights[list(path.among[name])]
                    )
            elif name not in path.genotype:
                continue
            if weights is None:
                taken = positions(self.space.choice(name), path.genotype[name])
                weights = torch.zeros_like(numbers)
                weights[list(taken)] = 1 / max(1, len(taken))
            total = total + (weights * numbers).sum()
        return total

    def evaluation(self, path: Path) -> Evaluation:
        loss = float(self.loss(path))
        return Evaluation(loss, -loss, 1)

    def trial(self, genotype: Genotype) -> Trial:
        loss = float(self.loss(Path(genotype)))
        return Trial(genotype, -loss, loss)


def advanced(strategy: Strategy, landscape: Landscape, *, epochs: int = 1, steps: int = 5) -> list[Any]:
    """What a strategy does over some epochs: all that can be seen of it."""
    seen: list[Any] = []
    if not isinstance(strategy, WeightSharing):
        return seen
    for epoch in range(epochs):
        seen.append(strategy.start_epoch(epoch, epochs))
        for _ in range(steps):
            seen.append([Genotype(path.genotype).text for path in strategy.paths()])
            if strategy.learns:
                seen.append(strategy.architecture_step(None, landscape.loss))  # type: ignore[arg-type]
        if isinstance(strategy, RewardDriven):
            rewards = min(strategy.reward_steps, 3 * steps)
            seen += [strategy.reward_step(landscape.evaluation) for _ in range(rewards)]
        seen.append(strategy.probabilities())
    return seen


def proposed(strategy: Strategy, landscape: Landscape, limit: int = 5) -> History:
    """So many trials at most of what it proposes."""
    history = History()
    while len(history) < limit:
        genotype = strategy.propose(history)
        if genotype is None:
            break
        history.add(landscape.trial(genotype))
    return history


# --- the checks ---------------------------------------------------------------------------------------


def proposals_lie_in_the_space(name: str, settings: Sequence[str] = ()) -> None:
    """In every space that it declares to handle it proposes something, and all of it is a genotype of the space that
    meets every ``require``; what its weight steps run the space has too."""
    for about, space in suitable(name):
        strategy, landscape = made(name, space, settings), Landscape(space, 0)
        advanced(strategy, landscape)
        history = proposed(strategy, landscape)
        assert history, f"it proposes nothing in the space of {about}"
        for trial in history:
            assert space.genotype(trial.genotype) == trial.genotype, about


def same_seed_same_sequence(name: str, settings: Sequence[str] = ()) -> None:
    """What it does follows from space, options, seed and history; torch's global generator plays no part. Another seed
    leads somewhere else."""
    told = []
    for seed, elsewhere in ((1, 0), (1, 7), (2, 0)):
        everything: list[Any] = []
        with torch.random.fork_rng():
            torch.manual_seed(elsewhere)
            for _, space in suitable(name):
                strategy, landscape = made(name, space, settings, seed), Landscape(space, 0)
                everything += [advanced(strategy, landscape), *proposed(strategy, landscape, 12)]
        told.append(everything)
    assert told[0] == told[1], "the same seed gives another sequence"
    assert told[0] != told[2], "another seed gives the same sequence"


def resuming_continues(name: str, settings: Sequence[str] = ()) -> None:
    """A new one that is given back what :meth:`state` said goes on as the old one would have, also with the history."""
    for about, space in suitable(name):
        landscape = Landscape(space, 0)
        whole, first = made(name, space, settings), made(name, space, settings)
        for strategy in (whole, first):
            advanced(strategy, landscape)
        tensors, rest = first.state()
        kept = {key: tensor.clone() for key, tensor in tensors.items()}
        advanced(first, landscape)  # what comes later must not reach back
        second = made(name, space, settings)
        second.restore((kept, rest))
        assert advanced(second, landscape) == advanced(whole, landscape), about
        history = proposed(whole, landscape, 8)
        third = made(name, space, settings)
        third.restore(whole.state())
        part = History([Trial.from_json(trial.as_json()) for trial in history[: len(history) // 2]])
        while len(part) < len(history):
            genotype = third.propose(part)
            assert genotype is not None, about
            part.add(landscape.trial(genotype))
        assert [t.genotype for t in part] == [t.genotype for t in history], about


def failed_trials_do_no_harm(name: str, settings: Sequence[str] = ()) -> None:
    """Trials whose metric is no number are passed over: it goes on, and none of them wins."""
    for _, space in suitable(name):
        landscape = Landscape(space, 0)
        strategy = made(name, space, settings)
        advanced(strategy, landscape)
        history = History()
        while len(history) < 30:
            genotype = strategy.propose(history)
            if genotype is None:
                break
            failed = len(history) % 3 == 0
            nothing = float("nan")
            history.add(Trial(genotype, nothing, nothing) if failed else landscape.trial(genotype))
        if len(history) > 1:
            best = history.best().metric
            assert best == best


def better_than_a_draw(name: str, settings: Sequence[str] = ()) -> None:
    """On an additive landscape over a small cell its winner is better than a random genotype: over five seeds, by more
    than two standard errors."""
    space = next(space for _, space in suitable(name))
    gains = []
    for seed in range(5):
        landscape = Landscape(space, seed)
        strategy = made(name, space, settings, seed)
        advanced(strategy, landscape, epochs=5, steps=40)
        best = proposed(strategy, landscape, 12).best().metric
        drawn = [landscape.trial(g).metric for g in space.sample(derive(seed, "drawn"), 200)]
        gains.append((best - statistics.fmean(drawn)) / statistics.stdev(drawn))
    # Draws have mean 0 and deviation 1 in these units, so that the mean of five has a standard error of 1/√5.
    assert statistics.fmean(gains) > 2 / 5**0.5, gains


def a_search_runs(name: str, settings: Sequence[str] = ()) -> None:
    """With a supernet and data it searches every space that it declares to handle; one without a supernet is asked for
    proposals alone."""
    if not trains_supernet(STRATEGIES.find(name)):
        return
    for about, space in suitable(name):
        given = ["search.epochs=2", "search.batch=9", *settings]
        found = search(space, settings_for(name, assignments=given, device="cpu"), task=small_task())
        assert space.permits(found.genotype), about


def refuses_what_it_does_not_handle(name: str, settings: Sequence[str] = ()) -> None:
    """Spaces that it doesn't declare to handle are refused before a search, and it is named which strategies take
    them."""
    there = {about for about, _ in suitable(name)}
    for about in SPACES.keys() - there:
        codes: list[str] = []
        try:
            check_kinds(small_space(about), name)
        except NasError as error:
            codes += [d.code for d in error.diagnostics]
        assert codes == ["N942"], about


def explains_itself(name: str, settings: Sequence[str] = ()) -> None:
    """Its docstring names a paper with its year and every preset but `published`; every option has a description."""
    kind = STRATEGIES.find(name)
    assert kind.__doc__ and ("19" in kind.__doc__ or "20" in kind.__doc__)
    assert all(field.description for field in kind.Options.model_fields.values())
    for preset in kind.presets:
        assert type(settings_for(name, preset=preset).options) is kind.Options
        assert preset == "published" or f"``{preset}``" in kind.__doc__


CHECKS: Sequence[Check] = (
    proposals_lie_in_the_space,
    same_seed_same_sequence,
    resuming_continues,
    failed_trials_do_no_harm,
    better_than_a_draw,
    a_search_runs,
    refuses_what_it_does_not_handle,
    explains_itself,
)


class StrategyContract:
    """The checks as test methods: a subclass names its ``strategy``, and ``settings`` with which it learns quickly."""

    strategy: ClassVar[str]
    settings: ClassVar[Sequence[str]] = ()

    def test_proposals_lie_in_the_space(self) -> None:
        proposals_lie_in_the_space(self.strategy, self.settings)

    def test_same_seed_same_sequence(self) -> None:
        same_seed_same_sequence(self.strategy, self.settings)

    def test_resuming_continues(self) -> None:
        resuming_continues(self.strategy, self.settings)

    def test_failed_trials_do_no_harm(self) -> None:
        failed_trials_do_no_harm(self.strategy, self.settings)

    def test_better_than_a_draw(self) -> None:
        better_than_a_draw(self.strategy, self.settings)

    def test_a_search_runs(self) -> None:
        a_search_runs(self.strategy, self.settings)

    def test_refuses_what_it_does_not_handle(self) -> None:
        refuses_what_it_does_not_handle(self.strategy, self.settings)

    def test_explains_itself(self) -> None:
        explains_itself(self.strategy, self.settings)
