"""Confidence intervals and confusion, against their formulas."""

import math

import numpy as np
import pytest
import torch

from nasdsl.training.assess import assess, bootstrapped, confusions, wilson
from nasdsl.training.objectives import Classification, Regression
from nasdsl.training.split import Split


@pytest.mark.parametrize(("right", "of"), [(0, 10), (7, 10), (10, 10), (9_712, 10_000)])
def test_wilsons_interval_is_his_formula(right: int, of: int):
    z, p = 1.959963984540054, right / of
    centre = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    found = wilson(right, of)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_the_bootstrap_agrees_with_the_central_limit_and_is_repeatable():
    scores = np.random.default_rng(0).normal(3.0, 2.0, 2_000)
    found = bootstrapped(scores)
    half = 1.96 * scores.std(ddof=1) / math.sqrt(len(scores))
    # 2 000 resamples put an end of the interval within a few per cent of the half width.
    assert found.low == pytest.approx(scores.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(scores.mean() + half, abs=0.1 * half)
    assert bootstrapped(scores) == found


def test_one_example_says_nothing():
    found = bootstrapped(np.array([1.0]))
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_confusion_counts_rows_by_class():
    targets, taken = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([0, 1, 1, 0, 2, 2])
    assert confusions(targets, taken, 3) == ((1, 1, 0), (0, 1, 0), (1, 0, 2))


def test_an_assessment_is_the_mean_over_examples_whatever_the_batches():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(50) % 3
    model = torch.nn.Linear(3, 3)
    small = assess(model, Split((x,), targets, classes=3), Classification(), batch=7)
    large = assess(model, Split((x,), targets, classes=3), Classification(), batch=50)
    assert small.metric == large.metric == float((model(x).argmax(1) == targets).double().mean())
    assert small.loss == pytest.approx(large.loss, abs=1e-6)
    assert small.confusion == large.confusion
    assert model.training


def test_what_is_no_classification_has_a_bootstrap_and_no_confusion():
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(1))
    found = assess(lambda x: 0.5 * x, Split((x,), x), Regression())
    expected = 1 - (0.5 * x).square().mean()
    assert found.metric == pytest.approx(float(expected), abs=1e-6)
    assert found.interval.method == "bootstrap"
    assert found.interval.low < found.metric < found.interval.high
    assert found.confusion == ()
