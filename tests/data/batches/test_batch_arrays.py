"""Ready actions on arrays of any kind, against closed forms."""

import numpy as np
import pytest
import scipy.stats
import torch

from dovetail.data.batches.array_changes import mixed, mixing, noisy, normalized, one_hot
from dovetail.data.batches.arrays import ArrayBatch
from dovetail.errors import DataError


class Labelled(ArrayBatch):
    components = "images", "labels"


VALUES = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)


def labelled(labels=(0, 2, 1, 1, 0)):
    return Labelled(np.arange(5), preloaded=(VALUES.copy(), np.asarray(labels)))


def test_each_item_is_brought_to_mean_0_and_deviation_1():
    made = labelled().normalize().images
    assert made.dtype == np.float32
    np.testing.assert_allclose(made.mean((1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(made.std((1, 2)), 1, rtol=1e-6)
    assert (normalized(np.full((2, 3), 7)) == 0).all()


@pytest.mark.parametrize("mean", [None, 3, [1, 2, 3]])
@pytest.mark.parametrize("std", [None, 2.0, [1, 2, 4]])
def test_given_means_and_deviations_are_of_all_or_of_each_channel(mean, std):
    if mean is None and std is None:
        return
    expected = (VALUES - np.array(mean or 0)) / np.array(std or 1)
    np.testing.assert_allclose(labelled().normalize(mean, std).images, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [([1, 2], None, "normalize's mean"), (None, [1, 2], "normalize's std"), (0, 0, "above 0")],
)
def test_means_and_deviations_that_do_not_fit_are_refused(mean, std, said):
    with pytest.raises(DataError, match=said):
        labelled().normalize(mean, std)


def test_noise_has_the_distribution_asked_for():
    zeros, seeds = np.zeros((200, 500)), np.arange(200)
    normal = noisy(zeros, seeds, 2.0).reshape(-1)
    uniform = noisy(zeros, seeds, 2.0, kind="uniform").reshape(-1)
    # The Kolmogorov-Smirnov distance of 100,000 values exceeds 0.0062 once in a thousand times.
    assert scipy.stats.kstest(normal / 2, "norm").statistic < 0.0062
    assert scipy.stats.kstest((uniform + 2) / 4, "uniform").statistic < 0.0062
    assert abs(np.corrcoef(normal[:-1], normal[1:])[0, 1]) < 0.015
    some = noisy(zeros, seeds, 2.0, p=0.3)
    assert 30 < (some != 0).all(1).sum() < 90
    assert ((some != 0).any(1) == (some != 0).all(1)).all()


def test_whole_numbers_stay_within_what_they_hold():
    made = noisy(np.array([[0, 255]] * 100, np.uint8), np.arange(100), 50)
    assert made.dtype == np.uint8
    assert made[:, 0].max() > 20
    assert made[:, 1].min() < 235
    assert (made[:, 0] < 250).all()
    assert (made[:, 1] > 5).all()


@pytest.mark.parametrize(("scale", "kind"), [(-1, "normal"), (1, "salt"), (float("nan"), "normal")])
def test_noise_that_makes_no_sense_is_refused(scale, kind):
    with pytest.raises(DataError, match="noise takes a scale"):
        labelled().noise(scale, kind=kind)


def test_items_and_labels_are_mixed_by_the_same_shares():
    batch = labelled().mixup(1.0, num_classes=3)
    partners, shares = mixing(labelled().seeds, 1.0, 1)
    assert sorted(partners) == list(range(5))
    assert (partners != np.arange(5)).all()
    weights = shares[:, None, None]
    expected = VALUES * weights + VALUES[partners] * (1 - weights)
    np.testing.assert_allclose(batch.images, expected, rtol=1e-5)
    hot = np.eye(3)[[0, 2, 1, 1, 0]]
    expected = hot * shares[:, None] + hot[partners] * (1 - shares[:, None])
    np.testing.assert_allclose(batch.labels, expected, rtol=1e-5)
    np.testing.assert_allclose(batch.labels.sum(1), 1, rtol=1e-6)


def test_shares_are_of_the_beta_distribution():
    _, shares = mixing(np.arange(5000), 0.4)
    assert scipy.stats.kstest(shares, "beta", (0.4, 0.4)).statistic < 0.028


def test_labels_that_are_shares_already_or_none_are_mixed_too():
    batch = labelled(np.eye(5)).mixup()
    np.testing.assert_allclose(np.asarray(batch.labels).sum(1), 1, rtol=1e-6)
    plain = ArrayBatch([1, 2], preloaded={"x": np.ones((2, 3))}).mixup()
    np.testing.assert_allclose(plain.x, 1, rtol=1e-6)
    assert mixed(np.ones((1, 2)), *mixing(np.array([3]), 0.5)).tolist() == [[1, 1]]


def test_mixing_what_can_not_be_mixed_is_refused():
    with pytest.raises(DataError, match=r"\('labels'\) needs num_classes"):
        labelled().mixup()
    with pytest.raises(DataError, match="from 0 to 1 for 2 classes; .* from 0 to 2"):
        labelled().mixup(num_classes=2)
    with pytest.raises(DataError, match="alpha is above 0"):
        labelled().mixup(0, num_classes=3)
    ragged = ArrayBatch([1, 2], preloaded={"x": [np.zeros(1), np.zeros(2)]})
    with pytest.raises(DataError, match="items of one shape; those of 'x'"):
        ragged.mixup()


def test_the_component_is_the_images_or_the_first_or_that_named():
    class Named(ArrayBatch):
        components = "a", "image"

    batch = Named([1], preloaded=(np.array([4.0]), np.array([[1.0, 3.0]])))
    assert batch.changed_components() == ("image",)
    assert batch.normalize().image.tolist() == [[-1, 1]]
    assert batch.normalize(2, component=["a", "image"]).a.tolist() == [2]
    assert ArrayBatch([1], preloaded=[[1.0, 3.0]]).normalize().data.tolist() == [[-1, 1]]
    tensors = ArrayBatch([1], preloaded={"x": torch.tensor([[1.0, 3.0]])})
    assert tensors.normalize().x.tolist() == [[-1, 1]]
    ragged = ArrayBatch([1, 2], preloaded={"x": [np.array([1.0, 3.0]), np.array([5.0])]})
    assert [one.tolist() for one in ragged.normalize().x] == [[-1, 1], [0]]


def test_classes_are_written_as_shares():
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), np.eye(3)[[2, 0]])
    np.testing.assert_array_equal(one_hot(np.array([[1]]), 2), [[0, 1]])
    with pytest.raises(DataError, match=r"got shape \[1, 2\]"):
        one_hot(np.array([[0, 1]]), 2)
