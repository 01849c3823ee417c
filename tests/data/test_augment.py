"""Augmentation by example: the same for arrays and tensors, and for a batch of any size."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dovetail
from dovetail.data.augment import integers, random_crop, random_flip, uniform
from dovetail.data.example_random import example_seeds
from dovetail.errors import DataError

SEEDS = example_seeds(0, 0, np.arange(400))


def images(count, shape):
    return np.arange(1, count * np.prod(shape) + 1).reshape(count, *shape).astype(np.int32)


SHAPES = st.sampled_from([(4, 5), (4, 5, 1), (3, 6, 3)])


@given(st.integers(1, 6), SHAPES, st.sampled_from([("horizontal", 2), ("vertical", 1)]))
def test_flips_mirror_some_images_and_leave_the_others(count, shape, axis):
    given_, kept = images(count, shape), images(count, shape)
    flipped = random_flip(given_, SEEDS[:count], axis=axis[0])
    for at in range(count):
        same = np.array_equal(flipped[at], kept[at])
        assert same or np.array_equal(flipped[at], np.flip(kept[at], axis[1] - 1))
    np.testing.assert_array_equal(given_, kept)
    tensors = random_flip(torch.from_numpy(given_), torch.from_numpy(SEEDS[:count]), axis=axis[0])
    np.testing.assert_array_equal(tensors.numpy(), flipped)


@given(st.integers(0, 6), SHAPES, st.integers(0, 3), st.integers(1, 6), st.integers(1, 6))
def test_crops_are_windows_of_the_image_with_zeros_around_it(count, shape, pad, height, width):
    if height > shape[0] + 2 * pad or width > shape[1] + 2 * pad:
        return
    given_, seeds = images(count, shape), SEEDS[:count]
    cut = random_crop(given_, seeds, (height, width), padding=pad)
    assert (cut.shape, cut.dtype) == ((count, height, width, *shape[2:]), given_.dtype)
    around = [(0, 0), (pad, pad), (pad, pad), *[(0, 0)] * (len(shape) - 2)]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(given_, around), (height, width), (1, 2)
    )
    for at in range(count):
        every = np.moveaxis(windows[at], 2, -1) if len(shape) == 3 else windows[at]
        every = every.reshape(-1, *cut.shape[1:])
        assert (every == cut[at]).reshape(len(every), -1).all(1).any()
    tensors = random_crop(
        torch.from_numpy(given_), torch.from_numpy(seeds.copy()), (height, width), padding=pad
    )
    np.testing.assert_array_equal(tensors.numpy(), cut)


def test_what_an_image_gets_does_not_depend_on_its_batch():
    every = images(400, (8, 8, 3))
    flipped, cut = random_flip(every, SEEDS), random_crop(every, SEEDS, (8, 8), padding=2)
    some = np.array([7, 3, 399, 20])
    np.testing.assert_array_equal(random_flip(every[some], SEEDS[some]), flipped[some])
    np.testing.assert_array_equal(
        random_crop(every[some], SEEDS[some], (8, 8), padding=2), cut[some]
    )


def choices(**options):
    """Which of 400 images are mirrored."""
    axis = 2 if options.get("axis") != "vertical" else 1
    square = images(400, (2, 2))
    return (random_flip(square, SEEDS, **options) == np.flip(square, axis)).all((1, 2))


def test_choices_come_as_often_as_asked_and_are_unrelated():
    # The deviation of a share of 400 is at most 0.025, that of a correlation 0.05.
    assert abs(choices().mean() - 0.5) < 0.1
    assert abs(choices(probability=0.1).mean() - 0.1) < 0.06
    assert not choices(probability=0).any()
    assert choices(probability=1).all()
    for other in (choices(axis="vertical"), choices(draw=1)):
        assert abs(np.corrcoef(choices(), other)[0, 1]) < 0.2


def test_every_place_of_a_window_comes_as_often():
    numbered = np.broadcast_to(np.arange(16).reshape(4, 4), (400, 4, 4))
    corners = random_crop(numbered, SEEDS, (3, 2))[:, 0, 0]
    places, counts = np.unique(corners, return_counts=True)
    assert places.tolist() == [0, 1, 2, 4, 5, 6]
    # Chi-squared with 5 degrees of freedom, within four of its standard deviations.
    assert ((counts - 400 / 6) ** 2 / (400 / 6)).sum() < 5 + 4 * 10**0.5


def test_arguments_that_do_not_fit_are_refused():
    batch = images(3, (4, 4))
    with pytest.raises(DataError, match=r"can't cut \[5, 4\] out of images of \[4, 4\]"):
        random_crop(batch, SEEDS[:3], (5, 4))
    with pytest.raises(DataError, match="3 seeds|4 seeds"):
        random_flip(batch, SEEDS[:4])
    with pytest.raises(DataError, match="n seeds"):
        random_flip(batch[0], SEEDS[:4])
    with pytest.raises(DataError, match="one kind, both arrays or both tensors"):
        random_flip(torch.from_numpy(batch), SEEDS[:3])
    with pytest.raises(DataError, match="'horizontal' or 'vertical'; got 'left'"):
        random_flip(batch, SEEDS[:3], axis="left")


def test_the_functions_are_public():
    assert dovetail.augment.random_crop is random_crop
    assert dovetail.augment.__all__ == ["integers", "random_crop", "random_flip", "uniform"]


def test_the_functions_can_be_traced_whole():
    def augmented(batch, seeds):
        batch = random_crop(random_flip(batch, seeds), seeds, (8, 8), padding=1)
        return batch + uniform(seeds, -1, 1, (1, 1, 1)) * integers(seeds, 0, 9)[:, None, None, None]

    batch = torch.from_numpy(images(6, (8, 8, 3))).float()
    seeds = torch.from_numpy(SEEDS[:6].copy())
    traced = torch.compile(augmented, backend="eager", fullgraph=True)
    assert torch.equal(traced(batch, seeds), augmented(batch, seeds))


@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_large_images_are_mirrored_as_small_ones_are(axis):
    images = np.random.default_rng(0).integers(0, 256, (6, 90, 80, 3), np.uint8)
    seeds = np.arange(6)
    flipped = random_flip(images, seeds, axis=axis)
    turned = images[:, :, ::-1] if axis == "horizontal" else images[:, ::-1]
    small = random_flip(images[:, :2, :2].copy(), seeds, axis=axis)
    small_turned = (
        images[:, :2, :2][:, :, ::-1] if axis == "horizontal" else images[:, :2, :2][:, ::-1]
    )
    chosen = [bool((one == other).all()) for one, other in zip(small, small_turned, strict=True)]
    assert 0 < sum(chosen) < 6
    for at, one in enumerate(chosen):
        np.testing.assert_array_equal(flipped[at], turned[at] if one else images[at])
