"""Several data sets as one, by id or by position."""

import pickle

import numpy as np
import pytest

from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.datasets.joint import JointBatch, JointDataset
from dovetail.errors import DataError

IMAGES = Dataset(["a", "b", "c"], preloaded={"image": np.array([1, 2, 3])})
MASKS = Dataset(["c", "a", "b"], preloaded={"mask": np.array([30, 10, 20])})
LOADED = Dataset(["b", "c", "a"])


def test_items_of_one_id_belong_together():
    joint = JointDataset((IMAGES, MASKS, LOADED))
    batch = joint.create_batch(["c", "b"])
    assert batch.image.tolist() == [3, 2]
    assert batch.mask.tolist() == [30, 20]
    assert [one.indices.tolist() for one in batch.joined] == [["c", "b"]] * 3


def test_items_of_one_position_belong_together():
    batch = JointDataset((IMAGES, MASKS), align="position").create_batch(["c", "b"])
    assert batch.mask.tolist() == [20, 10]
    assert batch.joined[1].indices.tolist() == ["b", "a"]


def test_joined_batches_are_of_their_own_classes_and_places():
    class Masks(Batch):
        components = "mask"

    masks = Dataset(MASKS.index, Masks, preloaded=np.array([30, 10, 20]))
    batch = next(iter(JointDataset((IMAGES, masks)).gen_batch(2, shuffle=True, seed=3)))
    _, joined = batch.joined
    assert batch.joined[1] is joined
    assert (type(joined), joined.dataset) == (Masks, masks)
    np.testing.assert_array_equal(joined.seeds, batch.seeds)
    np.testing.assert_array_equal(joined.mask, batch.mask)
    assert batch[1:].joined[1].indices.tolist() == batch.indices[1:].tolist()
    assert pickle.loads(pickle.dumps(batch)).indices.tolist() == batch.indices.tolist()


def test_parts_stay_together():
    split = JointDataset((IMAGES, MASKS)).split(0.7)
    for part in split[:2]:
        for batch in part.gen_batch(1):
            assert batch.mask[0] == 10 * batch.image[0]


@pytest.mark.parametrize(
    ("datasets", "align", "said"),
    [
        ((IMAGES,), "id", "two or more"),
        ((IMAGES, 3), "id", "two or more"),
        ((IMAGES, IMAGES), "id", "0 and 1 both have a component 'image'"),
        ((IMAGES, Dataset(["a", "b", "d"])), "id", r"lacks 1 of the first's \('c'\) .*\('d'\)"),
        ((IMAGES, Dataset(4)), "position", r"one length; got \[3, 4\]"),
        ((IMAGES, MASKS), "order", '"id" or "position"'),
    ],
)
def test_data_sets_that_do_not_match_are_refused(datasets, align, said):
    with pytest.raises(DataError, match=said):
        JointDataset(datasets, align)


def test_nothing_is_joined_outside_a_joint_data_set():
    with pytest.raises(DataError, match="no JointDataset"):
        _ = JointBatch([1]).joined
