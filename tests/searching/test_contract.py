"""Every registered strategy keeps the contract that ships, and the contract notices strategies that don't."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from nasdsl.diagnostics import NasError
from nasdsl.searching import STRATEGIES, settings_for
from nasdsl.searching.contract import (
    CHECKS,
    SPACES,
    Check,
    StrategyContract,
    failed_trials_do_no_harm,
    proposals_lie_in_the_space,
    resuming_continues,
    same_seed_same_sequence,
    small_space,
    small_task,
    suitable,
)
from nasdsl.searching.history import History
from nasdsl.searching.kinds import KINDS, able, check_kinds, handled, kinds_of
from nasdsl.searching.random_search import RandomSearch, RandomSearchOptions
from nasdsl.searching.replay import Replaying
from nasdsl.searching.search import search
from nasdsl.space.choice import Genotype

QUICK = {"enas": ("options.updates=6", "options.samples=2")}


def settings(name: str) -> tuple[str, ...]:
    """The options of the preset for short searches."""
    demo = STRATEGIES.find(name).presets.get("demo", ())
    return (*(entry for entry in demo if entry.startswith("options.")), *QUICK.get(name, ()))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_keeps_the_contract(name: str, check: Check) -> None:
    check(name, settings(name))


class TestAsAPackageUsesIt(StrategyContract):
    strategy = "local_search"


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_what_a_strategy_does_not_declare_it_really_refuses(name: str) -> None:
    kind = STRATEGIES.find(name)
    there = {about for about, _ in suitable(name)}
    for about in SPACES.keys() - there:
        with pytest.raises(NasError):
            kind(small_space(about), kind.Options(), 0)


# --- kinds of choices ---------------------------------------------------------------------------------


def test_there_is_a_small_space_for_each_kind_and_kinds_are_read_off_a_space() -> None:
    found = {about: set(kinds_of(small_space(about))) for about in SPACES}
    assert found == {
        "candidates": {"candidates"},
        "lists": {"lists"},
        "edges": {"lists", "candidates", "conditions"},
        "depths": {"depths", "candidates", "conditions"},
        "numbers": {"numbers"},
        "sizes": {"candidates", "sizes"},
        "conditions": {"candidates", "conditions"},
        "requirements": {"candidates", "requirements"},
    }
    assert set().union(*found.values()) == set(KINDS)


def test_a_space_that_a_strategy_cannot_handle_is_refused_with_those_that_can() -> None:
    with pytest.raises(NasError) as error:
        search(small_space("numbers"), settings_for("darts"), task=small_task())
    (told,) = error.value.diagnostics
    assert told.code == "N942"
    assert told.message == (
        "strategy `darts` can't handle a chosen number: a width, a kernel, and space `small` has one: `width`"
    )
    assert told.span is not None
    assert told.help is not None and "gdas" in told.help and "drnas" not in told.help
    assert "gdas" in able(small_space("numbers")) and "snas" not in able(small_space("numbers"))
    check_kinds(small_space("numbers"), "gdas")
    assert handled(RandomSearch) == set(KINDS)


# --- the contract has teeth ---------------------------------------------------------------------------


class Wanders(RandomSearch):
    """Draws from a generator that nobody seeds (2000)."""

    def next(self, history: History) -> Genotype | None:
        return self.space.sample(random.getrandbits(32))


class Forgets(Replaying):
    """Counts its proposals, and keeps the count nowhere (2000)."""

    count = 0

    def next(self, history: History) -> Genotype | None:
        self.count += 1
        return self.space.sample(self.count + 100 * self.seed)


class Strays(RandomSearch):
    """Proposes what is no genotype (2000)."""

    def next(self, history: History) -> Genotype | None:
        return Genotype(dict.fromkeys(super().next(history) or {}, "nowhere"))


class Trips(RandomSearch):
    """Can't stand a failed trial (2000)."""

    def next(self, history: History) -> Genotype | None:
        if history and history[-1].metric != history[-1].metric:
            raise ZeroDivisionError
        return super().next(history)


@pytest.fixture
def registered() -> Iterator[None]:
    """Their names are known while a test runs."""
    kinds: dict[str, type] = {"wanders": Wanders, "forgets": Forgets, "strays": Strays, "trips": Trips}
    for name, kind in kinds.items():
        kind.Options = RandomSearchOptions  # type: ignore[attr-defined]
        STRATEGIES.add(name)(kind)
    yield
    for name in kinds:
        del STRATEGIES._entries[name]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("wanders", same_seed_same_sequence),
        ("forgets", resuming_continues),
        ("strays", proposals_lie_in_the_space),
        ("trips", failed_trials_do_no_harm),
    ],
)
@pytest.mark.usefixtures("registered")
def test_the_contract_notices(name: str, check: Check) -> None:
    with pytest.raises((AssertionError, NasError, ZeroDivisionError, ValueError)):
        check(name, ())
