import pytest
import torch
from torch import Tensor

from nasdsl.supernet.gates import GATINGS, OnesForOthers, inner, multiply, selected_only


def one_hot(soft: Tensor, k: int) -> Tensor:
    return torch.zeros_like(soft).index_fill(0, torch.tensor([k]), 1.0) + (soft - soft.detach())


def as_published(x: Tensor, gate: Tensor, k: int) -> Tensor:
    """AutoDL-Projects, NAS-Bench-201 code: the other weights are added as scalars, 0 in the forward pass."""
    return x * gate[k] + sum(gate[j] for j in range(len(gate)) if j != k)


@pytest.mark.parametrize(
    ("gating", "reference"),
    [(selected_only, multiply), (OnesForOthers(), as_published), (multiply, multiply)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_gating_has_the_value_and_gradients_of_its_formula(gating, reference, layout):
    torch.manual_seed(0)
    results = []
    for function in (gating, reference):
        torch.manual_seed(1)
        x = torch.randn(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
        soft = torch.softmax(torch.randn(4, dtype=torch.float64), 0).requires_grad_()
        output = function(x, one_hot(soft, 2), 2)
        (output**2 * torch.arange(5)).sum().backward()
        assert x.grad is not None and soft.grad is not None
        results.append((output.detach(), x.grad, soft.grad))
    for found, expected in zip(*results, strict=True):
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_the_value_is_exact_and_the_others_get_nothing_where_selected_only():
    x = torch.randn(3, 2, requires_grad=True)
    gate = torch.tensor([0.2, 0.3, 0.5], requires_grad=True)
    output = selected_only(x, one_hot(gate, 1), 1)
    assert torch.equal(output, x)
    output.sum().backward()
    assert gate.grad is not None
    assert gate.grad[0] == gate.grad[2] == 0
    assert torch.allclose(gate.grad[1], x.detach().sum())


def test_a_gate_in_float64_does_not_change_the_precision_of_what_it_multiplies():
    gate = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    for gating in GATINGS.values():
        x = torch.ones(2, 2, requires_grad=True)
        output = gating()(x, gate, 0)
        assert output.dtype == torch.float32
        output.sum().backward()
        assert x.grad is not None and x.grad.dtype == torch.float32


def test_inner_products_agree_in_every_layout():
    a = torch.randn(2, 3, 4, 5)
    b = torch.randn(2, 3, 4, 5)
    expected = (a * b).sum()
    layouts = [
        (a, b),
        (a.to(memory_format=torch.channels_last), b.to(memory_format=torch.channels_last)),
        (a.to(memory_format=torch.channels_last), b),
        (a.transpose(0, 1).contiguous().transpose(0, 1), b),
    ]
    for left, right in layouts:
        assert torch.allclose(inner(left, right), expected, atol=1e-5)
    one = torch.ones(()).expand(2, 3)
    assert inner(one, one) == 6


def test_a_sum_that_edges_share_is_taken_anew_when_the_gradient_is_another():
    gating = OnesForOthers()
    gate = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for _ in range(3):  # gradients of equal shape, made and freed again and again
        x, other = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
        first, second, third = (gate.clone().requires_grad_() for _ in range(3))
        node = gating(x, first, 0) + gating(other, second, 0)
        gating(node**2, third, 0).pow(2).sum().backward()
        delta = 4 * (x + other).detach() ** 3
        for found in (first, second):
            assert torch.allclose(found.grad[1], delta.sum())
        assert torch.allclose(third.grad[1], (2 * (x + other).detach() ** 2).sum())
