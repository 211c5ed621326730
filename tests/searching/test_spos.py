"""Uniform single paths, recalibrated batch norms, and the evolution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasdsl.pipeline import loads
from nasdsl.searching import search, settings_for
from nasdsl.searching.contract import small_space, small_task
from nasdsl.searching.history import History, Trial
from nasdsl.searching.scoring import Scorer, batch_norm_policy
from nasdsl.searching.search import sharing_strategy
from nasdsl.searching.spos import Spos, SposOptions
from nasdsl.searching.strategy import Ranking
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet, recalibrate
from nasdsl.supernet.batchnorm import norms as norms_of
from nasdsl.training.train import Evaluation
from tests.searching import fixture
from tests.searching.small import shipped


def strategy(space: Space | None = None, seed: int = 0, **options: Any) -> Spos:
    return Spos(space or fixture.space(), SposOptions(**options), seed)


def evolve(made: Spos, score: Any) -> History:
    history = History()
    while (genotype := made.propose(history)) is not None:
        assert not history.has(genotype) and made.space.permits(genotype)
        history.add(Trial(genotype, score(genotype), 1.0))
    return history


# --- training ---------------------------------------------------------------------------------------


def test_a_step_uses_one_candidate_of_each_choice_and_all_are_as_likely() -> None:
    space = shipped("nasbench201", width=2, cells=1)
    supernet = Supernet(space)
    made = strategy(space)
    images = torch.randn(2, 3, 32, 32)
    owners = dict(supernet.named_parameters())
    for _ in range(5):
        (path,) = made.paths()
        supernet.zero_grad()
        supernet(images, genotype=path.genotype).sum().backward()  # type: ignore[union-attr]
        for name, parameter in owners.items():
            for choice, taken in path.genotype.items():
                mark = f".{choice.removeprefix('normal.')}.nor_conv".replace("#", "_")
                if mark in name and parameter.grad is not None:
                    assert f".{taken}." in name
    counts = torch.zeros(6, 5)
    draws = 2500
    for _ in range(draws):
        (path,) = made.paths()
        for i, choice in enumerate(space.choices):
            counts[i, choice.labels.index(str(path.genotype[choice.name]))] += 1
    chi_squared = float(((counts - draws / 5) ** 2 / (draws / 5)).sum())
    assert chi_squared < 51.2  # 24 degrees of freedom, one in a thousand


# --- recalibration ----------------------------------------------------------------------------------


def norms(supernet: Supernet) -> dict[str, Tensor]:
    return {
        f"{name}.{what}": getattr(module, what).clone()
        for name, module in supernet.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for what in ("running_mean", "running_var")
    }


def test_recalibrated_statistics_are_those_of_the_data_whatever_was_evaluated_before() -> None:
    space = loads("""
        space s() {
          input image: [2, 6, 6]
          op edge = conv3: conv(3, kernel = 3) -> batchnorm | conv1: conv(3, kernel = 1) -> batchnorm
          return image -> edge -> relu -> conv(4, kernel = 1) -> batchnorm
        }""")
    (choice,) = space.choices
    a, b = ({choice.name: label} for label in choice.labels)
    random = torch.Generator().manual_seed(0)
    batches = [(torch.randn(5, 2, 6, 6, dtype=torch.float64, generator=random),) for _ in range(4)]
    supernet = Supernet(space, dtype=torch.float64)
    recalibrate(supernet, a, batches)
    first = norms(supernet)
    # Others in between, and training steps with momentum, leave no trace in it.
    for _ in range(3):
        supernet(batches[0][0] * 10, genotype=b)
        supernet(batches[1][0] * 10, genotype=a)
    recalibrate(supernet, b, batches)
    middle = norms(supernet)
    recalibrate(supernet, a, batches)
    last = norms(supernet)
    used = {id(m) for module in supernet.active(a) for m in module.modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(used) == 2
    for name, value in last.items():
        module = supernet.get_submodule(name.rpartition(".")[0])
        expected = first if id(module) in used else middle
        assert torch.equal(value, expected[name])
    # Computed directly: the mean over the batches of mean and (unbiased) variance of what goes in.
    seen: dict[int, list[Tensor]] = {}
    handles = [
        m.register_forward_pre_hook(lambda m, given: seen.setdefault(id(m), []).append(given[0].detach()))
        for m in supernet.modules()
        if id(m) in used
    ]
    recalibrate(supernet, a, batches)
    for handle in handles:
        handle.remove()
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d) and id(module) in used:
            given = seen[id(module)]
            mean = torch.stack([x.mean((0, 2, 3)) for x in given]).mean(0)
            variance = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in given]).mean(0)
            assert module.running_mean is not None and module.running_var is not None
            torch.testing.assert_close(module.running_mean, mean, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(module.running_var, variance, rtol=1e-12, atol=1e-12)


def test_each_genotype_is_scored_with_statistics_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [
        "search.epochs=1", "search.batch=256", "search.lr=0.05", "options.population=4", "options.generations=2",
        "options.crossovers=2", "options.mutations=1", "options.parents=2", "options.calibration=2",
    ]  # fmt: skip
    calls: list[tuple[str, int]] = []
    kept: list[Scorer] = []
    calibrate, evaluate = Scorer.calibrate, Scorer.evaluate

    def watched(self: Scorer, genotype: Any) -> None:
        calls.append((genotype.text, self.calibration_batches))
        kept[:] = [self]
        calibrate(self, genotype)

    def scored(self: Scorer, path: Any, split: Any) -> Evaluation:
        assert calls[-1][0] == path.genotype.text and not self.supernet.training
        return evaluate(self, path, split)

    monkeypatch.setattr(Scorer, "calibrate", watched)
    monkeypatch.setattr(Scorer, "evaluate", scored)
    result = search(
        shipped("quickstart"), settings_for("spos", preset="demo", assignments=few, task="digits")
    )
    assert len(result.history) == 8
    assert [text for text, _ in calls] == [t.genotype.text for t in result.history] + [result.genotype.text]
    assert {batches for _, batches in calls} == {2}
    # Whatever was scored in between: the winner's score comes again, bit for bit.
    (searching,) = kept
    for genotype in (result.history[0].genotype, result.genotype):
        found = searching.score(genotype, 0)
    assert (found.metric, found.loss) == (result.best.metric, result.best.loss)


# --- evolution --------------------------------------------------------------------------------------

GRID = """
space grid() {
  input x: [1]
  op edge(x: [D]) = a: 1 * x | b: 2 * x | c: 3 * x | d: 4 * x
  return x -> edge -> edge -> edge -> edge -> edge -> edge -> edge -> edge
}
"""


def separable(genotype: Any) -> float:
    return sum("abcd".index(v) * (i + 1) for i, v in enumerate(genotype.values())) / 100


def test_evolution_finds_the_optimum_where_choices_do_not_depend_on_each_other() -> None:
    space = loads(GRID)
    assert space.count() == 4**8
    for seed in range(2):
        history = evolve(strategy(space, seed, population=25, crossovers=12, mutations=12), separable)
        assert len(history) == 25 * 20
        assert list(history.best().genotype.values()) == ["d"] * 8
    # Of as many random ones the best is worse.
    assert max(separable(g) for g in space.sample(0, 500)) < separable(history.best().genotype)


def test_children_come_from_the_best_so_far() -> None:
    space = loads(GRID)
    made = strategy(space, population=6, crossovers=3, mutations=3, parents=2, generations=3)
    history = History([Trial(space.sample(seed), separable(space.sample(seed)), 1.0) for seed in range(6)])
    parents = [t.genotype for t in history.ranked()[:2]]
    for place in range(6):
        child = made.propose(history)
        assert child is not None
        if place < 3:
            assert all(child[name] in (parents[0][name], parents[1][name]) for name in child)
        else:
            assert min(sum(child[n] != p[n] for n in child) for p in parents) <= 4
        history.add(Trial(child, 0.0, 1.0))


def test_what_breaks_a_bound_is_never_scored() -> None:
    space = shipped("mobilenet_small", width=4)
    sample = sorted(space.measure(g).flops for g in space.sample(0, 20))
    bound = float(sample[5])
    options = {"population": 4, "generations": 3, "crossovers": 2, "mutations": 2, "parents": 2}
    found = evolve(strategy(space, max_flops=bound, **options), lambda g: space.measure(g).flops / 1e9)
    assert len(found) == 12
    assert all(space.measure(t.genotype).flops <= bound for t in found)
    small = evolve(strategy(space, max_params=5000.0, **options), lambda g: 0.5)
    assert all(space.measure(t.genotype).params <= 5000 for t in small)
    required = loads(fixture.SOURCE.replace("  n1 =", '  require count("zero") <= 1\n  n1 ='))
    history = evolve(strategy(required, population=5, generations=4), lambda g: 0.5)
    assert len(history) == 20 == required.count()


def test_it_ends_where_the_space_does_and_says_how_it_wants_to_be_scored() -> None:
    assert len(evolve(strategy(), lambda g: 0.5)) == 27
    made = strategy()
    assert isinstance(made, Ranking) and (made.ranking_batches, made.calibration_batches) == (0, 20)


@pytest.mark.parametrize(
    ("policy", "strategy", "expected"),
    [
        ("published", "spos", ("running", 20)),
        ("published", "gdas", ("batch", 0)),
        ("batch", "spos", ("batch", 0)),
        ("running", "gdas", ("running", 0)),
        ("recalibrate", "gdas", ("running", 20)),
    ],
)
def test_whose_statistics_is_configured(policy: str, strategy: str, expected: tuple[str, int]) -> None:
    settings = settings_for(
        strategy, assignments=[f"batch_norm={policy}", "search.epochs=1", "search.batch=9"]
    )
    task, space = small_task(), small_space("candidates")
    assert batch_norm_policy(settings, sharing_strategy(space, settings)) == expected
    found = search(space, settings, task=task)
    assert found.supernet is not None and found.supernet.batch_norm == expected[0]
    moved = any(
        float(n.running_mean.abs().max()) > 0 for n in norms_of(found.supernet) if n.running_mean is not None
    )
    assert moved == (expected[0] == "running")
