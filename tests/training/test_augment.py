"""Augmentation in batches: what it does to pixels, and that it follows from its generator alone."""

from __future__ import annotations

import pytest
import torch

from nasdsl.training.augment import augmented
from nasdsl.training.augment.crop import crop_and_flip, mirror
from nasdsl.training.augment.cutout import cutout
from nasdsl.training.augment.mixup import mixup
from nasdsl.training.augment.rand_augment import GROUPS, OPERATIONS, rand_augment
from nasdsl.training.objectives import Classification
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import generator
from nasdsl.training.split import Pixels, Split


def images(count: int = 4, size: int = 6, channels: int = 3) -> torch.Tensor:
    """uint8 [N, H, W, C], no two pixels of an image equal, none black."""
    values = torch.arange(1, size * size * channels + 1).view(size, size, channels)
    return values.repeat(count, 1, 1, 1).to(torch.uint8)


def split(count: int = 12) -> Split:
    view = Pixels((0.5, 0.25, 0.4), (0.2, 0.3, 0.1))
    return Split((images(count),), torch.arange(count) % 3, (view,), classes=3)


def test_a_crop_is_a_part_of_the_padded_image_and_every_place_comes_up() -> None:
    original = images(1)[0]
    padded = torch.zeros(10, 10, 3, dtype=torch.uint8)
    padded[2:8, 2:8] = original
    places = {
        (y, x, turned): (padded[y : y + 6, x : x + 6].flip(1) if turned else padded[y : y + 6, x : x + 6])
        for y in range(5)
        for x in range(5)
        for turned in (False, True)
    }
    made = crop_and_flip(images(600), 2, True, generator(0))
    seen = {key for image in made for key, place in places.items() if torch.equal(image, place)}
    assert len(seen) == len(places) == 50
    assert all(any(torch.equal(image, place) for place in places.values()) for image in made[:50])


def test_without_padding_half_of_the_images_are_turned() -> None:
    made = crop_and_flip(images(400), 0, True, generator(0))
    turned = sum(bool(torch.equal(image, images(1)[0].flip(1))) for image in made)
    assert 160 < turned < 240
    floats = images(400).permute(0, 3, 1, 2).to(torch.float32)
    turned = int((mirror(floats, generator(1)) != floats).flatten(1).any(1).sum())
    assert 160 < turned < 240


def test_cutout_takes_a_square_that_may_stick_out() -> None:
    areas = (cutout(torch.ones(500, 2, 8, 8), 4, generator(0)) == 0).sum((2, 3))
    assert (areas[:, 0] == areas[:, 1]).all()  # every channel at once
    assert int(areas.max()) == 16 and int(areas.min()) == 4  # a corner has two by two
    assert (cutout(torch.ones(3, 1, 8, 8), 40, generator(0)) == 0).all()


def test_pixels_are_normalised_once_in_both_layouts() -> None:
    batch = split().take(torch.tensor([1, 4]))
    (plain,) = batch.inputs
    mean, deviation = torch.tensor([0.5, 0.25, 0.4]), torch.tensor([0.2, 0.3, 0.1])
    wanted = ((images(2) / 255.0 - mean) / deviation).permute(0, 3, 1, 2)
    assert torch.allclose(plain, wanted, atol=1e-5)
    (last,) = split().channels_last().take(torch.tensor([1, 4])).inputs
    assert torch.equal(plain, last) and last.is_contiguous(memory_format=torch.channels_last)
    assert plain.is_contiguous()


def test_mixup_blends_targets_as_it_blends_inputs() -> None:
    batch = Split((torch.eye(6),), torch.arange(6), classes=6)
    mixed = mixup(batch, 1.0, generator(3))
    assert torch.allclose(mixed.inputs[0], mixed.first_targets)  # inputs are their own one-hot targets
    assert torch.allclose(mixed.first_targets.sum(1), torch.ones(6))
    outputs = torch.randn(6, 6, generator=generator(1))
    loss = Classification().loss(outputs, mixed.first_targets)
    by_hand = -(mixed.first_targets * outputs.log_softmax(1)).sum(1).mean()
    assert torch.allclose(loss, by_hand)
    tokens = Split((torch.arange(6),), torch.arange(6), classes=6)
    assert mixup(tokens, 1.0, generator(3)) is tokens


def test_every_operation_has_a_group_of_its_neighbours() -> None:
    names = [name for group, _ in sorted(GROUPS, key=lambda g: OPERATIONS.index(g[0][0])) for name in group]
    assert ("identity", *names) == OPERATIONS


def test_images_are_posterised_and_solarised() -> None:
    x = torch.rand(64, 3, 5, 5, generator=generator(0))
    made = rand_augment(x, 1, 30.0, generator(1))
    drawn = torch.randint(len(OPERATIONS), (64,), generator=generator(1))
    coarse = made[drawn == OPERATIONS.index("posterise")] * 255
    assert len(coarse) and torch.allclose(coarse, (coarse / 16).round() * 16, atol=1e-3)
    turned = drawn == OPERATIONS.index("solarise")
    assert turned.any() and torch.equal(made[turned], 1 - x[turned])
    same = drawn == 0
    assert same.any() and torch.equal(made[same], x[same])


@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_keeps_images_in_range_and_changes_most(channels: int) -> None:
    x = torch.rand(300, channels, 8, 12, generator=generator(0))
    made = rand_augment(x, 1, 15.0, generator(1))
    assert made.shape == x.shape and float(made.min()) >= 0 and float(made.max()) <= 1 + 1e-6
    changed = int((made != x).flatten(1).any(1).sum())
    # Of eleven operations one is the identity; in grey images `colour` is another.
    unchanged = 1 if channels == 3 else 2
    assert abs(changed / 300 - (1 - unchanged / len(OPERATIONS))) < 0.07


RECIPE = Recipe(crop=2, flip=True, cutout=2, mixup=0.4, rand_augment=1)


def test_the_same_step_gives_the_same_batch_and_another_step_another() -> None:
    indices = torch.tensor([3, 1, 7, 0])

    def batch(step: int) -> Split:
        return augmented(split().take(indices), RECIPE, generator(0, "augment", step))

    first, again, other = batch(5), batch(5), batch(6)
    assert torch.equal(first.inputs[0], again.inputs[0])
    assert torch.equal(first.first_targets, again.first_targets)
    assert not torch.equal(first.inputs[0], other.inputs[0])
    assert first.inputs[0].shape == (4, 3, 6, 6)


def test_nothing_asked_for_changes_nothing() -> None:
    batch = split().take(torch.tensor([0, 2]))
    assert augmented(batch, Recipe(), generator(0)) is batch


def test_a_part_of_a_split_shares_what_is_stored() -> None:
    whole = split(12)
    some = whole.part(torch.tensor([10, 4, 6]))
    assert some.stored[0].data_ptr() == whole.stored[0].data_ptr()
    assert some.first_targets.tolist() == [1, 1, 0]
    again = some.part(torch.tensor([2, 0]))
    assert again.rows is not None and again.rows.tolist() == [6, 10]
    assert [len(b) for b in some.batches(2)] == [2, 1]
    assert torch.equal(some.between(1, 3).inputs[0], whole.take(torch.tensor([4, 6])).inputs[0])
