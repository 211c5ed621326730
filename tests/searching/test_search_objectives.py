"""Constraints, fronts and expected costs, against enumeration and closed forms."""

from __future__ import annotations

import json
from pathlib import Path as FilePath

import pytest
import torch

from nasdsl import pipeline
from nasdsl.diagnostics import NasError
from nasdsl.report.pareto import plot
from nasdsl.searching.history import History, Trial
from nasdsl.searching.nsga2 import Nsga2
from nasdsl.searching.objectives import (
    ExpectedCost,
    Front,
    Metric,
    constrained,
    costs_among,
    front_of,
    hypervolume,
    metric_of,
)
from nasdsl.searching.search import make_strategy, search
from nasdsl.searching.settings import settings_for
from nasdsl.searching.strategy import Path
from nasdsl.space.latency import LatencyTable, rows_of_space, timed
from nasdsl.space.space import Space
from nasdsl.training.objectives import Classification, NextToken, Regression, Several, least_of

TEXT = """space s(width = 4) {
  input image: [1, 8, 8]
  op edge = none: zero | skip: identity | conv: conv(kernel = 3) -> batchnorm -> relu
  x = image -> conv(width, kernel = 3)
  a = edge(x)
  return edge(x) + edge(a) -> global_avgpool -> linear(10)
}
"""


def made_up_latencies(space: Space) -> LatencyTable:
    return LatencyTable({row.text: 100 * 3**i for i, row in enumerate(rows_of_space(space))}, 50, space.name)


@pytest.fixture
def space() -> Space:
    return pipeline.loads(TEXT)


def test_what_a_constraint_leaves_is_all_that_meets_it(space: Space) -> None:
    everything = {g.text: space.measure(g).flops for g in space.sample(0, 400)}
    limit = sorted(set(everything.values()))[1]
    narrow = constrained(space, [f"flops <= {limit}", "params < 1K"])
    drawn = {g.text for g in narrow.sample(0, 300)}
    assert drawn == {text for text, flops in everything.items() if flops <= limit}
    assert space.limits == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flops <= 10", "N501.*no architecture has flops <= 10"),
        ("flosp <= 10M", "N511.*did you mean"),
        ("accuracy >= 0.9", "N511"),
        ("flops", "N511.*write it as"),
        ("flops <= 2ms", "N511.*compares flops with no number"),
        ("latency <= 2", "N511.*compares latency with no time"),
        ("latency <= 2M", "N511.*latency <= 2ms"),
        ("latency <= 2ms", "N515.*without a table"),
    ],
)
def test_constraints_that_are_refused(space: Space, text: str, message: str) -> None:
    with pytest.raises(NasError, match="(?s)" + message.split(".*")[0]) as caught:
        constrained(space, [text])
    assert message.split(".*")[-1] in str(caught.value) + str(caught.value.diagnostics[0].help)


def test_objectives_that_are_refused() -> None:
    assert costs_among(("accuracy", "params", "memory")) == ("params", "memory")
    for wrong in (("params",), ("accuracy", "parms"), ("accuracy", "params", "params")):
        with pytest.raises(NasError, match="N510"):
            costs_among(wrong)


LISTED = """space s(width = 4) {
  input image: [1, 8, 8]
  x = image -> conv(width, kernel = 3)
  a = sum(choose 0..2 of { wide: conv(x, width, kernel = 3), small: conv(x, width, kernel = 1) })
  return choose { a: a, b: conv(a, width, kernel = 3) } -> global_avgpool -> linear(10)
}
"""


