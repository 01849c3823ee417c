"""Batches for a run: which examples, as which tensors, and from which position."""

import threading

import numpy as np
import pytest
import torch

from dovetail.data.feed import RecordFeed, as_tensors
from dovetail.data.order import batch_indices
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

SCHEMA = Schema([Field("x", (2,), "float32"), Field("label", (1,), "int64")])


@pytest.fixture
def records(tmp_path):
    with RecordWriter(tmp_path / "records", SCHEMA, shard_bytes=100) as writer:
        for number in range(10):
            writer.append(([number, -number], number))
    return Records(tmp_path / "records")


def labels(feed):
    return [fed.labels.tolist() for fed in feed]


def test_labels_and_features_are_parted_by_name(records):
    fed = next(iter(RecordFeed(records, 3, shuffle=False)))
    assert torch.equal(fed.labels, torch.tensor([0, 1, 2]))
    assert torch.equal(fed.features["x"], torch.tensor([[0.0, 0.0], [1, -1], [2, -2]]))
    assert (fed.position_after, fed.count) == (3, 3)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_examples_come_in_the_order_of_seed_and_position(records, prefetch):
    feed = RecordFeed(records, 4, seed=5, stop=25, prefetch=prefetch)
    found = labels(feed)
    assert [len(batch) for batch in found] == [4, 4, 4, 4, 4, 4, 1]
    assert [label for batch in found for label in batch] == batch_indices(5, 10, 0, 25).tolist()
    assert labels(feed) == found


def test_a_feed_from_a_position_goes_on_where_another_stopped(records):
    whole = labels(RecordFeed(records, 4, seed=5, stop=24))
    assert labels(RecordFeed(records, 4, seed=5, start=12, stop=24)) == whole[3:]


def test_a_long_feed_is_the_same_stream(records):
    count = 40_000
    feed = RecordFeed(records, 1000, stop=count, prefetch=0)
    found = np.concatenate([fed.labels.numpy() for fed in feed])
    np.testing.assert_array_equal(found, batch_indices(0, 10, 0, count))


def test_input_fn_maps_rows_to_features_and_labels(records):
    def input_fn(rows):
        images = np.stack([row["x"] for row in rows])
        return {"x": images / 2, "n": rows["label"]}, rows["label"].reshape(-1)

    fed = next(iter(RecordFeed(records, 3, shuffle=False, input_fn=input_fn)))
    assert torch.equal(fed.features["x"], torch.tensor([[0.0, 0.0], [0.5, -0.5], [1, -1]]))
    assert fed.labels.tolist() == [0, 1, 2]


def test_input_fn_may_leave_labels_out(records):
    fed = next(iter(RecordFeed(records, 3, input_fn=lambda rows: rows["x"])))
    assert fed.features.shape == (3, 2)
    assert fed.labels is None


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_in_input_fn_names_line_and_records(records, prefetch):
    def input_fn(rows):
        return rows["x"] / rows["x"].missing

    feed = RecordFeed(records, 2, shuffle=False, input_fn=input_fn, prefetch=prefetch)
    with pytest.raises(DataError, match=r"AttributeError.*test_feed.py, line \d+.*shard-00000.arr"):
        next(iter(feed))


def test_a_misspelt_field_in_input_fn_is_said_plainly(records):
    feed = RecordFeed(records, 2, input_fn=lambda rows: rows["labell"])
    with pytest.raises(DataError, match="Did you mean 'label'"):
        next(iter(feed))


@pytest.mark.parametrize("made", [None, "text", (1, 2, 3)])
def test_what_input_fn_may_not_return_is_refused(records, made):
    with pytest.raises(DataError, match="must return"):
        next(iter(RecordFeed(records, 2, input_fn=lambda rows: made)))


def test_no_examples_is_an_error_that_says_so(records):
    with pytest.raises(DataError, match="holds no examples"):
        RecordFeed(records.select([]), 2)
    with pytest.raises(DataError, match="batch_size"):
        RecordFeed(records, 0)


def test_a_feed_left_early_leaves_no_thread(records):
    before = threading.active_count()
    batches = iter(RecordFeed(records, 2))
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_ragged_fields_and_text_come_as_lists(tmp_path):
    schema = Schema([Field("tokens", (None,), "int64"), Field("text", (), "string")])
    with RecordWriter(tmp_path / "r", schema) as writer:
        writer.append(([1, 2], "a"))
        writer.append(([3], "b"))
    fed = next(iter(RecordFeed(Records(tmp_path / "r"), 2, shuffle=False)))
    assert [tokens.tolist() for tokens in fed.features["tokens"]] == [[1, 2], [3]]
    assert fed.features["text"] == ["a", "b"]
    assert fed.labels is None


def test_arrays_become_tensors_wherever_they_are():
    read_only = np.arange(3)
    read_only.flags.writeable = False
    made = as_tensors({"a": read_only, "b": (np.float32(2), [1, 2]), "c": np.arange(3)[::-1]})
    assert made["a"].tolist() == [0, 1, 2]
    assert made["b"][0].dtype == torch.float32
    assert made["b"][1].tolist() == [1, 2]
    assert made["c"].tolist() == [2, 1, 0]


@pytest.mark.parametrize("dtype", [">f4", ">i8", "<u2", "?", "c8"])
def test_arrays_become_tensors_however_they_lie_in_memory(dtype):
    whole = np.arange(12).reshape(3, 4).astype(dtype)
    packed = np.zeros(3, [("pad", "u1"), ("x", dtype, 4)])
    packed["x"] = whole
    for array in (whole, packed["x"], whole[::-1], np.broadcast_to(whole[:1], (3, 4))):
        tensor = as_tensors(array)
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_arrays_that_torch_has_no_tensors_of_are_named(records):
    def input_fn(rows):
        return {"x": rows["x"], "day": np.zeros(3, "M8[D]")}, rows["label"]

    feed = RecordFeed(records, 3, input_fn=input_fn)
    with pytest.raises(
        DataError, match=r"input_fn's features\['day'\]: .*no tensors of datetime64"
    ):
        next(iter(feed))
    with pytest.raises(
        DataError, match=r"the batch\['a'\]\[1\]: .*no tensors of longdouble|float128"
    ):
        as_tensors({"a": ["text", np.zeros(2, np.longdouble)]})
