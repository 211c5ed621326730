import copy

import torch
from torch import nn

from nasdsl.supernet.elastic import Cut, Sliced


def test_slices_are_views_and_gathered_axes_are_copies():
    weight = torch.arange(24.0).reshape(4, 6)
    view = Cut((slice(0, 2), slice(1, 3)))
    assert view.is_view
    assert view.take(weight).data_ptr() == weight[0:2, 1:3].data_ptr()
    gathered = Cut((slice(0, 2), (0, 1, 4)))
    assert not gathered.is_view
    assert torch.equal(gathered.take(weight), weight[0:2][:, [0, 1, 4]])


def test_gradients_reach_the_stored_weight_where_it_was_cut():
    full, small = nn.Linear(6, 4), nn.Linear(3, 2, device="meta")
    run = Sliced(full, small, {"weight": ((0, 3), (0, 1, 4)), "bias": ((0, 3),)})
    run(torch.ones(5, 3)).sum().backward()
    assert full.weight.grad is not None and full.bias.grad is not None
    expected = torch.zeros(4, 6)
    for row in (0, 3):
        expected[row, [0, 1, 4]] = 5
    assert torch.equal(full.weight.grad, expected)
    assert full.bias.grad.tolist() == [5, 0, 0, 5]


def test_running_statistics_are_those_of_the_stored_norm_whether_sliced_or_gathered():
    for index in (slice(0, 3), (0, 2, 5)):
        full = nn.BatchNorm2d(6)
        plain = nn.BatchNorm2d(3)
        run = Sliced(full, nn.BatchNorm2d(3, device="meta"), dict.fromkeys(
            ("weight", "bias", "running_mean", "running_var"), (index,)
        ))  # fmt: skip
        x = torch.randn(4, 3, 5, 5) + 2
        for _ in range(2):
            assert torch.equal(run(x), plain(x))
        taken = list(range(3)) if isinstance(index, slice) else list(index)
        assert torch.equal(full.running_mean[taken], plain.running_mean)
        assert torch.equal(full.running_var[taken], plain.running_var)
        assert full.num_batches_tracked == 2
        rest = [i for i in range(6) if i not in taken]
        assert full.running_mean[rest].tolist() == [0, 0, 0]
        full.eval()
        plain.eval()
        assert torch.equal(run(x), plain(x))


def test_a_copy_runs_with_its_own_weights():
    full = nn.Linear(4, 4)
    run = Sliced(
        full, nn.Linear(2, 2, device="meta"), {"weight": (slice(0, 2), slice(0, 2)), "bias": (slice(0, 2),)}
    )
    twin = copy.deepcopy(run)
    with torch.no_grad():
        full.weight.zero_()
        full.bias.zero_()
    assert run(torch.ones(1, 2)).abs().sum() == 0
    assert twin(torch.ones(1, 2)).abs().sum() > 0