@pytest.mark.parametrize("text", [TEXT, LISTED])
@pytest.mark.parametrize("cost", ["params", "flops", "training_memory", "latency"])
def test_the_expected_cost_and_its_gradient_are_those_of_enumeration(text: str, cost: str) -> None:
    """With every choice, and every candidate of a sub-list, drawn independently from its weights."""
    space = pipeline.loads(text)
    space = timed(space, made_up_latencies(space))
    generator = torch.Generator().manual_seed(3)
    weights = {
        choice.name: torch.rand(len(choice.labels), generator=generator, dtype=torch.float64).requires_grad_()
        for choice in space.choices
    }
    expected, total = torch.zeros((), dtype=torch.float64), 0.0
    genotypes = {g.text: g for g in space.sample(0, 600)}.values()
    for genotype in genotypes:
        p = torch.ones((), dtype=torch.float64)
        for choice in space.choices:
            taken, w = genotype[choice.name], weights[choice.name]
            if choice.is_sublist:
                for label, inside in zip(choice.labels, w, strict=True):
                    p = p * (inside if label in taken else 1 - inside)
            else:
                w = w / w.sum()
                p = p * w[choice.labels.index(str(taken))]
        total += float(p.detach())
        expected = expected + p * getattr(space.measure(genotype), cost)
    assert len(genotypes) == space.count() and total == pytest.approx(1, abs=1e-12)
    largest = getattr(space.ranges(), cost).max
    listed = {choice.name for choice in space.choices if choice.is_sublist}
    mixture = {name: w if name in listed else w / w.sum() for name, w in weights.items()}
    found = ExpectedCost(space, [cost], weight=2.0)(Path({}, mixture=mixture))
    wanted = 2 * expected / largest
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), abs=1e-12)
    ours = torch.autograd.grad(found, list(weights.values()), allow_unused=True)
    theirs = torch.autograd.grad(wanted, list(weights.values()))
    for a, b in zip(ours, theirs, strict=True):
        assert a is not None and b.abs().sum() > 0
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_with_gates_it_is_the_cost_of_the_path_and_gates_get_gradients(space: Space) -> None:
    genotype = space.sample(1)
    gates = {}
    for name, label in genotype.items():
        choice = space.choice(name)
        gates[name] = torch.eye(len(choice.labels))[choice.labels.index(str(label))].requires_grad_()
    found = ExpectedCost(space, ["flops"], weight=1.0)(Path(genotype, gates=gates))
    assert float(found.detach()) == pytest.approx(space.measure(genotype).flops / space.ranges().flops.max)
    found.backward()
    assert any(gate.grad is not None and gate.grad.abs().sum() > 0 for gate in gates.values())


def test_a_peak_has_no_expectation(space: Space) -> None:
    with pytest.raises(NasError, match="N512"):
        ExpectedCost(space, ["memory"], weight=1.0)


def test_the_front_is_what_nothing_beats(space: Space, tmp_path: FilePath) -> None:
    genotypes = list({g.text: g for g in space.sample(0, 200)}.values())
    generator = torch.Generator().manual_seed(0)
    history = History([Trial(g, float(torch.rand((), generator=generator)), 1.0) for g in genotypes])
    front = front_of(space, history, ["params", "flops"], metric_of(Classification()))
    points = {t.genotype.text: (t.metric, space.measure(t.genotype)) for t in history}
    chosen = {t.genotype.text for t in front.trials}
    assert 0 < len(chosen) < len(points)
    for text, (metric, measures) in points.items():
        beaten = any(
            m >= metric and o.params <= measures.params and o.flops <= measures.flops
            and (m, o.params, o.flops) != (metric, measures.params, measures.flops)
            for m, o in points.values()
        )  # fmt: skip
        assert beaten != (text in chosen)
    assert 0 < front.hypervolume < 1
    (tmp_path / "pareto.json").write_text(json.dumps(front.as_json()))
    picture = plot(tmp_path / "pareto.json").read_text()
    assert "multiply-adds" in picture and "hypervolume" in picture
    assert len(front.as_csv().splitlines()) == len(points) + 1


