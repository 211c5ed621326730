"""The fixture is what it says: closed form, supernet, enumeration and finite differences agree."""

from __future__ import annotations

import pytest
import torch

from nasdsl.searching.strategy import Path
from tests.searching import fixture


@pytest.mark.parametrize("kind", sorted(fixture.LOSSES))
def test_the_supernet_gives_the_closed_form(kind: str) -> None:
    table = fixture.losses(kind)
    assert fixture.space().count() == 27 == len({*fixture.architectures()})
    for z in fixture.architectures():
        genotype = fixture.genotype(z)
        assert fixture.space().genotype(genotype) == genotype
        assert fixture.positions(genotype) == z
        assert float(fixture.run(Path(genotype), kind)) == pytest.approx(float(table[z]), abs=1e-14)


@pytest.mark.parametrize("kind", sorted(fixture.LOSSES))
def test_the_exact_gradient_agrees_with_the_score_function_and_with_finite_differences(kind: str) -> None:
    table, logits = fixture.losses(kind), fixture.logits(1)
    exact = fixture.expected_gradient(logits, table)
    assert float(fixture.joint(logits).sum()) == pytest.approx(1)
    for baseline in (0.0, -3.0, 17.0):
        mean, _ = fixture.moments(logits, fixture.reinforce(logits, table, baseline))
        torch.testing.assert_close(mean, exact, rtol=0, atol=1e-12)
    step = 1e-5
    for i in range(3):
        for j in range(3):
            shift = torch.zeros(3, 3, dtype=torch.float64)
            shift[i, j] = step
            up = float((fixture.joint(logits + shift) * table).sum())
            down = float((fixture.joint(logits - shift) * table).sum())
            assert (up - down) / (2 * step) == pytest.approx(float(exact[i, j]), abs=1e-9)


def test_shuffling_keeps_the_losses_and_forgets_whose_they_are() -> None:
    table = fixture.losses("squared")
    other = fixture.shuffled(table, 3)
    assert torch.equal(other.flatten().sort().values, table.flatten().sort().values)
    assert not torch.equal(other, table)
