"""What is said of the values is what numpy says of all of them at once."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data import stats as module
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError


def stored(place, field, values, shard_bytes=5000):
    with RecordWriter(place, Schema([field]), shard_bytes=shard_bytes) as writer:
        for value in values:
            writer.append((value,))
    return Records(place)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_numbers_are_described_as_numpy_does_in_one_pass(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(module, "_CHUNK_BYTES", 1000)
    values = np.random.default_rng(0).normal(100, 20, (300, 4, 3)).astype(dtype)
    found = stored(tmp_path / "r", Field("x", (4, 3), dtype), values).stats()["x"]
    assert (found.rows, found.values) == (300, 3600)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-12)
    assert found.std == pytest.approx(values.std(dtype=np.float64), rel=1e-12)
    assert found.classes is None
    assert found.lengths is None


def test_a_mean_far_from_zero_costs_the_deviation_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_BYTES", 100)
    values = 1e9 + np.random.default_rng(0).normal(0, 1, 500)
    found = stored(tmp_path / "r", Field("x", (), "float64"), values).stats()["x"]
    assert found.std == pytest.approx(values.std(), rel=1e-6)


def test_values_that_are_not_finite_are_counted_and_left_out(tmp_path):
    values = [1.0, np.nan, np.inf, -np.inf, 3.0, np.nan]
    found = stored(tmp_path / "r", Field("x", (), "float32"), values).stats()["x"]
    assert (found.nan, found.infinite) == (2, 2)
    assert (found.minimum, found.maximum, found.mean, found.std) == (1, 3, 2, 1)
    nothing = stored(tmp_path / "n", Field("x", (), "float32"), [np.nan]).stats()["x"]
    assert (nothing.minimum, nothing.mean, nothing.std) == (None, None, None)


def test_classes_are_counted_most_frequent_first(tmp_path):
    labels = [3, 1, 3, 3, 1, 7]
    for shape in [(), (1,)]:
        records = stored(tmp_path / f"r{len(shape)}", Field("label", shape, "int64"), labels)
        assert list(records.stats()["label"].classes.items()) == [(3, 3), (1, 2), (7, 1)]
    texts = stored(tmp_path / "t", Field("kind", (), "string"), ["b", "a", "b"]).stats()["kind"]
    assert texts.classes == {"b": 2, "a": 1}
    assert (texts.minimum, texts.values) == (None, 3)


def test_too_many_classes_are_not_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_CLASSES", 5)
    found = stored(tmp_path / "r", Field("n", (), "int64"), range(6)).stats()["n"]
    assert found.classes is None
    assert found.maximum == 5


def test_large_whole_numbers_stay_exact(tmp_path):
    values = np.array([2**64 - 1, 0], np.uint64)
    found = stored(tmp_path / "r", Field("n", (), "uint64"), values).stats()["n"]
    assert (found.minimum, found.maximum) == (0, 2**64 - 1)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9))
def test_lengths_of_ragged_rows_and_texts(tmp_path_factory, lengths):
    place = tmp_path_factory.mktemp("stats")
    expected = (min(lengths), max(lengths), np.mean(lengths))
    ragged = [np.full((2, length), 5) for length in lengths]
    found = stored(place / "r", Field("x", (2, None), "int64"), ragged).stats()["x"]
    assert (found.lengths.least, found.lengths.most) == (2 * expected[0], 2 * expected[1])
    assert found.lengths.mean == pytest.approx(2 * expected[2])
    assert found.values == 2 * sum(lengths)
    texts = ["é" * length for length in lengths]
    found = stored(place / "t", Field("x", (), "string"), texts).stats()["x"].lengths
    assert (found.least, found.most, found.mean) == pytest.approx(expected)


def test_a_view_is_described_alone_and_an_empty_set_by_nothing(tmp_path):
    records = stored(tmp_path / "r", Field("n", (), "int64"), range(10))
    assert records.select([2, 4]).stats()["n"].mean == 3
    found = records.select([]).stats()["n"]
    assert (found.rows, found.mean, found.classes) == (0, None, None)


def test_the_whole_can_be_kept_as_json(tmp_path):
    schema = Schema(
        [Field("x", (None,), "float64"), Field("label", (), "int8"), Field("file", (), "bytes")]
    )
    with RecordWriter(tmp_path / "r", schema) as writer:
        writer.append(([1.7e308, -1.7e308, np.nan], 1, b"ab"))
        writer.append(([], 2, b""))
    found = {name: one.to_dict() for name, one in Records(tmp_path / "r").stats().items()}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["x"]["std"] is None
    assert found["label"]["classes"] == [[1, 1], [2, 1]]
    assert found["file"]["lengths"] == {"least": 0, "most": 2, "mean": 1.0}


def test_damage_is_named(tmp_path):
    records = stored(
        tmp_path / "r", Field("x", (1000,), "uint8"), np.zeros((300, 1000), "uint8"), 1 << 20
    )
    file = tmp_path / "r" / "shard-00000.arrow"
    content = bytearray(file.read_bytes())
    content[150_000] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"shard-00000.arrow is damaged.*rows \d+ to \d+ of"):
        records.stats()
