"""A row's part is decided by its key alone, so that it stays there."""

import numpy as np
import pytest

from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.data.splits import part_of
from dovetail.errors import DataError

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def named(place, count):
    schema = Schema([Field("file", (), "string"), Field("n", (), "int64")])
    with RecordWriter(place, schema, shard_bytes=20_000) as writer:
        for number in range(count):
            writer.append((f"file {number // 2}.png", number))
    return Records(place)


def numbers(view):
    return view.gather(np.arange(len(view)))["n"].tolist()


def test_every_row_is_in_one_part_and_rows_of_one_key_stay_together(tmp_path):
    records = named(tmp_path / "r", 4000)
    parts = records.split_by_hash("file", SHARES)
    found = {name: numbers(part) for name, part in parts.items()}
    assert sorted(row for rows in found.values() for row in rows) == list(range(4000))
    for rows in found.values():
        assert {row ^ 1 for row in rows} == set(rows)
        assert rows == sorted(rows)
    # Within five standard deviations of the shares, counted in keys.
    for name, share in SHARES.items():
        spread = (2000 * share * (1 - share)) ** 0.5
        assert abs(len(found[name]) / 2 - 2000 * share) < 5 * spread


def test_rows_stay_in_their_part_when_others_come(tmp_path):
    few = named(tmp_path / "few", 500).split_by_hash("file", SHARES)
    many = named(tmp_path / "many", 900).split_by_hash("file", SHARES)
    for name in SHARES:
        assert numbers(few[name]) == [row for row in numbers(many[name]) if row < 500]


def test_a_growing_share_keeps_what_it_has():
    keys = [f"{number}" for number in range(500)]
    small = {key for key in keys if part_of(key, {"train": 0.5}) == "train"}
    large = {key for key in keys if part_of(key, {"train": 0.7}) == "train"}
    assert small < large


def test_which_part_a_key_is_in_never_changes():
    # Golden: what was divided once must be divided so by every later version.
    keys = ["a.png", "b.png", b"a.png", 7, 7.5, np.int64(-3), np.array([1, 2]), True, ""]
    found = [part_of(key, {"a": 0.4, "b": 0.4}) for key in keys]
    assert found == GOLDEN


GOLDEN = ["b", "a", "a", "a", "b", None, "a", "a", "a"]


def test_a_number_is_one_key_in_any_dtype():
    for seed in range(20):
        found = {part_of(np.array(5, kind), SHARES, seed) for kind in ("int8", "uint32", "int64")}
        assert len(found) == 1


@pytest.mark.parametrize(
    ("shape", "dtype", "value"),
    [
        ((), "bytes", b"x"),
        ((2,), "float32", [1.0, 2.0]),
        ((None,), "int64", [1, 2, 3]),
        ((None,), "string", ["a", "b"]),
    ],
)
def test_any_field_can_be_the_key(tmp_path, shape, dtype, value):
    with RecordWriter(tmp_path / "r", Schema([Field("key", shape, dtype)])) as writer:
        for _ in range(3):
            writer.append((np.array(value, object) if dtype == "string" else value,))
    parts = Records(tmp_path / "r").split_by_hash("key", {"a": 0.5, "b": 0.5})
    assert sorted(len(part) for part in parts.values()) == [0, 3]


def test_what_is_left_over_is_in_no_part(tmp_path):
    records = named(tmp_path / "r", 1000)
    assert 300 < len(records.split_by_hash("file", {"half": 0.5})["half"]) < 700
    assert part_of("x", {"a": 1e-12}) is None


def test_a_key_or_share_that_there_is_not_is_refused(tmp_path):
    records = named(tmp_path / "r", 4)
    with pytest.raises(DataError, match="has no field 'fil'.*mean 'file'"):
        records.split_by_hash("fil", SHARES)
    with pytest.raises(DataError, match="split takes shares"):
        records.split_by_hash("file", {"a": 2.0})