def test_a_hypervolume_is_a_share_of_its_box_whatever_the_metric(space: Space, tmp_path: FilePath) -> None:
    """Accuracy has bounds; of a log-likelihood the worst trial is the corner, and its unit doesn't matter."""
    genotypes = sorted(
        {g.text: g for g in space.sample(0, 200)}.values(), key=lambda g: space.measure(g).params
    )
    small, large = genotypes[0], genotypes[-1]
    most = space.ranges().params.max
    share = space.measure(small).params / most

    def front(metric: Metric, *values: float) -> Front:
        history = History([Trial(g, v, 1.0) for g, v in zip((small, large), values, strict=True)])
        return front_of(space, history, ["params"], metric)

    bounded = front(metric_of(Classification()), 0.25, 0.5)
    assert bounded.box == {"accuracy": (0, 1), "params": (most, 0)}
    assert bounded.hypervolume == pytest.approx(0.25 * (1 - share), abs=1e-12)
    for scale in (1.0, 1000.0):
        likelihood = front(metric_of(NextToken()), -6.0 * scale, -4.0 * scale)
        assert likelihood.box["accuracy"] == (-6 * scale, -4 * scale)
        assert likelihood.hypervolume == 0  # each end of the front is at the worst in something
        assert front(metric_of(NextToken()), -4.0 * scale, -6.0 * scale).hypervolume == pytest.approx(
            1 - share
        )
    assert front(metric_of(Classification(), "synflow"), 60.0, 60.0).hypervolume == 0
    both = [("a", Classification()), ("b", Classification())]
    assert least_of(Several(*zip(*both, strict=True), (1.0, 2.0))) == 0
    assert least_of(Several(("a", "b"), (Classification(), Regression()), (1.0, 1.0))) is None
    written = json.loads(json.dumps(front(metric_of(NextToken()), -4.0, -6.0).as_json()))
    (tmp_path / "pareto.json").write_text(json.dumps(written))
    picture = plot(tmp_path / "pareto.json").read_text()
    assert "log-likelihood -6 to -4" in picture and "accuracy" not in picture


def test_a_search_knows_latencies_by_the_table(space: Space, tmp_path: FilePath) -> None:
    """The constraint holds for all that is tried, and the run folder keeps the table."""
    table = tmp_path / "table.json"
    table.write_text(made_up_latencies(space).as_text())
    known = timed(space, LatencyTable.read(table))
    latencies = sorted({known.measure(g).latency for g in known.sample(0, 300)})
    bound = latencies[len(latencies) // 2]
    settings = ["search.epochs=1", f"latency={table}", 'objectives=["accuracy","latency"]']

    def run(constraint: str) -> None:
        given = [*settings, f'constraints=["{constraint}"]']
        pipeline.search(space, "digits", "random", settings=given, folder=tmp_path / "run")

    run(f"latency <= {bound / 1000}us")
    found = json.loads((tmp_path / "run" / "pareto.json").read_text())
    assert found["objectives"] == ["accuracy", "latency"]
    tried = {point["latency"] for point in found["trials"]}
    assert len(tried) > 1 and tried <= {t for t in latencies if t <= bound}
    for point in found["front"]:
        assert known.measure(point["genotype"]).latency == point["latency"]
    assert (tmp_path / "run" / "space" / "latency.json").read_text() == table.read_text()
    table.write_text(made_up_latencies(space).scaled(1, whole=3).as_text())
    with pytest.raises(NasError, match=r"N930.*`latency\.json` has changed"):
        run(f"latency <= {bound / 1000}us")


def test_latency_wants_a_table(space: Space, tmp_path: FilePath) -> None:
    for settings, code in (
        (['objectives=["accuracy","latency"]'], "N515"),
        (['constraints=["latency <= 2ms"]'], "N515"),
        ([f"latency={tmp_path / 'none.json'}"], "N513"),
    ):
        with pytest.raises(NasError, match=code):
            pipeline.search(space, "digits", "random", settings=settings, folder=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_hypervolume_against_counting_cells() -> None:
    generator = torch.Generator().manual_seed(0)
    points = [tuple(p) for p in (torch.randint(0, 6, (7, 3), generator=generator)).tolist()]
    cells = sum(
        any(p[0] <= x and p[1] <= y and p[2] <= z for p in points)
        for x in range(6) for y in range(6) for z in range(6)
    )  # fmt: skip
    assert hypervolume(points, (6, 6, 6)) == cells


def test_nsga2_keeps_the_costs_small_that_the_search_is_for(space: Space, tmp_path: FilePath) -> None:
    settings = settings_for(
        "nsga2",
        evaluator="params",
        assignments=["evaluations=12", "options.population=4"],
        objectives=("accuracy", "flops", "memory"),
    )
    strategy = make_strategy(space, settings)
    assert isinstance(strategy, Nsga2)
    genotype = space.sample(0)
    measured = space.measure(genotype)
    point = strategy.point(Trial(genotype, 0.5, 1.0))
    assert point[1:] == (measured.flops, measured.memory)
    search(space, settings, folder=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "pareto.json").read_text())["objectives"] == [
        "accuracy",
        "flops",
        "memory",
    ]
