"""Data sets: preloaded data, records, parts, and several as one."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.feed import RecordFeed
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError, DefinitionError


class Digits(Batch):
    components = "images", "labels"


IMAGES, LABELS = np.arange(40.0).reshape(10, 2, 2), np.arange(10)


def write_records(place, count=10, **fields):
    schema = Schema([Field("x", (2,), "float32"), Field("name", (), "string"), *fields.values()])
    with RecordWriter(place, schema, shard_bytes=500) as writer:
        for number in range(count):
            row = {"x": [number, -number], "name": f"row {number}"}
            writer.append({**row, **dict.fromkeys(fields, number)})
    return place


def test_a_length_and_a_class_are_a_data_set_of_that_many():
    dataset = Dataset(10, Digits)
    assert len(dataset) == 10
    assert dataset.indices.tolist() == list(range(10))
    batches = list(dataset.gen_batch(4))
    assert [type(one) for one in batches] == [Digits] * 3
    assert [one.indices.tolist() for one in batches][-1] == [8, 9]


@pytest.mark.parametrize(
    "preloaded",
    [
        (IMAGES, LABELS),
        {"labels": LABELS, "images": IMAGES},
        {"labels": LABELS.tolist(), "images": list(IMAGES)},
        {"labels": torch.from_numpy(LABELS), "images": torch.from_numpy(IMAGES)},
    ],
)
def test_a_batch_has_its_items_of_what_is_preloaded(preloaded):
    dataset = Dataset(10, Digits, preloaded=preloaded)
    for batch in dataset.gen_batch(3, n_epochs=2, shuffle=True):
        np.testing.assert_array_equal(np.stack(list(batch.images)), IMAGES[batch.indices])
        np.testing.assert_array_equal(batch.labels, LABELS[batch.indices])


def test_a_data_frame_is_preloaded_by_its_columns():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "name": ["a", "b", "c"]}, index=[7, 8, 9])
    batch = Dataset(frame.index, preloaded=frame).create_batch([9, 7])
    assert batch.x.tolist() == [3.0, 1.0]
    assert list(batch.name) == ["c", "a"]


@pytest.mark.parametrize("given", [IMAGES.copy(), [one.copy() for one in IMAGES]])
def test_what_is_written_to_a_batch_does_not_reach_the_data_set(given):
    dataset = Dataset(10, preloaded={"x": given})
    batch = dataset.next_batch(4)
    for one in batch.x:
        one[:] = -1
    np.testing.assert_array_equal(np.stack(list(given)), IMAGES)


def test_two_batches_of_the_same_items_are_not_one():
    dataset = Dataset(10, Digits, preloaded=(IMAGES, LABELS))
    one, other = dataset.create_batch([1, 2]), dataset.create_batch([1, 2])
    one.labels[:] = 0
    assert other.labels.tolist() == [1, 2]


def test_a_class_without_components_has_the_nameless_whole():
    batch = Dataset(10, preloaded=LABELS * 2).create_batch([3, 3, 1])
    assert batch.data.tolist() == [6, 6, 2]
    assert Dataset(10).create_batch([1]).data is None


@pytest.mark.parametrize("batch_class", [int, "Digits", Digits([1]), None, np.ndarray])
def test_a_batch_class_that_is_none_is_refused(batch_class):
    with pytest.raises(DefinitionError, match="subclass of dovetail.Batch"):
        Dataset(10, batch_class)


@pytest.mark.parametrize(
    ("preloaded", "said"),
    [
        (IMAGES, "one ndarray, and Digits has the components images, labels"),
        ((IMAGES, LABELS, LABELS), "a tuple of 3, and Digits has 2"),
        ({"image": IMAGES}, "does not fit .* Did you mean 'images'"),
        ((IMAGES[:9], LABELS), r"\['images'\] holds 9 values, and the index 10"),
        ({"images": 3}, "must be an array"),
        ({"images": IMAGES, "labels": None}, "must be an array"),
    ],
)
def test_preloaded_data_that_does_not_fit_is_refused(preloaded, said):
    with pytest.raises(DataError, match=said):
        Dataset(10, Digits, preloaded=preloaded)


def test_a_tuple_needs_components():
    with pytest.raises(DataError, match="names no components"):
        Dataset(10, preloaded=(IMAGES, LABELS))


def test_batches_of_records_have_the_fields_as_components(tmp_path):
    dataset = Dataset.from_records(write_records(tmp_path / "r"))
    batch = dataset.create_batch([7, 2])
    assert batch.components == ("x", "name")
    assert batch.x.tolist() == [[7, -7], [2, -2]]
    assert batch.name == ["row 7", "row 2"]
    batch.x[:] = 0
    assert dataset.create_batch([7]).x.tolist() == [[7, -7]]


def test_only_the_fields_asked_for_are_gathered(tmp_path, monkeypatch):
    asked = []
    gather = Records.gather
    monkeypatch.setattr(
        Records, "gather", lambda self, at, fields: asked.append(fields) or gather(self, at, fields)
    )
    batch = Dataset.from_records(write_records(tmp_path / "r")).next_batch(4)
    assert asked == []
    assert (batch.name, batch.name) == ([f"row {n}" for n in range(4)],) * 2
    assert asked == [["name"]]


def test_a_part_of_records_keeps_the_rows_numbers_as_ids(tmp_path):
    part = Records(write_records(tmp_path / "r")).select([8, 3, 5])
    dataset = Dataset.from_records(part)
    assert dataset.indices.tolist() == [8, 3, 5]
    batch = dataset.create_batch([5, 8])
    assert batch.name == ["row 5", "row 8"]
    rows = part.rows([2, 0], seed=0, epoch=0)
    np.testing.assert_array_equal(batch.seeds, rows.seeds)


def test_batches_of_records_come_in_the_order_in_which_a_run_has_them(tmp_path):
    records = Records(write_records(tmp_path / "r", 23)).select(np.arange(3, 20))
    feed = RecordFeed(records, 4, seed=6, stop=34)
    batches = Dataset.from_records(records).gen_batch(4, shuffle=True, seed=6, n_epochs=2)
    for fed, batch in zip(feed, batches, strict=True):
        assert fed.features["name"] == batch.name


def test_a_class_may_name_some_of_the_fields_and_others_for_its_actions(tmp_path):
    class Named(Batch):
        components = "name", "length"

    batch = Dataset.from_records(write_records(tmp_path / "r"), Named).next_batch(2)
    assert batch.name == ["row 0", "row 1"]
    with pytest.raises(DataError, match="no data for its component 'length' yet"):
        _ = batch.length
    with pytest.raises(AttributeError, match="no 'x'"):
        _ = batch.x


def test_a_class_that_fits_no_field_is_refused(tmp_path):
    with pytest.raises(DataError, match="Digits does not fit the data: .* x, name"):
        Dataset.from_records(write_records(tmp_path / "r"), Digits)


def test_a_field_that_is_named_as_something_a_batch_has_is_refused(tmp_path):
    place = write_records(tmp_path / "r", seed=Field("seed", (), "int64"))
    with pytest.raises(DefinitionError, match="'seed' can't be a component"):
        Dataset.from_records(place)


def test_parts_share_the_data_by_id():
    dataset = Dataset([f"n{n}" for n in range(10)], Digits, preloaded=(IMAGES, LABELS))
    split = dataset.split([0.5, 0.3])
    assert (dataset.train, dataset.test, dataset.validation) == tuple(split)
    for part in split:
        for batch in part.subset_by_pos([1, 0]).gen_batch(1):
            assert batch.labels[0] == int(batch.indices[0][1:])
            assert batch.dataset is not dataset
    assert [len(fold.test) for fold in dataset.folds(5)] == [2] * 5
    assert len(dataset.cv_split(n_folds=2)) == 2
    assert dataset.cv_split(0.6).train.indices.tolist() == dataset.split(0.6).train.indices.tolist()
    assert dataset.create_subset(["n7", "n3"]).next_batch(2).labels.tolist() == [7, 3]


def test_an_items_seed_is_the_same_in_a_part_as_in_the_whole():
    dataset = Dataset([f"n{n}" for n in range(10)])
    train = dataset.split(0.5).train
    whole = dict(zip(dataset.indices, dataset.next_batch(10).seeds, strict=True))
    part = train.next_batch(5)
    assert [whole[id] for id in part.indices] == part.seeds.tolist()


def test_next_batches_follow_one_another_until_reset():
    dataset = Dataset(5, Digits, preloaded=(IMAGES[:5], LABELS[:5]))
    assert [dataset.next_batch(3).labels.tolist() for _ in range(2)] == [[0, 1, 2], [3, 4, 0]]
    dataset.reset()
    batch = dataset.next_batch(3)
    assert (batch.epoch, batch.iteration, batch.dataset) == (0, 0, dataset)
    with pytest.raises(DataError, match="reset"):
        dataset.next_batch(3, drop_last=True)


def test_a_data_set_travels_to_other_processes(tmp_path):
    arrays = Dataset([f"n{n}" for n in range(10)], Digits, preloaded=(IMAGES, LABELS))
    arrays.next_batch(2, shuffle=lambda ids: ids)  # where it stands stays behind
    arrays.split(0.5)
    came = pickle.loads(pickle.dumps(arrays))
    assert came.next_batch(3).labels.tolist() == [0, 1, 2]
    assert came.train.next_batch(9).indices.tolist() == arrays.train.next_batch(9).indices.tolist()
    records = Dataset.from_records(write_records(tmp_path / "r")).subset_by_pos([4, 2])
    assert pickle.loads(pickle.dumps(records)).next_batch(2).name == ["row 4", "row 2"]
    assert len(pickle.dumps(records)) < 3000
    index = pickle.loads(pickle.dumps(arrays.index))
    assert (index.next_batch(1).tolist(), index.get_pos("n3")) == (["n0"], 3)
